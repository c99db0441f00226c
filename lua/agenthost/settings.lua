--- The user's settings: $XDG_CONFIG_HOME/agenthost/settings.lua, a Lua file that returns a table.
---
---     return {
---       permissions = { allow = { "bash(git status:*)" }, deny = { "bash(sudo:*)" } },
---     }
---
--- It is data in the form of Lua: it runs without any library, as text only, for a bounded time.
--- Settings of a project are not read: that needs a word of the user's that they trust the folder.
local defaults = require("agenthost.defaults")
local options = require("agenthost.options")
local permission = require("agenthost.permission")
local places = require("agenthost.places")
local sys = require("agenthost.sys")

---@class agenthost.Settings
---@field permissions? { mode?: string, allow?: string[], deny?: string[], ask?: string[] }

local M = {}

local function fail(path, message)
  error(message:find(path, 1, true) and message or path .. ": " .. message, 0)
end

-- Runs the file without libraries. The methods of strings are a library, too: away with them for
-- as long as it runs, which it does in one go.
local function evaluate(chunk, path)
  local strings = getmetatable("")
  local index = strings.__index
  local runner = coroutine.create(chunk)
  local endless = ("it does not come to an end (more than %d steps; "
    .. "defaults.settings.max_instructions)"):format(defaults.settings.max_instructions)
  debug.sethook(runner, function() error(endless, 2) end, "", defaults.settings.max_instructions)
  strings.__index = nil
  local ok, value = coroutine.resume(runner)
  strings.__index = index
  if not ok then
    fail(path, type(value) == "string" and value or "it raised a " .. type(value))
  end
  return value
end

-- The line of a text in which the setting that an error names stands.
local function line_of(content, message)
  for quoted in message:gmatch("'([^']+)'") do
    local at = content:find(quoted, 1, true)
    if at then
      return select(2, content:sub(1, at):gsub("\n", "")) + 1
    end
  end
end

local function check(settings, path, content)
  if type(settings) ~= "table" then
    error(("%s: it has to return a table, it returned a %s"):format(path, type(settings)), 0)
  end
  local ok, message = pcall(function()
    options.check(settings, { "permissions" }, -1)
    if settings.permissions ~= nil then
      permission.read(settings.permissions)
    end
  end)
  if not ok then
    local line = line_of(content, message)
    error(("%s:%s %s"):format(path, line and line .. ":" or "", message), 0)
  end
end

--- Reads the settings.
---@param path? string default: the user's file
---@return agenthost.Settings settings empty when there is no file; raises, with file and line, when
---  something is wrong with it
function M.load(path)
  path = path or places.config .. "/settings.lua"
  local content, message, code = sys.read_file(path, defaults.settings.max_bytes)
  if not content and code == "ENOENT" then
    return {}
  elseif not content then
    error(("cannot read %s: %s"):format(path, message), 0)
  elseif message > #content then
    error(("%s: it is longer than %d bytes (defaults.settings.max_bytes)"):format(path,
      defaults.settings.max_bytes), 0)
  end
  local chunk, problem = load(content, "@" .. path, "t", {})
  if not chunk then
    fail(path, problem)
  end
  local settings = evaluate(chunk, path)
  check(settings, path, content)
  return settings
end

return M
