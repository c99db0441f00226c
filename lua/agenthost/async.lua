--- Coroutines that wait: the scheduler over the one wait of the reactor.
---
--- Inside `async.run` everything that waits (`http.request`, `task:wait`, `queue:wait`,
--- `async.sleep`) parks its coroutine, a *job*, and lets the others go on. Outside, the same calls
--- simply block. One thread runs all of it: between two waits nothing else runs.
local guard = require("agenthost.guard")
local reactor = require("agenthost.reactor")
local sys = require("agenthost.sys")

local M = {}

-- The reactor is one for the process, and so is this state; it is empty outside async.run.
local job_of = setmetatable({}, { __mode = "k" }) -- coroutine -> job
local waiting = {} -- what is waited for (an id, or any table) -> set of jobs
local parked = {} -- set of jobs that wait
local ready = {} -- jobs to resume, in order
local running = false

---@class agenthost.Job
---@field done boolean
local Job = {}
Job.__index = Job

local function wake(job, by)
  if not parked[job] then
    return
  end
  parked[job] = nil
  for _, key in ipairs(job.keys) do
    local set = waiting[key]
    if set then
      set[job] = nil
      if not next(set) then
        waiting[key] = nil
      end
    end
  end
  job.woken_by = by
  ready[#ready + 1] = job
end

--- Wakes every job that waits for `key`.
---@param key any an id of a waitable, or any table used as an event
function M.notify(key)
  for job in pairs(waiting[key] or {}) do
    wake(job, key)
  end
end

-- Takes in what the reactor reports, waiting for at most `timeout` seconds (nil: for ever). Returns
-- the set of ids.
local function poll(timeout)
  local ids, all = reactor.wait(timeout)
  local set = {}
  for _, id in ipairs(ids) do
    set[id] = true
    M.notify(id)
  end
  if all then
    for job in pairs(parked) do
      wake(job)
    end
  end
  return set, all
end

local function has_id(keys)
  for _, key in ipairs(keys) do
    if math.type(key) == "integer" then
      return true
    end
  end
  return false
end

-- For code outside any job, or in a coroutine of its own inside one: it cannot be parked, so the
-- whole thread waits. Jobs whose ids come up meanwhile are noted and run later.
local function block(keys, timeout)
  if not timeout and not has_id(keys) then
    error("only a job of async.run can wait for this: nothing else runs meanwhile", 2)
  end
  local deadline = timeout and sys.now() + timeout
  repeat
    local left = deadline and math.max(0, deadline - sys.now())
    local set, all = poll(left)
    guard.restart()
    for _, key in ipairs(keys) do
      if set[key] or all then
        return key
      end
    end
  until deadline and sys.now() >= deadline
  return nil
end

--- Waits until one of `keys` has news.
---@param keys any[] ids of waitables (`queue:waitable()`, `task:waitable()`, `reactor.watch`) or
---  tables given to `async.notify`
---@param timeout? number seconds; nil: no bound
---@return any key the one that had news, or nil when the time is over
function M.wait_any(keys, timeout)
  local job = job_of[coroutine.running()]
  if not job then
    return block(keys, timeout)
  end
  if job.cancel_reason == nil then
    job.keys, job.woken_by = keys, nil
    job.deadline = timeout and sys.now() + timeout
    parked[job] = true
    for _, key in ipairs(keys) do
      waiting[key] = waiting[key] or {}
      waiting[key][job] = true
    end
    coroutine.yield()
  end
  if job.cancel_reason ~= nil then
    local reason = job.cancel_reason
    job.cancel_reason = nil -- told once: what cleans up may wait again
    job.cancelled_by = reason
    error(reason, 0)
  end
  return job.woken_by
end

--- Waits until `key` has news. Used by the C modules.
---@param key any
---@param timeout? number seconds
---@return boolean news false when the time is over
function M.wait(key, timeout)
  return M.wait_any({ key }, timeout) ~= nil
end

--- Waits for some time.
---@param seconds number
function M.sleep(seconds)
  M.wait_any({}, seconds)
end

--- True inside a job: what waits then yields.
---@return boolean
function M.inside()
  return job_of[coroutine.running()] ~= nil
end

--- How many jobs there are that have begun and wait, or are about to run: for tests of what is left
--- over.
---@return integer
function M.count()
  local count = #ready
  for _ in pairs(parked) do
    count = count + 1
  end
  return count
end

--- Whether an error that was caught is what cancelling this job has raised: then it is to be raised
--- again.
---@param err any
---@return boolean
function M.is_cancellation(err)
  local job = job_of[coroutine.running()]
  return err ~= nil and job ~= nil and rawequal(job.cancelled_by, err)
end

local function body(job, fn, ...)
  local function handler(err)
    job.traceback = debug.traceback(type(err) == "string" and err or nil, 2)
    return err
  end
  local results
  if job.cancel_reason ~= nil then -- before it began
    results = table.pack(false, job.cancel_reason)
  elseif job.guard then -- plugin code has started it
    results = table.pack(guard.xpcall(job.guard, nil, handler, fn, ...))
  else
    results = table.pack(xpcall(fn, handler, ...))
  end
  job.done, job.ok = true, results[1]
  job.results = results
  M.notify(job)
end

--- Starts a function as a job; it runs at the next wait of the others.
---@param fn function
---@return agenthost.Job
function M.spawn(fn, ...)
  local job = setmetatable({ done = false, keys = {}, guard = guard.current() }, Job)
  local args = table.pack(...)
  job.co = coroutine.create(function()
    body(job, fn, table.unpack(args, 1, args.n))
  end)
  job_of[job.co] = job
  ready[#ready + 1] = job
  return job
end

--- Waits for the end of the job. Returns what its function returned, or raises its error.
function Job:wait()
  while not self.done do
    M.wait_any({ self })
  end
  if not self.ok then
    error(self.results[2], 0)
  end
  return table.unpack(self.results, 2, self.results.n)
end

--- Makes the job's present (or next) wait raise `reason`; nothing when it is done.
---@param reason any not nil
function Job:cancel(reason)
  if not self.done then
    self.cancel_reason = reason
    wake(self)
  end
end

--- Runs functions side by side and waits for all of them. When the caller is cancelled they are
--- cancelled, too, and waited for.
---@param functions function[]
---@return agenthost.Job[] jobs all done; each has `ok` and `results`
function M.all(functions)
  local jobs = {}
  for i, fn in ipairs(functions) do
    jobs[i] = M.spawn(fn)
  end
  local cancelled
  for _, job in ipairs(jobs) do
    while not job.done do
      local ok, reason = pcall(M.wait_any, { job })
      if not ok then
        cancelled = reason
        for _, other in ipairs(jobs) do
          other:cancel(reason)
        end
      end
    end
  end
  if cancelled ~= nil then
    error(cancelled, 0)
  end
  return jobs
end

local function next_timeout()
  local first
  for job in pairs(parked) do
    if job.deadline and (not first or job.deadline < first) then
      first = job.deadline
    end
  end
  return first and math.max(0, first - sys.now())
end

local function wake_overdue()
  local now = sys.now()
  for job in pairs(parked) do
    if job.deadline and job.deadline <= now then
      wake(job)
    end
  end
end

-- Lets a job go on, under the guard of the plugin code that it is in. Whatever is wrong `body`
-- catches, but for the lack of memory.
local function resume(job)
  local outer = guard.swap(job.guard, true)
  local ok, err = coroutine.resume(job.co)
  job.guard = guard.swap(outer)
  if not ok and not job.done then
    job.done, job.ok, job.results = true, false, { false, err }
    M.notify(job)
  end
end

-- `most`: seconds that it may wait; nil: no bound.
local function step(most)
  if #ready == 0 then
    local timeout = next_timeout()
    poll(most and math.max(0, math.min(timeout or most, most)) or timeout)
  else
    poll(0)
  end
  wake_overdue()
  local batch = ready
  ready = {}
  for _, job in ipairs(batch) do
    resume(job)
    if not job.done and not parked[job] then
      ready[#ready + 1] = job -- it yielded by itself: on with it in the next step
    end
  end
end

--- Runs `fn` as the main job, with whatever it spawns, until it returns. Jobs that are left then
--- are cancelled. Returns what it returned, or raises its error with a traceback.
---@param fn function
function M.run(fn, ...)
  if running then
    error("async.run is running already: call the function directly, or use async.spawn", 2)
  end
  running = true
  local main = M.spawn(fn, ...)
  while not main.done do
    step()
  end
  local bound, told = sys.now() + 5, {}
  while (next(parked) or #ready > 0) and sys.now() < bound do
    for job in pairs(parked) do
      if not told[job] then -- once: what cleans up may wait again
        told[job] = true
        job:cancel("the run is over")
      end
    end
    step(bound - sys.now())
  end
  waiting, parked, ready, running = {}, {}, {}, false
  if not main.ok then
    local err = main.results[2]
    error(type(err) == "string" and main.traceback or err, 0)
  end
  return table.unpack(main.results, 2, main.results.n)
end

return M
