--- Making an agent. What its loop stands on: agent_run.lua; its tasks: agent_tasks.lua.
local agent_run = require("agenthost.agent_run")
local call_ids = require("agenthost.call_ids")
local compaction = require("agenthost.compaction")
local conversation = require("agenthost.conversation")
local defaults = require("agenthost.defaults")
local inbox = require("agenthost.inbox")
local json = require("agenthost.json")
local options = require("agenthost.options")
local permission = require("agenthost.permission")
local plugin = require("agenthost.plugin")
local prompt = require("agenthost.prompt")
local provider = require("agenthost.provider")
local queue = require("agenthost.queue")
local resume = require("agenthost.resume")
local session = require("agenthost.session")
local settings = require("agenthost.settings")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
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
---@field provider agenthost.Provider
---@field system string the system prompt
---@field prompt_parts agenthost.PromptPart[] what it is made of; see prompt.show
---@field plugins { name: string, source: string }[] those that are loaded; source: a path, or the
---  name of one that the agent script itself holds
---@field notes string[] lines for the user: what of the instruction files was left out, and why
---@field usage agenthost.Usage tokens and cost of its model calls
---@field max_budget_usd? number what they may cost
---@field permission agenthost.Permission what its tools may do
---@field ask? fun(question: agenthost.Question): agenthost.Answer? asks the user, and waits for the
---  answer; a user interface sets it. Without it what would be asked is refused
---@field on_event? fun(event: table) what a user interface listens to
local Base = setmetatable({}, { __index = agent_run.methods })

--- Closes what the agent holds: its session file, its queue, its workspace.
function Base:close()
  if self.earlier then
    self.earlier:close()
  end
  self.session:close()
  self.queue:close()
  self.root:close()
end

local M = { methods = Base }

local known <const> = {
  "model", "system", "plugins", "tools", "max_turns", "max_tokens", "cwd", "provider", "extra",
  "base_dir", "on_notice", "instructions", "tool_choice", "permissions", "max_budget_usd",
  "session",
}

--- The names of agent.new's options.
M.OPTIONS = known

-- What the command line says comes before what the script says.
local overrides = {}

--- For cli.lua, tests and checks: values that every agent made from now on gets in place of its
--- own; also `session_dir` (where its session goes) and `settings` (in place of the user's file).
---@param values table
function M.override(values)
  overrides = values
end

local function plugin_context(self, source, plugin_options)
  return {
    cwd = self.cwd,
    options = plugin_options,
    tool = function(tool) self.tools:add(tool, source) end,
    command = function(command) self:add_command(command, source) end,
    prompt = function(part) self.added_prompts[#self.added_prompts + 1] = part end,
    note = function(line) self.notes[#self.notes + 1] = line end,
    notify = function(text, fields) return self:notify(text, fields) end,
    log = function(text) self:emit({ type = "log", text = text }) end,
  }
end

local COMMAND <const> = { name = "string", help = "string", run = "function" }

function Base:add_command(command, source)
  for field, wanted in pairs(COMMAND) do
    if type(command) ~= "table" or type(command[field]) ~= wanted then
      error(("%s: a command needs %s (a %s)"):format(source, field, wanted), 0)
    end
  end
  if not command.name:find("^%l[%w_-]*$") then
    error(("%s: '%s' is no name for a command"):format(source, command.name), 0)
  end
  for _, known_command in ipairs(self.commands) do
    if known_command.name == command.name then
      error(("%s: there is a command /%s already"):format(source, command.name), 0)
    end
  end
  table.insert(self.commands, setmetatable({ source = source }, { __index = command }))
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

local function load_tools(self, opts, base_dir)
  check_list("plugins", opts.plugins)
  check_list("tools", opts.tools)
  for _, spec in ipairs(opts.plugins or {}) do
    plugin.load(spec, base_dir, function(source, plugin_options)
      local file = source:match("([^/]+)/init%.lua$") or source:match("([^/]+)%.lua$")
      table.insert(self.plugins, { name = file or source, source = source })
      return plugin_context(self, source, plugin_options)
    end)
  end
  for _, tool in ipairs(opts.tools or {}) do
    self.tools:add(tool, "the agent script")
  end
end

local function set_permissions(self, given)
  self.permission = permission.new({
    cwd = self.cwd,
    sources = { overrides.permissions or {}, given or {},
      (overrides.settings or settings.load()).permissions or {} },
  })
  self.tools.permission = self.permission
end

-- What the model is told before the conversation begins.
local function build_prompt(self, opts)
  if overrides.append_system then
    table.insert(self.added_prompts,
      { source = "--append-system-prompt", text = overrides.append_system })
  end
  self.prompt_parts = prompt.parts(overrides.system or opts.system, {
    cwd = self.cwd,
    os = prompt.os_name(),
    model = self.provider.model,
    tools = self.tools:names(),
  }, { instructions = opts.instructions, added = self.added_prompts })
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
    plugins = {},
    notes = {},
    added_prompts = {},
    queue = queue.new(),
    tools = tools.new(),
    shell = sys.stat("/bin/bash") and "/bin/bash" or "/bin/sh",
  }, { __index = Base })
  self.compaction, self.call_ids = compaction.new(self), call_ids.new()
  self.emitter = function(event) self:emit(event) end
  self.inbox = inbox.new(self.queue, opts.on_notice, self.emitter)
  open_workspace(self, option("cwd", sys.cwd()))
  open_session(self, option("session"))
  overrides.session = nil -- one agent has it
  local base_dir = opts.base_dir or overrides.base_dir or self.cwd
  load_tools(self, opts, base_dir)
  set_permissions(self, opts.permissions)
  self.provider = option("provider") or provider.new(option("model"), base_dir)
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
  made.permission:set_mode(self.permission.mode) -- the user may have changed it
  return setmetatable(made, getmetatable(self))
end

return M
