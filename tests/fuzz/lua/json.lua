-- agenthost.json: takes what is JSON and nothing else, and what it writes it reads back the same.
local cjson = require("cjson").new()
local json = require("agenthost.json")
local kit = require("kit")
local oracle = require("json_oracle")

cjson.decode_max_depth(600)

-- Whether cjson read the same: it makes all numbers floats and knows no marks.
local function agrees(ours, theirs)
  if type(ours) == "table" and type(theirs) == "table" then
    for key, value in pairs(ours) do
      if not agrees(value, theirs[key]) then
        return false
      end
    end
    for key in pairs(theirs) do
      if ours[key] == nil then
        return false
      end
    end
    return true
  elseif type(ours) == "number" and type(theirs) == "number" then
    return ours + 0.0 == theirs
  end
  return ours == theirs
end

local LOOKS <const> = 20 -- at members of one value: each goes over all of the text

-- Members and elements found without decoding are those of the value.
local function check_slices(bytes, value)
  if type(value) ~= "table" then
    return
  end
  local looks = 0
  for key, member in pairs(value) do
    looks = looks + 1
    if looks > LOOKS then
      break
    end
    local raw = json.slice(bytes, key)
    kit.expect(raw and kit.same(json.decode(raw), member), "slice differs at %q", key)
  end
  if json.is_array(value) then
    local elements = json.elements(bytes)
    kit.expect(#elements == #value, "%d elements of %d", #elements, #value)
    for i, element in ipairs(elements) do
      kit.expect(kit.same(json.decode(element), value[i]), "element %d differs", i)
    end
  end
end

return function(bytes)
  local value, message, code = json.decode(bytes)
  local is_json = oracle.is_json(bytes)
  if message then
    kit.message(message)
    kit.expect(value == nil and code == "JSON", "a failure with a value")
    kit.expect(not is_json, "JSON is refused: %s", message)
    json.slice(bytes, 1) -- some part of it, or nil, in time
    json.slice(bytes, "a", "b")
    json.elements(bytes)
    return
  end
  kit.expect(is_json, "it is taken, but is no JSON")
  local text = json.encode(value)
  kit.expect(utf8.len(text), "it writes broken UTF-8")
  kit.expect(not text:find("[%z\1-\31]"), "it writes control characters")
  local again = json.decode(text)
  kit.expect(kit.same(value, again), "another value comes back from %s", text)
  kit.expect(json.encode(again) == text, "another text is written the second time")
  kit.expect(agrees(again, cjson.decode(text)), "lua-cjson reads another value")
  if utf8.len(bytes) and not bytes:find("^\xEF\xBB\xBF") and not bytes:find("\\u[dD]") then
    kit.expect(agrees(value, cjson.decode(bytes)), "lua-cjson reads another value in the original")
  end
  check_slices(bytes, value)
end
