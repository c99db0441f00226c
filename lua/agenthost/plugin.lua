--- Finding and loading plugins.
---
--- A plugin is a Lua file (or a folder with init.lua) that returns a tool, a list of tools, or a
--- table with `name` and `setup(ctx, options)`. The built-in ones use nothing that yours cannot.
local places = require("agenthost.places")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")

---@class agenthost.PluginContext
---@field cwd string the agent's working directory
---@field options table what stands beside the plugin's name in `plugins`
---@field tool fun(tool: agenthost.Tool) adds a tool
---@field command fun(command: agenthost.Command) adds a command of the interactive program
---@field prompt fun(part: agenthost.PromptPart) adds to the system prompt; while it is set up only
---@field note fun(line: string) a line for the user, shown at the start; while it is set up only
---@field notify fun(text: string, fields?: table) puts a notice into the agent's queue
---@field log fun(text: string) a line for --verbose

local M = {}

-- Where a plugin named `name` is: a path when it looks like one, else in the project's folder (when
-- that is trusted), the user's, then ours.
local function find(name, base_dir)
  local candidates
  if name:find("^%.%.?/") then
    candidates = { base_dir .. "/" .. name }
  elseif name:find("^/") then
    candidates = { name }
  else
    candidates = { places.config .. "/plugins/" .. name, places.share .. "/plugins/" .. name }
    if places.project then
      table.insert(candidates, 1, places.project .. "/plugins/" .. name)
    end
  end
  local tried = {}
  for _, path in ipairs(candidates) do
    for _, file in ipairs({ path, path .. ".lua", path .. "/init.lua" }) do
      local stat = sys.stat(file)
      if stat and stat.type == "file" then
        return file
      end
      tried[#tried + 1] = file
    end
  end
  error(("plugin '%s' is not there; looked for %s%s"):format(name, table.concat(tried, ", "),
    places.untrusted and ("; not in %s, which is not trusted (--trust-project)"):format(
      places.untrusted) or ""), 0)
end

local function load_file(path)
  local chunk, message = loadfile(path, "t")
  if not chunk then
    error("plugin " .. message, 0)
  end
  return (protect.run("plugin " .. path, chunk))
end

local function is_tool(value)
  return type(value) == "table" and type(value.run) == "function"
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
      for _, tool in ipairs(value) do
        ctx.tool(tool)
      end
    end
  end
  error(("plugin %s has to return a tool, a list of tools, or a table with setup(ctx, options); "
    .. "it returned a %s"):format(source, type(value)), 0)
end

--- Loads one plugin and sets it up.
---@param spec string|table a name ("shell"), a path ("./my_tools.lua", relative to `base_dir`), a
---  table { name-or-path, option = value, ... }, or what a plugin file would return
---@param base_dir string
---@param new_context fun(source: string, options: table): agenthost.PluginContext
function M.load(spec, base_dir, new_context)
  local name, options, value = spec, {}, nil
  if type(spec) == "table" then
    if type(spec[1]) == "string" then
      name = spec[1]
      for key, option in pairs(spec) do
        if key ~= 1 then
          options[key] = option
        end
      end
    else
      name, value = spec.name or "(inline)", spec
    end
  elseif type(spec) ~= "string" then
    error("plugins: expected names, paths or tables, got a " .. type(spec), 0)
  end
  local source = name
  if value == nil then
    source = find(name, base_dir)
    value = load_file(source)
  end
  if next(options) and not (type(value) == "table" and value.setup) then
    error(("plugin %s takes no options, got '%s'"):format(source, tostring(next(options))), 0)
  end
  protect.run("plugin " .. source, setup_of(value, source), new_context(source, options), options)
end

return M
