--- Making an agent. What its loop stands on: agent_run.lua; its tasks: agent_tasks.lua.
local agent_run = require("agenthost.agent_run")
local compaction = require("agenthost.compaction")
local conversation = require("agenthost.conversation")
local defaults = require("agenthost.defaults")
local inbox = require("agenthost.inbox")
local json = require("agenthost.json")
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
---@field usage agenthost.Usage tokens and cost of its model calls
---@field max_budget_usd? number what they may cost
---@field permission agenthost.Permission what its tools may do
---@field ask? fun(question: agenthost.Question): agenthost.Answer? asks the user, and waits for the
---  answer; a user interface sets it. Without it what would be asked is refused
---@field on_event? fun(event: table) what a user interface listens to
local Base = setmetatable({}, { __index = agent_run.methods })

--- Closes what the agent holds: its plugins, its session file, its queue, its workspace.
function Base:close()
  self:fire("session.end", { id = self.session.id })
  self.plugins:close()
  self.tool_jobs:close()
  if self.earlier then
    self.earlier:close()
  end
  self.session:close()
  self.queue:close()
  self.root:close()
end

local M = { methods = Base }

local known = {
  "model", "system", "plugins", "tools", "max_turns", "max_tokens", "cwd", "provider", "extra",
  "base_dir", "on_notice", "instructions", "tool_choice", "permissions", "max_budget_usd",
  "session",
}

-- What the command line says comes before what the script says.
local overrides = {}

--- For cli.lua: values that every agent made from now on gets in place of its own.
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
    self.session = session.new({ cwd = self.cwd })
    self.conversation = conversation.new(keep)
  end
  task.set_max_running(defaults.task.max_running)
end

local function check_budget(self)
  local budget = self.max_budget_usd
  if budget ~= nil and (type(budget) ~= "number" or budget <= 0) then
    error("max_budget_usd: expected a number of US dollars above 0", 0)
  end
  local ok, message = self.usage:check(self.provider, budget)
  if not ok then
    error(message, 0)
  end
end

local function check_list(name, value)
  if value ~= nil and (type(value) ~= "table" or #value == 0 and next(value) ~= nil) then
    error(name .. ": expected a list", 0)
  end
end

local function load_plugins(self, opts, base_dir)
  check_list("plugins", opts.plugins)
  check_list("tools", opts.tools)
  self.plugins:swap(self.plugins:prepare({
    specs = opts.plugins or {},
    tools = opts.tools,
    base_dir = base_dir,
  }, function() return false end))
  for _, record in ipairs(self.plugins.records) do
    table.move(record.notes, 1, #record.notes, #self.notes + 1, self.notes)
  end
end

local function set_permissions(self, given)
  self.permission = permission.new({
    cwd = self.cwd,
    sources = { overrides.permissions or {}, given or {}, settings.load().permissions or {} },
  })
  self.tools.permission = self.permission
end

-- What the model is told before the conversation begins.
local function build_prompt(self, opts)
  local added = self.plugins:prompts()
  if overrides.append_system then
    table.insert(added, { source = "--append-system-prompt", text = overrides.append_system })
  end
  self.prompt_parts = prompt.parts(overrides.system or opts.system, {
    cwd = self.cwd,
    os = prompt.os_name(),
    model = self.provider.model,
    tools = self.tools:names(),
  }, { instructions = opts.instructions, added = added })
  self.system = prompt.join(self.prompt_parts)
  for _, part in ipairs(self.prompt_parts) do
    self.notes[#self.notes + 1] = part.note
  end
end

--- Makes an agent.
---@param opts { model?: string, system?: string|fun(env: agenthost.PromptEnv): string,
---  plugins?: table, tools?: agenthost.Tool[], max_turns?: integer, max_tokens?: integer,
---  cwd?: string, provider?: agenthost.Provider, extra?: table, base_dir?: string,
---  on_notice?: agenthost.NoticePolicy, instructions?: boolean, tool_choice?: table,
---  permissions?: { mode?: string, allow?: string[], deny?: string[], ask?: string[] },
---  max_budget_usd?: number, session?: string }
---  model: a name as of agenthost.provider, or nil: from the environment; plugins: see
---  plugin.lua; extra: fields for the request's body that the provider does not set by itself;
---  system: in place of prompts/system.md, the rest of the prompt stays; instructions: false leaves
---  AGENTS.md and CLAUDE.md out of the prompt; tool_choice: { type = "auto"|"any"|"none"|"tool",
---  name?, disable_parallel_tool_use? }, for any provider; permissions: see permission.lua and
---  permission_rules.lua; what the command line says comes first, then this, then the settings
---  file; deny rules of all three hold; max_budget_usd: when the calls have cost this much, runs
---  end with the code MAX_BUDGET; session: the id of one to go on with
---@return agenthost.Agent raises when something in it is wrong
function M.new(opts)
  options.check(opts, known, 3)
  local function option(name, default)
    if overrides[name] ~= nil then
      return overrides[name]
    end
    return opts[name] ~= nil and opts[name] or default
  end
  local self = setmetatable({
    max_turns = option("max_turns", defaults.run.max_turns),
    max_tokens = option("max_tokens", defaults.run.max_tokens),
    extra = opts.extra,
    tool_choice = opts.tool_choice,
    max_budget_usd = option("max_budget_usd"),
    made_with = opts,
    commands = {},
    task_ids = {},
    notes = {},
    queue = queue.new(),
    tools = tools.new(),
    shell = sys.stat("/bin/bash") and "/bin/bash" or "/bin/sh",
  }, { __index = Base })
  self.compaction = compaction.new(self)
  self.emitter = function(event) self:emit(event) end
  self.plugins = plugins.new(self)
  self.tools.events = self.plugins.events
  self.tool_jobs = tool_jobs.new(function(...) return self:notify(...) end,
    function(line) self:warn(line) end)
  self.tools.jobs = self.tool_jobs
  self.inbox = inbox.new(self.queue, opts.on_notice, self.emitter, self.plugins.events)
  open_workspace(self, option("cwd", sys.cwd()))
  open_session(self, option("session"))
  overrides.session = nil -- one agent has it
  local base_dir = opts.base_dir or overrides.base_dir or self.cwd
  load_plugins(self, opts, base_dir)
  set_permissions(self, opts.permissions)
  self.provider = opts.provider or provider.new(option("model"), base_dir)
  check_budget(self)
  build_prompt(self, opts)
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
  return setmetatable(made, getmetatable(self))
end

return M
