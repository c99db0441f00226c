--- What a reload does with Lua modules that have changed: all of them, then the agent, which was
--- made with those from before. See reload.lua and module_reload.lua.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

local M = {}

-- Loads one, and before it what it requires and has changed, too.
local function load_one(reload, lines, batch, change)
  local name = change.module.name
  batch.waiting[name] = nil
  reload:try(lines, change, function()
    local line, live = reload.modules:load(change.module, batch.moved, function(required)
      if batch.waiting[required] then
        load_one(reload, lines, batch, batch.waiting[required])
      end
    end)
    batch.live[name] = live or nil
    return line
  end)
end

-- Does a part of what follows; what it raises is told, and the part stays as it was.
local function part(reload, lines, what, fn)
  local ok, result = pcall(fn)
  if not ok and async.is_cancellation(result) then
    error(result, 0)
  elseif not ok then
    reload.agent:warn(("%s as before: %s"):format(what, tostring(result)))
  end
  for _, line in ipairs(ok and result or {}) do
    reload:tell(lines, line)
  end
  return ok
end

local function is_users(live)
  for name in pairs(live) do
    if not name:find("^agenthost%.") then
      return true
    end
  end
  return false
end

-- The agent has copied bounds, and its prompt is a text; plugins, and with modules of the user's
-- own the script, may hold what they have taken from a module.
local function make_anew(reload, lines, live)
  local agent, opts = reload.agent, reload.agent.made_with
  if live["agenthost.defaults"] then
    part(reload, lines, "the bounds of tasks and memory stay", function()
      task.set_max_running(defaults.task.max_running)
      protect.limit_memory(sys.getenv("AGENTHOST_MEMORY"))
    end)
  end
  if reload.script and is_users(live) then
    part(reload, lines, "the agent script stays", function()
      opts = reload:script_options(reload.script.content)
    end)
  end
  local function reconfigure(with, stale)
    return function() return agent:reconfigure(with, function() return stale end) end
  end
  if not part(reload, lines, "the plugins stay", reconfigure(opts, true)) then
    part(reload, lines, "the agent stays", reconfigure(agent.made_with, false))
  end
end

--- Loads the modules among the changes.
---@param reload agenthost.Reload
---@param lines string[] gets what was done
---@param changes table[] of Reload:look
function M.load(reload, lines, changes)
  local batch = { waiting = {}, moved = {}, live = {} }
  for _, change in ipairs(changes) do
    if change.kind == "module" then
      batch.waiting[change.module.name] = change
    end
  end
  for _, change in ipairs(changes) do
    if change.kind == "module" and batch.waiting[change.module.name] then
      load_one(reload, lines, batch, change)
    end
  end
  if next(batch.live) then
    reload.modules:settle(batch.moved)
    make_anew(reload, lines, batch.live)
  end
end

return M
