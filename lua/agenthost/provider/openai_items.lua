--- The conversation as the input items of the Responses API. Each piece is converted once in its
--- life. What this API has said goes back as it came.
local joined = require("agenthost.joined")
local json = require("agenthost.json")
local openai_messages = require("agenthost.provider.openai_messages")
local raw_text = require("agenthost.provider.raw")

local M = {}

---@class agenthost.openai_responses.Items
---@field pieces? agenthost.Piece[] of the request before
---@field count integer of them, those whose items are in `texts`
---@field last? agenthost.Piece the last of these
---@field texts string[] JSON texts of items, each with a comma behind it
---@field plain table<agenthost.Piece, true> those whose items go back in words of ours
local Items = {}
Items.__index = Items

---@return agenthost.openai_responses.Items
function M.new()
  return setmetatable({ count = 0, texts = {}, plain = setmetatable({}, { __mode = "k" }) }, Items)
end

-- ---- blocks of a user --------------------------------------------------------------------------

local function input_text(text)
  return { type = "input_text", text = text }
end

local function input_part(block)
  if block.type == "text" then
    return input_text(block.text)
  elseif block.type == "document" then
    return input_text(openai_messages.document_text(block))
  elseif block.type == "image" then
    local url = openai_messages.image_url(block)
    return url and { type = "input_image", image_url = url }
      or input_text("[an image that this model API cannot take]")
  end
end

-- The output of a call: a text, or parts when there is an image.
local function output_of(block)
  local images = {}
  local text = openai_messages.result_text(block, function(part)
    if part.type ~= "image" then
      return "[a result that this model API cannot take]"
    end
    images[#images + 1] = input_part(part)
    return "(image " .. #images .. ")"
  end)
  return #images > 0 and { input_text(text), table.unpack(images) } or text
end

local function user_items(blocks)
  local items, parts = {}, {}
  for _, block in ipairs(blocks) do
    if block.type == "tool_result" then
      items[#items + 1] = json.encode({
        type = "function_call_output",
        call_id = block.tool_use_id,
        output = output_of(block),
      })
    else
      parts[#parts + 1] = input_part(block)
    end
  end
  if #parts > 0 then
    items[#items + 1] = json.encode({ type = "message", role = "user", content = parts })
  end
  return items
end

-- ---- blocks of the assistant -------------------------------------------------------------------

-- Without its encrypted text (and without a readable one, as local servers have it) reasoning is a
-- reference to what was never stored.
local function can_go_back(item)
  return item.type ~= "reasoning" or type(item.encrypted_content) == "string"
    or type(item.content) == "table" and #item.content > 0
end

-- `plain`: in our words, without what the server has made of it.
local function assistant_item(block, raw, plain)
  if block.openai_item and not plain then
    return can_go_back(block.openai_item) and json.slice(raw, "openai_item") or nil
  elseif block.type == "text" then
    return json.encode({ type = "message", role = "assistant", content = {
      { type = "output_text", text = block.text, annotations = json.array() },
    } })
  elseif block.type == "tool_use" then
    return json.encode({
      type = "function_call",
      call_id = block.id,
      name = raw_text.tool_name(block.name),
      arguments = block.openai_arguments or json.slice(raw, "input") or "{}",
    })
  end
end

-- ---- all of it ---------------------------------------------------------------------------------

-- The JSON texts of a piece's items.
local function items_of(self, piece)
  local list = "[" .. piece.blocks .. "]"
  local blocks = json.decode(list)
  if piece.role == "user" then
    return user_items(blocks)
  end
  local items, texts = {}, json.elements(list)
  for i, block in ipairs(blocks) do
    items[#items + 1] = assistant_item(block, texts[i], self.plain[piece])
  end
  return items
end

--- From now on sends what was said so far in words of ours: another server, or another account, has
--- encrypted what is in it.
---@param pieces agenthost.Piece[]
---@return boolean whether there was any such thing
function Items:forget(pieces)
  local found = false
  for _, piece in ipairs(pieces) do
    if piece.role == "assistant" and not self.plain[piece]
      and piece.blocks:find('"openai_item"', 1, true) then
      self.plain[piece], found = true, true
    end
  end
  self.pieces = nil
  return found
end

--- The input of a request as the parts of a JSON text; see openai_messages.lua.
---@param pieces agenthost.Piece[]
---@return string[]
function Items:parts(pieces)
  if self.pieces ~= pieces or pieces[self.count] ~= self.last then
    self.pieces, self.count, self.last, self.texts = pieces, 0, nil, {}
  end
  local fresh = {}
  for i = self.count + 1, #pieces do
    for _, item in ipairs(items_of(self, pieces[i])) do
      fresh[#fresh + 1] = item .. ","
    end
  end
  joined.grow(self.texts, fresh)
  self.count, self.last = #pieces, pieces[#pieces]
  local parts = table.move(self.texts, 1, #self.texts, 2, { "[" })
  if #parts > 1 then
    parts[#parts] = parts[#parts]:sub(1, -2)
  end
  parts[#parts + 1] = "]"
  return parts
end

return M
