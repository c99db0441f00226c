-- What tries to break the interactive program: commands that wait or raise, tools that do not stop,
-- editors that are suspended, and texts that would move the cursor.
local case = require("support.case")
local interactive = require("support.interactive")
local tmux = require("support.tmux")

describe("in the terminal", function()
  local t, term

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  local function start(opts)
    term = interactive.start(t, opts)
    return term
  end

  local function raw_screen()
    return tmux.run(("tmux -L %s capture-pane -p -e -t main"):format(term.socket))
  end

  describe("a plugin's", function()
    -- An agent script whose plugin adds what the text says.
    local function plugin(setup)
      t.place:write("odd.lua", ([[
        local async, sys = require("agenthost.async"), require("agenthost.sys")
        return { name = "odd", setup = function(ctx)
          local function wait_for(name)
            while not sys.stat(ctx.cwd .. "/" .. name) do async.sleep(0.02) end
          end
          %s
        end }]]):format(setup))
      t.place:write("a.lua",
        [[return require("agenthost.agent").new({ plugins = { "shell", "./odd" } })]])
    end

    it("command may raise anything and return anything", function()
      t:serve({ text = "Fine." })
      plugin([[
        local bad = { error = function() error("wrong \27[2J\27[31mhere\7", 0) end,
          throws = function() error({}) end,
          number = function() return 42 end, yes = function() return true end,
          list = function() return nil, { "x" } end }
        for name, run in pairs(bad) do
          ctx.command({ name = name, help = "x", run = run })
          ctx.command({ name = name .. "-now", help = "x", anytime = true, run = run })
        end]])
      start({ "a.lua", env = { NO_COLOR = "1" } })
      for _, suffix in ipairs({ "", "-now" }) do
        term:say("/error" .. suffix)
        term:wait_answer("/error" .. suffix .. " failed: wrong here")
        term:say("/throws" .. suffix)
        term:wait_answer("/throws" .. suffix .. " failed: it raised a table without `message`")
        term:say("/number" .. suffix)
        term:wait_answer("\n42\n")
        term:say("/yes" .. suffix)
        term:wait_answer("\ntrue\n")
        term:say("/list" .. suffix)
        term:wait_answer("/list" .. suffix .. "\ntable: ")
      end
      assert.falsy(raw_screen():find("\27", 1, true))
      term:say("Hello")
      term:wait_answer("Fine.")
    end)

    it("command that waits leaves the line to be typed, and Ctrl-C stops it", function()
      t:serve({ text = "Fine." })
      plugin([[ctx.command({ name = "slow", help = "x", run = function()
        require("agenthost.sys").write_file(ctx.cwd .. "/waits", "")
        wait_for("never")
      end })]])
      start({ "a.lua" }):say("/slow")
      t:wait_for_file("waits")
      term:type("half a line")
      term:wait_for("> half a line$")
      term:keys("C-c")
      term:wait_for("%(/slow was stopped%)\n> half a line$")
      assert.is_true((term:alive()))
      term:keys("Enter")
      term:wait_answer("Fine.")
    end)

    it("command that waits while the agent works does not hold up what is typed", function()
      t:script({ tools = { { name = "bash", input = { command = case.WAITS } } } },
        { text = "Done." })
      plugin([[
        ctx.command({ name = "slow", help = "x", anytime = true, run = function()
          wait_for("later")
          return "slow is done"
        end })
        ctx.command({ name = "bad", help = "x", anytime = true,
          run = function() error("oh") end })]])
      start({ "a.lua" }):say("Go")
      t:wait_for_file("runs")
      term:say("/bad")
      term:wait_for("/bad failed: [^\n]*oh\n")
      term:say("/slow")
      term:type("half a line")
      term:wait_for("> half a line$")
      t.place:write("later", "")
      term:wait_for("slow is done\n.*> half a line$")
      t.place:write("go", "")
      term:wait_for("Done.\n> half a line$")
    end)

    for name, leave in pairs({
      ["Ctrl-C twice"] = function()
        tmux.eventually(function()
          term:keys("C-c")
          return not term:alive()
        end)
      end,
      SIGTERM = function() os.execute("kill -TERM " .. term:pid()) end,
    }) do
      it("tool that does not stop does not keep the program from being left: " .. name, function()
        t:serve({ tools = { { name = "stubborn", input = {} } } })
        plugin([[ctx.tool({ name = "stubborn", description = "x", permission = "none",
          run = function()
            require("agenthost.sys").write_file(ctx.cwd .. "/waits", "")
            while true do pcall(wait_for, "never") end
          end })]])
        start({ "a.lua" }):say("Go")
        t:wait_for_file("waits")
        leave()
        term:wait_dead()
        assert.truthy(term:screen():find("it does not stop", 1, true), term:screen())
      end)
    end
  end)

  it("a draft of several lines comes back after a question as it was", function()
    t.place:settings(nil)
    t:script({ text = "wait", tools = { { name = "bash", input = { command = "touch made" } } },
      wire = { event_delay = 0.4 } }, { text = "Done." }, { text = "Read." })
    start({ env = { NO_COLOR = "1" } }):say("Go")
    term:wait_for("\nwait")
    term:paste("one\ntwo\nthree\n", true)
    term:type(" and more")
    term:wait_for("y/n%? *$")
    term:paste("y\nn\n", true)
    term:keys("Enter")
    term:wait_for("y/n%? %[paste 1: 2 lines%].*y/n%? *$")
    assert.is_nil(t.place:read("made"))
    term:say("y")
    term:wait_for("Done.\n> %[paste 1: 3 lines%]$")
    term:keys("Enter")
    term:wait_answer("Read.")
    assert.equal("one\ntwo\nthree and more", case.last_text(t.server.requests()[3].body))
  end)

  it("two Ctrl-C with a line between them do not leave", function()
    t:script({ text = "never", wire = { first_delay = 20 } }, { text = "Fine." })
    start():say("One")
    t.server.wait(function(log) return log[1] end)
    term:keys("C-c")
    term:wait_answer("(stopped)")
    term:say("!touch runs; while [ ! -e go ]; do sleep 0.05; done")
    t:wait_for_file("runs")
    term:keys("C-c")
    term:wait_answer("it goes on as background task")
    t.place:write("go", "")
    term:wait_answer("Fine.")
  end)

  it("a flood of notices is one run, and a few lines", function()
    t.place:write("flood.lua", [[return { name = "flood", setup = function(ctx)
      ctx.command({ name = "flood", help = "x", run = function()
        for i = 1, 300 do ctx.notify("number " .. i .. " \27[2J\n\nx") end
      end })
    end }]])
    t.place:write("a.lua", [[return require("agenthost.agent").new({ plugins = { "./flood" } })]])
    t:serve({ text = "Heard." })
    start({ "a.lua" }):say("/flood")
    local screen = term:wait_answer("Heard.")
    assert.truthy(screen:find("● number 10 x\n● and 290 notices more\nHeard.", 1, true), screen)
    assert.equal(1, #t.server.requests())
    assert.matches("number 300", case.last_text(t.server.requests()[1].body))
  end)

  it("lines behind a command that has to wait keep their order", function()
    t:script({ tools = { { name = "bash", input = { command = case.WAITS } } } },
      { text = "Done." },
      { text = "Third." })
    start({ width = 100 }):say("Go")
    t:wait_for_file("runs")
    term:say("with the next call")
    term:wait_for("» with the next call %(goes along with the next call%)")
    term:say("!echo mine")
    term:wait_for("» !echo mine %(waits until the agent is done%)")
    term:say("after that")
    term:wait_for("» after that %(waits until the agent is done%)")
    term:say("exit")
    term:wait_for("» exit %(waits until the agent is done%)")
    t.place:write("go", "")
    term:wait_dead()
    local requests = t.server.requests()
    assert.equal("with the next call", case.last_text(requests[2].body))
    assert.matches("%$ echo mine\nmine\n.*\nafter that$", case.last_text(requests[3].body))
  end)

  it("a message that came too late for the last call is heard before /clear", function()
    t:script({ text = ("word "):rep(30), wire = { event_delay = 0.05, delta = 5 } },
      { text = "Second." })
    start({ width = 100 }):say("One")
    term:wait_for("word word")
    term:say("Two")
    term:say("/clear")
    term:wait_for("Second.*%(session %S+%)\n> *$")
    assert.equal("Two", case.last_text(t.server.requests()[2].body))
  end)

  -- Starts it from an interactive shell, whose prompt is "shell$ ".
  local function start_from_shell(env)
    env = env or {}
    env.TERM = "screen"
    local words = {}
    for i, word in ipairs(t.place:words({ server = t.server, env = env })) do
      words[i] = tmux.quote(word)
    end
    t.place:write("run.sh", "PS1='shell$ '\nrun() { " .. table.concat(words, " ") .. "; }\n")
    term = interactive.run(t, { env = { TERM = "screen" },
      command = { "bash", "--noprofile", "--rcfile", "run.sh", "-i" } })
    term:wait_for("shell%$ *$")
    term:say("run; echo status=$?")
    term:wait_for("\n> *$")
  end

  local function leave_for_the_shell()
    term:say("exit")
    term:wait_for("shell%$ *$")
  end

  describe("Ctrl-Z", function()
    it("stops it with a half-typed line, and fg goes on", function()
      t:serve({ text = "Read." })
      start_from_shell()
      term:type("half")
      term:wait_for("> half$")
      term:keys("C-z")
      term:wait_for("Stopped.*shell%$ *$")
      term:say("fg")
      term:wait_for("\n> half$")
      term:type(" a line")
      term:keys("Enter")
      term:wait_answer("Read.")
      assert.equal("half a line", case.last_text(t.server.requests()[1].body))
      leave_for_the_shell()
    end)

    it("stops it while it works, and fg goes on", function()
      t:script({ tools = { { name = "bash", input = { command = case.WAITS } } } },
        { text = "Done." })
      start_from_shell()
      term:say("Go")
      t:wait_for_file("runs")
      term:wait_for("bash touch[^\n]*> *$")
      term:keys("C-z")
      term:wait_for("Stopped.*shell%$ *$")
      t.place:write("go", "")
      term:say("fg")
      term:wait_answer("Done.")
      leave_for_the_shell()
    end)

    it("does nothing where no shell could continue it", function()
      t:serve({ text = "Read." })
      start():keys("C-z")
      term:say("Hello")
      term:wait_answer("Read.")
    end)
  end)

  describe("the editor", function()
    local function start_editor(script)
      t:serve({ text = "Read." })
      t:program("ed-it", "#!/bin/sh\n" .. script)
      start_from_shell({ EDITOR = t.place.work .. "/bin/ed-it", VISUAL = " " })
      term:say("/edit")
      t:wait_for_file("edits")
    end

    it("can be suspended, and goes on with fg", function()
      start_editor("touch edits; kill -TSTP 0; echo resumed > \"$1\"; "
        .. "while [ ! -e go ]; do sleep 0.05; done\n")
      term:wait_for("Stopped.*shell%$ *$")
      term:say("echo at the shell; fg")
      term:wait_for("\nat the shell\n")
      t.place:write("go", "")
      term:wait_answer("Read.")
      assert.equal("resumed", case.last_text(t.server.requests()[1].body))
      leave_for_the_shell()
    end)

    it("does not swallow a SIGTERM that comes meanwhile", function()
      start_editor("touch edits; kill -TERM $PPID; kill -INT $PPID; echo unsaid > \"$1\"\n")
      term:wait_for("status=143\nshell%$ *$")
      assert.equal(0, #t.server.requests())
    end)
  end)

  describe("nothing moves the cursor:", function()
    local NASTY <const> = "\27[2J\27[H\27]0;owned\7\8!"

    local function check_clean()
      assert.falsy(raw_screen():find("\27", 1, true), raw_screen())
      local title = tmux.run(("tmux -L %s display-message -p -t main '#{pane_title}'"):format(
        term.socket))
      assert.falsy(title:find("owned", 1, true), title)
      assert.truthy(term:screen():find("agenthost · claude-test-1", 1, true), term:screen())
    end

    it("the name of a tool that is not there", function()
      t:script({ tools = { { name = "odd" .. NASTY .. ("x"):rep(300), input = {} } } },
        { text = "Fine." })
      start({ env = { NO_COLOR = "1" } }):say("Go")
      term:wait_answer("Fine.")
      check_clean()
      assert.truthy(term:screen():find("✗ od!xx", 1, true), term:screen())
    end)

    it("an answer, an error and a tool's name with -p", function()
      t:script({ text = "Said " .. NASTY, tools = { { name = "x" .. NASTY, input = {} } } },
        { text = "Ended " .. NASTY }, { fault = { status = 400, message = "No " .. NASTY } })
      for _, seen in ipairs({ "Ended", "No" }) do
        term = interactive.run(t, { command = t.place:words({
          "--verbose", "-p", "Go", server = t.server, env = { TERM = "screen" } }) })
        term:wait_dead()
        assert.falsy(raw_screen():find("\27", 1, true), raw_screen())
        assert.truthy(term:screen():find(seen, 1, true), term:screen())
        term:close()
      end
      t.place:write("bad.lua", 'error("raised " .. ' .. ("%q"):format(NASTY) .. ", 0)")
      term = interactive.run(t, { command = t.place:words({
        "bad.lua", server = t.server, env = { TERM = "screen" } }) })
      assert.equal(1, term:wait_dead())
      assert.truthy(term:screen():find("agenthost: bad.lua: raised", 1, true), term:screen())
      assert.falsy(raw_screen():find("\27", 1, true), raw_screen())
    end)

    it("the name of the directory", function()
      t:serve({ text = "Fine." })
      local dir = t.place.work .. "/a" .. NASTY
      assert(require("agenthost.sys").mkdir_private(dir))
      start({ "--cwd", dir, env = { NO_COLOR = "1" } }):say("Go")
      term:wait_answer("Fine.")
      check_clean()
      term:say("/sessions")
      term:wait_answer("2 messages")
      check_clean()
    end)

    it("what is recalled of a session, and a command that is typed", function()
      t:script({ text = "Said " .. NASTY, tools = { { name = "x" .. NASTY, input = {} } } },
        { text = "Fine." })
      assert.equal(0, t:run({ "-p", "One " .. NASTY }).code)
      start({ "-c", env = { NO_COLOR = "1" } })
      check_clean()
      term:say("/last")
      term:say("/usage")
      term:say("/prompt")
      term:wait_answer("bytes)")
      term:wait_for("\n> *$")
      assert.falsy(raw_screen():find("\27", 1, true))
    end)

    it("a task's command, in the status line and in its end", function()
      t:script({ tools = { { name = "background_run", input = { command = "true #" .. NASTY } } } },
        { tools = { { name = "bash", input = { command = case.WAITS .. " #" .. NASTY } } } },
        { text = "Fine." }, { text = "Fine." })
      start({ env = { NO_COLOR = "1" } }):say("Go")
      t:wait_for_file("runs")
      term:wait_for("bash touch runs[^\n]*> *$")
      check_clean()
      t.place:write("go", "")
      term:wait_answer("Fine.")
      term:say("/tasks")
      term:wait_answer("the bars span")
      check_clean()
    end)
  end)
end)
