--- Puts one reply of the Responses API together from its events. Every output item is kept as it
--- came, in a block that also says in Anthropic's words what it is: see openai_blocks.lua. Knows no
--- HTTP.
local json = require("agenthost.json")
local openai_blocks = require("agenthost.provider.openai_blocks")
local openai_usage = require("agenthost.provider.openai_usage")

local count <const>, filled <const> = openai_usage.count, openai_blocks.filled

local M = {}

---@class agenthost.openai_responses.Accumulator: agenthost.Accumulator
local Accumulator = { ending = "response.completed" }
Accumulator.__index = Accumulator

--- An empty reply.
---@param on_event fun(event: table) see agenthost.Provider
---@return agenthost.openai_responses.Accumulator
function M.new(on_event)
  return setmetatable({
    on_event = on_event,
    done = false,
    partial = false,
    items = {}, -- output_index -> block
    indexes = {}, -- of items: a server may count as it likes
    usage = {},
  }, Accumulator)
end

-- ---- items -------------------------------------------------------------------------------------

-- The texts of a message, and whether it is a refusal.
local function message_text(item)
  local texts, refused = {}, false
  for _, part in ipairs(type(item.content) == "table" and item.content or {}) do
    if type(part) == "table" then
      texts[#texts + 1] = filled(part.text) and part.text or filled(part.refusal) and part.refusal
        or nil
      refused = refused or filled(part.refusal)
    end
  end
  return table.concat(texts, "\n\n"), refused
end

local kinds = {} -- type of item -> function(accumulator, item, raw) -> block

function kinds.message(self, item, raw)
  local text, refused = message_text(item)
  self.refused = self.refused or refused
  return text:find("%S") and openai_blocks.text(text, raw) or openai_blocks.item(raw)
end

function kinds.function_call(_, item, raw)
  if not filled(item.name) then
    return openai_blocks.item(raw)
  end
  local id = filled(item.call_id) and item.call_id or filled(item.id) and item.id
  local arguments, was_object = item.arguments, false
  if type(arguments) ~= "string" then
    arguments, was_object = json.slice(raw, "arguments") or "", true
  end
  -- An item without a call_id could not be answered, so what goes back is made anew.
  return openai_blocks.tool_use(id or openai_blocks.new_id(), item.name, arguments, was_object,
    filled(item.call_id) and not was_object and raw or nil)
end

function Accumulator:take_item(index, item, raw)
  if type(item) ~= "table" or self.items[index] then
    return
  end
  local make = kinds[item.type]
  local block = make and make(self, item, raw) or openai_blocks.item(raw)
  self.items[index] = block
  self.indexes[#self.indexes + 1] = index
  self.on_event({ type = "block", block = block })
end

-- ---- events ------------------------------------------------------------------------------------

-- Of an item that comes without, the next that is free.
local function index_of(self, event)
  local index = event.output_index
  return math.type(index) == "integer" and index >= 0 and index or #self.indexes
end

function Accumulator:show(kind, text)
  if filled(text) then
    self.partial = true
    self.on_event({ type = kind, text = text })
  end
end

function Accumulator:take_usage(usage)
  local input = count(usage, "input_tokens")
  if not input then
    return
  end
  self.usage = openai_usage.canonical({
    input = input,
    cached = count(usage.input_tokens_details, "cached_tokens") or 0,
    written = count(usage.input_tokens_details, "cache_write_tokens"),
    output = count(usage, "output_tokens"),
    thinking = count(usage.output_tokens_details, "reasoning_tokens"),
  })
  self.on_event({ type = "usage", usage = self.usage })
end

local function as_error(err)
  if type(err) ~= "table" then
    return filled(err) and err or "no reason given", "ERROR", {}
  end
  return filled(err.message) and err.message or "no reason given", "ERROR", err
end

-- The response at its end. `raw` is its JSON text.
function Accumulator:finish(response, raw)
  if type(response) ~= "table" then
    return "the end of the reply has no response", "PROTOCOL"
  elseif response.status == "failed" or response.status == "cancelled" then
    return as_error(response.error)
  end
  local texts = json.elements(raw, "output")
  for i, item in ipairs(type(response.output) == "table" and response.output or {}) do
    self:take_item(i - 1, item, texts[i]) -- should its own event be missing
  end
  local details = type(response.incomplete_details) == "table" and response.incomplete_details
  if response.status == "incomplete" then
    self.incomplete = details and details.reason or "unknown"
  end
  self.id = filled(response.id) and response.id or nil
  self.model = filled(response.model) and response.model or nil
  self:take_usage(response.usage)
  self.done = true
end

-- One function an event type: (accumulator, event, its JSON text) -> nothing, or a problem.
local on = {}

on["response.output_text.delta"] = function(self, event) self:show("text", event.delta) end
on["response.refusal.delta"] = on["response.output_text.delta"]
on["response.reasoning_summary_text.delta"] =
  function(self, event) self:show("thinking", event.delta) end
on["response.reasoning_text.delta"] = on["response.reasoning_summary_text.delta"]

on["response.reasoning_summary_part.added"] = function(self, event)
  if count(event, "summary_index") and event.summary_index > 0 then
    self:show("thinking", "\n\n")
  end
end

on["response.output_item.added"] = function(self, event)
  local item = event.item
  if type(item) == "table" and item.type == "function_call" and filled(item.name) then
    self.on_event({ type = "tool_use", name = item.name, id = item.call_id or item.id })
  end
end

on["response.output_item.done"] = function(self, event, raw)
  self:take_item(index_of(self, event), event.item, json.slice(raw, "item"))
end

on["response.completed"] = function(self, event, raw)
  return self:finish(event.response, json.slice(raw, "response"))
end
on["response.incomplete"] = on["response.completed"]
on["response.failed"] = function(_, event)
  return as_error(type(event.response) == "table" and event.response.error or nil)
end

on["error"] = function(_, event)
  local err = type(event.error) == "table" and event.error
  return as_error(err or { code = event.code, message = event.message })
end

--- Takes the data of one event. Events of unknown types are skipped.
---@param text string
---@return true? ok
---@return string? message
---@return string? code "PROTOCOL": it makes no sense; "ERROR": the server reports an error
---@return table? err with "ERROR": its error object
function Accumulator:feed(text)
  if text:find("^%s*%[DONE%]") then
    return true
  end
  local event, why = json.decode(text)
  if type(event) ~= "table" then
    return nil, "an event of the reply makes no sense: " .. (why or "not an object"), "PROTOCOL"
  end
  local kind = event.type
  if kind == nil and event.error ~= nil and event.error ~= json.null then
    return nil, as_error(event.error)
  end
  local handler = type(kind) == "string" and on[kind]
  if handler then
    local message, code, err = handler(self, event, text)
    if message then
      return nil, message, code, err
    end
  end
  return true
end

--- Whether this is a reply that did not come as events.
---@param data table
---@return boolean
function Accumulator.is_reply(data)
  return type(data.output) == "table"
end

--- Takes a reply that did not come as events.
---@param text string
---@param data table the same, decoded
---@return true? ok
---@return string? message
---@return string? code
---@return table? err
function Accumulator:feed_whole(text, data)
  local message, code, err = self:finish(data, text)
  if message then
    return nil, message, code, err
  end
  for _, block in ipairs(self:blocks()) do
    self:show("text", block.type == "text" and block.text or nil)
  end
  return true
end

-- ---- the reply ---------------------------------------------------------------------------------

-- Reasoning behind which nothing comes belongs to what was cut off, and the API refuses it.
function Accumulator:blocks()
  local content = {}
  table.sort(self.indexes)
  for i, index in ipairs(self.indexes) do
    content[i] = self.items[index]
  end
  while #content > 0 and openai_blocks.is_reasoning(content[#content]) do
    content[#content] = nil
  end
  return content
end

--- The reply, once `done`.
---@return agenthost.Reply
function Accumulator:reply()
  local content, stop_reason = self:blocks(), "end_turn"
  for _, block in ipairs(content) do
    if block.type == "tool_use" then
      stop_reason = "tool_use" -- nothing else says so
    end
  end
  if self.incomplete == "max_output_tokens" then
    stop_reason = "max_tokens"
  elseif self.incomplete == "content_filter" then
    stop_reason = "refusal"
  elseif self.incomplete and stop_reason == "end_turn" then
    stop_reason = self.incomplete
  elseif self.refused and stop_reason == "end_turn" then
    stop_reason = "refusal"
  end
  return {
    content = content,
    stop_reason = stop_reason,
    usage = self.usage,
    model = self.model,
    id = self.id,
  }
end

return M
