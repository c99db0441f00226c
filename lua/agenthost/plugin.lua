--- Finding and loading plugins.
---
--- A plugin is a Lua file (or a folder with init.lua) that returns a tool, a list of tools, or a
--- table with `name` and `setup(ctx, options)`: see agenthost.Plugin. The built-in ones use nothing
--- that yours cannot. What a plugin gets in hand is its context: plugin_record.lua.
---
--- Its globals are its own: a file runs in an environment that reads the real globals and keeps
--- what it sets. In a folder `require "x"` means the folder's x.lua first; it is loaded anew with
--- the plugin.
local defaults = require("agenthost.defaults")
local options = require("agenthost.options")
local places = require("agenthost.places")
local project = require("agenthost.project")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")
local tools = require("agenthost.tools")

--- What a plugin file returns, unless it is just a tool or a list of tools.
---@class agenthost.Plugin
---@field name? string letters, digits, '_', '-' and '.'; its state is kept by it; default: the
---  file's name
---@field version? string for people
---@field api? integer the version of this interface it was written for; default: this one
---@field setup fun(ctx: agenthost.PluginContext, opts: table) adds what it has; opts: what stands
---  beside its name in `plugins`. May wait, for defaults.plugin.setup at most, like the three
---  below. When it raises, nothing of it stays
---@field teardown? fun() ends what the context does not know of; after it everything that came from
---  the context is taken away
---@field save? fun(): any before it is reloaded: what the new version is to have
---@field restore? fun(saved: any) of the new version, once it is live: what `save` gave

--- A plugin that was read and has the right shape; nothing of it is set up.
---@class agenthost.PluginDefinition
---@field name string
---@field source string its file, or its name when it has none
---@field path? string its file
---@field files table<string, string> path -> content, of all that was read for it
---@field options table
---@field setup fun(ctx: agenthost.PluginContext, opts: table)
---@field teardown? fun()
---@field save? fun(): any
---@field restore? fun(saved: any)
---@field version? string

local M = {}

--- The version of the plugin interface.
M.API = 1

-- The names of the plugins in these folders.
local function names_in(folders)
  local names = {}
  for _, folder in ipairs(folders) do
    for _, entry in ipairs(sys.list(folder) or {}) do
      names[#names + 1] = entry.type == "directory" and entry.name
        or entry.name:match("^(.*)%.lua$")
    end
  end
  return names
end

-- Raises: what is not there, where it would be, and what may be meant.
local function refuse_missing(name, candidates, base_dir)
  local folders, hint = {}, ""
  for i, path in ipairs(candidates) do
    folders[i] = path:match("^(.*)/") or "/"
  end
  local beside = ("%s/%s.lua"):format(base_dir, (name:gsub("%.lua$", "")))
  local best = options.closest(name:match("([^/]*)$"):gsub("%.lua$", ""), names_in(folders))
  if not name:find("/", 1, true) and sys.stat(beside) then
    hint = ("; for the file beside the script say './%s'"):format(name)
  elseif best then
    hint = ("; did you mean '%s%s'?"):format(name:match("^.*/") or "", best)
  end
  local looked = table.concat(folders, ", ")
  error(("plugin '%s' is not there; looked in %s%s%s"):format(name, looked, hint,
    places.untrusted and ("; not in %s, which is not trusted (--trust-project)"):format(
      places.untrusted) or ""), 0)
end

-- Where a plugin named `name` is: a path when it looks like one, else in the project's folder (when
-- that is trusted), the user's, then ours.
local function find(name, base_dir)
  local candidates
  if name:find("^%.%.?/") then
    candidates = { base_dir .. "/" .. name:gsub("^%./", "") }
  elseif name:find("^/") then
    candidates = { name }
  else
    candidates = { places.config .. "/plugins/" .. name, places.share .. "/plugins/" .. name }
    if places.project then
      table.insert(candidates, 1, places.project .. "/plugins/" .. name)
    end
  end
  for _, path in ipairs(candidates) do
    for _, file in ipairs({ path, path .. ".lua", path .. "/init.lua" }) do
      local stat = sys.stat(file)
      if stat and stat.type == "file" then
        return file
      end
    end
  end
  refuse_missing(name, candidates, base_dir)
end

--- Reads a file of Lua or of a prompt, within defaults.plugin.max_file.
---@param path string
---@return string content raises when that cannot be
function M.read(path)
  local content, size = sys.read_file(path, defaults.plugin.max_file)
  if not content then
    error(("cannot read %s: %s"):format(path, size), 0)
  elseif size > #content then
    error(("%s is longer than %d bytes (defaults.plugin.max_file)"):format(path,
      defaults.plugin.max_file), 0)
  end
  return content
end

-- Runs a file in the plugin's environment. What was read is kept in `files`.
local function run_file(path, env, files, confirm)
  local content = M.read(path)
  project.admit(path, content, confirm)
  files[path] = content
  -- Some editors put a mark in front of UTF-8; the same line may begin with #!, as for loadfile.
  local code = content:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  local chunk, message = load(code, "@" .. path, "t", env)
  if not chunk then
    error(("plugin %s%s"):format(content:sub(1, 1) == "\27" and path .. ": " or "", message), 0)
  end
  return (protect.run("plugin " .. path, chunk))
end

-- `require` for the files of a folder: its own first, each run once.
local function local_require(dir, env, files, confirm)
  local loaded = {}
  return function(name)
    local path = type(name) == "string" and not name:find("/", 1, true)
      and ("%s/%s.lua"):format(dir, (name:gsub("%.", "/")))
    local missing = path and select(3, sys.stat(path)) -- what cannot be read is there
    if loaded[name] ~= nil then
      return loaded[name]
    elseif path and missing ~= "ENOENT" and missing ~= "ENOTDIR" then
      local value = run_file(path, env, files, confirm)
      loaded[name] = value == nil and true or value
      return loaded[name]
    end
    return require(name)
  end
end

local function load_file(path, confirm)
  local files, env = {}, setmetatable({}, { __index = _G })
  local folder = path:match("^(.*)/init%.lua$")
  if folder then
    env.require = local_require(folder, env, files, confirm)
  end
  return run_file(path, env, files, confirm), files
end

local function is_tool(value)
  return type(value) == "table" and type(value.run) == "function"
end

local FIELDS <const> = { "name", "version", "api", "setup", "teardown", "save", "restore" }

-- What a file has returned that is no plugin, as the end of a message.
local function what_it_is(value)
  if value == nil then
    return "it returned nothing: is the `return` missing?"
  elseif type(value) ~= "table" then
    return "it returned " .. options.show(value)
  end
  local tool = value.run == nil and type(value[1]) == "table" and value[1] or value
  local field, meant = tools.misnamed(tool)
  if not field then
    for key in pairs(value) do
      meant = value.setup == nil and options.slip(key, FIELDS)
      field = meant and key
      if field then
        break
      end
    end
  end
  if field then
    return ("unknown field '%s'; did you mean '%s'?"):format(field, meant)
  elseif tool.name or tool.description or tool.run ~= nil then
    return ("the tool %s needs a function `run`, got %s"):format(options.show(tool.name),
      options.show(tool.run))
  end
  return "it returned a table without `run` and without `setup`"
end

-- The three shapes of a plugin as one: a function that sets it up.
local function setup_of(value, source)
  if is_tool(value) then
    return function(ctx)
      ctx.tool(value)
    end
  elseif type(value) == "table" and type(value.setup) == "function" then
    return value.setup
  elseif type(value) == "table" and is_tool(value[1]) then
    return function(ctx)
      local problems = {}
      for _, tool in ipairs(value) do
        local ok, problem = pcall(ctx.tool, tool)
        problems[#problems + 1] = not ok and tostring(problem) or nil
      end
      if #problems > 0 then
        error(table.concat(problems, "\n"), 0) -- all that is wrong, not the first alone
      end
    end
  end
  error(("plugin %s has to return a tool, a list of tools, or a table with setup(ctx, options); %s")
    :format(source, what_it_is(value)), 0)
end

local FUNCTIONS <const> = { "teardown", "save", "restore" }

-- Checks what a plugin says of itself. A name that is nearly one of ours is a slip of the pen: it
-- would never be called, and nobody would know why.
local function check_fields(value, source)
  local known = {}
  for _, field in ipairs(FIELDS) do
    known[field] = true
  end
  for field in pairs(value) do
    local meant = not known[field] and options.slip(field, FIELDS)
    if meant then
      error(("plugin %s: unknown field '%s'; did you mean '%s'?"):format(source, field, meant), 0)
    end
  end
  for _, field in ipairs(FUNCTIONS) do
    if value[field] ~= nil and type(value[field]) ~= "function" then
      error(("plugin %s: %s: expected a function, got a %s"):format(source, field,
        type(value[field])), 0)
    end
  end
  if value.name ~= nil and (type(value.name) ~= "string" or value.name == "") then
    error(("plugin %s: name: expected a text, got %s"):format(source, tostring(value.name)), 0)
  elseif value.api ~= nil and (math.type(value.api) ~= "integer" or value.api < 1
    or value.api > M.API) then
    error(("plugin %s is written for version %s of the plugin interface; this agenthost has %d")
      :format(source, tostring(value.api), M.API), 0)
  end
end

-- The name of a plugin that gives itself none.
local function name_of(path)
  local name = path:match("([^/]+)/init%.lua$") or path:match("([^/]+)$")
  return (name:gsub("%.lua$", ""))
end

-- Sorts a spec into a name or path, its options, and the value of an inline one.
local function read_spec(spec)
  if type(spec) == "string" then
    return spec, {}
  elseif type(spec) ~= "table" then
    error("plugins: expected names, paths or tables, got a " .. type(spec), 0)
  elseif type(spec[1]) ~= "string" then
    return nil, {}, spec
  end
  local given = {}
  for key, option in pairs(spec) do
    if key ~= 1 then
      given[key] = option
    end
  end
  return spec[1], given
end

--- The file of a plugin as it would be loaded now.
---@param spec string|table as for `define`
---@param base_dir string
---@return string? path nil for what has no file; raises when it is not there
function M.locate(spec, base_dir)
  local name = read_spec(spec)
  return name and find(name, base_dir)
end

--- Loads one plugin and checks its shape. Nothing is set up.
---@param spec string|table a name ("shell"), a path ("./my_tools.lua", relative to `base_dir`), a
---  table { name-or-path, option = value, ... }, or what a plugin file would return
---@param base_dir string
---@param confirm? fun(question: string): boolean asks the user whether they trust a file of the
---  project that has changed; see project.lua
---@return agenthost.PluginDefinition definition raises when it cannot be
function M.define(spec, base_dir, confirm)
  local name, given, value = read_spec(spec)
  local path, files = name and find(name, base_dir), {}
  if path then
    value, files = load_file(path, confirm)
  end
  local source = path or type(value.name) == "string" and value.name or "(inline)"
  local setup = setup_of(value, source)
  local is_plugin = type(value.setup) == "function" and not is_tool(value)
  if next(given) and not is_plugin then
    error(("plugin %s takes no options, got '%s'"):format(source, tostring(next(given))), 0)
  end
  local definition = { source = source, path = path, files = files, options = given,
    setup = setup, name = path and name_of(path) or source }
  if is_plugin then
    check_fields(value, source)
    definition.name = value.name or definition.name
    definition.version = value.version
    for _, field in ipairs(FUNCTIONS) do
      definition[field] = value[field]
    end
  end
  return definition
end

return M
