--- When to try again: the one place with that policy. How a failed call says whether it may be
--- tried again is in agenthost.Provider.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")

local M = {}

---@class agenthost.RetryPolicy
---@field tries integer calls in all
---@field first_delay number seconds before the second call; doubled for each further one
---@field max_delay number seconds
---@field max_retry_after number seconds; a server that asks for more is an error
---@field max_elapsed? number seconds from the first failure to the last try: that a long reply has
---  broken off is no reason to give up, that a server is down for long is; default: any
---@field random? fun(): number for tests: 0 up to 1; default math.random
---@field sleep? fun(seconds: number) for tests; default async.sleep
---@field now? fun(): number for tests; default sys.now

---@class agenthost.RetryWait
---@field message string why the call failed
---@field code? string
---@field delay number seconds until the next try
---@field try integer the call that failed, from 1
---@field tries integer calls in all
---@field partial boolean the failed call had shown some text, which does not count

-- Seconds to wait after call number `try`: what the server asked for, else doubling, spread over
-- a quarter so that many clients do not come back at once.
local function delay_after(try, retry_after, policy)
  if retry_after and retry_after > 0 then
    return retry_after
  end
  local delay = math.min(policy.first_delay * 2.0 ^ (try - 1), policy.max_delay)
  return delay * (1 - 0.25 * (policy.random or math.random)())
end

-- Waits, and says each full second that is left. A cancelled job does not come back from here.
local function count_down(wait, policy, on_tick)
  local sleep = policy.sleep or async.sleep
  if not on_tick then
    return sleep(wait.delay)
  end
  local left = wait.delay
  repeat
    local next_left = math.max(0, math.ceil(left) - 1)
    sleep(left - next_left)
    left = next_left
    on_tick(wait, left)
  until left == 0
end

-- Why there is no further try after this failure, as words behind its message; nil: there is one.
local function enough(delay, retry_after, elapsed, policy)
  if retry_after and delay > policy.max_retry_after then
    return ("; the server asks to wait %.0f s, more than the %g s that are allowed"):format(
      math.ceil(delay), policy.max_retry_after)
  elseif policy.max_elapsed and elapsed + delay > policy.max_elapsed then
    return ("; no more tries after %g s (max_elapsed in defaults.retry)"):format(
      policy.max_elapsed)
  end
end

--- Calls `fn` until it succeeds, fails for good, or the policy has had enough.
---@param fn fun(): any, string?, string?, table? a result that is not nil; or nil, message, code,
---  details, of which `retryable`, `retry_after` (seconds) and `partial` count
---@param policy? agenthost.RetryPolicy default defaults.retry
---@param on_wait? fun(wait: agenthost.RetryWait) told before each wait
---@param on_tick? fun(wait: agenthost.RetryWait, left: integer) told during it, once a second, with
---  the seconds that are left; 0 at its end
---@return any ... what the last call returned; the message of a failure says how often it was tried
function M.call(fn, policy, on_wait, on_tick)
  policy = policy or defaults.retry
  local now = policy.now or sys.now
  local try, first_failure = 0, nil
  while true do
    try = try + 1
    local results = table.pack(fn())
    if results[1] ~= nil then
      return table.unpack(results, 1, results.n)
    end
    local message, code, details = results[2], results[3], results[4] or {}
    local tried = try > 1 and (" (after %d tries)"):format(try) or ""
    if not details.retryable or try >= policy.tries then
      return nil, tostring(message) .. tried, code, results[4]
    end
    first_failure = first_failure or now()
    local delay = delay_after(try, details.retry_after, policy)
    local why = enough(delay, details.retry_after, now() - first_failure, policy)
    if why then
      return nil, tostring(message) .. why .. tried, code, results[4]
    end
    local wait = {
      message = message,
      code = code,
      delay = delay,
      try = try,
      tries = policy.tries,
      partial = details.partial == true,
    }
    if on_wait then
      on_wait(wait)
    end
    count_down(wait, policy, on_tick)
  end
end

return M
