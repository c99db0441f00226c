local async = require("agenthost.async")
local ledger = require("agenthost.ledger")
local queue = require("agenthost.queue")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local raised = temp.raised
local FAR <const> = 30 -- seconds: a bound that no passing test reaches

local base

setup(function()
  base = temp.directory()
  task.set_dir(base .. "/out/deep")
end)

teardown(function()
  for _, one in ipairs(task.list()) do
    one:kill({ grace = 0 })
    one:wait(FAR)
  end
  task.set_max_running(64)
  temp.remove(base)
end)

local function run(command, options)
  return assert(task.run(command, options))
end

-- A command that runs.
local function running(command, options)
  local one = run(command, options)
  async.run(function()
    while one:status() == "queued" do
      async.wait_any({ one:waitable() }, FAR)
    end
  end)
  return one
end

-- What a command prints, and how it ended.
local function printed(command, options)
  local one = run(command, options)
  local status, state = assert(one:wait(FAR))
  return (one:output()), status, state
end

describe("task.run", function()
  it("runs a text with the shell", function()
    assert.equal("a b\n", printed("echo a b | cat"))
    assert.equal("sh\n", printed("basename $0"))
    assert.equal("bash\n", printed("basename $0", { shell = "/bin/bash" }))
  end)

  it("runs a list of words as it is, found along PATH", function()
    assert.equal("a b|$HOME|\n", printed({ "printf", "%s|%s|\\n", "a b", "$HOME" }))
    assert.equal("printf %s x", run({ "printf", "%s", "x" }).command)
  end)

  it("runs in a directory", function()
    assert(sys.mkdir_private(base .. "/sub"))
    assert.equal(base .. "/sub\n", printed("pwd -P", { cwd = base .. "/sub" }))
    local here = assert(sys.cwd())
    assert.equal(here .. "\n", printed("pwd -P"))
    assert.equal(here .. "/tests\n", printed("pwd -P", { cwd = "tests" }))
    local one = run("true", { cwd = "tests" })
    assert.equal(here .. "/tests", one.cwd)
  end)

  it("sets and takes away variables", function()
    assert.equal("1 = 2||unset\n", printed('echo "$A|$B|${HOME-unset}"',
      { env = { A = "1 = 2", B = "", HOME = false } }))
    assert.equal(os.getenv("HOME") .. "\n", printed("echo $HOME"))
  end)

  it("has an empty standard input, no terminal, and a session of its own", function()
    assert.equal("", printed("cat"))
    assert.equal("none\n", printed("(: < /dev/tty) 2>/dev/null || echo none"))
    assert.equal("yes\n", printed([[test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo yes]]))
  end)

  it("hands on stdout and stderr in order", function()
    assert.equal("1\n2\n3\n", printed("echo 1; echo 2 >&2; echo 3"))
  end)

  it("has a name for people", function()
    local one = run("true", { label = "the label" })
    assert.equal("the label", one.label)
    assert.is_nil(run("true").label)
    assert.equal(("task %s: true"):format(one.id), tostring(one))
    assert.is_nil(one.no_such_field)
  end)

  it("writes to a file that only its user can read", function()
    local one = run("echo x")
    one:wait(FAR)
    assert.equal(base .. "/out/deep/tasks/" .. one.id .. ".log", one.output_path)
    assert.matches("^%x%x%x%x%x%x%x%x$", one.id)
    assert.equal("x\n", (sys.read_file(one.output_path)))
    assert.equal(tonumber("600", 8), sys.stat(one.output_path).mode)
    assert.equal(tonumber("700", 8), sys.stat(base .. "/out/deep/tasks").mode)
  end)

  it("keeps order when not all may run at once", function()
    task.set_max_running(1)
    local names = {}
    for i = 1, 4 do
      names[i] = run(("echo %d >> %s/order"):format(i, base))
    end
    for _, one in ipairs(names) do
      assert.equal("completed", (one:wait(FAR)))
    end
    task.set_max_running(64)
    assert.equal("1\n2\n3\n4\n", (sys.read_file(base .. "/order")))
  end)

  it("says what is wrong with its arguments, and runs nothing", function()
    local before = #task.list()
    for _, case in ipairs({
      { { "x", { time_out = 1 } }, "unknown option 'time_out'; did you mean 'timeout'?" },
      { { "x", { zzzzzzzz = 1 } }, "unknown option 'zzzzzzzz'" },
      { { "x", { "cwd" } }, "options are named; got a value at [1]" },
      { { "x", 7 }, "expected a table of options, got a number" },
      { { "x", { cwd = 7 } }, "option 'cwd': expected a string, got a number" },
      { { "x", { cwd = "a\0b" } }, "option 'cwd': contains a NUL byte" },
      { { "x", { label = true } }, "option 'label': expected a string, got a boolean" },
      { { "x", { shell = {} } }, "option 'shell': expected a string, got a table" },
      { { "x", { timeout = "1" } },
        "option 'timeout': expected a number of seconds, got a string" },
      { { "x", { timeout = -1 } }, "option 'timeout': expected seconds >= 0, got -1.0" },
      { { "x", { timeout = 0 / 0 } }, "option 'timeout': expected seconds >= 0" },
      { { "x", { timeout = 0 } },
        "option 'timeout': expected seconds > 0, or math.huge for no limit" },
      { { "x", { grace = -1 } }, "option 'grace': expected seconds >= 0, got -1.0" },
      { { "x", { max_output = 0 } }, "option 'max_output': expected 1 to " },
      { { "x", { max_output = 1.5 } },
        "option 'max_output': expected a whole number, got a number" },
      { { "x", { notify = 1 } }, "option 'notify': expected true or false, got a number" },
      { { "x", { lifetime = "forever" } },
        "option 'lifetime': expected 'session' or 'detached', got 'forever'" },
      { { "x", { lifetime = true } }, "option 'lifetime': expected a string, got a boolean" },
      { { "x", { stdin = "text" } }, "option 'stdin': expected true or false, got a string" },
      { { "x", { pty = 1 } }, "option 'pty': expected true or false, got a number" },
      { { "x", { limits = 5 } }, "expected a table of options, got a number" },
      { { "x", { limits = { max_memor = 5 } } },
        "unknown option 'max_memor'; did you mean 'max_memory'?" },
      { { "x", { limits = { max_memory = 5 } } }, "option 'max_memory': expected 1048576 to " },
      { { "x", { limits = { max_cpu = 0 } } }, "option 'max_cpu': expected 1 to " },
      { { "x", { limits = { max_files = 2 } } }, "option 'max_files': expected 3 to " },
      { { "x", { limits = { max_files = 1.5 } } }, "option 'max_files': expected a whole number" },
      { { "x", { limits = { nice = 20 } } }, "option 'nice': expected -20 to 19" },
      { { "x", { queue = {} } }, "agenthost.queue expected, got table" },
      { { "x", { env = "A=1" } }, "option 'env': expected a table, got a string" },
      { { "x", { env = { [1] = "x" } } }, "option 'env': name: expected a string, got a number" },
      { { "x", { env = { ["A=B"] = "x" } } }, "option 'env': 'A=B' is not a variable's name" },
      { { "x", { env = { [""] = "x" } } }, "option 'env': '' is not a variable's name" },
      { { "x", { env = { A = true } } },
        "option 'env': value (or false to unset): expected a string, got a boolean" },
      { { "x", { env = { A = "x\0y" } } },
        "option 'env': value (or false to unset): contains a NUL" },
      { {}, "command: expected a text for the shell or a list of words, got nil" },
      { { {} }, "command: expected a text for the shell or a list of words, got an empty table" },
      { { { "a", 2 } }, "command: expected a string, got a number" },
      { { "a\0b" }, "command: contains a NUL byte" },
    }) do
      assert.matches(case[2], raised(task.run, table.unpack(case[1], 1, 2)), 1, true)
    end
    assert.equal(before, #task.list())
  end)

  it("refuses a closed queue", function()
    local q = queue.new()
    q:close()
    assert.matches("the queue is closed", raised(task.run, "x", { queue = q }))
  end)

  it("fails with a code when the command is too long", function()
    local one, message, code = task.run(("x"):rep(4 * 1024 * 1024))
    assert.is_nil(one)
    assert.matches("the command is too long: .* write it to a file and run that", message)
    assert.equal("E2BIG", code)
  end)

  it("fails when the output directory cannot be made", function()
    temp.write(base .. "/file", "x")
    task.set_dir(base .. "/file/out")
    local one, message, code = task.run("true")
    task.set_dir(base .. "/out/deep")
    assert.is_nil(one)
    assert.matches(base .. "/file", message, 1, true)
    assert.equal("ENOTDIR", code)
  end)
end)

describe("the end of a task", function()
  it("is told in status and details", function()
    local _, status, state = printed("exit 0")
    assert.equal("completed", status)
    assert.equal("completed", state.status)
    assert.is_true(state.ended)
    assert.equal(0, state.code)
    assert.is_nil(state.signal)
    assert.is_nil(state.reason)
    assert.is_nil(state.pid)
    assert.is_false(state.notify)
    assert.is_true(math.abs(state.started - sys.wall()) < 100)
    assert.is_true(state.seconds >= 0 and state.seconds < 100)
  end)

  it("by another code is failed", function()
    local _, status, state = printed("echo x; exit 3")
    assert.same({ "failed", 3 }, { status, state.code })
  end)

  it("by a foreign signal is failed, with the signal and without a code", function()
    local _, status, state = printed("kill -SEGV $$")
    assert.same({ "failed", nil, 11 }, { status, state.code, state.signal })
  end)

  it("by its time is timeout, and keeps what was printed", function()
    local out, status, state
    stress.in_time(0.5, function(seconds)
      out, status, state = printed("echo so far; exec sleep 60", { timeout = seconds, grace = 1 })
      return out ~= ""
    end)
    assert.same({ "so far\n", "timeout", "its time was over", 15 },
      { out, status, state.reason, state.signal })
  end)

  it("by the output cap is killed", function()
    local one = run("exec yes", { max_output = 100000, grace = 0.1 })
    local status, state = one:wait(FAR)
    assert.same({ "killed", "output limit" }, { status, state.reason })
  end)

  it("that never started is error and says what was wrong", function()
    local _, status, state = printed({ "no-such-program-anywhere", "x" })
    assert.same({ "error", "command not found: no-such-program-anywhere x" },
      { status, state.reason })
    _, status, state = printed("true", { cwd = base .. "/none" })
    assert.equal("error", status)
    assert.equal(("cannot run in the directory %s/none: No such file or directory"):format(base),
      state.reason)
    local path = temp.write(base .. "/not-executable", "x")
    _, status, state = printed({ path })
    assert.equal("error", status)
    assert.matches("cannot execute .*: Permission denied", state.reason)
  end)

  it("does not wait for who inherits its output", function()
    local one = run("sleep 60 & echo hi")
    assert.equal("completed", (one:wait(FAR)))
    assert.equal("hi\n", (one:output()))
  end)
end)

describe("task:wait", function()
  it("gives nil, a message and TIMEOUT when the time is over", function()
    local one = run("exec sleep 60")
    assert.same({ nil, "the task has not ended in that time", "TIMEOUT" }, { one:wait(0) })
    assert.same({ nil, "the task has not ended in that time", "TIMEOUT" }, { one:wait(0.02) })
    async.run(function()
      assert.same({ nil, "the task has not ended in that time", "TIMEOUT" }, { one:wait(0.02) })
    end)
    one:kill({ grace = 0 })
    assert.equal("killed", (one:wait()))
    assert.equal("killed", (one:wait(0)))
    assert.matches("number expected", raised(one.wait, one, "x"))
  end)

  it("lets other jobs go on", function()
    async.run(function()
      local go = base .. "/go"
      local one = run(("while ! test -e %s; do sleep 0.01; done"):format(go))
      local waiter = async.spawn(function() return one:wait(FAR) end)
      async.sleep(0)
      temp.write(go, "")
      assert.equal("completed", (waiter:wait()))
    end)
  end)

  it("wakes everyone who waits", function()
    async.run(function()
      local one = run("sleep 0.05")
      local function wait() return (one:wait(FAR)) end
      for _, job in ipairs(async.all({ wait, wait, wait })) do
        assert.equal("completed", job.results[2])
      end
    end)
  end)

  it("leaves the task alone when it is cancelled", function()
    async.run(function()
      local one = run("exec sleep 60")
      local waiter = async.spawn(function() return one:wait() end)
      async.sleep(0)
      waiter:cancel("enough")
      assert.equal("enough", raised(waiter.wait, waiter))
      assert.is_true(one:kill({ grace = 0 }))
      assert.equal("killed", (one:wait(FAR)))
    end)
  end)

  it("has an id that has news at the start and at the end", function()
    async.run(function()
      local one = run("sleep 0.02")
      repeat
        assert.equal(one:waitable(), async.wait_any({ one:waitable() }, FAR))
      until select(2, one:status()).ended
    end)
  end)
end)

describe("task:output", function()
  it("is there for the file of another host's task, too", function()
    local path = temp.write(base .. "/foreign.log", "0123456789")
    assert.same({ "0123456789", 10 }, { task.read_output(path) })
    assert.same({ "89", 10 }, { task.read_output(path, { since = 2, head = 0, tail = 2 }) })
    assert.same({ "", 0 }, { task.read_output(base .. "/none") })
    assert.matches("unknown option 'sinc'", raised(task.read_output, path, { sinc = 1 }))
  end)

  it("gives the bytes from an offset on, and the size", function()
    local one = run("printf 0123456789")
    one:wait(FAR)
    assert.same({ "0123456789", 10 }, { one:output() })
    assert.same({ "789", 10 }, { one:output({ since = 7 }) })
    assert.same({ "", 10 }, { one:output({ since = 10 }) })
    assert.same({ "", 10 }, { one:output({ since = 99 }) })
  end)

  it("gives head and tail with a line between that counts", function()
    local one = run("printf 0123456789")
    one:wait(FAR)
    local between <const> = "\n[... 5 bytes left out ...]\n"
    assert.equal("012" .. between .. "89", (one:output({ head = 3, tail = 2 })))
    assert.equal("012\n[... 7 bytes left out ...]\n", (one:output({ head = 3 })))
    assert.equal("789", (one:output({ tail = 3 })))
    assert.equal("89", (one:output({ head = 0, tail = 2 })))
    assert.equal("0123456789", (one:output({ head = 5, tail = 5 })))
    assert.equal("45" .. "\n[... 3 bytes left out ...]\n" .. "9",
      (one:output({ since = 4, head = 2, tail = 1 })))
    assert.equal("", (one:output({ head = 0, tail = 0 })))
  end)

  it("shows what is there while it runs", function()
    local one = run("echo first; exec sleep 60")
    async.run(function()
      while one:output() == "" do
        async.wait_any({ one:waitable() }, 0.01)
      end
    end)
    assert.same({ "first\n", 6 }, { one:output() })
    one:kill({ grace = 0 })
    one:wait(FAR)
  end)

  it("is empty before the start", function()
    local one = run("true", { cwd = base .. "/none" })
    one:wait(FAR)
    assert.equal("", (one:output()))
  end)

  it("says what is wrong with its options", function()
    local one = run("true")
    assert.matches("unknown option 'heads'; did you mean 'head'?",
      raised(one.output, one, { heads = 1 }), 1, true)
    assert.matches("option 'since': expected 0 to ", raised(one.output, one, { since = -1 }), 1,
      true)
    assert.matches("option 'tail': expected a whole number",
      raised(one.output, one, { tail = "3" }), 1, true)
  end)
end)

describe("task:kill", function()
  it("sends another signal first, if that is asked for", function()
    local one = run("trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done")
    repeat
      async.sleep(0.01)
    until one:output() == "ready\n"
    assert.is_true(one:kill({ signal = "INT", by = "the test" }))
    local status, state = one:wait(FAR)
    assert.same({ "killed", 5, "by the test" }, { status, state.code, state.reason })
    assert.equal("ready\ninterrupted\n", (one:output()))
    one = run("trap '' TERM; echo ready; exec sleep 60")
    repeat
      async.sleep(0.01)
    until one:output() == "ready\n"
    assert.is_true(one:kill({ signal = "KILL" }))
    assert.same({ "killed", 9 }, { (one:wait(FAR)), select(2, one:status()).signal })
  end)

  it("says by whom", function()
    local one = running("exec sleep 60")
    assert.is_true(one:kill({ by = "the test", grace = 0.2 }))
    local status, state = one:wait(FAR)
    assert.same({ "killed", "by the test" }, { status, state.reason })
    assert.is_false(one:kill())
    assert.equal("by the test", select(2, one:status()).reason)
  end)

  it("asks first, then uses force", function()
    local one = run("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    async.run(function()
      while one:output() == "" do
        async.wait_any({ one:waitable() }, 0.01)
      end
    end)
    assert.is_true(one:kill({ grace = 0.1 }))
    local status, state = one:wait(FAR)
    assert.same({ "killed", "by a script", 9 }, { status, state.reason, state.signal })
  end)

  it("ends one that has not begun, without starting it", function()
    task.set_max_running(1)
    local first = run("exec sleep 60")
    local second = run("echo started")
    assert.equal("queued", (second:status()))
    assert.is_true(second:kill({ by = "me" }))
    local status, state = second:wait(0)
    assert.same({ "killed", "by me, before it was started" }, { status, state.reason })
    assert.same({ "", 0 }, { second:output() })
    task.set_max_running(64)
    first:kill({ grace = 0 })
    first:wait(FAR)
  end)

  it("says what is wrong with its options", function()
    local one = run("true")
    assert.matches("unknown option 'singal'; did you mean 'signal'%?",
      raised(one.kill, one, { singal = "INT" }))
    assert.matches("option 'signal': expected a string", raised(one.kill, one, { signal = 9 }))
    assert.matches("expected TERM, INT, HUP, QUIT or KILL, got 'STOP'",
      raised(one.kill, one, { signal = "STOP" }))
    one:wait(FAR)
  end)
end)

describe("the notice of an end", function()
  local q

  before_each(function()
    q = queue.new()
  end)

  after_each(function()
    q:close()
  end)

  local function ended(command, options)
    local one = run(command, options)
    one:wait(FAR)
    return one
  end

  it("comes into the queue with the end", function()
    local one = ended("printf 12345; exit 3", { queue = q, label = "five" })
    local notice = q:drain()[1]
    assert.is_number(notice.seconds)
    notice.seconds = nil
    assert.same({ kind = "task", seq = 1, task = one.id, status = "failed", code = 3, bytes = 5,
      command = "printf 12345; exit 3", label = "five", output = one.output_path }, notice)
  end)

  it("tells the reason or the signal", function()
    ended("exec sleep 60", { queue = q, timeout = 0.05, grace = 0.5 })
    local notice = q:drain()[1]
    assert.same({ "timeout", "its time was over", 15 },
      { notice.status, notice.reason, notice.signal })
  end)

  it("comes for each of many that end together, once", function()
    local wanted = {}
    for _ = 1, 64 do
      wanted[run("true", { queue = q }).id] = 1
    end
    local got = {}
    async.run(function()
      local count = 0
      while count < 64 and q:wait(FAR) do
        for _, notice in ipairs(q:drain()) do
          got[notice.task] = (got[notice.task] or 0) + 1
          count = count + 1
        end
      end
    end)
    assert.same(wanted, got)
    assert.equal(0, #q)
  end)

  it("is owed only where it is asked for", function()
    local one = ended("true", { queue = q, notify = false })
    assert.equal(0, #q)
    assert.is_false(select(2, one:status()).notify)
    one:set_notify(true)
    assert.equal(1, #q)
    one:set_notify(true)
    one:set_notify(false)
    one:set_notify(true)
    assert.equal(1, #q)
    assert.matches("boolean expected", raised(one.set_notify, one, 1))
  end)

  it("can be turned on and off while it runs", function()
    local one = run("exec sleep 60", { queue = q })
    one:set_notify(false)
    one:kill({ grace = 0 })
    one:wait(FAR)
    assert.equal(0, #q)
  end)

  it("needs a queue", function()
    local one = ended("true")
    one:set_notify(true)
    assert.is_true(one:acknowledge())
  end)

  it("is taken back when the end has been told by other means", function()
    local one = run("exec sleep 60", { queue = q })
    assert.is_false(one:acknowledge())
    one:kill({ grace = 0 })
    one:wait(FAR)
    assert.equal(1, #q)
    assert.is_true(one:acknowledge())
    assert.equal(0, #q)
    one:set_notify(true)
    assert.equal(0, #q)
    local drained = ended("true", { queue = q })
    q:drain()
    assert.is_false(drained:acknowledge())
  end)

  it("goes to another queue, before the end and after it, once", function()
    local other <close> = require("agenthost.queue").new()
    local slow, waits = run("exec sleep 60", { queue = q }), ended("true", { queue = q })
    local in_flight, told = ended("true", { queue = q }), ended("true", { queue = q })
    told:acknowledge()
    q:drain()
    waits:wait(FAR)
    local late = ended("true", { queue = q })
    for _, one in ipairs({ slow, waits, in_flight, late }) do
      assert.is_true(one:set_queue(other))
    end
    assert.is_false(told:set_queue(other))
    assert.is_false(ended("true", { queue = q, notify = false }):set_queue(other))
    assert.is_false(ended("true"):set_queue(other))
    slow:kill({ grace = 0 })
    slow:wait(FAR)
    assert.equal(0, #q)
    local ids = {}
    for _, notice in ipairs(other:drain()) do
      assert.is_nil(ids[notice.task])
      ids[notice.task] = true
    end
    assert.same({ [slow.id] = true, [waits.id] = true, [in_flight.id] = true,
      [late.id] = true }, ids)
    assert.matches("agenthost.queue expected", raised(slow.set_queue, slow, {}))
    other:ack()
    assert.is_false(slow:set_queue(q)) -- it was told
  end)

  it("is dropped with a queue that nobody reads, and harms nothing", function()
    local gone = queue.new()
    local one = run("sleep 0.02", { queue = gone })
    gone:close()
    assert.equal("completed", (one:wait(FAR)))
  end)
end)

describe("limits", function()
  it("are set for the command", function()
    assert.equal("262144\n7\n50\n", (printed("ulimit -v; ulimit -t; ulimit -n",
      { limits = { max_memory = 256 << 20, max_cpu = 7, max_files = 50 } })))
    local before = tonumber((printed("nice")))
    assert.equal(math.min(before + 4, 19), tonumber((printed("nice", { limits = { nice = 4 } }))))
    assert.equal("completed", select(2, printed("true", { limits = {} })))
  end)

  it("that cannot be set are an error that says so", function()
    local _, status, state = printed("true", { limits = { max_files = 0x7fffffff } })
    assert.equal("error", status)
    assert.matches("^cannot set its limits: ", state.reason)
  end)
end)

describe("task:write", function()
  it("feeds the standard input, until it is closed", function()
    local one = run("cat; echo over", { stdin = true })
    assert.is_true(one:write("one\n"))
    assert.is_true(one:write("\0two\xff\n", { close = true }))
    assert.equal("completed", (one:wait(FAR)))
    assert.equal("one\n\0two\xff\nover\n", (one:output()))
    assert.same({ nil, "the command has ended or does not read any more", "EPIPE" },
      { one:write("x") })
  end)

  it("closes with nothing to say, and takes nothing after that", function()
    local one = run("cat", { stdin = true })
    assert.is_true(one:write("", { close = true }))
    assert.equal("EPIPE", select(3, one:write("x")))
    assert.equal("completed", (one:wait(FAR)))
  end)

  it("carries megabytes, in and outside a job, while others go on", function()
    local bytes = ("0123456789abcdef"):rep(3 << 16)
    local one = run("exec cat", { stdin = true })
    assert.is_true(one:write(bytes))
    async.run(function()
      local ticks = 0
      local ticker = async.spawn(function()
        while true do
          async.sleep(0.001)
          ticks = ticks + 1
        end
      end)
      assert.is_true(one:write(bytes, { close = true }))
      assert.equal("completed", (one:wait(FAR)))
      ticker:cancel()
      assert.is_true(ticks > 0)
    end)
    assert.equal(2 * #bytes, select(2, one:output()))
    local out = sys.read_file(one.output_path, 1 << 30)
    assert.is_true(out == bytes .. bytes)
  end)

  it("gives up when nobody reads, and says how much was taken", function()
    local one = run("exec sleep 60", { stdin = true })
    for _, inside in ipairs({ false, true }) do
      local function write()
        return one:write(("x"):rep(2 << 20), { timeout = 0.05 })
      end
      local ok, message, code
      if inside then
        ok, message, code = async.run(write)
      else
        ok, message, code = write()
      end
      assert.is_nil(ok)
      assert.matches("^the command does not read: %d+ of 2097152 bytes were taken$", message)
      assert.equal("TIMEOUT", code)
    end
    one:kill({ grace = 0 })
    one:wait(FAR)
  end)

  it("ends when the task does", function()
    local one = running("exec sleep 60", { stdin = true })
    async.run(function()
      local writer = async.spawn(function() return one:write(("x"):rep(4 << 20)) end)
      async.sleep(0)
      one:kill({ grace = 0 })
      assert.same({ nil, "the command has ended or does not read any more", "EPIPE" },
        { writer:wait() })
    end)
  end)

  it("may come before the start", function()
    task.set_max_running(1)
    local first = running("exec sleep 60")
    local second = run("cat", { stdin = true })
    assert.is_true(second:write("early", { close = true }))
    assert.equal("queued", (second:status()))
    first:kill({ grace = 0 })
    assert.equal("completed", (second:wait(FAR)))
    assert.equal("early", (second:output()))
    task.set_max_running(64)
  end)

  it("types at a terminal", function()
    local one = run("stty -echo; test -t 1 && echo ready; read line; echo \"got $line\"; cat",
      { pty = true })
    async.run(function()
      while one:output() ~= "ready\r\n" do
        async.wait_any({ one:waitable() }, 0.01)
      end
      assert.is_true(one:write("hello\n"))
      assert.is_true(one:write("", { close = true }))
      assert.equal("completed", (one:wait(FAR)))
    end)
    assert.equal("ready\r\ngot hello\r\n", (one:output()))
    assert.equal("24 80\r\n", (printed("stty size", { pty = true })))
  end)

  it("says what is wrong with its arguments", function()
    local one = run("exec sleep 60")
    assert.matches("the task was started without stdin = true or pty = true",
      raised(one.write, one, "x"), 1, true)
    assert.matches("string expected", raised(one.write, one, 7))
    assert.matches("string expected", raised(one.write, one))
    assert.matches("unknown option 'closed'; did you mean 'close'?",
      raised(one.write, one, "x", { closed = true }), 1, true)
    assert.matches("option 'timeout': expected seconds >= 0",
      raised(one.write, one, "x", { timeout = -1 }), 1, true)
    one:kill({ grace = 0 })
    one:wait(FAR)
  end)
end)

describe("task.wait_any", function()
  local slow

  before_each(function()
    slow = run("exec sleep 60")
  end)

  after_each(function()
    slow:kill({ grace = 0 })
    slow:wait(FAR)
  end)

  it("gives the first that ends, with its status and state", function()
    local quick = run("exit 3")
    local one, status, state = task.wait_any({ slow, quick }, FAR)
    assert.equal(quick, one)
    assert.same({ "failed", 3 }, { status, state.code })
    one, status = task.wait_any({ quick, slow }, 0) -- it has ended already
    assert.same({ quick.id, "failed" }, { one.id, status })
    assert.equal(quick.id, task.wait_any({ slow, quick }).id)
  end)

  it("gives the first in the list of several that have ended", function()
    local a, b = run("true"), run("true")
    a:wait(FAR)
    b:wait(FAR)
    assert.equal(b.id, task.wait_any({ slow, b, a }, FAR).id)
  end)

  it("ends with its time, in and outside a job", function()
    local over <const> = { nil, "none of the tasks has ended in that time", "TIMEOUT" }
    assert.same(over, { task.wait_any({ slow }, 0) })
    assert.same(over, { task.wait_any({ slow, slow }, 0.02) })
    async.run(function()
      assert.same(over, { task.wait_any({ slow }, 0.02) })
      assert.same(over, { task.wait_any({ slow }, 0) })
    end)
  end)

  it("lets other jobs go on, and can be cancelled", function()
    async.run(function()
      local go = base .. "/wait-any-go"
      local quick = run(("until test -e %s; do sleep 0.01; done"):format(go))
      local waiter = async.spawn(function() return task.wait_any({ slow, quick }, FAR) end)
      local other = async.spawn(function() return task.wait_any({ slow }) end)
      async.sleep(0)
      temp.write(go, "")
      assert.equal(quick, (waiter:wait()))
      other:cancel("enough")
      assert.equal("enough", raised(other.wait, other))
      assert.is_false(select(2, slow:status()).ended)
    end)
  end)

  it("serves many who wait for the same", function()
    async.run(function()
      local quick = run("sleep 0.05")
      local function wait() return (task.wait_any({ slow, quick }, FAR)) end
      for _, job in ipairs(async.all({ wait, wait, wait })) do
        assert.equal(quick, job.results[2])
      end
    end)
  end)

  it("says what is wrong with its arguments", function()
    assert.matches("table expected", raised(task.wait_any, slow))
    assert.matches("the list is empty", raised(task.wait_any, {}))
    assert.matches("agenthost.task expected", raised(task.wait_any, { slow, "x" }))
    assert.matches("number expected", raised(task.wait_any, { slow }, "x"))
  end)
end)

describe("lifetime", function()
  -- A run of agenthost of its own, whose task waits for the file `go`; it prints the task's id.
  local function host(lifetime, how)
    local dir = base .. "/host-" .. sys.random_hex(4)
    local script = temp.write(dir .. "/host.lua", ([[
      local task = require("agenthost.task")
      local async = require("agenthost.async")
      task.set_dir(%q)
      local one = task.run("echo ready; until test -e %s/go; do sleep 0.02; done; exit 3",
        { lifetime = %q })
      async.run(function()
        while one:output() == "" do async.wait_any({ one:waitable() }, 0.01) end
      end)
      print(one.id)
      io.stdout:flush()
      %s
    ]]):format(dir, dir, lifetime, how))
    local pipe = assert(io.popen(temp.quote(sys.realpath("/proc/self/exe")) .. " "
      .. temp.quote(script) .. " 2>&1 </dev/null"))
    local id = pipe:read("l")
    pipe:close()
    assert.matches("^%x+$", id)
    return dir, id
  end

  local function record(dir, id)
    for _, one in ipairs(assert(ledger.read(dir .. "/tasks.jsonl"))) do
      if one.id == id then
        return one
      end
    end
  end

  -- Waits until its end is in the ledger.
  local function ended(dir, id)
    local deadline = sys.now() + FAR
    repeat
      async.sleep(0.01)
      assert(sys.now() < deadline, "no end in the ledger")
    until record(dir, id).status ~= "running"
    return record(dir, id)
  end

  for _, how in ipairs({ "os.exit(0)", "os.execute('kill -KILL $PPID')" }) do
    it("detached goes on behind its host, and its end is noted: " .. how, function()
      local dir, id = host("detached", how)
      local one = record(dir, id)
      assert.same({ "running", true }, { one.status, one.detached })
      assert.is_true(ledger.is_alive(one))
      temp.write(dir .. "/go", "")
      one = ended(dir, id)
      assert.same({ "failed", 3 }, { one.status, one.code })
    end)

    it("session ends with its host: " .. how, function()
      local dir, id = host("session", how)
      local one = ended(dir, id)
      assert.same({ "killed", "by the end of agenthost" }, { one.status, one.reason })
      assert.is_false(ledger.is_alive(one))
    end)
  end
end)

describe("a task handle", function()
  it("is found by its id", function()
    local one = run("true")
    assert.equal(one, task.get(one.id))
    assert.is_false(rawequal(one, task.get(one.id)))
    assert.is_false(one == run("true"))
    assert.is_false(one == io.stdout)
    for _, id in ipairs({ "00000000", "", "zz", one.id:upper() .. "x", " " .. one.id }) do
      assert.is_nil(task.get(id))
    end
    assert.matches("string expected", raised(task.get, {}))
  end)

  it("is listed, oldest first", function()
    local a, b = run("true"), run("true")
    local all = task.list()
    assert.same({ a.id, b.id }, { all[#all - 1].id, all[#all].id })
  end)

  it("may be collected: the task goes on", function()
    local done = base .. "/collected"
    local id = run(("sleep 0.05; echo done > %s"):format(done)).id
    collectgarbage()
    collectgarbage()
    assert.equal("completed", (task.get(id):wait(FAR)))
    assert.equal("done\n", (sys.read_file(done)))
  end)

  it("is checked", function()
    local one = run("true")
    for _, method in ipairs({ "status", "wait", "waitable", "output", "write", "kill",
      "set_notify", "set_queue", "acknowledge" }) do
      assert.matches("agenthost.task expected", raised(one[method], {}))
    end
    assert.equal("agenthost.task", getmetatable(one))
  end)
end)

describe("for the host", function()
  it("checks the number that may run", function()
    for _, count in ipairs({ 0, 4001, -1 }) do
      assert.matches("expected 1 to 4000", raised(task.set_max_running, count))
    end
    assert.matches("path: expected a string", raised(task.set_dir, 7))
  end)
end)
