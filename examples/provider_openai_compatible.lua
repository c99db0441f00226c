-- Any server that speaks OpenAI's Chat Completions: here the one that OPENAI_BASE_URL names, with
-- what such servers differ in said in so many words. Run it with, for example:
--   OPENAI_BASE_URL=http://127.0.0.1:8000 agenthost examples/provider_openai_compatible.lua -p hi
local agent = require("agenthost.agent")
local openai = require("agenthost.provider.openai")
local sys = require("agenthost.sys")

local provider = openai.new({
  name = "my-server",
  model = sys.getenv("OPENAI_MODEL") or "my-model",
  base_url = sys.getenv("OPENAI_BASE_URL") or "http://127.0.0.1:8000/v1",
  api_key = sys.getenv("OPENAI_API_KEY"), -- nil: no key is sent
  max_tokens_field = "max_tokens", -- only OpenAI itself wants max_completion_tokens
  stream_usage = true, -- false for a server that refuses stream_options
  -- reasoning_field = "reasoning_content", -- for a server that wants its thinking back
  http = { connect_timeout = 5, stall_timeout = 300, timeout = 3600 }, -- a slow machine thinks long
})

return agent.new({
  provider = provider,
  plugins = { "shell", "files" },
  max_tokens = 4000,
  extra = { temperature = 0.2 }, -- never sent unless you say so
})
