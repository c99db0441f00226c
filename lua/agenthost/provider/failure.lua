--- Failed calls of a model API: what is said of them, their codes, and whether trying again makes
--- sense. What an API calls its errors comes from its provider, see agenthost.ErrorWords.
local said = require("agenthost.provider.said")
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
---@field context_window? integer with TOO_LONG: the tokens that fit, when the server says so
---@field prompt_tokens? integer with TOO_LONG: those that the prompt has, when the server says so

--- What one API calls things.
---@class agenthost.ErrorWords
---@field api string its name, for people: "the Messages API"
---@field key string the variable that holds the key: "ANTHROPIC_API_KEY"
---@field request_id string the header that holds the id of a request
---@field codes table<string, string> its types and codes of errors -> codes of agenthost.Provider
---@field final? table<string, true> those of them that are never worth another try

---@class agenthost.Errors
---@field host string
---@field credential? string what stands for the user, in words for the user
---@field secrets table<string, true> never shown
---@field words agenthost.ErrorWords
local Errors = {}
Errors.__index = Errors

---@param words agenthost.ErrorWords
---@param host string
---@param credential? string
---@param secrets table<string, true>
---@return agenthost.Errors
function M.new(words, host, credential, secrets)
  return setmetatable({
    words = words,
    host = host,
    credential = credential,
    secrets = secrets,
  }, Errors)
end

-- ---- codes -------------------------------------------------------------------------------------

local STATUS_CODES <const> = {
  [401] = "AUTH", [402] = "BILLING", [403] = "PERMISSION", [404] = "NOT_FOUND", [408] = "SERVER",
  [409] = "SERVER", [413] = "TOO_LARGE", [429] = "RATE_LIMIT", [529] = "OVERLOADED",
}

local RETRYABLE <const> = {
  RATE_LIMIT = true, OVERLOADED = true, SERVER = true, CUT = true, CONNECT = true, CLOSED = true,
  TIMEOUT = true, TIMEOUT_CONNECT = true, TIMEOUT_STALL = true,
}

-- The code of an error: as its own code or type says, else as the status.
local function code_of(self, status, facts)
  local general
  for _, name in ipairs({ facts.code or false, facts.type or false }) do
    local code = self.words.codes[name]
    if code and code ~= "BAD_REQUEST" then -- which may be said of anything
      return code
    end
    general = general or code
  end
  return STATUS_CODES[status] or status >= 500 and "SERVER" or status >= 400 and "BAD_REQUEST"
    or general or "PROTOCOL"
end

local function is_final(self, facts)
  local final = self.words.final or {}
  return final[facts.code] or final[facts.type] or false
end

-- The table of the APIs' documentation; x-should-retry is stronger.
local function should_retry(status, code, headers)
  local order = headers["x-should-retry"]
  if code == "TOO_LONG" then
    return false
  elseif order == "true" or order == "false" then
    return order == "true"
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

--- A text without the keys of this provider.
---@param s string
---@return string
function Errors:hide(s)
  for secret in pairs(self.secrets) do
    s = without(s, secret)
  end
  return s
end

-- Text of unknown origin as one line of at most `max` characters, without HTML tags and keys.
local function one_line(self, s, max)
  local line = text.clean(s:sub(1, MAX_BODY))
  if line:find("^%s*<") then
    line = line:gsub("<style.-</style>", " "):gsub("<[^<>]*>", " ")
  end
  line = self:hide(line):gsub("%s+", " "):match("^ ?(.-) ?$")
  if utf8.len(line) > max then
    line = line:sub(1, utf8.offset(line, max - 2) - 1) .. "..."
  end
  return line
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
  return ("%s wants a key, set %s: %s"):format(self.host, self.words.key, what)
end

--- The id of a request, as the headers of the answer say, fit to be shown.
---@param headers table<string, string>
---@return string?
function Errors:request_id(headers)
  local id = headers[self.words.request_id] or headers["x-request-id"] or headers["request-id"]
  id = type(id) == "string" and one_line(self, id, MAX_NAME) or ""
  return id ~= "" and id or nil
end

--- There was no response.
---@return nil, string message, string code, agenthost.Failure
function Errors:connection(message, code)
  return nil, self:hide(message), code, { retryable = RETRYABLE[code] or false, partial = false }
end

--- The response is an error.
---@param status integer
---@param headers table<string, string>
---@param body string
---@return nil, string message, string code, agenthost.Failure
function Errors:response(status, headers, body)
  local facts = said.parse(body)
  local what = one_line(self, facts.message or body, facts.message and MAX_MESSAGE or MAX_EXCERPT)
  if status < 400 and headers.location then
    what = "it redirects to " .. one_line(self, headers.location, MAX_EXCERPT)
  end
  local number = status >= 400 and status or facts.status or status
  local code =
    said.too_long_or(code_of(self, number, facts), what, facts.type or "", facts.code or "")
  local label = facts.type and " " .. one_line(self, facts.type, MAX_NAME) or ""
  local line = ("%s: %d%s%s"):format(self.host, status, label, what ~= "" and ": " .. what or "")
  if code == "AUTH" then
    line = not_let_in(self, what)
  end
  local request_id = self:request_id(headers)
    or facts.request_id and one_line(self, facts.request_id, MAX_NAME)
  return nil, with_id(line, request_id), code, {
    status = status,
    retryable = not is_final(self, facts) and should_retry(status, code, headers),
    retry_after = said.retry_after(headers),
    request_id = request_id,
    partial = false,
    context_window = code == "TOO_LONG" and said.window(facts, what) or nil,
    prompt_tokens = code == "TOO_LONG" and said.prompt(what) or nil,
  }
end

--- A response of status 200 went wrong after its start.
---@param stream agenthost.http.Stream
---@param partial boolean
---@param message string one line
---@param code string of this module or of agenthost.http
---@param retryable? boolean default: as the code says
---@return nil, string message, string code, agenthost.Failure
function Errors:broken(stream, partial, message, code, retryable)
  local request_id = self:request_id(stream.headers)
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
---@param err? string|table with "ERROR": its type, or the error object
---@return nil, string message, string code, agenthost.Failure
function Errors:event(stream, partial, message, code, err)
  local what = one_line(self, message, MAX_MESSAGE)
  if code ~= "ERROR" then
    return self:broken(stream, partial, self.host .. ": " .. what, code, true)
  end
  local facts = type(err) == "table" and said.facts(err) or { type = err }
  local name = facts.type or facts.code
  local label = name and one_line(self, name, MAX_NAME) .. ": " or ""
  local line = ("%s broke off its reply: %s%s"):format(self.host, label, what)
  local problem = code_of(self, facts.status or 0, facts)
  problem = said.too_long_or(problem == "PROTOCOL" and "CUT" or problem, what, name or "")
  local retryable
  if is_final(self, facts) then
    retryable = false
  end
  local _, message_with_id, final_code, details =
    self:broken(stream, partial, line, problem, retryable)
  details.context_window = problem == "TOO_LONG" and said.window(facts, what) or nil
  return nil, message_with_id, final_code, details
end

--- The response is neither a stream nor a reply.
---@param stream agenthost.http.Stream
---@param body string
---@return nil, string message, string code, agenthost.Failure
function Errors:not_json(stream, body)
  local excerpt = one_line(self, body, MAX_EXCERPT)
  local kind = one_line(self, stream.headers["content-type"] or "(no content type)", MAX_NAME)
  local line = ("%s answered with %s, not with a reply of %s: %s"):format(
    self.host, kind, self.words.api, excerpt ~= "" and excerpt or "(nothing)")
  return self:broken(stream, false, line, "NOT_JSON")
end

return M
