--- One conversation on disk: an append-only file of JSON lines.
---
--- The first line is a header, then one entry a line; each entry is one write. A message is in the
--- file before the request that holds it is sent. The file is locked while a host has it open: a
--- second one may read, and is told so. Which sessions there are: sessions.lua.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local sys = require("agenthost.sys")

---@class agenthost.Session
---@field id string
---@field dir string the session's directory
---@field cwd? string where its agent works; nil when an opened file does not say
---@field read_only? string set when nothing can be appended: why, in a line for people
---@field notes string[] lines for people about what was found when it was opened
local Session = {}
Session.__index = Session

local M = {}

local VERSION <const> = 1
local LOCK_INTERVAL <const> = 0.05 -- seconds between two tries

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
    notes = {},
  }, Session)
end

-- ---- opening one that is there -----------------------------------------------------------------

--- One line of a session file.
---@class agenthost.SessionRecord
---@field entry table the line, decoded; a type that nobody knows is kept
---@field line string the line as it stands in the file
---@field after_gap? boolean lines before it could not be read

--- Reads the text of a session file. A line that is no entry is passed over. One at the end without
--- its line break was cut short by a crash, unless it is whole but for that.
---@param text string
---@return agenthost.SessionRecord[] records
---@return integer[] damaged the numbers of lines that could not be read
---@return integer? torn bytes of a last line that has no line break
function M.parse(text)
  local records, damaged, number, gap, torn = {}, {}, 0, nil, nil
  for line, stop in text:gmatch("([^\n]*)(\n?)") do
    number = number + 1
    local entry = line ~= "" and json.decode(line) or nil
    torn = stop == "" and line ~= "" and #line or nil
    if type(entry) == "table" and type(entry.type) == "string" then
      if gap and entry.type == "repair" then -- it says that it was cut short: no loss
        damaged[#damaged] = nil
        gap = damaged[#damaged] == number - 2 or nil
      end
      records[#records + 1] = { entry = entry, line = line, after_gap = gap }
      gap = nil
    elseif line ~= "" and not torn then
      damaged[#damaged + 1], gap = number, true
    end
  end
  return records, damaged, torn
end

-- A host that has just died may still be on its way out.
local function lock(file)
  local deadline = sys.now() + defaults.session.lock_patience
  while true do
    local ok, message, code = file:lock()
    if ok or code ~= "LOCKED" or sys.now() >= deadline then
      return ok, message, code
    end
    async.sleep(LOCK_INTERVAL)
  end
end

local function read(path)
  local max = defaults.session.max_bytes
  local text, size, code = sys.read_file(path, max)
  if not text then
    return nil, size, code
  elseif size > max then
    return nil, ("%s is larger than %d bytes (defaults.session.max_bytes)"):format(path, max),
      "TOO_LARGE"
  end
  return text
end

local function check_header(id, header)
  if not header or header.type ~= "session" then
    return nil, ("session %s has no header: its file is empty or damaged"):format(id), "DAMAGED"
  elseif header.version ~= VERSION then
    return nil, ("session %s has version %s of the file format; this agenthost knows version %d")
      :format(id, tostring(header.version), VERSION), "VERSION"
  end
  return true
end

-- What was found, as lines for people.
local function note_findings(self, damaged, lock_message)
  if #damaged > 0 then
    self.notes[1] = ("session %s: %d line%s of its file could not be read and %s passed over "
      .. "(the first is line %d)"):format(self.id, #damaged, #damaged == 1 and "" or "s",
      #damaged == 1 and "was" or "were", damaged[1])
  end
  if lock_message and not self.read_only then
    self.notes[#self.notes + 1] = ("session %s is not locked against a second agenthost: %s")
      :format(self.id, lock_message)
  end
end

--- Opens a session that is on disk, to go on with it. When another host has it open `read_only`
--- is set.
---@param id string
---@param opts? { base_dir?: string }
---@return agenthost.Session? session nil, message, code: "ENOENT", "DAMAGED", "VERSION", ...
---@return agenthost.SessionRecord[]|string records what it holds so far, the header first
---@return string? code
function M.open(id, opts)
  local dir = (opts and opts.base_dir or M.base_dir()) .. "/" .. id
  local path = dir .. "/session.jsonl"
  if not sys.stat(path) then
    return nil, ("there is no session %s"):format(id), "ENOENT"
  end
  local file, message, code = sys.append(path)
  if not file then
    return nil, message, code
  end
  local _, lock_message, lock_code = lock(file)
  local text
  text, message, code = read(path)
  local records, damaged, torn = M.parse(text or "")
  local ok = text ~= nil
  if ok then
    ok, message, code = check_header(id, records[1] and records[1].entry)
  end
  if not ok then
    file:close()
    return nil, message, code
  end
  local self = setmetatable({
    id = id,
    dir = dir,
    cwd = records[1].entry.cwd,
    last_entry = #records > 1 and records[#records].entry.id or json.null,
    file = file,
    header_written = true,
    torn = torn ~= nil,
    torn_bytes = torn,
    notes = {},
  }, Session)
  if lock_code == "LOCKED" then
    self.read_only = ("session %s is open in another agenthost: here it can only be read")
      :format(id)
    self:close()
  end
  note_findings(self, damaged, lock_message)
  return self, records
end

-- ---- writing -----------------------------------------------------------------------------------

function Session:open()
  local ok, message = sys.mkdir_private(self.dir)
  if ok and not self.file then
    self.file, message = sys.append(self.dir .. "/session.jsonl")
  end
  if not self.file then
    error("cannot keep the session: " .. message .. " (XDG_STATE_HOME says where)", 0)
  end
  self.file:lock() -- nobody else knows the id yet
  self:write({
    type = "session",
    version = VERSION,
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

local function write_entry(self, type, fields)
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

--- Appends an entry; raises when it cannot be written.
---@param type string
---@param fields table what the entry holds besides type, id, parentId and timestamp
function Session:append(type, fields)
  if self.read_only then
    error(self.read_only, 0)
  elseif not self.header_written then
    self:open()
  end
  if self.torn_bytes then -- so that readers know the line before for what it is
    write_entry(self, "repair", { torn = self.torn_bytes })
    self.torn_bytes = nil
  end
  write_entry(self, type, fields)
end

function Session:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

return M
