--- Puts one reply of Anthropic's Messages API together from its events. Knows no HTTP: see
--- anthropic.lua.
---
--- What has to go back to the API unchanged is kept as it came: the insides of the JSON strings are
--- joined as they were written, then decoded once. So a surrogate pair whose halves came in two
--- events is whole again, and a signature or a 64-bit integer in a tool's input is never rewritten.
local json = require("agenthost.json")
local raw_text = require("agenthost.provider.raw")

local M = {}

-- A reply with one of these was cut off by a limit.
local CUT <const> = { max_tokens = true, model_context_window_exceeded = true }

-- Deltas that lie unread one behind the other come as one.
local JOIN <const> = { join = {
  '"text_delta","text":"', '"thinking_delta","thinking":"', '"input_json_delta","partial_json":"',
} }

---@class agenthost.Block
---@field type string "text", "thinking", "tool_use", ...; also types that agenthost does not know
---@field json string the whole block as JSON on one line, ready to be sent back
---@field text? string of "text" and "thinking"
---@field id? string of "tool_use"
---@field name? string of "tool_use"
---@field input? table of "tool_use", decoded; `{}` when incomplete
---@field incomplete? boolean a tool_use whose input is no JSON object: do not run it
---@field problem? string of an incomplete one: what to tell the model; default: it was cut off

---@class agenthost.anthropic.Accumulator: agenthost.Accumulator
---@field usage table what is known of it so far
local Accumulator = { ending = "message_stop" }
Accumulator.__index = Accumulator

--- An empty reply.
---@param on_event fun(event: table) see agenthost.Provider
---@return agenthost.anthropic.Accumulator
function M.new(on_event)
  return setmetatable({
    on_event = on_event,
    join = JOIN,
    done = false,
    partial = false,
    usage = {},
    started = {}, -- blocks in the order in which they began
    open = {}, -- index -> block, until it ends
  }, Accumulator)
end

-- ---- blocks ------------------------------------------------------------------------------------
-- While it is read a block is { index, start = content_block, raw = its JSON text, pieces = a list
-- of insides of JSON strings for each field (of "text": of what they stand for), cut = the start of
-- a character, citations = JSON texts }; its end adds `result`, what the caller gets.

-- The pieces of a field as one JSON string.
local function quoted(block, field)
  return '"' .. table.concat(block.pieces[field] or {}) .. '"'
end

-- The same, for sending it back as it came: unless a server cut it in the middle of a character and
-- lost the rest.
local function quoted_back(block, field)
  local text = quoted(block, field)
  return utf8.len(text) and raw_text.line(text) or json.encode(json.decode(text))
end

local function finish_text(block)
  local text = table.concat(block.pieces.text or {}) .. (block.cut and "\u{FFFD}" or "")
  local citations = #block.citations > 0 and '"citations":' .. json.encode(block.citations) .. ","
  -- Not from a table: the text may be long, and this copies it once.
  local encoded = "{" .. (citations or "") .. '"text":' .. json.encode(text) .. ',"type":"text"}'
  return { type = "text", text = text, json = encoded }
end

local function finish_thinking(block)
  local text, signature = quoted_back(block, "thinking"), quoted_back(block, "signature")
  return {
    type = "thinking",
    text = json.decode(text),
    json = '{"type":"thinking","thinking":' .. text .. ',"signature":' .. signature .. "}",
  }
end

-- tool_use, and the blocks of other types whose input was streamed.
local function finish_input(block)
  local text = json.decode(quoted(block, "partial_json"))
  if not text:find("%S") then
    text = json.slice(block.raw, "input") -- some gateways send it whole
  end
  if text == nil or text == "null" then
    text = "{}"
  end
  local input = json.decode(text)
  local incomplete = type(input) ~= "table" or json.is_array(input)
  local fields = {}
  for name, value in pairs(block.start) do
    fields[name] = value
  end
  fields.input = json.raw(incomplete and "{}" or raw_text.line(text))
  return {
    type = fields.type,
    id = fields.id,
    name = fields.name,
    input = incomplete and {} or input,
    incomplete = incomplete or nil,
    json = json.encode(fields),
  }
end

local function finish_block(block)
  local kind = block.start.type
  if kind == "text" then
    return finish_text(block)
  elseif kind == "thinking" then
    return finish_thinking(block)
  elseif kind == "tool_use" or block.pieces.partial_json then
    return finish_input(block)
  end
  return { type = kind, json = raw_text.line(block.raw) }
end

-- ---- events ------------------------------------------------------------------------------------

local SHOWN <const> = { text = "text", thinking = "thinking" }

-- The text of a piece whose first or last character may be cut in two, by the inside of its string:
-- what is cut off at the end is left for the next.
local function whole_characters(block, inside)
  inside = (block.cut or "") .. inside
  block.cut = nil
  local text = json.decode('"' .. inside .. '"')
  if text:sub(-3) == "\u{FFFD}" then
    local bytes = inside:match("[\xC2-\xF4][\x80-\xBF]?[\x80-\xBF]?$")
    block.cut = bytes and not utf8.len(bytes) and bytes or inside:match("\\u[dD][89abAB]%x%x$")
  end
  return block.cut and json.decode('"' .. inside:sub(1, -1 - #block.cut) .. '"') or text
end

-- Adds the string `field` of `owner`, which is the member `name` of the JSON text `raw`, to the
-- block; what people may see is told.
function Accumulator:add(block, field, owner, raw, name)
  local value = owner[field]
  if type(value) ~= "string" or value == "" then
    return
  end
  local pieces = block.pieces[field] or {}
  block.pieces[field] = pieces
  if field ~= "text" then
    pieces[#pieces + 1] = json.slice(raw, name, field):sub(2, -2)
  else
    if block.cut or value:sub(-3) == "\u{FFFD}" then
      value = whole_characters(block, json.slice(raw, name, field):sub(2, -2))
    end
    pieces[#pieces + 1] = value
  end
  if SHOWN[field] and value ~= "" then
    self.partial = true
    self.on_event({ type = SHOWN[field], text = value })
  end
end

function Accumulator:begin(index, start, raw)
  self:finish(index) -- should its end have been left out
  local block = {
    index = index, start = start, raw = json.slice(raw, "content_block"),
    pieces = {}, citations = json.array(),
  }
  self.started[#self.started + 1] = block
  self.open[index] = block
  if start.type == "text" then
    self:add(block, "text", start, raw, "content_block")
  elseif start.type == "thinking" then
    self:add(block, "thinking", start, raw, "content_block")
    self:add(block, "signature", start, raw, "content_block")
  elseif start.type == "tool_use" then
    self.on_event({ type = "tool_use", name = start.name, id = start.id })
  end
end

function Accumulator:finish(index)
  local block = self.open[index]
  if not block then
    return
  end
  self.open[index] = nil
  local result = finish_block(block)
  block.signed = block.pieces.signature ~= nil
  block.pieces, block.raw = nil, nil
  -- The API refuses to take an empty text block back.
  if result.type ~= "text" or result.text:find("%S") then
    block.result = result
    self.on_event({ type = "block", block = result })
  end
end

function Accumulator:add_usage(usage)
  if type(usage) ~= "table" then
    return
  end
  for name, value in pairs(usage) do
    if value ~= json.null then
      self.usage[name] = value -- counts are cumulative
    end
  end
  self.on_event({ type = "usage", usage = self.usage })
end

-- How each type of delta is added: the field of the delta, and so of the block.
local DELTAS <const> = {
  text_delta = "text",
  thinking_delta = "thinking",
  signature_delta = "signature",
  input_json_delta = "partial_json",
}

-- One function an event type: (accumulator, event, its JSON text) -> nothing, or message and code.
local on = {}

function on.message_start(self, event)
  local message = type(event.message) == "table" and event.message or {}
  self.id, self.model = message.id, message.model
  self:add_usage(message.usage)
end

function on.content_block_start(self, event, raw)
  local start = event.content_block
  if type(start) ~= "table" or type(start.type) ~= "string" then
    return "a block of the reply has no type", "PROTOCOL"
  elseif start.type == "tool_use"
    and (type(start.id) ~= "string" or type(start.name) ~= "string") then
    return "a tool call of the reply has no id or no name", "PROTOCOL"
  end
  self:begin(event.index or 0, start, raw)
end

function on.content_block_delta(self, event, raw)
  local block, delta = self.open[event.index or 0], event.delta
  local kind = type(delta) == "table" and delta.type
  if kind == "citations_delta" and block then
    block.citations[#block.citations + 1] = json.raw(
      raw_text.line(json.slice(raw, "delta", "citation")))
  elseif DELTAS[kind] and not block then
    return "a part of the reply belongs to no block", "PROTOCOL"
  elseif DELTAS[kind] then
    self:add(block, DELTAS[kind], delta, raw, "delta")
  end
end

function on.content_block_stop(self, event)
  self:finish(event.index or 0)
end

function on.message_delta(self, event)
  local delta = type(event.delta) == "table" and event.delta or {}
  if type(delta.stop_reason) == "string" then
    self.stop_reason = delta.stop_reason
  end
  if type(delta.stop_details) == "table" then
    self.stop_details = {}
    for name, value in pairs(delta.stop_details) do
      self.stop_details[name] = value ~= json.null and value or nil
    end
  end
  self:add_usage(event.usage)
end

function on.message_stop(self)
  for _, block in ipairs(self.started) do
    self:finish(block.index) -- should its end have been left out
  end
  self.done = true
end

function on.error(_, event)
  local err = event.error
  if type(err) ~= "table" then
    return tostring(err), "ERROR"
  end
  return tostring(err.message), "ERROR", type(err.type) == "string" and err.type or nil
end

--- Takes one event. Events and deltas of unknown types are skipped.
---@param text string the data of the event
---@return true? ok
---@return string? message
---@return string? code "PROTOCOL": it makes no sense; "ERROR": the server reports an error
---@return string? error_type with "ERROR": what the server calls it
function Accumulator:feed(text)
  if text == "[DONE]" then -- added by some gateways
    return true
  end
  local event, why = json.decode(text)
  if type(event) ~= "table" then
    return nil, "an event of the reply makes no sense: " .. (why or "not an object"), "PROTOCOL"
  end
  local kind = event.type
  if kind == nil and event.error ~= nil then
    kind = "error" -- as servers of other APIs write it
  end
  local handler = type(kind) == "string" and on[kind]
  if handler then
    local message, code, error_type = handler(self, event, text)
    if message then
      return nil, message, code, error_type
    end
  end
  return true
end

--- Whether this is a reply that did not come as events.
---@param data table
---@return boolean
function Accumulator.is_reply(data)
  return data.type == "message"
end

--- Takes a reply that came whole, not as events.
---@param text string the message as JSON
---@param message table the same, decoded
---@return true? ok
---@return string? message
---@return string? code as of `feed`
function Accumulator:feed_whole(text, message)
  on.message_start(self, { message = message })
  local texts = json.elements(text, "content")
  for i, start in ipairs(type(message.content) == "table" and message.content or {}) do
    local raw = '{"content_block":' .. (texts[i] or "null") .. "}"
    local why, code = on.content_block_start(self, { index = i, content_block = start }, raw)
    if why then
      return nil, why, code
    end
    self:finish(i)
  end
  on.message_delta(self, { delta = message })
  on.message_stop(self)
  return true
end

-- ---- the reply ---------------------------------------------------------------------------------

---@class agenthost.Reply
---@field content agenthost.Block[] may be empty; empty texts are left out, for the API refuses them
---@field stop_reason string
---@field stop_details? table
---@field usage table
---@field model? string that answered
---@field id? string
---@field request_id? string

--- The reply, once `done`.
---@return agenthost.Reply
function Accumulator:reply()
  local content, has_calls = {}, false
  for _, block in ipairs(self.started) do
    content[#content + 1] = block.result
    has_calls = has_calls or block.start.type == "tool_use"
  end
  local last = self.started[#self.started]
  if CUT[self.stop_reason] and last and last.start.type == "thinking"
    and not last.signed then
    content[#content] = nil -- cut before it was signed: the API would refuse it
  end
  return {
    content = content,
    stop_reason = self.stop_reason or (has_calls and "tool_use" or "end_turn"),
    stop_details = self.stop_details,
    usage = self.usage,
    model = self.model,
    id = self.id,
  }
end

return M
