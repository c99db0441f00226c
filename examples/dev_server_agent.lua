-- The plugin dev_server.lua at work, without a model of flesh and blood: the server crashes three
-- times, and of this the model hears once. Run it with:
--
--     agenthost examples/dev_server_agent.lua -p "Is the server up?"
local agent = require("agenthost.agent")

return agent.new({
  model = "scripted/dev_server_model.lua",
  plugins = {
    { "./dev_server.lua", command = "echo started >> starts.txt; sleep 0.2; exit 1", restarts = 2 },
  },
})
