--- Anthropic's Messages API, streamed; also for the servers that imitate it.
local anthropic_error = require("agenthost.provider.anthropic_error")
local anthropic_stream = require("agenthost.provider.anthropic_stream")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local http = require("agenthost.http")
local joined = require("agenthost.joined")
local json = require("agenthost.json")
local options = require("agenthost.options")
local sys = require("agenthost.sys")

local M = {}

local DEFAULT_URL <const> = "https://api.anthropic.com"
local VERSION <const> = "2023-06-01"
local MAX_STREAM <const> = 256 * 1024 * 1024 -- bytes of one reply's events
local MAX_WHOLE <const> = 32 * 1024 * 1024 -- of a reply that is not streamed
local MAX_ERROR_BODY <const> = 64 * 1024
local DRAIN <const> = 0.5 -- seconds to wait for the end of a stream after its last event
-- Deltas that lie unread one behind the other come as one.
local JOIN <const> = { join = {
  '"text_delta","text":"', '"thinking_delta","thinking":"', '"input_json_delta","partial_json":"',
} }

---@class agenthost.Request
---@field system? string
---@field tools? table[] { name, description, input_schema } each
---@field messages_json fun(): string the messages as JSON text, ready to be sent
---@field messages? fun(): table[] the same, decoded
---@field pieces? agenthost.Piece[] the same, as the conversation holds them: they never change
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
---@class agenthost.Provider
---@field name string
---@field model string
---@field stream fun(self, request: agenthost.Request, on_event: function): agenthost.Reply?, ...

---@class agenthost.AnthropicProvider: agenthost.Provider
local Provider = {}
Provider.__index = Provider

-- ---- the request -------------------------------------------------------------------------------

-- The tools as JSON. A definition is encoded once in its life; the list may change between calls.
local function tools_json(self, tools)
  local parts = {}
  for i, tool in ipairs(tools) do
    local encoded = self.encoded_tools[tool] or json.encode(tool)
    self.encoded_tools[tool] = encoded
    parts[i] = encoded
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

local MEMBERS <const> = {
  "model", "max_tokens", "system", "tools", "tool_choice", "messages", "stream", "cache_control",
}

-- The parts of the body: the same bytes for the same request, so that a prompt cache finds them.
local function body_of(self, request)
  local has_tools = request.tools ~= nil and #request.tools > 0
  local has_system = request.system ~= nil and request.system ~= ""
  local values = {
    model = json.encode(self.model),
    max_tokens = json.encode(request.max_tokens),
    system = has_system and json.encode({ { type = "text", text = request.system } }) or nil,
    tools = has_tools and tools_json(self, request.tools) or nil,
    tool_choice = has_tools and request.tool_choice and json.encode(request.tool_choice) or nil,
    messages = request.pieces and self.joined:parts(request.pieces) or request.messages_json(),
    stream = "true",
    cache_control = self.cache and '{"type":"ephemeral"}' or nil,
  }
  local names, others = table.move(MEMBERS, 1, #MEMBERS, 1, {}), {}
  for name, value in pairs(request.extra or {}) do
    if name == "messages" or name == "stream" then
      error(("request.extra cannot set '%s'"):format(name), 3)
    elseif not values[name] then
      others[#others + 1] = name
    end
    values[name] = json.encode(value)
  end
  table.sort(others)
  table.move(others, 1, #others, #names + 1, names)
  local parts, seen = {}, {}
  for _, name in ipairs(names) do
    if values[name] and not seen[name] then
      seen[name] = true
      parts[#parts + 1] = (#parts == 0 and "{" or ",") .. json.encode(name) .. ":"
      local value = values[name]
      value = type(value) == "table" and value or { value }
      table.move(value, 1, #value, #parts + 1, parts)
    end
  end
  parts[#parts + 1] = "}"
  return parts
end

-- ---- the call ----------------------------------------------------------------------------------

-- Takes what may follow the last event, so that the connection can be used again; not for long.
local function drain(stream)
  if async.inside() then
    local job = async.spawn(function()
      while stream:event() do end
    end)
    async.wait_any({ job }, DRAIN)
  end
end

local function read_events(self, stream, reply)
  for event in stream:events(JOIN) do
    local ok, message, code, error_type = reply:feed(event.data)
    if not ok then
      return self.errors:event(stream, reply.partial, message, code, error_type)
    end
    if reply.done then
      drain(stream)
      return reply:reply()
    end
  end
  local message, code = stream:error()
  return self.errors:broken(stream, reply.partial,
    message or self.errors.host .. " ended its reply without message_stop", code or "CUT")
end

-- A gateway that cannot stream sends the message whole; others send a web page with status 200.
local function read_whole(self, stream, reply)
  local body, message, code = stream:rest(MAX_WHOLE)
  if not body then
    return self.errors:broken(stream, false, message, code)
  end
  local data = json.decode(body)
  if type(data) == "table" and data.type == "message" then
    local ok, why, problem = reply:feed_message(body)
    if not ok then
      return self.errors:event(stream, reply.partial, why, problem)
    end
    return reply:reply()
  elseif type(data) == "table" and data.error ~= nil then
    return self.errors:response(stream.status, stream.headers, body)
  end
  return self.errors:not_json(stream, body)
end

--- Makes one call. See agenthost.Provider.
---@param request agenthost.Request
---@param on_event fun(event: table)
---@return agenthost.Reply? reply
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function Provider:stream(request, on_event)
  local stream <close>, message, code = http.stream({
    url = self.url,
    method = "POST",
    headers = self.headers,
    body = body_of(self, request),
    max_body = MAX_STREAM,
    connect_timeout = self.http.connect_timeout,
    stall_timeout = self.http.stall_timeout,
    timeout = self.http.timeout,
  })
  if not stream then
    return self.errors:connection(message, code)
  end
  if stream.status ~= 200 then
    local body = stream:rest(MAX_ERROR_BODY) or ""
    return self.errors:response(stream.status, stream.headers, body)
  end
  local reply = anthropic_stream.new(on_event)
  local content_type = stream.headers["content-type"] or "text/event-stream"
  local is_stream = content_type:lower():find("^%s*text/event%-stream") ~= nil
  local read = is_stream and read_events or read_whole
  local result, why, problem, details = read(self, stream, reply)
  if result then
    result.request_id = stream.headers["request-id"]
  end
  return result, why, problem, details
end

-- ---- making one --------------------------------------------------------------------------------

local OPTIONS <const> = { "model", "api_key", "auth_token", "base_url", "headers", "http", "cache" }

local function trimmed(s)
  return s and s:match("^%s*(.-)%s*$")
end

-- nil for what is not set or empty; keys often come with the newline of the file they were in.
local function value_of(s)
  s = trimmed(s)
  return s ~= "" and s or nil
end

-- Header names and values, and the name of what stands for the user; never two credentials.
local function headers_of(opts)
  local headers = {
    accept = "text/event-stream",
    ["content-type"] = "application/json",
    ["anthropic-version"] = VERSION,
  }
  for name, value in pairs(opts.headers or {}) do
    headers[name:lower()] = value
  end
  local key, token = value_of(opts.api_key), value_of(opts.auth_token)
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

local SECRET_HEADERS <const> = { "auth", "key", "token", "secret", "cookie", "password" }

-- What must never show up in a message, as a set.
local function secrets_of(opts)
  local secrets = {}
  local function add(value)
    value = value_of(value)
    if value and #value >= 6 then
      secrets[value] = true
    end
  end
  add(opts.api_key)
  add(opts.auth_token)
  for name, value in pairs(opts.headers or {}) do
    for _, word in ipairs(SECRET_HEADERS) do
      if name:lower():find(word, 1, true) then
        add(value:match("^%a+ +(%S+)$")) -- without "Bearer"
        add(value)
      end
    end
  end
  return secrets
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
---@field cache? boolean ask for prompt caching, default true

--- A provider. Raises when no key and no base URL is given.
---@param opts agenthost.AnthropicOptions
---@return agenthost.AnthropicProvider
function M.new(opts)
  options.check(opts, OPTIONS, 2)
  if type(opts.model) ~= "string" or opts.model == "" then
    error("option 'model' is missing", 2)
  end
  local base_url = value_of(opts.base_url)
  local headers, credential = headers_of(opts)
  if not credential and not base_url then
    error("no key: set ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for a server that needs none", 0)
  end
  base_url = (base_url or DEFAULT_URL):gsub("/+$", ""):gsub("/v1$", ""):gsub("/+$", "")
  local host = base_url:gsub("^%a+://", ""):gsub("/.*$", ""):gsub("^.*@", "")
  return setmetatable({
    name = "anthropic",
    model = opts.model,
    url = base_url .. "/v1/messages",
    headers = headers,
    errors = anthropic_error.new(host, credential, secrets_of(opts)),
    http = opts.http or defaults.http,
    cache = opts.cache ~= false,
    encoded_tools = setmetatable({}, { __mode = "k" }), -- definition -> JSON
    joined = joined.new(),
  }, Provider)
end

-- Lines "Name: value" as a table. Never shows a line in an error: it may be a secret.
local function parse_headers(lines)
  local headers, count = {}, 0
  for line in (lines or ""):gmatch("[^\r\n]+") do
    count = count + 1
    local name, value = line:match("^%s*([%w!#$%%&'*+.^_`|~-]+)%s*:%s*(.-)%s*$")
    if name then
      headers[name] = value
    elseif line:find("%S") then
      error(("ANTHROPIC_CUSTOM_HEADERS: line %d is not 'Name: value'"):format(count), 0)
    end
  end
  return headers
end

--- A provider as ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_BASE_URL and
--- ANTHROPIC_CUSTOM_HEADERS (lines "Name: value") say; empty ones count as not set. Raises one line
--- when they do not suffice.
---@param model string
---@param getenv? fun(name: string): string? default sys.getenv
---@return agenthost.AnthropicProvider
function M.from_env(model, getenv)
  getenv = getenv or sys.getenv
  return M.new({
    model = model,
    api_key = getenv("ANTHROPIC_API_KEY"),
    auth_token = getenv("ANTHROPIC_AUTH_TOKEN"),
    base_url = getenv("ANTHROPIC_BASE_URL"),
    headers = parse_headers(getenv("ANTHROPIC_CUSTOM_HEADERS")),
  })
end

return M
