--- The body of a request: always the same bytes for the same request, so that a prompt cache finds
--- them.
local json = require("agenthost.json")

local M = {}

local FIXED <const> = { messages = true, input = true, stream = true }

--- Joins the members of a body. What the user asked for in so many words is stronger than what is
--- there, but for the messages and `stream`.
---@param order string[] names of members, first to last; others come behind, sorted
---@param values table<string, string|string[]> name -> JSON text, or its parts
---@param extra? table<string, any> the user's: name -> value
---@param level integer as for error(), seen from the caller, for wrong names in `extra`
---@return string[] parts of the body, as agenthost.http takes them
function M.join(order, values, extra, level)
  local names, others = table.move(order, 1, #order, 1, {}), {}
  for name, value in pairs(extra or {}) do
    if FIXED[name] then
      error(("request.extra cannot set '%s'"):format(name), level + 1)
    elseif not values[name] then
      others[#others + 1] = name
    end
    values[name] = json.encode(value)
  end
  table.sort(others)
  table.move(others, 1, #others, #names + 1, names)
  local parts, seen = {}, {}
  for _, name in ipairs(names) do
    if values[name] and not seen[name] then
      seen[name] = true
      parts[#parts + 1] = (#parts == 0 and "{" or ",") .. json.encode(name) .. ":"
      local value = values[name]
      value = type(value) == "table" and value or { value }
      table.move(value, 1, #value, #parts + 1, parts)
    end
  end
  parts[#parts + 1] = "}"
  return parts
end

--- The tools as JSON. A definition is encoded once in its life; the list may change between calls.
---@param encoded table<table, string> what is encoded already, with weak keys
---@param tools table[]
---@param shape? fun(tool: table): table the definition as the API wants it
---@return string
function M.tools(encoded, tools, shape)
  local parts = {}
  for i, tool in ipairs(tools) do
    local text = encoded[tool] or json.encode(shape and shape(tool) or tool)
    encoded[tool] = text
    parts[i] = text
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

return M
