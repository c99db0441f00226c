--- What tests say of values. The names and the order of arguments (what is expected comes first)
--- are those of busted's luassert, so that a file can be run by either.
local options = require("agenthost.options")
local show = require("agenthost.testing.show")

---@class agenthost.testing.Assert
---@overload fun(value: any, message?: string, ...): any
local Assert = {}

-- Fails at the caller of the assertion. `level` is counted from there.
local function fail(message, said, level)
  error((said and tostring(said) .. ": " or "") .. message, (level or 1) + 2)
end

--- The two are one: the same text, number or table.
---@param expected any
---@param actual any
---@param message? string put in front of the failure
function Assert.equal(expected, actual, message)
  if expected ~= actual then
    fail(("expected %s, got %s"):format(show.value(expected), show.value(actual)), message)
  end
end

--- The two are not one.
---@param unexpected any
---@param actual any
---@param message? string
function Assert.not_equal(unexpected, actual, message)
  if unexpected == actual then
    fail("expected anything but " .. show.value(actual), message)
  end
end

--- Tables that hold the same, at any depth.
---@param expected any
---@param actual any
---@param message? string
function Assert.same(expected, actual, message)
  local difference = show.difference(expected, actual)
  if difference then
    fail(difference, message)
  end
end

---@param value any
---@param message? string
function Assert.is_true(value, message)
  if value ~= true then
    fail("expected true, got " .. show.value(value), message)
  end
end

---@param value any
---@param message? string
function Assert.is_false(value, message)
  if value ~= false then
    fail("expected false, got " .. show.value(value), message)
  end
end

---@param value any
---@param message? string
function Assert.is_nil(value, message)
  if value ~= nil then
    fail("expected nil, got " .. show.value(value), message)
  end
end

---@param value any
---@param message? string
function Assert.is_not_nil(value, message)
  if value == nil then
    fail("expected a value, got nil", message)
  end
end

--- Anything but nil and false.
---@param value any
---@param message? string
function Assert.truthy(value, message)
  if not value then
    fail("expected a value, got " .. show.value(value), message)
  end
end

--- Nil or false.
---@param value any
---@param message? string
function Assert.falsy(value, message)
  if value then
    fail("expected nil or false, got " .. show.value(value), message)
  end
end

--- A text in which a Lua pattern is found.
---@param pattern string
---@param text string
---@param message? string
function Assert.matches(pattern, text, message)
  if type(text) ~= "string" or not text:find(pattern) then
    fail(("expected a text with the pattern %s, got %s"):format(show.value(pattern),
      show.value(text)), message)
  end
end

--- A text that holds another one, as it is. (luassert has no such function.)
---@param part string
---@param text string
---@param message? string
function Assert.contains(part, text, message)
  if type(text) ~= "string" or not text:find(part, 1, true) then
    fail(("expected a text with %s in it, got %s"):format(show.value(part), show.value(text)),
      message)
  end
end

--- A function that raises. `expected` is the error, without its place "file:line: ".
---@param fn fun()
---@param expected? any
---@return any err
function Assert.has_error(fn, expected)
  local ok, err = pcall(fn)
  if ok then
    fail("expected an error, none was raised")
  end
  local bare = type(err) == "string" and err:gsub("^[^\n]-:%d+: ", "") or err
  if expected ~= nil and err ~= expected and bare ~= expected then
    fail(("expected the error %s, got %s"):format(show.value(expected), show.value(err)))
  end
  return err
end

-- Words that luassert puts between `assert` and the name.
local CHAINS <const> = { are = true, are_not = true, is = true, is_not = true, has = true,
  has_no = true, has_not = true, does = true, does_not = true }

local names = {}
for name in pairs(Assert) do
  names[#names + 1] = name
end
table.sort(names)

return setmetatable(Assert, {
  -- as Lua's own
  __call = function(_, value, message, ...)
    if value then
      return value, message, ...
    elseif message == nil or type(message) == "string" then
      error(message or "assertion failed!", 2)
    end
    error(message, 0)
  end,
  __index = function(_, name)
    local bare = tostring(name):gsub("^are_", ""):gsub("^is_", "")
    local best = rawget(Assert, bare) and bare or options.slip(name, names)
    error(("there is no assert.%s%s"):format(tostring(name), best and "; did you mean assert."
      .. best .. "?" or (CHAINS[name] and ": one name follows assert, as in assert.equal" or "")
      .. "; there are " .. table.concat(names, ", ")), 2)
  end,
})
