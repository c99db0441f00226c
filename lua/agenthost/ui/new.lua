--- `agenthost new`: writes a commented start with its tests, from the files in templates/.
local json = require("agenthost.json")
local places = require("agenthost.places")
local sys = require("agenthost.sys")

local M = {}

local USAGE <const> = [[
agenthost new agent NAME    NAME.lua, an agent with a tool, and NAME_test.lua
agenthost new plugin NAME   NAME.lua, a plugin with two tools, and NAME_test.lua
agenthost new tool NAME     NAME.lua, one tool, and NAME_test.lua

Written into the working directory, with a .luarc.json for lua-language-server; no file is replaced.
]]

local KINDS <const> = { agent = true, plugin = true, tool = true }
local MAX_NAME <const> = 64 -- as providers allow for a tool

local function read_template(name)
  local path = places.share .. "/lua/agenthost/templates/" .. name
  local content, message = sys.read_file(path, 1024 * 1024)
  return content or error({ message = ("cannot read %s: %s"):format(path, message) }, 0)
end

-- Where lua-language-server finds the declarations of agenthost.
local function luarc()
  return ([[{
  "$schema": "https://raw.githubusercontent.com/LuaLS/vscode-lua/master/setting/schema.json",
  "runtime.version": "Lua 5.4",
  "workspace.library": [%s],
  "workspace.checkThirdParty": false,
  "diagnostics.globals": ["describe", "it", "before_each", "after_each"]
}
]]):format(json.encode(places.share .. "/lua"))
end

-- The files of a start: { path, content } each.
local function files_of(kind, name)
  local function fill(template)
    return (read_template(template):gsub("my_" .. kind, name))
  end
  return {
    { name .. ".lua", fill(kind .. ".lua") },
    { name .. "_test.lua", fill(kind .. "_test.lua") },
  }
end

local function exists(path)
  return sys.stat(path) ~= nil
end

local function write(path, content)
  local ok, message = sys.write_file(path, content, 420) -- octal 644
  if not ok then
    local why = message:gsub("^cannot write '[^']*': ", "") -- said once
    error({ message = ("cannot write %s: %s"):format(path, why) }, 0)
  end
  sys.write_fd(1, "wrote " .. path .. "\n")
end

local function check(kind, name)
  if not KINDS[kind] or not name then
    error({ usage = "new: say agent, plugin or tool, and a name\n" .. USAGE:gsub("\n$", "") }, 0)
  elseif not name:find("^%a[%w_-]*$") or #name > MAX_NAME then
    error({ usage = ("new: '%s' is no name: letters, digits, '_' and '-', a letter first, at most "
      .. "%d"):format(name, MAX_NAME) }, 0)
  elseif name:find("_test$") then
    error({ usage = ("new: '%s' would be taken for a file of tests"):format(name) }, 0)
  end
end

--- Runs the command. Returns the exit code.
---@param words string[] what stands behind "new"
---@return integer
function M.run(words)
  if words[1] == "--help" or words[1] == "-h" then
    sys.write_fd(1, USAGE)
    return 0
  end
  local kind, name = words[1], words[2]
  if words[3] then
    error({ usage = ("new: unexpected '%s'\n"):format(words[3]) .. USAGE:gsub("\n$", "") }, 0)
  end
  check(kind, name)
  local files = files_of(kind, name)
  for _, file in ipairs(files) do
    if exists(file[1]) then
      error({ message = ("%s is there already: nothing was written"):format(file[1]) }, 0)
    end
  end
  for _, file in ipairs(files) do
    write(file[1], file[2])
  end
  if not exists(".luarc.json") then
    write(".luarc.json", luarc())
  end
  sys.write_fd(1, ("Next: agenthost test %s_test.lua; agenthost check %s.lua\n"):format(name, name))
  return 0
end

return M
