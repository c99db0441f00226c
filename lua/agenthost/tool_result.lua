--- What a tool returned, as the content of a tool_result.
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local options = require("agenthost.options")
local text = require("agenthost.text")

local M = {}

-- Characters that a tool may say around an output of full length: cutting that once more would take
-- away the line that says where the whole of it is.
local MARGIN <const> = 1000

local function bounded(s)
  local clean = text.clean(s)
  if utf8.len(clean) > defaults.text.result + MARGIN then
    clean = text.preview(clean, { max = defaults.text.result })
  end
  return clean
end

-- What a tool_result may hold; a table with another `type` is data, as is one that has nothing of
-- what goes with its type.
local BLOCKS <const> = { text = true, image = true, document = true, search_result = true }

local function is_block(value)
  return type(value) == "table" and BLOCKS[value.type] == true
    and (value.type == "text" or value.source ~= nil)
end

local function are_blocks(value)
  for _, block in ipairs(value) do
    if not is_block(block) then
      return false
    end
  end
  return #value > 0
end

-- Raises what is wrong with a picture. An API would refuse it again and again, and with it all that
-- is said later.
local function check_image(source)
  local kind = type(source) == "table" and source.type
  if type(kind) ~= "string" then
    error("an image needs source = "
      .. "{ type = \"base64\", media_type = \"image/png\", data = ... }", 0)
  elseif kind ~= "base64" then
    return
  elseif type(source.media_type) ~= "string" or not source.media_type:find("^image/%w") then
    error(("an image needs source.media_type, such as \"image/png\"; got %s"):format(
      options.show(source.media_type)), 0)
  end
  local data = source.data
  if type(data) ~= "string" or data == "" or #data % 4 ~= 0 or not data:find("^[%w+/]*=?=?$") then
    error("the source.data of an image has to be Base64 on one line: "
      .. "require(\"agenthost.base64\").encode(bytes)", 0)
  end
end

--- Raises unless it is a list of content blocks that a message may hold.
---@param value any
function M.check_blocks(value)
  if type(value) ~= "table" or #value == 0 then
    error(("expected content blocks, got %s"):format(
      type(value) == "table" and "a table without any" or options.show(value)), 0)
  end
  for i, block in ipairs(value) do
    if not is_block(block) or block.type == "text" and type(block.text) ~= "string" then
      error(("block %d: expected { type = \"text\", text = ... }, or an image or a document with "
        .. "its source"):format(i), 0)
    elseif block.type == "image" then
      check_image(block.source)
    end
  end
end

-- Blocks whose texts are bounded and not empty: an API refuses the whole conversation otherwise.
local function result_blocks(blocks)
  local kept = {}
  for _, block in ipairs(blocks) do
    if block.type == "text" then
      block = { type = "text", text = bounded(tostring(block.text or "")) }
    elseif block.type == "image" then
      check_image(block.source)
      block = { type = "image", source = block.source } -- a field too many is refused, too
    end
    if block.type ~= "text" or block.text:find("%S") then
      kept[#kept + 1] = block
    end
  end
  return #kept > 0 and kept or "(no output)"
end

-- What is not sent as it is, but as Lua shows it.
local SHOWN <const> = { ["nil"] = true, string = true, number = true, boolean = true }

--- A text that is not empty, or blocks.
---@param value any text, a table (sent as JSON), one content block or a list of them
---@return string|table[] content raises when it cannot be sent
function M.content(value)
  if type(value) == "table" then
    if BLOCKS[value.type] and (value.source or type(value.text) == "string") then
      value = { value }
    end
    if are_blocks(value) then
      return result_blocks(value)
    end
    local ok, encoded = pcall(json.encode, value)
    if not ok then
      error((tostring(encoded):gsub("^json%.encode: ", "")), 0)
    end
    value = encoded
  elseif not SHOWN[type(value)] then
    error(("expected a text, or a table that is sent as JSON; it returned a %s"):format(
      type(value)), 0)
  end
  local shown = bounded(value == nil and "" or tostring(value))
  return shown:find("%S") and shown or "(no output)"
end

return M
