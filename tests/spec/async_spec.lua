local async = require("agenthost.async")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local raised = require("support.temp").raised

local FAR <const> = 30 -- seconds: a bound that no passing test reaches

describe("async.run", function()
  it("gives back what the function returns, nils included", function()
    assert.same({ n = 3, 1, nil, 3 }, table.pack(async.run(function() return 1, nil, 3 end)))
    assert.same({ n = 0 }, table.pack(async.run(function() end)))
  end)

  it("passes arguments on, nils included", function()
    local given = async.run(function(...) return table.pack(...) end, nil, 2, nil)
    assert.same({ n = 3, nil, 2, nil }, given)
    assert.same({ n = 2, nil, nil }, async.run(function()
      return async.spawn(function(...) return table.pack(...) end, nil, nil):wait()
    end))
  end)

  it("raises the error with a traceback that names where it was", function()
    local function deep_in_the_job()
      error("it broke")
    end
    local message = raised(async.run, function()
      async.sleep(0)
      deep_in_the_job()
    end)
    assert.matches("async_spec.lua:%d+: it broke\nstack traceback:", message)
    assert.matches("deep_in_the_job", message)
  end)

  it("raises errors that are no texts as they are", function()
    local err = setmetatable({}, { __tostring = function() return "mine" end })
    assert.equal(err, raised(async.run, function() error(err) end))
    assert.is_false(raised(async.run, function() error(false) end))
  end)

  it("cannot be nested, and says what to do", function()
    async.run(function()
      assert.matches("async.run is running already: call the function directly, or use async.spawn",
        raised(async.run, function() end), 1, true)
    end)
  end)

  it("can run again after an error", function()
    pcall(async.run, error, "x")
    assert.equal(1, async.run(function() return 1 end))
  end)

  it("knows whether it is inside", function()
    assert.is_false(async.inside())
    assert.is_true(async.run(async.inside))
    assert.is_false(async.run(function() return coroutine.wrap(async.inside)() end))
  end)

  it("cancels the jobs that are left over", function()
    local reasons = {}
    async.run(function()
      for i = 1, 3 do
        async.spawn(function()
          local ok, reason = pcall(async.sleep, FAR)
          reasons[i] = not ok and reason
        end)
      end
      async.sleep(0)
    end)
    assert.same({ "the run is over", "the run is over", "the run is over" }, reasons)
  end)

  it("cancels jobs that had not begun, at their first wait", function()
    local seen
    async.run(function()
      async.spawn(function() seen = raised(async.sleep, FAR) end)
    end)
    assert.equal("the run is over", seen)
  end)

  it("lets a job that is left over wait while it cleans up", function()
    local steps = {}
    async.run(function()
      async.spawn(function()
        pcall(async.sleep, FAR)
        for i = 1, 3 do
          steps[i] = (pcall(async.sleep, 0.001))
        end
      end)
      async.sleep(0)
    end)
    assert.same({ true, true, true }, steps)
  end)

  it("closes what left-over jobs hold", function()
    local closed = false
    async.run(function()
      async.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        async.sleep(FAR)
      end)
      async.sleep(0)
    end)
    assert.is_true(closed)
  end)

  it("leaves nothing for the next run", function()
    local event, woken = {}, 0
    async.run(function()
      async.spawn(function()
        pcall(async.wait, event)
        woken = woken + 1
      end)
      async.sleep(0)
    end)
    async.run(function()
      async.notify(event)
      async.sleep(0)
    end)
    assert.equal(1, woken)
  end)
end)

describe("a job", function()
  it("runs side by side with others, in the order in which they were spawned", function()
    local order = {}
    async.run(function()
      local jobs = {}
      for i = 1, 3 do
        jobs[i] = async.spawn(function()
          order[#order + 1] = "a" .. i
          async.sleep(0)
          order[#order + 1] = "b" .. i
        end)
      end
      assert.same({}, order) -- nothing runs before the first wait
      for _, job in ipairs(jobs) do
        job:wait()
      end
    end)
    assert.same({ "a1", "a2", "a3" }, { table.unpack(order, 1, 3) })
    assert.equal(6, #order)
  end)

  it("gives its results to everyone who waits, also later", function()
    async.run(function()
      local job = async.spawn(function()
        async.sleep(0)
        return "x", nil, "z"
      end)
      local other = async.spawn(function() return select("#", job:wait()) end)
      assert.same({ n = 3, "x", nil, "z" }, table.pack(job:wait()))
      assert.equal(3, other:wait())
      assert.equal("x", (job:wait()))
      assert.is_true(job.done)
    end)
  end)

  it("raises its error in whoever waits, and nowhere else", function()
    async.run(function()
      local job = async.spawn(function() error("mine", 0) end)
      async.sleep(0)
      assert.equal("mine", raised(job.wait, job))
      assert.matches("mine\nstack traceback:", job.traceback)
    end)
  end)

  it("that yields by itself lets the others go on, and is not lost", function()
    local order = {}
    async.run(function()
      async.spawn(function() order[#order + 1] = "other" end)
      coroutine.yield()
      order[#order + 1] = "main"
    end)
    assert.same({ "other", "main" }, order)
  end)
end)

describe("waiting", function()
  it("ends when somebody notifies, and says by what", function()
    async.run(function()
      local a, b = {}, {}
      local job = async.spawn(function() return async.wait_any({ a, b }, FAR) end)
      async.sleep(0)
      async.notify(b)
      assert.equal(b, job:wait())
    end)
  end)

  it("wakes everyone who waits for the key, and nobody else", function()
    async.run(function()
      local event, other, woken = {}, {}, {}
      for i = 1, 3 do
        async.spawn(function() woken[i] = async.wait(event, FAR) end)
      end
      local apart = async.spawn(function() return async.wait(other, FAR) end)
      async.sleep(0)
      async.notify(event)
      async.notify("nobody waits for this")
      async.sleep(0)
      assert.same({ true, true, true }, woken)
      assert.is_false(apart.done)
    end)
  end)

  it("is not remembered: a notice before the wait does not count", function()
    async.run(function()
      local event = {}
      async.notify(event)
      assert.is_false(async.wait(event, 0.001))
    end)
  end)

  it("ends when the time is over", function()
    async.run(function()
      local started = sys.now()
      assert.is_nil(async.wait_any({ {}, {} }, 0.02))
      assert.is_true(sys.now() - started >= 0.02)
      assert.is_false(async.wait({}, 0))
      assert.is_false(async.wait({}, -1))
    end)
  end)

  it("can be woken by one notice twice in a row only by two", function()
    async.run(function()
      local event, count = {}, 0
      local job = async.spawn(function()
        for _ = 1, 2 do
          async.wait(event, FAR)
          count = count + 1
        end
      end)
      async.sleep(0)
      async.notify(event)
      async.notify(event)
      async.sleep(0)
      assert.equal(1, count)
      async.notify(event)
      job:wait()
      assert.equal(2, count)
    end)
  end)

  it("wakes sleepers in the order of their times", function()
    local order = {}
    async.run(function()
      local jobs = {}
      for i, seconds in ipairs({ 0.03, 0.01, 0.02 }) do
        jobs[i] = function()
          async.sleep(seconds)
          order[#order + 1] = seconds
        end
      end
      async.all(jobs)
    end)
    assert.same({ 0.01, 0.02, 0.03 }, order)
  end)

  it("holds many sleepers", function()
    local woken = 0
    async.run(function()
      local jobs = {}
      for i = 1, 2000 do
        jobs[i] = function()
          async.sleep((i % 10) / 1000)
          woken = woken + 1
        end
      end
      async.all(jobs)
    end)
    assert.equal(2000, woken)
  end)

  it("blocks outside of a run", function()
    local started = sys.now()
    async.sleep(0.02)
    assert.is_true(sys.now() - started >= 0.02)
    assert.is_false(async.wait({}, 0.001))
  end)

  it("is an error where it could never end", function()
    for _, wait in ipairs({
      function() async.wait({}) end,
      function() async.sleep() end,
      function() async.spawn(function() end):wait() end,
    }) do
      assert.matches("only a job of async.run can wait for this", raised(wait), 1, true)
    end
  end)
end)

describe("a foreign coroutine inside a job", function()
  it("may wait: the thread then does, and jobs that come up meanwhile run later", function()
    async.run(function()
      local q <close> = queue.new()
      local other = async.spawn(function() return q:wait(FAR) end)
      async.sleep(0)
      local generate = coroutine.wrap(function()
        for i = 1, 2 do
          q:push({ kind = "test" })
          async.sleep(0.002)
          coroutine.yield(i)
        end
      end)
      assert.equal(1, generate())
      assert.is_false(other.done)
      assert.equal(2, generate())
      assert.is_true(other:wait())
    end)
  end)

  it("gets an error instead of a wait for a job", function()
    async.run(function()
      local job = async.spawn(function() end)
      assert.matches("only a job of async.run can wait",
        raised(coroutine.wrap(function() job:wait() end)))
    end)
  end)
end)

describe("cancelling", function()
  it("raises the reason in the wait that is under way, once", function()
    async.run(function()
      local reason = {}
      local job = async.spawn(function()
        local first = raised(async.sleep, FAR)
        async.sleep(0.001) -- what cleans up may wait
        return first
      end)
      async.sleep(0)
      job:cancel(reason)
      assert.equal(reason, job:wait())
    end)
  end)

  it("keeps a job from beginning that has not begun", function()
    async.run(function()
      local begun = false
      local job = async.spawn(function() begun = true end)
      job:cancel("early")
      assert.equal("early", raised(job.wait, job))
      assert.is_false(begun)
    end)
  end)

  it("does nothing to a job that is done", function()
    async.run(function()
      local job = async.spawn(function() return 1 end)
      job:wait()
      job:cancel("late")
      assert.equal(1, job:wait())
    end)
  end)

  it("ends a job that does not catch it with the reason as its error", function()
    async.run(function()
      local job = async.spawn(async.sleep, FAR)
      async.sleep(0)
      job:cancel("enough")
      assert.equal("enough", raised(job.wait, job))
    end)
  end)

  it("of somebody who waits for a job leaves that job alone", function()
    async.run(function()
      local event = {}
      local worker = async.spawn(function()
        async.wait(event, FAR)
        return "done"
      end)
      local waiter = async.spawn(function() return worker:wait() end)
      async.sleep(0)
      waiter:cancel("enough")
      assert.equal("enough", raised(waiter.wait, waiter))
      assert.is_false(worker.done)
      async.notify(event)
      assert.equal("done", worker:wait())
    end)
  end)

  it("is not lost when the job is woken in the same moment", function()
    async.run(function()
      local event = {}
      local job = async.spawn(function() async.wait(event, FAR) end)
      async.sleep(0)
      async.notify(event)
      job:cancel("enough")
      assert.equal("enough", raised(job.wait, job))
    end)
  end)
end)

describe("async.all", function()
  it("gives the jobs in order, failed ones included", function()
    async.run(function()
      local jobs = async.all({
        function() async.sleep(0.002) return "slow" end,
        function() error("broken", 0) end,
        function() return "quick", 2 end,
      })
      assert.same({ true, "slow", n = 2 }, jobs[1].results)
      assert.is_false(jobs[2].ok)
      assert.equal("broken", jobs[2].results[2])
      assert.same({ "quick", 2 }, { table.unpack(jobs[3].results, 2) })
      assert.same({}, async.all({}))
    end)
  end)

  it("runs them side by side: each needs the other", function()
    async.run(function()
      local a, b = {}, {}
      local jobs = async.all({
        function()
          async.sleep(0)
          async.notify(b)
          return async.wait(a, FAR)
        end,
        function()
          local got = async.wait(b, FAR)
          async.notify(a)
          return got
        end,
      })
      assert.is_true(jobs[1].results[2])
      assert.is_true(jobs[2].results[2])
    end)
  end)

  it("cancels all of them with its caller, and waits until they have ended", function()
    async.run(function()
      local cleaned = {}
      local caller = async.spawn(function()
        local functions = {}
        for i = 1, 3 do
          functions[i] = function()
            local reason = raised(async.sleep, FAR)
            async.sleep(0.001)
            cleaned[i] = reason
          end
        end
        async.all(functions)
      end)
      async.sleep(0)
      async.sleep(0)
      caller:cancel("enough")
      assert.equal("enough", raised(caller.wait, caller))
      assert.same({ "enough", "enough", "enough" }, cleaned)
    end)
  end)
end)
