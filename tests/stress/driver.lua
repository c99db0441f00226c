-- One life of a host with tasks, for crash_spec.lua:
--   agenthost driver.lua DIR work|rest SEED
-- `work` goes on for ever and is killed at some moment; started again on the same directory it
-- first tells what the ledger has and its conversation has not. `rest` starts a few tasks more,
-- tells everything that is still to be told, and ends.
--
-- DIR/conversation has a line for each message: "told ID=STATUS ID=STATUS ." It is written before
-- the notices are acknowledged. DIR/started has the id of each task.
local ledger = require("agenthost.ledger")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

local LIVE <const> = 12 -- tasks at a time, two of them queued
local REST <const> = 40 -- seconds for the last life

local dir <const>, mode <const> = arg[1], arg[2]
math.randomseed(assert(tonumber(arg[3])))

-- ---- the conversation --------------------------------------------------------------------------

local function read_told()
  local told, text = {}, sys.read_file(dir .. "/conversation", 1 << 30) or ""
  for line in text:gmatch("told ([^\n]*)%.\n") do
    for id in line:gmatch("(%x+)=") do
      told[id] = true
    end
  end
  return told, text == "" or text:sub(-1) == "\n"
end

assert(sys.mkdir_private(dir))
local told, whole = read_told()
local conversation <close> = assert(sys.append(dir .. "/conversation"))
local started <close> = assert(sys.append(dir .. "/started"))
if not whole then
  assert(conversation:write("\n"))
end

-- Puts ends into the conversation. `ends` have id or task, and status.
local function tell(ends)
  local words = {}
  for _, one in ipairs(ends) do
    local id = one.id or one.task
    words[#words + 1] = ("%s=%s"):format(id, one.status)
    told[id] = true
  end
  assert(conversation:write("told " .. table.concat(words, " ") .. " .\n"))
end

-- ---- tasks of this life ------------------------------------------------------------------------

local q <close> = queue.new()
task.set_dir(dir)
task.set_max_running(LIVE - 2)

local mine, live = {}, {} -- by id; those whose end is still to come

local kinds = {
  { "true" },
  { "exit 3" },
  { "sleep 0.0%d" },
  { "sleep 0.0%d; echo x" },
  { "exec sleep 60" },
  { "sleep 60 & sleep 60" },
  { "trap '' TERM; sleep 60 & wait; sleep 60" },
  { "setsid sleep 60 & sleep 0.0%d" },
  { "setsid sleep 60 & exec sleep 60" },
  { "exec sleep 60", { timeout = 0.05, grace = 0.1 } },
  { "sleep 0.%d", { lifetime = "detached" } },
  { "sleep 0.0%d", { notify = false }, late = true },
}

local function start_one()
  local kind = kinds[math.random(#kinds)]
  local options = { queue = q }
  for name, value in pairs(kind[2] or {}) do
    options[name] = value
  end
  local one = assert(task.run((kind[1]:gsub("%%d", tostring(math.random(9)))), options))
  assert(started:write(one.id .. "\n"))
  mine[one.id], live[one.id] = true, one
  if kind.late then
    one:set_notify(true) -- it may have ended by now
  end
end

local function take_notices()
  local notices = q:drain()
  if #notices > 0 then
    tell(notices)
    assert(q:ack())
    for _, notice in ipairs(notices) do
      live[notice.task] = nil
    end
  end
end

-- Ends one of them, and sometimes tells that itself, as a tool's result would.
local function kill_one()
  local _, one = next(live)
  if one and one:kill({ grace = 0.05 }) and math.random(2) == 1 then
    local status = one:wait(REST)
    if one:acknowledge() then
      tell({ { id = one.id, status = status } })
      assert(q:ack())
      live[one.id] = nil
    end
  end
end

-- ---- tasks of earlier lives --------------------------------------------------------------------

-- Tells those that no message holds. Returns how many have not ended.
local function tell_earlier()
  local tasks = assert(ledger.read(dir .. "/tasks.jsonl"))
  local news, marks, open = {}, {}, 0
  for _, one in ipairs(tasks) do
    open = open + (one.status == "running" and not mine[one.id] and 1 or 0)
  end
  for _, one in ipairs(ledger.undelivered(tasks)) do
    if not mine[one.id] then
      marks[#marks + 1] = one.id
      news[#news + 1] = not told[one.id] and ledger.notice(one) or nil
    end
  end
  if #news > 0 then
    tell(news)
  end
  local file <close> = assert(sys.append(dir .. "/tasks.jsonl"))
  for _, id in ipairs(marks) do
    assert(file:write(('{"type":"delivered","task":"%s"}\n'):format(id)))
  end
  return open
end

-- ---- a life ------------------------------------------------------------------------------------

local deadline <const> = sys.now() + REST
tell_earlier()
local look_again = sys.now() + 0.2

local function count_live()
  local count = 0
  for _ in pairs(live) do
    count = count + 1
  end
  return count
end

while mode == "work" do
  for _ = count_live() + 1, LIVE do
    start_one()
  end
  q:wait(0.01)
  take_notices()
  if math.random(2) == 1 then
    kill_one()
  end
  if sys.now() > look_again then
    tell_earlier()
    look_again = sys.now() + 0.2
  end
end

for _ = 1, LIVE do
  start_one()
end
local open
repeat
  kill_one()
  q:wait(0.05)
  take_notices()
  open = tell_earlier()
until open == 0 and not next(live) or sys.now() > deadline
assert(open == 0 and not next(live), "not all tasks have ended")
