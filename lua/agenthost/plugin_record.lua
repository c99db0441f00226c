--- One plugin that is set up: the record that owns all it has added, so that taking it away is
--- complete. What it adds while it is set up counts from the moment the record goes live; what it
--- adds later counts at once.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local events = require("agenthost.events")
local options = require("agenthost.options")
local own_commands = require("agenthost.own_commands")
local plugin_context = require("agenthost.plugin_context")
local protect = require("agenthost.protect")
local strikes = require("agenthost.strikes")
local sys = require("agenthost.sys")
local tools = require("agenthost.tools")

---@class agenthost.PluginTimer
---@field stop fun(self: agenthost.PluginTimer)

---@class agenthost.PluginRecord
---@field definition agenthost.PluginDefinition
---@field tools table[] entries of the registry
---@field commands agenthost.Command[]
---@field handlers agenthost.EventHandler[]
---@field prompts agenthost.PromptPart[]
---@field notes string[]
---@field specs table of the plugins that it has added
---@field live boolean
---@field dead boolean
local Record = {}
Record.__index = Record

local M = {}

local UNLOADED <const> = setmetatable({}, { __tostring = function() return "unloaded" end })

--- A record without anything in it.
---@param definition agenthost.PluginDefinition
---@param host { agent: agenthost.AgentBase, changed: fun(), extend: fun(record:
---  agenthost.PluginRecord, spec: string|table), warn: fun(line: string), state_of:
---  fun(record: agenthost.PluginRecord): agenthost.PluginState } changed: called when a live record
---  has something new; extend: adds a plugin to those of a live one; both raise when that does not
---  fit
---@return agenthost.PluginRecord
function M.new(definition, host)
  return setmetatable({
    definition = definition, host = host, live = false, dead = false,
    tools = {}, commands = {}, handlers = {}, prompts = {}, notes = {}, specs = {}, timers = {},
    jobs = {},
    strikes = setmetatable({}, { __mode = "k" }), -- function -> its failures
  }, Record)
end

-- ---- calls into the plugin ---------------------------------------------------------------------

-- What is known of the failures of one of its functions.
function Record:strikes_of(what, fn)
  if not self.strikes[fn] then
    local place = debug.getinfo(fn, "S")
    self.strikes[fn] = strikes.new(("plugin %s: the %s at %s:%d"):format(self.definition.name, what,
      place.short_src, place.linedefined))
  end
  return self.strikes[fn]
end

--- Calls a function of the plugin's, protected. What it raises is told to the user, with the way
--- there for --verbose; that a wait in it was cancelled goes on to the caller. One that fails again
--- and again is switched off: strikes.lua.
---@param what string for messages
---@param fn function
---@return boolean ok
---@return any result of fn
function Record:call(what, fn, ...)
  local mine = self:strikes_of(what, fn)
  if mine:off() then
    return false, mine:off()
  end
  local ok, result, trace = protect.call("plugin " .. self.definition.source, fn, ...)
  if ok then
    mine:hit()
  elseif async.is_cancellation(result) then
    error(result, 0)
  else
    local said = protect.error_text(result)
    self.host.warn(("plugin %s: %s failed: %s"):format(self.definition.name, what, said))
    self.host.agent:emit({ type = "log", text = trace })
    local off = mine:miss(said)
    if off then
      self.host.warn(off)
    end
  end
  self:keep_state()
  return ok, result
end

-- Waits for a job until `deadline`. Returns what has cancelled the wait, if something has.
local function wait_until(job, deadline)
  while not job.done and sys.now() < deadline do
    local ok, err = pcall(async.wait_any, { job }, deadline - sys.now())
    if not ok then
      return err
    end
  end
end

--- Calls a function that may wait, but for no longer than defaults.plugin.setup: then its wait is
--- cancelled. Outside async.run there is nobody to end a wait.
---@param what string for the message
---@param fn function
---@return boolean ok
---@return any ... what fn returned, or the error
function Record:in_time(what, fn, ...)
  if not async.inside() then
    return pcall(fn, ...)
  end
  local job, bound = async.spawn(fn, ...), defaults.plugin.setup
  local reason = wait_until(job, sys.now() + bound)
  if job.done then
    return pcall(job.wait, job)
  end
  local late = ("plugin %s: its %s was stopped: it has waited for more than %g s "
    .. "(defaults.plugin.setup)"):format(self.definition.source, what, bound)
  job:cancel(reason or late)
  self.jobs[job] = true -- if it does not listen, the end of the plugin waits for it, too
  return false, reason or late
end

-- Calls a handler of session.end: as teardown, it may not hold up the end for ever. While the agent
-- is being closed there is no way back: what cancels the wait stops this handler, and the others
-- hear of the end.
function Record:call_in_time(what, fn, event)
  local in_time, ok, result = self:in_time(what, self.call, self, what, fn, event)
  if in_time then
    return ok, result
  elseif async.is_cancellation(ok) then
    if not self.host.agent.closing then
      error(ok, 0)
    end
    ok = ("plugin %s: its %s was stopped: %s"):format(self.definition.source, what, tostring(ok))
  end
  self.host.warn(tostring(ok))
  return false
end

--- Writes what the plugin remembers, if that has changed.
function Record:keep_state()
  if not self.state or not self.live then
    return
  end
  local ok, message = self.state:flush()
  if not ok and message ~= self.state.problem then
    self.host.warn(("plugin %s: %s; it is tried again"):format(self.definition.name, message))
  end
  self.state.problem = message
end

-- Its state, when it wants it. Until it is there to stay, what it writes there may have to be taken
-- back.
function Record:open_state()
  if not self.state then
    self.state = self.host.state_of(self)
    self.state_before = not self.live and self.state:snapshot() or nil
  end
  return self.state.value
end

--- It is there to stay.
function Record:accept()
  self.state_before = nil
end

-- ---- what it adds ------------------------------------------------------------------------------

-- Puts an item into one of the lists; in vain when it does not fit to what is there.
function Record:add(list, item)
  if self.dead then
    error(("plugin %s is unloaded: it can add nothing"):format(self.definition.name), 4)
  end
  table.insert(self[list], item)
  if self.live then
    local ok, message = pcall(self.host.changed)
    if not ok then
      table.remove(self[list])
      error(message, 0)
    end
  end
end

local COMMAND <const> = { name = "string", help = "string", run = "function" }

local function check_command(command, source)
  if type(command) ~= "table" then
    error(("%s: ctx.command: expected { name = ..., help = ..., run = ... }, got %s"):format(source,
      options.show(command)), 0)
  end
  for field, wanted in pairs(COMMAND) do
    if type(command[field]) ~= wanted then
      error(("%s: a command needs %s (a %s), got %s"):format(source, field, wanted,
        options.show(command[field])), 0)
    end
  end
  if not command.name:find("^%l[%w_-]*$") then
    error(("%s: '%s' is no name for a command: a small letter, then letters, digits, '_' and '-', "
      .. "without the /"):format(source, command.name), 0)
  elseif own_commands[command.name] then -- it would never be called
    error(("%s: there is a command /%s already, agenthost's own"):format(source, command.name), 0)
  end
end

function Record:add_tool(tool)
  local entry = tools.entry(tool, self.definition.source)
  entry.done = function() self:keep_state() end
  self:add("tools", entry)
end

function Record:add_command(command)
  check_command(command, self.definition.source)
  local function finish(ok, first, ...)
    self:keep_state()
    if not ok then
      error(async.is_cancellation(first) and first or protect.error_text(first), 0)
    end
    return first, ...
  end
  local own = {}
  for field, value in pairs(command) do
    own[field] = value
  end
  local owner = ("command /%s (%s)"):format(command.name, self.definition.source)
  own.run = function(...) return finish(protect.call(owner, command.run, ...)) end
  self:add("commands", { owner = self.definition.source, command = own })
end

function Record:add_handler(event, fn, opts)
  events.check_name(event, 3)
  if type(fn) ~= "function" then
    error(("ctx.on('%s'): expected a function, got a %s"):format(event, type(fn)), 3)
  end
  opts = opts or {}
  options.check(opts, { "priority" }, 3)
  local priority = opts.priority or 0
  if type(priority) ~= "number" or priority ~= priority then
    error("ctx.on: priority: expected a number, got " .. options.show(priority), 3)
  end
  self:add("handlers", {
    event = event, fn = fn, priority = priority,
    call = function(...)
      return (event == "session.end" and self.call_in_time or self.call)(self, ...)
    end,
    alive = function() return not self.dead end,
  })
end

function Record:add_plugin(spec)
  if self.dead or self.ready and not self.live then
    error(("plugin %s is %s: it can add nothing"):format(self.definition.name,
      self.dead and "unloaded" or "not live yet"), 3)
  elseif self.live then
    self.host.extend(self, spec)
  else
    table.insert(self.specs, spec)
  end
end

-- ---- timers and jobs ---------------------------------------------------------------------------

local Timer = {}
Timer.__index = Timer

--- It is not called any more; a call under way goes on.
function Timer:stop()
  self.stopped = true
  self.record.timers[self] = nil
  if self.job and self.sleeping then
    self.job:cancel(UNLOADED)
  end
end

function Timer:loop()
  while not self.stopped do -- it may have been stopped before it began
    self.sleeping = true
    async.sleep(math.max(0, self.due - sys.now()))
    self.sleeping = false
    if not self.stopped then
      self.record:call("timer", self.fn)
    end
    self.due = sys.now() + self.seconds
    self.stopped = self.stopped or not self.repeats
  end
  self.record.timers[self] = nil
end

-- Runs it as a job, unless one does already. A job does not outlive async.run.
function Timer:start()
  if not self.job or self.job.done then
    self.job = async.spawn(function() self:loop() end)
  end
end

function Record:add_timer(seconds, fn, opts)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < defaults.plugin.min_timer then
    error(("ctx.timer: expected seconds from %g on (defaults.plugin.min_timer), got %s"):format(
      defaults.plugin.min_timer, options.show(seconds)), 3)
  elseif type(fn) ~= "function" then
    error("ctx.timer: expected a function, got a " .. type(fn), 3)
  elseif self.dead then
    error(("plugin %s is unloaded: it can add nothing"):format(self.definition.name), 3)
  end
  opts = opts or {}
  options.check(opts, { "repeats" }, 3)
  local count = 0
  for _ in pairs(self.timers) do
    count = count + 1
  end
  if count >= defaults.plugin.max_timers then
    error(("a plugin may have %d timers (defaults.plugin.max_timers)"):format(count), 3)
  end
  local timer = setmetatable({ record = self, seconds = seconds, due = sys.now() + seconds, fn = fn,
    repeats = opts.repeats }, Timer)
  self.timers[timer] = true
  if self.live and async.inside() then
    timer:start()
  end
  return timer
end

function Record:spawn(fn)
  if self.dead then
    error(("plugin %s is unloaded: it can start nothing"):format(self.definition.name), 3)
  end
  local job
  job = async.spawn(function()
    local ok, err = pcall(self.call, self, "job", fn)
    self.jobs[job] = nil
    if not ok then
      error(err, 0)
    end
  end)
  self.jobs[job] = true
  return job
end

--- Sets its timers going. Inside async.run; what goes already goes on.
function Record:start()
  for timer in pairs(self.timers) do
    timer:start()
  end
end

--- Sets the plugin up. Raises what that raises; nothing of it is live.
function Record:set_up()
  local ok, err = self:in_time("setup", function()
    protect.run("plugin " .. self.definition.source, self.definition.setup,
      plugin_context.new(self), self.definition.options)
    self.ready = true -- before what it has spawned begins
  end)
  if not ok then
    error(err, 0)
  end
end

--- What it has counts from now on.
function Record:go_live()
  self.live = true
  self:keep_state()
  if async.inside() then
    self:start()
  end
end

-- Waits, within a bound, until the jobs that were cancelled have ended. Returns why it waits no
-- longer when one has not: that the wait is cancelled, too, for a plugin goes all the same.
local function wait_for(jobs)
  local bound = defaults.plugin.teardown
  local deadline, why = sys.now() + bound, ("after %g s (defaults.plugin.teardown)"):format(bound)
  for _, job in ipairs(jobs) do
    local cancelled = wait_until(job, deadline)
    if cancelled then
      deadline, why = 0, ("(%s)"):format(tostring(cancelled))
    end
    if not job.done then
      return why
    end
  end
end

--- Takes away all that it owns. A call under way finishes with the code it started with. Raises
--- nothing, also when a wait in it is cancelled: there is no way back.
function Record:tear_down()
  if self.dead then
    return
  end
  if self.definition.teardown then
    local ok, err = self:in_time("teardown", self.call, self, "teardown", self.definition.teardown)
    if not ok then
      self.host.warn(async.is_cancellation(err) and ("plugin %s: its teardown was stopped: %s")
        :format(self.definition.source, tostring(err)) or tostring(err))
    end
  end
  if self.state_before then
    self.state:restore(self.state_before)
  end
  self:keep_state()
  self.dead, self.live = true, false
  local jobs = {}
  for timer in pairs(self.timers) do
    timer:stop()
  end
  for job in pairs(self.jobs) do
    job:cancel(UNLOADED)
    jobs[#jobs + 1] = job
  end
  local left = async.inside() and wait_for(jobs)
  if left then
    self.host.warn(("plugin %s: what it has spawned does not end; it was left behind %s"):format(
      self.definition.name, left))
  end
  self.tools, self.commands, self.handlers = {}, {}, {}
  self.prompts, self.timers, self.jobs = {}, {}, {}
end

return M
