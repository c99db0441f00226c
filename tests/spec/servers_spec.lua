-- Tools for commands that one talks to while they run: servers, prompts, watchers.
local agents = require("support.agents")
local async = require("agenthost.async")
local sys = require("agenthost.sys")

local FAR <const> = 30

-- A server on a free port that says when it listens.
local SERVER <const> = [[
python3 -uc '
import socket, time
s = socket.socket(); s.bind(("127.0.0.1", %d)); s.listen()
print("listening"); time.sleep(600)']]

describe("background tools", function()
  local place, made

  before_each(function()
    place = agents.place()
    made = place:new({}, { plugins = { "shell", "files", "background" } })
  end)

  after_each(function()
    for _, one in ipairs(made:list_tasks()) do
      one:kill({ grace = 0 })
      one:wait(FAR)
    end
    place:close()
  end)

  local function call(name, input)
    local result = made.tools:run({ { id = "1", name = name, input = input } },
      function(c) return made:tool_context(c) end, made.emitter)[1]
    return result.content, result.is_error or false
  end

  -- The same from outside a job.
  local function tool(name, input)
    return async.run(call, name, input)
  end

  local function newest()
    local all = made:list_tasks()
    return all[#all]
  end

  local function free_port()
    for port = 20000 + sys.pid() % 20000, 65000 do
      if not sys.port_is_open(port) then
        return port
      end
    end
  end

  it("bash: run_in_background answers at once, and its end is a notice", function()
    local shown = tool("bash", { command = "sleep 0.1; echo x", run_in_background = true })
    local one = newest()
    assert.equal(("Background task %s started: sleep 0.1; echo x"):format(one.id), shown)
    assert.is_true(made.queue:wait(FAR))
    assert.equal(one.id, made.queue:drain()[1].task)
  end)

  it("bash: timeout of the call comes before that of the plugin", function()
    assert.matches("%[timeout: its time was over",
      (tool("bash", { command = "exec sleep 60", timeout = 1 })))
  end)

  it("background_run: ready_port answers when the server takes connections (B14)", function()
    local port = free_port()
    local shown = tool("background_run", { command = SERVER:format(port), ready_port = port })
    assert.matches(("\nReady: port %d takes connections$"):format(port), shown)
    local again, is_error = tool("background_run", { command = "true", ready_port = port })
    assert.equal(("Error: port %d is taken already: something else listens there"):format(port),
      again)
    assert.is_true(is_error)
  end)

  it("background_run: ready_pattern, and why a server is not ready", function()
    local shown = tool("background_run", {
      command = "echo booting; echo up on 1; exec sleep 60", ready_pattern = "up on %d",
    })
    assert.matches('\nReady: its output contains "up on %%d"$', shown)
    shown = tool("background_run", { command = "echo cannot bind; exit 3", ready_pattern = "up" })
    assert.matches("\nNot ready: it ended before it was ready: failed %(exit code 3, .*cannot bind",
      shown)
  end)

  it("background_run: a ready_pattern may be plain text that is no pattern", function()
    for _, pattern in ipairs({ "listening (port", "[dev-server] is up", "100%" }) do
      local shown = tool("background_run", {
        command = "echo 'listening (port 1)'; echo '[dev-server] is up: 100%'; exec sleep 60",
        ready_pattern = pattern,
      })
      assert.matches(("\nReady: its output contains %q"):format(pattern), shown, 1, true)
    end
  end)

  it("monitor: what is no pattern is looked for as it is, not an end without a word", function()
    local lines = async.run(function()
      call("monitor", { command = "echo no; echo 'f(x) called'; exec sleep 60", pattern = "f(x" })
      made.queue:wait(FAR)
      return made.queue:drain()[1].text
    end)
    assert.matches(": f(x) called", lines, 1, true)
  end)

  it("background_write feeds a pipe and closes it", function()
    tool("background_run", { command = "cat", stdin = "pipe" })
    local one = newest()
    assert.equal(("Wrote 6 bytes to task %s"):format(one.id),
      (tool("background_write", { task_id = one.id, text = "hello\n" })))
    tool("background_write", { task_id = one.id, text = "end", close = true })
    assert.equal("completed", (one:wait(FAR)))
    assert.equal("hello\nend", (one:output()))
  end)

  it("background_write answers a program that wants a terminal", function()
    tool("background_run", {
      command = "test -t 0 && read -p 'Name? ' x && echo hello $x", stdin = "terminal",
    })
    local one = newest()
    assert.matches("Name%?", (tool("background_wait", { task_id = one.id, pattern = "Name%?" })))
    tool("background_write", { task_id = one.id, text = "Ada\n" })
    assert.equal("completed", (one:wait(FAR)))
    assert.matches("hello Ada", (one:output()))
  end)

  it("background_write says what was not started for it", function()
    tool("background_run", { command = "exec sleep 60" })
    local shown, is_error = tool("background_write", { task_id = newest().id, text = "x" })
    assert.equal(("Error: task %s has no input: only a task that background_run has started with "
      .. "`stdin` can be written to"):format(newest().id), shown)
    assert.is_true(is_error)
  end)

  it("background_wait returns at the first of end, match and bound (B15)", function()
    tool("background_run", { command = "echo one; sleep 0.2; echo two; exec sleep 60" })
    local id = newest().id
    assert.matches("one\ntwo", (tool("background_wait", { task_id = id, pattern = "two" })))
    local before = sys.now()
    assert.matches("%[running%].*no new output",
      (tool("background_wait", { task_id = id, pattern = "three", timeout = 1 })))
    assert.is_true(sys.now() - before >= 1)
    newest():kill({ grace = 0 })
    assert.matches("%[killed%]", (tool("background_wait", { task_id = id })))
    assert.equal(0, #made.queue) -- told here, so not by a notice (B13)
  end)

  it("monitor: matching lines are notices, in batches", function()
    local lines = async.run(function()
      call("monitor", {
        command = "for i in 1 2 3; do echo error $i; echo fine $i; done", pattern = "error",
      })
      local told = {}
      while #told < 2 do
        assert.is_true(made.queue:wait(FAR))
        for _, notice in ipairs(made.queue:drain()) do
          told[#told + 1] = notice
        end
      end
      return told
    end)
    table.sort(lines, function(a, b) return a.kind < b.kind end)
    assert.equal("monitor", lines[1].kind)
    assert.equal(("task %s: error 1\nerror 2\nerror 3"):format(newest().id), lines[1].text)
    assert.equal("task", lines[2].kind)
  end)

  it("monitor: a flood stops it, says so, and leaves the task alone", function()
    local text = async.run(function()
      call("monitor", { command = "for i in $(seq 1000); do echo line $i; done; exec sleep 60" })
      while true do
        assert.is_true(made.queue:wait(FAR))
        for _, notice in ipairs(made.queue:drain()) do
          if notice.text:find("no longer monitored") then
            return notice.text
          end
        end
      end
    end)
    assert.matches("more than 100 lines a second; the task goes on$", text)
    assert.equal("running", (newest():status()))
  end)
end)

describe("what the model is told", function()
  local place, made

  before_each(function()
    place = agents.place()
  end)

  after_each(function()
    place:close()
  end)

  local function run(tool, input)
    made = place:new({}, { plugins = { "files" }, tools = { tool } })
    local result = async.run(function()
      return made.tools:run({ { id = "1", name = tool.name, input = input or {} } },
        function(c) return made:tool_context(c) end, made.emitter)
    end)[1]
    return result.content, result.is_error or false
  end

  it("of a tool that returns nil and a message is the message", function()
    local shown, is_error = run({ name = "fails", description = "x", run = function()
      return nil, "the disk is full"
    end })
    assert.equal("Error: the disk is full", shown)
    assert.is_true(is_error)
  end)

  it("of a plugin's unknown option is its name", function()
    local ok, message = pcall(place.new, place, {}, { plugins = { { "files", x = 1 } } })
    assert.is_false(ok)
    assert.matches("takes no options, got 'x'", message)
    ok, message = pcall(place.new, place, {}, { plugins = { { "background", y = 1 } } })
    assert.is_false(ok)
    assert.matches("unknown option 'y'", message)
  end)

  it("edit_file matches plain line ends in a file with CRLF, and keeps its own", function()
    made = place:new({}, { plugins = { "files" } })
    assert(made.root:write("dos.txt", "one\r\ntwo\r\nthree\r\n"))
    async.run(function()
      made.tools:run({ { id = "1", name = "edit_file", input = {
        path = "dos.txt", old_text = "one\ntwo\n", new_text = "1\n2\n",
      } } }, function(c) return made:tool_context(c) end, made.emitter)
    end)
    assert.equal("1\r\n2\r\nthree\r\n", (made.root:read("dos.txt")))
  end)
end)
