--- Reloading Lua modules that a user keeps in ~/.config/agenthost/lua, built-in ones among them.
---
--- Others hold a module's table, and objects hold its classes: these tables stay and get the new
--- contents (module_swap.lua). So the next call of any function is one of the new version, also of
--- objects that are there already; a call under way finishes with the old one.
local defaults = require("agenthost.defaults")
local fill_defaults = require("agenthost.fill_defaults")
local module_swap = require("agenthost.module_swap")
local places = require("agenthost.places")
local plugin = require("agenthost.plugin")
local protect = require("agenthost.protect")
local source_text = require("agenthost.source_text")
local sys = require("agenthost.sys")

local M = {}

--- Modules of which a new version counts from the next start, and why.
M.NEEDS_RESTART = {
  ["agenthost.agent_base"] = "what the command line says is in its local variables",
  ["agenthost.async"] = "the jobs that run are in its local variables",
  ["agenthost.cli"] = "it has been called when the program began",
  ["agenthost.command_line"] = "it has been read when the program began",
  ["agenthost.json"] = "the values that it marks are known by its local tables",
  ["agenthost.printed"] = "it stands in the place of functions of Lua's own",
  ["agenthost.testing.place"] = "the test under way is in its local variables",
  ["agenthost.testing.time"] = "it stands in the place of functions of Lua's own",
  ["agenthost.tool_run"] = "calls under way compare with its local marks",
  ["agenthost.tools"] = "what cancels a call is one value for all that hold it",
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
        local name = (prefix .. entry.name:sub(1, -5)):gsub("%.init$", "")
        if not package.preload[name] then -- those of C are never looked for in files
          found[name] = dir .. "/" .. entry.name
        end
      end
    end
  end
  walk(places.config .. "/lua", "", 4)
  return found
end

---@class agenthost.ModuleReload
local Modules = {}
Modules.__index = Modules

-- Folder -> name of a module -> the file that was loaded for it. Modules are loaded once in a
-- process, whichever agent looks; a mark (module_swap.lua), so that it outlives a reload of this.
local loaded = setmetatable({}, { __name = "what is loaded" })

--- What is there when the first agent of the process is made counts as loaded.
---@return agenthost.ModuleReload
function M.new()
  local files = loaded[places.config]
  if not files then
    files = {}
    for name, path in pairs(overrides()) do
      local ok, content = pcall(plugin.read, path)
      files[name] = { path = path, content = ok and content or nil }
    end
    loaded[places.config] = files
  end
  return setmetatable({ files = files }, Modules)
end

-- The file that takes the place of an override that is gone.
local function fallback(name)
  local path = package.searchpath(name, package.path)
  local ok, content = pcall(plugin.read, path or "")
  return path and ok and { path = path, content = content } or nil
end

--- The modules whose files are not what was loaded.
---@return table[] changes name, path, content; content is nil where it cannot be read
---@return boolean more there is something new among those that nobody has required yet
function Modules:look()
  local changes, now, more = {}, overrides(), false
  for name, path in pairs(now) do
    local ok, content = pcall(plugin.read, path)
    local known = self.files[name]
    local version = { name = name, path = path, content = ok and content or nil,
      problem = not ok and content or nil }
    if not package.loaded[name] then
      more = more or not known or known.content ~= version.content
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
  return changes, more
end

-- ---- one in place of the other -----------------------------------------------------------------

-- Raises unless a new version has all that others may use of the one that runs.
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
---@param moved table<function, function> for `settle`
---@param before fun(name: string) called with each module that it requires, before that is done
---@return string line what was done; raises when it cannot be, and the version that runs stays
---@return boolean live false when it counts from the next start on
function Modules:load(change, moved, before)
  local old = package.loaded[change.name]
  local why = type(old) ~= "table" and "what it gave when it was loaded is no table"
    or M.NEEDS_RESTART[change.name]
  if not change.content then
    error(change.problem, 0)
  elseif why then
    self:accept(change)
    return ("%s has changed: it counts from the next start on (%s)"):format(change.path, why), false
  end
  local env = setmetatable({ require = function(name)
    before(name)
    return require(name)
  end }, { __index = _G })
  local chunk, message = source_text.load(change.content, change.path, env)
  if not chunk then
    error(message, 0)
  end
  local new = protect.run(change.path, chunk, change.name, change.path)
  env.require = nil -- from now on the usual one
  if change.name == "agenthost.defaults" then
    fill_defaults.fill(new, change.path)
  end
  local ok, problem = pcall(check_shape, change.name, old, new)
  if not ok then
    error(change.path .. ": " .. problem, 0)
  end
  module_swap.adopt(old, new, moved)
  self:accept(change)
  return ("%s is loaded: the module %s"):format(change.path, change.name), true
end

--- After modules were loaded: others, ours and those of the user's, that have taken functions of
--- them get the new ones.
---@param moved table<function, function>
function Modules:settle(moved)
  for name, module in pairs(package.loaded) do
    if type(module) == "table" and not package.preload[name]
      and (name:find("^agenthost%.") or self.files[name]) then
      module_swap.follow(module, moved)
    end
  end
end

--- Takes it that this version is loaded.
function Modules:accept(change)
  self.files[change.name] = { path = change.path, content = change.content }
end

return M
