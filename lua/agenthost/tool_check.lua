--- Looks at the code of a tool that nobody has said yes to yet: it is compiled, and run as far as
--- the table that it returns, bounded as all code of plugins is, and without any rights. What could
--- touch a file, a process, a module or another plugin is not there for it: so far it may only
--- build its table, and a call of anything else is an error that says so. Functions of the tool are
--- not called.
local async = require("agenthost.async")
local copy = require("agenthost.copy")
local defaults = require("agenthost.defaults")
local protect = require("agenthost.protect")
local text = require("agenthost.text")
local tools = require("agenthost.tools")

local M = {}

-- All that such code may call. No getmetatable and no setmetatable: strings share theirs with
-- everybody, and a finalizer would run later, without a bound.
local FUNCTIONS <const> = { "assert", "error", "ipairs", "next", "pairs", "pcall", "rawequal",
  "rawget", "rawlen", "rawset", "select", "tonumber", "tostring", "type", "xpcall", "_VERSION" }
local LIBRARIES <const> = { "math", "string", "table", "utf8" }

local function forbidden(what)
  return function()
    error(what .. ": not while the file is loaded, only inside run", 2)
  end
end

-- Stands for a module or a library: its functions can be named, and not called.
local function stand_in(name)
  return setmetatable({}, {
    __index = function(_, key) return forbidden(("%s.%s"):format(name, tostring(key))) end,
    __newindex = forbidden(name),
    __call = forbidden(name),
  })
end

-- Globals for one run.
local function environment()
  local env = {}
  for _, name in ipairs(FUNCTIONS) do
    env[name] = _G[name]
  end
  for _, name in ipairs(LIBRARIES) do
    env[name] = copy.shallow(_G[name])
  end
  env._G = env
  env.require = function(name) return stand_in(tostring(name)) end
  return setmetatable(env, { __index = function(_, name)
    local real = rawget(_G, name)
    return type(real) == "table" and stand_in(name)
      or type(real) == "function" and forbidden(name) or nil
  end })
end

local function check_shape(value, name, path)
  if type(value) ~= "table" or type(value.run) ~= "function" then
    error(("%s has to return one tool, a table with name, description and run; it returned a %s%s")
      :format(path, type(value), type(value) == "table" and " without run" or ""), 0)
  end
  tools.entry(value, path)
  if value.name ~= name then
    error(("%s: the tool's name has to be '%s', as the file's; it is '%s'"):format(path, name,
      value.name), 0)
  end
end

-- In a job of its own where there can be one: the time that it takes is not the caller's.
local function call(owner, fn)
  if not async.inside() then
    return protect.call(owner, fn)
  end
  return async.spawn(function() return protect.call(owner, fn) end):wait()
end

--- What is wrong with the code of a tool; nil when nothing is.
---@param code string
---@param name string that it has to have
---@param path string of its file, for messages
---@return string? problem with file and line where there is one
function M.problem(code, name, path)
  local chunk, message = load(code, "@" .. path, "t", environment())
  if not chunk then
    return message
  end
  local ok, err = call("plugin " .. path, function()
    check_shape(chunk(), name, path) -- in here: what the table holds may be that code's, too
  end)
  if not ok then
    return text.preview(type(err) == "string" and err or ("%s: a %s was raised"):format(path,
      type(err)), { max = defaults.text.notice })
  end
end

return M
