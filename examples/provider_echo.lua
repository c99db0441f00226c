-- A provider of your own: a table with `model` and a function `stream`. This one repeats what it
-- was told. Run it with: agenthost examples/provider_echo.lua -p "hello"
local agent = require("agenthost.agent")

local echo = { name = "echo", model = "echo/1" }

-- request: system, tools, max_tokens, messages() (as tables), messages_json() (as text).
-- on_event is told what comes: { type = "text", text = ... } while it streams.
-- Returns the reply, or nil, message, code, { retryable = true|false }.
function echo:stream(request, on_event)
  local messages = request.messages()
  local last = messages[#messages].content
  local text = self.name .. ": " .. last[#last].text
  on_event({ type = "text", text = text })
  return {
    content = { { type = "text", text = text } },
    stop_reason = "end_turn",
    usage = { input_tokens = #messages, output_tokens = 1 },
  }
end

return agent.new({ provider = echo, system = "You repeat." })
