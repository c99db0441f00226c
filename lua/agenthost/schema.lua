--- The inputs of tools: the short form, and checking an input against a JSON Schema.
---
--- Checked are type, enum, required, properties, additionalProperties = false, items, minimum,
--- maximum, minLength and maxLength; other keywords are for the model only.
local json = require("agenthost.json")

local M = {}

local types = { string = true, number = true, integer = true, boolean = true, object = true,
  array = true }

-- "integer?: how many lines" -> { type = "integer", description = "how many lines" }, optional
local function from_short(name, text)
  local type, mark, description = text:match("^%s*(%a+)(%??)%s*:?%s*(.-)%s*$")
  if not types[type] then
    error(("input.%s: expected 'string', 'integer?: what it is', ...; got %q"):format(name, text),
      0)
  end
  return { type = type, description = description ~= "" and description or nil }, mark == "?"
end

local function without_optional(value)
  local copy = {}
  for keyword, content in pairs(value) do
    copy[keyword] = content
  end
  copy.optional = nil
  return copy, value.optional == true
end

--- The JSON Schema of a tool's input.
---@param input? table a JSON Schema of type object, or the short form:
---  `{ path = "string: the file", limit = "integer?" }` (a `?` makes it optional; a value may also
---  be a schema of its own, with `optional = true` where it is)
---@return table schema raises when it is neither
function M.from_input(input)
  input = input or {}
  if type(input) ~= "table" then
    error("input: expected a JSON Schema or { name = \"type: description\" }, got a "
      .. type(input), 0)
  end
  if input.type == "object" and (input.properties == nil or type(input.properties) == "table") then
    return input
  end
  local schema = { type = "object", properties = json.object({}), required = json.array({}) }
  for name, value in pairs(input) do
    if type(name) ~= "string" then
      error("input: expected a JSON Schema or { name = \"type: description\" }", 0)
    end
    local optional = false
    if type(value) == "string" then
      schema.properties[name], optional = from_short(name, value)
    elseif type(value) == "table" then
      schema.properties[name], optional = without_optional(value)
    else
      error(("input.%s: expected a text or a schema, got a %s"):format(name, type(value)), 0)
    end
    if not optional then
      table.insert(schema.required, name)
    end
  end
  table.sort(schema.required)
  return schema
end

local function type_of(value)
  if value == json.null then
    return "null"
  elseif type(value) == "table" then
    return (json.is_array(value) and "array") or "object"
  elseif math.type(value) == "integer" then
    return "integer"
  end
  return type(value)
end

local function has_type(value, wanted)
  local actual = type_of(value)
  if type(wanted) == "table" then
    for _, one in ipairs(wanted) do
      if has_type(value, one) then
        return true
      end
    end
    return false
  end
  return actual == wanted
    or (wanted == "number" and actual == "integer")
    or (wanted == "integer" and actual == "number" and value == math.floor(value))
    or (type(value) == "table" and next(value) == nil and (wanted == "array" or wanted == "object"))
end

local check

local function check_object(value, schema, path)
  for _, name in ipairs(schema.required or {}) do
    if value[name] == nil then
      return ("%s%s is missing"):format(path, name)
    end
  end
  local properties = schema.properties or {}
  for name, member in pairs(value) do
    if properties[name] then
      local problem = check(member, properties[name], path .. name)
      if problem then
        return problem
      end
    elseif schema.additionalProperties == false then
      return ("%s%s is not known"):format(path, tostring(name))
    end
  end
end

local function check_bounds(value, schema, path)
  if type(value) == "number" then
    if schema.minimum and value < schema.minimum then
      return ("%s has to be at least %s"):format(path, schema.minimum)
    elseif schema.maximum and value > schema.maximum then
      return ("%s has to be at most %s"):format(path, schema.maximum)
    end
  elseif type(value) == "string" then
    local length = utf8.len(value) or #value
    if schema.minLength and length < schema.minLength then
      return ("%s needs at least %d characters"):format(path, schema.minLength)
    elseif schema.maxLength and length > schema.maxLength then
      return ("%s may have at most %d characters"):format(path, schema.maxLength)
    end
  end
end

local function check_enum(value, schema, path)
  local names = {}
  for i, one in ipairs(schema.enum) do
    if one == value then
      return nil
    end
    names[i] = json.encode(one)
  end
  return ("%s has to be one of %s"):format(path, table.concat(names, ", "))
end

function check(value, schema, path)
  if type(schema) ~= "table" then
    return nil
  end
  if schema.type and not has_type(value, schema.type) then
    local wanted = type(schema.type) == "table" and table.concat(schema.type, " or ") or schema.type
    return ("%s: expected %s, got %s"):format(path, wanted, type_of(value))
  end
  local problem = check_bounds(value, schema, path)
  if not problem and schema.enum then
    problem = check_enum(value, schema, path)
  end
  if not problem and type(value) == "table" then
    if schema.type == "array" and type(schema.items) == "table" then
      for i, item in ipairs(value) do
        problem = problem or check(item, schema.items, ("%s[%d]"):format(path, i))
      end
    elseif schema.type == "object" then
      problem = check_object(value, schema, path == "input" and "" or path .. ".")
    end
  end
  return problem
end

--- Checks a decoded input. Fields that are null are taken as absent.
---@param input table
---@param schema table
---@return string? problem in words for the model; nil when it fits
function M.check(input, schema)
  if type(input) == "table" then
    for name, value in pairs(input) do
      if value == json.null then
        input[name] = nil
      end
    end
  end
  return check(input, schema, "input")
end

return M
