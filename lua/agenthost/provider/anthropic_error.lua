--- Failed calls of Anthropic's Messages API: what is said of them, their codes, and whether trying
--- again makes sense.
local json = require("agenthost.json")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local MAX_BODY <const> = 64 * 1024 -- bytes of a body that are looked at
local MAX_EXCERPT <const> = 200 -- characters of a body that a message shows
local MAX_MESSAGE <const> = 1000 -- characters of a server's own message
local MAX_NAME <const> = 60 -- characters of an error type or a content type

---@class agenthost.Failure
---@field status? integer of HTTP
---@field retryable boolean
---@field retry_after? number seconds that the server asks to wait
---@field request_id? string
---@field partial boolean some text or thinking was shown; it does not count

---@class agenthost.anthropic.Errors
---@field host string
---@field credential? string what stands for the user, in words for the user
---@field secrets table<string, true> never shown
local Errors = {}
Errors.__index = Errors

---@param host string
---@param credential? string
---@param secrets table<string, true>
---@return agenthost.anthropic.Errors
function M.new(host, credential, secrets)
  return setmetatable({ host = host, credential = credential, secrets = secrets }, Errors)
end

-- ---- codes -------------------------------------------------------------------------------------

local TYPE_CODES <const> = {
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
}

local STATUS_CODES <const> = {
  [401] = "AUTH", [402] = "BILLING", [403] = "PERMISSION", [404] = "NOT_FOUND", [408] = "SERVER",
  [409] = "SERVER", [413] = "TOO_LARGE", [429] = "RATE_LIMIT", [529] = "OVERLOADED",
}

local RETRYABLE <const> = {
  RATE_LIMIT = true, OVERLOADED = true, SERVER = true, CUT = true, CONNECT = true, CLOSED = true,
  TIMEOUT = true, TIMEOUT_CONNECT = true, TIMEOUT_STALL = true,
}

-- How servers say that the prompt does not fit: Anthropic (two ways), llama.cpp (two), OpenAI's.
local TOO_LONG <const> = {
  "prompt is too long", "exceed context limit", "exceeds the available context",
  "exceed_context_size", "context_length_exceeded",
}

local function too_long_or(code, ...)
  for _, said in ipairs({ ... }) do
    for _, sign in ipairs(TOO_LONG) do
      if code == "BAD_REQUEST" and said:find(sign, 1, true) then
        return "TOO_LONG"
      end
    end
  end
  return code
end

local function code_of(status, error_type)
  local code = TYPE_CODES[error_type]
  if code and code ~= "BAD_REQUEST" then -- which may be said of anything
    return code
  end
  return STATUS_CODES[status] or status >= 500 and "SERVER" or status >= 400 and "BAD_REQUEST"
    or code or "PROTOCOL"
end

-- The table of the API's documentation; x-should-retry is stronger.
local function should_retry(status, code, headers)
  local said = headers["x-should-retry"]
  if said == "true" or said == "false" then
    return said == "true"
  elseif status < 300 then
    return RETRYABLE[code] or false -- the status of an error inside a reply says nothing
  end
  return status >= 500 or status == 408 or status == 409 or status == 429
end

-- ---- what servers say --------------------------------------------------------------------------

local function without(line, secret)
  local at, stop = line:find(secret, 1, true)
  while at do
    line = line:sub(1, at - 1) .. "<key>" .. line:sub(stop + 1)
    at, stop = line:find(secret, at + 5, true)
  end
  return line
end

-- Text of unknown origin as one line of at most `max` characters, without HTML tags and keys.
local function one_line(self, s, max)
  local line = text.clean(s:sub(1, MAX_BODY))
  if line:find("^%s*<") then
    line = line:gsub("<style.-</style>", " "):gsub("<[^<>]*>", " ")
  end
  for secret in pairs(self.secrets) do
    line = without(line, secret)
  end
  line = line:gsub("%s+", " "):match("^ ?(.-) ?$")
  if utf8.len(line) > max then
    line = line:sub(1, utf8.offset(line, max - 2) - 1) .. "..."
  end
  return line
end

-- The error that a body tells of: message, type and request id, as far as it has them.
local function parse(body)
  local data = json.decode(body)
  if type(data) ~= "table" then
    return nil
  end
  local err = type(data.error) == "table" and data.error or data
  local function field(owner, name)
    return type(owner[name]) == "string" and owner[name] or nil
  end
  local message = field(err, "message") or field(data, "error") or field(data, "detail")
  return message, err ~= data and field(err, "type") or nil, field(data, "request_id")
end

local MONTHS <const> = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8,
  Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- "Sun, 06 Nov 1994 08:49:37 GMT" in seconds since the epoch, or nil.
local function http_date(s)
  local day, name, year, hour, minute, second =
    s:match("^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  local month = MONTHS[name]
  if not month then
    return nil
  end
  -- Days since 0000-03-01: with the leap day last, the lengths of months are regular.
  local y = tonumber(year) - (month <= 2 and 1 or 0)
  local days = 365 * y + y // 4 - y // 100 + y // 400
    + (153 * ((month + 9) % 12) + 2) // 5 + tonumber(day) - 1
  return (days - 719468) * 86400 + hour * 3600 + minute * 60 + second
end

-- Seconds that the server asks to wait, or nil.
local function retry_after(headers)
  local ms = (headers["retry-after-ms"] or ""):match("^%d+%.?%d*$")
  if ms then
    return tonumber(ms) / 1000
  end
  local value = headers["retry-after"] or ""
  if value:find("^%d+%.?%d*$") then
    return tonumber(value)
  end
  local date = http_date(value)
  return date and math.max(0, date - sys.wall()) or nil
end

local function with_id(message, request_id)
  return request_id and ("%s (request-id %s)"):format(message, request_id) or message
end

-- ---- failures ----------------------------------------------------------------------------------

-- For a person who has to put it right.
local function not_let_in(self, what)
  if self.credential then
    return ("%s was refused by %s: %s"):format(self.credential, self.host, what)
  end
  return ("%s wants a key, set ANTHROPIC_API_KEY: %s"):format(self.host, what)
end

--- There was no response.
---@return nil, string message, string code, agenthost.Failure
function Errors.connection(_, message, code)
  return nil, message, code, { retryable = RETRYABLE[code] or false, partial = false }
end

--- The response is an error.
---@param status integer
---@param headers table<string, string>
---@param body string
---@return nil, string message, string code, agenthost.Failure
function Errors:response(status, headers, body)
  local message, error_type, body_id = parse(body)
  local what = one_line(self, message or body, message and MAX_MESSAGE or MAX_EXCERPT)
  if status < 400 and headers.location then
    what = "it redirects to " .. one_line(self, headers.location, MAX_EXCERPT)
  end
  local code = too_long_or(code_of(status, error_type), what, error_type or "")
  local label = error_type and " " .. one_line(self, error_type, MAX_NAME) or ""
  local line = ("%s: %d%s%s"):format(self.host, status, label, what ~= "" and ": " .. what or "")
  if code == "AUTH" then
    line = not_let_in(self, what)
  end
  local request_id = headers["request-id"] or body_id
  return nil, with_id(line, request_id), code, {
    status = status,
    retryable = should_retry(status, code, headers),
    retry_after = retry_after(headers),
    request_id = request_id,
    partial = false,
  }
end

--- A response of status 200 went wrong after its start.
---@param stream agenthost.http.Stream
---@param partial boolean
---@param message string one line
---@param code string of this module or of agenthost.http
---@param retryable? boolean default: as the code says
---@return nil, string message, string code, agenthost.Failure
function Errors.broken(_, stream, partial, message, code, retryable)
  local request_id = stream.headers["request-id"]
  if code == "CLOSED" then
    code = "CUT" -- that the connection ended as well makes no difference
  end
  if retryable == nil then
    retryable = RETRYABLE[code] or false
  end
  return nil, with_id(message, request_id), code, {
    status = stream.status,
    retryable = retryable,
    request_id = request_id,
    partial = partial,
  }
end

--- An event of the response is an error, or makes no sense (then starting anew may help).
---@param stream agenthost.http.Stream
---@param partial boolean
---@param message string
---@param code "ERROR"|"PROTOCOL"
---@param error_type? string
---@return nil, string message, string code, agenthost.Failure
function Errors:event(stream, partial, message, code, error_type)
  local what = one_line(self, message, MAX_MESSAGE)
  if code ~= "ERROR" then
    return self:broken(stream, partial, self.host .. ": " .. what, code, true)
  end
  local label = error_type and one_line(self, error_type, MAX_NAME) .. ": " or ""
  local line = ("%s broke off its reply: %s%s"):format(self.host, label, what)
  return self:broken(stream, partial, line, too_long_or(TYPE_CODES[error_type] or "CUT", what))
end

--- The response is neither a stream nor a message.
---@param stream agenthost.http.Stream
---@param body string
---@return nil, string message, string code, agenthost.Failure
function Errors:not_json(stream, body)
  local excerpt = one_line(self, body, MAX_EXCERPT)
  local kind = one_line(self, stream.headers["content-type"], MAX_NAME)
  local line = ("%s answered with %s, not with a reply of the Messages API: %s"):format(
    self.host, kind, excerpt ~= "" and excerpt or "(nothing)")
  return self:broken(stream, false, line, "NOT_JSON")
end

return M
