--- The plugins of one agent. What they have is put together in one place, and one set takes the
--- place of another in one step: everything that can go wrong goes wrong before it.
local events = require("agenthost.events")
local plugin = require("agenthost.plugin")
local records = require("agenthost.plugin_record")
local tools = require("agenthost.tools")

--- What an agent is made of, as far as plugins go.
---@class agenthost.PluginList
---@field specs table as `plugins` of agent.new
---@field tools? agenthost.Tool[] the agent script's own
---@field base_dir string

---@class agenthost.Plugins
---@field events agenthost.Events
---@field records agenthost.PluginRecord[] in the order of `plugins`; the agent script's tools last
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
  local self = setmetatable({ agent = agent, records = {} }, Plugins)
  self.host = {
    agent = agent,
    changed = function() self:use(assemble(self.records)) end,
    warn = function(line) agent:warn(line) end,
  }
  self.events = events.new(self.host.warn)
  return self
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

-- Sets up a new version of a plugin, or a new plugin.
function Plugins:renew(candidate, spec, base_dir, old)
  local definition = plugin.define(spec, base_dir)
  local record = records.new(definition, self.host)
  record.spec = spec
  candidate.fresh[#candidate.fresh + 1] = record
  if old and old.definition.save then
    local in_time, ok, saved = old:in_time("save", old.call, old, "save", old.definition.save)
    if not in_time then
      error(ok, 0)
    elseif not ok then
      error(("%s: save of the version that runs failed: %s"):format(old.definition.source,
        tostring(saved)), 0)
    end
    candidate.saved[record] = saved
  elseif old then
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

local function drop(candidate)
  for _, record in ipairs(candidate.fresh) do
    record:tear_down()
  end
end

--- Sets up what is new in a list of plugins, beside what is live. Nothing of it counts yet.
---@param list agenthost.PluginList
---@param is_stale fun(record: agenthost.PluginRecord): boolean which live ones are made anew
---@return table candidate for `swap` or `drop`; raises when something is wrong, and nothing is left
function Plugins:prepare(list, is_stale)
  local candidate = { list = list, records = {}, fresh = {}, saved = {} }
  local ok, err = xpcall(function()
    local taken = {}
    for i, spec in ipairs(list.specs) do
      local old = self:record_of(spec, list.base_dir, taken)
      if old then
        taken[old] = true
      end
      candidate.records[i] = old and not is_stale(old) and old
        or self:renew(candidate, spec, list.base_dir, old)
    end
    local last = self.records[#self.records]
    if not last or self.list.tools ~= list.tools then
      last = self:renew(candidate, own_tools(list.tools), list.base_dir)
    end
    table.insert(candidate.records, last)
    assemble(candidate.records)
  end, function(err) return err end)
  if not ok then
    drop(candidate)
    error(err, 0)
  end
  return candidate
end

--- Takes back what was prepared.
function Plugins:drop(candidate) -- luacheck: ignore 212
  drop(candidate)
end

--- Makes what was prepared live, and tears down what it replaces. Raises only when a live plugin
--- has meanwhile added what does not fit; then nothing has changed. What `restore` and `teardown`
--- raise is told.
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
  self:use(assembled)
  self.records, self.list = candidate.records, candidate.list
  for _, record in ipairs(candidate.fresh) do
    record:go_live()
    local saved = candidate.saved[record]
    if saved ~= nil and record.definition.restore then
      local ok, err = record:in_time("restore", record.call, record, "restore",
        record.definition.restore, saved)
      if not ok then
        self.host.warn(tostring(err))
      end
    end
  end
  for _, record in ipairs(gone) do
    record:tear_down()
  end
  return candidate.fresh
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

--- The live plugin of a file.
---@param path string
---@return agenthost.PluginRecord?
function Plugins:of_path(path)
  for _, record in ipairs(self.records) do
    if record.definition.path == path then
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

--- Tears all of them down, the newest first.
function Plugins:close()
  for i = #self.records, 1, -1 do
    self.records[i]:tear_down()
  end
  self:use(assemble({}))
  self.records = {}
end

return M
