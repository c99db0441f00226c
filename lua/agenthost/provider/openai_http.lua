--- What the two OpenAI providers share: where the server is, who we are to it, and the body of a
--- request.
local access = require("agenthost.provider.access")
local defaults = require("agenthost.defaults")
local failure = require("agenthost.provider.failure")

local M = {}

local DEFAULT_URL <const> = "https://api.openai.com/v1"

--- The host of OpenAI itself: it knows what others do not.
M.OPENAI_HOST = "api.openai.com"

---@type agenthost.ErrorWords
local WORDS <const> = {
  api = "OpenAI's API",
  key = "OPENAI_API_KEY",
  request_id = "x-request-id",
  codes = {
    invalid_request_error = "BAD_REQUEST",
    invalid_prompt = "BAD_REQUEST", -- of the Responses API, in the middle of a stream
    authentication_error = "AUTH",
    invalid_api_key = "AUTH",
    permission_error = "PERMISSION",
    insufficient_quota = "BILLING",
    billing_hard_limit_reached = "BILLING",
    not_found_error = "NOT_FOUND",
    model_not_found = "NOT_FOUND",
    rate_limit_exceeded = "RATE_LIMIT",
    rate_limit_error = "RATE_LIMIT",
    slow_down = "OVERLOADED",
    server_error = "SERVER",
    unavailable_error = "SERVER", -- llama.cpp, while it loads a model
    context_length_exceeded = "TOO_LONG",
    exceed_context_size_error = "TOO_LONG", -- llama.cpp
  },
  final = { insufficient_quota = true, billing_hard_limit_reached = true },
}

--- The base URL as it is used: "/v1" is added when there is no path at all.
---@param url? string
---@return string
function M.base_url(url)
  url = (access.value(url) or DEFAULT_URL):gsub("/+$", "")
  return url:find("^%a+://[^/]+$") and url .. "/v1" or url
end

--- Options that both providers know.
M.OPTIONS = {
  "model", "api_key", "base_url", "headers", "organization", "project", "http", "name", "key_name",
}

---@class agenthost.OpenAIAccess
---@field model string
---@field api_key? string sent as authorization: Bearer
---@field base_url? string default https://api.openai.com/v1; a host alone gets /v1, any other path
---  is taken as it is
---@field headers? table<string, string> sent in addition, or in place of those of the same name
---@field organization? string
---@field project? string
---@field http? table connect_timeout, stall_timeout, timeout; default defaults.http
---@field name? string of the provider, default "openai" or "openai-responses"
---@field key_name? string the variable that the key is from, for messages; default OPENAI_API_KEY

local function headers_of(opts)
  local headers = access.headers({
    accept = "text/event-stream",
    ["content-type"] = "application/json",
    ["openai-organization"] = access.value(opts.organization),
    ["openai-project"] = access.value(opts.project),
  }, opts.headers)
  local key = access.value(opts.api_key)
  if headers.authorization or headers["api-key"] or headers["x-api-key"] then
    return headers, "the key in the extra headers"
  elseif key then
    headers.authorization = "Bearer " .. key
    return headers, opts.key_name or WORDS.key
  end
  return headers, nil
end

--- The fields of a provider; raises when OpenAI itself is to be asked and there is no key.
---@param opts agenthost.OpenAIAccess
---@param name string of the provider, unless the options have one
---@param path string behind the base URL
---@return table
function M.fields(opts, name, path)
  if type(opts.model) ~= "string" or opts.model == "" then
    error("option 'model' is missing", 3)
  end
  local base_url = M.base_url(opts.base_url)
  local host = access.host(base_url)
  local headers, credential = headers_of(opts)
  if not credential and host == M.OPENAI_HOST then
    error("no key: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that needs none", 0)
  end
  return {
    name = opts.name or name,
    model = opts.model,
    base_url = base_url,
    url = base_url .. path,
    host = host,
    headers = headers,
    errors = failure.new(WORDS, host, credential,
      access.secrets(table.pack(opts.api_key), opts.headers)),
    http = opts.http or defaults.http,
    encoded_tools = setmetatable({}, { __mode = "k" }), -- definition -> JSON
  }
end

--- tool_choice, which requests have in Anthropic's words, in OpenAI's.
---@param choice table { type = "auto"|"any"|"none"|"tool", name?, disable_parallel_tool_use? }
---@param named fun(name: string): table how the API names one tool
---@return string|table? tool_choice
---@return boolean? parallel_tool_calls
function M.tool_choice(choice, named)
  local words = { auto = "auto", any = "required", none = "none" }
  local parallel
  if choice.disable_parallel_tool_use then
    parallel = false
  end
  return choice.type == "tool" and named(choice.name) or words[choice.type], parallel
end

return M
