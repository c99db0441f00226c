--- Copies of values. What one owner gives to another, who may change it, is a copy.
local M = {}

local function copied(value, seen)
  if type(value) ~= "table" then
    return value
  elseif seen[value] then
    return seen[value]
  end
  local made = debug.setmetatable({}, debug.getmetatable(value)) -- also one with __metatable
  seen[value] = made
  for key, member in next, value do
    rawset(made, key, copied(member, seen))
  end
  return made
end

--- A copy all the way down, with the same metatables. A table that stands in two places, or within
--- itself, does so in the copy.
---@generic T
---@param value T
---@return T
function M.deep(value)
  return copied(value, {})
end

--- A copy of a table whose members are the same; without its metatable.
---@param value table
---@return table
function M.shallow(value)
  local made = {}
  for key, member in pairs(value) do
    made[key] = member
  end
  return made
end

return M
