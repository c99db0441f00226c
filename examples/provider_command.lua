-- A provider that runs a program as its model: it gets the conversation as JSON on standard input
-- and says its answer on standard output. Run it with:
--   agenthost examples/provider_command.lua -p hi --allowed-tools 'bash(ls)'
--
-- This is the whole interface; `list_models`, `model_info` and `count_tokens` are optional. Blocks
-- have the shape of Anthropic's, whatever the model speaks: text, thinking, tool_use (id, name,
-- input), tool_result, image.
local agent = require("agenthost.agent")
local json = require("agenthost.json")
local task = require("agenthost.task")

-- A line "CALL name {json}" asks for a tool; everything else is text.
local PROGRAM = os.getenv("MODEL_COMMAND") or [[
  if grep -q tool_result; then
    echo "The file says so."
  else
    echo 'CALL bash {"command":"ls"}'
  fi]]

local provider = { name = "command", model = "command/1", calls = 0 }

-- request: pieces (the conversation's, for a provider that converts each once), messages() (as
-- tables), messages_json() (as text), system, tools, max_tokens, tool_choice, extra.
function provider:stream(request, on_event)
  local model, message = task.run(PROGRAM, { stdin = true, timeout = 60 })
  if not model then
    return nil, message, "CONNECT", { retryable = false }
  end
  local asked = json.encode({ system = request.system, messages = request.messages() })
  model:write(asked, { close = true })
  local status = model:wait() -- everything else goes on meanwhile
  if status ~= "completed" then -- tried again as retry.lua decides, when it may be
    return nil, "the model's program: " .. status, "SERVER", { retryable = status == "failed" }
  end
  local reply = { content = {}, stop_reason = "end_turn", usage = { output_tokens = 1 } }
  for line in model:output():gmatch("[^\n]+") do
    local name, input = line:match("^CALL (%S+) (.*)$")
    if name then
      self.calls = self.calls + 1
      local call = { type = "tool_use", id = "call_" .. self.calls, name = name,
        input = json.decode(input) }
      on_event({ type = "tool_use", name = name, id = call.id })
      reply.content[#reply.content + 1] = call
      reply.stop_reason = "tool_use"
    else
      on_event({ type = "text", text = line }) -- as it comes, if it comes in parts
      reply.content[#reply.content + 1] = { type = "text", text = line }
    end
  end
  return reply
end

local made = agent.new({ provider = provider, plugins = { "shell" } })
task.set_dir(made.session.dir) -- where the program's output goes
return made
