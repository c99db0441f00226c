local cli = require("agenthost.cli")
local defaults = require("agenthost.defaults")
local program = require("support.program")
local raised = require("support.temp").raised

-- What M.parse makes of the words, without what is there always.
local function parse(...)
  local parsed = cli.parse({ ... })
  if parsed.format == "text" then
    parsed.format = nil
  end
  if parsed.wait_tasks == defaults.wait_tasks then
    parsed.wait_tasks = nil
  end
  if #parsed.words == 0 then
    parsed.words = nil
  end
  return parsed
end

describe("cli.parse", function()
  local cases = {
    { {}, {} },
    { { "agent.lua" }, { words = { "agent.lua" } } },
    { { "agent.lua", "do", "it" }, { words = { "agent.lua", "do", "it" } } },
    { { "--verbose", "x" }, { verbose = true, words = { "x" } } },
    { { "-h" }, { help = true } },
    { { "--help", "--version" }, { help = true, version = true } },
    { { "-p" }, { print = true } },
    { { "-p", "Hi" }, { print = true, prompt = "Hi" } },
    { { "--print", "Hi" }, { print = true, prompt = "Hi" } },
    { { "--print=Hi" }, { print = true, prompt = "Hi" } },
    { { "--print=" }, { print = true, prompt = "" } },
    { { "-p", "" }, { print = true, prompt = "" } },
    { { "--print=--verbose" }, { print = true, prompt = "--verbose" } },
    { { "-p", "--verbose" }, { print = true, verbose = true } },
    { { "-p", "two\nlines" }, { print = true, prompt = "two\nlines" } },
    { { "-p", "agent.lua" }, { print = true, words = { "agent.lua" } } },
    { { "-p", "explain agent.lua" }, { print = true, prompt = "explain agent.lua" } },
    { { "-p", "list /tmp" }, { print = true, prompt = "list /tmp" } },
    { { "agent.lua", "-p", "Hi" }, { print = true, prompt = "Hi", words = { "agent.lua" } } },
    { { "-p", "Hi", "agent.lua" }, { print = true, prompt = "Hi", words = { "agent.lua" } } },
    { { "-p", "fix", "it" }, { print = true, prompt = "fix", words = { "it" } } },
    { { "--model", "m" }, { model = "m" } },
    { { "--model=m" }, { model = "m" } },
    { { "--model=a=b" }, { model = "a=b" } },
    { { "--model", "a", "--model", "b" }, { model = "b" } },
    { { "--cwd", "/tmp" }, { cwd = "/tmp" } },
    { { "--output-format", "json" }, { format = "json" } },
    { { "--output-format=stream-json" }, { format = "stream-json" } },
    { { "--output-format", "text" }, {} },
    { { "--max-turns", "3" }, { max_turns = 3 } },
    { { "--max-turns=7.0" }, { max_turns = 7 } },
    { { "--wait-tasks", "0.5" }, { wait_tasks = 0.5 } },
    { { "--wait-tasks", "0" }, { wait_tasks = 0 } },
    { { "--permission-mode", "plan" }, { permission_mode = "plan" } },
    { { "--allowed-tools", "bash(a b:*), read", "--allowedTools=x" },
      { allow = { "bash(a b:*)", "read", "x" } } },
    { { "--disallowedTools", "x" }, { deny = { "x" } } },
    { { "--input-format", "stream-json" }, { input_format = "stream-json" } },
    { { "--include-partial-messages" }, { partial = true } },
    { { "--system-prompt", "a b", "--append-system-prompt=c" },
      { system = "a b", append_system = "c" } },
    { { "--", "--model", "-p" }, { words = { "--model", "-p" } } },
    { { "-p", "--", "-x" }, { print = true, words = { "-x" } } },
    { { "a", "--", "b", "--" }, { words = { "a", "b", "--" } } },
    { { "-" }, { words = { "-" } } },
    { { "" }, { words = { "" } } },
  }

  for _, case in ipairs(cases) do
    it(table.concat(case[1], " "), function()
      assert.same(case[2], parse(table.unpack(case[1])))
    end)
  end

  it("has defaults", function()
    assert.same({ format = "text", wait_tasks = defaults.wait_tasks, words = {} }, cli.parse({}))
    assert.equal("integer", math.type(cli.parse({ "--max-turns", "3" }).max_turns))
  end)

  local wrong = {
    { { "--modle", "x" }, "unknown flag '--modle'; did you mean '--model'?" },
    { { "--modle=x" }, "unknown flag '--modle'; did you mean '--model'?" },
    { { "--output" }, "unknown flag '--output'" },
    { { "-x" }, "unknown flag '-x'" },
    { { "-px" }, "unknown flag '-px'" },
    { { "--model" }, "--model needs a value" },
    { { "--cwd" }, "--cwd needs a value" },
    { { "--verbose=1" }, "--verbose takes no value" },
    { { "--help=" }, "--help takes no value" },
    { { "--output-format", "xml" },
      "--output-format: expected text, json or stream-json, got 'xml'" },
    { { "--output-format=" }, "--output-format: expected text, json or stream-json, got ''" },
    { { "--max-turns", "0" }, "--max-turns: expected a number from 1 on, got '0'" },
    { { "--max-turns", "two" }, "--max-turns: expected a number from 1 on, got 'two'" },
    { { "--max-turns", "1.5" }, "--max-turns: expected a whole number, got '1.5'" },
    { { "--max-turns", "1e999" }, "--max-turns: expected a whole number, got '1e999'" },
    { { "--wait-tasks", "-1" }, "--wait-tasks: expected a number from 0 on, got '-1'" },
    { { "--wait-tasks=" }, "--wait-tasks: expected a number from 0 on, got ''" },
    { { "--wait-tasks", "nan" }, "--wait-tasks: expected a number from 0 on, got 'nan'" },
  }

  for _, case in ipairs(wrong) do
    it("refuses " .. table.concat(case[1], " "), function()
      assert.same({ usage = case[2] }, raised(cli.parse, case[1]))
    end)
  end
end)

describe("the program", function()
  local place

  before_each(function()
    place = program.place()
  end)

  after_each(function()
    place:close()
  end)

  -- Runs the program with a scripted model that answers with what it was asked.
  local function run(...)
    place:write("echo.lua", 'return function(request) return "<" .. request.last .. ">" end')
    return place:run({ "--model", "scripted/echo.lua", ... })
  end

  it("takes wrong usage for exit code 2 and one line on stderr", function()
    for _, case in ipairs({
      { { "--modle", "x" }, "unknown flag '--modle'; did you mean '--model'?" },
      { { "--max-turns" }, "--max-turns needs a value" },
      { { "none.lua" }, "there is no file " .. place.work .. "/none.lua" },
      { { "--cwd", "/no/such/place" }, "--cwd: " },
      { { "-p" }, "there is no prompt: say it after -p, or on standard input" },
      { { "-p", " \n" }, "there is no prompt: say it after -p, or on standard input" },
    }) do
      local result = run(table.unpack(case[1]))
      assert.same({ 2, "" }, { result.code, result.stdout })
      assert.matches("agenthost: " .. case[2], result.stderr, 1, true)
      assert.equal(1, select(2, result.stderr:gsub("\n", "")))
    end
  end)

  it("says what it is and how it is used", function()
    local help = run("--help")
    assert.equal(0, help.code)
    assert.matches("^agenthost %[flags%]", help.stdout)
    for _, flag in ipairs({ "--print", "--model", "--output-format", "--max-turns", "--wait-tasks",
      "--cwd", "--verbose", "--version", "--help", "--input-format", "--permission-mode",
      "--include-partial-messages", "--allowed-tools", "--disallowed-tools", "--system-prompt",
      "--append-system-prompt" }) do
      assert.matches(flag, help.stdout, 1, true)
    end
    assert.matches("^agenthost %d+%.%d+%.%d+\n$", run("--version").stdout)
  end)

  it("takes the prompt from the words, -p, standard input, or several of them", function()
    assert.equal("<Hi>\n", run("-p", "Hi").stdout)
    assert.equal("<fix the bug in a/b.c>\n", run("-p", "fix", "the", "bug", "in", "a/b.c").stdout)
    assert.equal("<what is in /tmp?>\n", run("what is in /tmp?").stdout)
    assert.equal("<explain echo.lua>\n", run("-p", "explain echo.lua").stdout)
    assert.equal("<-x>\n", run("-p", "--", "-x").stdout)
    local piped = place:run({ "--model", "scripted/echo.lua", "-p", "Explain:",
      stdin = "the text\n" })
    assert.equal("<Explain:\n\nthe text\n>\n", piped.stdout)
    piped = place:run({ "--model", "scripted/echo.lua", "-p", stdin = "only this" })
    assert.equal("<only this>\n", piped.stdout)
  end)

  it("runs a script that returns nothing, with its arguments", function()
    place:write("s.lua",
      [[print(arg[0]:match("[^/]+$"), #arg, require("agenthost.sys").cwd(), ...)]])
    local result = place:run({ "s.lua", "one", "--", "--two" })
    assert.equal(("s.lua\t2\t%s\tone\t--two\n"):format(place.work), result.stdout)
    assert.equal(0, result.code)
  end)

  it("says what is wrong with a script, with exit code 1", function()
    for content, expected in pairs({
      ["return 7"] = "has to return an agent (agent.new{...}) or nothing, it returned a number",
      ["return { name = 't', run = print }"] =
        "it returned a table; a tool or a plugin is named in an agent's `plugins`",
      ["\noops oops"] = "s.lua:2: syntax error",
      ["\nerror('mine')"] = "s.lua:2: mine",
      ["return require('agenthost.agent').new{ modell = 1 }"] =
        "unknown option 'modell'; did you mean 'model'?",
    }) do
      place:write("s.lua", content)
      local result = place:run({ "s.lua" })
      assert.same({ 1, "" }, { result.code, result.stdout })
      assert.matches(expected, result.stderr, 1, true)
    end
  end)

  it("says so when the session cannot be kept", function()
    place:write("echo.lua", 'return function() return "x" end')
    place:write("file", "")
    local result = place:run({ "--model", "scripted/echo.lua", "-p", "Hi",
      env = { XDG_STATE_HOME = place.work .. "/file" } })
    assert.same({ 1, "" }, { result.code, result.stdout })
    assert.matches("cannot keep the session: .*%(XDG_STATE_HOME says where%)", result.stderr)
  end)

  it("lets --max-turns be stronger than the script", function()
    place:write("m.lua", 'return function() return { tools = { { "t", {} } } } end')
    place:write("s.lua", [[return require("agenthost.agent").new{
      model = "scripted/m.lua", max_turns = 9,
      tools = { { name = "t", description = "d", run = function() end } } }]])
    local result = place:run({ "s.lua", "-p", "go", "--max-turns", "2" })
    assert.equal(1, result.code)
    assert.matches("the limit of 2 turns is reached (--max-turns)", result.stderr, 1, true)
  end)

  it("does not take an empty key for a key", function()
    local result = place:run({ "-p", "Hello",
      env = { ANTHROPIC_API_KEY = "", ANTHROPIC_BASE_URL = "" } })
    assert.equal(0, result.code)
    assert.matches("a small script plays the model", result.stderr, 1, true)
    result = place:run({ "-p", "Hello", "--model", "anthropic/x",
      env = { ANTHROPIC_API_KEY = "" } })
    assert.equal(1, result.code)
    assert.matches("the model anthropic/x needs a key: set ANTHROPIC_API_KEY", result.stderr, 1,
      true)
  end)
end)
