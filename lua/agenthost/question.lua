--- Background tasks that seem to wait for an answer: nothing new for a while behind a last line
--- that looks like a question. Most commands have no input, and read the end of a file when they
--- ask. This is for those that have one, and for those that find somebody else to ask.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

-- How the last line of a question ends, in lower case.
local ENDINGS <const> = {
  "[?:]$", -- "Overwrite?", "Name:"
  "%?%s*[%[(][^%[%]()]*[%])]$", -- "Is this OK? (yes)"
  "[%[(]ye?s?/no?[%])]$", -- "Proceed [y/N]"
  "password$", "passphrase$",
  "press [%w ]*enter[%w ]*[.]*$", "press any key[%w ]*[.]*$",
}

--- The last line of an output when it has no end and looks like a question.
---@param bytes string
---@return string? line
function M.last(bytes)
  local line = text.clean(bytes):match("[^\n]*$"):gsub("%s+$", "")
  local lower = line:lower()
  for _, ending in ipairs(ENDINGS) do
    if lower:find(ending) then
      return line
    end
  end
end

-- Whether the kernel says that a process is in none of these: a pause, a wait for its child, work.
local function may_read(pid, state)
  local where = sys.read_file("/proc/" .. pid .. "/wchan", 100) or ""
  return state == "S" and not where:find("nanosleep", 1, true) and not where:find("^do_wait")
    and not where:find("sigsuspend", 1, true)
end

-- Whether one of the processes in a task's session may be reading something.
local function somebody_reads(leader)
  for _, entry in ipairs(sys.list("/proc", defaults.ui.processes) or {}) do
    local pid = entry.name:match("^%d+$")
    local stat = pid and sys.read_file("/proc/" .. pid .. "/stat", 1024) or ""
    local state, session = stat:match("^.*%) (%a) %d+ %d+ (%d+)")
    if session and math.tointeger(session) == leader and may_read(pid, state) then
      return true
    end
  end
  return false
end

local NOTICE <const> = "task %s seems to wait for an answer. It has printed nothing for %g s or "
  .. 'more behind this line: "%s". If it does wait, %s with background_kill and start it again in '
  .. "a way that does not ask (an option such as --yes)."

local function notice(task, state, line)
  local answer = state.takes_input and "answer with background_write, or end it"
    or "it has no input, so nobody can answer: end it"
  return NOTICE:format(task.id, defaults.question.silent, line, answer)
end

--- Follows a task to its end, and tells of each question once. Waits; to be run as a job.
---@param task agenthost.Task
---@param tell fun(text: string)
function M.follow(task, tell)
  local known, told = -1, -1 -- sizes of its output: at the last look, and when it was told
  while defaults.question.silent < math.huge do
    async.wait(task:waitable(), defaults.question.silent)
    local _, state = task:status()
    if state.ended then
      return
    end
    local bytes, size = task:output({ head = 0, tail = defaults.question.line })
    local line = size == known and size ~= told and state.notify and M.last(bytes)
    if line and state.pid and somebody_reads(state.pid) then
      told = size
      tell(notice(task, state, line))
    end
    known = size
  end
end

return M
