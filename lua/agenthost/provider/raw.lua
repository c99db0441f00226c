--- What a server sent and a server will get back: as it came, as far as it can be sent.
local M = {}

-- With U+FFFD in place of half surrogate pairs.
local function mend(text)
  local parts, from, pos = {}, 1, 1
  while true do
    local at = text:find("\\", pos, true)
    if not at then
      break
    end
    local code = text:match("^u(%x%x%x%x)", at + 1)
    if not code then
      pos = at + 2
    elseif code:find("^[dD][89abAB]") and text:find("^\\u[dD][c-fC-F]%x%x", at + 6) then
      pos = at + 12
    else
      pos = at + 6
      if code:find("^[dD][89a-fA-F]") then
        parts[#parts + 1] = text:sub(from, at - 1) .. "\\ufffd"
        from = pos
      end
    end
  end
  return #parts > 0 and table.concat(parts) .. text:sub(from) or text
end

--- A JSON text with what no server would take put right: half surrogate pairs, as broken models
--- write them.
---@param text string valid JSON
---@return string
function M.sound(text)
  return text:find("\\u[dD][89a-fA-F]%x%x") and mend(text) or text
end

--- The same on one line, for a session file has one entry a line. (Line breaks can only be white
--- space between tokens.)
---@param text string valid JSON
---@return string
function M.line(text)
  return (M.sound(text):gsub("[\r\n]+", " "))
end

--- A name of a tool that every API takes; models make up others.
---@param name any
---@return string
function M.tool_name(name)
  name = tostring(name):gsub("[^%w_-]", "_"):sub(1, 64)
  return name ~= "" and name or "unnamed"
end

return M
