local async = require("agenthost.async")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local raised = temp.raised
local FAR <const> = 30 -- seconds: a bound that no passing test reaches

local base

setup(function()
  base = temp.directory()
  task.set_output_dir(base .. "/out/deep")
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
    assert.equal(base .. "/out/deep/" .. one.id .. ".log", one.output_path)
    assert.matches("^%x%x%x%x%x%x%x%x$", one.id)
    assert.equal("x\n", (sys.read_file(one.output_path)))
    assert.equal(tonumber("600", 8), sys.stat(one.output_path).mode)
    assert.equal(tonumber("700", 8), sys.stat(base .. "/out/deep").mode)
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
    task.set_output_dir(base .. "/file/out")
    local one, message, code = task.run("true")
    task.set_output_dir(base .. "/out/deep")
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
    local out, status, state = printed("echo so far; exec sleep 60", { timeout = 0.5, grace = 1 })
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
    assert.matches("unknown option 'signal'", raised(one.kill, one, { signal = 9 }))
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

  it("is dropped with a queue that nobody reads, and harms nothing", function()
    local gone = queue.new()
    local one = run("sleep 0.02", { queue = gone })
    gone:close()
    assert.equal("completed", (one:wait(FAR)))
  end)
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
    for _, method in ipairs({ "status", "wait", "output", "kill", "set_notify", "acknowledge" }) do
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
    assert.matches("path: expected a string", raised(task.set_output_dir, 7))
  end)
end)
