-- Many tasks at once: each end is told, once.
local ledger = require("agenthost.ledger")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

describe("a burst of tasks", function()
  local here, base, dir, q

  before_each(function()
    here = stress.place()
    base, dir, q = here.base, here.dir, here.queue
  end)

  after_each(function()
    here:close()
    task.set_max_running(64)
  end)

  local function run(command, options)
    return here:run(command, options)
  end

  -- Each of these tasks was told exactly once, and nothing else was.
  local function assert_told(tasks, notices)
    local times = stress.by_task(notices)
    for _, one in ipairs(tasks) do
      assert.equal(1, times[one.id], one.id .. " " .. one.command .. ": " .. one:status())
      times[one.id] = nil
    end
    assert.same({}, times)
  end

  -- Each has one order and one end in the ledger, and nothing is left to be told.
  local function assert_recorded(tasks)
    local records = stress.records(dir)
    local orders, ends = stress.count(records, "queued"), stress.count(records, "end")
    for _, one in ipairs(tasks) do
      assert.same({ 1, 1 }, { orders[one.id], ends[one.id] }, one.id)
    end
    assert.same({}, ledger.undelivered(assert(ledger.read(dir .. "/tasks.jsonl"))))
  end

  local function sleeps(pid)
    local stat = pid and sys.read_file("/proc/" .. pid .. "/stat")
    return stat and stat:find("%) S ")
  end

  -- Tasks that all wait for somebody to open a FIFO for writing, and then end; and its path.
  local function gated(count, name)
    local gate = base .. "/" .. name
    assert(os.execute("mkfifo " .. gate))
    local tasks = {}
    for i = 1, count do
      tasks[i] = run(": < " .. gate)
    end
    for _, one in ipairs(tasks) do
      assert(stress.eventually(function() return sleeps(select(2, one:status()).pid) end))
    end
    return tasks, gate
  end

  it("that end at the same instant is told completely, round after round (B1)", function()
    local all = {}
    for round = 1, stress.size(4, 100) do
      local tasks, gate = gated(64, "gate" .. round)
      local opened = assert(io.open(gate, "w"))
      local notices = stress.drain(q, 64)
      opened:close()
      assert_told(tasks, notices)
      for _, notice in ipairs(notices) do
        assert.equal("completed", notice.status)
      end
      assert.equal(64, q:ack())
      assert.equal(0, #q)
      table.move(tasks, 1, 64, #all + 1, all)
    end
    assert_recorded(all)
  end)

  it("that end while Lua is busy is told afterwards", function()
    local count = stress.size(300, 1000)
    task.set_max_running(count)
    local tasks, gate = gated(count, "gate")
    local opened = assert(io.open(gate, "w"))
    local busy = sys.now() + 1
    repeat
    until sys.now() > busy
    local notices = stress.drain(q, count)
    opened:close()
    assert_told(tasks, notices)
    assert.equal(count, q:ack())
    assert_recorded(tasks)
  end)

  it("that are killed as they start ends completely", function()
    stress.seed()
    local commands = {
      "exec sleep 60",
      "true",
      "sleep 60 & sleep 60",
      "setsid sleep 60 & sleep 60",
      "trap '' TERM; sleep 60 & wait",
      { "no-such-program-anywhere" },
    }
    local tasks, ids = {}, {}
    for i = 1, stress.size(150, 3000) do
      local one = run(commands[math.random(#commands)])
      tasks[i], ids[one.id] = one, true
      -- At once, or a few tasks later: queued, forked, executing, ended.
      local victim = tasks[math.max(1, i - math.random(0, 12))]
      victim:kill({ grace = math.random(0, 1) * 0.05, by = "the test" })
      if math.random(4) == 1 then
        victim:kill({ grace = 0 })
      end
    end
    for _, one in ipairs(tasks) do
      one:kill({ grace = 0.05 })
    end
    local notices = stress.drain(q, #tasks)
    assert_told(tasks, notices)
    local known = { killed = true, completed = true, error = true, failed = true }
    for _, notice in ipairs(notices) do
      assert.is_true(known[notice.status], notice.status)
      assert.truthy(notice.status ~= "failed" or notice.command:find("trap"), notice.command)
    end
    assert.equal(#tasks, q:ack())
    assert_recorded(tasks)
    assert.same({}, stress.wait_for_no_process(function(id) return ids[id] end))
  end)

  it("that is queued starts in the order in which it was run", function()
    task.set_max_running(8)
    local tasks = {}
    for i = 1, 1000 do
      tasks[i] = run({ "true" })
    end
    assert_told(tasks, stress.drain(q, 1000))
    assert.equal(1000, q:ack())
    assert_recorded(tasks)
    local at = 0
    for _, record in ipairs(stress.records(dir)) do
      if record.type == "start" then
        at = at + 1
        assert.equal(tasks[at].id, record.task)
      end
    end
  end)
end)
