-- Permissions as users meet them: in scripts, and as questions on a real terminal.
local case = require("support.case")
local interactive = require("support.interactive")
local json = require("agenthost.json")
local tmux = require("support.tmux")

local t, term

before_each(function()
  t = case.new()
  t.place:settings(nil) -- as it is for everybody
end)

after_each(function()
  t:finish()
end)

local function bash(command, id)
  return { name = "bash", input = { command = command }, id = id }
end

local function results(number)
  return case.results(t.server.requests()[number].body)
end

describe("headless", function()
  it("refuses commands and edits, says so, and how to allow them", function()
    t:script({ tools = { bash("touch made"),
      { name = "write_file", input = { path = "n.txt", content = "x" } },
      { name = "background_run", input = { command = "touch made" } } } },
      { text = "I could not." })
    local result = t:run({ "-p", "x", "--output-format", "json" })
    assert.equal(0, result.code)
    local object = case.objects(result.stdout)[1]
    assert.equal("I could not.", object.result)
    assert.equal(3, #object.permission_denials)
    table.sort(object.permission_denials, function(a, b) return a.tool_name < b.tool_name end)
    assert.equal("background_run", object.permission_denials[1].tool_name)
    assert.same({ command = "touch made" }, object.permission_denials[1].tool_input)
    for _, one in ipairs(results(2)) do
      assert.is_true(one.is_error)
      assert.matches("there is nobody to ask", one.content)
    end
    assert.matches("--allowed-tools 'bash(touch made)'", results(2)[1].content, 1, true)
    assert.matches("agenthost: not run: bash touch made: Permission denied", result.stderr, 1, true)
    assert.is_nil(t.place:read("made"))
    assert.is_nil(t.place:read("n.txt"))
  end)

  for name, flags in pairs({
    ["--allowed-tools"] = { "--allowed-tools", "bash(touch:*), edit" },
    ["--allowedTools"] = { "--allowedTools", "Bash(touch:*) Edit" },
    ["--allowedTools="] = { "--allowedTools=Bash(touch:*)", "--permission-mode=acceptEdits" },
    ["--permission-mode"] = { "--permission-mode", "bypassPermissions" },
  }) do
    it("runs what is allowed by " .. name, function()
      t:script({ tools = { bash("touch made"),
        { name = "write_file", input = { path = "n.txt", content = "x" } } } }, { text = "Done." })
      local result = t:run({ "-p", "x", table.unpack(flags) })
      assert.equal("Done.\n", result.stdout)
      assert.equal("", result.stderr)
      assert.truthy(t.place:read("made"))
      assert.equal("x", t.place:read("n.txt"))
    end)
  end

  it("refuses by --disallowed-tools whatever the mode, and however it is written", function()
    t:script({ tools = { bash("touch made"), bash("echo x; env A=1 touch made"),
      bash("echo \"$(touch made)\""), bash("echo fine") } }, { text = "Done." })
    t:run({ "-p", "x", "--permission-mode", "bypassPermissions", "--disallowed-tools",
      "bash(touch:*)" })
    for i = 1, 3 do
      assert.matches("the rule deny bash(touch:*) forbids it", results(2)[i].content, 1, true)
    end
    assert.equal("fine\n", results(2)[4].content)
    assert.is_nil(t.place:read("made"))
  end)

  it("takes rules and mode of the agent script, then of the settings", function()
    t.place:settings([[return { permissions = { mode = "bypassPermissions",
      deny = { "bash(touch never:*)" }, allow = { "bash(touch two)" } } }]])
    t.place:write("a.lua", [[return require("agenthost.agent").new({ plugins = { "shell" },
      permissions = { mode = "default", allow = { "bash(touch one)", "bash(touch never)" } } })]])
    t:script({ tools = { bash("touch one"), bash("touch two"), bash("touch three"),
      bash("touch never") } }, { text = "Done." })
    assert.equal(0, t:run({ "a.lua", "-p", "x" }).code)
    assert.truthy(t.place:read("one"))
    assert.truthy(t.place:read("two"))
    assert.is_nil(t.place:read("three"))
    assert.is_nil(t.place:read("never"))
  end)

  it("runs the lesson's exercises as typed, with the flag", function()
    for prompt, expected in pairs({
      ["Run `sleep 5 && echo done` in the background, then create a file while it runs"] =
        "completed",
      ["Start 3 background tasks: `sleep 2`, `sleep 4`, `sleep 6`. Check their status"] =
        "completed",
      ["Run pytest in the background and keep working on other things"] = "failed",
    }) do
      local path = t:program("pytest", "#!/bin/sh\nexit 1\n")
      local result = t:run({ "-p", prompt, "--model", "scripted/demo", "--permission-mode",
        "bypassPermissions", env = { PATH = path } })
      assert.equal(0, result.code, result.stderr)
      assert.equal("", result.stderr)
      assert.matches(expected, result.stdout)
    end
  end)

  it("plan: changes nothing", function()
    t.place:write("old.txt", "old")
    t:script({ tools = { bash("touch made"), { name = "read_file", input = { path = "old.txt" } },
      { name = "edit_file", input = { path = "old.txt", old_text = "old", new_text = "new" } } } },
      { text = "My plan." })
    t:run({ "-p", "x", "--permission-mode", "plan", "--allowed-tools", "bash" })
    assert.matches("plan mode", results(2)[1].content)
    assert.equal("old", results(2)[2].content)
    assert.matches("plan mode", results(2)[3].content)
    assert.equal("old", t.place:read("old.txt"))
    assert.is_nil(t.place:read("made"))
  end)

  it("says in one line what is wrong with flags and settings", function()
    for _, one in ipairs({
      { { "--permission-mode", "yolo" }, 2, "--permission-mode: unknown permission mode 'yolo'" },
      { { "--allowed-tools", "bash(a|b)" }, 2, "--allowed-tools: the rule 'bash(a|b)' has to" },
      { { "--input-format", "xml" }, 2, "--input-format: expected text or stream-json, got 'xml'" },
      { { "--input-format", "stream-json" }, 2, "takes the prompts from standard input" },
    }) do
      local result = t:run({ "-p", "x", table.unpack(one[1]) })
      assert.equal(one[2], result.code)
      assert.matches(one[3], result.stderr, 1, true)
      assert.equal(1, #case.lines(result.stderr))
    end
    t.place:settings("return {\n permissions = 7 + nil }")
    local result = t:run({ "-p", "x" })
    assert.equal(1, result.code)
    assert.matches("agenthost/settings.lua:2: attempt to perform", result.stderr, 1, true)
    assert.equal(1, #case.lines(result.stderr))
  end)

  it("has prompts by --system-prompt and --append-system-prompt", function()
    local function system_of(...)
      t:serve({ text = "Ok." })
      assert.equal(0, t:run({ "-p", "x", ... }).code)
      local system = t.server.requests()[1].body.system
      t.server.stop()
      return type(system) == "table" and system[1].text or system
    end
    assert.equal("Be a pirate.", system_of("--system-prompt", "Be a pirate."))
    assert.matches("^You are a coding agent.*\n\nBe brief%.$",
      system_of("--append-system-prompt", "Be brief."))
  end)

  it("stream-json: tells the mode and the denials", function()
    t:script({ tools = { bash("true") } }, { text = "No." })
    local result = t:run({ "-p", "x", "--output-format", "stream-json", "--permission-mode",
      "dontAsk" })
    local lines = case.objects(result.stdout)
    assert.equal("dontAsk", lines[1].permissionMode)
    assert.same({}, lines[1].mcp_servers)
    assert.is_true(json.is_array(lines[1].mcp_servers))
    local last = lines[#lines]
    assert.equal("bash", last.permission_denials[1].tool_name)
    assert.equal("integer", math.type(last.duration_api_ms))
    assert.matches("in the mode dontAsk nobody is asked", results(2)[1].content)
  end)
end)

describe("--include-partial-messages", function()
  it("gives the events of a reply that add up to it", function()
    t:script({ thinking = "Hm.", text = "Let me look.",
      tools = { { name = "read_file", input = { path = "none" } } } }, { text = "Done." })
    local result = t:run({ "-p", "x", "--output-format", "stream-json",
      "--include-partial-messages" })
    local message, messages, open = nil, {}, nil
    for _, line in ipairs(case.objects(result.stdout)) do
      local event = line.type == "stream_event" and line.event or { type = "other" }
      if event.type == "message_start" then
        message = event.message
      elseif event.type == "content_block_start" then
        assert.is_nil(open)
        open = event.content_block
        message.content[event.index + 1] = open
      elseif event.type == "content_block_delta" then
        for _, field in ipairs({ "text", "thinking", "partial_json" }) do
          open[field] = event.delta[field] and (open[field] or "") .. event.delta[field]
            or open[field]
        end
      elseif event.type == "content_block_stop" then
        open = nil
      elseif event.type == "message_delta" then
        message.stop_reason = event.delta.stop_reason
      elseif event.type == "message_stop" then
        messages[#messages + 1] = message
      end
    end
    assert.equal(2, #messages)
    local content = messages[1].content
    assert.equal("Hm.", content[1].thinking)
    assert.equal("Let me look.", content[2].text)
    assert.same({ path = "none" }, json.decode(content[3].partial_json))
    assert.equal("tool_use", messages[1].stop_reason)
    assert.equal("Done.", messages[2].content[1].text)
    assert.equal("end_turn", messages[2].stop_reason)
  end)
end)

describe("--input-format stream-json", function()
  local function user(content)
    return json.encode({ type = "user", message = { role = "user", content = content } }) .. "\n"
  end

  local function run(stdin, ...)
    return t:run({ "-p", "--input-format", "stream-json", "--output-format", "stream-json",
      stdin = stdin, ... })
  end

  it("runs one message after the other, each with its result", function()
    t:script({ text = "To one." }, { text = "To two." })
    local result = run(user("One") .. "\n" .. '{"type":"control_request"}\n'
      .. user({ { type = "text", text = "Two" }, { type = "text", text = "more" } }))
    assert.equal(0, result.code, result.stderr)
    local told = {}
    for _, line in ipairs(case.objects(result.stdout)) do
      if line.type == "result" then
        told[#told + 1] = line.result
        assert.equal(1, line.num_turns)
      end
    end
    assert.same({ "To one.", "To two." }, told)
    local messages = t.server.requests()[2].body.messages
    assert.equal("One", messages[1].content[1].text)
    assert.equal("Two\nmore", messages[3].content[1].text)
  end)

  it("goes on while somebody still writes, and takes a last line without its end", function()
    t:script({ text = "To one." }, { text = "To two." })
    local script = [[{ printf '%s' "$1"; until grep -q '"result":"To one' out; do sleep 0.05; done
      printf '%s' "$2"; } | "$0" -p --input-format stream-json --output-format stream-json >out]]
    local result = t:run({ command = { "sh", "-c", script, require("support.program").path },
      user("One"), (user("Two"):gsub("\n", "")) })
    assert.equal(0, result.code, result.stderr)
    assert.matches("To two.", t.place:read("out"), 1, true)
  end)

  it("says which line is wrong", function()
    t:serve({ text = "Ok." })
    for _, one in ipairs({
      { "\nno json\n", "standard input, line 2: not JSON" },
      { "7\n", "line 1: expected an object with a type" },
      { '{"type":"user"}\n', "line 1: a user message needs `message.content`" },
      { user({ { type = "image" } }), "line 1: only blocks of type text, and" },
      { user(" "), "line 1: the message is empty" },
      { "", "there is no user message on standard input" },
    }) do
      local result = run(one[1])
      assert.equal(1, result.code)
      assert.matches(one[2], result.stderr, 1, true)
      local lines = case.objects(result.stdout)
      assert.is_true(lines[#lines].is_error)
    end
  end)
end)

describe("on a terminal a question", function()
  local function start(opts)
    opts = opts or {}
    opts.server = t.server
    opts.env = { TERM = opts.TERM or "screen", NO_COLOR = "1" }
    term = interactive.run(t, { command = t.place:words(opts), width = opts.width })
    term:wait_for("\n> *$")
  end

  local function say(text)
    term:type(text)
    term:keys("Enter")
  end

  local function wait_question(text)
    return term:wait_for(function(screen)
      return screen:find(text, 1, true) and screen:find("\ny/n%?[^\n]*$")
    end)
  end

  local function wait_answer(text)
    return term:wait_for(function(screen)
      return screen:find(text, 1, true) and screen:find("\n> *[^\n]*$")
    end)
  end

  it("shows exactly what will run; yes runs it once", function()
    t:script({ tools = { bash("touch made; printf 'a\27[31m\rb' | cat") } },
      { tools = { bash("touch again") } }, { text = "End." })
    start()
    say("Go")
    local screen = wait_question("May bash run this command?")
    assert.matches("│ touch made; printf 'a\\x1b[31m\\x0db' | cat", screen, 1, true)
    assert.is_nil(t.place:read("made"))
    say("y")
    wait_question("│ touch again")
    assert.truthy(t.place:read("made"))
    say("yes")
    wait_answer("End.")
    assert.truthy(t.place:read("again"))
  end)

  it("always: adds a rule, and does not ask again", function()
    t:script({ tools = { bash("git status") } }, { tools = { bash("git status -s") } },
      { tools = { bash("git status > x") } }, { text = "End." })
    start()
    say("Go")
    wait_question("a always here: bash(git status:*)")
    say("a")
    local screen = wait_question("│ git status > x")
    assert.matches("no allow rule covers it: it redirects '>' a file", screen, 1, true)
    assert.is_nil(screen:find("git status -s\n│"))
    say("n")
    wait_answer("End.")
    assert.equal(4, #t.server.requests())
    assert.matches("the user said no", results(4)[1].content)
  end)

  it("no with a reason, in one line or two", function()
    t:script({ tools = { bash("one") } }, { tools = { bash("two") } }, { text = "End." })
    start()
    say("Go")
    wait_question("│ one")
    say("r use make")
    wait_question("│ two")
    say("r")
    term:wait_for("\nreason: *$")
    say("not today")
    wait_answer("End.")
    assert.equal("Permission denied: the user said no: use make", results(2)[1].content)
    assert.equal("Permission denied: the user said no: not today", results(3)[1].content)
  end)

  it("is asked again after a line that is no answer", function()
    t:script({ tools = { bash("touch made") } }, { text = "End." })
    start()
    say("Go")
    wait_question("│ touch made")
    for _, line in ipairs({ "", "yes please", "ok", "run it" }) do
      say(line)
    end
    say("n")
    wait_answer("End.")
    assert.is_nil(t.place:read("made"))
  end)

  it("about an edit shows it; yes is for all edits", function()
    t.place:write("a.txt", "one two\n")
    t:script({ tools = { { name = "edit_file", input = { path = "a.txt", old_text = "one",
      new_text = "1" } } } },
      { tools = { { name = "write_file", input = { path = "b.txt", content = "b\n" } } } },
      { text = "End." })
    start()
    say("Go")
    local screen = wait_question("May edit_file change this file?")
    assert.matches("│ a.txt\n│\n│ - one\n│ + 1\n", screen, 1, true)
    say("y")
    wait_answer("End.")
    assert.equal("1 two\n", t.place:read("a.txt"))
    assert.equal("b\n", t.place:read("b.txt"))
  end)

  it("is not answered by what was typed before it was shown", function()
    t:script({ text = "wait", tools = { bash("touch made") }, wire = { event_delay = 0.4 } },
      { text = "End." })
    start()
    say("Go")
    term:wait_for("wait")
    say("y")
    term:type("y half")
    wait_question("│ touch made")
    term:keys("Enter")
    term:wait_for("y/n%? *\n.*y/n%? *$")
    assert.is_nil(t.place:read("made"))
    say("n")
    term:wait_for("End%.\n> y half$")
    local content = t.server.requests()[2].body.messages[3].content
    assert.same({ "tool_result", "text" }, { content[1].type, content[2].type })
    assert.equal("y", content[2].text) -- it was for the model
  end)

  it("is a no by Ctrl-C, which stops the run", function()
    t:script({ tools = { bash("touch made", "toolu_a"), bash("touch made2", "toolu_b") } },
      { text = "Go on then." })
    start()
    say("Go")
    wait_question("│ touch made")
    term:type("y")
    term:keys("C-c")
    wait_answer("(stopped)")
    assert.is_nil(t.place:read("made"))
    assert.is_nil(t.place:read("made2"))
    say("Next")
    wait_answer("Go on then.")
    assert.equal("Cancelled by the user; it was not run.", results(2)[1].content)
    assert.equal("Cancelled by the user; it was not run.", results(2)[2].content)
  end)

  it("is not answered by a notice that comes meanwhile (B17)", function()
    t:script({ tools = { { name = "background_run", input = { command =
        "while [ ! -e go ]; do sleep 0.05; done; echo y; echo yes" } } } },
      { tools = { bash("touch made") } }, { text = "End." })
    start({ "--allowed-tools", "background_run" })
    say("Go")
    wait_question("│ touch made")
    t.place:write("go", "")
    assert(tmux.eventually(function()
      return t.place:run({ "tasks", server = false }).stdout:find("completed", 1, true)
    end))
    term:type("n")
    term:wait_for("\ny/n%? n$")
    assert.is_nil(t.place:read("made"))
    term:keys("Enter")
    wait_answer("End.")
    assert.is_nil(t.place:read("made"))
    assert.matches("the user said no", results(3)[1].content)
    assert.matches("completed: y", case.last_text(t.server.requests()[3].body))
  end)

  it("is asked one after the other for the calls of one reply", function()
    t:script({ tools = { bash("touch one"), bash("touch two"), bash("touch three") } },
      { text = "End." })
    start()
    say("Go")
    wait_question("│ touch one")
    assert.is_nil(term:screen():find("touch two", 1, true))
    say("y")
    wait_question("│ touch two")
    say("n")
    wait_question("│ touch three")
    say("y")
    wait_answer("End.")
    assert.truthy(t.place:read("one"))
    assert.is_nil(t.place:read("two"))
    assert.truthy(t.place:read("three"))
  end)

  it("is a no at the end of the input", function()
    t:script({ tools = { bash("touch made") } }, { text = "End." })
    start()
    say("Go")
    wait_question("│ touch made")
    term:keys("C-d")
    assert(tmux.eventually(function() return not term:alive() end), term:screen())
    assert.is_nil(t.place:read("made"))
  end)

  it("is all that the lesson's first exercise needs, as typed", function()
    term = interactive.run(t, { command = t.place:words({ "--model", "scripted/demo",
      env = { TERM = "screen", NO_COLOR = "1" } }) })
    term:wait_for("\n> *$")
    say("Run `sleep 5 && echo done` in the background, then create a file while it runs")
    wait_question("│ sleep 5 && echo done")
    say("y")
    wait_question("│ created-meanwhile.txt")
    say("y")
    wait_answer("completed.")
    assert.truthy(t.place:read("created-meanwhile.txt"))
  end)

  it("works with TERM=dumb", function()
    t:script({ tools = { bash("touch made") } }, { text = "End." })
    start({ TERM = "dumb" })
    say("Go")
    wait_question("│ touch made")
    say("y")
    wait_answer("End.")
    assert.truthy(t.place:read("made"))
  end)

  it("folds what is too long for the terminal, and shows all of it", function()
    local command = "echo " .. ("0123456789"):rep(12) .. (" "):rep(70) .. "y yes, once"
    t:script({ tools = { bash(command) } }, { text = "End." })
    start({ width = 60 })
    say("Go")
    local screen = wait_question("May bash")
    local shown = {}
    for line in screen:gmatch("│ ([^\n]*)") do
      shown[#shown + 1] = line
    end
    assert.equal(command:gsub(" ", ""), (table.concat(shown):gsub(" ", "")))
    assert.is_true(#shown >= 4)
    say("n")
    wait_answer("End.")
  end)
end)
