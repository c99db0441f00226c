--- Anthropic's Messages API, streamed; also for the servers that imitate it.
local access = require("agenthost.provider.access")
local anthropic_messages = require("agenthost.provider.anthropic_messages")
local anthropic_stream = require("agenthost.provider.anthropic_stream")
local body = require("agenthost.provider.body")
local call = require("agenthost.provider.call")
local defaults = require("agenthost.defaults")
local failure = require("agenthost.provider.failure")
local json = require("agenthost.json")
local options = require("agenthost.options")
local sys = require("agenthost.sys")

local M = {}

local DEFAULT_URL <const> = "https://api.anthropic.com"
local DEFAULT_HOST <const> = "api.anthropic.com"
local VERSION <const> = "2023-06-01"
local MAX_PAGES <const> = 10 -- of a list of models

---@type agenthost.ErrorWords
local WORDS <const> = {
  api = "the Messages API",
  key = "ANTHROPIC_API_KEY",
  request_id = "request-id",
  codes = {
    invalid_request_error = "BAD_REQUEST",
    authentication_error = "AUTH",
    billing_error = "BILLING",
    permission_error = "PERMISSION",
    not_found_error = "NOT_FOUND",
    request_too_large = "TOO_LARGE",
    rate_limit_error = "RATE_LIMIT",
    overloaded_error = "OVERLOADED",
    api_error = "SERVER",
    timeout_error = "SERVER",
  },
}

---@class agenthost.Request
---@field system? string
---@field tools? table[] { name, description, input_schema } each
---@field messages_json fun(): string the messages as JSON text, ready to be sent
---@field messages? fun(): table[] the same, decoded
---@field pieces? agenthost.Piece[] of the conversation, for providers that convert each one once:
---  a piece never changes. Without it `messages_json` is what counts
---@field max_tokens integer
---@field tool_choice? table
---@field extra? table what the user asked for in so many words ({ temperature = 0.5 }): merged into
---  the body, and stronger than what is there

--- What speaks one model API. `stream` makes one call and tells `on_event` as it comes:
--- { type = "text"|"thinking", text }, { type = "tool_use", name, id } when a call begins,
--- { type = "block", block } when a block is complete, { type = "usage", usage } (counts so far).
--- A failure is nil, message (one line), code and an agenthost.Failure. Codes: AUTH, BILLING,
--- PERMISSION, NOT_FOUND, BAD_REQUEST, TOO_LONG (the prompt), TOO_LARGE (the body), RATE_LIMIT,
--- OVERLOADED, SERVER, CUT (no proper end), NOT_JSON, PROTOCOL, and those of agenthost.http.
---
--- The other methods are optional. `list_models` asks what there is; `model_info` asks once for the
--- limits of `model` and never fails loudly; `count_tokens` counts what a request takes without
--- making it, code UNSUPPORTED where the API cannot.
---@class agenthost.Provider
---@field name string
---@field model string
---@field note? string a line for the user
---@field stream fun(self, request: agenthost.Request, on_event: function): agenthost.Reply?, ...
---@field list_models? fun(self): agenthost.ModelEntry[]?, string?, string?
---@field model_info? fun(self): agenthost.ModelInfo?
---@field count_tokens? fun(self, request: agenthost.Request): integer?, string?, string?

---@class agenthost.ModelInfo
---@field context_window? integer tokens
---@field max_output? integer tokens
---@field cuts? boolean a prompt that is longer than the window is cut without a word

---@class agenthost.ModelEntry: agenthost.ModelInfo
---@field id string
---@field name? string for people

---@class agenthost.AnthropicProvider: agenthost.Provider
local Provider = {}
Provider.__index = Provider

-- ---- the request -------------------------------------------------------------------------------

local MARK <const> = '{"type":"ephemeral"}'

-- In the API's order the tools come before it, so one mark is for both.
local function system_json(self, system)
  local mark = self.cache == "explicit" and json.raw(MARK) or nil
  return json.encode({ { type = "text", text = system, cache_control = mark } })
end

local MEMBERS <const> = {
  "model", "max_tokens", "system", "tools", "tool_choice", "messages", "stream", "cache_control",
}

-- What may be part of a request for a count.
local COUNTED <const> = { thinking = true, output_config = true }

local function counted(extra)
  local kept = {}
  for name, value in pairs(extra or {}) do
    kept[name] = COUNTED[name] and value or nil
  end
  return kept
end

local function body_of(self, request, counting)
  local has_tools = request.tools ~= nil and #request.tools > 0
  local has_system = request.system ~= nil and request.system ~= ""
  return body.join(MEMBERS, {
    model = json.encode(self.model),
    max_tokens = not counting and json.encode(request.max_tokens) or nil,
    system = has_system and system_json(self, request.system) or nil,
    tools = has_tools and body.tools(self.encoded_tools, request.tools) or nil,
    tool_choice = has_tools and request.tool_choice and json.encode(request.tool_choice) or nil,
    messages = self.messages:parts(request, self.cache),
    stream = not counting and "true" or nil,
    cache_control = self.cache == true and MARK or nil,
  }, counting and counted(request.extra) or request.extra, 3)
end

-- ---- the call ----------------------------------------------------------------------------------

--- Makes one call. See agenthost.Provider.
---@param request agenthost.Request
---@param on_event fun(event: table)
---@return agenthost.Reply? reply
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function Provider:stream(request, on_event)
  local reply, message, code, details =
    call.stream(self, body_of(self, request), anthropic_stream.new(on_event))
  if code == "BAD_REQUEST" and message:find("signature", 1, true)
    and request.pieces and self.messages:forget_thinking(request.pieces) then
    return self:stream(request, on_event) -- the conversation was begun elsewhere
  end
  return reply, message, code, details
end

-- ---- questions beside the calls ----------------------------------------------------------------

local function limits(entry)
  local function whole(name)
    return math.type(entry[name]) == "integer" and entry[name] > 0 and entry[name] or nil
  end
  return whole("max_input_tokens"), whole("max_tokens")
end

--- What there is. See agenthost.Provider.
---@return agenthost.ModelEntry[]?
---@return string? message
---@return string? code
function Provider:list_models()
  local found, after = {}, ""
  for _ = 1, MAX_PAGES do
    local data, message, code = call.ask(self, self.base_url .. "/v1/models?limit=1000" .. after)
    if not data then
      return nil, message, code
    end
    for _, entry in ipairs(type(data.data) == "table" and data.data or {}) do
      if type(entry) == "table" and type(entry.id) == "string" then
        local window, output = limits(entry)
        local name = type(entry.display_name) == "string" and entry.display_name or nil
        found[#found + 1] =
          { id = entry.id, name = name, context_window = window, max_output = output }
      end
    end
    if data.has_more ~= true or type(data.last_id) ~= "string" then
      break
    end
    after = "&after_id=" .. access.escape(data.last_id)
  end
  return found
end

--- The limits of the model. See agenthost.Provider.
---@return agenthost.ModelInfo?
function Provider:model_info()
  if self.info == nil then
    local entry = call.ask(self, self.base_url .. "/v1/models/" .. access.escape(self.model))
    local window, output = limits(entry or {})
    self.info = (window or output) and { context_window = window, max_output = output } or false
  end
  return self.info or nil
end

--- The tokens that a request takes. See agenthost.Provider.
---@param request agenthost.Request
---@return integer?
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function Provider:count_tokens(request)
  local data, message, code, details =
    call.ask(self, self.url .. "/count_tokens", body_of(self, request, true))
  if not data then
    return nil, message, code == "NOT_FOUND" and "UNSUPPORTED" or code, details
  end
  return math.tointeger(data.input_tokens)
end

-- ---- making one --------------------------------------------------------------------------------

local OPTIONS <const> = { "model", "api_key", "auth_token", "base_url", "headers", "http", "cache" }

-- The headers of every call, and the name of what stands for the user; never two credentials.
local function headers_of(opts)
  local headers = access.headers({
    accept = "text/event-stream",
    ["content-type"] = "application/json",
    ["anthropic-version"] = VERSION,
  }, opts.headers)
  local key, token = access.value(opts.api_key), access.value(opts.auth_token)
  if headers.authorization or headers["x-api-key"] then
    return headers, "the key in the extra headers (ANTHROPIC_CUSTOM_HEADERS)"
  elseif key then
    headers["x-api-key"] = key
    return headers, "ANTHROPIC_API_KEY"
  elseif token then
    headers.authorization = "Bearer " .. token
    return headers, "ANTHROPIC_AUTH_TOKEN"
  end
  headers["x-api-key"] = "none"
  return headers, nil
end

---@class agenthost.AnthropicOptions
---@field model string
---@field api_key? string sent as x-api-key; stronger than auth_token, for both at once are refused
---@field auth_token? string sent as authorization: Bearer
---@field base_url? string with or without / or /v1 at its end; default https://api.anthropic.com.
---  With a base URL and no key `x-api-key: none` is sent, for local servers that want any
---@field headers? table<string, string> sent in addition, or in place of those of the same name;
---  with authorization or x-api-key among them no other credential is sent
---@field http? table connect_timeout, stall_timeout, timeout; default defaults.http
---@field cache? boolean|"explicit" ask for prompt caching, default true; "explicit": with marks on
---  blocks (three of the four that the API allows), for gateways that do not place them

--- A provider. Raises when no key and no base URL is given.
---@param opts agenthost.AnthropicOptions
---@return agenthost.AnthropicProvider
function M.new(opts)
  options.check(opts, OPTIONS, 2)
  if type(opts.model) ~= "string" or opts.model == "" then
    error("option 'model' is missing", 2)
  end
  local base_url = access.value(opts.base_url)
  local headers, credential = headers_of(opts)
  if not credential and not base_url then
    error("no key: set ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for a server that needs none", 0)
  end
  base_url = (base_url or DEFAULT_URL):gsub("/+$", ""):gsub("/v1$", ""):gsub("/+$", "")
  local secrets = access.secrets(table.pack(opts.api_key, opts.auth_token), opts.headers)
  local cache = opts.cache
  return setmetatable({
    name = "anthropic",
    model = opts.model,
    base_url = base_url,
    url = base_url .. "/v1/messages",
    headers = headers,
    errors = failure.new(WORDS, access.host(base_url), credential, secrets),
    http = opts.http or defaults.http,
    cache = cache == nil or cache,
    messages = anthropic_messages.new(),
    encoded_tools = setmetatable({}, { __mode = "k" }), -- definition -> JSON
  }, Provider)
end

--- A provider as ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_BASE_URL and
--- ANTHROPIC_CUSTOM_HEADERS (lines "Name: value") say; empty ones count as not set. Raises one line
--- when they do not suffice.
---
--- Of a key and a token the key goes to Anthropic. Any other server gets the token: who sets both
--- and a base URL has the token for that gateway, and the key is not its business.
---@param model string
---@param getenv? fun(name: string): string? default sys.getenv
---@return agenthost.AnthropicProvider
function M.from_env(model, getenv)
  getenv = getenv or sys.getenv
  local key, token = access.value(getenv("ANTHROPIC_API_KEY")), getenv("ANTHROPIC_AUTH_TOKEN")
  local base_url = access.value(getenv("ANTHROPIC_BASE_URL"))
  local elsewhere = base_url and access.host(base_url) ~= DEFAULT_HOST
  return M.new({
    model = model,
    api_key = not (elsewhere and access.value(token)) and key or nil,
    auth_token = token,
    base_url = base_url,
    headers = access.parse_headers("ANTHROPIC_CUSTOM_HEADERS",
      getenv("ANTHROPIC_CUSTOM_HEADERS")),
  })
end

return M
