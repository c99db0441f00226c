-- The installed tree works where it is moved to, and uses nothing of the build tree.
local case = require("support.case")
local program = require("support.program")
local tmux = require("support.tmux")

local quote <const> = tmux.quote
local build <const> = program.path:match("^(.*)/")
local source <const> = assert(package.searchpath("agenthost.cli", package.path)):match(
  "^(.*)/lua/agenthost/")

describe("an installed agenthost", function()
  local t, prefix

  before_each(function()
    t = case.new()
    prefix = t.place.dir .. "/moved here"
    local first = t.place.dir .. "/prefix"
    local output, ok = tmux.run(("cmake --install %s --prefix %s"):format(quote(build),
      quote(first)))
    assert(ok, output)
    assert(os.rename(first, prefix))
  end)

  after_each(function()
    t:finish()
  end)

  it("has a tree of bin, libexec and share", function()
    local listing = tmux.run("cd " .. quote(prefix) .. " && find . -type f | sort")
    for _, path in ipairs({ "./bin/agenthost", "./libexec/agenthost/agenthost-supervisor",
      "./share/agenthost/lua/agenthost/agent.lua",
      "./share/agenthost/lua/agenthost/prompts/system.md",
      "./share/agenthost/plugins/shell/init.lua", "./share/agenthost/examples/quickstart.sh" }) do
      assert.truthy(("\n" .. listing):find("\n" .. path .. "\n", 1, true), path .. " is missing")
    end
    assert.falsy(listing:find("agenthost.*~\n"), listing)
  end)

  it("runs the default agent with background tasks", function()
    local result = t:run({ command = { prefix .. "/bin/agenthost" }, "-p",
      "Run `sleep 1 && echo done` in the background, then create a file while it runs" })
    assert.equal(0, result.code, result.stderr)
    assert.truthy(result.stdout:find("^%x%x%x%x%x%x%x%x has ended: completed.\n$"), result.stdout)
    assert.truthy(t.place:read("created-meanwhile.txt"))
  end)

  it("runs over a symbolic link and along PATH", function()
    assert(os.execute(("ln -s %s/bin/agenthost %s/ah"):format(quote(prefix), quote(t.place.work))))
    for _, command in ipairs({ { "./ah" }, { "ah" } }) do
      local result = t:run({ command = command, "-p", "Run `echo $((6*7))`",
        env = { PATH = t.place.work .. ":/usr/bin:/bin" } })
      assert.equal("42\n", result.stdout, result.stderr)
    end
  end)

  it("runs the interactive agent", function()
    local term <close> = tmux.start({ cwd = t.place.work, command = t.place:words({
      command = { prefix .. "/bin/agenthost" }, env = { TERM = "screen" } }) })
    term:wait_for("\n> *$", 30)
    term:type("Run `echo $((6*7))`")
    term:keys("Enter")
    term:wait_for("\n42\n> *$", 30)
    term:keys("C-d")
    assert(tmux.eventually(function() return not term:alive() end, 30))
  end)

  it("touches no file of the build tree or the checkout", function()
    local trace = t.place.dir .. "/trace"
    local result = t:run({ command = { "strace", "-f", "-e", "trace=file", "-o", trace,
      prefix .. "/bin/agenthost" }, "-p", "Run `echo hi` in the background",
      env = { ASAN_OPTIONS = "detect_leaks=0" } }) -- LeakSanitizer cannot work under strace
    assert.equal(0, result.code, result.stderr)
    local text = assert(program.read_file(trace))
    assert.truthy(text:find("/moved here/libexec/agenthost/agenthost-supervisor\"", 1, true)
      or text:find("/moved here/bin/../libexec/agenthost/agenthost-supervisor\"", 1, true), text)
    for line in text:gmatch("[^\n]+") do
      for _, dir in ipairs({ build, source }) do
        assert.falsy(line:find('"' .. dir .. "/", 1, true), line)
      end
    end
  end)

  it("says what is missing when the Lua files are not there", function()
    assert(os.execute("rm -rf " .. quote(prefix .. "/share/agenthost/lua")))
    local result = t:run({ command = { prefix .. "/bin/agenthost" }, "-p", "x" })
    assert.equal(1, result.code)
    assert.equal(1, #case.lines(result.stderr), result.stderr)
    assert.truthy(result.stderr:find("share/agenthost/lua", 1, true), result.stderr)
  end)

  it("says what is missing when the supervisor is not there", function()
    assert(os.execute("rm -rf " .. quote(prefix .. "/libexec")))
    local result = t:run({ command = { prefix .. "/bin/agenthost" }, "-p", "Run `echo hi`" })
    assert.truthy((result.stdout .. result.stderr):find("agenthost-supervisor", 1, true),
      result.stdout .. result.stderr)
  end)
end)
