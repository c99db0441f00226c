--- The blocks that the OpenAI providers make of a reply. They have Anthropic's shape; what only an
--- OpenAI API can use is in fields whose names begin with "openai_", and the other providers leave
--- these out (anthropic_messages.lua):
---
---   openai_item       an output item of the Responses API, as it came. A block of the type
---                     "openai_item" has nothing else
---   openai_arguments  the arguments of a call, where `input` is not the same text
---   openai_field      the name under which thinking came
local json = require("agenthost.json")
local raw = require("agenthost.provider.raw")
local sys = require("agenthost.sys")

local M = {}

local MAX_SHOWN <const> = 200 -- characters of arguments that make no sense

-- `item`: the JSON text of an output item, or nil.
local function raw_item(item)
  return item and json.raw(raw.line(item)) or nil
end

--- Whether what a server sent is a text, and not an empty one.
---@param value any
---@return boolean
function M.filled(value)
  return type(value) == "string" and value ~= ""
end

--- An id for a call that came without.
---@return string
function M.new_id()
  return "call_" .. sys.random_hex(12)
end

---@param text string
---@param item? string
---@return agenthost.Block
function M.text(text, item)
  return {
    type = "text",
    text = text,
    json = json.encode({ type = "text", text = text, openai_item = raw_item(item) }),
  }
end

---@param text string
---@param field string
---@return agenthost.Block
function M.thinking(text, field)
  return {
    type = "thinking",
    text = text,
    json = json.encode({ type = "thinking", thinking = text, openai_field = field }),
  }
end

--- A block for an item that is only to be sent back.
---@param item string
---@return agenthost.Block
function M.item(item)
  return {
    type = "openai_item",
    json = json.encode({ type = "openai_item", openai_item = raw_item(item) }),
  }
end

--- Whether a block is an item of reasoning.
---@param block agenthost.Block
---@return boolean
function M.is_reasoning(block)
  return block.type == "openai_item"
    and json.slice(block.json, "openai_item", "type") == '"reasoning"'
end

-- What is wrong with arguments, for the model.
local function problem_of(text, why)
  local stop = utf8.len(text) and (utf8.offset(text, MAX_SHOWN) or #text + 1) - 1
  local shown = stop and text:sub(1, stop) or ""
  return ("the arguments of this call are not the JSON text of an object (%s): %s"):format(
    why or "another type", shown)
end

--- A call. Arguments that are no object make it incomplete: it must not be run, and `{}` goes back
--- in their place, for servers refuse a conversation with anything else.
---@param id string
---@param name string
---@param arguments string as they came
---@param was_object? boolean they came as an object, not as its text
---@param item? string
---@return agenthost.Block
function M.tool_use(id, name, arguments, was_object, item)
  local text = arguments:match("^%s*(.-)%s*$")
  text = (text == "" or text == "null") and "{}" or text
  local input, why = json.decode(text)
  local incomplete = type(input) ~= "table" or json.is_array(input)
  local line = incomplete and "{}" or raw.line(text)
  if raw.sound(text) ~= text then
    arguments, item = line, nil
  end
  local differs = not incomplete and not was_object and text ~= "{}" and line ~= arguments
  return {
    type = "tool_use",
    id = id,
    name = name,
    input = incomplete and {} or input,
    incomplete = incomplete or nil,
    problem = incomplete and problem_of(text, why) or nil,
    json = json.encode({
      type = "tool_use",
      id = id,
      name = name,
      input = json.raw(line),
      openai_arguments = differs and arguments or nil,
      openai_item = not incomplete and raw_item(item) or nil,
    }),
  }
end

return M
