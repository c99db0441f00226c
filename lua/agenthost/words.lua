--- Small texts for people: one line of something, durations, counts.
local text = require("agenthost.text")

local M = {}

local BYTES <const> = 16 -- that are looked at for a column: it may be called many times a second
local MARGIN <const> = 1024

--- One line of at most `columns` columns, safe for a terminal.
---@param s string
---@param columns integer below 1 there is room for nothing
---@return string
function M.shorten(s, columns)
  if columns < 1 then
    return ""
  end
  local part = s:sub(1, columns * BYTES + MARGIN)
  -- A CR would hide what is before it.
  local line = text.clean((part:gsub("\r", " "))):gsub("%s+", " ")
  if #part == #s and text.width(line) <= columns then
    return line
  end
  -- No character takes less than a column, but many take two.
  line = line:sub(1, (utf8.offset(line, columns) or #line + 1) - 1)
  while line ~= "" and text.width(line) >= columns do
    line = line:sub(1, utf8.offset(line, -1) - 1)
  end
  return line .. "…"
end

--- "0.4 s", "12 s", "3 min 5 s", "2 h 7 min".
---@param seconds number
---@return string
function M.duration(seconds)
  if seconds < 10 then
    return ("%.1f s"):format(seconds)
  elseif seconds < 60 then
    return ("%d s"):format(seconds // 1)
  elseif seconds < 3600 then
    return ("%d min %d s"):format(seconds // 60, seconds // 1 % 60)
  end
  return ("%d h %d min"):format(seconds // 3600, seconds // 60 % 60)
end

--- "950", "3.2k", "1.5M".
---@param count integer
---@return string
function M.count(count)
  if count < 1000 then
    return tostring(count)
  elseif count < 1000000 then
    return ("%.1fk"):format(count / 1000)
  end
  return ("%.1fM"):format(count / 1000000)
end

--- "182,000".
---@param count integer
---@return string
function M.grouped(count)
  return (tostring(count):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

--- "1 task", "2 tasks".
---@param count integer
---@param what string
---@return string
function M.number(count, what)
  return ("%d %s%s"):format(count, what, count == 1 and "" or "s")
end

return M
