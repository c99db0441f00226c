-- One prompt, one answer: what scripts and pipes see of agenthost.
local case = require("support.case")
local json = require("agenthost.json")
local program = require("support.program")
local tmux = require("support.tmux")

local t

before_each(function()
  t = case.new()
end)

after_each(function()
  t:finish()
end)

-- A command that says that it runs and then stays until somebody ends it.
local function stays(file)
  return ("echo $$ > %s; exec sleep 600"):format(file)
end

describe("output", function()
  it("text: the answer and nothing else on stdout", function()
    t:script(
      { text = "Let me look.", tools = { { name = "bash", input = { command = "echo x" } } } },
      { text = "It is x." })
    local result = t:run({ "-p", "What is it?" })
    assert.equal("It is x.\n", result.stdout)
    assert.equal("", result.stderr)
    assert.equal(0, result.code)
  end)

  it("text: what a terminal would obey is for pipes only", function()
    t.place:write("m.lua", 'return function() return "a\\27[31mb\\27]0;title\\7c" end')
    assert.equal("a\27[31mb\27]0;title\7c\n",
      t:run({ "-p", "x", "--model", "scripted/m.lua" }).stdout)
    local on_terminal = t:run({ command = { "script", "-qec",
      program.path .. " -p x --model scripted/m.lua", "/dev/null" } })
    assert.equal("abc\r\n", on_terminal.stdout)
  end)

  it("adds no second line break", function()
    t:serve({ text = "One line.\n" })
    assert.equal("One line.\n", t:run({ "-p", "x" }).stdout)
  end)

  it("text with --verbose: still the answer only, tools on stderr", function()
    t:script({ tools = { { name = "bash", input = { command = "echo x" } } } }, { text = "Done." })
    local result = t:run({ "-p", "x", "--verbose" })
    assert.equal("Done.\n", result.stdout)
    assert.truthy(result.stderr:find("bash echo x", 1, true), result.stderr)
  end)

  it("json: one object", function()
    t:serve({ text = "Ä \"quoted\"\nanswer", usage = { input_tokens = 7, output_tokens = 3 } })
    local result = t:run({ "-p", "x", "--output-format", "json" })
    assert.equal(0, result.code)
    local objects = case.objects(result.stdout)
    assert.equal(1, #objects)
    local object = objects[1]
    assert.equal("result", object.type)
    assert.equal("success", object.subtype)
    assert.is_false(object.is_error)
    assert.equal("Ä \"quoted\"\nanswer", object.result)
    assert.equal(1, object.num_turns)
    assert.equal("integer", math.type(object.duration_ms))
    assert.equal(7, object.usage.input_tokens)
    assert.equal(3, object.usage.output_tokens)
    assert.equal(t.place:session()[1].id, object.session_id)
  end)

  it("json: a failure is an object, too", function()
    t:serve({ fault = { status = 400, message = "no" } })
    local result = t:run({ "-p", "x", "--output-format", "json" })
    assert.equal(1, result.code)
    local object = case.objects(result.stdout)[1]
    assert.is_true(object.is_error)
    assert.equal("error_during_execution", object.subtype)
    assert.truthy(object.result:find("no", 1, true))
  end)

  it("stream-json: init, messages, result", function()
    t:script(
      { thinking = "Hm.", text = "Look.",
        tools = { { name = "bash", input = { command = "printf '\\342\\200\\250'" } } } },
      { text = "Done." })
    local result = t:run({ "-p", "x", "--output-format", "stream-json" })
    assert.equal(0, result.code)
    local lines = case.objects(result.stdout)
    local types = {}
    for i, line in ipairs(lines) do
      types[i] = line.type
      assert.equal(lines[1].session_id, line.session_id)
    end
    assert.same({ "system", "user", "assistant", "user", "assistant", "result" }, types)
    assert.equal("init", lines[1].subtype)
    assert.equal("claude-test-1", lines[1].model)
    assert.equal(t.place.work, lines[1].cwd)
    local tools = table.concat(lines[1].tools, " ")
    assert.equal("bash read_file write_file edit_file background_run monitor check_background "
      .. "background_wait background_output background_write background_kill", tools)
    local kinds = {}
    for i, block in ipairs(lines[3].message.content) do
      kinds[i] = block.type
    end
    assert.same({ "thinking", "text", "tool_use" }, kinds)
    assert.equal("assistant", lines[3].message.role)
    assert.equal("tool_result", lines[4].message.content[1].type)
    assert.equal(lines[3].message.content[3].id, lines[4].message.content[1].tool_use_id)
    assert.equal("Done.", lines[6].result)
    assert.equal(2, lines[6].num_turns)
    assert.equal(json.null, lines[3].parent_tool_use_id)
  end)

  it("to a pipe that closes early ends without noise", function()
    t:script(
      { tools = { { name = "background_run", input = { command = stays("a") } } } },
      { text = ("A long answer. "):rep(10000), wire = { delta = 5000 } })
    for _, format in ipairs({ "text", "json", "stream-json" }) do
      local result = t:run({ command = { "bash", "-c",
        '"$0" "$@" | head -c 1 > first; echo "${PIPESTATUS[0]}"', program.path },
        "-p", "x", "--wait-tasks", "0", "--output-format", format })
      assert.falsy(result.stderr:find("traceback", 1, true), result.stderr)
      assert.falsy(result.stderr:lower():find("pipe", 1, true), result.stderr)
      assert.is_true(#t.place:read("first") == 1, format)
      assert.is_true(tonumber(result.stdout) < 128, result.stdout)
      assert.same({}, t.place:wait_for_no_process())
    end
  end)
end)

describe("output that nobody reads", function()
  it("stops the run", function()
    t:serve({ tools = { { name = "bash", input = { command = "sleep 0.2" } } } })
    local result = t:run({ command = { "sh", "-c", '"$0" "$@" | head -n 2 | wc -l', program.path },
      "-p", "x", "--max-turns", "50", "--output-format", "stream-json" })
    assert.equal("2\n", result.stdout)
    assert.equal("", result.stderr)
    assert.is_true(#t.server.requests() < 10, "requests: " .. #t.server.requests())
  end)

  it("on a full disk is an error", function()
    t:serve({ text = "An answer." })
    for _, format in ipairs({ "text", "json", "stream-json" }) do
      local result = t:run({ command = { "sh", "-c", 'exec "$0" "$@" > /dev/full', program.path },
        "-p", "x", "--output-format", format })
      assert.equal(1, result.code)
      assert.equal(1, #case.lines(result.stderr), result.stderr)
      assert.truthy(result.stderr:find("No space left", 1, true), result.stderr)
    end
  end)

  it("because stdout is closed gets into no other file", function()
    t:serve({ text = "A stray answer." })
    for _, redirection in ipairs({ ">&-", "<&- >&-", "<&- >&- 2>&-" }) do
      local place <close> = program.place()
      local result = place:run({ command = { "sh", "-c", 'exec "$0" "$@" ' .. redirection,
        program.path }, "-p", "x", server = t.server })
      assert.equal(0, result.code, result.stderr)
      local messages = place:messages() -- the file is made of whole lines of JSON
      assert.equal(2, #messages)
    end
  end)
end)

describe("the prompt", function()
  local function sent()
    return t.server.requests()[1].body.messages[1].content[1].text
  end

  before_each(function()
    t:serve({ text = "Ok." })
  end)

  it("comes from the argument", function()
    assert.equal("Ok.\n", t:run({ "-p", "Say it: ü" }).stdout)
    assert.equal("Say it: ü", sent())
  end)

  it("comes from standard input", function()
    assert.equal("Ok.\n", t:run({ "-p", stdin = "Say it\nin lines\n" }).stdout)
    assert.equal("Say it\nin lines", (sent():gsub("\n$", "")))
  end)

  it("comes from standard input without -p, too, when that is no terminal", function()
    assert.equal("Ok.\n", t:run({ stdin = "Say it" }).stdout)
    assert.equal("Say it", sent())
  end)

  it("has what is piped as context", function()
    assert.equal("Ok.\n", t:run({ "-p", "Explain:", stdin = "line 1\nline 2\n" }).stdout)
    assert.truthy(sent():find("^Explain:\n+line 1\nline 2\n*$"), sent())
  end)

  it("may end with the name of a script", function()
    assert.equal("Ok.\n", t:run({ "-p", "Explain src/main.lua" }).stdout)
    assert.equal("Explain src/main.lua", sent())
  end)

  it("may be any word after the flags", function()
    assert.equal("Ok.\n", t:run({ "What is in src/main.c?" }).stdout)
    assert.equal("What is in src/main.c?", sent())
  end)

  it("may start with a hyphen after --", function()
    assert.equal("Ok.\n", t:run({ "-p", "--", "- a list" }).stdout)
    assert.equal("- a list", sent())
  end)

  it("cannot be empty", function()
    for _, opts in ipairs({ { "-p" }, { "-p", "" }, { "-p", "  " }, { "-p", stdin = "\n \n" } }) do
      local result = t:run(opts)
      assert.equal(2, result.code)
      assert.equal("", result.stdout)
      assert.equal(1, #case.lines(result.stderr), result.stderr)
    end
    assert.equal(0, #t.server.requests())
  end)

  it("may be any bytes: the model gets valid UTF-8", function()
    assert.equal("Ok.\n", t:run({ "-p", "Explain:", stdin = "caf\xe9 \xff\0 end" }).stdout)
    assert.truthy(sent():find("end$"), sent())
  end)
end)

describe("exit codes", function()
  it("2 for wrong usage, in one line", function()
    for _, opts in ipairs({ { "--nope" }, { "--modle", "x" }, { "--max-turns" },
      { "--max-turns", "0", "-p", "x" }, { "--max-turns", "1.5", "-p", "x" },
      { "--output-format", "xml", "-p", "x" }, { "--wait-tasks", "-1", "-p", "x" },
      { "--verbose=1", "-p", "x" }, { "no_such_script.lua" }, { "--cwd", "/nope", "-p", "x" } }) do
      local result = t:run(opts)
      assert.equal(2, result.code, table.concat(opts, " "))
      assert.equal("", result.stdout)
      assert.equal(1, #case.lines(result.stderr), result.stderr)
    end
    assert.truthy(t:run({ "--modle", "x" }).stderr:find("did you mean '--model'", 1, true))
  end)

  it("0 for --help and --version", function()
    local help = t:run({ "--help" })
    assert.equal(0, help.code)
    for _, flag in ipairs({ "--print", "--model", "--output-format", "--max-turns", "--cwd",
      "--wait-tasks", "--verbose", "ANTHROPIC_API_KEY", "NO_COLOR" }) do
      assert.truthy(help.stdout:find(flag, 1, true), flag)
    end
    assert.truthy(t:run({ "--version" }).stdout:find("^agenthost %d+%.%d+%.%d+\n$"))
  end)

  it("1 at --max-turns", function()
    t:serve({ tools = { { name = "bash", input = { command = "true" } } } })
    local result = t:run({ "-p", "x", "--max-turns", "3", "--output-format", "json" })
    assert.equal(1, result.code)
    assert.equal(3, #t.server.requests())
    assert.equal("error_max_turns", case.objects(result.stdout)[1].subtype)
    assert.truthy(result.stderr:find("--max-turns", 1, true), result.stderr)
  end)

  it("1 when a call fails while tasks run, which are named", function()
    t:script({ tools = { { name = "background_run", input = { command = stays("pid") } } } },
      { fault = { status = 400, message = "no more" } })
    local result = t:run({ "-p", "x" })
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("no more", 1, true), result.stderr)
    assert.truthy(result.stderr:find("ending task %x+, which still runs: echo"), result.stderr)
    assert.same({}, t.place:wait_for_no_process())
  end)

  it("4 when tasks are ended at --wait-tasks, which are named", function()
    local server = t:script(
      { tools = { { name = "background_run", input = { command = stays("pid") } } } },
      { when = { last_user_lacks = "<background-results>" }, text = "Started." },
      { when = { last_user_contains = "killed" }, text = "It was ended." })
    local result = t:run({ "-p", "x", "--wait-tasks", "1" })
    assert.equal(4, result.code)
    assert.equal("It was ended.\n", result.stdout)
    local id = case.results(server.requests()[2].body)[1].content:match("task (%x+)")
    assert.truthy(result.stderr:find(id, 1, true), result.stderr)
    assert.truthy(result.stderr:find("--wait-tasks", 1, true), result.stderr)
    assert.same({}, t.place:wait_for_no_process())
  end)

  it("4 when background calls of tools are ended there, too; 0 when they end in time", function()
    t.place:write("a.lua", [[return require("agenthost.agent").new({ tools = { {
      name = "slow", description = "d", permission = "none", background = true,
      input = { seconds = "number: how long" }, run = function(input)
        require("agenthost.async").sleep(input.seconds)
        return "slept"
      end } } })]])
    local function run(seconds)
      t:script({ tools = { { name = "slow", input = { seconds = seconds } } } },
        { when = { last_user_contains = "slow is done: slept" }, text = "It slept." },
        { when = { last_user_contains = "slow failed" }, text = "It was ended." },
        { text = "Started." })
      return t:run({ "a.lua", "-p", "x", "--wait-tasks", seconds < 1 and "30" or "0.5" })
    end
    local result = run(0.2)
    assert.same({ 0, "It slept.\n" }, { result.code, result.stdout }, result.stderr)
    result = run(600)
    assert.same({ 4, "It was ended.\n" }, { result.code, result.stdout }, result.stderr)
    assert.matches("stopped call%-%x+ at the bound of 0.5 s %(%-%-wait%-tasks%): slow",
      result.stderr)
  end)

  it("0 when tasks end in time (B7)", function()
    t:script({ tools = { { name = "background_run", input = { command = "sleep 1; echo ok" } } } },
      { text = "Started." }, { when = { last_user_contains = "completed: ok" }, text = "Ok." })
    local result = t:run({ "-p", "x", "--wait-tasks", "30" })
    assert.equal("Ok.\n", result.stdout)
    assert.equal(0, result.code)
  end)

  it("0 when what still runs is detached: it is neither waited for nor ended (B25)", function()
    local command = "echo up; exec sleep 600"
    t:script({ tools = { { name = "background_run",
      input = { command = command, detached = true, ready_pattern = "up" } } } },
      { text = "It serves." })
    local result = t:run({ "-p", "x", "--wait-tasks", "90", seconds = 60 })
    assert.same({ 0, "It serves.\n" }, { result.code, result.stdout })
    local id, what = result.stderr:match("^agenthost: task (%x+) goes on, detached: ([^\n]+)\n$")
    assert.equal(command, what, result.stderr)
    local killed = t:run({ "tasks", "kill", id })
    assert.equal(("ended task %s: %s\n"):format(id, command), killed.stdout, killed.stderr)
    assert.same({}, t.place:wait_for_no_process())
  end)

  for signal, code in pairs({ INT = 130, TERM = 143, HUP = 129 }) do
    it(code .. " on SIG" .. signal .. ": tasks are ended, the conversation is kept", function()
      t:script(
        { tools = { { name = "background_run", input = { command = stays("a") } },
          { name = "background_run", input = { command = "trap '' TERM INT HUP; " .. stays("b") } },
          { name = "bash", input = { command = "setsid sleep 600 & " .. stays("c") } } } },
        { text = "never" })
      local running = t:start({ "-p", "x" })
      for _, file in ipairs({ "a", "b", "c" }) do
        t:wait_for_file(file)
      end
      running:signal(signal)
      local result = running:wait(30)
      assert.equal(code, result.code)
      assert.equal("", result.stdout)
      assert.equal(3, case.count(result.stderr, "ending task "), result.stderr)
      assert.same({}, t.place:wait_for_no_process())
      local messages = t.place:messages()
      assert.equal(3, #messages)
      assert.equal(3, #messages[3].content)
    end)

    it(code .. " on SIG" .. signal .. " while the model speaks", function()
      t:serve({ text = ("word "):rep(100), wire = { event_delay = 0.2 } })
      local running = t:start({ "-p", "x" })
      t.server.wait(function(log) return log[2] end)
      running:signal(signal)
      local result = running:wait(10)
      assert.equal(code, result.code)
      assert.equal("", result.stdout)
      t.place:session()
    end)

    it(code .. " on SIG" .. signal .. " while it waits for tasks", function()
      t:script({ tools = { { name = "background_run", input = { command = stays("a") } } } },
        { text = "Started." })
      local running = t:start({ "-p", "x" })
      t:wait_for_file("a")
      t.server.wait(function(log)
        local ended = 0
        for _, entry in ipairs(log) do
          ended = ended + (entry.kind == "end" and 1 or 0)
        end
        return ended == 2
      end)
      running:signal(signal)
      assert.equal(code, running:wait(20).code)
      assert.same({}, t.place:wait_for_no_process())
    end)
  end

  it("keeps the answer in reach when a signal ends the wait for tasks", function()
    t:script({ tools = { { name = "background_run", input = { command = stays("a") } } } },
      { text = "Started it." })
    local running = t:start({ "-p", "x" })
    t:wait_for_file("a")
    tmux.eventually(function() return #t.place:messages() == 4 end)
    running:signal("TERM")
    running:wait(20)
    assert.equal("Started it.", t.place:messages()[4].content[1].text)
  end)
end)

describe("plugins that wait at the end", function()
  local function agent_with(bound)
    return ([[
      local async, defaults = require("agenthost.async"), require("agenthost.defaults")
      defaults.plugin.setup = %g
      return require("agenthost.agent").new({
        provider = require("agenthost.provider.scripted").new(function() return "done" end, "m"),
        plugins = { { name = "slow",
          setup = function(ctx)
            ctx.on("session.end", function()
              io.stderr:write("at the end\n")
              async.sleep(3600)
            end, { priority = 1 })
            ctx.on("session.end", function() io.stderr:write("the other one, too\n") end)
          end,
          teardown = function()
            io.stderr:write("torn down\n")
            async.sleep(3600)
          end } },
      })]]):format(bound)
  end

  it("are stopped after defaults.plugin.setup", function()
    t.place:write("a.lua", agent_with(0.2))
    local result = t:run({ "a.lua", "-p", "x" })
    assert.same({ "done\n", 0 }, { result.stdout, result.code })
    assert.matches("its handler of 'session.end' was stopped: it has waited for more than 0.2 s",
      result.stderr, 1, true)
    assert.matches("its teardown was stopped: it has waited for more than 0.2 s", result.stderr, 1,
      true)
  end)

  it("are stopped by signals, one wait after the other", function()
    t.place:write("a.lua", agent_with(600))
    local running = t:start({ "a.lua", "-p", "x" })
    for _, line in ipairs({ "at the end\n", "torn down\n" }) do
      assert(tmux.eventually(function() return running:stderr():find(line, 1, true) end))
      running:signal("TERM")
    end
    local result = running:wait(20)
    assert.equal("done\n", result.stdout)
    assert.equal(2, case.count(result.stderr, "stopped by SIGTERM"), result.stderr)
    assert.matches("its handler of 'session.end' was stopped: stopped by SIGTERM", result.stderr, 1,
      true)
    assert.equal(1, case.count(result.stderr, "the other one, too"), result.stderr)
  end)
end)

describe("the model", function()
  it("may be a Lua file", function()
    t.place:write("model.lua", [[return { { tools = { { "bash", { command = "echo $((6*7))" } } } },
      function(request) return "I saw " .. request.last end }]])
    local result = t:run({ "--model", "scripted/model.lua", "-p", "x" })
    assert.equal("I saw 42\n", result.stdout, result.stderr)
    result = t:run({ "--model", "scripted/" .. t.place.work .. "/model.lua", "-p", "x", cwd = "/" })
    assert.equal("I saw 42\n", result.stdout, result.stderr)
  end)

  it("is searched beside the script, too", function()
    t.place:write("agents/model.lua", 'return { "From the script\'s folder." }')
    t.place:write("agents/agent.lua",
      'return require("agenthost.agent").new({ model = "scripted/model.lua" })')
    local expected = "From the script's folder.\n"
    assert.equal(expected, t:run({ "agents/agent.lua", "-p", "x" }).stdout)
    assert.equal(expected,
      t:run({ "agents/agent.lua", "-p", "x", "--model", "scripted/model.lua" }).stdout)
  end)

  it("that does not exist is one line", function()
    for _, name in ipairs({ "scripted/nope.lua", "nope/x", "nope" }) do
      local result = t:run({ "--model", name, "-p", "x" })
      assert.equal(1, result.code)
      assert.equal("", result.stdout)
      assert.equal(1, #case.lines(result.stderr), result.stderr)
      assert.truthy(result.stderr:find("nope", 1, true))
    end
  end)

  it("is named by --model, before the environment", function()
    t:serve({ when = { model = "claude-other" }, text = "Other." }, { text = "Default." })
    assert.equal("Other.\n", t:run({ "-p", "x", "--model", "anthropic/claude-other" }).stdout)
    assert.equal("Other.\n", t:run({ "-p", "x", "--model=claude-other" }).stdout)
    assert.equal("Other.\n", t:run({ "-p", "x", env = { ANTHROPIC_MODEL = false,
      MODEL_ID = "claude-other" } }).stdout)
    assert.equal("Default.\n", t:run({ "-p", "x" }).stdout)
  end)

  it("is a small script when nothing is set, said in one line with the way out", function()
    local result = t:run({ "-p", "Run `echo $((40+2))`" })
    assert.truthy(result.stdout:find("42", 1, true), result.stdout)
    assert.equal(0, result.code)
    assert.equal(1, #case.lines(result.stderr), result.stderr)
    assert.truthy(result.stderr:find("ANTHROPIC_API_KEY", 1, true), result.stderr)
    assert.truthy(result.stderr:find("--model", 1, true), result.stderr)
  end)

  it("plays the lesson's exercise without a key", function()
    local result = t:run({ "-p",
      "Run `sleep 1 && echo done` in the background, then create a file while it runs" })
    assert.equal(0, result.code)
    assert.truthy(result.stdout:find("^%x%x%x%x%x%x%x%x has ended: completed.\n$"), result.stdout)
    assert.truthy(t.place:read("created-meanwhile.txt"))
  end)

  it("may have a base address with or without /v1 or /", function()
    t:serve({ text = "Ok." })
    for _, tail in ipairs({ "", "/", "/v1", "/v1/" }) do
      local result = t:run({ "-p", "x", env = { ANTHROPIC_BASE_URL = t.server.url .. tail } })
      assert.equal("Ok.\n", result.stdout, tail)
    end
  end)
end)

describe("--cwd", function()
  it("is where commands and files are", function()
    t.place:write("sub/here.txt", "found")
    t:script({ tools = { { name = "bash", input = { command = "pwd" } },
        { name = "read_file", input = { path = "here.txt" } },
        { name = "read_file", input = { path = "../../state/x" } } } },
      { text = "Ok." })
    local result = t:run({ "-p", "x", "--cwd", "sub" })
    assert.equal("Ok.\n", result.stdout, result.stderr)
    local results = case.results(t.server.requests()[2].body)
    assert.equal(t.place.work .. "/sub\n", results[1].content)
    assert.equal("found", results[2].content)
    assert.is_true(results[3].is_error)
    assert.truthy(t.server.requests()[1].body_text:find(t.place.work .. "/sub", 1, true))
  end)

  it("does not move the script", function()
    assert(t.place:write("sub/x", ""))
    t.place:write("agent.lua",
      'return require("agenthost.agent").new({ model = "scripted/m.lua" })')
    t.place:write("m.lua", 'return { "Here." }')
    assert.equal("Here.\n", t:run({ "agent.lua", "-p", "x", "--cwd", "sub" }).stdout)
  end)
end)

describe("an agent script", function()
  local function failing(text)
    t.place:write("agent.lua", text)
    local result = t:run({ "agent.lua", "-p", "x" })
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    return result.stderr
  end

  it("with a syntax error: the line", function()
    local said = failing("local agent = 1\nreturn = 5\n")
    assert.truthy(said:find("agent.lua:2: unexpected symbol near '='", 1, true), said)
    assert.equal(1, #case.lines(said))
  end)

  it("with a runtime error: a traceback that starts at the user's line", function()
    local said = failing("local function inner()\n  return nil + 1\nend\nlocal x = inner()\n"
      .. "return x\n")
    assert.truthy(said:find("agent.lua:2: attempt to perform arithmetic on a nil", 1, true), said)
    assert.truthy(said:find("stack traceback:\n[^\n]*agent.lua:2: in [^\n]*\n[^\n]*agent.lua:4: "),
      said)
  end)

  it("with an unknown option: the script, the option and a hint, no traceback", function()
    local said = failing('local agent = require("agenthost.agent")\n'
      .. 'return agent.new({ sytem = "x" })\n')
    assert.truthy(said:find("^agenthost: [^\n]*agent.lua: unknown option 'sytem'; did you mean "
      .. "'system'%?\n$"), said)
    said = failing('local agent = require("agenthost.agent")\n'
      .. 'local a = agent.new({\n  sytem = "x" })\nreturn a\n')
    assert.truthy(said:find("agent.lua:2: unknown option 'sytem'", 1, true), said)
  end)

  it("with an unknown plugin, or an unknown option of one", function()
    local said = failing('return require("agenthost.agent").new({ plugins = { "shel" } })')
    assert.truthy(said:find("plugin 'shel'", 1, true), said)
    assert.equal(1, #case.lines(said), said)
    said = failing(
      'return require("agenthost.agent").new({ plugins = { { "shell", background_aftr = 1 } } })')
    assert.truthy(said:find("did you mean 'background_after'", 1, true), said)
  end)

  it("that returns a number", function()
    local said = failing("return 7")
    assert.truthy(said:find("returned a number", 1, true), said)
    assert.equal(1, #case.lines(said), said)
  end)

  it("that returns nothing is simply run", function()
    t:serve({ text = "unused" })
    t.place:write("script.lua", [[
      local task = require("agenthost.task")
      local http = require("agenthost.http")
      local sys = require("agenthost.sys")
      local one = assert(task.run("echo from a task; exit 3"))
      local status, state = one:wait(20)
      print(status, state.code, (one:output():gsub("\n", "")))
      local response = assert(http.request({ url = sys.getenv("URL") .. "/v1/models",
        headers = { ["x-api-key"] = "test-key", ["anthropic-version"] = "2023-06-01" } }))
      print(response.status, response.body:find("claude-test-1", 1, true) ~= nil)
      print(arg[0]:match("[^/]*$"), arg[1], arg[2], #arg, ...)
      print(os.getenv("OTHER_API_KEY"))]])
    local result = t:run({ "script.lua", "one", "two words", env = { URL = t.server.url,
      OTHER_API_KEY = "visible-to-lua" } })
    assert.equal("failed\t3\tfrom a task\n200\ttrue\n"
      .. "script.lua\tone\ttwo words\t2\tone\ttwo words\nvisible-to-lua\n",
      result.stdout, result.stderr)
    assert.equal("", result.stderr)
    assert.equal(0, result.code)
    assert.equal(0, #t.server.requests())
  end)

  it("that leaves tasks behind: they are ended with it", function()
    t.place:write("script.lua", [[
      local task = require("agenthost.task")
      assert(task.run("exec sleep 600"))
      assert(task.run("setsid sleep 600"))
      local last = assert(task.run("sleep 600 & echo up; wait"))
      while last:output() == "" do last:wait(0.01) end
    ]])
    local result = t:run({ "script.lua" })
    assert.equal(0, result.code, result.stderr)
    assert.same({}, t.place:wait_for_no_process())
  end)

  it("edited between two runs is in effect: prompt and tool, no compiler", function()
    t:serve({ times = 1, tools = { { name = "greet", input = { who = "Ada" } } } },
      { times = 1, text = "Ok." },
      { times = 1, tools = { { name = "greet", input = { who = "Ada" } } } }, { text = "Ok." })
    t.place:write("agent.lua", [[
      return require("agenthost.agent").new({
        system = function(env) return "Prompt one in " .. env.cwd end,
        plugins = { "./tools.lua" },
      })]])
    t.place:write("tools.lua", [[
      return {
        name = "greet",
        description = "Greets.",
        input = { who = "string: whom" },
        run = function(input) return "Hello, " .. input.who end,
      }]])
    assert.equal("Ok.\n", t:run({ "agent.lua", "-p", "x" }).stdout)
    for file, change in pairs({ ["agent.lua"] = { "one", "two" },
      ["tools.lua"] = { "Hello", "Good evening" } }) do
      t.place:write(file, (t.place:read(file):gsub(change[1], change[2])))
    end
    assert.equal("Ok.\n", t:run({ "agent.lua", "-p", "x" }).stdout)
    local requests = t.server.requests()
    assert.equal("Prompt one in " .. t.place.work, requests[1].body.system[1].text)
    assert.equal("Hello, Ada", case.results(requests[2].body)[1].content)
    assert.equal("Prompt two in " .. t.place.work, requests[3].body.system[1].text)
    assert.equal("Good evening, Ada", case.results(requests[4].body)[1].content)
    assert.equal(1, #requests[1].body.tools)
  end)

  it("may have tools that raise, return tables, nothing, or blocks", function()
    t.place:write("agent.lua", [[
      local function tool(name, run)
        return { name = name, description = "x", run = run }
      end
      return require("agenthost.agent").new({ tools = {
        tool("raises", function() error("it broke") end),
        tool("raises_table", function() error({ 1 }) end),
        tool("gives_table", function() return { a = { 1, 2 } } end),
        tool("gives_nothing", function() end),
        tool("gives_blocks", function() return { { type = "text", text = "block" } } end),
        tool("gives_bytes", function() return "\xff\0\27[31mx" end),
        tool("gives_nan", function() return { 0/0 } end),
      } })]])
    local calls = {}
    for i, name in ipairs({ "raises", "raises_table", "gives_table", "gives_nothing",
      "gives_blocks", "gives_bytes", "gives_nan" }) do
      calls[i] = { name = name, input = {} }
    end
    t:script({ tools = calls }, { text = "Ok." })
    local result = t:run({ "agent.lua", "-p", "x" })
    assert.equal("Ok.\n", result.stdout, result.stderr)
    local results = case.results(t.server.requests()[2].body)
    assert.is_true(results[1].is_error)
    assert.truthy(results[1].content:find("it broke", 1, true))
    assert.is_true(results[2].is_error)
    assert.same({ a = { 1, 2 } }, json.decode(results[3].content))
    assert.equal("(no output)", results[4].content)
    assert.equal("block", results[5].content[1].text)
    assert.truthy(results[6].content:find("x$"))
    assert.is_true(results[7].is_error)
  end)
end)

describe("defaults of the user's own", function()
  local function write(text)
    t.place:write(t.place.config .. "/agenthost/lua/agenthost/defaults.lua", text)
  end

  it("may say only what differs", function()
    write("return { run = { max_turns = 1 } }")
    t:script({ tools = { { name = "bash", input = { command = "true" } } } }, { text = "Done." })
    local result = t:run({ "-p", "x", "--output-format", "json" })
    assert.equal("error_max_turns", case.objects(result.stdout)[1].subtype)
  end)

  it("are refused in one line where a value is of another kind", function()
    write("return { run = { max_turns = 'many' } }")
    local result = t:run({ "-p", "x" })
    assert.equal(1, result.code)
    assert.matches("^agenthost: %S*/defaults.lua: run.max_turns: expected a number, got 'many'\n$",
      result.stderr)
  end)
end)
