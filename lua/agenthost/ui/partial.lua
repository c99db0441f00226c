--- `--include-partial-messages`: a reply while it comes, as the events of Anthropic's stream.
---
--- They are made from what every provider tells, so that they look the same whoever answers: text
--- and thinking come piece by piece, the input of a tool in one piece when the reply is complete.
local json = require("agenthost.json")

local M = {}

---@class agenthost.Partial
local Partial = {}
Partial.__index = Partial

---@param model string
---@param emit fun(event: table) told each event
---@return agenthost.Partial
function M.new(model, emit)
  return setmetatable({ model = model, emit = emit, index = -1 }, Partial)
end

local DELTAS <const> = {
  text = { block = { type = "text", text = "" }, delta = "text_delta", field = "text" },
  thinking = { block = { type = "thinking", thinking = "", signature = "" },
    delta = "thinking_delta", field = "thinking" },
}

function Partial:stop_block()
  if self.open then
    self.emit({ type = "content_block_stop", index = self.index })
    self.open = nil
  end
end

function Partial:start_block(kind, block)
  self:stop_block()
  self.open, self.index = kind, self.index + 1
  self.emit({ type = "content_block_start", index = self.index, content_block = block })
end

function Partial:delta(delta)
  self.emit({ type = "content_block_delta", index = self.index, delta = delta })
end

local on = {}

-- Also where a failed call is tried again: what came of it does not count.
function on.model_start(self)
  self.index, self.open = -1, nil
  self.emit({ type = "message_start", message = {
    type = "message", role = "assistant", model = self.model, content = json.array({}),
    stop_reason = json.null, stop_sequence = json.null,
    usage = { input_tokens = 0, output_tokens = 0 },
  } })
end
on.retry = on.model_start

local function on_piece(self, event)
  local kind = DELTAS[event.type]
  if self.open ~= event.type then
    self:start_block(event.type, kind.block)
  end
  self:delta({ type = kind.delta, [kind.field] = event.text })
end
on.text, on.thinking = on_piece, on_piece

function on.reply(self, event)
  local reply = event.reply
  for _, block in ipairs(reply.content) do
    if block.type == "tool_use" then
      self:start_block("tool_use",
        { type = "tool_use", id = block.id, name = block.name, input = json.object({}) })
      self:delta({ type = "input_json_delta", partial_json = json.encode(block.input) })
    end
  end
  self:stop_block()
  self.emit({ type = "message_delta", delta = { stop_reason = reply.stop_reason,
    stop_sequence = json.null }, usage = json.object(reply.usage or {}) })
  self.emit({ type = "message_stop" })
end

--- To be told every event of the agent.
---@param event table
function Partial:on_event(event)
  if on[event.type] then
    on[event.type](self, event)
  end
end

return M
