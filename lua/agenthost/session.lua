--- One conversation on disk: an append-only file of JSON lines.
---
--- The first line is a header, then one entry a line; each entry is one write. A message is in the
--- file before the request that holds it is sent.
local json = require("agenthost.json")
local sys = require("agenthost.sys")

---@class agenthost.Session
---@field id string
---@field dir string the session's directory
local Session = {}
Session.__index = Session

local M = {}

--- Where all sessions are.
---@return string
function M.base_dir()
  local state, message = sys.xdg("state")
  if not state then
    error("there is no place for sessions: " .. message, 0)
  end
  return state .. "/agenthost/sessions"
end

--- A new session; nothing is on disk before the first entry.
---@param opts { cwd: string, base_dir?: string }
---@return agenthost.Session
function M.new(opts)
  local id = os.date("!%Y%m%d-%H%M%S-") .. sys.random_hex(4)
  return setmetatable({
    id = id,
    dir = (opts.base_dir or M.base_dir()) .. "/" .. id,
    cwd = opts.cwd,
    last_entry = json.null,
  }, Session)
end

function Session:open()
  local ok, message = sys.mkdir_private(self.dir)
  if ok and not self.file then
    self.file, message = sys.append(self.dir .. "/session.jsonl")
  end
  if not self.file then
    error("cannot keep the session: " .. message .. " (XDG_STATE_HOME says where)", 0)
  end
  self:write({
    type = "session",
    version = 1,
    id = self.id,
    timestamp = sys.timestamp(),
    cwd = self.cwd,
  })
  self.header_written = true
end

function Session:write(entry)
  -- Behind a line that was cut short the next one starts afresh; readers pass over the torn one.
  local text = (self.torn and "\n" or "") .. json.encode(entry) .. "\n"
  local ok, message = self.file:write(text)
  self.torn = not ok
  if not ok then
    error("cannot write " .. self.dir .. "/session.jsonl: " .. message, 0)
  end
end

--- Appends an entry; raises when it cannot be written.
---@param type string
---@param fields table what the entry holds besides type, id, parentId and timestamp
function Session:append(type, fields)
  if not self.header_written then
    self:open()
  end
  local entry = {
    type = type,
    id = sys.random_hex(4),
    parentId = self.last_entry,
    timestamp = sys.timestamp(),
  }
  for name, value in pairs(fields) do
    entry[name] = value
  end
  self:write(entry)
  self.last_entry = entry.id
end

function Session:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

return M
