--- What a provider would refuse, or a model misread, in the schema of a tool's input.
local json = require("agenthost.json")
local options = require("agenthost.options")

local M = {}

local MAX_DEPTH <const> = 20

-- JSON Schema draft 2020-12, as far as the services take it.
local KEYWORDS <const> = {
  "type", "description", "title", "enum", "const", "default", "examples", "format", "properties",
  "required", "additionalProperties", "minProperties", "maxProperties", "patternProperties",
  "propertyNames", "items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains",
  "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
  "maxLength", "pattern", "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "nullable",
  "$ref", "$defs", "definitions", "$schema", "$id", "$comment", "deprecated", "readOnly",
  "writeOnly",
}
local KNOWN = {}
for _, name in ipairs(KEYWORDS) do
  KNOWN[name] = true
end

local TYPES <const> = { string = true, number = true, integer = true, boolean = true,
  object = true, array = true, null = true }

-- What agenthost itself checks before a tool runs (schema.lua); the rest the model only reads.
local COMBINED <const> = { "anyOf", "oneOf", "allOf" }

local check

-- The names in a table, in order.
local function sorted(t)
  local names = {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  return names
end

local function check_type(schema, path, report)
  local types = type(schema.type) == "table" and schema.type or { schema.type }
  for _, name in ipairs(types) do
    if not TYPES[name] then
      report("error", ("%s: there is no type '%s' in JSON Schema"):format(path, tostring(name)))
    end
  end
end

local function check_keywords(schema, path, report)
  for _, name in ipairs(sorted(schema)) do
    if type(name) ~= "string" then
      report("error", ("%s: a schema is a table with names, got [%s]"):format(path,
        tostring(name)))
    elseif not KNOWN[name] then
      local best = options.slip(name, KEYWORDS)
      report("warning", ("%s: '%s' is no keyword of JSON Schema%s"):format(path, name,
        best and ("; did you mean '%s'?"):format(best)
          or schema.type == "object" and "; a field of the input stands in `properties`" or ""))
    end
  end
end

local function check_properties(schema, path, report, depth)
  local properties = schema.properties
  if properties ~= nil and type(properties) ~= "table" then
    return report("error", path .. ": `properties` has to be a table of schemas")
  end
  for _, name in ipairs(sorted(properties or {})) do
    if type(name) ~= "string" or not name:find("^[%w_.-]+$") or #name > 64 then
      report("error", ("%s: the name '%s' is refused by providers: letters, digits, '_', '.' and "
        .. "'-', at most 64"):format(path, tostring(name)))
    end
    check(properties[name], path .. "." .. tostring(name), report, depth + 1)
  end
  local required = schema.required
  if required ~= nil and type(required) ~= "table" then
    return report("error", path .. ": `required` has to be a list of names")
  end
  for _, name in ipairs(required or {}) do
    if not (properties and properties[name]) then
      report("error", ("%s: '%s' is required, but not among its properties"):format(path,
        tostring(name)))
    end
  end
end

local function check_parts(schema, path, report, depth)
  if schema.enum ~= nil and (type(schema.enum) ~= "table" or #schema.enum == 0) then
    report("error", path .. ": `enum` has to be a list with something in it")
  end
  if schema.type == "array" and schema.items == nil then
    report("warning", path .. ": an array without `items`: some services refuse it")
  end
  if type(schema.items) == "table" then
    check(schema.items, path .. "[]", report, depth + 1)
  end
  for _, name in ipairs(COMBINED) do
    for i, part in ipairs(type(schema[name]) == "table" and schema[name] or {}) do
      check(part, ("%s.%s[%d]"):format(path, name, i), report, depth + 1)
    end
  end
end

function check(schema, path, report, depth)
  if type(schema) == "boolean" then
    return
  elseif type(schema) ~= "table" then
    return report("error", ("%s: expected a schema, a table, got a %s"):format(path, type(schema)))
  elseif depth > MAX_DEPTH then
    return report("error", ("%s: nested more than %d levels deep"):format(path, MAX_DEPTH))
  end
  check_keywords(schema, path, report)
  if schema.type ~= nil then
    check_type(schema, path, report)
  end
  check_properties(schema, path, report, depth)
  check_parts(schema, path, report, depth)
end

-- Whether a reference leads to something in the schema. (One to its $defs that does not is refused
-- when the tool is added: schema_shape.lua.)
local function leads_somewhere(root, ref)
  local value, pointer = root, ref:match("^#(.*)$")
  if not pointer then
    return false -- into another document
  end
  for part in pointer:gmatch("[^/]+") do
    part = part:gsub("~1", "/"):gsub("~0", "~")
    local index = math.tointeger(tonumber(part))
    value = type(value) == "table" and (value[part] or index and value[index + 1])
  end
  return type(value) == "table" or type(value) == "boolean" and value
end

local function check_references(root, part, path, report, depth)
  local ref = part["$ref"]
  if type(ref) == "string" and not leads_somewhere(root, ref) then
    report("error", ("%s: `$ref` leads nowhere: there is no '%s' in this schema"):format(path, ref))
  end
  for _, name in ipairs(depth < MAX_DEPTH and sorted(part) or {}) do
    if type(part[name]) == "table" then
      check_references(root, part[name], name == "properties" and path
        or path .. "." .. tostring(name), report, depth + 1)
    end
  end
end

--- Checks the schema of a tool's input.
---@param schema table
---@param report fun(severity: "error"|"warning", message: string)
function M.check(schema, report)
  for _, name in ipairs(COMBINED) do
    if schema[name] ~= nil then
      report("error", ("input: `%s` at the top is refused by providers: put it below a property")
        :format(name))
    end
  end
  check(schema, "input", report, 1)
  check_references(schema, schema, "input", report, 1)
  local ok, problem = pcall(json.encode, schema)
  if not ok then
    report("error", "input: it cannot be sent as JSON: " .. tostring(problem))
  end
end

return M
