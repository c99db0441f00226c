-- An agent that can write itself tools. Try it without a key:
--   agenthost examples/self_extending.lua --model scripted/self_extending_model.lua \
--     -p "What is 2026 in Roman numerals?" --allowed-tools create_tool
-- The tool is .agenthost/plugins/roman.lua of the folder you are in. Without --allowed-tools, and
-- without -p, you are shown the code and asked.
local agent = require("agenthost.agent")

return agent.new({
  plugins = { "files", "selfext" },
})
