--- `--input-format stream-json`: user messages as JSON lines on standard input.
---
---     {"type":"user","message":{"role":"user","content":"Hello"}}
---
--- `content` is a text, or a list of content blocks: texts, images and documents.
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

local HAVE_SOURCE <const> = { image = true, document = true }

-- The blocks of a list; texts alone are one text. nil and what is wrong with it.
local function read_blocks(content)
  local texts, blocks = {}, {}
  for i, block in ipairs(content) do
    local is_text = type(block) == "table" and block.type == "text" and type(block.text) == "string"
    if not is_text and not (type(block) == "table" and HAVE_SOURCE[block.type]
      and type(block.source) == "table") then
      return nil, "only blocks of type text, and image and document with a source, are taken"
    end
    blocks[i], texts[#texts + 1] = block, is_text and block.text or nil
  end
  return #texts < #blocks and blocks or table.concat(texts, "\n")
end

-- What a message says, as a text or blocks; nil and why that is nothing.
local function read_message(message)
  local content = type(message) == "table" and message.content
  if type(content) == "string" then
    return content
  elseif type(content) ~= "table" then
    return nil, "a user message needs `message.content`, a text or a list of blocks"
  end
  return read_blocks(content)
end

-- What one line says: a text or blocks, nil for a line that says nothing to the model, or nil and
-- an error.
local function read_line(line)
  local object, message = json.decode(line)
  if object == nil then
    return nil, "not JSON: " .. tostring(message)
  elseif type(object) ~= "table" or type(object.type) ~= "string" then
    return nil, "expected an object with a type"
  elseif object.type ~= "user" then
    return nil -- there may be other kinds; they are not for the model
  end
  local said, problem = read_message(object.message)
  if type(said) == "string" and not said:find("%S") then
    return nil, "the message is empty"
  end
  return said, problem
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
---@return string|table[]? said a text or blocks; nil at the end of the input
---@return string? message what is wrong with a line; the rest is not read
function Input:next()
  while true do
    self.number = self.number + 1
    local line, problem = self:next_line()
    local said
    if line and line:find("%S") then
      said, problem = read_line(line)
    end
    if said then
      return said
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
