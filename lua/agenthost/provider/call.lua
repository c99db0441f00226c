--- One HTTP call of a model API: open it, check the status, read events or a whole body. What is in
--- them is the business of a provider and its accumulator.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local http = require("agenthost.http")
local json = require("agenthost.json")

local M = {}

local MAX_STREAM <const> = 256 * 1024 * 1024 -- bytes of one reply's events
local MAX_WHOLE <const> = 32 * 1024 * 1024 -- of a reply that is not streamed
local MAX_ERROR_BODY <const> = 64 * 1024
local DRAIN <const> = 0.5 -- seconds to wait for the end of a stream after its last event

--- What a provider has that makes its calls here.
---@class agenthost.HttpProvider: agenthost.Provider
---@field url string
---@field headers table<string, string> names in lower case
---@field errors agenthost.Errors
---@field http table connect_timeout, stall_timeout, timeout
---@field open? fun(options: agenthost.http.Options): agenthost.http.Stream?, string?, string?
---  in place of http.stream: a replay
---@field recorder? { note: fun(self, note: agenthost.CallNote) } told once of every call

--- What puts a reply together: provider/*_stream.lua.
---@class agenthost.Accumulator
---@field done boolean the reply is complete, and nothing that matters comes behind it
---@field partial boolean some text or thinking was shown
---@field ending string what ends a stream, for messages
---@field join? agenthost.http.EventOptions which events may come joined
---@field feed fun(self, data: string): true?, string?, string?, any takes the data of one event;
---  nil, message, "PROTOCOL"|"ERROR" and with "ERROR" the type or the error object
---@field feed_whole fun(self, body: string, data: table): true?, string?, string?, any takes a
---  reply that did not come as events
---@field is_reply fun(data: table): boolean whether decoded JSON is such a reply
---@field close? fun(self): boolean the stream is over: whether the reply is complete without a mark
---@field reply fun(self): agenthost.Reply

--- What a recorder is told of a call, however it ended.
---@class agenthost.CallNote
---@field provider string
---@field model string
---@field url string
---@field headers table<string, string> of the request, without keys
---@field request string its body
---@field status? integer
---@field response_headers? table<string, string>
---@field response string the bytes of the body that came, unpacked
---@field message? string why it failed
---@field code? string

-- ---- headers and the note for a recorder -------------------------------------------------------

-- Headers that may hold a key under any name are left out altogether.
local SECRET_HEADERS <const> = { "auth", "key", "token", "secret", "cookie", "password" }

--- Whether a header of this name holds something that nobody may see.
---@param name string
---@return boolean
function M.is_secret_header(name)
  for _, word in ipairs(SECRET_HEADERS) do
    if name:lower():find(word, 1, true) then
      return true
    end
  end
  return false
end

local function harmless(self, headers)
  local shown = {}
  for name, value in pairs(headers) do
    shown[name] = M.is_secret_header(name) and "<key>" or self.errors:hide(value)
  end
  return shown
end

-- Of a request these alone are shown: what the user adds may be a secret under any name.
local OURS <const> = {
  accept = true, ["content-type"] = true, ["anthropic-version"] = true, ["anthropic-beta"] = true,
}

local function harmless_request(self)
  local shown = harmless(self, self.headers)
  for name in pairs(shown) do
    shown[name] = OURS[name] and shown[name] or "<key>"
  end
  return shown
end

-- Closed at the end of a call, also when that is an error or a cancellation.
local function new_note(self, body)
  local note = { message = "the call was given up", code = "CANCELLED" }
  return note, setmetatable({}, { __close = function()
    local stream = note.stream
    self.recorder:note({
      provider = self.name,
      model = self.model,
      url = self.errors:hide(self.url),
      headers = harmless_request(self),
      request = self.errors:hide(table.concat(body)),
      status = stream and stream.status,
      response_headers = stream and harmless(self, stream.headers),
      response = stream and self.errors:hide(stream:kept()) or "",
      message = note.message,
      code = note.code,
    })
  end })
end

-- ---- reading -----------------------------------------------------------------------------------

-- Takes what may follow the last event, so that the connection can be used again; not for long.
local function drain(stream)
  if async.inside() then
    local job = async.spawn(function()
      while stream:event() do end
    end)
    async.wait_any({ job }, DRAIN)
  end
end

local function cut(self, stream, reply, message, code)
  if reply.close and reply:close() then
    return reply:reply() -- and how the connection ended makes no difference
  end
  return self.errors:broken(stream, reply.partial,
    message or ("%s ended its reply without %s"):format(self.errors.host, reply.ending),
    code or "CUT")
end

local function read_events(self, stream, reply)
  for event in stream:events(reply.join) do
    local ok, message, code, err = reply:feed(event.data)
    if not ok then
      return self.errors:event(stream, reply.partial, message, code, err)
    end
    if reply.done then
      drain(stream)
      return reply:reply()
    end
  end
  return cut(self, stream, reply, stream:error())
end

-- Events under the name of another content type, which are taken when all of them are there.
local function read_mislabelled(self, stream, body, reply)
  for line in body:gmatch("[^\r\n]+") do
    local data = line:match("^data: ?(.*)")
    if data then
      local ok, message, code, err = reply:feed(data)
      if not ok then
        return self.errors:event(stream, reply.partial, message, code, err)
      elseif reply.done then
        return reply:reply()
      end
    end
  end
  return cut(self, stream, reply)
end

local function looks_like_events(body)
  return body:find("^%s*data:") or body:find("^%s*event:") or body:find("^%s*:")
end

-- A gateway that cannot stream sends the reply whole; others send a web page with status 200.
local function read_whole(self, stream, reply)
  local body, message, code = stream:rest(MAX_WHOLE)
  if not body then
    return self.errors:broken(stream, false, message, code)
  end
  local data = json.decode(body)
  if type(data) ~= "table" and looks_like_events(body) then
    return read_mislabelled(self, stream, body, reply)
  elseif type(data) ~= "table" then
    return self.errors:not_json(stream, body)
  elseif data.error ~= nil and data.error ~= json.null then
    return self.errors:response(stream.status, stream.headers, body)
  elseif not reply.is_reply(data) then
    return self.errors:not_json(stream, body)
  end
  local ok, why, problem, err = reply:feed_whole(body, data)
  if not ok then
    return self.errors:event(stream, reply.partial, why, problem, err)
  end
  return reply:reply()
end

-- ---- the calls ---------------------------------------------------------------------------------

local function read(self, stream, reply)
  if stream.status ~= 200 then
    return self.errors:response(stream.status, stream.headers, stream:rest(MAX_ERROR_BODY) or "")
  end
  local content_type = stream.headers["content-type"] or "text/event-stream"
  local is_stream = content_type:lower():find("^%s*text/event%-stream") ~= nil
  local take = is_stream and read_events or read_whole
  local result, message, code, details = take(self, stream, reply)
  if result then
    result.request_id = self.errors:request_id(stream.headers)
  end
  return result, message, code, details
end

--- Makes a call and reads the reply.
---@param self agenthost.HttpProvider
---@param body string[] in parts, as agenthost.http takes it
---@param reply agenthost.Accumulator
---@return agenthost.Reply? reply
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function M.stream(self, body, reply)
  local open = self.open or http.stream
  local stream <close>, message, code = open({
    url = self.url,
    method = "POST",
    headers = self.headers,
    body = body,
    max_body = MAX_STREAM,
    connect_timeout = self.http.connect_timeout,
    stall_timeout = self.http.stall_timeout,
    timeout = self.http.timeout,
    keep = self.recorder and true or nil,
  })
  if not self.recorder then
    if not stream then
      return self.errors:connection(message, code)
    end
    return read(self, stream, reply)
  end
  local note, _ <close> = new_note(self, body)
  note.stream = stream
  if not stream then
    note.message, note.code = message, code
    return self.errors:connection(message, code)
  end
  local results = table.pack(read(self, stream, reply))
  note.message, note.code = results[2], results[3]
  return table.unpack(results, 1, results.n)
end

--- Asks the same server something small: JSON, not recorded, bounded by defaults.ask. A replay has
--- nobody to ask.
---@param self agenthost.HttpProvider
---@param url string
---@param body? string|string[] then it is a POST
---@return table? data
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function M.ask(self, url, body)
  if self.open then
    return nil, "a replayed provider has no server", "UNSUPPORTED"
  end
  local headers = {}
  for name, value in pairs(self.headers) do
    headers[name] = value
  end
  headers.accept = "application/json"
  local response, message, code = http.request({
    url = url,
    method = body and "POST" or "GET",
    headers = headers,
    body = body,
    max_body = defaults.ask.max_body,
    connect_timeout = math.min(self.http.connect_timeout or math.huge, defaults.ask.timeout),
    timeout = defaults.ask.timeout,
  })
  if not response then
    return self.errors:connection(message, code)
  elseif response.status ~= 200 then
    return self.errors:response(response.status, response.headers, response.body)
  end
  local data = json.decode(response.body)
  if type(data) ~= "table" then
    return self.errors:not_json(response, response.body)
  end
  return data
end

return M
