-- A first agent. Run it with: agenthost examples/agent.lua
local agent = require("agenthost.agent")

return agent.new({
  -- model = "anthropic/<id>", -- without it: from the environment, else a small script answers
  system = function(env)
    return "You are a coding agent in " .. env.cwd .. ". Slow commands run with background_run; "
      .. "you are told when they end."
  end,
  plugins = {
    "shell", -- bash
    "files", -- read_file, write_file, edit_file
    "background", -- background_run, check_background, background_output, background_kill
    "./word_count.lua", -- a tool of your own: see that file
  },
  -- Edits inside the workspace run without a question; commands ask first, or need a rule here.
  permissions = { mode = "acceptEdits", allow = { "bash(git status:*)", "bash(git diff:*)" } },
})
