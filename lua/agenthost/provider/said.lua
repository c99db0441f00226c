--- What the error answers of model servers say, whichever API they speak. Knows no policy: see
--- failure.lua.
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local M = {}

-- ---- the error object --------------------------------------------------------------------------

local function string_field(owner, name)
  return type(owner[name]) == "string" and owner[name] or nil
end

--- What an error object tells.
---@class agenthost.ErrorFacts
---@field message? string
---@field type? string
---@field code? string a name
---@field status? integer a code that is a number
---@field n_ctx? integer of llama.cpp: the tokens that fit
---@field request_id? string

---@param err table as decoded
---@return agenthost.ErrorFacts
function M.facts(err)
  return {
    message = string_field(err, "message"),
    type = string_field(err, "type"),
    code = string_field(err, "code"),
    status = math.type(err.code) == "integer" and err.code or nil,
    n_ctx = err.n_ctx,
  }
end

--- The error that a body tells of, as far as it does.
---@param body string
---@return agenthost.ErrorFacts
function M.parse(body)
  local data = json.decode(body)
  if json.is_array(data) then
    data = data[1] -- as some gateways wrap it
  end
  if type(data) ~= "table" then
    return {}
  end
  local facts
  if type(data.error) == "table" then
    facts = M.facts(data.error)
  else
    facts = M.facts(data)
    facts.message = facts.message or string_field(data, "error") or string_field(data, "detail")
    facts.type = facts.type ~= "error" and facts.code and facts.type or nil
  end
  facts.request_id = string_field(data, "request_id")
  return facts
end

-- ---- a prompt that does not fit ----------------------------------------------------------------

-- How servers say that the prompt does not fit: Anthropic (two ways), llama.cpp (two), OpenAI (two;
-- vLLM says the second, too).
local TOO_LONG <const> = {
  "prompt is too long", "exceed context limit", "exceeds the available context",
  "exceed_context_size", "context_length_exceeded", "maximum context length is",
}

-- The room for the reply is what does not fit; that is TOO_LONG when the server says how many
-- tokens the prompt has, for then a shorter reply is a cure.
local REPLY_TOO_LONG <const> = "'max_completion_tokens' is too large"

-- How they say how much fits.
local WINDOWS <const> = {
  "tokens > (%d+) maximum", "exceed context limit: .- > (%d+)", "context size %((%d+) tokens%)",
  "maximum context length is (%d+)",
}

-- How they say how much there is.
local PROMPTS <const> = {
  "too long: (%d+) tokens >", "exceed context limit: (%d+) %+", "request %((%d+) tokens%) exceeds",
  "(%d+) in the messages", "request has (%d+) input tokens", "prompt contains (%d+) input tokens",
}

--- The code of an error, or TOO_LONG when it is BAD_REQUEST and one of the texts says so.
---@param code string
---@param ... string
---@return string
function M.too_long_or(code, ...)
  for _, said in ipairs({ ... }) do
    for _, sign in ipairs(TOO_LONG) do
      if code == "BAD_REQUEST" and said:find(sign, 1, true)
        and (M.prompt(said) or not said:find(REPLY_TOO_LONG, 1, true)) then
        return "TOO_LONG"
      end
    end
  end
  return code
end

--- The tokens that fit, when the server says so.
---@param facts agenthost.ErrorFacts
---@param what string its message
---@return integer?
function M.window(facts, what)
  if math.type(facts.n_ctx) == "integer" then
    return facts.n_ctx
  end
  for _, pattern in ipairs(WINDOWS) do
    local digits = what:match(pattern)
    if digits then
      return math.tointeger(tonumber(digits))
    end
  end
end

--- The tokens of the prompt, when the server says so.
---@param what string its message
---@return integer?
function M.prompt(what)
  for _, pattern in ipairs(PROMPTS) do
    local digits = what:match(pattern)
    if digits then
      return math.tointeger(tonumber(digits))
    end
  end
end

-- ---- retry-after -------------------------------------------------------------------------------

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

--- Seconds that the server asks to wait.
---@param headers table<string, string>
---@return number?
function M.retry_after(headers)
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

return M
