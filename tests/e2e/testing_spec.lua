-- `agenthost test`: what users write tests with.
local case <const> = require("support.case")
local program <const> = require("support.program")
local sys <const> = require("agenthost.sys")

local HEAD <const> = [[
local testing = require("agenthost.testing")
local async = require("agenthost.async")
local task = require("agenthost.task")
local assert <const> = testing.assert
]]

local TOOL <const> = [[
return {
  name = "word_count",
  description = "Count words.",
  input = { path = "string" },
  permission = "read",
  run = function(input, ctx)
    local _, count = assert(ctx.root:read(input.path)):gsub("%S+", "")
    return count .. " words"
  end,
}
]]

describe("agenthost test", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  local function test(...)
    return t:run({ "test", ... })
  end

  -- Runs the text as a file of tests; none of its places may be left.
  local function run(text, ...)
    t.place:write("x_test.lua", HEAD .. text)
    local result = t:run({ env = { TMPDIR = t.place.files }, "test", ... })
    local left <close> = assert(io.popen("ls -d " .. t.place.files .. "/agenthost-test-* 2>&1"))
    assert.matches("No such file", left:read("a"))
    return result
  end

  local function passes(text)
    local result = run(text)
    assert.same({ 0, "" }, { result.code, result.stderr }, result.stdout)
    return result.stdout
  end

  local function fails(text)
    local result = run(text)
    assert.equal(1, result.code, result.stdout)
    return result.stdout
  end

  it("gives a key of the environment to Lua, as agenthost agent.lua does, and not to commands",
    function()
      t.place:write("x_test.lua", HEAD .. [[
        it("reads it", function()
          assert.equal("k1", os.getenv("MY_API_KEY"))
          local t = testing.agent({ model = {}, plugins = { "shell" } })
          assert.equal("none\n", (t:call("bash", { command = "echo ${MY_API_KEY:-none}" })))
        end)
      ]])
      local result = t:run({ env = { MY_API_KEY = "k1" }, "test" })
      assert.same({ 0, "" }, { result.code, result.stderr }, result.stdout)
    end)

  it("runs an agent with its real loop and tools on a scripted model", function()
    t.place:write("word_count.lua", TOOL)
    passes([[
      it("counts", function()
        local t = testing.agent({
          model = { { tools = { { "word_count", { path = "a.txt" } },
            { "bash", { command = "cat a.txt; pwd" } } } }, "Two." },
          plugins = { "shell", "./word_count.lua" },
          files = { ["a.txt"] = "one two\n" },
        })
        assert.equal("Two.", t:run("How long?"))
        assert.equal("2 words", t:assert_called("word_count", { path = "a.txt" }).content)
        assert.equal("one two\n" .. t.cwd .. "\n", t:calls("bash")[1].content)
        t:assert_not_called("background_run")
        t:assert_sent("2 words")
        assert.equal(2, #t.requests)
        assert.equal("How long?", t.requests[1].last)
        assert.equal(4, #t:messages())
      end)
    ]])
  end)

  it("calls a tool alone, through the check of its input", function()
    t.place:write("sub/word_count.lua", TOOL)
    t.place:write("sub/word_count_test.lua", HEAD .. [[
      it("counts", function()
        local content, is_error = testing.call("./word_count.lua", { path = "b" },
          { files = { b = "x y z" } })
        assert.equal("3 words", content)
        assert.is_false(is_error)
        content, is_error = testing.call("./word_count.lua", {})
        assert.equal("Error: path is missing (string)", content)
        assert.is_true(is_error)
        assert.equal('{"n":1}', (testing.call({ name = "t", description = "d",
          run = function() return { n = 1 } end })))
      end)
    ]])
    t.place:write("node_modules/no_test.lua", "error('found')")
    t.place:write(".hidden/no_test.lua", "error('found')")
    local result = test()
    assert.equal(0, result.code, result.stdout)
    assert.matches("^sub/word_count_test.lua\n  ok    counts\n1 passed, 0 failed", result.stdout)
  end)

  it("fails with the place, in words", function()
    local out = fails([[
      describe("a group", function()
        it("is wrong", function()
          assert.same({ a = { 1, 2 } }, { a = { 1, 3 } })
        end)
        it("is right", function() end)
      end)
    ]])
    assert.matches("FAIL  a group is wrong\n +x_test.lua:7: at a%[2%]: expected 2, got 3\n", out)
    assert.matches("ok    a group is right\n1 passed, 1 failed", out)
  end)

  it("has assertions that fail, each of them", function()
    local out = fails([[
      local wrong = {
        equal = { 1, 2 }, not_equal = { 1, 1 }, same = { {}, { 1 } }, is_true = { 1 },
        is_false = {}, is_nil = { false }, is_not_nil = {}, truthy = { false }, falsy = { 1 },
        matches = { "b", "a" }, contains = { "%s", " " }, has_error = { function() end },
      }
      local right = {
        equal = { 1, 1 }, not_equal = { 1, 2 }, same = { { 1 }, { 1 } }, is_true = { true },
        is_false = { false }, is_nil = {}, is_not_nil = { 0 }, truthy = { 1 }, falsy = {},
        matches = { "%d", "1" }, contains = { "%s", "a%s" },
        has_error = { function() error("x") end, "x" },
      }
      for name, values in pairs(wrong) do
        it("wrong " .. name, function() assert[name](table.unpack(values)) end)
        it("right " .. name, function() assert[name](table.unpack(right[name])) end)
      end
      it("wrong assert", function() assert(nil, "said") end)
    ]])
    assert.matches("\n12 passed, 13 failed", out)
    assert.equal(12, select(2, out:gsub("ok    right", "")))
  end)

  it("ends a test that loops, waits or does not listen, and goes on", function()
    local out = fails([[
      it("loops", function() while true do end end, { timeout = 0.2 })
      it("protects itself", function() while true do pcall(tostring, 1) end end, { timeout = 0.2 })
      it("waits", function() async.sleep(1000) end, { timeout = 0.2 })
      it("loops in a tool", function()
        testing.call({ name = "t", description = "d", run = function() while true do end end })
      end, { timeout = 0.2 })
      it("leaves a command", function()
        local t = testing.agent({ model = { { tools = { { "background_run",
          { command = "sleep 1000" } } } }, "ok" }, plugins = { "background" } })
        t:run("go")
        t:settle()
      end, { timeout = 1 })
      it("is the next", function() end)
    ]])
    assert.matches("took longer than 0.2 s.-\n +at x_test.lua:5\n", out)
    for _, name in ipairs({ "loops", "protects itself", "waits", "leaves a command" }) do
      assert.matches("FAIL  " .. name, out)
    end
    assert.matches("ok    is the next\n", out)
  end)

  it("plays commands, with a clock of its own", function()
    local out = passes([[
      it("is told after an hour, at once", function()
        local clock = testing.fake_clock()
        local t = testing.agent({
          plugins = { "background" },
          model = function(request, turn)
            return turn == 1
              and { tools = { { "background_run", { command = "npm test" } } } } or request.last
          end,
          tasks = { testing.fake_task({ command = "npm *", output = "1 of 9 failed\n", code = 3,
            after = 3600 }) },
        })
        t:run("Test it.")
        assert.equal(0, clock:elapsed())
        assert.contains("1 of 9 failed", t:settle())
        assert.same({ "npm test", "failed", 3 },
          { t.notices[1].command, t.notices[1].status, t.notices[1].code })
        assert.equal(3600, math.floor(clock:elapsed()))
      end)
      it("knows no other command", function()
        local t = testing.agent({ plugins = { "shell" }, tasks = {},
          model = { { tools = { { "bash", { command = "rm -rf x" } } } }, "ok" } })
        t:run("go")
        assert.contains("no fake task for the command 'rm -rf x'", t:calls()[1].content)
      end)
      it("ends what would run for ever", function()
        testing.fake_clock()
        local t = testing.agent({ plugins = { "background" }, tasks = { testing.fake_task({
          command = "serve", output = "listening\n", after = math.huge }) },
          model = { { tools = { { "background_run", { command = "serve",
            ready_pattern = "listening" } } } }, "ok" } })
        assert.equal("ok", t:run("go"))
        assert.is_false(t:calls()[1].is_error)
        async.sleep(1e6)
        assert.equal(1, #t.agent:pending_tasks())
      end)
      it("ends waits that have a bound, none later or earlier than it says", function()
        local clock = testing.fake_clock()
        local q <close> = require("agenthost.queue").new()
        assert.is_false(q:wait(600))
        assert.equal(600, clock:elapsed())
        local t = testing.agent({ plugins = { "shell" }, tasks = { testing.fake_task({
          command = "make", after = 200 }) }, model = { { tools = { { "bash",
          { command = "make" } } } }, "ok", "It is done." } })
        assert.equal("ok", t:run("go"))
        assert.matches("^The command was not done after 120 seconds", t:calls()[1].content)
        assert.equal(720, clock:elapsed())
        assert.is_nil((task.wait_any(t.agent:pending_tasks(), 30)))
        assert.equal(750, clock:elapsed())
        assert.equal("It is done.", t:settle())
        assert.equal(800, clock:elapsed())
      end)
      it("waits for real commands", function()
        local clock = testing.fake_clock()
        local t = testing.agent({ plugins = { "shell" },
          model = { { tools = { { "bash", { command = "sleep 0.2; echo done" } } } }, "ok" } })
        t:run("go")
        assert.equal("done\n", t:calls()[1].content)
        async.sleep(7)
        assert.equal(7, clock:elapsed())
      end)
    ]])
    assert.matches("5 passed", out)
  end)

  it("tests an agent's file, with its permissions", function()
    t.place:write("my agent.lua", [[
      return require("agenthost.agent").new({ model = "anthropic/x", plugins = { "shell" },
        system = "Be brief.", permissions = { allow = { "bash(echo:*)" } } })
    ]])
    passes([[
      local calls = { { tools = { { "bash", { command = "echo hi" } },
        { "bash", { command = "touch x" } } } }, "Done." }
      it("may echo", function()
        local t = testing.agent({ script = "my agent.lua", model = calls })
        t:run("go")
        assert.matches("^Be brief%.", t.requests[1].system)
        assert.equal("hi\n", t:calls()[1].content)
        assert.is_true(t:calls()[2].refused)
        assert.is_nil(t:read("x"))
      end)
      it("asks", function()
        local asked
        local t = testing.agent({ script = "my agent.lua", model = calls,
          ask = function(question) asked = question.text return { allow = true } end })
        t:run("go")
        assert.equal("touch x", asked)
        assert.equal("", t:read("x"))
      end)
      it("wants an answer that is a table", function()
        local t = testing.agent({ script = "my agent.lua", model = calls,
          ask = function() return true end })
        t:run("go")
        assert.contains("`ask` has to return nothing, or a table such as { allow = true }; it "
          .. "returned true", t:calls()[2].content)
        assert.is_nil(t:read("x"))
      end)
      it("has no model without testing.agent", function()
        local made = dofile("my agent.lua")
        local result, message = made:run("hi")
        made:close()
        assert.is_nil(result)
        assert.contains("this agent has no model", message)
      end)
    ]])
  end)

  it("replays a recorded run", function()
    t:serve({ text = "Hello from the record." })
    local recorded = t:run({ "-p", "Hi", env = { AGENTHOST_RECORD = "run.jsonl" } })
    assert.equal("Hello from the record.\n", recorded.stdout, recorded.stderr)
    t.server.stop()
    passes([[
      it("says the same", function()
        local t = testing.agent({ model = "run.jsonl", system = "x" })
        assert.equal("Hello from the record.", t:run("Hi"))
        local text, message = testing.agent({ model = "run.jsonl" }):run("Ho")
        assert.is_nil(text)
        assert.contains("the user said 'Ho', not 'Hi'", message)
      end)
    ]])
  end)

  it("runs before_each and after_each, outermost first and last, also behind a failure", function()
    local out = fails([[
      local log = {}
      before_each(function() table.insert(log, "B") end)
      after_each(function() table.insert(log, "A") end)
      describe("in", function()
        before_each(function() table.insert(log, "b") end)
        after_each(function() table.insert(log, "a") end)
        it("fails", function() error("on purpose") end)
        it("sees", function() assert.equal("BbaABb", table.concat(log)) end)
      end)
    ]])
    assert.matches("1 passed, 1 failed", out)
    assert.matches("x_test.lua:11: on purpose", out)
  end)

  it("reports as TAP, and filters", function()
    local result = run([[
      it("one # 1", function() end)
      it("two", function() error("no\nway") end)
      it("three", function() end)
    ]], "--tap", "--filter", "o")
    assert.equal(1, result.code)
    assert.equal("TAP version 13\nok 1 - x_test.lua: one \\# 1\nnot ok 2 - x_test.lua: two\n"
      .. "# x_test.lua:6: no\n# way\n1..2\n", result.stdout)
  end)

  it("says what is wrong with a file of tests", function()
    assert.matches("FAIL  %(the file itself%)\n +x_test.lua:5: unexpected symbol near",
      fails("it(]"))
    assert.matches("x_test.lua:5: it: expected a function behind its name, got a nil",
      fails("it('x')"))
    assert.matches("x_test.lua:5: 'log' is global", fails("log = 1"))
    assert.matches("x_test.lua:5: unknown option 'modl'; did you mean 'model'%?",
      fails("it('x', function() testing.agent({ modl = 1 }) end)"))
    assert.matches("x_test.lua:5: unknown option 'comand'; did you mean 'command'%?",
      fails("it('x', function() testing.agent({ model = {}, tasks = { { comand = 1 } } }) end)"))
    assert.matches("x_test.lua:5: `tasks` has to be a list",
      fails("it('x', function() testing.agent({ model = {}, tasks = { command = 'x' } }) end)"))
    assert.matches("x_test.lua:5: `files`: '../x' is outside the workspace",
      fails("it('x', function() testing.agent({ model = {}, files = { ['../x'] = '' } }) end)"))
    assert.matches("x_test.lua:5: `files` has to hold texts",
      fails("it('x', function() testing.call('shell', {}, { files = { 'x' } }) end)"))
    assert.matches("x_test.lua:5: testing.call: say which tool, with the option `name`: bash",
      fails("it('x', function() testing.call('shell', {}, { name = 'bsh' }) end)"))
    assert.matches("x_test.lua:5: there is no assert.equals; did you mean assert.equal%?",
      fails("it('x', function() assert.equals(1, 1) end)"))
  end)

  it("says what to write in place of words of busted that are not there", function()
    assert.matches("x_test.lua:5: there is no 'setup' here; write before_each%(fn%)",
      fails("setup(function() end)"))
    assert.matches("x_test.lua:5: there is no 'pending' here", fails("pending('x')"))
    assert.matches("x_test.lua:5: there is no 'spy' here; write a function of your own",
      fails("it('x', function() spy.new() end)"))
    assert.matches("x_test.lua:5: there is no assert.are: one name follows assert, as in "
      .. "assert.equal; there are contains, equal",
      fails("it('x', function() assert.are.equal() end)"))
    assert.matches("there is no assert.are_equal; did you mean assert.equal%?",
      fails("it('x', function() assert.are_equal(1, 1) end)"))
    assert.matches("x_test.lua:5: there is no assert.near; there are contains, equal",
      fails("it('x', function() assert.near(1, 1, 1) end)"))
  end)

  it("goes on when a test, or what it tests, would end the program", function()
    t.place:write("p.lua", TOOL:gsub("local _", "os.exit(0) local _"))
    local out = fails([[
      it("leaves", function() os.exit(0) end)
      it("has a tool that leaves", function()
        assert.equal("", (testing.call("./p.lua", { path = "a" }, { files = { a = "" } })))
      end)
      it("is the next", function() end)
    ]])
    assert.matches("FAIL  leaves\n +x_test.lua:5: os.exit would end all tests", out)
    assert.matches("FAIL  has a tool that leaves\n[^\n]*p.lua:7: os.exit would end", out)
    assert.matches("ok    is the next\n1 passed, 2 failed", out)
  end)

  it("shows what was raised when that is no text", function()
    local out = fails([[
      it("table", function() error({ code = 7 }) end)
      it("nothing", function() error() end)
    ]])
    assert.matches("a table was raised: { code = 7 }\n +at x_test.lua:5\n", out)
    assert.matches("error%(%) was called without a message\n +at x_test.lua:6\n", out)
  end)

  it("says that the directory it is in is gone", function()
    for _, command in ipairs({ "test", "check a.lua" }) do
      local result = t:run({ command = { "sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && '
        .. program.path .. " " .. command } })
      assert.same({ 1, "agenthost: the working directory is gone: cannot find '.': "
        .. "No such file or directory\n" }, { result.code, result.stderr })
    end
  end)

  it("fails when there is nothing to run", function()
    local result = test()
    assert.same({ 1, "agenthost: there are no tests: their files are called *_test.lua\n" },
      { result.code, result.stderr })
    t.place:write("x_test.lua", "it('x', function() end)")
    result = test("--filter", "y")
    assert.same({ 1, "agenthost: no test was run: none has 'y' in its name\n" },
      { result.code, result.stderr })
    result = test("nothing")
    assert.equal(2, result.code)
    assert.matches("^agenthost: there is no file or folder nothing\n", result.stderr)
    result = test("--tab")
    assert.equal(2, result.code)
    assert.matches("unknown flag '%-%-tab'; did you mean '%-%-tap'%?", result.stderr)
  end)

  it("keeps what tests and plugins print out of the report", function()
    t.place:write("p.lua", TOOL:gsub("local _", 'print("not ok 7 - forged") local _'))
    local result = run([[
      it("prints", function()
        os.execute("echo Bail out!")
        testing.call("./p.lua", { path = "a" }, { files = { a = "" } })
        print("more")
      end)
    ]], "--tap")
    assert.equal("TAP version 13\nok 1 - x_test.lua: prints\n1..1\n", result.stdout)
    assert.equal("Bail out!\nnot ok 7 - forged\nmore\n", result.stderr)
  end)

  it("uses the plugins of a project that is trusted", function()
    t.place:write(".agenthost/plugins/mine.lua", TOOL)
    local text = [[it("x", function()
      assert.equal("2 words", (testing.call("mine", { path = "a" }, { files = { a = "b c" } })))
    end)]]
    local result = run(text)
    assert.equal(1, result.code)
    assert.matches("is not used %(plugins/mine.lua%)", result.stderr)
    assert.equal(0, run(text, "--trust-project").code)
    passes(text)
  end)

  it("gives the plugins of each test a state of its own", function()
    t.place:write("p.lua", [[return { name = "counts", setup = function(ctx)
      ctx.tool({ name = "count", description = "d", run = function()
        ctx.state.n = (ctx.state.n or 0) + 1
        return tostring(ctx.state.n)
      end })
    end }]])
    passes([[
      for _, name in ipairs({ "one", "two" }) do
        it(name, function()
          assert.equal("1", (testing.call("./p.lua")))
          assert.equal("2", (testing.call("./p.lua")))
        end)
      end
    ]])
    assert.is_nil(sys.stat(t.place.state .. "/agenthost/plugins"))
  end)

  it("ends a file that never ends, and runs the others", function()
    t.place:write("a_test.lua", "while true do end")
    local out = fails('it("is the next", function() end)')
    assert.matches("a_test.lua:1: it was stopped: it has run for %d+.%d s without a wait", out)
    assert.matches("ok    is the next\n", out)
  end)
end)
