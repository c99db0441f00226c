--- `--input-format stream-json`: user messages as JSON lines on standard input.
---
---     {"type":"user","message":{"role":"user","content":"Hello"}}
---
--- `content` is a text, or a list of content blocks of which the texts are taken.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local reactor = require("agenthost.reactor")
local sys = require("agenthost.sys")

local M = {}

---@class agenthost.StreamInput
local Input = {}
Input.__index = Input

--- Reads from standard input. Nothing else may read there.
---@return agenthost.StreamInput
function M.new()
  return setmetatable({ watch = reactor.watch(0), parts = {}, bytes = 0, number = 0 }, Input)
end

-- The text of a message; nil and why it has none.
local function text_of(message)
  local content = type(message) == "table" and message.content
  if type(content) == "string" then
    return content
  elseif type(content) ~= "table" then
    return nil, "a user message needs `message.content`, a text or a list of blocks"
  end
  local texts = {}
  for _, block in ipairs(content) do
    if type(block) ~= "table" or block.type ~= "text" or type(block.text) ~= "string" then
      return nil, "only blocks of type text are taken"
    end
    texts[#texts + 1] = block.text
  end
  return table.concat(texts, "\n")
end

-- What one line says: a text, nil for a line that says nothing to the model, or nil and an error.
local function read_line(line)
  local object, message = json.decode(line)
  if object == nil then
    return nil, "not JSON: " .. tostring(message)
  elseif type(object) ~= "table" or type(object.type) ~= "string" then
    return nil, "expected an object with a type"
  elseif object.type ~= "user" then
    return nil -- there may be other kinds; they are not for the model
  end
  local text, problem = text_of(object.message)
  if text and not text:find("%S") then
    return nil, "the message is empty"
  end
  return text, problem
end
M.read_line = read_line

-- The next line, without its end; nil at the end of the input, or with a message.
function Input:next_line()
  while true do
    local head, rest = (self.rest or ""):match("^([^\n]*)\n(.*)$")
    head = head or self.rest or ""
    self.bytes = self.bytes + #head
    if self.bytes > defaults.input.max_line then
      return nil, ("it is longer than %d bytes (defaults.input.max_line)"):format(
        defaults.input.max_line)
    end
    self.parts[#self.parts + 1], self.rest = head, rest
    if rest or self.ended then
      local line = table.concat(self.parts)
      self.parts, self.bytes = {}, 0
      return (rest or line ~= "") and line or nil
    elseif self.watch then
      async.wait(self.watch) -- signals and tasks get through meanwhile
    end
    local bytes, message = sys.read_fd(0)
    if not bytes then
      return nil, message
    end
    self.rest, self.ended = bytes, bytes == ""
  end
end

--- Waits for the next user message.
---@return string? text nil at the end of the input
---@return string? message what is wrong with a line; the rest is not read
function Input:next()
  while true do
    self.number = self.number + 1
    local line, problem = self:next_line()
    local text
    if line and line:find("%S") then
      text, problem = read_line(line)
    end
    if text then
      return text
    elseif problem or not line then
      self:close()
      return nil, problem and ("standard input, line %d: %s"):format(self.number, problem)
    end
  end
end

function Input:close()
  if self.watch then
    reactor.unwatch(self.watch)
    self.watch = nil
  end
end

return M
