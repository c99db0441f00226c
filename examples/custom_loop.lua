-- Another loop for one agent: before a run ends the model has to look at its work once more. What
-- it stands on is in lua/agenthost/agent_base.lua; the usual loop is `Agent:run` in agent.lua.
-- Run it with: agenthost examples/custom_loop.lua -p "..."
local agent = require("agenthost.agent")
local async = require("agenthost.async")

local careful = agent.new({ plugins = { "shell", "files" } })

function careful:run(input)
  if not async.inside() then
    return async.run(self.run, self, input)
  end
  self.interrupted = false
  self.usage:begin_run()
  self:answer_open_calls() -- of a run that broke off
  if input then
    self:say(input)
  end
  self.inbox:begin_run()
  local checked = false
  for turn = 1, self.max_turns do
    self:take_in() -- what the user and background tasks have said meanwhile
    local reply, message, code = self:next_reply(turn)
    if not reply then
      return nil, message, code
    elseif #reply.content > 0 then
      self:append("assistant", reply.content)
    end
    if #reply.calls > 0 then
      self.open_calls = reply.calls
      self:append_and_ack(self:run_tools(reply.calls))
      self.open_calls = nil
    elseif checked then
      return { text = reply.text, stop_reason = reply.stop_reason, turns = turn, reply = reply }
    else
      checked = true
      self:say("Look at your work once more: is anything wrong or missing? Then answer finally.")
    end
    if self.interrupted then
      return nil, "interrupted by the user", "INTERRUPTED"
    end
  end
  return nil, ("the limit of %d turns is reached"):format(self.max_turns), "MAX_TURNS"
end

return careful
