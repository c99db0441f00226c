--- The plugins of one agent. What they have is put together in one place, and one set takes the
--- place of another in one step: everything that can go wrong goes wrong before it.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local events = require("agenthost.events")
local plugin = require("agenthost.plugin")
local plugin_state = require("agenthost.plugin_state")
local protect = require("agenthost.protect")
local records = require("agenthost.plugin_record")
local tools = require("agenthost.tools")

--- What an agent is made of, as far as plugins go.
---@class agenthost.PluginList
---@field specs table as `plugins` of agent.new
---@field tools? agenthost.Tool[] the agent script's own
---@field base_dir string

---@class agenthost.Plugins
---@field events agenthost.Events
---@field records agenthost.PluginRecord[] in the order of `plugins`, each before
---  those that it has added; the agent script's tools last
---@field list? agenthost.PluginList
local Plugins = {}
Plugins.__index = Plugins

local M = {}

local function check_command_names(list)
  local owners = {}
  for _, entry in ipairs(list) do
    local name = entry.command.name
    if owners[name] then
      error(("%s: there is a command /%s already, from %s"):format(entry.owner, name,
        owners[name]), 0)
    end
    owners[name] = entry.owner
  end
end

-- What records have, as one. Raises when it does not fit together.
local function assemble(list)
  local registry, commands, handlers = tools.new(), {}, {}
  for _, record in ipairs(list) do
    for _, entry in ipairs(record.tools) do
      registry:put(entry)
    end
    table.move(record.commands, 1, #record.commands, #commands + 1, commands)
    table.move(record.handlers, 1, #record.handlers, #handlers + 1, handlers)
  end
  check_command_names(commands)
  for i, entry in ipairs(commands) do
    commands[i] = entry.command
  end
  return { tools = registry, commands = commands, handlers = handlers }
end

---@param agent agenthost.AgentBase its `tools` and `commands` are filled
---@return agenthost.Plugins
function M.new(agent)
  local self = setmetatable({ agent = agent, records = {}, states = {} }, Plugins)
  self.host = {
    agent = agent,
    changed = function() self:use(assemble(self.records)) end,
    extend = function(record, spec) self:extend(record, spec) end,
    warn = function(line) self.agent:warn(line) end,
    state_of = function(record) return self:state_of(record) end,
  }
  self.events = events.new(self.host.warn)
  return self
end

-- What plugins of a name remember. Two that have the same name by chance share it, and the user is
-- told.
function Plugins:state_of(record)
  local definition = record.definition
  local state = self.states[definition.name]
    or plugin_state.open(definition.name, self.agent.state_dir)
  self.states[definition.name] = state
  state:catch_up()
  for other in pairs(state.owners) do
    if not other.dead and other ~= record.replaces and not state.shared
      and other.definition.source ~= definition.source then
      state.shared = true
      self.host.warn(("two plugins are named '%s' and share what they remember (ctx.state): %s, %s")
        :format(definition.name, other.definition.source, definition.source))
    end
  end
  state.owners[record] = true
  return state
end

-- Makes it what the agent has. Cannot fail.
function Plugins:use(assembled)
  self.agent.tools:replace(assembled.tools)
  self.agent.commands = assembled.commands
  self.events:replace(assembled.handlers)
end

-- ---- a set beside the one that is live ---------------------------------------------------------

local DEPTH <const> = 20 -- of options that are compared; what goes deeper counts as changed

--- Whether two values of options say the same.
---@return boolean
function M.same(a, b, depth)
  depth = depth or 0
  if type(a) ~= "table" or type(b) ~= "table" or depth > DEPTH then
    return a == b
  end
  for key, value in pairs(a) do
    if not M.same(value, b[key], depth + 1) then
      return false
    end
  end
  for key in pairs(b) do
    if a[key] == nil then
      return false
    end
  end
  return true
end

-- The live record of a spec. Inline plugins are known by the table, the others by where they are.
function Plugins:record_of(spec, base_dir, taken)
  for _, record in ipairs(self.records) do
    if not taken[record] and (record.spec == spec
      or self.list.base_dir == base_dir and M.same(record.spec, spec)) then
      return record
    end
  end
end

-- Calls `save` or `restore`. Raises what that does; whoever reloads tells it.
local function hand_over(record, what, fn, ...)
  local source = record.definition.source
  local in_time, ok, result = record:in_time(what, protect.call, "plugin " .. source, fn, ...)
  if not in_time then
    error(ok, 0)
  elseif not ok and async.is_cancellation(result) then
    error(result, 0)
  elseif not ok then
    error(("%s: %s failed: %s"):format(source, what, protect.error_text(result)), 0)
  end
  return result
end

-- Sets up a new version of a plugin, or a new plugin.
function Plugins:renew(candidate, spec, base_dir, old)
  local definition = plugin.define(spec, base_dir, self.agent.confirm, candidate.seen)
  local record = records.new(definition, self.host)
  record.spec, record.replaces = spec, old
  candidate.fresh[#candidate.fresh + 1] = record
  if old and old.definition.save then
    candidate.saved[record] = hand_over(old, "save", old.definition.save)
  end
  if old then
    old:keep_state()
  end
  record:set_up()
  return record
end

local function own_tools(list)
  return { name = "the agent script", setup = function(ctx)
    for _, tool in ipairs(list or {}) do
      ctx.tool(tool)
    end
  end }
end

-- Puts the plugin of a spec into a candidate, and behind it those that it adds.
function Plugins:place(candidate, spec, is_stale)
  local base_dir, count = candidate.list.base_dir, #candidate.records
  if count >= defaults.plugin.max_plugins then
    error(("more than %d plugins (defaults.plugin.max_plugins): does one of them add itself?")
      :format(count), 0)
  end
  local old = self:record_of(spec, base_dir, candidate.taken)
  if old then
    candidate.taken[old] = true
  end
  local record = old and not is_stale(old) and old or self:renew(candidate, spec, base_dir, old)
  table.insert(candidate.records, record)
  for _, added in ipairs(record.specs) do
    self:place(candidate, added, is_stale)
  end
end

--- Sets up what is new in a list of plugins, beside what is live. Nothing of it counts yet.
---@param list agenthost.PluginList
---@param is_stale fun(record: agenthost.PluginRecord): boolean which live ones are made anew
---@param seen? table<string, string|false> gets what was looked at; see plugin.define
---@return table candidate for `swap` or `drop`; raises when something is wrong, and nothing is left
function Plugins:prepare(list, is_stale, seen)
  local candidate = { list = list, records = {}, fresh = {}, saved = {}, taken = {}, seen = seen }
  local ok, err = xpcall(function()
    for _, spec in ipairs(list.specs) do
      self:place(candidate, spec, is_stale)
    end
    local last = self.records[#self.records]
    if not last or self.list.tools ~= list.tools then
      last = self:renew(candidate, own_tools(list.tools), list.base_dir)
    end
    table.insert(candidate.records, last)
    assemble(candidate.records)
  end, function(err) return err end)
  if not ok then
    self:drop(candidate)
    error(err, 0)
  end
  return candidate
end

--- Takes back what was prepared.
function Plugins:drop(candidate) -- luacheck: ignore 212
  for _, record in ipairs(candidate.fresh) do
    record:tear_down()
  end
end

-- The new ones are live and get what was saved; should one of them not take it, the old ones are
-- live again.
function Plugins:restore(candidate, before, list)
  local ok, err = pcall(function()
    for _, record in ipairs(candidate.fresh) do
      record:go_live()
      local saved = candidate.saved[record]
      if saved ~= nil and record.definition.restore then
        hand_over(record, "restore", record.definition.restore, saved)
      end
    end
  end)
  if not ok then
    self.records, self.list = before, list
    self:use(assemble(before))
    error(err, 0)
  end
end

--- Makes what was prepared live, and tears down what it replaces. Raises when a live plugin has
--- meanwhile added what does not fit, and what `restore` raises; then what was live is so again.
--- What `teardown` raises is told.
---@param candidate table
---@return agenthost.PluginRecord[] fresh those that are new
function Plugins:swap(candidate)
  local assembled = assemble(candidate.records)
  local kept, gone = {}, {}
  for _, record in ipairs(candidate.records) do
    kept[record] = true
  end
  for _, record in ipairs(self.records) do
    gone[#gone + 1] = not kept[record] and record or nil
  end
  local before, list = self.records, self.list
  self:use(assembled)
  self.records, self.list = candidate.records, candidate.list
  self:restore(candidate, before, list)
  for _, record in ipairs(gone) do
    record:tear_down()
  end
  for _, record in ipairs(candidate.fresh) do
    record.replaces = nil
    record:accept()
  end
  return candidate.fresh
end

-- Adds a plugin to those that a live one has added. One that is there already is loaded anew.
function Plugins:extend(record, spec)
  local before
  for _, one in ipairs(record.specs) do
    before = before or M.same(one, spec) and one
  end
  if not before then
    table.insert(record.specs, spec)
  end
  local ok, err = pcall(self.agent.reloader.extend, self.agent.reloader, before)
  if not ok and not before then
    table.remove(record.specs)
  end
  return ok or error(err, 0)
end

-- ---- what they say -----------------------------------------------------------------------------

---@param candidate? table of `prepare`; default: those that are live
---@return agenthost.PromptPart[] parts
---@return string[] tools the names of the tools they have
function Plugins:prompts(candidate)
  local parts = {}
  local list = candidate and candidate.records or self.records
  for _, record in ipairs(list) do
    table.move(record.prompts, 1, #record.prompts, #parts + 1, parts)
  end
  return parts, assemble(list).tools:names()
end

--- Those that are live, without the agent script's own tools.
---@return { name: string, source: string, tools: string[], commands: string[] }[] source: its file,
---  or its name when it has none
function Plugins:loaded()
  local list = {}
  for i = 1, #self.records - 1 do
    local record = self.records[i]
    local one = { name = record.definition.name, source = record.definition.source, tools = {},
      commands = {} }
    for j, entry in ipairs(record.tools) do
      one.tools[j] = entry.tool.name
    end
    for j, entry in ipairs(record.commands) do
      one.commands[j] = entry.command.name
    end
    list[i] = one
  end
  return list
end

--- The live plugin of a spec.
---@param spec string|table
---@return agenthost.PluginRecord?
function Plugins:of_spec(spec)
  for _, record in ipairs(self.records) do
    if M.same(record.spec, spec) then
      return record
    end
  end
end

--- Sets their timers going. Inside async.run.
function Plugins:start()
  for _, record in ipairs(self.records) do
    record:start()
  end
end

--- They go on with another agent, as they are: nothing is set up or torn down.
---@param agent agenthost.AgentBase its `tools` and `commands` are filled
function Plugins:move(agent)
  self.agent.tools:replace(tools.new())
  self.agent.commands = {}
  self.agent, self.host.agent = agent, agent
  self:use(assemble(self.records))
end

--- Tears all of them down, the newest first.
function Plugins:close()
  for i = #self.records, 1, -1 do
    self.records[i]:tear_down()
  end
  self:use(assemble({}))
  self.records = {}
end

return M
