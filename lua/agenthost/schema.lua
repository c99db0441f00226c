--- The inputs of tools: the short form, and checking an input against a JSON Schema.
---
--- Of JSON Schema (draft 2020-12) these are checked: type, enum, const, required, properties,
--- additionalProperties, items, minItems, maxItems, minimum, maximum, exclusiveMinimum,
--- exclusiveMaximum, minLength, maxLength, anyOf, oneOf, allOf and $ref to "#/$defs/...". Other
--- keywords are for the model only.
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local options = require("agenthost.options")
local schema_shape = require("agenthost.schema_shape")
local shorten = require("agenthost.words").shorten

local M = {}

local types = { string = true, number = true, integer = true, boolean = true, object = true,
  array = true }

local MAX_NAME <const> = 100 -- columns of a name in a message

-- What is wrong, on one line that is not too long: names and values in it are anybody's.
local function problem_line(problem)
  return shorten(problem, defaults.text.problem)
end

local function refuse(format, ...)
  error(problem_line(format:format(...)), 0)
end

-- "integer?: how many lines" -> { type = "integer", description = "how many lines" }, optional
local function from_short(name, text)
  local type, mark, rest = text:match("^%s*(%a+)(%??)%s*(.*)$")
  if not types[type] or rest:find("^[%[{<|/]") then
    refuse("input.%s: expected a type, a ? if it is optional, and what it is, such as "
      .. "\"integer?: how many\"; the types are string, number, integer, boolean, object, array; "
      .. "got \"%s\"", name, text)
  end
  return { type = type, description = rest:match("^:?%s*(.*%S)") }, mark == "?"
end

local function without_optional(value)
  local copy = {}
  for keyword, content in pairs(value) do
    copy[keyword] = content
  end
  copy.optional = nil
  return copy, value.optional == true
end

-- Whether it is a JSON Schema that does not say so: in the short form it would be other fields.
local function lacks_type(input)
  local properties = input.type == nil and input.properties
  for _, one in pairs(type(properties) == "table" and properties or {}) do
    if type(one) ~= "table" then
      return false
    end
  end
  return type(properties) == "table" and next(properties) ~= nil
end

local function as_schema(input)
  if type(input) ~= "table" then
    refuse("input: expected a JSON Schema or { name = \"type: description\" }, got a %s",
      type(input))
  end
  if input.type == "object" and (input.properties == nil or type(input.properties) == "table") then
    return input
  elseif lacks_type(input) then
    refuse("input: a JSON Schema needs type = \"object\" beside its properties")
  end
  local schema = { type = "object", properties = json.object({}), required = json.array({}) }
  for name, value in pairs(input) do
    if type(name) ~= "string" then
      refuse("input: expected a JSON Schema or { name = \"type: description\" }")
    end
    local optional = false
    if type(value) == "string" then
      schema.properties[name], optional = from_short(name, value)
    elseif type(value) == "table" and value[1] == nil then
      schema.properties[name], optional = without_optional(value)
    else
      refuse("input.%s: expected a text or a schema, got a %s", name,
        type(value) == "table" and "list" or type(value))
    end
    if not optional then
      table.insert(schema.required, name)
    end
  end
  table.sort(schema.required)
  return schema
end

--- The JSON Schema of a tool's input.
---@param input? table a JSON Schema of type object, or the short form:
---  `{ path = "string: the file", limit = "integer?" }` (a `?` makes it optional; a value may also
---  be a schema of its own, with `optional = true` where it is)
---@return table schema raises when it is neither
function M.from_input(input)
  local schema = as_schema(input or {})
  local problem = schema_shape.problem(schema)
  if problem then
    refuse("%s", problem)
  end
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

local DEPTH <const> = 100 -- of schemas inside one another, references followed
local STEPS <const> = 100000 -- values that are compared: a schema that refers to itself can ask for
-- more than the world has time for

local check

-- What belongs into a field, for whoever left it out or got it wrong: " (string: the file)".
local function hint(schema)
  if type(schema) ~= "table" then
    return ""
  end
  local wanted = type(schema.type) == "table" and table.concat(schema.type, " or ")
    or type(schema.type) == "string" and schema.type or nil
  local about = type(schema.description) == "string" and schema.description or nil
  local text = wanted and about and wanted .. ": " .. about or wanted or about
  return text and (" (%s)"):format(text) or ""
end

-- The name of a field behind its path; a message is no place for a long one.
local function member(path, name)
  name = tostring(name)
  return path .. (#name > MAX_NAME and shorten(name, MAX_NAME) or name)
end

-- The names that an object may have, closest first where one is meant.
local function known_names(name, properties)
  local names = {}
  for known in pairs(properties) do
    names[#names + 1] = tostring(known)
  end
  table.sort(names)
  local best = type(name) == "string" and options.closest(name, names)
  return best and ("; did you mean '%s'?"):format(best)
    or #names > 0 and "; there are " .. table.concat(names, ", ") or ""
end

local function check_object(value, schema, path, within)
  local properties = type(schema.properties) == "table" and schema.properties or {}
  for _, name in ipairs(type(schema.required) == "table" and schema.required or {}) do
    if value[name] == nil then
      return ("%s%s is missing%s"):format(path, name, hint(properties[name]))
    end
  end
  for name, its_value in pairs(value) do
    local its_schema, problem = properties[name], nil
    if its_schema ~= nil then
      problem = check(its_value, its_schema, member(path, name), within)
    elseif schema.additionalProperties == false then
      problem = ("%s is not known%s"):format(member(path, name), known_names(name, properties))
    elseif type(schema.additionalProperties) == "table" then
      problem = check(its_value, schema.additionalProperties, member(path, name), within)
    end
    if problem then
      return problem
    end
  end
end

local function check_array(value, schema, path, within)
  if schema.minItems and #value < schema.minItems then
    return ("%s needs at least %.14g items, got %d"):format(path, schema.minItems, #value)
  elseif schema.maxItems and #value > schema.maxItems then
    return ("%s may have at most %.14g items, got %d"):format(path, schema.maxItems, #value)
  end
  for i, item in ipairs(type(schema.items) == "table" and value or {}) do
    local problem = check(item, schema.items, ("%s[%d]"):format(path, i), within)
    if problem then
      return problem
    end
  end
end

local function check_number(value, schema, path)
  if schema.minimum and value < schema.minimum then
    return ("%s has to be at least %s"):format(path, schema.minimum)
  elseif schema.maximum and value > schema.maximum then
    return ("%s has to be at most %s"):format(path, schema.maximum)
  elseif schema.exclusiveMinimum and value <= schema.exclusiveMinimum then
    return ("%s has to be more than %s"):format(path, schema.exclusiveMinimum)
  elseif schema.exclusiveMaximum and value >= schema.exclusiveMaximum then
    return ("%s has to be less than %s"):format(path, schema.exclusiveMaximum)
  end
end

local function check_text(value, schema, path)
  local length = utf8.len(value) or #value
  if schema.minLength and length < schema.minLength then
    return ("%s needs at least %.14g characters"):format(path, schema.minLength)
  elseif schema.maxLength and length > schema.maxLength then
    return ("%s may have at most %.14g characters"):format(path, schema.maxLength)
  end
end

local function equal(a, b)
  return a == b or type(a) == "table" and type(b) == "table" and json.encode(a) == json.encode(b)
end

local function check_enum(value, schema, path)
  local names = {}
  for i, one in ipairs(schema.enum) do
    if equal(one, value) then
      return nil
    end
    names[i] = json.encode(one)
  end
  return ("%s has to be one of %s"):format(path, table.concat(names, ", "))
end

-- anyOf, oneOf and allOf. Of a choice none of which fits the problem with each is told.
local function check_combined(value, schema, path, within)
  for _, one in ipairs(type(schema.allOf) == "table" and schema.allOf or {}) do
    local problem = check(value, one, path, within)
    if problem then
      return problem
    end
  end
  for _, keyword in ipairs({ "anyOf", "oneOf" }) do
    local choices = type(schema[keyword]) == "table" and schema[keyword] or {}
    local problems = {}
    for i, one in ipairs(choices) do
      problems[#problems + 1] = check(value, one, path, within)
      if keyword == "anyOf" and #problems < i then
        break
      end
    end
    if #choices > 0 and #problems == #choices then
      problems = table.concat(problems, "; or "):sub(1, 4 * defaults.text.problem)
      return ("%s fits none of its forms: %s"):format(path, problems)
    elseif keyword == "oneOf" and #problems < #choices - 1 then
      return ("%s fits more than one of its forms; it has to be exactly one"):format(path)
    end
  end
end

-- The schema that a reference means; nil for one that leads elsewhere.
local function referred(schema, within)
  local name = type(schema["$ref"]) == "string" and schema["$ref"]:match("^#/%$defs/([^/]+)$")
  local definitions = within.root["$defs"]
  return name and type(definitions) == "table" and definitions[name] or nil
end

local function check_type(value, schema, path)
  local wanted = schema.type
  if (type(wanted) == "string" or type(wanted) == "table") and not has_type(value, wanted) then
    wanted = type(wanted) == "table" and table.concat(wanted, " or ") or wanted
    return ("%s: expected %s, got %s"):format(path, wanted, type_of(value))
  end
end

local function check_parts(value, schema, path, within)
  if type(value) == "number" then
    return check_number(value, schema, path)
  elseif type(value) == "string" then
    return check_text(value, schema, path)
  elseif type(value) == "table" and value ~= json.null then
    local is_array = json.is_array(value) or schema.type == "array"
    if is_array and schema.type ~= "object" then
      return check_array(value, schema, path, within)
    end
    return check_object(value, schema, value == within.value and "" or path .. ".", within)
  end
end

function check(value, schema, path, within)
  if type(schema) ~= "table" then
    return schema == false and path .. " is not to be given" or nil
  elseif within.depth >= DEPTH then
    return ("%s is nested deeper than %d levels"):format(path, DEPTH)
  end
  within.steps = within.steps + 1
  if within.steps > STEPS then
    return ("%s takes more than %d steps to check"):format(path, STEPS)
  end
  within.depth = within.depth + 1
  local target = referred(schema, within)
  local problem = target and check(value, target, path, within)
    or check_type(value, schema, path)
    or check_parts(value, schema, path, within)
    or type(schema.enum) == "table" and check_enum(value, schema, path)
    or schema.const ~= nil and not equal(value, schema.const)
      and ("%s has to be %s"):format(path, json.encode(schema.const))
    or check_combined(value, schema, path, within)
  within.depth = within.depth - 1
  return problem or nil
end

-- Takes out the fields that are null. Returns those that may be null: they count as given.
local function take_nulls(input, schema, within)
  local properties = type(schema.properties) == "table" and schema.properties or {}
  local welcome = {}
  for name, value in pairs(input) do
    if value == json.null then
      local one = properties[name]
      welcome[name] = one ~= nil and not check(value, one, member("", name), within) or nil
      input[name] = nil
    end
  end
  return welcome
end

--- Checks a decoded input. Fields that are null are taken as absent, for the tool as well; one that
--- is required may be null where its schema has that.
---@param input table
---@param schema table
---@return string? problem in words for the model, one line; nil when it fits
function M.check(input, schema)
  local within = { root = schema, value = input, depth = 0, steps = 0 }
  local welcome = type(input) == "table" and take_nulls(input, schema, within) or {}
  for name in pairs(welcome) do
    input[name] = json.null
  end
  local problem = check(input, schema, "input", within)
  for name in pairs(welcome) do
    input[name] = nil
  end
  return problem and problem_line(problem)
end

return M
