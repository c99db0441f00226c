--- Which sessions there are on disk. One of them, open: session.lua.
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local session = require("agenthost.session")
local sys = require("agenthost.sys")

local M = {}

---@class agenthost.SessionInfo
---@field id string
---@field cwd? string where its agent worked
---@field started? string "2026-11-22T11:48:37.123Z"
---@field used number when it was last written to, in seconds since the epoch
---@field messages integer how many messages its file holds
---@field first? string the first line that its user said

-- What a user said first in a piece: not what the host said for him.
local function first_line(line)
  local entry = json.decode(line)
  local message = type(entry) == "table" and entry.message
  if type(message) ~= "table" or message.role ~= "user" or type(message.content) ~= "table" then
    return nil
  end
  for _, block in ipairs(message.content) do
    local text = block.type == "text" and block.text
    if type(text) == "string" and not text:find("^<background%-results>") then
      return text:match("%S[^\n]*")
    end
  end
end

local function file_of(id, base_dir)
  return (base_dir or session.base_dir()) .. "/" .. id .. "/session.jsonl"
end

-- The header of a session file; nil when there is none.
local function read_header(path)
  local file <close> = io.open(path, "rb")
  local header = json.decode(file and file:read("l") or "")
  return type(header) == "table" and header.type == "session" and header or nil
end

-- Fills in what only a look at all lines tells.
local function look_inside(info, path)
  local file <close> = io.open(path, "rb")
  info.messages = 0
  for line in file and file:lines() or function() end do
    if line:find('"type":"message"', 1, true) then
      info.messages = info.messages + 1
      info.first = info.first or first_line(line)
    end
  end
end

-- The sessions by when they were used, newest first: { id, used } each.
local function by_use(base_dir)
  local found = {}
  local entries = sys.list(base_dir or session.base_dir(), defaults.session.max_count) or {}
  for _, entry in ipairs(entries) do
    local stat = entry.type == "directory" and sys.stat(file_of(entry.name, base_dir))
    if stat and stat.size > 0 then
      found[#found + 1] = { id = entry.name, used = stat.mtime }
    end
  end
  table.sort(found, function(a, b)
    if a.used ~= b.used then
      return a.used > b.used
    end
    return a.id > b.id
  end)
  return found
end

--- The sessions, newest first.
---@param opts? { cwd?: string, limit?: integer, base_dir?: string } cwd: only those of this
---  directory; limit: the newest so many, default defaults.session.listing
---@return agenthost.SessionInfo[] sessions
---@return boolean more there are more than these
function M.list(opts)
  opts = opts or {}
  local limit = opts.limit or defaults.session.listing
  local found = {}
  for _, info in ipairs(by_use(opts.base_dir)) do
    local path = file_of(info.id, opts.base_dir)
    local header = read_header(path)
    if header and (not opts.cwd or header.cwd == opts.cwd) then
      if #found == limit then
        return found, true
      end
      info.cwd, info.started = header.cwd, header.timestamp
      look_inside(info, path)
      found[#found + 1] = info
    end
  end
  return found, false
end

--- The id of the session of a directory that was used last.
---@param cwd string
---@param base_dir? string
---@return string? id
function M.latest(cwd, base_dir)
  for _, info in ipairs(by_use(base_dir)) do
    local header = read_header(file_of(info.id, base_dir))
    if header and header.cwd == cwd then
      return info.id
    end
  end
end

--- Whether a word looks like the id of a session, or its last part.
---@param word string
---@return boolean
function M.is_id(word)
  return word:find("^%d%d%d%d%d%d%d%d%-%d%d%d%d%d%d%-%x+$") ~= nil
    or word:find("^%x%x%x%x%x%x%x%x$") ~= nil
end

--- The session that a user means: by its id, or by the beginning or the end of it.
---@param name string
---@param base_dir? string
---@return string? id nil, message, code "ENOENT" or "AMBIGUOUS"
---@return string? message
---@return string? code
function M.find(name, base_dir)
  if not name:find("/", 1, true) and sys.stat(file_of(name, base_dir)) then
    return name
  end
  local found = {}
  for _, info in ipairs(name ~= "" and by_use(base_dir) or {}) do
    if info.id:sub(1, #name) == name or info.id:sub(-#name) == name then
      found[#found + 1] = info.id
    end
  end
  if #found > 1 then
    return nil, ("'%s' may be %d sessions: say more of its id"):format(name, #found), "AMBIGUOUS"
  elseif #found == 0 then
    return nil, ("there is no session '%s' (agenthost sessions lists them)"):format(name), "ENOENT"
  end
  return found[1]
end

--- Where a session's agent worked.
---@param id string
---@param base_dir? string
---@return string? cwd
function M.cwd(id, base_dir)
  local header = read_header(file_of(id, base_dir))
  return header and header.cwd
end

return M
