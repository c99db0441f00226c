--- The agent loop. `Agent:run` is all of it; what it stands on (what is said, events, interrupting)
--- is agent_run.lua, its tasks agent_tasks.lua, making an agent agent_base.lua. To change how the
--- agent works, copy this file to ~/.config/agenthost/lua/agenthost/ and edit the copy.
local agent_base = require("agenthost.agent_base")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local retry = require("agenthost.retry")

---@class agenthost.Agent: agenthost.AgentBase
local Agent = setmetatable({}, { __index = agent_base.methods })
Agent.__index = Agent

--- Runs turns until the model asks for no more tools, and tells the plugins how it ended.
---@param input? string|table[] what the user says, as text or content blocks; nil: what waits in
---  the inbox is delivered
---@return table? result { text, stop_reason, turns }; or nil, message, code: then the conversation
---  is as far as it got, and the next run goes on from there
function Agent:run(input)
  if not async.inside() then
    return async.run(self.run, self, input)
  end
  self.interrupted = false
  self:start()
  self.usage:begin_run()
  self:answer_open_calls()
  if input then
    self:say(input)
  end
  self.inbox:begin_run()
  local result, message, code = self:turns()
  self:fire("idle", { result = result, message = message, code = code })
  return result, message, code
end

--- One model call after the other. Returns as `run` does.
function Agent:turns()
  local pauses = 0
  for turn = 1, self.max_turns do
    if pauses == 0 then -- a paused reply goes back as it is, with nothing behind it
      local go_on = self:refresh()
      self:take_in()
      if not go_on then
        return nil, "interrupted by the user", "INTERRUPTED"
      end
    end
    local reply, message, code = self:next_reply(turn)
    if not reply then
      return nil, message, code
    end
    if #reply.content > 0 then
      self:append("assistant", reply.content)
    end
    local calls = reply.calls
    pauses = reply.stop_reason == "pause_turn" and pauses + 1 or 0
    if #calls > 0 then
      self.open_calls = calls
      self:append_and_ack(self:run_tools(calls)) -- they may have told the end of a task
      self.open_calls = nil
    end
    local goes_on = #calls > 0 or pauses > 0 and pauses <= defaults.run.max_pauses
    if not goes_on or reply.stop_reason == "refusal" then
      return { text = reply.text, stop_reason = reply.stop_reason, turns = turn, reply = reply }
    end
    if self.interrupted then
      return nil, "interrupted by the user", "INTERRUPTED"
    end
  end
  return nil, ("the limit of %d turns is reached (--max-turns)"):format(self.max_turns), "MAX_TURNS"
end

--- Puts the notices that wait, and what the user has said meanwhile, into the last user message.
--- The notices are acknowledged when it is on disk, and go back otherwise.
function Agent:take_in()
  local blocks, notices = self.inbox:take()
  if #blocks == 0 then
    return
  end
  self:append_and_ack(blocks)
  for _, one in ipairs(notices) do
    self:emit({ type = "notice", notice = one })
  end
end

--- The next reply, to a prompt that fits: see compaction.lua.
function Agent:next_reply(turn)
  local fits, message, code = self.compaction:prepare()
  local reply, details
  while fits do
    reply, message, code, details = self:call_model(turn)
    if code ~= "TOO_LONG" and not (details and details.status == 413) then
      return reply, message, code
    end
    fits, message, code = self.compaction:make_room(message, details)
  end
  return nil, message, code
end

--- What is sent. Plugins may change it.
function Agent:request(turn)
  local system = self:fire("prompt", { system = self.system }).system
  return self:fire("request", { turn = turn, request = {
    system = system,
    tools = self.tools:definitions(),
    messages_json = function() return self.conversation:messages_json() end,
    messages = function() return self.conversation:messages() end,
    pieces = self.conversation.pieces,
    max_tokens = self.compaction:max_tokens(),
    tool_choice = self.tool_choice,
    extra = self.extra,
  } }).request
end

--- One model call, tried again as retry.lua decides. Returns the reply with `calls` (its tool_use
--- blocks) and `text`, or nil, message, code, details.
function Agent:call_model(turn)
  if self.conversation:last_role() ~= "user" and turn == 1 then
    return nil, "there is nothing to say to the model", "NOTHING"
  end
  local shown = {}
  local function on_event(event)
    if event.type == "text" then
      shown[#shown + 1] = event.text
    end
    self:emit(event)
  end
  self:emit({ type = "model_start", turn = turn })
  local ok, reply, message, code, details = self:interruptible(function()
    local request = self:request(turn)
    return retry.call(function()
      shown = {}
      return self:ask_model(request, on_event)
    end, defaults.retry, function(wait)
      shown = self:discard(shown, wait)
      self:emit({ type = "retry", wait = wait })
    end, function(wait, left)
      self:emit({ type = "retry_tick", wait = wait, left = left })
    end)
  end)
  if not ok then
    self:keep_partial(table.concat(shown))
    return nil, "interrupted by the user", "INTERRUPTED"
  elseif not reply then
    self:discard(shown, { message = message, code = code })
    return nil, message, code, details
  end
  self.compaction:took(reply.usage or {})
  return self:take_reply(reply)
end

--- Runs the tool calls of a reply and returns one result for each.
function Agent:run_tools(calls)
  local ok, results = self:interruptible(function()
    return self.tools:run(calls, function(call) return self:tool_context(call) end, self.emitter)
  end)
  return ok and results or error("a cancelled tool run has results all the same")
end

local M = {}

--- Makes an agent.
---@param opts agenthost.AgentOptions
---@return agenthost.Agent raises when something in it is wrong
function M.new(opts)
  return setmetatable(agent_base.new(opts), Agent)
end

return M
