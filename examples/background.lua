-- An agent that starts slow commands, goes on working, and is told when they end. It tells on the
-- terminal what happens and when. Run it with: agenthost examples/background.lua
--
-- A script that returns nothing is simply run; this one drives the agent itself, in place of the
-- prompt that `agenthost` would show.
local agent = require("agenthost.agent")
local async = require("agenthost.async")
local sys = require("agenthost.sys")

local helper = agent.new({
  model = "scripted/background_model.lua",
  plugins = { "shell", "files", "background" },
  permissions = { -- nobody is asked here: what no rule allows is refused
    allow = { "bash(sleep:*)", "bash(echo:*)", "bash(exit:*)", "write_file(notes.txt)" },
  },
})

local started = sys.now()
local function tell(who, what)
  print(("%5.1f s  %-6s %s"):format(sys.now() - started, who, what))
end

helper.on_event = function(event)
  if event.type == "reply" and event.reply.text ~= "" then
    tell("model", event.reply.text)
  elseif event.type == "tool_end" then
    tell("tool", event.call.name .. ": " .. event.call.content)
  elseif event.type == "notice" then
    local notice = event.notice
    tell("notice", ("task %s %s: %s"):format(notice.task, notice.status, notice.command))
  end
end

async.run(function()
  tell("user", "Build it, run the tests, and tell me how it went.")
  assert(helper:run("Build it, run the tests, and tell me how it went."))
  while #helper:pending_tasks() > 0 or #helper.queue > 0 do
    tell("host", ("%d commands still run; the agent sleeps"):format(#helper:pending_tasks()))
    helper.queue:wait(60) -- nothing is polled: the end of a task wakes this
    assert(helper:run())
  end
end)
helper:close()
