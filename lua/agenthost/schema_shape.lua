--- Whether a table is a JSON Schema, as far as agenthost reads it: a slip in one is told when the
--- tool is added, not in the middle of a run.
local json = require("agenthost.json")
local options = require("agenthost.options")

local M = {}

local DEPTH <const> = 100 -- of schemas inside one another

local TYPES <const> = { string = true, number = true, integer = true, boolean = true,
  object = true, array = true, null = true }

local function is_number(value)
  return type(value) == "number", "a number"
end

local function is_count(value)
  return type(value) == "number" and value >= 0 and value == math.floor(value),
    "a whole number from 0 on"
end

local function is_text(value)
  return type(value) == "string", "a text"
end

local function is_type(value)
  local fits = TYPES[value] == true
  if type(value) == "table" then
    fits = #value > 0
    for _, one in ipairs(value) do
      fits = fits and TYPES[one] == true
    end
  end
  return fits, "string, number, integer, boolean, object, array, null, or a list of these"
end

local function is_list(value)
  return type(value) == "table" and (#value > 0 or next(value) == nil), "a list"
end

local function is_list_of_texts(value)
  local fits = is_list(value)
  for _, one in ipairs(fits and value or {}) do
    fits = fits and type(one) == "string"
  end
  return fits, "a list of names"
end

local KEYWORDS <const> = {
  type = is_type, description = is_text, ["$ref"] = is_text,
  required = is_list_of_texts, enum = is_list,
  minimum = is_number, maximum = is_number,
  exclusiveMinimum = is_number, exclusiveMaximum = is_number,
  minLength = is_count, maxLength = is_count, minItems = is_count, maxItems = is_count,
}

local SHOWN <const> = 5 -- problems that are told at once

local function add(found, format, ...)
  found[#found + 1] = format:format(...)
end

-- Of references only those to a $defs of the whole are followed: one that is not there is a slip.
local function look_at_reference(schema, path, found)
  local reference, definitions = schema["$ref"], found.definitions
  local name = type(reference) == "string" and reference:match("^#/%$defs/([^/~]+)$")
  if name and (type(definitions) ~= "table" or definitions[name] == nil) then
    add(found, "%s.$ref: there is no '%s' in the schema's $defs", path, name)
  end
end

local look

local function look_at_each(schemas, path, depth, found, name_of)
  if type(schemas) ~= "table" or schemas == json.null then
    return add(found, "%s: expected schemas, got a %s", path, type(schemas))
  end
  for name, one in pairs(schemas) do
    look(one, name_of(path, name), depth + 1, found)
  end
end

local function member(path, name)
  return path .. "." .. tostring(name)
end

local function item(path, name)
  return ("%s[%s]"):format(path, tostring(name))
end

function look(schema, path, depth, found)
  if type(schema) == "boolean" then
    return
  elseif type(schema) ~= "table" or schema == json.null then
    return add(found, "%s: expected a schema, got a %s", path, type(schema))
  elseif depth > DEPTH then
    return add(found, "%s: nested deeper than %d levels", path, DEPTH)
  end
  for keyword, fits in pairs(KEYWORDS) do
    local value = schema[keyword]
    local ok, wanted = fits(value)
    if value ~= nil and not ok then
      add(found, "%s.%s: expected %s, got %s", path, keyword, wanted,
        options.show(value))
    end
  end
  look_at_reference(schema, path, found)
  for _, keyword in ipairs({ "items", "additionalProperties" }) do
    if schema[keyword] ~= nil then
      look(schema[keyword], member(path, keyword), depth + 1, found)
    end
  end
  for _, keyword in ipairs({ "anyOf", "oneOf", "allOf" }) do
    if schema[keyword] ~= nil then
      look_at_each(schema[keyword], member(path, keyword), depth, found, item)
    end
  end
  if schema.properties ~= nil then
    look_at_each(schema.properties, path, depth, found, member)
  end
  if schema["$defs"] ~= nil then
    look_at_each(schema["$defs"], path .. ".$defs", depth, found, member)
  end
end

--- What is wrong with a schema.
---@param schema any
---@return string? problem all of it, with places, in one line:
---  "input.a.type: expected ..., got strng; input.b.minimum: expected a number, got x"; nil when
---  nothing is
function M.problem(schema)
  local found = { definitions = type(schema) == "table" and schema["$defs"] or nil }
  look(schema, "input", 0, found)
  if #found == 0 then
    local ok, message = pcall(json.encode, schema)
    return not ok and "input: it cannot be sent: " .. tostring(message) or nil
  end
  table.sort(found)
  local more = #found - SHOWN
  return table.concat(found, "; ", 1, math.min(#found, SHOWN))
    .. (more > 0 and ("; and %d more"):format(more) or "")
end

return M
