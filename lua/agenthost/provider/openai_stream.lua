--- Puts one reply of Chat Completions together from its chunks, and says it in Anthropic's words,
--- for these are what a conversation is kept in. Knows no HTTP: see openai.lua.
---
--- Servers that imitate OpenAI's differ in many small things; what is let pass here is what they
--- were seen to do. As in anthropic_stream.lua the insides of JSON strings are joined as they came
--- and decoded once.
local json = require("agenthost.json")
local openai_blocks = require("agenthost.provider.openai_blocks")
local openai_usage = require("agenthost.provider.openai_usage")

local count <const>, filled <const> = openai_usage.count, openai_blocks.filled

local M = {}

local STOP_REASONS <const> = {
  stop = "end_turn", length = "max_tokens", tool_calls = "tool_use", function_call = "tool_use",
  content_filter = "refusal",
}

-- Chunks that lie unread one behind the other come as one, where a server gives them nothing else
-- that differs. Arguments only where they go on: beside a name they are a call of their own.
local JOIN <const> = { join = {
  '"content":"', '"reasoning_content":"', '"reasoning":"', '"function":{"arguments":"',
} }

---@class agenthost.openai.Accumulator: agenthost.Accumulator
local Accumulator = { ending = "finish_reason", join = JOIN }
Accumulator.__index = Accumulator

--- An empty reply.
---@param on_event fun(event: table) see agenthost.Provider
---@return agenthost.openai.Accumulator
function M.new(on_event)
  return setmetatable({
    on_event = on_event,
    done = false,
    partial = false,
    blocks = {}, -- in the order in which they began
    calls = {}, -- index, as the server counts -> the newest block of that index
  }, Accumulator)
end

-- ---- text and thinking -------------------------------------------------------------------------
-- A block is { kind, pieces = insides of JSON strings, ... }; its end adds `result`.

function Accumulator:tell(block, result)
  block.result = result
  self.on_event({ type = "block", block = result })
end

local function joined(block)
  return '"' .. table.concat(block.pieces) .. '"'
end

-- The text or thinking that comes now is over when something else begins.
function Accumulator:end_text()
  local block = self.text
  self.text = nil
  if not block then
    return
  end
  local text = json.decode(joined(block))
  if not text:find("%S") then
    return -- no API takes it back
  elseif block.kind == "text" then
    self:tell(block, openai_blocks.text(text))
  else
    self:tell(block, openai_blocks.thinking(text, block.field))
  end
end

-- Adds the string `field` of the object whose JSON text is `raw`.
function Accumulator:add_text(kind, field, value, raw)
  if not self.text or self.text.kind ~= kind then
    self:end_text()
    self.text = { kind = kind, field = field, pieces = {} }
    self.blocks[#self.blocks + 1] = self.text
  end
  local pieces = self.text.pieces
  pieces[#pieces + 1] = json.slice(raw, field):sub(2, -2)
  self.partial = true
  self.on_event({ type = kind, text = value })
end

-- Some gateways give the content as a list of parts.
function Accumulator:add_parts(parts, raw)
  local texts = json.elements(raw, "content")
  for i, part in ipairs(parts) do
    if type(part) == "table" and filled(part.text) then
      self:add_text("text", "text", part.text, texts[i])
    end
  end
end

-- ---- tool calls --------------------------------------------------------------------------------

local function is_complete(block)
  local last = block.arguments or block.pieces[#block.pieces] or ""
  return last:sub(-1) == "}" -- not all of it is looked at for each piece that comes
    and type(json.decode(block.arguments or json.decode(joined(block)))) == "table"
end

-- Whether a delta without an id begins a call of its own behind `block`, which is complete: it has
-- a name, and where it has the index of `block`, too, arguments that would spoil those of `block`.
local function is_next(delta, block)
  local called = type(delta["function"]) == "table" and delta["function"] or {}
  return filled(called.name) and not filled(delta.id)
    and (math.type(delta.index) ~= "integer" or filled(called.arguments)
      or type(called.arguments) == "table")
    and is_complete(block)
end

-- The call that a delta belongs to, or nil when a new one begins. Servers leave out the index, or
-- give all calls the same.
function Accumulator:call_of(delta)
  local counted = math.type(delta.index) == "integer"
  local block = counted and self.calls[delta.index] or not counted and self.last_call or nil
  local other_id = block and filled(delta.id) and block.id and block.id ~= delta.id
  return block and not other_id and not is_next(delta, block) and block or nil
end

function Accumulator:begin_call(delta)
  self:end_text()
  local block = { kind = "tool_use", pieces = {} }
  self.blocks[#self.blocks + 1] = block
  self.last_call = block
  if math.type(delta.index) == "integer" then
    self.calls[delta.index] = block
  end
  return block
end

function Accumulator:add_call(delta, raw)
  if type(delta) ~= "table" then
    return
  end
  local block = self:call_of(delta) or self:begin_call(delta)
  block.id = block.id or filled(delta.id) and delta.id or nil
  local called = type(delta["function"]) == "table" and delta["function"] or {}
  if not block.name and filled(called.name) then
    block.name = called.name
    block.id = block.id or openai_blocks.new_id()
    self.on_event({ type = "tool_use", name = block.name, id = block.id })
  end
  if filled(called.arguments) then
    block.pieces[#block.pieces + 1] = json.slice(raw, "function", "arguments"):sub(2, -2)
  elseif type(called.arguments) == "table" then
    block.arguments = json.slice(raw, "function", "arguments")
  end
end

-- ---- chunks ------------------------------------------------------------------------------------

-- The delta of a choice, or its message when the reply came whole; `raw` is its JSON text.
function Accumulator:add_delta(delta, raw)
  for _, field in ipairs({ "reasoning_content", "reasoning" }) do
    if filled(delta[field]) then
      self:add_text("thinking", field, delta[field], raw)
      break -- some servers send both, and they are the same
    end
  end
  if filled(delta.content) then
    self:add_text("text", "content", delta.content, raw)
  elseif type(delta.content) == "table" then
    self:add_parts(delta.content, raw)
  end
  if filled(delta.refusal) then
    self.refused = true
    self:add_text("text", "refusal", delta.refusal, raw)
  end
  if type(delta.tool_calls) == "table" then
    local texts = json.elements(raw, "tool_calls")
    for i, call in ipairs(delta.tool_calls) do
      self:add_call(call, texts[i])
    end
  end
end

function Accumulator:add_choices(data, raw, member)
  for i, choice in ipairs(type(data.choices) == "table" and data.choices or {}) do
    if type(choice) == "table" and (math.type(choice.index) ~= "integer" or choice.index == 0) then
      if type(choice[member]) == "table" then
        self:add_delta(choice[member], json.slice(raw, "choices", i, member))
      end
      if filled(choice.finish_reason) then
        self.finish_reason = choice.finish_reason
      end
      self:add_usage(choice.usage)
    end
  end
end

function Accumulator:add_usage(usage)
  local prompt = count(usage, "prompt_tokens")
  if not prompt then
    return
  end
  local details = usage.prompt_tokens_details
  self.usage = openai_usage.canonical({
    input = prompt,
    cached = count(details, "cached_tokens") or count(usage, "prompt_cache_hit_tokens")
      or count(usage, "cached_tokens") or 0,
    written = count(details, "cache_write_tokens"),
    output = count(usage, "completion_tokens"),
    thinking = count(usage.completion_tokens_details, "reasoning_tokens"),
  })
  self.on_event({ type = "usage", usage = self.usage })
end

-- llama.cpp's own counts, where it gives no others.
function Accumulator:add_timings(timings)
  local evaluated = count(timings, "prompt_n")
  if evaluated and not self.usage then
    local cached = count(timings, "cache_n") or 0
    self:add_usage({
      prompt_tokens = evaluated + cached,
      cached_tokens = cached,
      completion_tokens = count(timings, "predicted_n"),
    })
  end
end

local function problem_of(data)
  local err = data.error
  if err == nil or err == json.null then
    err = data.object == "error" and data or nil -- vLLM
  end
  if type(err) == "table" then
    return tostring(err.message), err
  end
  return err and tostring(err), {}
end

function Accumulator:add(data, raw, member)
  local problem, err = problem_of(data)
  if problem then
    return nil, problem, "ERROR", err
  end
  if filled(data.id) then
    self.id = data.id
  end
  if filled(data.model) then
    self.model = data.model
  end
  self:add_choices(data, raw, member)
  self:add_usage(data.usage)
  if self.finish_reason == "error" then
    return nil, "the server says no more than finish_reason: error", "ERROR", {}
  end
  if self.finish_reason then
    self:add_timings(data.timings)
    self.done = self.usage ~= nil and self:close()
  end
  return true
end

--- Takes the data of one event. What is not known in it is skipped.
---@param text string
---@return true? ok
---@return string? message
---@return string? code "PROTOCOL": it makes no sense; "ERROR": the server reports an error
---@return table? err with "ERROR": its error object
function Accumulator:feed(text)
  if text:find("^%s*%[DONE%]") then
    self.done = self:close() -- a [DONE] without finish_reason ends nothing
    return true
  end
  local data, why = json.decode(text)
  if type(data) ~= "table" then
    return nil, "a chunk of the reply makes no sense: " .. (why or "not an object"), "PROTOCOL"
  end
  return self:add(data, text, "delta")
end

--- The stream is over: whether the reply is complete. It need not say so with [DONE].
---@return boolean
function Accumulator:close()
  if not self.finish_reason then
    return false
  end
  self:end_text()
  for _, block in ipairs(self.blocks) do
    if block.kind == "tool_use" and not block.ended then
      block.ended = true
      self:tell(block, openai_blocks.tool_use(block.id or openai_blocks.new_id(),
        block.name or "unnamed", block.arguments or json.decode(joined(block)),
        block.arguments ~= nil))
    end
  end
  return true
end

--- Whether this is a reply that did not come as events.
---@param data table
---@return boolean
function Accumulator.is_reply(data)
  return type(data.choices) == "table" and type(data.choices[1]) == "table"
end

--- Takes a reply that did not come as events.
---@param text string
---@param data table the same, decoded
---@return true? ok
---@return string? message
---@return string? code
---@return table? err
function Accumulator:feed_whole(text, data)
  local ok, message, code, err = self:add(data, text, "message")
  if ok then
    self.finish_reason = self.finish_reason or "stop"
    self:close()
  end
  return ok, message, code, err
end

--- The reply, once it is complete.
---@return agenthost.Reply
function Accumulator:reply()
  local content, has_calls = {}, false
  for _, block in ipairs(self.blocks) do
    content[#content + 1] = block.result
    has_calls = has_calls or block.kind == "tool_use"
  end
  local stop_reason = STOP_REASONS[self.finish_reason] or self.finish_reason
  if has_calls and stop_reason ~= "max_tokens" and stop_reason ~= "refusal" then
    stop_reason = "tool_use" -- whatever was said
  elseif self.refused and stop_reason == "end_turn" then
    stop_reason = "refusal"
  end
  return {
    content = content,
    stop_reason = stop_reason,
    usage = self.usage or {},
    model = self.model,
    id = self.id,
  }
end

return M
