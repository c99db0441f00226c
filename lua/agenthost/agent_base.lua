--- Making an agent. What its loop stands on: agent_run.lua; its tasks: agent_tasks.lua.
local agent_options = require("agenthost.agent_options")
local agent_run = require("agenthost.agent_run")
local call_ids = require("agenthost.call_ids")
local compaction = require("agenthost.compaction")
local conversation = require("agenthost.conversation")
local defaults = require("agenthost.defaults")
local inbox = require("agenthost.inbox")
local json = require("agenthost.json")
local kept = require("agenthost.kept")
local options = require("agenthost.options")
local permission = require("agenthost.permission")
local plugins = require("agenthost.plugins")
local prompt = require("agenthost.prompt")
local provider = require("agenthost.provider")
local queue = require("agenthost.queue")
local resume = require("agenthost.resume")
local session = require("agenthost.session")
local settings = require("agenthost.settings")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local tool_jobs = require("agenthost.tool_jobs")
local tools = require("agenthost.tools")
local usage = require("agenthost.usage")

---@class agenthost.AgentBase: agenthost.AgentRun
---@field queue agenthost.Queue its notices
---@field conversation agenthost.Conversation
---@field session agenthost.Session
---@field inbox agenthost.Inbox what waits to get into the conversation
---@field compaction agenthost.Compaction
---@field earlier? agenthost.Earlier the tasks of earlier hosts, when the session was resumed
---@field tools agenthost.Tools
---@field commands agenthost.Command[] of its plugins
---@field plugins agenthost.Plugins
---@field provider agenthost.Provider
---@field system string the system prompt
---@field prompt_parts agenthost.PromptPart[] what it is made of; see prompt.show
---@field notes string[] lines for the user: what of the instruction files was left out, and why
---@field state_dir? string|false see plugin_state.open
---@field usage agenthost.Usage tokens and cost of its model calls
---@field max_budget_usd? number what they may cost
---@field permission agenthost.Permission what its tools may do
---@field parent? agenthost.Agent
---@field closed? boolean
---@field ask? fun(question: agenthost.Question): agenthost.Answer? asks the user, and waits for the
---  answer; a user interface sets it. Without it what would be asked is refused
---@field on_event? fun(event: table) what a user interface listens to
local Base = setmetatable({}, { __index = agent_run.methods })

--- Closes what the agent holds: its plugins, its session file, its queue, its workspace. The ends
--- of its tasks are told to its parent, if it has one.
function Base:close()
  self:fire("session.end", { id = self.session.id })
  self.plugins:close()
  self.tool_jobs:close()
  if self.earlier then
    self.earlier:close()
  end
  if self.parent and not self.parent.closed then
    self.parent:adopt(self)
  end
  self.closed = true
  self.session:close()
  self.queue:close()
  self.root:close()
end

local M = { methods = Base }

local known <const> = {
  "model", "system", "plugins", "tools", "max_turns", "max_tokens", "cwd", "provider", "extra",
  "base_dir", "on_notice", "instructions", "tool_choice", "permissions", "max_budget_usd",
  "session", "parent",
}

--- The names of agent.new's options.
M.OPTIONS = known

-- What the command line says comes before what the script says.
local overrides = {}

--- For cli.lua, tests and checks: values that every agent made from now on gets in place of its
--- own; also `session_dir` (where its session goes), `state_dir` (see plugin_state.open) and
--- `settings` (in place of the user's file).
---@param values table
function M.override(values)
  overrides = values
end

local function open_workspace(self, cwd)
  local root, message = sys.root(cwd)
  if not root then
    error("cannot work in " .. cwd .. ": " .. message, 0)
  end
  self.root, self.cwd = root, root:path()
end

local function open_session(self, id)
  local function keep(_, message)
    self.session:append("message", { message = json.raw(message), told = self.telling })
  end
  self.usage = usage.new(function(record)
    self.session:append("usage", record)
  end)
  if id then
    resume.into(self, id, keep)
    self.inbox.earlier = self.earlier
  else
    self.session = session.new({ cwd = self.cwd, base_dir = overrides.session_dir })
    self.conversation = conversation.new(keep)
  end
  task.set_max_running(defaults.task.max_running)
end

local function check_budget(self, its_provider, budget)
  if budget ~= nil and (type(budget) ~= "number" or budget <= 0) then
    error("max_budget_usd: expected a number of US dollars above 0", 0)
  end
  local ok, message = self.usage:check(its_provider, budget)
  if not ok then
    error(message, 0)
  end
end

local function check_list(name, value)
  if value ~= nil and (type(value) ~= "table" or #value == 0 and next(value) ~= nil) then
    error(name .. ": expected a list", 0)
  end
end

-- Sets up plugins beside those that are live.
local function prepare_plugins(self, opts, base_dir, is_stale)
  check_list("plugins", opts.plugins)
  check_list("tools", opts.tools)
  return self.plugins:prepare({ specs = opts.plugins or {}, tools = opts.tools,
    base_dir = base_dir }, is_stale)
end

-- Makes them live. Returns what they have to say to the user.
local function swap_plugins(self, candidate)
  local notes = {}
  for _, record in ipairs(self.plugins:swap(candidate)) do
    table.move(record.notes, 1, #record.notes, #notes + 1, notes)
  end
  return notes
end

local function new_permission(self, given)
  return permission.new({
    cwd = self.cwd,
    sources = { overrides.permissions or {}, given or {},
      (overrides.settings or settings.load()).permissions or {} },
  })
end

local function set_permission(self, made)
  self.permission = made
  self.tools.permission = made
end

-- What the model is told before the conversation begins.
local function prompt_parts(self, opts, model, candidate)
  local added, names = self.plugins:prompts(candidate)
  if overrides.append_system then
    table.insert(added, { source = "--append-system-prompt", text = overrides.append_system })
  end
  return prompt.parts(overrides.system or opts.system, {
    cwd = self.cwd,
    os = prompt.os_name(),
    model = model,
    tools = names,
  }, { instructions = opts.instructions, added = added })
end

local function set_prompt(self, parts)
  self.prompt_parts, self.system = parts, prompt.join(parts)
end

-- The value of an option: of the command line, of the script, or the default.
local function option(opts, name, default)
  if overrides[name] ~= nil then
    return overrides[name]
  end
  return opts[name] ~= nil and opts[name] or default
end

-- What needs no more than being set.
local function set_simple(self, opts)
  self.max_turns = option(opts, "max_turns", defaults.run.max_turns)
  self.max_tokens = option(opts, "max_tokens", defaults.run.max_tokens)
  self.max_budget_usd = option(opts, "max_budget_usd")
  self.extra, self.tool_choice, self.parent = opts.extra, opts.tool_choice, opts.parent
  self.state_dir = overrides.state_dir
  self.made_with = opts
end

-- ---- another script --------------------------------------------------------------------------

local capturing = false

--- For reload.lua: runs an agent script up to its call of `agent.new`.
---@param fn fun()
---@return table opts of that call; raises what the script raises
function M.capture(fn)
  capturing = {}
  local mine = capturing
  local ok, err = pcall(fn)
  capturing = false
  if not mine.opts then
    error(ok and "it does not make an agent any more" or err, 0)
  end
  return mine.opts
end

local RESTART <const> = { "cwd", "base_dir", "session" }

local function provider_for(self, opts)
  if overrides.provider ~= nil then
    return self.provider
  elseif opts.provider and opts.provider ~= self.made_with.provider then
    return opts.provider
  elseif opts.model ~= self.made_with.model and overrides.model == nil then
    return provider.new(opts.model, opts.base_dir or overrides.base_dir or self.cwd)
  end
  return self.provider
end

--- Makes the agent as if it had been made with other options; what it does goes on. Raises when
--- something in them is wrong; then nothing has changed.
---@param opts table as for `new`
---@param is_stale fun(record: agenthost.PluginRecord): boolean plugins that are loaded anew
---@return string[] notes for the user
function Base:reconfigure(opts, is_stale)
  local old = self.made_with
  agent_options.check(opts)
  inbox.check_policy(opts.on_notice)
  local permissions = not plugins.same(opts.permissions, old.permissions)
    and new_permission(self, opts.permissions)
  local its_provider = provider_for(self, opts)
  if its_provider ~= self.provider or opts.max_budget_usd ~= old.max_budget_usd then
    check_budget(self, its_provider, option(opts, "max_budget_usd"))
  end
  local candidate = prepare_plugins(self, opts, self.plugins.list.base_dir, is_stale)
  local ok, parts = pcall(prompt_parts, self, opts, its_provider.model, candidate)
  local notes
  if ok then
    ok, notes = pcall(swap_plugins, self, candidate)
  end
  if not ok then
    self.plugins:drop(candidate)
    error(notes or parts, 0)
  end
  set_prompt(self, parts)
  set_simple(self, opts)
  self.provider, self.inbox.policy = its_provider, opts.on_notice or "wake"
  if permissions then
    permissions:take_over(self.permission)
    set_permission(self, permissions)
  end
  for _, name in ipairs(RESTART) do
    if opts[name] ~= old[name] then
      notes[#notes + 1] = ("`%s` counts from the next start on"):format(name)
    end
  end
  return notes
end

-- ---- making one --------------------------------------------------------------------------------

--- Makes an agent.
---@param opts { model?: string, system?: string|fun(env: agenthost.PromptEnv): string,
---  plugins?: table, tools?: agenthost.Tool[], max_turns?: integer, max_tokens?: integer,
---  cwd?: string, provider?: agenthost.Provider, extra?: table, base_dir?: string,
---  on_notice?: agenthost.NoticePolicy, instructions?: boolean, tool_choice?: table,
---  permissions?: { mode?: string, allow?: string[], deny?: string[], ask?: string[] },
---  max_budget_usd?: number, session?: string, parent?: agenthost.Agent }
---  model: a name as of agenthost.provider, or nil: from the environment; plugins: see
---  plugin.lua; extra: fields for the request's body that the provider does not set by itself;
---  system: in place of prompts/system.md, the rest of the prompt stays; instructions: false leaves
---  AGENTS.md and CLAUDE.md out of the prompt; tool_choice: { type = "auto"|"any"|"none"|"tool",
---  name?, disable_parallel_tool_use? }, for any provider; permissions: see permission.lua and
---  permission_rules.lua; what the command line says comes first, then this, then the settings
---  file; deny rules of all three hold; max_budget_usd: when the calls have cost this much, runs
---  end with the code MAX_BUDGET; session: the id of one to go on with; parent: the agent for which
---  this one works (in a tool: ctx.agent), which is told the ends of its tasks once it is closed
---@return agenthost.Agent raises when something in it is wrong
function M.new(opts)
  options.check(opts, known, 3)
  if capturing then
    capturing.opts = opts
    error("captured", 0)
  end
  agent_options.check(opts)
  local self = setmetatable({
    commands = {},
    task_ids = {},
    notes = {},
    queue = queue.new(),
    tools = tools.new(),
    shell = sys.stat("/bin/bash") and "/bin/bash" or "/bin/sh",
  }, { __index = Base })
  set_simple(self, opts)
  self.compaction, self.call_ids = compaction.new(self), call_ids.new()
  self.emitter = function(event)
    self.reloader:on_event(event)
    self:emit(event)
  end
  self.plugins = plugins.new(self)
  self.tools.events = self.plugins.events
  self.tool_jobs = tool_jobs.new(function(...) return self:notify(...) end,
    function(line) self:warn(line) end, function(call) self:keep(kept.call, call) end)
  self.tools.jobs = self.tool_jobs
  self.inbox = inbox.new(self.queue, opts.on_notice, self.emitter, self.plugins.events)
  self.inbox.on_drop = function(notice) self:keep(kept.drop, notice) end
  open_workspace(self, option(opts, "cwd", sys.cwd()))
  open_session(self, option(opts, "session"))
  overrides.session = nil -- one agent has it
  local base_dir = opts.base_dir or overrides.base_dir or self.cwd
  self.notes = swap_plugins(self, prepare_plugins(self, opts, base_dir,
    function() return false end))
  set_permission(self, new_permission(self, opts.permissions))
  self.provider = option(opts, "provider") or provider.new(option(opts, "model"), base_dir)
  check_budget(self, self.provider, self.max_budget_usd)
  set_prompt(self, prompt_parts(self, opts, self.provider.model))
  for _, part in ipairs(self.prompt_parts) do
    self.notes[#self.notes + 1] = part.note
  end
  self.reloader = require("agenthost.reload").new(self)
  return self
end

--- An agent like this one, with another session. The caller goes on with it and closes this one,
--- whose background tasks go on; their ends are told when its session is resumed.
---@param id? string of a session on disk; nil: a new one
---@return agenthost.Agent? agent nil and a message when that cannot be
---@return string? message
function Base:switch_session(id)
  if id == self.session.id then
    return nil, ("session %s is this one"):format(id)
  end
  local opts = {}
  for name, value in pairs(self.made_with) do
    opts[name] = value
  end
  opts.provider, opts.cwd, opts.session = self.provider, self.cwd, id
  local ok, made = pcall(M.new, opts)
  if not ok then
    return nil, tostring(made)
  end
  made.usage:go_on(self.usage)
  made.permission:set_mode(self.permission.mode) -- the user may have changed it
  made.reloader.script = self.reloader.script
  return setmetatable(made, getmetatable(self))
end

return M
