--- The time of a test: its bound, and the fake clock. Both sit where all waiting goes through, at
--- `reactor.wait` and `sys.now`; async.lua and everything above know nothing of them.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local guard = require("agenthost.guard")
local reactor = require("agenthost.reactor")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

local M = {}

local real_now <const>, real_wait <const> = sys.now, reactor.wait
local SLICE <const> = 0.05 -- seconds between looks whether a real command still runs

local silence -- what defaults.question.silent was before the clock was replaced

---@class agenthost.testing.Clock
---@field base number
---@field skipped number seconds
---@field held table<string, integer> tasks that wait for this clock once they have printed so many
---  bytes, by id
local Clock = {}
Clock.__index = Clock

--- Seconds that have passed on the fake clock, to the microsecond: an hour is a sum of many waits,
--- and 3600, not 3599.9999999.
---@return number
function Clock:elapsed()
  return (self.skipped * 1e6 + 0.5) // 1 / 1e6
end

-- Whether a command runs that does not wait for the clock: its end is news to be waited for.
local function real_work(clock)
  for _, one in ipairs(task.list()) do
    local _, state = one:status()
    local held = clock.held[one.id]
    if not state.ended and not (held and select(2, one:output({ tail = 1 })) >= held) then
      return true
    end
  end
  return false
end

-- Waits as reactor.wait does, but for no longer than real work takes: then time jumps.
local function fake_wait(clock, timeout, most)
  local busy = real_work(clock) -- asked first: what ends has told its end before
  local ids, all = real_wait(0)
  if #ids > 0 or all or timeout == 0 then
    return ids, all
  elseif busy or not timeout then
    return real_wait(math.min(SLICE, most))
  end
  clock.skipped = clock.skipped + timeout
  return {}, false
end

--- Replaces the clock for the rest of the test.
---@return agenthost.testing.Clock
function M.fake()
  silence = silence or defaults.question.silent
  defaults.question.silent = math.huge -- a jump is no silence
  M.clock = M.clock or setmetatable({ base = real_now(), skipped = 0, held = {} }, Clock)
  sys.now = function() return M.clock.base + M.clock.skipped end
  return M.clock
end

--- No task waits for the fake clock any more: their ends are real work.
function M.let_all_go()
  if M.clock then
    M.clock.held = {}
  end
end

local function restore()
  M.clock = nil
  defaults.question.silent, silence = silence or defaults.question.silent, nil
  sys.now, reactor.wait = real_now, real_wait
end

---@class agenthost.testing.Outcome
---@field ok boolean
---@field err any
---@field traceback? string

-- Stops a job that is late: first by an error inside it, then by going on without it. One that does
-- not wait is stopped by the guard.
local function new_bound(seconds)
  local bound = { seconds = seconds, deadline = real_now() + seconds, given_up = {},
    message = ("it took longer than %g s (the option `timeout` of this test, or "
      .. "defaults.testing.timeout)"):format(seconds) }
  function bound.look(job)
    local late = real_now() - bound.deadline
    if late >= 0 and not bound.told then
      bound.told = true
      bound.traceback = debug.traceback(job.co)
      job:cancel(bound.message)
    elseif late >= defaults.testing.grace then
      async.notify(bound.given_up)
    end
  end
  return bound
end

local function watch(bound, job)
  reactor.wait = function(timeout)
    bound.look(job())
    local most = math.max(SLICE, bound.deadline - real_now())
    if M.clock then
      return fake_wait(M.clock, timeout, most)
    end
    return real_wait(math.min(timeout or most, most))
  end
end

-- Runs a step. Code of plugins in it has the guard's own bound, as ever.
local function run_bounded(bound, fn)
  local ok, err = guard.xpcall(bound.seconds, "the test", function(err)
    bound.traceback = bound.traceback or debug.traceback("", 2)
    return err
  end, fn)
  bound.told = bound.told or not ok and real_now() >= bound.deadline
  if not ok then
    error(err, 0)
  end
end

--- Runs the functions one after the other, each inside the scheduler and for a bounded time; also
--- when one before it has failed.
---@param steps { fn: fun(), bound: number }[]
---@return agenthost.testing.Outcome[]
function M.run(steps)
  local outcomes = {}
  local ok, err = pcall(async.run, function()
    for i, step in ipairs(steps) do
      local bound, job = new_bound(step.bound), nil
      watch(bound, function() return job end)
      job = async.spawn(run_bounded, bound, step.fn)
      repeat
        local by = async.wait_any({ job, bound.given_up })
      until job.done or by == bound.given_up
      outcomes[i] = { ok = job.done and job.ok and not bound.told, traceback = bound.traceback,
        err = (bound.told or not job.done) and bound.message or job.results[2] }
    end
    restore() -- what is left over is cleared away in real time
  end)
  restore()
  return ok and outcomes or error(err, 0)
end

return M
