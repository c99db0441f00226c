-- The built-in plugins through an agent's tools, with real commands and files.
local agents = require("support.agents")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local FAR <const> = 30

describe("plugin", function()
  local place, made

  before_each(function()
    place = agents.place()
    made = place:new({}, { plugins = { { "shell", background_after = 20 }, "files",
      "background" } })
  end)

  after_each(function()
    place:close()
  end)

  -- Runs one tool of the agent; gives the content and whether it is an error.
  local function tool(name, input, agent)
    agent = agent or made
    local result = async.run(function()
      return agent.tools:run({ { id = "1", name = name, input = input or {} } },
        function(call) return agent:tool_context(call) end, agent.emitter)
    end)[1]
    return result.content, result.is_error or false
  end

  local function path(name)
    return place.cwd .. "/" .. name
  end

  local function newest()
    local all = made:list_tasks()
    return all[#all]
  end

  -- Starts a command in the background; gives its task.
  local function start(command, fields)
    local input = { command = command }
    for name, value in pairs(fields or {}) do
      input[name] = value
    end
    tool("background_run", input)
    return newest()
  end

  -- The same, once it runs.
  local function start_running(command)
    local one = start(command)
    async.run(function()
      while one:status() == "queued" do
        async.wait_any({ one:waitable() }, FAR)
      end
    end)
    return one
  end

  it("tools are those of the lesson, and more", function()
    assert.same({ "bash", "read_file", "write_file", "edit_file", "background_run",
      "monitor", "check_background", "background_wait", "background_output", "background_write",
      "background_kill" }, made.tools:names())
  end)

  describe("shell: bash", function()
    it("gives the output of a command", function()
      assert.same({ "a\nb\n", false }, { tool("bash", { command = "echo a; echo b >&2" }) })
      assert.equal(place.cwd .. "\n", (tool("bash", { command = "pwd" })))
      assert.equal("bash\n", (tool("bash", { command = "basename $BASH" })))
    end)

    it("gives (no output) where there is none", function()
      assert.same({ "(no output)", false }, { tool("bash", { command = "true" }) })
      assert.same({ "(no output)", false }, { tool("bash", { command = "printf ' \\n'" }) })
    end)

    it("tells an exit code that is not 0, behind the output", function()
      assert.matches("^oops\n%[exit code 3, %d+%.%d s%]$",
        (tool("bash", { command = "echo oops; exit 3" })))
      assert.matches("^oops\n%[exit code 3, ", (tool("bash", { command = "printf oops; exit 3" })))
      assert.matches("^%[exit code 1, ", (tool("bash", { command = "false" })))
      assert.matches("^%[ended by signal 11, ", (tool("bash", { command = "kill -SEGV $$" })))
    end)

    it("does not wait for children that go on", function()
      assert.equal("hi\n", (tool("bash", { command = "sleep 60 & echo hi" })))
    end)

    it("ends a command at its timeout and keeps what it printed", function()
      local shown
      stress.in_time(0.5, function(seconds)
        local quick = place:new({}, { plugins = { { "shell", timeout = seconds } } })
        shown = tool("bash", { command = "echo so far; exec sleep 60" }, quick)
        return shown:find("^so far")
      end)
      assert.matches("^so far\n%[timeout: its time was over, ended by signal 15, ", shown)
    end)

    it("goes on in the background when its patience ends: the same process", function()
      local impatient = place:new({}, { plugins = { { "shell", background_after = 1 } } })
      local shown, is_error = tool("bash", { command = "echo $$; exec sleep 60" }, impatient)
      local one = impatient:pending_tasks()[1]
      local _, state = one:status()
      assert.equal(("The command was not done after 1 seconds. It still runs, now as background "
        .. "task %s: you are told when it ends, there is no need to poll. Output so far:\n%d\n")
        :format(one.id, state.pid), shown)
      assert.is_false(is_error)
      assert.is_false(state.ended)
      one:kill({ grace = 0 })
      assert.is_true(impatient.queue:wait(FAR))
      assert.equal(one.id, impatient.queue:drain()[1].task)
    end)

    it("owes no notice when it was waited for", function()
      tool("bash", { command = "true" })
      assert.equal(0, #made.queue)
      assert.equal(0, #made:pending_tasks())
    end)

    it("bounds a huge output, with one line that says so, and where the whole is", function()
      local shown = tool("bash", { command = "seq 1000000; exit 3" })
      assert.is_true(utf8.len(shown) < defaults.text.result + 1000)
      assert.equal(1, select(2, shown:gsub("left out", "")))
      assert.matches("^1\n2\n", shown)
      assert.matches("999999\n1000000\n[exit code 3, ", shown, 1, true)
      assert.matches(newest().output_path, shown, 1, true)
      shown = tool("bash", { command = "seq 20000" })
      assert.equal(1, select(2, shown:gsub("left out", "")))
      assert.matches(newest().output_path, shown, 1, true)
    end)

    it("shows clean text and names what is binary", function()
      assert.equal("red\n", (tool("bash", { command = [[printf '\033[31mred\033[0m\n']] })))
      assert.matches("^%[binary output: 3000 bytes, file ",
        (tool("bash", { command = "head -c 3000 /dev/zero" })))
    end)

    it("has no input to read and no terminal to ask", function()
      assert.equal("(no output)", (tool("bash", { command = "cat" })))
      assert.equal("dumb cat 0\n",
        (tool("bash", { command = 'echo "$TERM $PAGER $GIT_TERMINAL_PROMPT"' })))
    end)

    it("refuses what is no command", function()
      assert.same({ "Error: command is missing (string: the command, for bash -c)", true },
        { tool("bash") })
      assert.matches("^Error: .*contains a NUL byte", (tool("bash", { command = "a\0b" })))
    end)

    it("rejects options that it does not know", function()
      assert.matches("unknown option 'time'", temp.raised(place.new, place, {},
        { plugins = { { "shell", time = 1 } } }))
    end)
  end)

  describe("files: read_file", function()
    it("gives the content", function()
      temp.write(path("a/b.txt"), "one\ntwo")
      assert.same({ "one\ntwo", false }, { tool("read_file", { path = "a/b.txt" }) })
      assert.equal("one\ntwo", (tool("read_file", { path = path("a/b.txt") })))
    end)

    it("can stop after some lines, and counts the others", function()
      temp.write(path("f"), "1\n2\n3\n4\n")
      for limit, expected in pairs({ "1\n[... 3 lines left out ...]",
        "1\n2\n[... 2 lines left out ...]",
        "1\n2\n3\n[... 1 line left out ...]", "1\n2\n3\n4\n", "1\n2\n3\n4\n" }) do
        assert.equal(expected, (tool("read_file", { path = "f", limit = limit })))
      end
      temp.write(path("f"), "1\n2\n3")
      assert.equal("1\n2\n[... 1 line left out ...]",
        (tool("read_file", { path = "f", limit = 2 })))
      assert.equal("1\n2\n3", (tool("read_file", { path = "f", limit = 3 })))
      assert.same({ "Error: limit has to be at least 1", true },
        { tool("read_file", { path = "f", limit = 0 }) })
    end)

    it("says what an empty or a binary file is", function()
      temp.write(path("empty"), "")
      temp.write(path("binary"), ("\0\1\2\3"):rep(100))
      assert.equal("(the file is empty)", (tool("read_file", { path = "empty" })))
      assert.equal("[binary file: 400 bytes]", (tool("read_file", { path = "binary" })))
    end)

    it("says that a file is larger than what was read", function()
      local max = defaults.files.max_read
      defaults.files.max_read = 10
      temp.write(path("f"), "123456789\nmore")
      local shown = tool("read_file", { path = "f" })
      defaults.files.max_read = max
      assert.equal("123456789\n\n[... only the first 10 bytes of the file were read ...]", shown)
    end)

    it("says what is wrong", function()
      assert.same({ "Error: cannot open 'none': No such file or directory", true },
        { tool("read_file", { path = "none" }) })
      assert.matches("^Error: '%.' is a directory", (tool("read_file", { path = "." })))
      assert.same({ "Error: path is missing (string: relative to the working directory)", true },
        { tool("read_file") })
    end)
  end)

  describe("files: write_file", function()
    it("makes and replaces files, and the directories above", function()
      assert.same({ "Wrote 3 bytes to a/b/c", false },
        { tool("write_file", { path = "a/b/c", content = "x\0y" }) })
      assert.equal("x\0y", (sys.read_file(path("a/b/c"))))
      assert.equal("Wrote 1 byte to a/b/c", (tool("write_file", { path = "a/b/c", content = "z" })))
      assert.equal("z", (sys.read_file(path("a/b/c"))))
      assert.equal("Wrote 0 bytes to e", (tool("write_file", { path = "e", content = "" })))
    end)

    it("keeps the mode of a file", function()
      temp.write(path("run.sh"), "#!/bin/sh\n")
      assert(os.execute("chmod 755 " .. path("run.sh")))
      tool("write_file", { path = "run.sh", content = "#!/bin/sh\nexit\n" })
      assert.equal(tonumber("755", 8), sys.stat(path("run.sh")).mode)
    end)
  end)

  describe("files: edit_file", function()
    local function edit(old, new, name)
      return tool("edit_file", { path = name or "f", old_text = old, new_text = new })
    end

    before_each(function()
      temp.write(path("f"), "local a = %1\nlocal b = (2)\nlocal a = 3\n")
    end)

    it("replaces one piece, literally", function()
      assert.same({ "Edited f", false }, { edit("b = (2)", "b = %0 %1 $1") })
      assert.equal("local a = %1\nlocal b = %0 %1 $1\nlocal a = 3\n", (sys.read_file(path("f"))))
      edit("local a = %1\n", "")
      assert.equal("local b = %0 %1 $1\nlocal a = 3\n", (sys.read_file(path("f"))))
    end)

    it("changes nothing unless the text stands there exactly once", function()
      local before = sys.read_file(path("f"))
      assert.same({ "Error: old_text was not found in f: it has to match exactly, white space "
        .. "included",
        true }, { edit("local c", "x") })
      assert.same({ "Error: old_text stands 2 times in f: add lines around it until it is the "
        .. "only one",
        true }, { edit("local a", "x") })
      assert.equal("Error: old_text stands 3 times in f: add lines around it until it is the "
        .. "only one",
        (edit("local", "x")))
      assert.equal("Error: old_text is empty: name the text to replace", (edit("", "x")))
      assert.equal("Error: cannot open 'none': No such file or directory", (edit("a", "b", "none")))
      assert.equal(before, (sys.read_file(path("f"))))
    end)

    it("never cuts a file that is too large to read", function()
      local max = defaults.files.max_read
      defaults.files.max_read = 20
      local shown, is_error = edit("%1", "1")
      defaults.files.max_read = max
      assert.same({ "Error: f is too large to edit: more than 20 bytes", true },
        { shown, is_error })
      assert.equal("local a = %1\nlocal b = (2)\nlocal a = 3\n", (sys.read_file(path("f"))))
    end)
  end)

  it("files stay in the workspace, against links and dots, too", function()
    local outside = temp.directory()
    temp.write(outside .. "/secret", "secret")
    assert(os.execute(("ln -s %s/secret %s; ln -s %s %s"):format(
      outside, path("link"), outside, path("dir"))))
    for _, name in ipairs({ "../" .. outside:match("[^/]+$") .. "/secret", outside .. "/secret",
      "link",
      "dir/secret", "a/../../" .. outside:match("[^/]+$") .. "/secret" }) do
      for _, call in ipairs({
        { "read_file", { path = name } },
        { "write_file", { path = name, content = "x" } },
        { "edit_file", { path = name, old_text = "secret", new_text = "x" } },
      }) do
        local shown, is_error = tool(call[1], call[2])
        assert.is_true(is_error)
        assert.matches("^Error: ", shown)
        assert.is_nil(shown:find("^secret"))
      end
    end
    assert.equal("secret", (sys.read_file(outside .. "/secret")))
    assert.equal(1, #sys.list(outside))
    temp.remove(outside)
  end)

  describe("background: background_run", function()
    it("answers at once, word for word", function()
      local shown, is_error = tool("background_run", { command = "sleep 60 && echo done" })
      local one = newest()
      assert.equal("Background task " .. one.id .. " started: sleep 60 && echo done", shown)
      assert.is_false(is_error)
      assert.matches("^%x%x%x%x%x%x%x%x$", one.id)
      assert.is_false(select(2, one:status()).ended)
    end)

    it("tells the end by a notice", function()
      local one = start("echo out; exit 3")
      assert.is_true(made.queue:wait(FAR))
      local notice = made.queue:drain()[1]
      assert.same({ one.id, "failed", 3 }, { notice.task, notice.status, notice.code })
    end)

    it("ends it at its timeout", function()
      local one = start("exec sleep 60", { timeout = 1 })
      assert.equal("timeout", (one:wait(FAR)))
      assert.same({ "Error: timeout has to be at least 1", true },
        { tool("background_run", { command = "x", timeout = 0 }) })
    end)
  end)

  describe("background: check_background", function()
    it("lists word for word, oldest first", function()
      assert.same({ "No background tasks.", false }, { tool("check_background") })
      local a = start("exit 3")
      a:wait(FAR)
      local b = start_running("exec sleep 60")
      assert.equal(("%s: [failed] exit 3\n%s: [running] exec sleep 60"):format(a.id, b.id),
        (tool("check_background")))
    end)

    it("gives each task one line, whatever the command", function()
      local one = start("echo a\necho b")
      one:wait(FAR)
      assert.equal(one.id .. ": [completed] echo a echo b", (tool("check_background")))
    end)

    it("does not list what ran in the foreground", function()
      tool("bash", { command = "true" })
      assert.equal("No background tasks.", (tool("check_background")))
    end)

    it("leaves out the oldest when there are too many", function()
      local listing = defaults.text.listing
      defaults.text.listing = 2
      for i = 1, 4 do
        start("echo " .. i):wait(FAR)
      end
      local shown = tool("check_background")
      defaults.text.listing = listing
      assert.matches("^%[%.%.%. 2 older tasks left out %.%.%.%]\n%x+: %[completed%] echo 3\n"
        .. "%x+: %[completed%] echo 4$", shown)
    end)

    it("does not know other ids, word for word", function()
      for _, id in ipairs({ "00000000", "x", "", "../../etc" }) do
        for _, name in ipairs({ "check_background", "background_output", "background_kill" }) do
          assert.same({ "Error: Unknown task " .. id, true }, { tool(name, { task_id = id }) })
        end
      end
    end)

    it("gives what is new since the last look", function()
      local go = path("go")
      local one = start(("echo first; while ! test -e %s; do sleep 0.01; done; echo second")
        :format(go))
      async.run(function()
        while one:output() == "" do
          async.wait_any({ one:waitable() }, 0.01)
        end
      end)
      local hint = "\nYou are told when it ends; there is no need to poll."
      local head = one.id .. ": [running] " .. one.command .. "\n"
      assert.matches("first\n" .. hint, (tool("check_background", { task_id = one.id })), 1, true)
      local shown = tool("check_background", { task_id = one.id })
      assert.equal(head, shown:sub(1, #head))
      assert.matches("^%d+%.%d s\n%(no new output%)" .. hint .. "$", shown:sub(#head + 1))
      temp.write(go, "")
      one:wait(FAR)
      shown = tool("check_background", { task_id = one.id })
      assert.matches("^" .. one.id .. ": %[completed%] .*\nexit code 0, %d+%.%d s\nsecond\n$",
        shown)
    end)

    it("of one that has ended is its notice", function()
      local one = start("true")
      one:wait(FAR)
      assert.equal(1, #made.queue)
      assert.matches("\nexit code 0, %d+%.%d s\n%(no output%)$",
        (tool("check_background", { task_id = one.id })))
      assert.equal(0, #made.queue)
    end)

    it("of one that runs leaves its notice to come", function()
      local one = start("exec sleep 60")
      tool("check_background", { task_id = one.id })
      one:kill({ grace = 0 })
      assert.is_true(made.queue:wait(FAR))
    end)
  end)

  describe("background: background_output", function()
    it("gives the output from an offset on", function()
      local one = start("echo first; echo second")
      one:wait(FAR)
      assert.equal("first\nsecond\n\n[output up to byte 13; status: completed]",
        (tool("background_output", { task_id = one.id })))
      assert.equal("second\n\n[output up to byte 13; status: completed]",
        (tool("background_output", { task_id = one.id, since = 6 })))
      assert.equal("(no output)\n[output up to byte 13; status: completed]",
        (tool("background_output", { task_id = one.id, since = 13 })))
    end)
  end)

  describe("background: background_kill", function()
    it("ends a task and says how, so that nobody is told twice", function()
      local one = start_running("exec sleep 60")
      assert.matches("^Task " .. one.id
        .. ": killed %(by the model, ended by signal %d+, %d+%.%d s%)$",
        (tool("background_kill", { task_id = one.id })))
      assert.equal(0, #made.queue)
      assert.equal("Task " .. one.id .. " has ended already: killed",
        (tool("background_kill", { task_id = one.id })))
    end)
  end)
end)
