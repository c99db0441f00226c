--- What a plugin remembers from run to run (`ctx.state`): a small table, kept as JSON in
--- $XDG_STATE_HOME/agenthost/plugins/<name>.json. Two hosts that run at once share the file: the
--- one that writes last is right.
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local sys = require("agenthost.sys")

---@class agenthost.PluginState
---@field value table
local State = {}
State.__index = State

local M = {}

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

--- The state of the plugin `name`; empty when there is none yet.
---@param name string
---@param dir? string|false another directory, for tests; false: it is in memory only
---@return agenthost.PluginState state raises when it cannot be read
function M.open(name, dir)
  if dir == false then
    return setmetatable({ value = {} }, State)
  end
  local path = path_of(name, dir)
  local content, message, code = sys.read_file(path, defaults.plugin.max_state)
  if not content and code ~= "ENOENT" then
    error(("cannot read %s: %s"):format(path, message), 0)
  end
  local value = content and decode(path, content) or {}
  return setmetatable({ path = path, value = value, written = content }, State)
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
