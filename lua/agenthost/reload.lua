--- Live reload: the agent script, prompt files, plugins, and Lua modules of the user's.
---
--- At the beginning of every turn the files are compared with what was loaded, byte for byte; with
--- `/reload` at once. What has changed is loaded, checked and set up beside what runs, takes its
--- place in one step, and the old is torn down. Whatever goes wrong before that step leaves the old
--- version live; the user is told file, line and message, and so is the model when it has written
--- the file. A version that has failed is tried again when it changes, when a file changes or comes
--- that it needs, when something else was loaded, or with `/reload`: see refusals.lua.
---
--- Tasks, open requests and the conversation go on. A tool call under way finishes with the code it
--- started with. Definitions of tools and the system prompt keep their bytes where nothing in them
--- has changed.
---
--- Of an agent script: everything that `agent.new` takes, but for `cwd`, `base_dir` and `session`,
--- which count from the next start on; so does what the script does besides. The script is run
--- again, with an `agent.new` that makes nothing: see agent_capture.lua.
local agent_capture = require("agenthost.agent_capture")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local module_batch = require("agenthost.module_batch")
local module_reload = require("agenthost.module_reload")
local plugin = require("agenthost.plugin")
local project = require("agenthost.project")
local prompt = require("agenthost.prompt")
local protect = require("agenthost.protect")
local refusals = require("agenthost.refusals")
local source_text = require("agenthost.source_text")
local sys = require("agenthost.sys")

---@class agenthost.Reload
---@field script? { path: string, args: string[], content: string }
---@field refusals agenthost.Refusals
local Reload = {}
Reload.__index = Reload

local M = {}

---@param agent agenthost.Agent
---@return agenthost.Reload
function M.new(agent)
  local self = setmetatable({ refusals = refusals.new(plugin.read), modules = module_reload.new() },
    Reload)
  local ok, content = pcall(prompt.read, "system.md")
  self.prompt = ok and content
  self:move(agent)
  return self
end

--- It goes on with another agent. What the model has written belongs to the conversation of before.
---@param agent agenthost.Agent
function Reload:move(agent)
  self.agent, self.edited, self.edits, self.commands = agent, {}, 0, {}
end

--- Follows the script that has made the agent.
---@param path string
---@param args string[] what it was called with
function Reload:follow(path, args)
  local ok, content = pcall(plugin.read, path)
  if ok then
    self.script = { path = path, args = args, content = content }
  end
end

-- ---- what the model has written ----------------------------------------------------------------

--- Notes what a tool of the model's has edited or run.
---@param event table of the user interface
function Reload:on_event(event)
  if event.type ~= "tool_end" or event.call.is_error then
    return
  end
  local agent = self.agent
  local entry = agent.tools.by_name[event.name or event.call.name]
  if not entry or not agent.permission or type(event.call.call.input) ~= "table" then
    return
  end
  local request = agent.permission:request(entry.tool, event.call.call.input)
  if request.kind == "edit" and request.absolute and self.edits < defaults.plugin.max_edited then
    self.edits = self.edits + (self.edited[request.absolute] and 0 or 1)
    self.edited[request.absolute] = true
  elseif request.kind == "command" or request.kind == "input" then
    table.insert(self.commands, request.subject)
    if #self.commands > defaults.plugin.max_edited // 10 then
      table.remove(self.commands, 1)
    end
  end
end

-- A path as the permissions have it, also of a file that is gone.
local function resolved(path)
  local dir, name = path:match("^(.*)/([^/]*)$")
  return sys.realpath(path) or dir and (sys.realpath(dir) or dir) .. "/" .. name or path
end

-- Whether the model has, as far as one can know: with a tool that edits, or with a command in which
-- the file's name stands.
function Reload:is_models(path)
  if self.edited[resolved(path)] then
    return true
  end
  local name = path:match("([^/]+/init%.lua)$") or path:match("[^/]+$")
  for _, command in ipairs(self.commands) do
    if command:find(name, 1, true) then
      return true
    end
  end
  return false
end

-- ---- what has changed --------------------------------------------------------------------------

-- The content of a file, or why it cannot be read.
local function version_of(path)
  local ok, content = pcall(plugin.read, path)
  return content, ok
end

local function look_at_script(self, changes)
  local script = self.script
  local version, ok = nil, nil
  if script then
    version, ok = version_of(script.path)
  end
  if script and (not ok or version ~= script.content) then
    changes[#changes + 1] = { kind = "script", path = script.path, version = version,
      missing = not ok }
  end
end

-- What of a plugin's files is not as it was loaded, as one text, and which they are.
local function plugin_version(record, base_dir)
  local parts, changed = {}, {}
  local found, path = pcall(plugin.locate, record.spec, base_dir)
  if not found or path ~= record.definition.path then
    parts[1] = path
  end
  for file, content in pairs(record.definition.files) do
    local version = version_of(file)
    if version ~= content then
      parts[#parts + 1] = file .. "\n" .. version
      changed[#changed + 1] = file
    end
  end
  table.sort(parts)
  return #parts > 0 and table.concat(parts, "\n") or nil, changed
end

local function look_at_plugins(self, changes, all)
  local plugins = self.agent.plugins
  for _, record in ipairs(plugins.records) do
    local path = record.definition.path
    local version, files = nil, nil
    if path then
      version, files = plugin_version(record, plugins.list.base_dir)
    end
    if path and (version or all) then
      changes[#changes + 1] = { kind = "plugin", path = path, version = version or "all",
        record = record, files = files }
    end
  end
end

local function look_at_prompt(self, changes, all)
  local its_file = self.agent.prompt_parts[1].source:sub(1, 1) == "/" -- or it is the script's
  local ok, content, path = pcall(prompt.read, "system.md")
  if all or its_file and content ~= self.prompt then
    changes[#changes + 1] = { kind = "prompt", path = ok and path or "prompts/system.md",
      version = content, missing = not ok }
  end
end

--- What is not as it was loaded; versions that have failed already are left out unless `asked`.
---@param asked? boolean
---@param all? boolean every plugin and the prompt, changed or not
---@return table[] changes
function Reload:look(asked, all)
  local changes, modules, more = {}, self.modules:look()
  if more then
    self.refusals:clear()
  end
  for _, change in ipairs(modules) do
    changes[#changes + 1] = { kind = "module", path = change.path, module = change,
      version = change.content or change.problem }
  end
  look_at_script(self, changes)
  look_at_plugins(self, changes, all)
  look_at_prompt(self, changes, all)
  return self.refusals:due(changes, asked)
end

-- ---- doing it ----------------------------------------------------------------------------------

-- Says what came of a change.
function Reload:tell(lines, text)
  lines[#lines + 1] = text
  self.agent:emit({ type = "reload", text = text })
end

function Reload:fail(lines, change, message)
  local text = ("not reloaded: %s (the version from before goes on)"):format(
    message:find(change.path, 1, true) and message or change.path .. ": " .. message)
  if not self.refusals:add(change, text, self.asked) then
    return
  end
  lines[#lines + 1] = text
  self.agent:warn(text)
  local paths = { change.path, table.unpack(change.files or {}) }
  for path in pairs(self.refusals.seen) do
    paths[#paths + 1] = path
  end
  for _, path in ipairs(paths) do
    if self:is_models(path) then
      self.agent:notify("a file that you have written was " .. text, { kind = "reload" })
      return
    end
  end
end

-- Runs fn for a change; what it raises leaves things as they are.
function Reload:try(lines, change, fn)
  local ok, result = pcall(fn, self.refusals:begin())
  if not ok and async.is_cancellation(result) then
    error(result, 0)
  elseif not ok then
    self:fail(lines, change, tostring(result))
    return false
  end
  self.refusals:clear(change)
  for _, line in ipairs(type(result) == "table" and result or { result }) do
    self:tell(lines, line)
  end
  return true
end

local function with_version(record)
  local definition = record.definition
  return definition.name .. (definition.version and " " .. definition.version or "")
end

--- The options of the agent that the script returns.
---@param content string
---@return table opts raises what is wrong with it
function Reload:script_options(content)
  local script = self.script
  local chunk, message = source_text.load(content, script.path, setmetatable({
    arg = { [0] = script.path, table.unpack(script.args) } }, { __index = _G }))
  if not chunk then
    error(message, 0)
  end
  return agent_capture.options_of(function()
    return (protect.run(script.path, chunk, table.unpack(script.args)))
  end)
end

function Reload:load_script(change, seen)
  if change.missing then
    error(change.version, 0)
  end
  local notes = self.agent:reconfigure(self:script_options(change.version),
    function() return false end, seen)
  self.script.content = change.version
  table.insert(notes, 1, change.path .. " is loaded: the agent script")
  return notes
end

-- Plugins that stand or fall together.
function Reload:load_plugins(changes, seen)
  local stale = {}
  for _, change in ipairs(changes) do
    stale[change.record] = true
  end
  local notes = self.agent:reconfigure(self.agent.made_with,
    function(record) return stale[record] end, seen)
  local lines = {}
  for i, change in ipairs(changes) do
    local record = self.agent.plugins:of_spec(change.record.spec)
    lines[i] = record and ("%s is loaded: the plugin %s"):format(record.definition.path,
      with_version(record)) or change.path .. " is not used any more"
  end
  return table.move(notes, 1, #notes, #lines + 1, lines)
end

-- All at once: a tool may have moved from one to the other. If that fails, one by one.
function Reload:try_plugins(lines, changes)
  if #changes > 1 then
    local ok, result = pcall(self.load_plugins, self, changes)
    if not ok and async.is_cancellation(result) then
      error(result, 0)
    elseif ok then
      for _, change in ipairs(changes) do
        self.refusals:clear(change)
      end
      for _, line in ipairs(result) do
        self:tell(lines, line)
      end
      return
    end
  end
  for _, change in ipairs(changes) do
    if not change.record.dead then -- or it has gone with the one that had added it
      self:try(lines, change, function(seen) return self:load_plugins({ change }, seen) end)
    end
  end
end

function Reload:load_prompt(change)
  if change.missing then
    error(change.version, 0)
  end
  local notes = self.agent:reconfigure(self.agent.made_with, function() return false end)
  self.prompt = change.version
  table.insert(notes, 1, change.path .. " is loaded: the system prompt")
  return notes
end

function Reload:apply(changes, lines)
  local plugins = {}
  module_batch.load(self, lines, changes)
  for _, change in ipairs(changes) do
    if change.kind == "script" then
      self:try(lines, change, function(seen) return self:load_script(change, seen) end)
    elseif change.kind == "plugin" and not change.record.dead then -- or the script has renewed it
      plugins[#plugins + 1] = change
    end
  end
  self:try_plugins(lines, plugins)
  for _, change in ipairs(changes) do
    if change.kind == "prompt" then
      self:try(lines, change, function() return self:load_prompt(change) end)
    end
  end
end

-- Calls fn while nothing else is loaded: two at once would each drop what the other has made.
function Reload:alone(fn, ...)
  self.busy = true
  local ok, result = pcall(fn, self, ...)
  self.busy = false
  if not ok then
    error(result, 0)
  end
  return result
end

--- Loads what has changed. Inside async.run; a second call while one waits does nothing.
---@param opts? { asked?: boolean, all?: boolean } asked: also what has failed already; all: every
---  plugin and the prompt with its instruction files, changed or not
---@return string[] lines what was done, and what was not and why
function Reload:refresh(opts)
  opts = opts or {}
  local lines = {}
  if self.busy then
    return { "a reload is under way" }
  end
  if opts.asked then
    project.ask_again()
  end
  if opts.all then
    self:alone(function() project.review(self.agent.confirm) end)
  end
  local changes = self:look(opts.asked or opts.all, opts.all)
  if #changes == 0 then
    return lines
  end
  self.asked = opts.asked or opts.all
  self:alone(self.apply, changes, lines)
  self.asked = nil
  self:alone(self.apply, self:look(), lines) -- what has failed may fit to what is loaded now
  return lines
end

--- Sets up what a plugin has added (`ctx.plugin`), and makes it count. Raises what is wrong with
--- it; then nothing has changed.
---@param again? string|table a spec that is there already: its plugin is loaded anew
function Reload:extend(again)
  if self.busy then
    error("a reload is under way: try it again when that is done", 0)
  end
  local notes = self:alone(function()
    return self.agent:reconfigure(self.agent.made_with, function(record)
      return again ~= nil and record.spec == again
    end)
  end)
  for _, note in ipairs(notes) do
    self.agent:emit({ type = "note", text = note })
  end
end

return M
