--- A task's output and state as text for the model and for people.
local defaults = require("agenthost.defaults")
local text = require("agenthost.text")

local M = {}

local function binary_line(task, size)
  return ("[binary output: %d bytes, file %s]"):format(size, task.output_path)
end

local function first_chars(s, count)
  local at = utf8.offset(s, count + 1)
  return at and s:sub(1, at - 1) or s
end

local function last_chars(s, count)
  local length = utf8.len(s)
  return length > count and s:sub(utf8.offset(s, length - count + 1)) or s
end

-- How many bytes at the end are the beginning of a UTF-8 character that is not complete.
local function open_character(bytes)
  local lead, rest = bytes:match("([\xC2-\xF4])([\x80-\xBF]*)$")
  if not lead then
    return 0
  end
  local needed = lead < "\xE0" and 2 or lead < "\xF0" and 3 or 4
  return 1 + #rest < needed and 1 + #rest or 0
end

-- Head and tail of an output too long to be read whole.
local function ends_of(task, since, size, max)
  local half = max // 2
  local bytes = task:output({ since = since, head = 4 * half, tail = 0 })
  local head, head_info = text.clean(bytes:sub(1, 4 * half)) -- without the line behind it
  local tail, tail_info = text.clean((task:output({ since = since, head = 0, tail = 4 * half })))
  if head_info.binary or tail_info.binary then
    return binary_line(task, size)
  end
  head, tail = first_chars(head, half), last_chars(tail, half)
  return ("%s\n[... about %d bytes left out; the whole output is in %s ...]\n%s"):format(
    head, size - since - #head - #tail, task.output_path, tail)
end

--- What a task has printed, safe to show: at most `max` characters, head and tail with a line
--- between that counts what is left out. Host memory does not depend on the length of the output.
---@param task agenthost.Task
---@param opts? { max?: integer, since?: integer, tail_only?: boolean } since: an offset in bytes
---@return string text "" when there is none
---@return integer size of the output in bytes, for the next `since`
function M.text(task, opts)
  opts = opts or {}
  local max = opts.max or defaults.text.result
  local since = opts.since or 0
  if opts.tail_only then
    local bytes, size = task:output({ since = since, head = 0, tail = 4 * max })
    local clean, info = text.clean(bytes)
    return info.binary and binary_line(task, size) or last_chars(clean, max), size
  end
  local window = 4 * max
  local bytes, size = task:output({ since = since, head = window, tail = window })
  if size - since > 2 * window then
    return ends_of(task, since, size, max), size
  end
  local ended = select(2, task:status()).ended
  local open = ended and 0 or open_character(bytes) -- the next look begins with it
  local clean, info = text.clean(bytes:sub(1, #bytes - open))
  size = size - open
  if info.binary then
    return binary_line(task, size), size
  end
  local shown = text.preview(clean, { max = max })
  if shown ~= clean then
    shown = ("%s\n[the whole output is in %s]\n"):format((shown:gsub("\n$", "")), task.output_path)
  end
  return shown, size
end

--- How a task ended, in a few words: "exit code 3, 0.2 s". `state` is what `task:status()` gives
--- second, or a notice of kind "task".
---@param state table
---@return string
function M.ending(state)
  local parts = {}
  if state.reason then
    parts[#parts + 1] = state.reason
  end
  if state.code then
    parts[#parts + 1] = "exit code " .. state.code
  elseif state.signal then
    parts[#parts + 1] = "ended by signal " .. state.signal
  end
  parts[#parts + 1] = ("%.1f s"):format(state.seconds or 0)
  return table.concat(parts, ", ")
end

return M
