-- What the targets share: the memory of one input, and what a message has to look like.
local guard = require("agenthost.guard")
local text = require("agenthost.text")

local M = {}

local MESSAGE <const> = 4096 -- bytes; longer ones are of no use to anybody
local MEMORY <const> = 64 * 1024 * 1024 -- bytes of the Lua state beyond what it has at first

guard.limit_memory(guard.memory() + MEMORY, 0)

--- Raises, with what is shown of a value, unless `fits`.
function M.expect(fits, format, ...)
  if not fits then
    error(format:format(...), 2)
  end
end

--- A message for people or models: one line of clean text that is not too long.
function M.message(message)
  M.expect(type(message) == "string", "the message is a %s", type(message))
  M.expect(#message <= MESSAGE, "the message has %d bytes: %q", #message, message:sub(1, 200))
  M.expect(not message:find("[%z\1-\31\127]"), "a control character in the message: %q", message)
  M.expect(text.clean(message) == message, "the message is not clean: %q", message)
end

local MAX_EXACT <const> = 1 << 53

--- Equal, down to the kinds of tables, and of numbers: but for whole floats beyond 2^53, which are
--- written as whole numbers.
function M.same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b and (math.type(a) == math.type(b) or math.abs(a) > MAX_EXACT)
  elseif getmetatable(a) ~= getmetatable(b) then
    return false
  end
  for key, value in pairs(a) do
    if not M.same(value, b[key]) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

return M
