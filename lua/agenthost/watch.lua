--- Watching a task while it runs: until a server is ready, and line by line.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local output = require("agenthost.output")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

--- Whether a text contains another one, or what matches it as a Lua pattern. Plain text, which
--- models write more often than patterns, need not be one: "[vite] ready", "listening (port 80".
---@param s string
---@param pattern string
---@return boolean
function M.contains(s, pattern)
  if s:find(pattern, 1, true) then
    return true
  end
  local ok, at = pcall(string.find, s, pattern)
  return ok and at ~= nil
end

local function is_ready(task, ready)
  if ready.port then
    return sys.port_is_open(ready.port)
  end
  return M.contains((task:output()), ready.pattern)
end

--- Waits until a server that was started as a task is ready.
---@param task agenthost.Task
---@param ready { port?: integer, pattern?: string } a TCP port on this machine that takes
---  connections, or what the output contains: see M.contains
---@param timeout number seconds
---@return boolean? ready nil, message, code when the task has ended ("ENDED") or time is over
---  ("TIMEOUT"); it goes on running then
function M.wait_ready(task, ready, timeout)
  local deadline = sys.now() + timeout
  while true do
    local status, state = task:status()
    if state.ended then
      return nil, ("it ended before it was ready: %s (%s)"):format(status, output.ending(state)),
        "ENDED"
    elseif is_ready(task, ready) then
      return true
    elseif sys.now() >= deadline then
      return nil, ("it was not ready after %g s; it still runs"):format(timeout), "TIMEOUT"
    end
    async.wait(task:waitable(), defaults.watch.interval)
  end
end

-- The whole lines in `bytes`, and the length of the rest. At the end the rest is a line, too.
local function split_lines(bytes, ended)
  local lines, at = {}, 1
  while true do
    local stop = bytes:find("\n", at, true)
    if not stop then
      break
    end
    lines[#lines + 1] = bytes:sub(at, stop - 1)
    at = stop + 1
  end
  local rest = bytes:sub(at)
  if ended and rest ~= "" then
    lines[#lines + 1], rest = rest, ""
  end
  return lines, #rest
end

-- A line as it is told; nil when it is not looked for.
local function as_told(bytes, pattern)
  local line, info = text.clean(bytes)
  if line == "" or pattern and not M.contains(line, pattern) then
    return nil
  elseif info.binary then
    return ("[binary line: %d bytes]"):format(#bytes)
  end
  local cut = utf8.offset(line, defaults.watch.line + 1)
  if not cut or cut > #line then
    return line
  end
  return ("%s [... the line goes on ...]"):format(line:sub(1, cut - 1))
end

local function matching(lines, pattern)
  local found = {}
  for _, line in ipairs(lines) do
    found[#found + 1] = as_told(line, pattern)
  end
  return found
end

--- Follows the output of a task and hands over its lines (or those that match) in batches, until
--- it ends or floods. Of a line the first defaults.watch.line characters are told, and it is looked
--- for in its first defaults.watch.bytes. Waits; to be run as a job of its own.
---@param task agenthost.Task
---@param pattern? string what a line contains: see M.contains
---@param on_lines fun(lines: string[])
---@return boolean? done nil, message, "FLOOD" when more than defaults.watch.flood lines came within
---  a second
function M.follow(task, pattern, on_lines)
  local since, window_start, in_window = 0, sys.now(), 0
  local inside = false -- a line whose beginning was taken without its end
  while true do
    local _, state = task:status()
    local bytes, size = task:output({ since = since, head = defaults.watch.bytes, tail = 0 })
    bytes = bytes:sub(1, defaults.watch.bytes)
    local lines, rest = split_lines(bytes, state.ended and since + #bytes >= size)
    local endless = #lines == 0 and #bytes == defaults.watch.bytes
    if endless then
      lines, rest = { bytes }, 0
    end
    since = since + #bytes - rest
    local progress = #lines > 0
    if inside and progress then
      table.remove(lines, 1)
    end
    inside = endless or inside and not progress
    local found = matching(lines, pattern)
    if sys.now() - window_start >= 1 then
      window_start, in_window = sys.now(), 0
    end
    in_window = in_window + #found
    if in_window > defaults.watch.flood then
      return nil, ("more than %d lines a second"):format(defaults.watch.flood), "FLOOD"
    elseif #found > 0 then
      on_lines(found)
    end
    if state.ended and since >= size then
      return true
    elseif not progress or size == since then
      async.wait(task:waitable(), defaults.watch.batch)
    end
  end
end

return M
