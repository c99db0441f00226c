-- Guard rails as the user sees them: loops, memory and prints of plugin code.
local case = require("support.case")
local interactive = require("support.interactive")
local program = require("support.program")
local sys = require("agenthost.sys")
local tmux = require("support.tmux")

describe("plugin code", function()
  local t, term

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  -- A model that calls the tool `x` once, and tells what came of it.
  local function write_agent(tool, more)
    t.place:write("model.lua", [[return function(request, turn)
      if turn == 1 then
        return { tools = { { "x", {} } } }
      end
      return "it said: " .. request.last
    end]])
    t.place:write("x.lua", ("return { name = 'x', description = 'd', run = function(input, ctx)\n"
      .. "%s\nend }"):format(tool))
    t.place:write("agent.lua", ([[
      %s
      return require("agenthost.agent").new({ plugins = { "./x.lua" }, system = "x" })]]):format(
        more or ""))
  end

  local function run(opts)
    opts = opts or {}
    table.move({ "--model", "scripted/model.lua", "agent.lua", "-p", "go" }, 1, 5, 1, opts)
    return t:run(opts)
  end

  -- How long code may run without a wait, by the clock.
  local function budget(seconds)
    t.place:write(t.place.config .. "/agenthost/lua/agenthost/defaults.lua",
      (assert(program.read_file(
        assert(package.searchpath("agenthost.defaults", package.path))))
        :gsub("\n  seconds = 5", "\n  seconds = " .. seconds)))
  end

  it("that does not end is stopped, and the agent goes on", function()
    budget(0.3)
    write_agent("while true do pcall(error) end")
    local result = run()
    assert.matches("^it said: Error: .*x.lua:2: it was stopped: it has run for [%d.]+ s",
      result.stdout)
    assert.equal(0, result.code, result.stderr)
  end)

  it("that does not end stops for Ctrl-C before its time is over", function()
    budget(60)
    write_agent("io.open('begun', 'w'):close() while true do pcall(error) end")
    local running = t:start({ "--model", "scripted/model.lua", "agent.lua", "-p", "go" })
    assert.truthy(tmux.eventually(function() return t.place:read("begun") end, 30))
    local began = sys.now()
    running:signal("INT")
    local result = running:wait()
    assert.equal(130, result.code, result.stderr)
    assert.is_true(sys.now() - began < 40)
  end)

  it("that wants all memory gets an error, and the session is whole", function()
    budget(200) -- the memory has to be over first
    write_agent("local s = ('x'):rep(1000) while true do s = s .. s end")
    local result = run({ env = { AGENTHOST_MEMORY = "64" } })
    assert.matches("^it said: Error: not enough memory: the Lua state's limit of 64 MiB",
      result.stdout)
    assert.equal(0, result.code, result.stderr)
    assert.equal(4, #t.place:messages())
  end)

  it("that keeps all memory leaves enough to go on", function()
    budget(200)
    write_agent("kept = {} while true do kept[#kept + 1] = ('x'):rep(100) .. #kept end")
    local result = run({ env = { AGENTHOST_MEMORY = "32" } })
    assert.matches("^it said: Error: not enough memory: the Lua state's limit of 32 MiB",
      result.stdout)
    assert.equal(0, result.code, result.stderr)
  end)

  it("that runs out of memory in one C function gets the same error", function()
    budget(200)
    write_agent("return ('x'):rep(1 << 30)")
    assert.matches("^it said: Error: not enough memory: .* limit of 1024 MiB", run().stdout)
  end)

  it("may run out of memory at load: one line says so", function()
    budget(200)
    write_agent("", "")
    t.place:write("x.lua", "local s = 'x' while true do s = s .. s end")
    local result = run({ env = { AGENTHOST_MEMORY = "64" } })
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    assert.matches("^agenthost: [^\n]*x.lua: not enough memory: [^\n]*64 MiB[^\n]*\n$",
      result.stderr)
  end)

  it("is not what fails when a script of the user's eats all memory", function()
    t.place:write("eat.lua", "local s = 'x' while true do s = s .. s end")
    local result = t:run({ "eat.lua", env = { AGENTHOST_MEMORY = "64" } })
    assert.equal(1, result.code)
    assert.matches("^agenthost: not enough memory: [^\n]*64 MiB[^\n]*\n$", result.stderr)
  end)

  it("needs a memory limit that is a number", function()
    local result = t:run({ "-p", "x", env = { AGENTHOST_MEMORY = "lots" } })
    assert.equal(2, result.code)
    assert.equal("agenthost: AGENTHOST_MEMORY: expected MiB, a whole number from 16 to 1048576, "
      .. "got 'lots'\n", result.stderr)
  end)

  it("does not print on the standard output of a headless run", function()
    write_agent([[print("one", 2) io.write("th", "ree\n") io.stdout:write("four\27[2J\n")
      io.output():write("five") os.execute("echo six")]])
    local result = run()
    assert.equal("it said: (no output)\n", result.stdout)
    assert.matches("^agenthost: tool 'x' %([^\n]*x.lua%) prints, on standard error: [^\n]*\n",
      result.stderr)
    local _, count = result.stderr:gsub("prints, on standard error", "")
    assert.equal(1, count, result.stderr)
    for _, line in ipairs({ "one\t2", "three", "four", "five", "six" }) do
      assert.truthy(("\n" .. result.stderr):find("\n" .. line .. "\n", 1, true),
        line .. " in " .. result.stderr)
    end
    assert.falsy(result.stderr:find("\27", 1, true))
  end)

  it("does not print there while it is loaded, and neither does a model in Lua", function()
    write_agent("")
    t.place:write("x.lua", [[print("loading") return { setup = function(ctx)
      print("setting up")
      ctx.tool({ name = "x", description = "d", run = function() end })
    end }]])
    t.place:write("model.lua", "return function() print('a model') return 'answer' end")
    local result = run()
    assert.equal("answer\n", result.stdout)
    assert.matches("\nloading\nsetting up\n", result.stderr)
    assert.matches("\na model\n", result.stderr)
  end)

  it("may print as it likes where no agent runs", function()
    t.place:write("script.lua", "print('a') io.write('b\\n') io.stdout:write('c\\n')")
    local result = t:run({ "script.lua" })
    assert.equal("a\nb\nc\n", result.stdout)
    assert.equal("", result.stderr)
  end)

  it("prints through the screen of a terminal, cleaned", function()
    write_agent([[print("first\27[2J\27[H line") io.write("no end")]])
    term = interactive.start(t, { "--model", "scripted/model.lua", "agent.lua" })
    term:say("go")
    term:wait_answer("it said: (no output)")
    local screen = term:screen()
    assert.matches("first line", screen)
    assert.matches("no end", screen)
    assert.matches("agenthost ·", screen) -- nothing was erased
  end)

  it("is not looked for relative to where somebody stands", function()
    t.place:write("script.lua", "print(package.path) print(package.cpath)")
    t.place:write("agenthost_relative.lua", "return 1")
    local result = t:run({ "script.lua", env = {
      LUA_PATH = "./?.lua;?.lua;/absolute/?.lua;;", LUA_CPATH = "./?.so;../?.so;;" } })
    assert.matches("/absolute/?.lua", result.stdout, 1, true)
    for entry in result.stdout:gmatch("[^;\n]+") do
      assert.equal("/", entry:sub(1, 1), result.stdout)
    end
  end)
end)
