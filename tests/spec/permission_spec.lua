local agents = require("support.agents")
local ask = require("agenthost.ui.ask")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local permission = require("agenthost.permission")
local rules = require("agenthost.permission_rules")
local settings = require("agenthost.settings")
local sys = require("agenthost.sys")
local temp = require("support.temp")
local raised = temp.raised

describe("permissions", function()
  local place

  before_each(function()
    place = agents.place()
  end)

  after_each(function()
    place:close()
  end)

  local function write(path, content)
    return temp.write(place.cwd .. "/" .. path, content or "old\n")
  end

  -- An agent with all built-in tools; `answer` is what its user says to every question.
  local function agent_with(permissions, answer)
    local made = place:new({}, { plugins = { "shell", "files", "background" }, tools = {
      { name = "mystery", description = "d", run = function() return "ran" end } },
      permissions = permissions })
    made.asked = {}
    if answer then
      made.ask = function(question)
        made.asked[#made.asked + 1] = question
        return type(answer) == "function" and answer(question) or answer
      end
    end
    return made
  end

  -- The results of calls { name, input } of one reply.
  local function run(made, ...)
    local calls = {}
    for i, call in ipairs({ ... }) do
      calls[i] = { id = "toolu_" .. i, name = call[1], input = call[2] or {} }
    end
    return async.run(function()
      return made.tools:run(calls, function(call) return made:tool_context(call) end, made.emitter)
    end)
  end

  local function denied(result)
    return result.is_error == true and result.content:find("^Permission denied: ") ~= nil
  end

  local BASH <const> = { "bash", { command = "echo hi" } }
  local WRITE <const> = { "write_file", { path = "new.txt", content = "x" } }
  local READ <const> = { "read_file", { path = "old.txt" } }
  local MYSTERY <const> = { "mystery", {} }

  describe("modes", function()
    -- Which of the calls run when nobody can be asked.
    for mode, expected in pairs({
      default = { READ = true },
      acceptEdits = { READ = true, WRITE = true },
      plan = { READ = true },
      dontAsk = { READ = true },
      bypassPermissions = { READ = true, WRITE = true, BASH = true, MYSTERY = true },
    }) do
      it(mode .. ", without anybody to ask", function()
        write("old.txt")
        local made = agent_with({ mode = mode })
        local results = run(made, READ, WRITE, BASH, MYSTERY, { "check_background", {} })
        for i, name in ipairs({ "READ", "WRITE", "BASH", "MYSTERY" }) do
          assert.equal(not expected[name], denied(results[i]), name .. ": " .. results[i].content)
        end
        assert.equal("No background tasks.", results[5].content)
        assert.equal(expected.WRITE, sys.stat(place.cwd .. "/new.txt") and true)
      end)
    end

    it("default: asks for commands each time, for edits once a session", function()
      local made = agent_with({}, { allow = true })
      made.permission:set_mode("default")
      run(made, WRITE, { "write_file", { path = "two.txt", content = "y" } }, BASH, BASH)
      local kinds = {}
      for i, question in ipairs(made.asked) do
        kinds[i] = question.kind
      end
      table.sort(kinds)
      assert.same({ "command", "command", "edit" }, kinds)
      assert.truthy(sys.stat(place.cwd .. "/two.txt"))
    end)

    it("plan and dontAsk never ask", function()
      for _, mode in ipairs({ "plan", "dontAsk" }) do
        local made = agent_with({ mode = mode }, { allow = true })
        for _, result in ipairs(run(made, WRITE, BASH, MYSTERY)) do
          assert.is_true(denied(result))
        end
        assert.same({}, made.asked)
      end
    end)

    it("plan: tells the model to present a plan, also where a rule allows", function()
      local made = agent_with({ mode = "plan", allow = { "bash" } })
      local result = run(made, BASH)[1]
      assert.matches("plan mode", result.content)
      assert.matches("present your plan", result.content)
    end)

    it("a wrong one is said", function()
      assert.matches("unknown permission mode 'yolo': expected default, acceptEdits, plan, "
        .. "dontAsk, bypassPermissions", raised(agent_with, { mode = "yolo" }), 1, true)
      assert.matches("unknown option 'alow'; did you mean 'allow'?",
        raised(agent_with, { alow = {} }), 1, true)
      assert.matches("allow: expected a list", raised(agent_with, { allow = "bash" }), 1, true)
      assert.matches("deny: the rule 'bash(' is not of the form",
        raised(agent_with, { deny = { "bash(" } }), 1, true)
      assert.matches("the rule 'bash(a; b)' has to hold one plain command",
        raised(agent_with, { allow = { "bash(a; b)" } }), 1, true)
    end)
  end)

  describe("rules", function()
    local function verdict(name, input, lists, mode)
      local made = agent_with({ mode = mode or "default", allow = lists.allow, deny = lists.deny,
        ask = lists.ask })
      local tool = made.tools.by_name[name].tool
      return (made.permission:decide(made.permission:request(tool, input)))
    end

    it("are the same for every tool that runs commands", function()
      local lists <const> = { allow = { "bash(ls:*)" }, deny = { "bash(rm:*)" } }
      for _, name in ipairs({ "bash", "background_run", "monitor" }) do
        assert.equal("allow", verdict(name, { command = "ls -l" }, lists))
        assert.equal("ask", verdict(name, { command = "ls > x" }, lists))
        assert.equal("deny", verdict(name, { command = "ls; rm x" }, lists))
        assert.equal("deny", verdict(name, { command = "rm x" }, lists, "bypassPermissions"))
      end
      assert.equal("allow", verdict("monitor", { task_id = "12345678" }, lists))
    end)

    it("of one tool are for that tool", function()
      local lists <const> = { allow = { "background_run(ls:*)" }, deny = { "monitor" } }
      assert.equal("allow", verdict("background_run", { command = "ls" }, lists))
      assert.equal("ask", verdict("bash", { command = "ls" }, lists))
      assert.equal("deny", verdict("monitor", { command = "ls" }, lists))
    end)

    it("deny comes before ask, and that before allow", function()
      local both <const> = { "bash(ls:*)" }
      assert.equal("deny", verdict("bash", { command = "ls" },
        { allow = both, ask = both, deny = both }))
      assert.equal("ask", verdict("bash", { command = "ls" }, { allow = both, ask = both }))
    end)

    it("take other agents' names, and patterns of names", function()
      assert.equal("allow", verdict("bash", { command = "ls x" }, { allow = { "Bash(ls:*)" } }))
      assert.equal("allow", verdict("write_file", { path = "a" }, { allow = { "Edit" } }))
      assert.equal("deny", verdict("read_file", { path = "a" }, { deny = { "Read(a)" } }))
      assert.equal("allow", verdict("mystery", {}, { allow = { "mys*" } }))
      assert.equal("ask", verdict("mystery", {}, { allow = { "mys" } }))
    end)

    it("of paths know *, ? and **", function()
      for _, case in ipairs({
        { "allow", "src/**", "src/a/b.c" }, { "allow", "src/**", "src/b.c" },
        { "ask", "src/**", "srcs/b.c" }, { "ask", "src/*", "src/a/b.c" },
        { "allow", "src/*.c", "src/b.c" }, { "ask", "src/*.c", "src/b.h" },
        { "allow", "**/*.md", "a/b/c.md" }, { "allow", "**/*.md", "c.md" },
        { "allow", "?.md", "c.md" }, { "ask", "?.md", "cc.md" }, { "ask", "*.md", "a/c.md" },
        { "allow", "./a.b", "a.b" }, { "ask", "a.b", "acb" }, { "allow", "**", "x/y" },
        { "allow", "a/**/z", "a/b/c/z" }, { "allow", "a/**/z", "a/z" }, { "ask", "a/**/z", "a/zz" },
      }) do
        assert.equal(case[1], verdict("write_file", { path = case[3] },
          { allow = { "write_file(" .. case[2] .. ")" } }), table.concat(case, " "))
      end
    end)

    it("of paths mean where a path leads: .., links, links to nowhere", function()
      write("src/a.c")
      write("secret/key")
      os.execute(("cd '%s' && ln -s ../secret src/link && ln -s ../secret/new src/dangling && "
        .. "ln -s /etc src/outside"):format(place.cwd))
      local lists <const> = { allow = { "edit(src/**)" }, deny = { "read(secret/**)" } }
      for path, expected in pairs({
        ["src/a.c"] = "allow", ["./src//b.c"] = "allow", ["src/new/deep/x"] = "allow",
        [place.cwd .. "/src/a.c"] = "allow",
        ["src/../secret/key"] = "ask", ["src/link/key"] = "ask", ["src/link/new"] = "ask",
        ["src/dangling"] = "ask", ["src/outside/passwd"] = "ask",
        ["src/x/../../secret/key"] = "ask",
        ["src/a.c\0"] = "ask", [""] = "ask", ["/etc/passwd"] = "ask",
      }) do
        assert.equal(expected, verdict("write_file", { path = path }, lists), path)
      end
      for path, expected in pairs({
        ["secret/key"] = "deny", ["src/link/key"] = "deny", ["src/../secret/key"] = "deny",
        ["secret/none"] = "deny", ["src/a.c"] = "allow", ["/etc/passwd"] = "ask",
        ["src/dangling"] = "ask",
      }) do
        assert.equal(expected, verdict("read_file", { path = path }, lists), path)
      end
    end)

    it("of paths that forbid know links on the way, and what is below a name", function()
      write("real/key")
      write("src/deep/x.c")
      os.execute(("cd '%s' && ln -s real link && ln -s . here"):format(place.cwd))
      for _, case in ipairs({
        { "deny", "link/**", "link/key" }, { "deny", "link/**", "real/key" },
        { "deny", "link/key", "real/key" }, { "deny", "here/real/*", "real/key" },
        { "deny", place.cwd .. "/here/link/**", "real/key" }, { "deny", "src", "src/deep/x.c" },
        { "deny", "src/", "src/deep/new.c" }, { "deny", "./src/deep/", "src/deep/x.c" },
        { "deny", "../" .. place.cwd:match("[^/]*$") .. "/src/**", "src/deep/x.c" },
        { "allow", "src/*", "src/deep/x.c" }, { "allow", "sr", "src/deep/x.c" },
        { "allow", "src/dee", "src/deep/x.c" }, { "allow", "none/**", "src/deep/x.c" },
      }) do
        assert.equal(case[1], verdict("read_file", { path = case[3] },
          { deny = { "read(" .. case[2] .. ")" } }), table.concat(case, " "))
      end
      for pattern, expected in pairs({ ["src/"] = "allow", src = "ask", ["link/"] = "ask" }) do
        local path = pattern == "link/" and "real/key" or "src/deep/x.c"
        assert.equal(expected, verdict("write_file", { path = path },
          { allow = { "edit(" .. pattern .. ")" } }), pattern)
      end
    end)

    it("of commands may end in a star, as other agents write them", function()
      local lists <const> = { allow = { "Bash(git log *)" }, deny = { "Bash(rm *)" } }
      for command, expected in pairs({ ["git log"] = "allow", ["git log -3 x"] = "allow",
        ["git logx"] = "ask", ["rm x"] = "deny", ["rm"] = "deny", ["rmdir x"] = "ask" }) do
        assert.equal(expected, verdict("bash", { command = command }, lists), command)
      end
    end)

    it("edits outside, and of what others run, ask in every asking mode", function()
      for _, path in ipairs({ "/etc/passwd", "../x", ".git/hooks/pre-commit", "a/.git/config",
        ".GIT/config", "a/.Git/x", "/proc/self/root/etc/passwd", "a/../../x",
        ".agenthost/plugins/x.lua" }) do
        assert.equal("ask", verdict("write_file", { path = path }, {}, "acceptEdits"), path)
      end
      assert.equal("ask", verdict("write_file", { path = ".git/config" },
        { allow = { "edit(**)" } }))
      assert.equal("allow", verdict("write_file", { path = ".git/config" },
        { allow = { "edit(.git/config)" } }))
      assert.equal("allow", verdict("write_file", { path = "a.gitx" }, {}, "acceptEdits"))
    end)

    it("are split at commas and spaces outside parentheses", function()
      assert.same({ "bash(git log:*)", "read_file", "edit(a, b)", "x" },
        rules.split("bash(git log:*), read_file edit(a, b)\nx,"))
      assert.same({}, rules.split(" , "))
    end)
  end)

  describe("a question", function()
    it("has all that will run, and what always would add", function()
      local made = agent_with({}, { allow = false })
      run(made, { "bash", { command = "git log -3 && npm test" } },
        { "bash", { command = "a > b" } },
        { "write_file", { path = "n.txt", content = "one\ntwo\n" } }, { "mystery", { q = "x" } })
      local by_text = {}
      for _, question in ipairs(made.asked) do
        by_text[question.text] = question
      end
      assert.same({ "bash(git log:*)", "bash(npm test:*)" },
        by_text["git log -3 && npm test"].always)
      assert.is_nil(by_text["a > b"].always)
      assert.equal("a new file\n+ one\n+ two", by_text["n.txt"].detail)
      assert.truthy(by_text["n.txt"].all_edits)
      assert.same({ "mystery" }, by_text["q: x"].always)
    end)

    it("comes after the check of the input", function()
      local made = agent_with({}, { allow = true })
      assert.matches("command is missing", run(made, { "bash", {} })[1].content)
      assert.same({}, made.asked)
    end)

    it("shows all of what will run; what is longer is not asked for", function()
      local max <const> = defaults.permission.shown
      local made = agent_with({}, { allow = true })
      local hidden = "echo '" .. ("\u{200b}"):rep(max // 3 - 10) .. "'; true"
      assert.is_false(denied(run(made, { "bash", { command = hidden } })[1]))
      local lines = ask.lines(made.asked[1], 80)
      local shown = table.concat(lines, "\n"):gsub("\n│ ", "")
      assert.equal(max // 3 - 10, select(2, shown:gsub("\\u{200b}", "")))
      local long = "echo " .. ("x"):rep(max)
      local refused = run(made, { "bash", { command = long } })[1]
      assert.is_true(denied(refused))
      assert.matches("write it into a file", refused.content, 1, true)
      assert.equal(1, #made.asked)
    end)

    it("yes is for once, always for the rules that it showed", function()
      local answers = { { allow = true }, { allow = true, always = true } }
      local made = agent_with({}, function() return table.remove(answers, 1) end)
      assert.equal("hi\n", run(made, BASH)[1].content)
      assert.equal("hi\n", run(made, BASH)[1].content)
      assert.equal("hi\n", run(made, BASH)[1].content)
      assert.equal(2, #made.asked)
      assert.same({ "mode: default", "allow: bash(echo hi)" }, made.permission:describe())
      answers[1] = { allow = false }
      assert.is_true(denied(run(made, { "bash", { command = "echo ho" } })[1]))
    end)

    it("no, and no with a reason, are told to the model", function()
      local made = agent_with({}, { allow = false })
      assert.matches("^Permission denied: the user said no%.", run(made, BASH)[1].content)
      made = agent_with({}, { allow = false, reason = "use make" })
      assert.equal("Permission denied: the user said no: use make", run(made, BASH)[1].content)
      assert.same({ { tool_name = "bash", tool_use_id = "toolu_1",
        tool_input = { command = "echo hi" } } }, made.permission.denials)
    end)

    it("waits for the one before it", function()
      local open, most = 0, 0
      local made = agent_with({}, function()
        open = open + 1
        most = math.max(most, open)
        async.sleep(0.01)
        open = open - 1
        return { allow = true }
      end)
      local results = run(made, BASH, BASH, MYSTERY, BASH)
      assert.equal(1, most)
      assert.equal(4, #made.asked)
      assert.equal("ran", results[3].content)
    end)

    it("that fails runs nothing, and does not block the next one", function()
      local made = agent_with({}, function() error("broken") end)
      for _, result in ipairs(run(made, BASH, BASH)) do
        assert.matches("it was not run: the check of permissions failed", result.content)
      end
    end)

    it("that is interrupted is a no, for all that wait", function()
      local made = agent_with({}, function() async.wait({}, 30) end)
      async.run(function()
        local job = async.spawn(function() return made:run_tools({
          { id = "1", name = "bash", input = { command = "touch a" } },
          { id = "2", name = "bash", input = { command = "touch b" } } })
        end)
        while #made.asked == 0 do
          async.sleep(0.001)
        end
        assert.is_true(made:interrupt())
        for _, result in ipairs((job:wait())) do
          assert.equal("Cancelled by the user; it was not run.", result.content)
        end
      end)
      assert.equal(1, #made.asked)
      assert.is_nil(sys.stat(place.cwd .. "/a"))
    end)

    it("that nobody answers is refused, with how to allow it", function()
      local made = agent_with({})
      for _, case in ipairs({
        { BASH, "--allowed-tools 'bash(echo hi)', or --permission-mode bypassPermissions" },
        { { "background_run", { command = "git log x" } },
          "--allowed-tools 'bash(git log:*)', or" },
        { { "bash", { command = "a > b" } }, "--allowed-tools bash (all commands; no rule for this "
          .. "one: it redirects '>' a file), or --permission-mode bypassPermissions" },
        { WRITE, "--permission-mode acceptEdits, or --allowed-tools 'edit(new.txt)', or" },
        { MYSTERY, "--allowed-tools mystery, or" },
      }) do
        local content = run(made, case[1])[1].content
        assert.matches("there is nobody to ask", content, 1, true)
        assert.matches(case[2], content, 1, true)
      end
    end)
  end)

  it("of a tool that says nothing of itself are by its name", function()
    local function verdict(lists)
      local checked = permission.new({ cwd = place.cwd, sources = { lists } })
      return (checked:decide(checked:request({ name = "bash" }, { command = "ls" })))
    end
    assert.equal("deny", verdict({ allow = { "bash" }, deny = { "bash" } }))
    assert.equal("ask", verdict({ allow = { "bash" }, deny = { "bash(rm:*)" } }))
    assert.equal("allow", verdict({ allow = { "bash" } }))
    assert.equal("ask", verdict({ allow = { "bash(ls:*)" } }))
  end)

  it("bound what a run remembers of refusals", function()
    local made = agent_with({})
    local calls = {}
    for i = 1, defaults.permission.denials + 5 do
      calls[i] = MYSTERY
    end
    run(made, table.unpack(calls))
    assert.equal(defaults.permission.denials, #made.permission.denials)
  end)

  it("of a tool that says something wrong are an error when it is added", function()
    assert.matches("tool 'x': permission: expected read, edit, command, input, none or a function, "
      .. "got 'all'", raised(place.new, place, {}, { tools = { { name = "x", description = "d",
        permission = "all", run = print } } }), 1, true)
  end)

  it("of a tool whose function fails are those of an unknown one", function()
    local checked = permission.new({ cwd = place.cwd, sources = { { allow = { "bash" } } } })
    local function decided(fn)
      local request = checked:request({ name = "t", permission = fn }, {})
      assert.equal("unknown", request.kind)
      return checked:decide(request)
    end
    assert.equal("ask", (decided(function() return "command" end)))
    local verdict, why = decided(function() error("x") end)
    assert.equal("ask", verdict)
    assert.matches("^the tool's `permission` failed: .*permission_spec.lua:%d+: x$", why)
    verdict, why = decided(function() return 7 end)
    assert.equal("ask", verdict)
    assert.matches("^the tool's `permission` gave 7, not read, edit, ", why)
  end)
end)

describe("settings", function()
  local directory

  before_each(function()
    directory = temp.directory()
  end)

  after_each(function()
    temp.remove(directory)
  end)

  local function load(content)
    return settings.load(temp.write(directory .. "/settings.lua", content))
  end

  it("are a table, and need not be there", function()
    assert.same({ permissions = { mode = "plan", deny = { "bash(rm:*)" } } },
      load('return { permissions = { mode = "plan", deny = { "bash(rm:*)" } } }'))
    assert.same({}, settings.load(directory .. "/none.lua"))
    assert.matches("cannot read", raised(settings.load, directory .. "/settings.lua/x"))
  end)

  for name, case in pairs({
    ["bad syntax"] = { "return {\n  x = \n}", ":3: unexpected symbol" },
    ["an error"] = { "\nlocal x = nil .. 'a'", ":2: attempt to concatenate" },
    ["no library"] = { "\nreturn os.getenv('HOME')",
      ":2: attempt to index a nil value (global 'os'" },
    ["no methods of strings"] = { "\nreturn ('x'):rep(9)", ":2: attempt to" },
    ["no bytecode"] = { string.dump(function() end), "attempt to load a binary chunk" },
    ["a loop"] = { "\nwhile true do end", ":2: it does not come to an end" },
    ["another type"] = { "return 7", ": it has to return a table, it returned a number" },
    ["an unknown name"] = { "return {\n permisions = {} }",
      ":2: unknown option 'permisions'; did you mean 'permissions'?" },
    ["a bad rule"] = { "return { permissions = {\n allow = { 'read',\n 'bash(' } } }",
      ":3: allow: the rule 'bash(' is not of the form" },
    ["a bad mode"] = { "return { permissions = {\n mode = 'all' } }",
      ":2: unknown permission mode 'all'" },
  }) do
    it("say file and line of " .. name, function()
      local message = raised(load, case[1])
      assert.matches("settings.lua", message, 1, true)
      assert.matches(case[2], message, 1, true)
      assert.equal("xx", ("x"):rep(2)) -- strings have their methods back
    end)
  end
end)
