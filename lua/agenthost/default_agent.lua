--- The agent that `agenthost` runs when no script is named. Copy it, edit it, and run the copy.
--- Commands and edits ask before they run: see permission.lua. With -p nobody can be asked; say
--- --allowed-tools, or --permission-mode.
local agent = require("agenthost.agent")

return agent.new({
  plugins = { "shell", "files", "background", "skills" },
})
