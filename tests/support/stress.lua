--- For the stress tests: how large they are, and looks at what tasks have left.
---
--- $AGENTHOST_STRESS is "small" (the default) or "full".
local async = require("agenthost.async")
local json = require("agenthost.json")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local M = {}

local FAR <const> = 60 -- seconds: a bound that no passing test reaches
local full <const> = os.getenv("AGENTHOST_STRESS") == "full"

M.FAR = FAR

--- The directory of all tests.
M.tests = debug.getinfo(1, "S").source:match("^@(.*)/support/[^/]*$")

--- One of two sizes.
function M.size(small, large)
  return full and large or small
end

--- Starts the random numbers of a test. The seed is fixed unless $AGENTHOST_SEED names another, and
--- is printed, so that a failure can be had again.
---@return integer seed
function M.seed()
  local seed = tonumber(os.getenv("AGENTHOST_SEED")) or 20251122
  math.randomseed(seed)
  print("seed " .. seed)
  return seed
end

---@class support.stress.Place
---@field base string a directory of its own
---@field dir string below it, of a session: with the ledger of the tasks
---@field queue agenthost.Queue
local Place = {}
Place.__index = Place

--- A place for tasks of this process; `close` ends them all.
function M.place()
  local base = temp.directory()
  local self = setmetatable({ base = base, dir = base .. "/session", queue = queue.new() }, Place)
  task.set_dir(self.dir)
  return self
end

--- Runs a task that tells its end in the queue of the place.
function Place:run(command, options)
  options = options or {}
  options.queue = self.queue
  return assert(task.run(command, options))
end

function Place:close()
  for _, one in ipairs(task.list()) do
    one:kill({ grace = 0 })
    one:wait(FAR)
  end
  self.queue:close()
  temp.remove(self.base)
end

--- Calls `look` until it gives something true, which is returned; nil when the time is over.
---@param look fun(): any
---@param seconds? number
function M.eventually(look, seconds)
  local deadline = sys.now() + (seconds or FAR)
  while true do
    local result = look()
    if result or sys.now() > deadline then
      return result or nil
    end
    async.sleep(0.01)
  end
end

--- Calls `try` with so many seconds, then with more and more, until it gives something true, which
--- is returned: for what has to be done in a short time, on a machine that may stand still.
---@param seconds number
---@param try fun(seconds: number): any
function M.in_time(seconds, try)
  for i = 0, 4 do
    local result = try(seconds * 3 ^ i)
    if result then
      return result
    end
  end
end

--- Drains a queue until `count` notices have come; fewer when that takes too long.
---@param q agenthost.Queue
---@param count integer
---@return table[] notices
function M.drain(q, count)
  local all = {}
  local deadline = sys.now() + FAR
  while #all < count and sys.now() < deadline do
    q:wait(0.5)
    for _, notice in ipairs(q:drain()) do
      all[#all + 1] = notice
    end
  end
  return all
end

--- Notices by task: how often each was told, and with which status.
---@param notices table[]
---@return table<string, integer> times, table<string, string> status
function M.by_task(notices)
  local times, status = {}, {}
  for _, notice in ipairs(notices) do
    times[notice.task] = (times[notice.task] or 0) + 1
    status[notice.task] = notice.status
  end
  return times, status
end

--- The records of a ledger, line by line; raises at a line that is none.
---@param dir string of tasks.jsonl
---@param torn? boolean lines that are no record are allowed
---@return table[] records
function M.records(dir, torn)
  local records = {}
  local text = assert(sys.read_file(dir .. "/tasks.jsonl", 1 << 30))
  for line in text:gmatch("[^\n]+") do
    local record = json.decode(line)
    if type(record) == "table" and record.type and record.task then
      records[#records + 1] = record
    else
      assert(torn, "a bad line in the ledger: " .. line)
    end
  end
  assert(torn or text == "" or text:sub(-1) == "\n", "the last line of the ledger is torn")
  return records
end

--- How many records of a type each task has.
---@param records table[]
---@param type string
---@return table<string, integer>
function M.count(records, type)
  local counts = {}
  for _, record in ipairs(records) do
    if record.type == type then
      counts[record.task] = (counts[record.task] or 0) + 1
    end
  end
  return counts
end

--- The processes that carry the marker of one of these tasks: "PID ID COMMAND" each.
---@param is_task fun(id: string): any
---@return string[]
function M.processes(is_task)
  local found = {}
  for _, entry in ipairs(assert(sys.list("/proc", 100000))) do
    local proc = "/proc/" .. entry.name
    local environment = entry.name:find("^%d+$") and sys.read_file(proc .. "/environ") or ""
    local id = ("\0" .. environment):match("%zAGENTHOST_TASK=[^:%z]*:(%x+)")
    local stat = id and is_task(id) and sys.read_file(proc .. "/stat")
    if stat and not stat:find("%) [ZX] ") then
      found[#found + 1] = ("%s %s %s"):format(entry.name, id,
        (sys.read_file(proc .. "/cmdline") or ""):gsub("%z", " "))
    end
  end
  return found
end

--- Waits until no process of these tasks lives.
---@param is_task fun(id: string): any
---@return string[] left empty when all are gone
function M.wait_for_no_process(is_task)
  local left
  M.eventually(function()
    left = M.processes(is_task)
    return #left == 0
  end, 15)
  return left
end

--- The process ids of the supervisors of this process.
---@return integer[]
function M.supervisors()
  local found = {}
  for _, thread in ipairs(assert(sys.list("/proc/self/task"))) do
    local children = sys.read_file("/proc/self/task/" .. thread.name .. "/children") or ""
    for pid in children:gmatch("%d+") do
      local name = sys.read_file("/proc/" .. pid .. "/comm") or ""
      local stat = sys.read_file("/proc/" .. pid .. "/stat") or ""
      if name:find("^agenthost%-supe") and not stat:find("%) Z ") then
        found[#found + 1] = tonumber(pid)
      end
    end
  end
  return found
end

return M
