--- OpenAI's Chat Completions, streamed; also for the servers that imitate it: llama.cpp, Ollama,
--- vLLM, OpenRouter and other gateways.
local access = require("agenthost.provider.access")
local body = require("agenthost.provider.body")
local call = require("agenthost.provider.call")
local json = require("agenthost.json")
local openai_http = require("agenthost.provider.openai_http")
local openai_messages = require("agenthost.provider.openai_messages")
local openai_models = require("agenthost.provider.openai_models")
local openai_stream = require("agenthost.provider.openai_stream")
local options = require("agenthost.options")
local sys = require("agenthost.sys")

local M = {}

---@class agenthost.OpenAIProvider: agenthost.OpenAIQuestions
local Provider = setmetatable({}, { __index = openai_models.methods })
Provider.__index = Provider

-- ---- the request -------------------------------------------------------------------------------

local function as_function(tool)
  return { type = "function", ["function"] = {
    name = tool.name,
    description = tool.description,
    parameters = tool.input_schema,
  } }
end

local function named(name)
  return { type = "function", ["function"] = { name = name } }
end

local MEMBERS <const> = {
  "model", "messages", "tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options",
  "max_completion_tokens", "max_tokens",
}

local function body_of(self, request)
  local has_tools = request.tools ~= nil and #request.tools > 0
  local choice, parallel
  if has_tools and request.tool_choice then
    choice, parallel = openai_http.tool_choice(request.tool_choice, named)
  end
  local values = {
    model = json.encode(self.model),
    messages = self.messages:parts(request.system, openai_messages.pieces_of(request)),
    tools = has_tools and body.tools(self.encoded_tools, request.tools, as_function) or nil,
    tool_choice = choice and json.encode(choice) or nil,
    parallel_tool_calls = parallel ~= nil and json.encode(parallel) or nil,
    stream = "true",
    stream_options = self.usage and '{"include_usage":true}' or nil,
  }
  local extra = request.extra or {}
  if extra.max_tokens == nil and extra.max_completion_tokens == nil then
    values[self.max_tokens_field] = json.encode(request.max_tokens)
  end
  return body.join(MEMBERS, values, request.extra, 3)
end

--- Makes one call. See agenthost.Provider.
---@param request agenthost.Request
---@param on_event fun(event: table)
---@return agenthost.Reply? reply
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function Provider:stream(request, on_event)
  return call.stream(self, body_of(self, request), openai_stream.new(on_event))
end

-- ---- making one --------------------------------------------------------------------------------

local OPTIONS <const> = { "max_tokens_field", "reasoning_field", "stream_usage" }
table.move(openai_http.OPTIONS, 1, #openai_http.OPTIONS, #OPTIONS + 1, OPTIONS)

---@class agenthost.OpenAIOptions: agenthost.OpenAIAccess
---@field max_tokens_field? "max_completion_tokens"|"max_tokens" how the limit of a reply is called;
---  default: the first for OpenAI, the second, which is the older one, for every other server
---@field reasoning_field? string a server that wants thinking back gets it under this name, such as
---  "reasoning_content"; default: it is not sent back
---@field stream_usage? boolean ask for the token counts, default true; false for servers that
---  refuse stream_options

--- A provider. Raises when it is for OpenAI and there is no key.
---@param opts agenthost.OpenAIOptions
---@return agenthost.OpenAIProvider
function M.new(opts)
  options.check(opts, OPTIONS, 2)
  local self = openai_http.fields(opts, "openai", "/chat/completions")
  self.max_tokens_field = opts.max_tokens_field
    or (self.host == openai_http.OPENAI_HOST and "max_completion_tokens" or "max_tokens")
  self.usage = opts.stream_usage ~= false
  self.messages = openai_messages.new(opts.reasoning_field)
  return setmetatable(self, Provider)
end

--- The options that OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID and OPENAI_PROJECT_ID stand for;
--- empty ones count as not set.
---@param model string
---@param getenv? fun(name: string): string? default sys.getenv
---@return agenthost.OpenAIAccess
function M.options_from_env(model, getenv)
  getenv = getenv or sys.getenv
  return {
    model = model,
    api_key = access.value(getenv("OPENAI_API_KEY")),
    base_url = access.value(getenv("OPENAI_BASE_URL")),
    organization = access.value(getenv("OPENAI_ORG_ID")),
    project = access.value(getenv("OPENAI_PROJECT_ID")),
  }
end

return M
