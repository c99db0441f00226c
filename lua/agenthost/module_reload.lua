--- Reloading Lua modules that a user keeps in ~/.config/agenthost/lua, built-in ones among them.
---
--- Others hold a module's table, and objects hold its classes: these tables stay and get the new
--- contents. So the next call of any function is one of the new version, also of objects that are
--- there already; a call under way finishes with the old one.
local defaults = require("agenthost.defaults")
local places = require("agenthost.places")
local plugin = require("agenthost.plugin")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")

local M = {}

--- Modules that hold what the running program stands on: a new version counts from the next start.
M.NEEDS_RESTART = {
  ["agenthost.agent_base"] = true, ["agenthost.async"] = true, ["agenthost.cli"] = true,
  ["agenthost.json"] = true, ["agenthost.tool_run"] = true, ["agenthost.tools"] = true,
}

-- ---- what is there -----------------------------------------------------------------------------

-- Lua files below a directory, as module name -> path; no more than the bound, and no deeper than
-- names of modules go.
local function overrides()
  local found, left = {}, defaults.plugin.max_overrides
  local function walk(dir, prefix, depth)
    for _, entry in ipairs(sys.list(dir, defaults.plugin.max_overrides) or {}) do
      left = left - 1
      if left < 0 then
        return
      elseif entry.type == "directory" and depth > 0 then
        walk(dir .. "/" .. entry.name, prefix .. entry.name .. ".", depth - 1)
      elseif entry.name:find("%.lua$") then
        local name = prefix .. entry.name:sub(1, -5)
        found[name:gsub("%.init$", "")] = dir .. "/" .. entry.name
      end
    end
  end
  walk(places.config .. "/lua", "", 4)
  return found
end

---@class agenthost.ModuleReload
local Modules = {}
Modules.__index = Modules

--- What is there now counts as loaded.
---@return agenthost.ModuleReload
function M.new()
  local self = setmetatable({ files = {} }, Modules)
  for name, path in pairs(overrides()) do
    local ok, content = pcall(plugin.read, path)
    self.files[name] = { path = path, content = ok and content or nil }
  end
  return self
end

-- The file that takes the place of an override that is gone.
local function fallback(name)
  local path = package.searchpath(name, package.path)
  local ok, content = pcall(plugin.read, path or "")
  return path and ok and { path = path, content = content } or nil
end

--- The modules whose files are not what was loaded.
---@return table[] changes name, path, content; content is nil where it cannot be read
function Modules:look()
  local changes, now = {}, overrides()
  for name, path in pairs(now) do
    local ok, content = pcall(plugin.read, path)
    local known = self.files[name]
    local version = { name = name, path = path, content = ok and content or nil,
      problem = not ok and content or nil }
    if not package.loaded[name] then
      self.files[name] = version
    elseif not known or known.content ~= version.content or known.path ~= path then
      changes[#changes + 1] = version
    end
  end
  for name, known in pairs(self.files) do
    if not now[name] and package.loaded[name] and known.path:find(places.config, 1, true) == 1 then
      local other = fallback(name)
      changes[#changes + 1] = { name = name, path = other and other.path or known.path,
        content = other and other.content,
        problem = not other and known.path .. " is gone" or nil }
    end
  end
  table.sort(changes, function(a, b) return a.name < b.name end)
  return changes
end

-- ---- one in place of the other -----------------------------------------------------------------

-- Calls visit(value, upvalue name, function, index) for everything that the functions of a module
-- share with each other.
local function each_upvalue(module, visit)
  local seen = {}
  local function walk(fn, source)
    if seen[fn] or debug.getinfo(fn, "S").source ~= source then
      return
    end
    seen[fn] = true
    local index = 1
    local name, value = debug.getupvalue(fn, index)
    while name do
      visit(value, name, fn, index)
      if type(value) == "function" then
        walk(value, source)
      end
      index = index + 1
      name, value = debug.getupvalue(fn, index)
    end
  end
  for _, value in pairs(module) do
    if type(value) == "function" then
      walk(value, debug.getinfo(value, "S").source)
    end
  end
end

-- The classes of a module: tables that are their own __index, by the name of the local variable;
-- and `methods`, if it has that.
local function classes(module)
  local found = {}
  each_upvalue(module, function(value, name)
    if type(value) == "table" and rawget(value, "__index") == value then
      found[name] = value
    end
  end)
  found.methods = type(module.methods) == "table" and module.methods or nil
  return found
end

local function fill(old, new)
  for key in pairs(old) do
    old[key] = nil
  end
  for key, value in pairs(new) do
    old[key] = rawequal(value, new) and old or value
  end
  setmetatable(old, getmetatable(new))
end

-- Puts the contents of one module into the tables of the other. Cannot fail.
local function adopt(old, new)
  local stays = { [new] = old }
  local old_classes = classes(old)
  for name, class in pairs(classes(new)) do
    if old_classes[name] then
      stays[class] = old_classes[name]
    end
  end
  each_upvalue(new, function(value, _, fn, index)
    if stays[value] then
      debug.setupvalue(fn, index, stays[value])
    end
  end)
  for from, to in pairs(stays) do
    fill(to, from)
  end
  for key, value in pairs(old) do
    old[key] = stays[value] or value
  end
end

local function check_shape(name, old, new)
  if type(new) ~= "table" then
    error(("it has to return a table, it returned a %s"):format(type(new)), 0)
  end
  for key, value in pairs(old) do
    if type(value) ~= type(new[key]) then
      error(("%s.%s: expected a %s, as in the version that runs; got a %s"):format(name,
        tostring(key), type(value), type(new[key])), 0)
    end
  end
end

--- Loads a new version of a module and puts it in place of the one that runs.
---@param change table of `look`
---@return string line what was done; raises when it cannot be, and the version that runs stays
function Modules:load(change)
  local old = package.loaded[change.name]
  if not change.content then
    error(change.problem, 0)
  elseif M.NEEDS_RESTART[change.name] or type(old) ~= "table" then
    self:accept(change)
    return ("%s has changed: it counts from the next start on"):format(change.path)
  end
  local chunk, message = load(change.content, "@" .. change.path, "t",
    setmetatable({}, { __index = _G }))
  if not chunk then
    error(message, 0)
  end
  local new = protect.run(change.path, chunk, change.name, change.path)
  local ok, problem = pcall(check_shape, change.name, old, new)
  if not ok then
    error(change.path .. ": " .. problem, 0)
  end
  adopt(old, new)
  self:accept(change)
  return ("%s is loaded: the module %s"):format(change.path, change.name)
end

--- Takes it that this version is loaded.
function Modules:accept(change)
  self.files[change.name] = { path = change.path, content = change.content }
end

return M
