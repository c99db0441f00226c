--- The agent that `agenthost` runs when no script is named. Copy it, edit it, and run the copy.
local agent = require("agenthost.agent")

return agent.new({
  plugins = { "shell", "files", "background", "skills" },
})
