-- The interactive program in a real terminal.
local case = require("support.case")
local interactive = require("support.interactive")
local program = require("support.program")
local tmux = require("support.tmux")

describe("the interactive agent", function()
  local t, term

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  local at_prompt <const> = interactive.at_prompt

  local function start(opts)
    term = interactive.start(t, opts)
    return term
  end

  local function say(line)
    term:say(line)
  end

  local function wait_answer(text)
    return term:wait_answer(text)
  end

  local function wait_dead()
    return term:wait_dead()
  end

  local function pid_of_program()
    for _, process in ipairs(t.place:processes()) do
      local pid, name = process:match("^(%d+) (%S+)")
      if name == program.path then
        return pid
      end
    end
    error("it does not run")
  end

  it("answers, keeps the conversation, and does nothing on an empty line", function()
    t:script({ text = "First answer." }, { text = "Second answer." })
    start()
    term:keys("Enter")
    term:keys("Enter")
    say("One")
    wait_answer("First answer.")
    say("   ")
    say("Two")
    wait_answer("Second answer.")
    local requests = t.server.requests()
    assert.equal(2, #requests)
    assert.equal(3, #requests[2].body.messages)
    say("exit")
    assert.equal(0, wait_dead())
  end)

  for name, leave in pairs({
    exit = function() say("exit") end,
    q = function() say("q") end,
    ["Ctrl-D"] = function() term:keys("C-d") end,
  }) do
    it("is left by " .. name, function()
      t:serve({ text = "unused" })
      start()
      leave()
      assert.equal(0, wait_dead())
      assert.equal(0, #t.server.requests())
    end)
  end

  it("speaks by itself when a background task ends (B2)", function()
    t:script({ tools = { { name = "background_run", input = { command = "sleep 2; echo it" } } } },
      { text = "Started it." },
      { when = { last_user_contains = "completed: it" }, text = "By itself: it has ended." })
    start()
    say("Start it")
    wait_answer("Started it.")
    local screen = wait_answer("By itself: it has ended.")
    assert.truthy(screen:find("● task %x+ sleep 2; echo it: completed %(exit code 0, 2"), screen)
    assert.equal(3, #t.server.requests())
  end)

  it("does not disturb a half-typed line when a notice wakes it (B2)", function()
    t:script({ tools = { { name = "background_run",
        input = { command = "while [ ! -e go ]; do sleep 0.05; done" } } } },
      { text = "Started it." }, { text = "It has ended." }, { text = "Got your line." })
    start()
    say("Start it")
    wait_answer("Started it.")
    term:type("a half-typed line")
    term:keys("Left", "Left", "Left", "Left")
    term:wait_for("> a half%-typed line$")
    t.place:write("go", "")
    local screen = term:wait_for(function(screen)
      return screen:find("It has ended.", 1, true) and screen:find("\n> a half%-typed line$")
    end)
    assert.equal(1, case.count(screen, "half-typed"), screen)
    local column = term:cursor()
    assert.equal(2 + #"a half-typed line" - 4, column)
    term:type("whole ")
    term:keys("Enter")
    wait_answer("Got your line.")
    assert.equal("a half-typed whole line",
      case.last_text(t.server.requests()[4].body):match("[^\n]*$"))
  end)

  it("keeps what is typed while it works, and takes it up afterwards", function()
    t:script({ text = "One two three four.", wire = { event_delay = 0.3, delta = 4 } },
      { text = "Second." })
    start()
    say("First")
    term:wait_for("One")
    term:type("typed ahead")
    term:keys("Enter")
    wait_answer("Second.")
    local messages = t.server.requests()[2].body.messages
    assert.equal("typed ahead", messages[#messages].content[1].text)
  end)

  it("Ctrl-C stops a reply, and the conversation goes on (B8)", function()
    t:script({ text = ("word "):rep(200), wire = { event_delay = 0.1 } }, { text = "Next answer." })
    start()
    say("Speak")
    term:wait_for("word word")
    term:keys("C-c")
    wait_answer("(stopped)")
    say("Go on")
    wait_answer("Next answer.")
    local messages = t.server.requests()[2].body.messages
    assert.equal(3, #messages)
    assert.truthy(messages[2].content[1].text:find("^word word"))
    assert.equal("Go on", messages[3].content[#messages[3].content].text)
    assert.is_true((term:alive()))
  end)

  it("Ctrl-C before the first word, too", function()
    t:script({ text = "never", wire = { first_delay = 20 } }, { text = "Next answer." })
    start()
    say("Speak")
    t.server.wait(function(log) return log[1] end)
    term:keys("C-c")
    wait_answer("(stopped)")
    say("Go on")
    wait_answer("Next answer.")
    local messages = t.server.requests()[2].body.messages
    assert.equal(1, #messages)
    assert.equal(2, #messages[1].content)
  end)

  it("Ctrl-C stops the wait for a retry", function()
    t:script({ fault = { status = 529, headers = { ["retry-after"] = "50" } } },
      { text = "Next answer." })
    start()
    say("Speak")
    term:wait_for("trying again in 50")
    term:keys("C-c")
    wait_answer("(stopped)")
    say("Go on")
    wait_answer("Next answer.")
  end)

  it("Ctrl-C during a command lets it go on in the background (B8)", function()
    local command = "echo begin; touch runs; while [ ! -e go ]; do sleep 0.05; done; echo end"
    t:script({ tools = { { name = "bash", input = { command = command } } } },
      { when = { last_user_contains = "completed: begin\n  end" }, text = "It ended well." })
    start()
    say("Run it")
    t:wait_for_file("runs")
    term:keys("C-c")
    local screen = wait_answer("(stopped)")
    assert.truthy(screen:find("still running in the background: task %x+"), screen)
    assert.equal(1, #t.server.requests())
    t.place:write("go", "")
    wait_answer("It ended well.")
    local requests = t.server.requests()
    assert.equal(2, #requests)
    local results = case.results(requests[2].body)
    assert.truthy(results[1].content:find("begin", 1, true), results[1].content)
    local id = results[1].content:match("task (%x%x%x%x%x%x%x%x)")
    assert.equal(1, case.count(requests[2].body_text, "[bg:" .. id .. "]"))
  end)

  it("Ctrl-C at the prompt empties the line, and leaves tasks alone", function()
    t:script({ tools = { { name = "background_run", input = {
        command = "while [ ! -e go ]; do sleep 0.05; done; echo fine" } } } },
      { text = "Started it." },
      { when = { last_user_contains = "completed: fine" }, text = "Fine." })
    start()
    say("Start it")
    wait_answer("Started it.")
    term:type("to be thrown away")
    term:wait_for("thrown away$")
    term:keys("C-c")
    term:wait_for(at_prompt)
    term:keys("C-c")
    term:wait_for("Ctrl%-D leaves")
    t.place:write("go", "")
    wait_answer("Fine.")
    assert.equal(3, #t.server.requests())
    assert.falsy(t.server.requests()[3].body_text:find("thrown", 1, true))
  end)

  it("says a failed call in one line and goes on", function()
    t:script({ fault = { status = 400, message = "something is wrong" } }, { text = "Better." })
    start()
    say("One")
    wait_answer("something is wrong")
    say("Two")
    wait_answer("Better.")
    local messages = t.server.requests()[2].body.messages
    assert.equal(1, #messages)
    assert.equal("Two", messages[1].content[2].text)
  end)

  it("shows a retry, and that the text above does not count", function()
    t:script({ text = "Half an answer", fault = { cut_after_events = 4 } },
      { text = "The whole answer." })
    start()
    say("One")
    local screen = wait_answer("The whole answer.")
    assert.truthy(screen:find("trying again in", 1, true), screen)
    assert.truthy(screen:find("Half an answer\nthe text above was cut off and is discarded", 1,
      true), screen)
    local discarded
    for _, entry in ipairs((t.place:session())) do
      discarded = entry.type == "discarded" and entry or discarded
    end
    assert.equal(#"Half an answer", discarded.length)
    assert.equal("CUT", discarded.code)
    assert.truthy(discarded.reason:find("closed the connection", 1, true))
    assert.equal(2, #t.place:messages())
    assert.equal(1, #t.server.requests()[2].body.messages)
  end)

  it("counts down to the next try, in the status line", function()
    t:script({ fault = { status = 529, message = "busy", headers = { ["retry-after"] = "4" } } },
      { text = "The answer." })
    start({ width = 140 })
    say("One")
    term:wait_for("busy[^\n]*; trying again in 4.0 s %(1 of 4%)")
    term:wait_for("\n[^\n]* trying again in [123] s ·[^\n]*> *$")
    local screen = wait_answer("The answer.")
    assert.equal(1, case.count(screen, "trying again"), screen)
  end)

  it("does not rewrite lines where the terminal cannot", function()
    t:script({ fault = { status = 529, headers = { ["retry-after"] = "1.5" } } },
      { text = "The answer." })
    start({ width = 140, env = { TERM = "dumb" } })
    say("One")
    local screen = wait_answer("The answer.")
    assert.truthy(screen:find("trying again in 1.5 s (1 of 4)\n", 1, true), screen)
    assert.equal(1, case.count(screen, "trying again"), screen)
  end)

  it("at the end names the tasks that run, and ends them but for detached ones", function()
    t:script({ tools = {
        { name = "background_run",
          input = { command = "touch three; exec sleep 600", detached = true } },
        { name = "background_run", input = { command = "touch one; sleep 600" } },
        { name = "background_run",
          input = { command = "trap '' TERM; touch two; setsid sleep 600 & sleep 600; wait" } } } },
      { text = "Started both." })
    start()
    say("Start them")
    wait_answer("Started both.")
    t:wait_for_file("one")
    t:wait_for_file("two")
    t:wait_for_file("three")
    term:keys("C-d")
    assert.equal(0, wait_dead())
    local screen = term:screen()
    assert.truthy(screen:find("ending: task %x+ touch one; sleep 600"), screen)
    assert.truthy(screen:find("ending: task %x+ trap '' TERM; touch two"), screen)
    local id = screen:match("goes on, detached: task (%x+) touch three; exec sleep 600\n")
    assert.equal(0, t:run({ "tasks", "kill", id }).code, screen)
    assert.same({}, t.place:wait_for_no_process())
  end)

  for name, leave in pairs({
    ["exit"] = function() say("exit") end,
    ["SIGTERM"] = function(pid) os.execute("kill -TERM " .. pid) end,
    ["SIGTERM during a reply"] = function(pid)
      say("Speak")
      term:wait_for("word word")
      os.execute("kill -TERM " .. pid)
    end,
    ["SIGTERM during a command"] = function(pid)
      say("Run")
      t:wait_for_file("runs")
      os.execute("kill -TERM " .. pid)
    end,
  }) do
    it("leaves the terminal as it was: " .. name, function()
      t:serve({ when = { last_user_contains = "Run" }, tools = { { name = "bash",
          input = { command = "touch runs; exec sleep 600" } } } },
        { text = ("word "):rep(200), wire = { event_delay = 0.1 } })
      local words = {}
      for i, word in ipairs(t.place:words({ server = t.server, env = { TERM = "screen" } })) do
        words[i] = tmux.quote(word)
      end
      term = interactive.run(t, { command = "echo ready; read x; "
        .. table.concat(words, " ") .. "; echo; echo status=$?; exec sleep 100" })
      term:wait_for("ready")
      local before = term:modes()
      term:keys("Enter")
      term:wait_for("\n> *$")
      assert.are_not.equal(before, term:modes())
      leave(pid_of_program())
      term:wait_for("status=")
      assert.equal(before, term:modes())
      assert.same({}, t.place:wait_for_no_process())
    end)
  end

  it("exits with 143 on SIGTERM", function()
    t:serve({ text = "unused" })
    start()
    os.execute("kill -TERM " .. term:pid())
    assert.equal(143, wait_dead())
  end)

  it("lets no escape sequence of model or tools reach the terminal", function()
    local nasty = "a\27[31;7mb\27]0;owned\7c\27[2J\27[Hd\rE\8\u{9b}31mf\27Pq\27\\g\u{202E}h"
    t.place:write("nasty", nasty)
    t:script({ text = "Model: " .. nasty, tools = {
        { name = "bash", input = { command = "cat nasty # " .. nasty } },
        { name = "no_such_tool", input = {} } } },
      { text = "The end of it." })
    start({ env = { NO_COLOR = "1" } })
    say("Go")
    wait_answer("The end of it.")
    local raw = tmux.run(("tmux -L %s capture-pane -p -e -t main"):format(term.socket))
    assert.falsy(raw:find("\27", 1, true), raw)
    local title = tmux.run(("tmux -L %s display-message -p -t main '#{pane_title}'"):format(
      term.socket))
    assert.falsy(title:find("owned", 1, true), title)
    local screen = term:screen()
    assert.truthy(screen:find("> Go\n", 1, true), screen)
    assert.truthy(screen:find("Model: abcd", 1, true), screen)
    assert.falsy(screen:find("\u{202E}", 1, true))
  end)

  it("lets none of an error message of a server through, either", function()
    t:script({ fault = { status = 400, message = "bad \27[31mred\27]0;owned\7 thing" } },
      { text = "Fine." })
    start({ env = { NO_COLOR = "1" } })
    say("Go")
    wait_answer("bad red thing")
    local raw = tmux.run(("tmux -L %s capture-pane -p -e -t main"):format(term.socket))
    assert.falsy(raw:find("\27", 1, true), raw)
  end)

  it("uses colours, but not with NO_COLOR", function()
    for _, no_color in ipairs({ false, "1" }) do
      t:script({ tools = { { name = "bash", input = { command = "echo x" } } } }, { text = "End." })
      start({ env = { NO_COLOR = no_color } })
      say("Go")
      wait_answer("End.")
      local raw = tmux.run(("tmux -L %s capture-pane -p -e -t main"):format(term.socket))
      assert.equal(not no_color, raw:find("\27[", 1, true) ~= nil, raw)
      term:close()
      t.server.stop()
    end
  end)

  it("shows one line a tool call, that fits", function()
    t:script({ tools = { { name = "bash", input = { command = "echo one; echo two; # "
        .. ("long "):rep(60) } }, { name = "bash", input = { command = "exit 3" } },
        { name = "read_file", input = { path = "missing.txt" } } } }, { text = "End." })
    start({ width = 60 })
    say("Go")
    local screen = wait_answer("End.")
    assert.equal(1, case.count(screen, "echo one"), screen)
    for _, line in ipairs(case.lines(screen)) do
      assert.is_true(utf8.len(line) <= 60, line)
    end
    assert.truthy(screen:find("✗ read_file missing.txt", 1, true), screen)
    local tools = 0
    for _, line in ipairs(case.lines(screen)) do
      tools = tools + (line:find("^✓") and 1 or line:find("^✗") and 1 or 0)
    end
    assert.equal(3, tools, screen)
  end)

  it("has the lines of earlier sessions in its history", function()
    t:serve({ text = "Heard." })
    start()
    say("an unusual request")
    wait_answer("Heard.")
    say("exit")
    wait_dead()
    term:close()
    start()
    term:keys("Up")
    term:wait_for("\n> an unusual request$")
  end)

  it("takes a first prompt from the command line and stays", function()
    t:script({ text = "To the first." }, { text = "To the second." })
    term = interactive.run(t, { command = t.place:words({ "Hello there", server = t.server,
      env = { TERM = "screen" } }) })
    wait_answer("To the first.")
    say("More")
    wait_answer("To the second.")
  end)

  it("works with TERM=dumb", function()
    t:serve({ text = "Heard." })
    start({ width = 140, env = { TERM = "dumb" } })
    say("hello")
    wait_answer("Heard.")
    say("q")
    assert.equal(0, wait_dead())
  end)
end)
