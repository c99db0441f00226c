-- What users suffer from elsewhere: one short test for each such behaviour of tasks that no other
-- spec names. Those are: B1 (bursts, crash), B3, B6, B9, B14, B16 (e2e/commands), B5 (e2e/orphans).
local async = require("agenthost.async")
local ledger = require("agenthost.ledger")
local program = require("support.program")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")
local watch = require("agenthost.watch")

local FAR <const> = stress.FAR

describe("a task", function()
  local here, base, dir, q

  before_each(function()
    here = stress.place()
    base, dir, q = here.base, here.dir, here.queue
  end)

  after_each(function()
    here:close()
  end)

  local function run(command, options)
    return here:run(command, options)
  end

  local function wait_for_output(one, text)
    assert(stress.eventually(function() return (one:output()):find(text, 1, true) end), text)
  end

  local function processes_of(one)
    return stress.processes(function(id) return id == one.id end)
  end

  it("beyond its time is ended with its children, also those in other sessions (B4)", function()
    assert.is_true(stress.in_time(0.5, function(seconds)
      local one = run("sleep 60 & (trap '' TERM; sleep 60; :) & setsid sleep 60 & "
        .. "setsid sh -c 'trap \"\" TERM; echo up; sleep 60; :' & wait",
        { timeout = seconds, grace = 0.1 })
      stress.eventually(function() return one:output() ~= "" or one:status() == "timeout" end)
      local up = #processes_of(one) >= 4
      assert.equal("timeout", (one:wait(FAR)))
      assert.same({}, processes_of(one)) -- told only when all are gone
      return up
    end))
  end)

  it("has no terminal to steal, though the host has one (B10)", function()
    -- A host in a terminal of its own, whose task tries to take it and to leave it raw.
    local path = temp.write(base .. "/host.lua", [[
      local task = require("agenthost.task")
      local function settings()
        local pipe <close> = io.popen("stty -g < /dev/tty")
        return pipe:read("a")
      end
      task.set_dir(arg[1])
      local before = settings()
      local one = assert(task.run("tty; stty raw -echo < /dev/tty && echo stolen"))
      one:wait(30)
      io.write("before <", before:gsub("%s", ""), "> after <", settings():gsub("%s", ""), ">\n")
      io.write(one:output():gsub("\n", "|"), "\n")]])
    local host = run({ program.path, path, base .. "/inner" }, { pty = true })
    assert.equal("completed", (host:wait(FAR)), (host:output()))
    local said = host:output()
    local before, after = said:match("before <(%S+)> after <(%S+)>")
    assert.truthy(before, said)
    assert.equal(before, after)
    assert.truthy(said:find("not a tty", 1, true), said)
    assert.truthy(said:find("/dev/tty", 1, true), said)
    assert.falsy(said:find("stolen", 1, true), said)
  end)

  it("that is ended keeps its output, and the notice names the file (B11)", function()
    local tasks = { killed = run("echo so far; exec sleep 60") }
    assert.is_true(stress.in_time(0.3, function(seconds)
      q:drain()
      q:ack()
      tasks.timeout = run("echo so far; exec sleep 60", { timeout = seconds })
      assert.is_true(q:wait(FAR))
      return tasks.timeout:output() ~= ""
    end))
    wait_for_output(tasks.killed, "so far\n")
    tasks.killed:kill({ grace = 1 })
    local notices = stress.drain(q, 2)
    assert.equal(2, #notices)
    for _, notice in ipairs(notices) do
      assert.equal(tasks[notice.status].id, notice.task)
      assert.equal("so far\n", (sys.read_file(notice.output)))
      assert.equal(7, notice.bytes)
    end
  end)

  it("that was told is not told again, neither by a notice nor after a restart (B13)", function()
    local by_result, by_notice, drained = run("true"), run("true"), run("true")
    for _, one in ipairs({ by_result, by_notice, drained }) do
      assert.equal("completed", (one:wait(FAR)))
    end
    assert.is_true(by_result:acknowledge()) -- a tool's result says it
    local times = stress.by_task(q:drain())
    assert.same({ [by_notice.id] = 1, [drained.id] = 1 }, times)
    assert.is_false(drained:acknowledge()) -- the notice is on its way already
    assert.same({}, q:drain())
    assert.equal(3, q:ack())
    assert.equal(0, q:requeue())
    for _, one in ipairs({ by_result, by_notice, drained }) do
      one:set_notify(true)
    end
    assert.equal(0, #q)
    assert.same({}, ledger.undelivered(assert(ledger.read(dir .. "/tasks.jsonl"))))
  end)

  it("that is a server is ready when it says so, or shows why not; it goes on (B14)", function()
    local server = run("sleep 0.05; echo listening; exec sleep 60")
    assert.is_true(watch.wait_ready(server, { pattern = "listening" }, FAR))
    assert.equal("running", (server:status()))
    local broken = run("echo no such port; exit 3")
    local ready, message, code = watch.wait_ready(broken, { pattern = "listening" }, FAR)
    assert.same({ nil, "ENDED" }, { ready, code })
    assert.truthy(message:find("failed (exit code 3", 1, true), message)
    ready, message, code = watch.wait_ready(server, { pattern = "never" }, 0.05)
    assert.same({ nil, "TIMEOUT" }, { ready, code })
    assert.truthy(message:find("it still runs", 1, true), message)
    assert.equal("running", (server:status()))
  end)

  it("is waited for until its end, news of it, or a bound, whichever is first (B15)", function()
    local slow, quick = run("exec sleep 60"), run("sleep 0.05")
    async.run(function()
      local one, status = task.wait_any({ slow, quick }, FAR)
      assert.same({ true, "completed" }, { one == quick, status })
      assert.same({ nil, "TIMEOUT" }, { slow:wait(0.02), (select(3, slow:wait(0.02))) })
      assert.equal("TIMEOUT", (select(3, task.wait_any({ slow }, 0.02))))
      local waiter = async.spawn(function() return slow:wait() end)
      async.sleep(0)
      waiter:cancel("enough") -- nobody waits for ever, and nothing ends by it
      assert.is_false((pcall(waiter.wait, waiter)))
    end)
    assert.equal("running", (slow:status()))
  end)

  it("leaves no zombie and no state that stays; a failed start is an end (B23)", function()
    local commands = { { "true" }, { "no-such-program-anywhere" }, "exit 3", "kill -KILL $$",
      "(sleep 0.01 &) ; true", "setsid -f true" }
    local tasks = {}
    for i = 1, 60 do
      tasks[i] = run(commands[i % #commands + 1], { cwd = i % 10 == 0 and base .. "/none" or nil })
    end
    local known = { completed = true, failed = true, error = true }
    local times = stress.by_task(stress.drain(q, 60))
    for _, one in ipairs(tasks) do
      local status, state = one:status()
      assert.is_true(known[status], status)
      assert.is_true(state.ended)
      assert.is_nil(state.pid)
      assert.equal(1, times[one.id])
    end
    local supervisor = assert(stress.supervisors()[1])
    assert(stress.eventually(function()
      local path = ("/proc/%d/task/%d/children"):format(supervisor, supervisor)
      return sys.read_file(path) == ""
    end), "the supervisor has children left")
  end)

  it("that waited for its turn when the host ended is recorded as ended (B23)", function()
    local place <close> = program.place()
    local state = place.state .. "/session"
    local path = place:write("host.lua", [[
      local task = require("agenthost.task")
      task.set_dir(arg[1])
      task.set_max_running(1)
      for _, lifetime in ipairs({ "session", "session", "detached" }) do
        task.run("exec sleep 60", { lifetime = lifetime })
      end]])
    local result = place:run({ path, state })
    assert.same({ 0, "" }, { result.code, result.stderr })
    local tasks = assert(ledger.read(state .. "/tasks.jsonl"))
    assert.equal(3, #tasks)
    for _, one in ipairs(tasks) do
      assert.equal("killed", one.status)
      assert.truthy(one.reason:find("^by the end of agenthost"), one.reason)
    end
  end)

  it("goes on when the host ends only if that was asked for, and is recorded (B25)", function()
    local place <close> = program.place()
    local state = place.state .. "/session"
    local path = place:write("host.lua", [[
      local task = require("agenthost.task")
      task.set_dir(arg[1])
      local queue = require("agenthost.queue").new()
      local loop = "while [ ! -e %s/go ]; do sleep 0.02; done; echo kept; exit 3"
      loop = loop:format(arg[1])
      local options = { queue = queue, lifetime = arg[2], timeout = 60 }
      local one = assert(task.run(loop, options))
      local other = assert(task.run(loop, { queue = queue }))
      while one:status() == "queued" or other:status() == "queued" do
        require("agenthost.async").sleep(0.01)
      end
      if arg[3] == "wait" then
        queue:wait(60)
      end]])
    for _, how in ipairs({ "wait", "leave" }) do
      assert(os.execute("rm -rf " .. state))
      local running = place:start({ path, state, "detached", how })
      local function tasks()
        return assert(ledger.read(state .. "/tasks.jsonl"))
      end
      assert(stress.eventually(function()
        local all = tasks()
        return #all == 2 and all[1].pid and all[2].pid
      end))
      if how == "wait" then
        running:signal("KILL")
      end
      running:wait()
      local detached, other
      assert(stress.eventually(function()
        detached, other = tasks()[1], tasks()[2]
        return other.status ~= "running"
      end))
      assert.same({ "killed", "by the end of agenthost" }, { other.status, other.reason })
      assert.same({ true, "running", true },
        { detached.detached, detached.status, ledger.is_alive(detached) })
      temp.write(state .. "/go", "")
      assert(stress.eventually(function() return tasks()[1].status ~= "running" end))
      detached = tasks()[1]
      assert.same({ "failed", 3 }, { detached.status, detached.code })
      assert.equal("kept\n", (sys.read_file(detached.output)))
      assert.is_false(ledger.is_alive(detached))
      local undelivered = ledger.undelivered(tasks())
      assert.same({ detached.id, other.id }, { undelivered[1].id, undelivered[2].id })
    end
  end)
end)
