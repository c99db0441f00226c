--- Values as text, for the messages of tests: tables with their fields in order, bounded.
local M = {}

local MAX_DEPTH <const> = 5
local MAX_FIELDS <const> = 40 -- of one table
local MAX_TEXT <const> = 2000 -- bytes of one text

local function by_name(a, b)
  if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then
    return a < b
  end
  return tostring(a) < tostring(b)
end

local function sorted_keys(value)
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, by_name)
  return keys
end

local function quoted(text)
  local cut = #text > MAX_TEXT and ("..(%d bytes)"):format(#text) or ""
  return ("%q"):format(text:sub(1, MAX_TEXT)):gsub("\\\n", "\\n") .. cut
end

local function name_of(key, position, show)
  if key == position then
    return ""
  elseif type(key) == "string" and key:find("^[%a_][%w_]*$") then
    return key .. " = "
  end
  return "[" .. show(key) .. "] = "
end

local function show(value, depth)
  if type(value) == "string" then
    return quoted(value)
  elseif type(value) ~= "table" then
    return tostring(value)
  elseif depth > MAX_DEPTH then
    return "{...}"
  end
  local fields = {}
  for i, key in ipairs(sorted_keys(value)) do
    if i > MAX_FIELDS then
      fields[i] = "..."
      break
    end
    fields[i] = name_of(key, i, function(k) return show(k, depth + 1) end)
      .. show(rawget(value, key), depth + 1)
  end
  return #fields == 0 and "{}" or "{ " .. table.concat(fields, ", ") .. " }"
end

--- A value as Lua would write it, about.
---@param value any
---@return string
function M.value(value)
  local shown = show(value, 1)
  return #shown > 2 * MAX_TEXT and shown:sub(1, 2 * MAX_TEXT) .. "..." or shown
end

local function first_difference(expected, actual, path)
  if type(expected) ~= "table" or type(actual) ~= "table" then
    return expected ~= actual and { path, expected, actual } or nil
  end
  local keys = sorted_keys(expected)
  for _, key in ipairs(sorted_keys(actual)) do
    if expected[key] == nil then
      keys[#keys + 1] = key
    end
  end
  for _, key in ipairs(keys) do
    local name = type(key) == "string" and "." .. key or "[" .. tostring(key) .. "]"
    local found = #path < MAX_TEXT and first_difference(expected[key], actual[key], path .. name)
    if found then
      return found
    end
  end
end

--- Where two values differ first; nil when they are the same, tables compared by what they hold.
---@param expected any
---@param actual any
---@return string? difference
function M.difference(expected, actual)
  local found = first_difference(expected, actual, "")
  if not found then
    return nil
  end
  local where = found[1] ~= "" and "at " .. found[1]:gsub("^%.", "") .. ": " or ""
  return ("%sexpected %s, got %s"):format(where, M.value(found[2]), M.value(found[3]))
end

return M
