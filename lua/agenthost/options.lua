--- Checking option tables, with the words that the C modules use.
local M = {}

local MAX_NAME <const> = 200 -- bytes of a name for which a closer one is looked for

local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal
    diagonal, row[0] = row[0], i
    for j = 1, #b do
      local change = diagonal + (a:byte(i) == b:byte(j) and 0 or 1)
      diagonal = row[j]
      row[j] = math.min(change, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#b]
end

--- The known name that is closest to `name`, when one is close enough to be meant.
---@param name string
---@param known string[]
---@return string?
function M.closest(name, known)
  local best, best_distance = nil, 4
  for _, candidate in ipairs(known) do
    local d = math.abs(#name - #candidate) -- the least that it can be
    d = d < best_distance and #name <= MAX_NAME and distance(name, candidate) or math.huge
    if d < best_distance and d < #name then
      best, best_distance = candidate, d
    end
  end
  return best
end

local function letters(name)
  local list = { name:byte(1, -1) }
  table.sort(list)
  return table.concat(list, " ")
end

--- The known name that `name` is a slip of the pen of: nearer than `closest`, for tables that may
--- also hold names of their owner's.
---@param name any
---@param known string[]
---@return string?
function M.slip(name, known)
  for _, one in ipairs(known) do -- nearly always: no need to measure distances
    if name == one then
      return nil
    end
  end
  local meant = type(name) == "string" and M.closest(name, known)
  if not meant then
    return nil
  end
  local near = distance(name:lower(), meant) * 3 <= #name or letters(name) == letters(meant)
  return near and meant or nil
end

--- A value as a message shows it: a text in quotes, so that "30" is not taken for a number.
---@param value any
---@return string
function M.show(value)
  if type(value) == "string" then
    return #value > 80 and ("'%s...'"):format(value:sub(1, 77)) or ("'%s'"):format(value)
  elseif type(value) == "number" or type(value) == "boolean" or value == nil then
    return tostring(value)
  end
  return "a " .. type(value)
end

--- Raises unless `opts` is a table with known names only.
---@param opts table
---@param known string[]
---@param level integer as for error(), seen from the caller
function M.check(opts, known, level)
  local checked = debug.getinfo(level, "t")
  if checked and checked.istailcall then
    level = -1 -- "return agent.new{...}": the caller's frame is gone, and its line unknown
  end
  if type(opts) ~= "table" then
    error("expected a table of options, got a " .. type(opts), level + 1)
  end
  local is_known = {}
  for _, name in ipairs(known) do
    is_known[name] = true
  end
  for name in pairs(opts) do
    if not is_known[name] then
      local best = type(name) == "string" and M.closest(name, known)
      local hint = best and ("; did you mean '%s'?"):format(best) or ""
      error(("unknown option '%s'%s"):format(tostring(name), hint), level + 1)
    end
  end
end

return M
