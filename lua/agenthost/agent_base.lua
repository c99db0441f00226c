--- Making an agent. What its loop stands on: agent_run.lua; its tasks: agent_tasks.lua.
local agent_options = require("agenthost.agent_options")
local agent_run = require("agenthost.agent_run")
local async = require("agenthost.async")
local capture = require("agenthost.agent_capture")
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
local reload = require("agenthost.reload")
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
---@field closing? boolean `close` has begun
---@field closed? boolean
---@field ask? fun(question: agenthost.Question): agenthost.Answer? asks the user, and waits for the
---  answer; a user interface sets it. Without it what would be asked is refused
---@field confirm? fun(question: string): boolean asks the user for a yes or no, and waits; a user
---  interface sets it. Without it the answer is no
---@field on_event? fun(event: table) what a user interface listens to
local Base = setmetatable({}, { __index = agent_run.methods })

-- Lets go of what the agent holds, as far as it has got it.
local function release(self)
  self.plugins:close()
  for _, name in ipairs({ "earlier", "session", "queue", "root" }) do
    if self[name] then
      self[name]:close()
    end
  end
end

-- The plugins have heard that the session is over. What waits for the model stands in its file
-- (kept.lua) or in the ledger, and is told when the session is resumed; unless nothing was said.
local function leave_session(self)
  local waiting = self.inbox:waiting()
  if waiting > 0 and not self.session.header_written then
    self:warn(("nothing was said in this session: %d notices for the model are gone"):format(
      waiting))
  end
  for _, call in ipairs(self.tool_jobs:close("its session was left")) do
    self:emit({ type = "note", text = ("stopped: %s %s %s"):format(call.id, call.name,
      call.summary or "") })
  end
end

local function tell_end(self)
  self:fire("session.end", { id = self.session.id })
end

-- The session is over, for another one.
local function end_session(self)
  if not self.ended then
    self.ended = true
    tell_end(self)
    leave_session(self)
  end
end

--- Closes what the agent holds: its plugins, its session file, its queue, its workspace. The ends
--- of its tasks are told to its parent, if it has one. What its plugins do then may wait;
--- cancelling that stops the wait, and the rest is done all the same.
function Base:close()
  self.closing = true
  if not self.ended then
    self.ended = true
    for _, step in ipairs({ tell_end, leave_session }) do
      local ok, reason = pcall(step, self)
      if not ok then
        self:warn("what plugins do at the end of the session: " .. tostring(reason))
      end
    end
  end
  if self.parent and not self.parent.closed then
    self.parent:adopt(self)
  end
  self.closed = true
  release(self)
end

local M = { methods = Base }

--- Whether it is one: what scripts have to return.
---@param value any
---@return boolean
function M.is_agent(value)
  return type(value) == "table" and type(value.run) == "function" and value.conversation ~= nil
end

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

-- Sets up plugins beside those that are live.
local function prepare_plugins(self, opts, base_dir, is_stale, seen)
  return self.plugins:prepare({ specs = opts.plugins or {}, tools = opts.tools,
    base_dir = base_dir }, is_stale, seen)
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

-- What the model is told before the conversation begins; `added` and `names`: of plugins:prompts.
local function prompt_parts(self, opts, model, added, names)
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

-- What of it was left out is for the user to know.
local function note_prompt(self)
  for _, part in ipairs(self.prompt_parts) do
    self.notes[#self.notes + 1] = part.note
  end
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

local RESTART <const> = { "cwd", "base_dir", "session" }

local function provider_for(self, opts)
  if overrides.provider ~= nil then
    return self.provider
  elseif opts.provider and opts.provider ~= self.made_with.provider then
    return provider.own(opts.provider)
  elseif opts.model ~= self.made_with.model and overrides.model == nil then
    return provider.new(opts.model, opts.base_dir or overrides.base_dir or self.cwd)
  end
  return self.provider
end

--- Makes the agent as if it had been made with other options; what it does goes on. Raises when
--- something in them is wrong; then nothing has changed.
---@param opts agenthost.AgentOptions
---@param is_stale fun(record: agenthost.PluginRecord): boolean plugins that are loaded anew
---@param seen? table<string, string|false> gets what was looked at; see plugin.define
---@return string[] notes for the user
function Base:reconfigure(opts, is_stale, seen)
  local old = self.made_with
  agent_options.check(opts)
  inbox.check_policy(opts.on_notice)
  local permissions = not plugins.same(opts.permissions, old.permissions)
    and new_permission(self, opts.permissions)
  local its_provider = provider_for(self, opts)
  if its_provider ~= self.provider or opts.max_budget_usd ~= old.max_budget_usd then
    check_budget(self, its_provider, option(opts, "max_budget_usd"))
  end
  local candidate = prepare_plugins(self, opts, self.plugins.list.base_dir, is_stale, seen)
  local ok, parts = pcall(prompt_parts, self, opts, its_provider.model,
    self.plugins:prompts(candidate))
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

local function take_plugins(self, its_plugins)
  self.plugins = its_plugins
  self.tools.events, self.inbox.events = its_plugins.events, its_plugins.events
end

-- An agent that holds nothing yet but its queue.
local function blank(opts)
  inbox.check_policy(opts.on_notice)
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
  self.tool_jobs = tool_jobs.new(function(...) return self:notify(...) end,
    function(line) self:warn(line) end, function(call) self:keep(kept.call, call) end)
  self.tools.jobs = self.tool_jobs
  self.inbox = inbox.new(self.queue, opts.on_notice, self.emitter)
  self.inbox.on_drop = function(notice) self:keep(kept.drop, notice) end
  take_plugins(self, plugins.new(self))
  return self
end

-- A variable that takes an agent down again when an error keeps it from being made. Its plugins may
-- have begun tasks, which have nobody any more.
local function unless_made(self, undo)
  return setmetatable({}, { __close = function(_, err)
    if err == nil then
      return
    end
    for id in pairs(self.task_ids) do
      local one = task.get(id)
      if one then
        one:kill({ by = "agenthost: its agent could not be made", grace = 0 })
      end
    end
    release(self)
    undo()
  end })
end

--- Makes an agent.
---@param opts agenthost.AgentOptions
---@return agenthost.Agent raises when something in it is wrong
function M.new(opts)
  local captured = capture.current()
  options.check(opts, agent_options.NAMES, 3)
  if captured then
    return captured:stand_in_for(opts, Base)
  end
  agent_options.check(opts)
  local session_id, asked_for = option(opts, "session"), overrides.session
  overrides.session = nil -- one agent has it
  local self = blank(opts)
  local _ <close> = unless_made(self, function()
    overrides.session = asked_for -- the next try is for it again
  end)
  open_workspace(self, option(opts, "cwd", sys.cwd()))
  open_session(self, session_id)
  local base_dir = opts.base_dir or overrides.base_dir or self.cwd
  set_permission(self, new_permission(self, opts.permissions))
  local given = option(opts, "provider")
  self.provider = given and (given == opts.provider and provider.own(given) or given)
    or provider.new(option(opts, "model"), base_dir)
  check_budget(self, self.provider, self.max_budget_usd)
  local notes = swap_plugins(self, prepare_plugins(self, opts, base_dir,
    function() return false end))
  table.move(notes, 1, #notes, #self.notes + 1, self.notes) -- behind what is wrong already
  set_prompt(self, prompt_parts(self, opts, self.provider.model, self.plugins:prompts()))
  note_prompt(self)
  self.reloader = reload.new(self)
  return self
end

-- An agent like another one, with a session of its own and, for now, without plugins. Raises when
-- it cannot be, or `commit` does: then nothing of it is left.
local function beside(other, id, commit)
  local opts = other.made_with
  local self = blank(opts)
  local _ <close> = unless_made(self, function() end)
  open_workspace(self, other.cwd)
  open_session(self, id)
  set_permission(self, new_permission(self, opts.permissions))
  self.permission:set_mode(other.permission.mode) -- the user may have changed it
  self.provider = other.provider
  check_budget(self, self.provider, self.max_budget_usd)
  self.usage:go_on(other.usage)
  set_prompt(self, prompt_parts(self, opts, self.provider.model, other.plugins:prompts()))
  note_prompt(self)
  commit()
  return self
end

--- An agent like this one, with another session. The plugins go on with it as they are: they hear
--- `session.end` of this session, and `session.start` when the other one begins. The caller goes on
--- with the new agent and closes this one, whose background tasks go on; its background calls are
--- stopped. Their ends, and notices that wait, are told when its session is resumed.
---@param id? string of a session on disk; nil: a new one
---@return agenthost.Agent? agent nil and a message when that cannot be: nothing has changed then
---@return string? message
function Base:switch_session(id)
  if id == self.session.id then
    return nil, ("session %s is this one"):format(id)
  elseif self.reloader.busy then
    return nil, "a reload is under way"
  end
  local ok, made = pcall(beside, self, id, function() end_session(self) end)
  if not ok and async.is_cancellation(made) then
    self.ended, self.started = nil, nil -- plugins may have heard of an end: it begins anew
    self.tool_jobs.closed = nil
    error(made, 0)
  elseif not ok then
    return nil, tostring(made)
  end
  take_plugins(made, self.plugins)
  made.plugins:move(made)
  take_plugins(self, plugins.new(self))
  made.reloader = self.reloader
  made.reloader:move(made)
  return setmetatable(made, getmetatable(self))
end

return M
