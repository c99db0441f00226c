--- Plays a recording (record.lua) back: the recorded provider, whose calls are answered from the
--- file in place of a server, one after the other, byte for byte. No network, no key; what failed
--- fails again in the same way.
---
--- A request that is not the recorded one ends the run with a line that says what differs. What has
--- to be the same is the number of messages and what the user said last: results of tools and what
--- background tasks told may hold times and process ids. With `lenient` nothing has to.
local http = require("agenthost.http")
local json = require("agenthost.json")
local options = require("agenthost.options")
local record = require("agenthost.record")
local text = require("agenthost.text")

local M = {}

local MAX_SHOWN <const> = 60 -- characters of a text in a message

-- Failures of a connection, which come back behind the bytes that had arrived before them.
local BROKEN <const> = {
  CUT = true, CLOSED = true, TIMEOUT = true, TIMEOUT_STALL = true, TOO_LARGE = true,
  PROTOCOL = true, PROXY = true, TLS = true, NOMEM = true, FAILED = true, CANCELLED = true,
}

local function calls_text(n)
  return n == 1 and "1 call" or n .. " calls"
end

-- ---- reading -----------------------------------------------------------------------------------

-- What a line of type "call" has to hold: name -> whether a value will do.
local FIELDS <const> = {
  provider = function(value) return type(value) == "string" end,
  model = function(value) return type(value) == "string" and value ~= "" end,
  url = function(value) return type(value) == "string" end,
  n = function(value) return math.type(value) == "integer" end,
  status = function(value)
    return value == nil or math.type(value) == "integer" and value >= 100 and value <= 999
  end,
  response_headers = function(value)
    local are_texts = value == nil or type(value) == "table"
    for name, one in pairs(type(value) == "table" and value or {}) do
      are_texts = are_texts and type(name) == "string" and type(one) == "string"
    end
    return are_texts
  end,
}

-- Whether a line is a call; raises when it should be one. (A line that was torn is no JSON.)
local function is_call(line, number, path)
  if type(line) ~= "table" or line.type ~= "call" then
    return false
  end
  for name, is_right in pairs(FIELDS) do
    if not is_right(line[name]) then
      error(("replay: line %d of %s is damaged: its %s cannot be that"):format(number, path, name),
        0)
    end
  end
  return true
end

-- The calls of the last run in the file, and how many runs it holds.
local function load_calls(path)
  local file <close>, message = io.open(path, "rb")
  if not file then
    error("replay: " .. message, 0)
  end
  local calls, runs, last, number = {}, 0, nil, 0
  for line in file:lines() do
    local call = json.decode(line)
    number = number + 1
    if is_call(call, number, path) then
      if call.run ~= last then
        calls, runs, last = {}, runs + 1, call.run
      end
      calls[#calls + 1] = call
    end
  end
  if #calls == 0 then
    error(("replay: %s holds no calls: is it a file that AGENTHOST_RECORD has made?"):format(path),
      0)
  end
  return calls, runs
end

-- ---- comparing ---------------------------------------------------------------------------------

-- What the user said in a message: not what tools and tasks did.
local function own_text(message)
  local content = message.content
  if type(content) == "string" then
    content = { { type = "text", text = content } }
  end
  local parts = {}
  for _, block in ipairs(type(content) == "table" and content or {}) do
    local is_text = block.type == "text" or block.type == "input_text"
    if is_text and not block.text:find("^<background%-results>") then
      parts[#parts + 1] = block.text
    end
  end
  return #parts > 0 and table.concat(parts, "\n") or nil
end

-- The number of messages of a request, and what the user said last.
local function summary(body)
  local data = json.decode(body)
  local messages = type(data) == "table" and (data.messages or data.input) or {}
  if type(messages) == "string" then
    return 1, messages
  end
  for i = #messages, 1, -1 do
    local said = messages[i].role == "user" and own_text(messages[i])
    if said then
      return #messages, said
    end
  end
  return #messages, ""
end

local function quoted(s)
  s = text.clean(s):gsub("%s+", " ")
  if utf8.len(s) > MAX_SHOWN then
    s = s:sub(1, utf8.offset(s, MAX_SHOWN + 1) - 1) .. "..."
  end
  return "'" .. s .. "'"
end

-- How a request differs from the recorded one, in words; nil: in nothing that matters.
local function difference(recorded, body)
  local old_count, old_said = summary(recorded)
  local count, said = summary(body)
  if count ~= old_count then
    return ("it has %d messages, not %d"):format(count, old_count)
  elseif said ~= old_said then
    return ("the user said %s, not %s"):format(quoted(said), quoted(old_said))
  end
end

-- ---- answering ---------------------------------------------------------------------------------

-- Why the stream ended before its end, as http.stream would say it.
local function error_of(call, errors)
  if not BROKEN[call.code] or type(call.message) ~= "string" then
    return nil
  end
  local id = errors:request_id(call.response_headers or {})
  local tail = type(id) == "string" and (" (request-id %s)"):format(id) or ""
  local message = text.clean(call.message):gsub("%s+", " ")
  if tail ~= "" and message:sub(-#tail) == tail then
    message = message:sub(1, -#tail - 1) -- it is added again
  end
  return { message, call.code }
end

local function answer(call, errors, keep)
  if not call.status then
    local message = type(call.message) == "string" and call.message or "the recorded call failed"
    return nil, text.clean(message), type(call.code) == "string" and call.code or "FAILED"
  end
  local body = record.bytes(call, "response")
  if not body then
    return nil, ("the response of the recorded call %d is damaged"):format(call.n), "REPLAY"
  end
  return http.replay({ status = call.status, headers = call.response_headers, body = body,
    error = error_of(call, errors), url = call.url, keep = keep })
end

-- In place of http.stream.
local function opener(calls, source, errors, lenient)
  local n = 0
  return function(request)
    n = n + 1
    local call = calls[n]
    if not call then
      return nil, ("replay: %s has %s, and this is one more"):format(source, calls_text(#calls)),
        "REPLAY"
    elseif call.provider ~= calls[1].provider then
      return nil, ("replay: call %d of %s was made to another provider (%s, not %s)"):format(n,
        source, call.provider, calls[1].provider), "REPLAY"
    end
    local recorded = record.bytes(call, "request")
    local differs = not lenient and difference(recorded or "", record.whole(request.body))
    if differs then
      return nil, ("replay: call %d differs from the one in %s: %s (AGENTHOST_REPLAY=lenient, or "
        .. "`lenient` in a test, takes it all the same)"):format(n, source, differs), "REPLAY"
    end
    return answer(call, errors, request.keep)
  end
end

-- ---- making one --------------------------------------------------------------------------------

-- What the path of a call ends with -> who speaks that API.
local APIS <const> = {
  { "/messages", "agenthost.provider.anthropic" },
  { "/chat/completions", "agenthost.provider.openai" },
  { "/responses", "agenthost.provider.openai_responses" },
}

-- The provider as it was, without a key.
local function make(call)
  local url = call.url
  local path = url:gsub("[?#].*$", "")
  for _, api in ipairs(APIS) do
    if path:sub(-#api[1]) == api[1] then
      local base_url = url:match("^%a+://[^/?#]+")
      local made = require(api[2]).new({ model = call.model, api_key = "replayed",
        base_url = base_url })
      made.name, made.url = call.provider, url
      return made
    end
  end
  error(("replay: no provider speaks the API of '%s'"):format((text.clean(url):gsub("%s+", " "))),
    0)
end

--- A provider that plays a recording.
---@param path string
---@param opts? { lenient?: boolean } lenient: requests need not be the recorded ones
---@return agenthost.Provider raises one line when the file is no recording
function M.from_file(path, opts)
  opts = opts or {}
  options.check(opts, { "lenient" }, 3)
  local calls, runs = load_calls(path)
  local provider = make(calls[1])
  provider.open = opener(calls, path, provider.errors, opts.lenient)
  provider.note = ("replaying %s of %s from %s%s"):format(calls_text(#calls), provider.model, path,
    runs > 1 and (", the last of its %d runs"):format(runs) or "")
  return provider
end

return M
