--- What a plugin remembers from run to run (`ctx.state`): a small table, kept as JSON in
--- $XDG_STATE_HOME/agenthost/plugins/<name>.json. Within a host all versions of a plugin have the
--- same table, whichever agent they are of, so that what one writes last is there for the others.
--- Two hosts that run at once share the file: the one that writes last is right.
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local sys = require("agenthost.sys")

---@class agenthost.PluginState
---@field value table
---@field problem? string why it could not be written the last time
---@field owners table<agenthost.PluginRecord, boolean> those that have it in hand
local State = {}
State.__index = State

local M = {}

-- Path -> the state that somebody has in hand.
local opened = setmetatable({}, { __mode = "v", __name = "what is open" })

local function path_of(name, dir)
  if not name:find("^[%w_-][%w_.-]*$") or #name > 100 then
    error(("a plugin that keeps a state needs a name of letters, digits, '_', '-' and '.', "
      .. "got '%s'"):format(name), 0)
  end
  return ("%s/%s.json"):format(dir or assert(sys.xdg("state")) .. "/agenthost/plugins", name)
end

-- The table in a file; a text that is no object is not overwritten by accident.
local function decode(path, content)
  local value, message = json.decode(content)
  if type(value) ~= "table" or #value > 0 then
    error(("%s holds no JSON object%s; mend it or take it away"):format(path,
      value == nil and " (" .. message .. ")" or ""), 0)
  end
  return value
end

-- The content of a file; nil when there is none.
local function read(path)
  local content, size, code = sys.read_file(path, defaults.plugin.max_state)
  if content and size > #content then
    error(("%s is longer than %d bytes (defaults.plugin.max_state); take it away, or copy the "
      .. "defaults and raise it"):format(path, defaults.plugin.max_state), 0)
  elseif not content and code ~= "ENOENT" then
    error(("cannot read %s: %s"):format(path, size), 0)
  end
  return content
end

--- The state of the plugin `name`; empty when there is none yet. One that somebody has open is the
--- same.
---@param name string
---@param dir? string|false another directory, for tests; false: it is in memory only
---@return agenthost.PluginState state raises when it cannot be read
function M.open(name, dir)
  local owners = setmetatable({}, { __mode = "k" })
  if dir == false then
    return setmetatable({ value = {}, owners = owners }, State)
  end
  local path = path_of(name, dir)
  if not opened[path] then
    local content = read(path)
    opened[path] = setmetatable({ path = path, written = content, owners = owners,
      value = content and decode(path, content) or {} }, State)
  end
  return opened[path]
end

-- Puts other content into the table that plugins have in hand.
local function fill(self, content)
  for key in pairs(self.value) do
    self.value[key] = nil
  end
  for key, value in pairs(content and decode(self.path, content) or {}) do
    self.value[key] = value
  end
end

--- What it holds, for `restore`.
---@return string|false content false when that is no JSON
function State:snapshot()
  local ok, content = pcall(json.encode, self.value)
  return ok and content
end

--- Makes it hold again what it did.
---@param content string of `snapshot`
function State:restore(content)
  fill(self, content)
end

--- Takes over what somebody else has written to the file, unless there is something to write.
function State:catch_up()
  local current = self.path and self:snapshot()
  if current and current == (self.written or json.encode({})) then
    local content = read(self.path)
    if content ~= self.written then
      fill(self, content)
      self.written = content
    end
  end
end

--- Writes it when it has changed, as a whole or not at all.
---@return boolean? ok nil and a message when it cannot be written; the file is as it was
---@return string? message
function State:flush()
  if not self.path then
    return true
  end
  local ok, content = pcall(json.encode, self.value)
  if not ok then
    return nil, "ctx.state cannot be written as JSON: " .. tostring(content)
  elseif content == self.written or self.written == nil and next(self.value) == nil then
    return true
  elseif #content > defaults.plugin.max_state then
    return nil, ("ctx.state takes %d bytes, more than %d (defaults.plugin.max_state)"):format(
      #content, defaults.plugin.max_state)
  end
  local made, message = sys.mkdir_private(self.path:match("^(.*)/"))
  if made then
    made, message = sys.write_file(self.path, content)
  end
  if not made then
    return nil, ("ctx.state: cannot write %s: %s"):format(self.path, message)
  end
  self.written = content
  return true
end

return M
