local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local retry = require("agenthost.retry")
local sys = require("agenthost.sys")

-- A policy whose sleeps are only noted, in `slept`.
local function policy(fields)
  local made = { tries = 4, first_delay = 0.5, max_delay = 8, max_retry_after = 60, slept = {} }
  made.random = function() return 0 end
  made.sleep = function(seconds) made.slept[#made.slept + 1] = seconds end
  for name, value in pairs(fields or {}) do
    made[name] = value
  end
  return made
end

-- A function that gives one row of `rows` after the other, and how often it was called.
local function script(rows)
  local calls = 0
  return function()
    calls = calls + 1
    return table.unpack(rows[math.min(calls, #rows)], 1, 4)
  end, function() return calls end
end

local busy <const> = { nil, "busy", "OVERLOADED", { retryable = true } }

describe("retry.call", function()
  it("gives what the first call gives when it succeeds", function()
    local fn, calls = script({ { "reply", "second" } })
    local p = policy()
    local reply, second = retry.call(fn, p)
    assert.equal("reply", reply)
    assert.equal("second", second)
    assert.equal(1, calls())
    assert.same({}, p.slept)
  end)

  it("tries again after what may pass", function()
    local fn, calls = script({ busy, busy, { "reply" } })
    local waits = {}
    local p = policy()
    assert.equal("reply", (retry.call(fn, p, function(wait) waits[#waits + 1] = wait end)))
    assert.equal(3, calls())
    assert.same({ 0.5, 1 }, p.slept)
    assert.same({
      { message = "busy", code = "OVERLOADED", delay = 0.5, try = 1, tries = 4, partial = false },
      { message = "busy", code = "OVERLOADED", delay = 1, try = 2, tries = 4, partial = false },
    }, waits)
  end)

  it("does not try again after what stays", function()
    local details = { retryable = false }
    local fn, calls = script({ { nil, "no", "AUTH", details } })
    local p = policy()
    local reply, message, code, got = retry.call(fn, p, error)
    assert.is_nil(reply)
    assert.equal("no", message)
    assert.equal("AUTH", code)
    assert.equal(details, got)
    assert.equal(1, calls())
    assert.same({}, p.slept)
  end)

  it("takes a failure without details as final", function()
    local fn, calls = script({ { nil, "odd" } })
    local _, message, code, details = retry.call(fn, policy())
    assert.same({ "odd", nil, nil, 1 }, { message, code, details, calls() })
  end)

  it("gives up after the tries of the policy and says how many they were", function()
    local fn, calls = script({ busy })
    local p = policy({ tries = 7 })
    local _, message, code = retry.call(fn, p)
    assert.equal("busy (after 7 tries)", message)
    assert.equal("OVERLOADED", code)
    assert.equal(7, calls())
    assert.same({ 0.5, 1, 2, 4, 8, 8 }, p.slept)
  end)

  it("never waits with tries = 1", function()
    local fn, calls = script({ busy })
    local p = policy({ tries = 1 })
    assert.equal("busy", (select(2, retry.call(fn, p))))
    assert.equal(1, calls())
    assert.same({}, p.slept)
  end)

  it("says how many tries it took to reach a failure that stays", function()
    local fn = script({ busy, { nil, "no", "AUTH", { retryable = false } } })
    assert.equal("no (after 2 tries)", (select(2, retry.call(fn, policy()))))
  end)

  it("takes up to a quarter off the delay", function()
    local fn = script({ busy })
    local p = policy({ random = function() return 1 end })
    retry.call(fn, p)
    assert.same({ 0.375, 0.75, 1.5 }, p.slept)
  end)

  it("waits as long as the server asks", function()
    local fn = script({ { nil, "slow", "RATE_LIMIT", { retryable = true, retry_after = 12.5 } },
      { "reply" } })
    local p = policy({ random = function() return 1 end })
    assert.equal("reply", (retry.call(fn, p)))
    assert.same({ 12.5 }, p.slept)
  end)

  it("takes a server that asks for no wait by the policy", function()
    local fn = script({ { nil, "slow", "RATE_LIMIT", { retryable = true, retry_after = 0 } },
      { "reply" } })
    local p = policy()
    retry.call(fn, p)
    assert.same({ 0.5 }, p.slept)
  end)

  it("gives up when the server asks for too long a wait", function()
    local fn, calls = script({ { nil, "slow", "RATE_LIMIT",
      { retryable = true, retry_after = 3600.2 } } })
    local p = policy()
    local _, message, code = retry.call(fn, p)
    assert.equal("slow; the server asks to wait 3601 s, more than the 60 s that are allowed",
      message)
    assert.equal("RATE_LIMIT", code)
    assert.equal(1, calls())
    assert.same({}, p.slept)
    fn = script({ busy, { nil, "slow", "RATE_LIMIT", { retryable = true, retry_after = 1e300 } } })
    assert.matches("allowed %(after 2 tries%)$", (select(2, retry.call(fn, policy()))))
  end)

  it("gives up when the time is over, before a wait that would end too late", function()
    local clock = 1000
    local p = policy({ tries = 100, max_elapsed = 10, now = function() return clock end })
    p.sleep = function(seconds) clock = clock + seconds end
    local fn, calls = script({ busy })
    local _, message, code = retry.call(function()
      clock = clock + 1
      return fn()
    end, p)
    assert.equal("busy; no more tries after 10 s (max_elapsed in defaults.retry) (after 4 tries)",
      message) -- failures at 0, 1.5, 3.5 and 6.5; the next would be at 11.5
    assert.equal("OVERLOADED", code)
    assert.equal(4, calls())
  end)

  it("counts that time from the first failure: a long reply may break off", function()
    local clock = 0
    local p = policy({ max_elapsed = 10, now = function() return clock end })
    local fn = script({ busy, { "reply" } })
    assert.equal("reply", (retry.call(function()
      clock = clock + 3600
      return fn()
    end, p)))
  end)

  it("tells the seconds that are left", function()
    local fn = script({ { nil, "slow", "RATE_LIMIT", { retryable = true, retry_after = 2.5 } },
      { "reply" } })
    local p, told = policy(), {}
    retry.call(fn, p, nil, function(wait, left)
      told[#told + 1] = wait.message .. " " .. left
    end)
    assert.same({ 0.5, 1, 1 }, p.slept)
    assert.same({ "slow 2", "slow 1", "slow 0" }, told)
  end)

  it("says when what was shown does not count", function()
    local fn = script({ { nil, "cut", "CUT", { retryable = true, partial = true } }, { "reply" } })
    local partial
    retry.call(fn, policy(), function(wait) partial = wait.partial end)
    assert.is_true(partial)
  end)

  it("lets errors through", function()
    assert.has_error(function() retry.call(function() error("oops", 0) end, policy()) end, "oops")
  end)

  it("uses defaults.retry and lets other jobs run while it waits", function()
    local old <const> = defaults.retry
    finally(function() defaults.retry = old end)
    defaults.retry = { tries = 2, first_delay = 0.05, max_delay = 1, max_retry_after = 1 }
    local fn = script({ busy, { "reply" } })
    local steps, reply, took = 0, nil, nil
    async.run(function()
      local job = async.spawn(function()
        local start = sys.now()
        reply = retry.call(fn)
        took = sys.now() - start
      end)
      while not job.done do
        async.sleep(0.005)
        steps = steps + 1
      end
    end)
    assert.equal("reply", reply)
    assert.is_true(took >= 0.037, "waited " .. took)
    assert.is_true(steps >= 2, "others ran " .. steps .. " times")
  end)
end)
