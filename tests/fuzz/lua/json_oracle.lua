-- Whether a text is JSON (RFC 8259), written once more in another way: a machine without recursion
-- that goes over tokens. It knows what agenthost adds: a byte order mark in front, and 512 levels.
local M = {}

local MAX_DEPTH <const> = 512
local LITERALS <const> = { ["true"] = true, ["false"] = true, ["null"] = true }

-- Strings: no control characters, known escapes only. Gives the place behind it.
local function string_end(s, at)
  local from = at + 1
  while true do
    local stop = s:find('[%z\1-\31"\\]', from)
    local c = stop and s:sub(stop, stop)
    if c == '"' then
      return stop + 1
    elseif c ~= "\\" then
      return nil
    elseif s:find('^["\\/bfnrt]', stop + 1) then
      from = stop + 2
    elseif s:find("^u%x%x%x%x", stop + 1) then
      from = stop + 6
    else
      return nil
    end
  end
end

-- "value" and the place behind it, or a punctuation character.
local function token(s, at)
  local c = s:sub(at, at)
  if c == '"' then
    return "string", string_end(s, at)
  elseif c:find("[%[%]{}:,]") then
    return c, at + 1
  end
  local word, stop = s:match("^([^%s%[%]{}:,\"]+)()", at)
  if not word or not LITERALS[word] and not M.is_number(word) then
    return nil
  end
  return "value", stop
end

--- Whether a word is a number of JSON that a double can hold.
function M.is_number(word)
  local digits = word:match("^%-?(%d+)")
  local rest = digits and word:match("^%-?%d+(.*)$")
  if not digits or #digits > 1 and digits:sub(1, 1) == "0" then
    return false
  end
  rest = rest:gsub("^%.%d+", "", 1):gsub("^[eE][+-]?%d+", "", 1)
  return rest == "" and math.abs(tonumber(word) + 0.0) < math.huge
end

-- What may follow: a state for each place, what stands there, and where that leads.
local NEXT <const> = {
  value = { value = "after", string = "after", ["["] = "first", ["{"] = "key_or_end" },
  first = { value = "after", string = "after", ["["] = "first", ["{"] = "key_or_end",
    ["]"] = "after" },
  key_or_end = { string = "colon", ["}"] = "after" },
  key = { string = "colon" },
  colon = { [":"] = "value" },
  after = { [","] = "more", ["]"] = "after", ["}"] = "after" },
}
local OPENING <const> = { ["]"] = "[", ["}"] = "{" }

--- Whether `s` is JSON.
---@param s string
---@return boolean
function M.is_json(s)
  local open, state = {}, "value"
  local at = s:match("^\xEF\xBB\xBF()") or 1
  at = s:match("^[ \n\r\t]*()", at)
  while at <= #s do
    local kind, stop = token(s, at)
    local next_state = kind and stop and NEXT[state][kind]
    if not next_state or state == "after" and #open == 0 then
      return false
    elseif kind == "[" or kind == "{" then
      open[#open + 1] = kind
    elseif OPENING[kind] and table.remove(open) ~= OPENING[kind] then
      return false
    end
    if #open > MAX_DEPTH then
      return false
    elseif next_state == "more" then
      next_state = open[#open] == "{" and "key" or "value"
    end
    state, at = next_state, s:match("^[ \n\r\t]*()", stop)
  end
  return state == "after" and #open == 0
end

return M
