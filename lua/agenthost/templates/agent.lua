-- An agent: a model, a prompt, tools, and what they may do without a question.
--   agenthost my_agent.lua: talk to it
--   agenthost my_agent.lua -p "...": one answer
--   agenthost check my_agent.lua: what is wrong with it, and how long its prompt is
--   agenthost test: runs my_agent_test.lua, on a scripted model: no key needed
-- See `agenthost help agents`.
local agent = require("agenthost.agent")

-- Where a tool is only this agent's it may stand here; others are plugins, files of their own.
local today = {
  name = "today",
  description = "Tell the date of today, as year-month-day.",
  permission = "none",
  run = function()
    return os.date("%Y-%m-%d")
  end,
}

return agent.new({
  -- model = "anthropic/<id>", -- without it: --model, AGENTHOST_MODEL, or what there is a key for
  system = function(env)
    return ("You are a careful assistant in %s. Say in one sentence what you did."):format(env.cwd)
  end,
  plugins = {
    "shell", -- bash
    "files", -- read_file, write_file, edit_file
    "background", -- background_run and its kin: slow commands that report when they end
  },
  tools = { today },
  -- Reading needs no word. Everything else is asked for, unless a rule allows it here.
  permissions = { allow = { "bash(git status:*)", "bash(git diff:*)" }, deny = { "bash(sudo:*)" } },
})
