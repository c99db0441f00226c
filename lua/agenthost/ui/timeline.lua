--- Tasks as a picture: one row a task, bars against time.
local sys = require("agenthost.sys")
local words = require("agenthost.words")

local M = {}

local MARKS <const> = {
  running = "●", queued = "○", completed = "✓", failed = "✗", timeout = "✗", killed = "✗",
  lost = "?", error = "✗",
}

-- When a task began and ended (or now), on one clock.
local function span(state, now)
  local start = state.started or now
  return start, state.ended and start + (state.seconds or 0) or now
end

local function bar(from, to, first, last, columns, running)
  local scale = columns / math.max(last - first, 0.001)
  local left = math.min(columns - 1, math.floor((from - first) * scale))
  local length = math.max(1, math.floor((to - from) * scale + 0.5))
  length = math.min(length, columns - left)
  local body = ("━"):rep(running and length - 1 or length) .. (running and "▶" or "")
  return (" "):rep(left) .. body .. (" "):rep(columns - left - length)
end

-- " :8080 :8081", or "".
local function port_list(ports)
  local list = {}
  for i, port in ipairs(ports or {}) do
    list[i] = " :" .. port
  end
  return table.concat(list)
end

--- The rows.
---@param tasks agenthost.Task[] oldest first
---@param columns integer width of the terminal
---@param ports? table<integer, integer[]> what running ones listen on, by their process id
---@return string[]
function M.rows(tasks, columns, ports)
  local now = sys.wall()
  local first, last, states = now, now, {}
  for i, task in ipairs(tasks) do
    local status, state = task:status()
    states[i] = { status = status, state = state }
    first = math.min(first, (span(state, now)))
  end
  local width = math.max(8, math.min(40, columns // 3))
  local rows = {}
  for i, task in ipairs(tasks) do
    local status, state = states[i].status, states[i].state
    local from, to = span(state, now)
    local code = state.code and state.code ~= 0 and " " .. state.code
      or state.signal and " signal " .. state.signal or ""
    local head = ("%s %s %s │%s│ %s%s, %s%s "):format(MARKS[status] or " ", task.id,
      state.notify and " " or "·", bar(from, to, first, last, width, not state.ended),
      status, code, words.duration(to - from), port_list(ports and ports[state.pid]))
    rows[i] = head .. words.shorten(task.command, math.max(10, columns - utf8.len(head) - 1))
  end
  if #rows > 0 then
    table.insert(rows, ("the bars span %s; · marks foreground commands"):format(
      words.duration(last - first)))
  end
  return rows
end

return M
