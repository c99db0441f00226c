--- Asking the supervisor of another agenthost to end a task: a file next to the task's output,
--- which it takes by removing it (src/supervisor/request.h). It can say who wanted that, and ends
--- also what has left the process group of the task.
local sys = require("agenthost.sys")

local M = {}

local SUPERVISOR <const> = ("agenthost-supervisor"):sub(1, 15) -- the kernel keeps no more of a name
local MAX_GRACE <const> = 3600 -- seconds
local OWNER_ONLY <const> = 384 -- 0600

local function path_of(task)
  local stem = task.output and task.output:match("^(.*)%.log$")
  return stem and stem .. ".kill"
end

local function has_supervisor(task)
  local stat = task.pid and sys.read_file(("/proc/%d/stat"):format(task.pid), 4096)
  local parent = stat and stat:match("^.*%) %a (%d+)")
  local name = parent and sys.read_file("/proc/" .. parent .. "/comm", 100)
  return name == SUPERVISOR .. "\n"
end

--- Asks for the end of a task: TERM to its processes, a grace, KILL.
---@param task agenthost.LedgerTask
---@param by string who wants it, for the reason; at most 100 bytes of it are kept
---@param grace number seconds; at most an hour
---@return boolean asked false when there is no supervisor that could do it
function M.ask(task, by, grace)
  local path = path_of(task)
  local text = ("%d\n%s\n"):format(math.min(grace, MAX_GRACE) * 1000 // 1,
    by:gsub("%c+", " "):sub(1, 100))
  return path ~= nil and has_supervisor(task) and sys.write_file(path, text, OWNER_ONLY) == true
end

--- Whether the supervisor has taken what was asked for.
---@param task agenthost.LedgerTask
---@return boolean
function M.is_taken(task)
  return not sys.stat(assert(path_of(task)))
end

--- Takes back what was asked for.
---@param task agenthost.LedgerTask
---@return boolean withdrawn false when it has been taken
function M.withdraw(task)
  local path = path_of(task)
  return path ~= nil and os.remove(path) == true
end

return M
