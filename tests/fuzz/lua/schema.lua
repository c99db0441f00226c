-- agenthost.schema: {"schema": ..., "input": ...}. A schema is taken, or refused with a message.
-- What fits it has the type and the fields that it asks for. The answer does not depend on how the
-- text is written.
local json = require("agenthost.json")
local kit = require("kit")
local schema = require("agenthost.schema")

local function type_fits(value, wanted)
  if type(wanted) == "table" then
    for _, one in ipairs(wanted) do
      if type_fits(value, one) then
        return true
      end
    end
    return false
  elseif wanted == "null" or value == json.null then
    return wanted == "null" and value == json.null
  elseif wanted == "integer" then
    return type(value) == "number" and value % 1 == 0
  elseif wanted == "object" or wanted == "array" then
    return type(value) == "table"
      and (next(value) == nil or json.is_array(value) == (wanted == "array"))
  end
  return type(value) == wanted
end

-- What has to hold for a value that a schema took, as far as this looks.
local function expect_fit(value, its_schema)
  if type(its_schema) ~= "table" then
    return
  end
  local is_object = type(value) == "table" and value ~= json.null and not json.is_array(value)
  kit.expect(not its_schema.type or type_fits(value, its_schema.type), "it has another type")
  kit.expect(not (type(value) == "number" and its_schema.minimum) or value >= its_schema.minimum,
    "it is less than the minimum")
  for _, name in ipairs(is_object and its_schema.required or {}) do
    kit.expect(value[name] ~= nil, "%s is required", name)
  end
  for name, member in pairs(is_object and value or {}) do
    local known = its_schema.properties and its_schema.properties[name]
    kit.expect(known ~= nil or its_schema.additionalProperties ~= false, "%s is not known", name)
    expect_fit(member, known)
  end
end

-- The fields that are asked for and null: the check takes them out, and they have to fit as well.
local function asked_nulls(input, its_schema)
  local names = {}
  for _, name in ipairs(type(input) == "table" and input ~= json.null and its_schema.required or {})
  do
    names[#names + 1] = input[name] == json.null and name or nil
  end
  return names
end

local function verdict(given)
  local ok, usable = pcall(schema.from_input, given.schema)
  if not ok then
    kit.message(usable)
    return "refused"
  end
  local nulls = asked_nulls(given.input, usable)
  local problem = schema.check(given.input, usable)
  if problem ~= nil then
    kit.message(problem)
    return "unfit"
  end
  for _, name in ipairs(nulls) do
    given.input[name] = json.null
  end
  expect_fit(given.input, usable)
  return "fit"
end

return function(bytes)
  local given = json.decode(bytes)
  if type(given) ~= "table" or given.schema == nil then
    return
  end
  local text = json.encode(given)
  local first = verdict(given)
  local second = verdict(json.decode(text))
  kit.expect(first == second, "it is %s, and written again %s", first, second)
end, { base = 60000000, byte = 20000 }
