--- The conversation as messages of Chat Completions. Each piece is converted once in its life.
---
--- Texts of one message are one string, with an empty line between: servers that imitate OpenAI's
--- may know no lists of parts. What this API has no place for (thinking, unless `reasoning_field`
--- says where; blocks of other APIs) is left out.
local joined = require("agenthost.joined")
local json = require("agenthost.json")
local raw_text = require("agenthost.provider.raw")

local M = {}

local NEXT <const> = "\\n\\n" -- between two texts, inside a JSON string

---@class agenthost.openai.Messages
---@field pieces? agenthost.Piece[] of the request before
---@field count integer of them, those whose messages are in `texts` and never change
---@field last? agenthost.Piece the last of these
---@field texts string[] JSON texts of messages, each with a comma behind it
local Messages = {}
Messages.__index = Messages

--- What a piece comes to: JSON texts.
---@class agenthost.openai.Converted
---@field texts string[] insides of JSON strings
---@field parts string[] the same and the images, as parts
---@field images boolean
---@field thinking string[] insides of JSON strings
---@field calls string[] of an assistant
---@field results string[] `tool` messages

---@param reasoning_field? string thinking goes back under this name
---@return agenthost.openai.Messages
function M.new(reasoning_field)
  return setmetatable({
    reasoning_field = reasoning_field,
    converted = setmetatable({}, { __mode = "k" }), -- piece -> Converted
    count = 0,
    texts = {},
  }, Messages)
end

-- ---- blocks ------------------------------------------------------------------------------------

local function add_text(to, text)
  local quoted = json.encode(text)
  to.texts[#to.texts + 1] = quoted:sub(2, -2)
  to.parts[#to.parts + 1] = '{"type":"text","text":' .. quoted .. "}"
end

--- The URL of an image block, or nil.
---@param block table
---@return string?
function M.image_url(block)
  local source = type(block.source) == "table" and block.source or {}
  if source.type == "url" then
    return source.url
  elseif source.type == "base64" then
    return ("data:%s;base64,%s"):format(source.media_type, source.data)
  end
end

--- A document as text, as far as it is one.
---@param block table
---@return string
function M.document_text(block)
  local source = type(block.source) == "table" and block.source or {}
  if source.type == "text" and type(source.data) == "string" then
    return source.data
  end
  return "[a document that this model API cannot take]"
end

local function add_image(to, block)
  local url = M.image_url(block)
  if not url then
    return add_text(to, "[an image that this model API cannot take]")
  end
  to.images = true
  to.parts[#to.parts + 1] = '{"type":"image_url","image_url":{"url":' .. json.encode(url) .. "}}"
end

local add = {} -- block type -> function(converted, block, raw)

function add.text(to, block)
  add_text(to, block.text)
end

function add.image(to, block)
  add_image(to, block)
end

function add.document(to, block)
  add_text(to, M.document_text(block))
end

function add.thinking(to, block)
  to.thinking[#to.thinking + 1] = json.encode(block.thinking):sub(2, -2)
end

function add.tool_use(to, block, raw)
  local arguments = block.openai_arguments or json.slice(raw, "input") or "{}"
  to.calls[#to.calls + 1] = ('{"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}')
    :format(json.encode(block.id), json.encode(raw_text.tool_name(block.name)),
      json.encode(arguments))
end

--- The texts of a tool result; what is not text goes to `other`.
---@param block table
---@param other fun(block: table): string what stands in its place
---@return string
function M.result_text(block, other)
  local texts, content = {}, block.content
  if type(content) ~= "table" then
    content = { { type = "text", text = tostring(content or "") } }
  end
  for _, part in ipairs(content) do
    if part.type == "text" then
      texts[#texts + 1] = part.text
    elseif part.type == "document" then
      texts[#texts + 1] = M.document_text(part)
    else
      texts[#texts + 1] = other(part)
    end
  end
  local text = table.concat(texts, "\n")
  if block.is_error and not text:find("^Error") then
    text = "Error: " .. text -- there is no other place to say so
  end
  return text ~= "" and text or "(no output)"
end

-- A `tool` message holds text only: images follow in a message of the user.
function add.tool_result(to, block)
  local text = M.result_text(block, function(part)
    if part.type ~= "image" then
      return "[a result that this model API cannot take]"
    end
    add_text(to, "Image from the tool call " .. block.tool_use_id .. ":")
    add_image(to, part)
    return "(an image, see the next message of the user)"
  end)
  to.results[#to.results + 1] = ('{"role":"tool","tool_call_id":%s,"content":%s}'):format(
    json.encode(block.tool_use_id), json.encode(text))
end

function Messages:convert(piece)
  local known = self.converted[piece]
  if known then
    return known
  end
  local made =
    { texts = {}, parts = {}, images = false, thinking = {}, calls = {}, results = {} }
  local list = "[" .. piece.blocks .. "]"
  local texts = json.elements(list)
  for i, block in ipairs(json.decode(list)) do
    if add[block.type] then
      add[block.type](made, block, texts[i])
    end
  end
  self.converted[piece] = made
  return made
end

-- ---- messages ----------------------------------------------------------------------------------

local function append(to, from)
  table.move(from, 1, #from, #to + 1, to)
end

local function user_messages(out, group)
  append(out, group.results)
  if group.images then
    out[#out + 1] = '{"role":"user","content":[' .. table.concat(group.parts, ",") .. "]}"
  elseif #group.texts > 0 then
    out[#out + 1] = '{"role":"user","content":"' .. table.concat(group.texts, NEXT) .. '"}'
  end
end

local function assistant_message(self, out, group)
  local fields = {}
  local has_thinking = self.reasoning_field and #group.thinking > 0
  if has_thinking then
    fields[1] = ('"%s":"%s"'):format(self.reasoning_field, table.concat(group.thinking, NEXT))
  end
  if #group.texts > 0 then
    fields[#fields + 1] = '"content":"' .. table.concat(group.texts, NEXT) .. '"'
  elseif #group.calls > 0 then
    fields[#fields + 1] = '"content":null'
  end
  if #group.calls > 0 then
    fields[#fields + 1] = '"tool_calls":[' .. table.concat(group.calls, ",") .. "]"
  end
  if #group.texts > 0 or #group.calls > 0 then -- nothing else would be a message
    out[#out + 1] = '{"role":"assistant",' .. table.concat(fields, ",") .. "}"
  end
end

-- Pieces of one role that follow each other are one message, as templates of models want it.
function Messages:group(pieces, first)
  local last = first
  while pieces[last + 1] and pieces[last + 1].role == pieces[first].role do
    last = last + 1
  end
  if last == first then
    return self:convert(pieces[first]), last
  end
  local all = { texts = {}, parts = {}, images = false, thinking = {}, calls = {}, results = {} }
  for i = first, last do
    local made = self:convert(pieces[i])
    for _, name in ipairs({ "texts", "parts", "thinking", "calls", "results" }) do
      append(all[name], made[name])
    end
    all.images = all.images or made.images
  end
  return all, last
end

-- The messages of pieces[first] and those behind it that belong to it, and the last of these.
function Messages:of_group(pieces, first)
  local group, last = self:group(pieces, first)
  local out = {}
  if pieces[first].role == "assistant" then
    assistant_message(self, out, group)
  else
    user_messages(out, group)
  end
  return out, last
end

-- Takes the messages that nothing will be added to into the texts that are kept.
local function extend(self, pieces)
  if self.pieces ~= pieces or pieces[self.count] ~= self.last then
    self.pieces, self.count, self.last, self.texts = pieces, 0, nil, {}
  end
  local fresh = {}
  while self.count < #pieces do
    local out, last = self:of_group(pieces, self.count + 1)
    if last == #pieces then
      break
    end
    for _, message in ipairs(out) do
      fresh[#fresh + 1] = message .. ","
    end
    for i = self.count + 1, last do
      self.converted[pieces[i]] = nil -- its text is here now
    end
    self.count, self.last = last, pieces[last]
  end
  joined.grow(self.texts, fresh)
end

--- The messages of a request as the parts of a JSON text. As in joined.lua what never changes is
--- kept in long texts, so that a request costs what is new, and sending the bytes.
---@param system? string
---@param pieces agenthost.Piece[]
---@return string[]
function Messages:parts(system, pieces)
  extend(self, pieces)
  local parts = { "[" }
  if system and system ~= "" then
    parts[2] = '{"role":"system","content":' .. json.encode(system) .. "},"
  end
  append(parts, self.texts)
  local tail = self.count < #pieces and self:of_group(pieces, self.count + 1) or {}
  if #tail == 0 and #parts > 1 then
    parts[#parts] = parts[#parts]:sub(1, -2)
  end
  parts[#parts + 1] = table.concat(tail, ",") .. "]"
  return parts
end

-- ---- requests without pieces -------------------------------------------------------------------

--- The pieces of a request: the conversation's, or made of its messages.
---@param request agenthost.Request
---@return agenthost.Piece[]
function M.pieces_of(request)
  if request.pieces then
    return request.pieces
  end
  local text = request.messages_json()
  local pieces = {}
  for i, message in ipairs(json.decode(text)) do
    pieces[i] = { role = message.role, blocks = json.slice(text, i, "content"):sub(2, -2) }
  end
  return pieces
end

return M
