-- Headless agent whose model is this file: it starts a background task, answers, and notes when it
-- is called again. agenthost wire.lua -p go; prints µs from the task's last act to that call.
local agent = require("agenthost.agent")
local sys = require("agenthost.sys")

local turns, rounds = 0, tonumber(os.getenv("BENCH_COUNT")) or 30
local model = { name = "bench", model = "bench/1" }

local function since_last_act(text)
  local file <close> = assert(io.open(text:match("output file: (%S+)")))
  return file:read("n") / 1e9
end

function model:stream(request) -- luacheck: ignore 212
  local now = sys.now()
  turns = turns + 1
  local content, reason = { { type = "text", text = "waiting" } }, "end_turn"
  if turns % 2 == 1 then -- the first call, and each one that a notice has brought about
    if turns > 1 then
      local messages = request.messages()
      local last = messages[#messages].content
      sys.write_fd(2, ("%.1f\n"):format((now - since_last_act(last[#last].text)) * 1e6))
    end
    if turns <= 2 * rounds then
      local at = ("%d"):format((now + 0.05) * 1e9 // 1)
      content[2] = { type = "tool_use", id = "t" .. turns, name = "background_run",
        input = { command = "exec " .. os.getenv("STAMP") .. " " .. at } }
      reason = "tool_use"
    end
  end
  return { content = content, stop_reason = reason, usage = {} }
end

require("agenthost.defaults").wake.max_runs = rounds + 1 -- each one is started by a notice alone
return agent.new({ provider = model, plugins = { "background" }, max_turns = 1000,
  permissions = { mode = "bypassPermissions" } })
