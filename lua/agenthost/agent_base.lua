--- What the agent loop stands on: making an agent, its conversation, tasks and events.
local async = require("agenthost.async")
local compaction = require("agenthost.compaction")
local conversation = require("agenthost.conversation")
local defaults = require("agenthost.defaults")
local inbox = require("agenthost.inbox")
local json = require("agenthost.json")
local options = require("agenthost.options")
local permission = require("agenthost.permission")
local plugin = require("agenthost.plugin")
local prompt = require("agenthost.prompt")
local protect = require("agenthost.protect")
local provider = require("agenthost.provider")
local queue = require("agenthost.queue")
local resume = require("agenthost.resume")
local retry = require("agenthost.retry")
local session = require("agenthost.session")
local settings = require("agenthost.settings")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local tools = require("agenthost.tools")
local usage = require("agenthost.usage")

---@class agenthost.AgentBase
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
---@field notes string[] lines for the user: what of the instruction files was left out, and why
---@field usage agenthost.Usage tokens and cost of its model calls
---@field max_budget_usd? number what they may cost
---@field permission agenthost.Permission what its tools may do
---@field ask? fun(question: agenthost.Question): agenthost.Answer? asks the user, and waits for the
---  answer; a user interface sets it. Without it what would be asked is refused
---@field on_event? fun(event: table) what a user interface listens to
local Base = {}

-- ---- for the loop ------------------------------------------------------------------------------

-- Runs fn in a job that `interrupt` can cancel. Returns false when it was, else true and what fn
-- returned. Cancelling whoever waits here, the run inside a tool for example, does the same.
function Base:interruptible(fn)
  self.activity = async.spawn(fn)
  local job = self.activity
  local results = table.pack(pcall(job.wait, job))
  if not job.done then
    self.interrupted = true
    job:cancel(results[2])
    results = table.pack(pcall(job.wait, job))
  end
  self.activity = nil
  if results[1] then
    return table.unpack(results, 1, results.n)
  elseif results[2] ~= tools.CANCELLED then
    error(type(results[2]) == "string" and job.traceback or results[2], 0)
  end
  return false
end

--- One try of a model call, if the budget has room for it. What it used counts, however it ends.
---@param request agenthost.Request
---@param on_event fun(event: table)
---@return agenthost.Reply? reply nil, message, code, details
function Base:ask_model(request, on_event)
  local ok, message, code = self.usage:check(self.provider, self.max_budget_usd)
  if not ok then
    return nil, message, code
  end
  local call <close> = self.usage:start(self.provider)
  return call:done(self.provider:stream(request, function(event)
    call:event(event)
    on_event(event)
  end))
end

--- A model call beside the conversation. Its tokens count; nothing of it is shown.
---@param request agenthost.Request
---@return agenthost.Reply? reply nil, message, code, details
function Base:call_beside(request)
  local ok, reply, message, code, details = self:interruptible(function()
    return retry.call(function()
      return self:ask_model(request, function() end)
    end, defaults.retry, function(wait)
      self:emit({ type = "retry", wait = wait })
    end, function(wait, left)
      self:emit({ type = "retry_tick", wait = wait, left = left })
    end)
  end)
  if not ok then
    return nil, "interrupted by the user", "INTERRUPTED"
  end
  return reply, message, code, details
end

--- Makes the conversation shorter, at once and as far as it goes. Only between runs.
---@param focus? string what is to be kept above all
---@return agenthost.CompactionEvent? event nil, message, code; NOTHING: there is nothing to shorten
function Base:compact(focus)
  if self.activity then
    error("the agent is working: compact the conversation when it is done", 2)
  elseif not async.inside() then
    return async.run(self.compact, self, focus)
  end
  self.interrupted = false
  return self.compaction:compact("asked", focus)
end

--- Stops the model call or the wait for foreground tools that is under way; background tasks go on.
--- The run then ends with the code INTERRUPTED.
---@return boolean whether there was something to stop
function Base:interrupt()
  if not self.activity then
    return false
  end
  self.interrupted = true
  self.activity:cancel(tools.CANCELLED)
  return true
end

-- The ids of the tasks whose ends are in flight.
local function ends_in_flight(self)
  local ids = {}
  for _, notice in ipairs(self.queue:in_flight()) do
    if notice.kind == "task" or notice.kind == "earlier" then
      ids[#ids + 1] = notice.task
    end
  end
  return ids
end

--- Appends a user message that tells the ends which are in flight in the queue. They are
--- acknowledged when it is on disk, and go back when it cannot be written. Their ids stand in the
--- same line: should the host die in between, the next one knows that they were told.
function Base:append_and_ack(blocks)
  local ids = ends_in_flight(self)
  self.telling = #ids > 0 and ids or nil
  local ok, err = pcall(self.conversation.append, self.conversation, "user", blocks)
  self.telling = nil
  if not ok then
    self.queue:requeue()
    self.inbox:put_back()
    error(err, 0)
  end
  self.inbox:kept()
  local acked, message = self.queue:ack()
  if not acked then
    self:emit({ type = "log", text = message })
  end
  if self.earlier then
    self.earlier:delivered(ids)
  end
  self:emit_message()
end

--- Says something to the model, as the user: it is told before the next model call, also while the
--- agent works (steering). `run` is what makes an idle agent listen.
---@param input string|table[] text or content blocks
---@param opts? { hold?: boolean } hold: it waits for whatever else starts a run
function Base:say(input, opts)
  self.inbox:say(type(input) == "string" and { { type = "text", text = input } } or input, opts)
end

--- Every tool call gets a result, also when a run broke off before there was one (a full disk, an
--- error in a tool's context): without it no later request would be valid.
function Base:answer_open_calls()
  if not self.open_calls then
    return
  end
  local results = {}
  for i, call in ipairs(self.open_calls) do
    results[i] = {
      type = "tool_result",
      tool_use_id = call.id,
      content = "Error: the run broke off before the result was kept.",
      is_error = true,
    }
  end
  self:append("user", results)
  self.open_calls = nil
end

-- What was shown of a reply that the user stopped stays in the conversation.
function Base:keep_partial(text)
  if text:find("%S") then
    self:append("assistant", { { type = "text", text = text } })
    self:append("user", { { type = "text", text = "[The user stopped this reply.]" } })
  end
end

-- What was shown of a failed call does not count: the session says so, and whoever listens. Takes
-- the texts that were shown, and returns an empty list for the next ones.
function Base:discard(shown, failure)
  local text = table.concat(shown)
  if text:find("%S") then
    local discarded = { length = utf8.len(text) or #text, reason = failure.message,
      code = failure.code }
    self.session:append("discarded", discarded)
    self:emit({ type = "discarded", discarded = discarded })
  end
  return {}
end

-- Sorts out what a reply asks for.
function Base:take_reply(reply)
  local texts, calls = {}, {}
  for _, block in ipairs(reply.content) do
    if block.type == "text" then
      texts[#texts + 1] = block.text
    elseif block.type == "tool_use" then
      calls[#calls + 1] = block
    end
  end
  -- A reply that was cut off: what its last call was to be nobody knows.
  local cut = reply.stop_reason == "max_tokens"
    or reply.stop_reason == "model_context_window_exceeded"
  local last = calls[#calls]
  if cut and last and last == reply.content[#reply.content] then
    calls[#calls] = { id = last.id, name = last.name, input = last.input, incomplete = true }
  end
  if #reply.content == 0 and reply.stop_reason ~= "end_turn" then
    local why = reply.stop_details and reply.stop_details.explanation or "its reply is empty"
    return nil, ("the model stopped with %s: %s"):format(reply.stop_reason, why),
      reply.stop_reason:upper()
  end
  reply.text, reply.calls = table.concat(texts), calls
  self:emit({ type = "reply", reply = reply })
  return reply
end

function Base:append(role, blocks)
  self.conversation:append(role, blocks)
  self:emit_message()
end

-- Tells of the newest piece of the conversation.
function Base:emit_message()
  local pieces = self.conversation.pieces
  self:emit({ type = "message", role = pieces[#pieces].role, piece = pieces[#pieces] })
end

function Base:emit(event)
  if self.on_event then
    self.on_event(event)
  end
end

--- What a tool gets as its second argument.
---@class agenthost.ToolContext
---@field agent agenthost.Agent
---@field id string of the tool call
---@field cwd string
---@field root agenthost.sys.Root the workspace: files, confined to cwd
---@field run_task fun(command: string|string[], opts?: table): agenthost.Task runs a command of the
---  agent's: in its directory, with defaults.task.env, its end told to its queue if `notify`
---@field list_tasks fun(): agenthost.Task[] the tasks of this agent, oldest first
---@field find_task fun(id: string): agenthost.Task? one of them
---@field notify fun(text: string, fields?: table) puts a notice into the agent's queue
---@field log fun(text: string)
function Base:tool_context(call)
  return {
    agent = self,
    id = call.id,
    cwd = self.cwd,
    root = self.root,
    run_task = function(command, opts) return self:run_task(command, opts) end,
    list_tasks = function() return self:list_tasks() end,
    find_task = function(id) return self:find_task(id) end,
    notify = function(text, fields) return self:notify(text, fields) end,
    log = function(text) self:emit({ type = "log", text = text }) end,
  }
end

--- Puts a notice into the agent's queue.
---@param text string
---@param fields? table more of the notice; `kind` is "plugin" unless given
---@return integer? seq nil, message, code when the queue is full
function Base:notify(text, fields)
  local one = { kind = "plugin", text = text }
  for name, value in pairs(fields or {}) do
    one[name] = value
  end
  return self.queue:push(one)
end

--- Runs a command as a task of this agent. Options as in `task.run`; `notify` is off unless given.
---@return agenthost.Task raises when it cannot be made
function Base:run_task(command, opts)
  local all = { cwd = self.cwd, queue = self.queue, notify = false, shell = self.shell }
  for name, value in pairs(opts or {}) do
    all[name] = value
  end
  if type(all.cwd) == "string" and all.cwd:sub(1, 1) ~= "/" then
    all.cwd = self.cwd .. "/" .. all.cwd
  end
  all.env = {}
  for _, env in ipairs({ defaults.task.env, opts and opts.env or {} }) do
    for name, value in pairs(env) do
      all.env[name] = value
    end
  end
  task.set_dir(self.session.dir)
  local made, message = task.run(command, all)
  if not made then
    error(message, 0)
  end
  self.task_ids[made.id] = true
  return made
end

-- Those that this host runs or has run, as far as it still knows them.
local function own_tasks(self)
  local mine = {}
  for _, one in ipairs(task.list()) do
    if self.task_ids[one.id] then
      mine[#mine + 1] = one
    end
  end
  return mine
end

--- The tasks of this agent that are still known, oldest first; those that earlier hosts have
--- started in its session are among them.
---@return agenthost.Task[]
function Base:list_tasks()
  local all, mine = self.earlier and self.earlier:tasks() or {}, own_tasks(self)
  return table.move(mine, 1, #mine, #all + 1, all)
end

--- One of them, or nil.
---@param id string
---@return agenthost.Task?
function Base:find_task(id)
  return self.task_ids[id] and task.get(id) or self.earlier and self.earlier:find(id) or nil
end

--- Those that this host runs and that owe a notice. What has outlived an earlier host is nothing to
--- wait for, and outlives this one, too.
---@return agenthost.Task[]
function Base:pending_tasks()
  local pending = {}
  for _, one in ipairs(own_tasks(self)) do
    local _, state = one:status()
    if not state.ended and state.notify then
      pending[#pending + 1] = one
    end
  end
  return pending
end

--- Closes what the agent holds: its session file, its queue, its workspace.
function Base:close()
  if self.earlier then
    self.earlier:close()
  end
  self.session:close()
  self.queue:close()
  self.root:close()
end

-- ---- making one --------------------------------------------------------------------------------

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
  local guarded = { run = protect.wrap(("command /%s (%s)"):format(command.name, source),
    command.run) }
  table.insert(self.commands, setmetatable(guarded, { __index = command }))
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

local function load_tools(self, opts, base_dir)
  check_list("plugins", opts.plugins)
  check_list("tools", opts.tools)
  for _, spec in ipairs(opts.plugins or {}) do
    plugin.load(spec, base_dir, function(source, plugin_options)
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
    sources = { overrides.permissions or {}, given or {}, settings.load().permissions or {} },
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
    notes = {},
    added_prompts = {},
    queue = queue.new(),
    tools = tools.new(),
    shell = sys.stat("/bin/bash") and "/bin/bash" or "/bin/sh",
  }, { __index = Base })
  self.compaction = compaction.new(self)
  self.emitter = function(event) self:emit(event) end
  self.inbox = inbox.new(self.queue, opts.on_notice, self.emitter)
  open_workspace(self, option("cwd", sys.cwd()))
  open_session(self, option("session"))
  overrides.session = nil -- one agent has it
  local base_dir = opts.base_dir or overrides.base_dir or self.cwd
  load_tools(self, opts, base_dir)
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
