--- Recording: with AGENTHOST_RECORD=FILE each call of a model is one line of FILE, as JSON, with
--- its request and the bytes of its response. `--model replay/FILE` plays it back: see
--- provider/replay.lua.
---
--- A line has type "call", version, run (the process), n (from 1), timestamp, provider, model, url,
--- headers, request, status, response_headers, response, message, code. What is not UTF-8 is there
--- in Base64 under its name with "_base64" behind it. Keys are taken out, also where they stand in
--- texts; all else that was said is in it, so the file is for its owner alone.
local base64 = require("agenthost.base64")
local http_call = require("agenthost.provider.call")
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local M = {}

local UNRECORDED <const> = "AGENTHOST_RECORD: nothing is recorded"
local OTHERS <const> = 63 -- permission bits (octal 077) of everybody but the owner

-- The process, as no other one is called: in a container each has the same pid.
local function this_process()
  local file <close> = io.open("/proc/self/stat", "rb")
  local stat = file and file:read("a") or ""
  local started = stat:match("^.*%)" .. (" %S+"):rep(19) .. " (%d+)")
  return started and ("%d-%s"):format(sys.pid(), started) or tostring(sys.pid())
end

---@class agenthost.Recorder
---@field path string
local Recorder = {}
Recorder.__index = Recorder

--- Opens a recording, or goes on with one.
---@param path string made with mode 0600
---@return agenthost.Recorder? recorder
---@return string? message
function M.open(path)
  local stat = sys.stat(path)
  if stat and stat.type == "file" and stat.mode & OTHERS ~= 0 then
    return nil, path .. " is open to others: chmod 600 it, or name a new file"
  end
  local file, message = sys.append(path)
  if not file then
    return nil, message
  end
  return setmetatable({ path = path, file = file, n = 0, run = this_process() }, Recorder)
end

--- Gives a provider the recorder that AGENTHOST_RECORD asks for, if it is set. One that makes no
--- calls over HTTP (it has no `url`) cannot be recorded: its `note` says so.
---@param provider agenthost.Provider raises when there cannot be a recorder
function M.attach(provider)
  local path = sys.getenv("AGENTHOST_RECORD")
  if not path or path == "" or provider.recorder then
    return
  elseif type(provider.url) ~= "string" then
    local said = provider.note or ""
    if not said:find(UNRECORDED, 1, true) then
      provider.note = ("%s%s%s: the model %s is not called over HTTP"):format(said,
        said ~= "" and "; " or "", UNRECORDED, provider.model)
    end
    return
  end
  local recorder, message = M.open(path)
  if not recorder then
    error("AGENTHOST_RECORD: " .. message, 0)
  end
  provider.recorder = recorder
end

-- ---- without secrets ---------------------------------------------------------------------------

-- Without user and password, and without what stands in the query under the name of a secret.
local function clean_url(url)
  url = url:gsub("^(%a[%w+.-]*://)[^/?#]*@", "%1")
  return sys.redact((url:gsub("([?&])([^=&#]*)=([^&#]*)", function(mark, name)
    return http_call.is_secret_header(name) and mark .. name .. "=<removed>" or nil
  end)))
end

local function clean_headers(headers)
  local clean = {}
  for name, value in pairs(headers or {}) do
    clean[name] = http_call.is_secret_header(name) and "<removed>" or sys.redact(value)
  end
  return json.object(clean)
end

-- ---- notes -------------------------------------------------------------------------------------

--- The text of a body, which may be a list of parts.
---@param body string|string[]
---@return string
function M.whole(body)
  return type(body) == "table" and table.concat(body) or body
end

local function put(line, name, bytes)
  if bytes then
    bytes = sys.redact(M.whole(bytes))
    local is_text = utf8.len(bytes) ~= nil
    line[is_text and name or name .. "_base64"] = is_text and bytes or base64.encode(bytes)
  end
end

--- The bytes that stand in a decoded line under `name`; "" when there are none.
---@param line table
---@param name string
---@return string? bytes nil when they are damaged
function M.bytes(line, name)
  local encoded = line[name .. "_base64"]
  if encoded ~= nil then
    return type(encoded) == "string" and base64.decode(encoded) or nil
  end
  return type(line[name]) == "string" and line[name] or ""
end

--- Adds a call. That it cannot be written is said once on standard error, and the run goes on.
---@param call agenthost.CallNote
function Recorder:note(call)
  self.n = self.n + 1
  local line = {
    type = "call",
    version = 1,
    run = self.run,
    n = self.n,
    timestamp = sys.timestamp(),
    provider = call.provider,
    model = call.model,
    url = clean_url(call.url),
    headers = clean_headers(call.headers),
    status = call.status,
    response_headers = call.response_headers and clean_headers(call.response_headers),
    message = call.message and sys.redact(call.message),
    code = call.code,
  }
  put(line, "request", call.request)
  put(line, "response", call.response)
  local ok, message = self.file:write((self.torn and "\n" or "") .. json.encode(line) .. "\n")
  self.torn = not ok
  if not ok and not self.told then
    self.told = true
    sys.write_fd(2, ("agenthost: the recording is not complete: cannot write %s: %s\n"):format(
      self.path, message))
  end
end

return M
