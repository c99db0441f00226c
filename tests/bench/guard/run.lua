-- What the guard costs: the same work with and without the hook, and in guarded calls; and how long
-- a loop over a slow C function runs on behind its budget. See README.md.
local defaults = require("agenthost.defaults")
local guard = require("agenthost.guard")
local json = require("agenthost.json")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")

local function fib(n)
  return n < 2 and n or fib(n - 1) + fib(n - 2)
end

local document = {}
for i = 1, 2000 do
  document[i] = { name = "item " .. i, text = ("lorem ipsum "):rep(20), list = { i, i + 1 } }
end
local words = ("some words of a text "):rep(20000)

local work = {
  { "calls (fib 30)", function() return fib(30) end },
  { "a loop of additions", function()
    local sum = 0
    for i = 1, 3e7 do
      sum = sum + i
    end
    return sum
  end },
  { "tables and closures", function()
    local kept = {} -- luacheck: ignore 241
    for i = 1, 1e6 do
      kept[i % 1000] = { i, function() return i end }
    end
  end },
  { "JSON", function()
    for _ = 1, 5 do
      json.decode(json.encode(json.array(document)))
    end
  end },
  { "text (gsub)", function()
    for _ = 1, 5 do
      words:gsub("%a+", string.upper)
    end
  end },
}

local function best(fn)
  local least = math.huge
  for _ = 1, 7 do
    collectgarbage()
    local began = os.clock()
    fn()
    least = math.min(least, os.clock() - began)
  end
  return least * 1000
end

print(("%-24s %10s %10s %8s"):format("", "off, ms", "on, ms", ""))
for _, one in ipairs(work) do
  guard.watch(false)
  local off = best(one[2])
  local on = best(function() assert(protect.call("bench", one[2])) end)
  print(("%-24s %10.1f %10.1f %+7.0f%%"):format(one[1], off, on, (on / off - 1) * 100))
end

local function nothing() end
local calls = 1e5
local took = best(function()
  for _ = 1, calls do
    protect.call("bench", nothing)
  end
end)
print(("\na guarded call: %.2f µs"):format(took / calls * 1000))

defaults.guard.seconds = 0.2
for _, size in ipairs({ 1000, 100000, 1000000 }) do
  local s = ("a"):rep(size)
  local began = sys.now()
  protect.call("bench", function()
    while true do
      local _ = s:reverse()
    end
  end)
  print(("budget 0.2 s, a loop over %d bytes: stopped after %.2f s"):format(size,
    sys.now() - began))
end
