--- Reading the ledger of a session: what happened to its tasks, and which ends are to be told.
--- The writing side is in C (src/core/ledger.h).
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local M = {}

local MAX_BYTES <const> = 1 << 30

---@class agenthost.LedgerTask
---@field id string
---@field command string
---@field label? string
---@field cwd string
---@field output string path of the output file
---@field pid integer also its process group
---@field born integer tells whether pid is still the same process
---@field started number seconds since the epoch
---@field detached boolean
---@field owed boolean its end is to be told by a notice
---@field delivered boolean a message on disk holds its end
---@field status string "running", or as in a notice
---@field code? integer
---@field signal? integer
---@field reason? string
---@field ended? number
---@field seconds? number

local records = {}

local function take_order(task, record)
  for _, name in ipairs({ "command", "label", "cwd", "output", "detached" }) do
    task[name] = record[name]
  end
  task.started = record.time
  task.owed = task.owed or record.owed
end

function records.queued(task, record)
  take_order(task, record)
end

function records.start(task, record)
  if not task.command then -- else its order said so, and marks may have changed it since
    take_order(task, record)
  end
  task.pid, task.born, task.started, task.status = record.pid, record.born, record.time, "running"
end

records["end"] = function(task, record)
  -- The last one counts: it is what was told. A host whose supervisor died says "lost" also of an
  -- end that the supervisor had noted and could not report any more.
  task.code, task.signal, task.reason = nil, nil, nil
  task.ended = record.time
  for _, name in ipairs({ "status", "code", "signal", "reason", "seconds" }) do
    task[name] = record[name]
  end
end

function records.owed(task)
  task.owed = true
end

function records.waived(task)
  task.owed = false
end

function records.delivered(task)
  task.delivered = true
end

function records.adopted(task)
  task.adopted = true
end

-- Adds what the lines of a ledger say to the tasks in `list` and `by_id`.
local function apply_lines(text, list, by_id)
  for line in text:gmatch("[^\n]+") do
    local record = json.decode(line)
    local apply = type(record) == "table" and records[record.type]
    if apply and type(record.task) == "string" then
      local task = by_id[record.task]
      if not task then
        task = { id = record.task, status = "queued", owed = false, delivered = false }
        by_id[record.task] = task
        list[#list + 1] = task
      end
      apply(task, record)
    end
  end
end

--- Replays the text of a ledger. A torn or foreign line is passed over; unknown record types, too.
---@param text string
---@return agenthost.LedgerTask[] tasks in the order in which they started
function M.replay(text)
  local list = {}
  apply_lines(text, list, {})
  return list
end

--- Replays a ledger file; none is an empty one.
---@param path string
---@return agenthost.LedgerTask[]? tasks, or nil, message, code
function M.read(path)
  local text, message, code = sys.read_file(path, MAX_BYTES)
  if not text and code == "ENOENT" then
    return {}
  elseif not text then
    return nil, message, code
  end
  return M.replay(text)
end

--- Follows a ledger that others write to.
---@param path string
---@return fun(): agenthost.LedgerTask[] update reads what is new, as far as its lines are whole,
---  and gives all tasks: each time the same tables, with what is known by then
function M.follow(path)
  local list, by_id, offset = {}, {}, 0
  return function()
    local file <close> = io.open(path, "rb")
    if file and file:seek("end") > offset then
      file:seek("set", offset)
      local whole = file:read("a"):match("^.*\n") or ""
      offset = offset + #whole
      apply_lines(whole, list, by_id)
    end
    return list
  end
end

--- The tasks whose end nobody has been told: owed, ended and not delivered.
---@param tasks agenthost.LedgerTask[]
---@return agenthost.LedgerTask[]
function M.undelivered(tasks)
  local found = {}
  for _, task in ipairs(tasks) do
    local ended = task.status ~= "running" and task.status ~= "queued"
    if task.owed and ended and not task.delivered then
      found[#found + 1] = task
    end
  end
  return found
end

--- Notes that a message on disk holds the ends of tasks of an earlier run. For tasks of this run
--- `queue:ack` does it.
---@param path string of the ledger
---@param ids string[]
---@return boolean? done nil, message, code
function M.mark_delivered(path, ids)
  return M.mark(path, "delivered", ids)
end

--- Appends one record a task.
---@param path string of the ledger
---@param type "delivered"|"adopted"|"owed"|"waived"|"end"
---@param ids string[]
---@param fields? table what each record holds besides type, task and time
---@return boolean? done nil, message, code
function M.mark(path, type, ids, fields)
  local file <close>, message, code = sys.append(path)
  if not file then
    return nil, message, code
  end
  local ok = true
  for _, id in ipairs(ids) do
    if ok then
      local record = { type = type, task = id, time = sys.wall() }
      for name, value in pairs(fields or {}) do
        record[name] = value
      end
      ok, message, code = file:write(json.encode(record) .. "\n")
    end
  end
  return ok, message, code
end

--- The same as a notice of kind "task" that the queue would have carried.
---@param task agenthost.LedgerTask
---@return table
function M.notice(task)
  local stat = task.output and sys.stat(task.output)
  return {
    kind = "task",
    task = task.id,
    status = task.status,
    command = task.command or "(unknown: the ledger has no start of it)",
    label = task.label,
    code = task.code,
    signal = task.signal,
    reason = task.reason,
    seconds = task.seconds,
    output = task.output or "(unknown)",
    bytes = stat and stat.size or 0,
  }
end

--- Whether the process that the record names still lives, and is the same one.
---@param task agenthost.LedgerTask
---@return boolean
function M.is_alive(task)
  local stat = task.pid and sys.read_file(("/proc/%d/stat"):format(task.pid), 4096)
  -- Behind the last ")" stand the fields from the third on; the 22nd is the start time.
  local fields = stat and stat:match("^.*%)(.*)$")
  if not fields then
    return false
  end
  local values = {}
  for value in fields:gmatch("%S+") do
    values[#values + 1] = value
  end
  return values[1] ~= "Z" and tonumber(values[20]) == task.born
end

return M
