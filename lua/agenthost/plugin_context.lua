--- What a plugin gets in hand: its context. All that it adds through it goes into the record of the
--- plugin (plugin_record.lua).
local http = require("agenthost.http")

--- All of it belongs to the plugin and goes with it; only tasks stay: they are the agent's.
---@class agenthost.PluginContext
---@field name string the plugin's
---@field cwd string the agent's working directory
---@field dir? string the folder of the plugin's file
---@field config table what stands beside the plugin's name in `plugins`
---@field state table kept from run to run: see plugin_state.lua; written when it has changed, after
---  each call of the plugin
---@field http agenthost.http
---@field plugin fun(spec: string|table) adds another plugin, as if it stood in `plugins`, relative
---  paths as there (`dir` names the plugin's own folder); it goes with the one that has added it.
---  While that is set up the two count together. Later it is set up and counts at once, or the call
---  raises and nothing has changed; one that was added before is loaded anew
---@field tool fun(tool: agenthost.Tool) adds a tool
---@field command fun(command: agenthost.Command) adds a command of the interactive program
---@field on fun(event: agenthost.EventName, fn: fun(event: table), opts?: { priority?: number })
---  adds a handler: see events.lua. The highest priority comes first; default 0
---@field timer fun(seconds: number, fn: fun(), opts?: { repeats?: boolean }): agenthost.PluginTimer
---  calls fn once, or again and again, that long after the last call has ended; while the agent
---  runs or waits at its prompt
---@field spawn fun(fn: function): agenthost.Job runs fn beside everything else; it is cancelled
---  when the plugin goes
---@field prompt fun(part: agenthost.PromptPart) adds to the system prompt; while it is set up only
---@field note fun(line: string) a line for the user; while it is set up it is shown at the start
---@field notify fun(text: string, fields?: table): integer?, string?, string? puts a notice into
---  the agent's queue
---@field task fun(command: string|string[], opts?: table): agenthost.Task runs a command as a task
---  of the agent: in its directory, with defaults.task.env, its end told if `notify`; options: see
---  `task.run`
---@field list_tasks fun(): agenthost.Task[] the tasks of the agent
---@field find_task fun(id: string): agenthost.Task?
---@field log fun(text: string) a line for --verbose

local M = {}

local function setup_only(record, what)
  if record.ready then
    error(("%s: only while the plugin is set up"):format(what), 3)
  end
end

local function check_prompt(part)
  if type(part) ~= "table" or type(part.source) ~= "string" or type(part.text) ~= "string" then
    error("ctx.prompt: expected { source = \"where it is from\", text = \"...\" }", 3)
  end
end

-- ctx:on(...) in place of ctx.on(...): the context itself is the first argument then.
local function with_dot(context, first, name)
  if rawequal(first, context) then
    error(("ctx:%s(...): write ctx.%s(...), with a dot"):format(name, name), 3)
  end
end

--- Makes the context of a plugin that is being set up.
---@param record agenthost.PluginRecord
---@return agenthost.PluginContext
function M.new(record)
  local definition, host = record.definition, record.host -- its agent changes with the session
  local context
  context = {
    name = definition.name,
    cwd = host.agent.cwd,
    dir = definition.path and definition.path:match("^(.*)/"),
    config = definition.options,
    http = http,
    tool = function(tool)
      with_dot(context, tool, "tool")
      record:add_tool(tool)
    end,
    command = function(command)
      with_dot(context, command, "command")
      record:add_command(command)
    end,
    plugin = function(spec)
      with_dot(context, spec, "plugin")
      record:add_plugin(spec)
    end,
    on = function(event, fn, opts)
      with_dot(context, event, "on")
      record:add_handler(event, fn, opts)
    end,
    timer = function(seconds, fn, opts)
      with_dot(context, seconds, "timer")
      local timer = record:add_timer(seconds, fn, opts) -- no tail call, for its line in errors
      return timer
    end,
    spawn = function(fn)
      with_dot(context, fn, "spawn")
      local job = record:spawn(fn)
      return job
    end,
    prompt = function(part)
      with_dot(context, part, "prompt")
      setup_only(record, "ctx.prompt")
      check_prompt(part)
      record:add("prompts", part)
    end,
    note = function(line)
      with_dot(context, line, "note")
      if record.ready then
        return host.agent:emit({ type = "note", text = tostring(line) })
      end
      record:add("notes", tostring(line))
    end,
    notify = function(text, fields)
      with_dot(context, text, "notify")
      return host.agent:notify(text, fields)
    end,
    task = function(command, opts)
      with_dot(context, command, "task")
      return host.agent:run_task(command, opts)
    end,
    list_tasks = function() return host.agent:list_tasks() end,
    find_task = function(id) return host.agent:find_task(id) end,
    log = function(text)
      with_dot(context, text, "log")
      host.agent:emit({ type = "log", text = tostring(text) })
    end,
  }
  return setmetatable(context, { __index = function(_, name)
    if name == "state" then
      return record:open_state()
    end
  end, __newindex = function(_, name)
    error(name == "state" and "ctx.state: set its fields, not the table itself"
      or "ctx has no field '" .. tostring(name) .. "' to set", 2)
  end })
end

return M
