--- The tasks of an agent, and what its tools get in hand.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local kept = require("agenthost.kept")
local options = require("agenthost.options")
local question = require("agenthost.question")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

---@class agenthost.AgentTasks
local Tasks = {}

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
---@field list_calls fun(): agenthost.ToolJob[] calls of tools that go on in the background
---@field cancel_call fun(id: string): boolean stops one of them; false: there is none
---@field notify fun(text: string, fields?: table) puts a notice into the agent's queue
---@field progress fun(text?: string, fraction?: number) how far the call is, for the status line;
---  fraction: 0 to 1
---@field log fun(text: string)

--- What a tool gets in hand for one call.
---@param call { id: string }
---@return agenthost.ToolContext
function Tasks:tool_context(call)
  return {
    agent = self,
    id = call.id,
    cwd = self.cwd,
    root = self.root,
    run_task = function(command, opts) return self:run_task(command, opts) end,
    list_tasks = function() return self:list_tasks() end,
    find_task = function(id) return self:find_task(id) end,
    list_calls = function() return self.tool_jobs:list() end,
    cancel_call = function(id) return self.tool_jobs:cancel(id) end,
    notify = function(text, fields) return self:notify(text, fields) end,
    log = function(text) self:emit({ type = "log", text = tostring(text) }) end,
  }
end

--- How much is under way that ends with this host and in a notice: tasks, and background calls of
--- tools.
---@return integer
function Tasks:owed()
  return #self:pending_tasks("session") + self.tool_jobs.count
end

--- Puts a notice into the agent's queue, and into the session file until it is told.
---@param text string
---@param fields? table more of the notice; `kind` is "plugin" unless given
---@return integer? seq nil, message, code when the queue is full
function Tasks:notify(text, fields)
  if type(text) ~= "string" or not text:find("%S") then
    error("notify: expected a text for the model, got " .. options.show(text))
  elseif fields ~= nil and type(fields) ~= "table" then
    error("notify: expected a table of the notice's fields, got " .. options.show(fields))
  end
  local one = { kind = "plugin", text = text }
  for name, value in pairs(fields or {}) do
    one[name] = value
  end
  one.key = sys.random_hex(4)
  local seq, message, code = self.queue:push(one)
  if seq then
    self:keep(kept.note, one)
  end
  return seq, message, code
end

-- Writes to the session file by a function of kept.lua; a full disk holds up nobody.
function Tasks:keep(write, ...)
  local ok, message = pcall(write, self.session, ...)
  if not ok then
    self:emit({ type = "log", text = message })
  end
end

--- Runs a command as a task of this agent. Options as in `task.run`; `notify` is off unless given.
---@return agenthost.Task raises when it cannot be made
function Tasks:run_task(command, opts)
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
  if async.inside() then
    async.spawn(question.follow, made, function(line)
      local owner = self.closed and self.parent or self
      if not owner.closed then
        owner.queue:push({ kind = "stalled", text = line }) -- not kept: true for this moment only
      end
    end)
  end
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
function Tasks:list_tasks()
  local all, mine = self.earlier and self.earlier:tasks() or {}, own_tasks(self)
  return table.move(mine, 1, #mine, #all + 1, all)
end

--- One of them, or nil.
---@param id string
---@return agenthost.Task?
function Tasks:find_task(id)
  return self.task_ids[id] and task.get(id) or self.earlier and self.earlier:find(id) or nil
end

--- Takes over what another agent, which is about to be closed, has started and was not told of.
---@param other agenthost.Agent
function Tasks:adopt(other)
  for _, one in ipairs(own_tasks(other)) do
    if one:set_queue(self.queue) then
      self.task_ids[one.id] = true
    end
  end
end

--- Those that this host runs and that owe a notice. What has outlived an earlier host is nothing to
--- wait for, and outlives this one, too.
---@param lifetime? "session"|"detached" only those that end with this host, or only the others
---@return agenthost.Task[]
function Tasks:pending_tasks(lifetime)
  local pending = {}
  for _, one in ipairs(own_tasks(self)) do
    local _, state = one:status()
    local wanted = not lifetime or state.detached == (lifetime == "detached")
    if not state.ended and state.notify and wanted then
      pending[#pending + 1] = one
    end
  end
  return pending
end

return { methods = Tasks }
