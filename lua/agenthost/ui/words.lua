--- Small texts for people: one line of something, durations, counts.
local text = require("agenthost.text")

local M = {}

--- One line of at most `columns` characters, safe for a terminal.
---@param s string
---@param columns integer
---@return string
function M.shorten(s, columns)
  s = text.clean(s):gsub("%s+", " ")
  if text.width(s) <= columns then
    return s
  end
  s = s:sub(1, (utf8.offset(s, columns) or #s + 1) - 1) -- no character takes less than a column...
  while s ~= "" and text.width(s) >= columns do -- ...but many take two
    s = s:sub(1, utf8.offset(s, -1) - 1)
  end
  return s .. "…"
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

--- "1 task", "2 tasks".
---@param count integer
---@param what string
---@return string
function M.number(count, what)
  return ("%d %s%s"):format(count, what, count == 1 and "" or "s")
end

return M
