--- The tasks that earlier hosts have started in a session that is resumed.
---
--- Each has the methods of agenthost.Task, as far as they work without being its parent: what
--- is known of it stands in the ledger, to which the supervisor of its host notes its end. What has
--- ended and was not told is told once; what still runs is adopted: its end is noticed and told.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local kill_request = require("agenthost.kill_request")
local ledger = require("agenthost.ledger")
local sys = require("agenthost.sys")
local task_runner = require("agenthost.task")
local text = require("agenthost.text")

-- ---- one task ----------------------------------------------------------------------------------

---@class agenthost.EarlierTask the same as agenthost.Task, for a task of an earlier host
---@field id string
---@field command string
---@field label? string
---@field cwd string
---@field output_path string
local Task = {}
Task.__index = Task

local ENDLESS <const> = { queued = true, running = true }

local function has_ended(task)
  return not ENDLESS[task.record.status]
end

function Task:status()
  local record = self.record
  local started = record.started or sys.wall()
  return record.status, {
    status = record.status,
    ended = has_ended(self),
    code = record.code,
    signal = record.signal,
    reason = record.reason,
    pid = record.status == "running" and record.pid or nil,
    started = started,
    seconds = record.seconds or sys.wall() - started,
    notify = record.owed,
    detached = record.detached,
  }
end

function Task:output(options)
  return task_runner.read_output(self.output_path, options)
end

--- Something that `async.wait_any` takes; it has news when the task ends.
function Task:waitable()
  return self
end

function Task:wait(timeout)
  local deadline = sys.now() + (timeout or math.huge)
  while true do
    self.owner:look()
    if has_ended(self) then
      return self:status()
    elseif sys.now() >= deadline then
      return nil, "the task has not ended in that time", "TIMEOUT"
    end
    async.wait_any({ self }, math.min(deadline - sys.now(), defaults.session.watch))
  end
end

function Task.write()
  return nil, "the task was started by an earlier agenthost: its input is gone", "EPIPE"
end

--- TERM (or KILL, when that is asked for) to its processes, then KILL to what does not end within
--- the grace: by its supervisor, or where that is gone by the looks at the ledger.
function Task:kill(options)
  options = options or {}
  if has_ended(self) or not ledger.is_alive(self.record) then
    return false
  end
  local by, grace = options.by or "a script", options.grace or defaults.task.grace
  self.killed_by = "by " .. by
  self.kill_at = sys.now() + grace
  if kill_request.ask(self.record, by, options.signal == "KILL" and 0 or grace) then
    self.kill_at = self.kill_at + defaults.session.settle -- should it not take it
  else
    sys.signal_group(self.record.pid, options.signal == "KILL" and "KILL" or "TERM")
  end
  return true
end

function Task:set_notify(notify)
  if notify ~= self.record.owed then
    self.record.owed = notify
    ledger.mark(self.owner.path, notify and "owed" or "waived", { self.id })
  end
end

function Task:acknowledge()
  if not has_ended(self) then
    return false
  elseif self.due then
    self.owner:push(self)
  end
  return not self.seq or self.owner.queue:withdraw(self.seq)
end

-- ---- all of them -------------------------------------------------------------------------------

---@class agenthost.Earlier
local Earlier = {}
Earlier.__index = Earlier

function Earlier:push(task)
  task.seq = self.queue:push({ kind = "earlier", task = task.id })
  task.due = task.seq == nil -- a full queue: at the next look
end

local function take_end(self, task)
  local record = task.record
  if task.killed_by and record.status == "failed" and record.signal then
    record.status, record.reason = "killed", task.killed_by
  end
  self.open[task.id] = nil
  task.due = record.owed and not record.delivered and not self.told[task.id]
  async.notify(task)
end

-- Nobody is left who would note how it ended, or could begin it.
local function close_record(self, task)
  local fields = { status = "lost", reason = "its agenthost and the supervisor are gone" }
  if task.record.status == "queued" then
    fields = { status = "error", reason = "agenthost stopped before it was started" }
  end
  ledger.mark(self.path, "end", { task.id }, fields)
end

local function is_from_before_boot(record)
  local uptime = tonumber((sys.read_file("/proc/uptime", 100) or ""):match("^[%d.]+"))
  return uptime ~= nil and (record.started or 0) < sys.wall() - uptime
end

-- Gives true when it has noted an end.
local function check_process(self, task)
  local now = sys.now()
  if ledger.is_alive(task.record) then
    if task.kill_at and now >= task.kill_at then
      kill_request.withdraw(task.record)
      sys.signal_group(task.record.pid, "KILL")
    end
    return
  end
  task.gone = task.gone or now
  if now - task.gone >= defaults.session.settle or is_from_before_boot(task.record) then
    close_record(self, task)
    return true
  end
end

--- Takes in what has happened to the tasks that had not ended.
function Earlier:look()
  self.update()
  local noted = false
  for _, task in pairs(self.open) do
    noted = not has_ended(task) and check_process(self, task) or noted
  end
  if noted then
    self.update()
  end
  for _, task in ipairs(self.list) do
    if self.open[task.id] and has_ended(task) then
      take_end(self, task)
    end
    if task.due and self.watching and (self.introduced or not task.held) then
      self:push(task)
    end
  end
end

-- Waits until the supervisor of a host that has just died has noted what it ended; bounded.
local function settle(self)
  local deadline = sys.now() + defaults.session.settle
  while true do
    self:look()
    local unsettled = false
    for _, task in pairs(self.open) do
      local record = task.record
      unsettled = unsettled or record.owed and not (record.detached and ledger.is_alive(record))
    end
    if not unsettled or sys.now() >= deadline then
      return
    end
    async.sleep(0.02)
  end
end

--- Sees to it that ends are noticed while there is a task that has not ended: each is a notice in
--- the agent's queue. Nothing when that is so already.
function Earlier:watch()
  self.watching = true
  if not next(self.open) or self.job and not self.job.done then
    return
  end
  self.job = async.spawn(function()
    while next(self.open) do
      self:look()
      async.sleep(defaults.session.watch)
    end
  end)
end

function Earlier:close()
  self.open = {}
  if self.job then
    self.job:cancel("the agent is closed")
  end
end

--- One of them.
---@param id string
---@return agenthost.EarlierTask?
function Earlier:find(id)
  return self.by_id[id]
end

--- Those whose end was or is to be told by a notice, and those that run; oldest first.
---@return agenthost.EarlierTask[]
function Earlier:tasks()
  local found = {}
  for _, task in ipairs(self.list) do
    if task.record.owed or self.open[task.id] then
      found[#found + 1] = task
    end
  end
  return found
end

--- Those that have not ended.
---@return agenthost.EarlierTask[]
function Earlier:running()
  local found = {}
  for _, task in ipairs(self.list) do
    if self.open[task.id] then
      found[#found + 1] = task
    end
  end
  return found
end

-- ---- telling -----------------------------------------------------------------------------------

--- A short table of tasks for the model: one line each, those that run first.
---@param tasks agenthost.Task[]|agenthost.EarlierTask[] oldest first
---@return string
function Earlier.table(tasks)
  local running, ended = {}, {}
  for _, task in ipairs(tasks) do
    local status, state = task:status()
    local command = text.preview(text.clean(task.command):gsub("%s+", " "), { max = 200 })
    local list = state.ended and ended or running
    list[#list + 1] = ("%s: [%s] %s"):format(task.id, status, command)
  end
  local max = defaults.session.table
  local lines = table.move(running, math.max(1, #running - max + 1), #running, 1, {})
  local room = math.min(max - #lines, #ended)
  table.move(ended, #ended - room + 1, #ended, #lines + 1, lines)
  if #lines < #running + #ended then
    lines[#lines + 1] = ("[... %d older tasks left out ...]"):format(#running + #ended - #lines)
  end
  return table.concat(lines, "\n")
end

--- Puts into the queue what the model is to be told when the session goes on: ends that no message
--- holds, other notices that were not told, and a table of the tasks. Only the first time.
function Earlier:introduce()
  if self.introduced then
    return
  end
  self.introduced = true
  local news = self.interrupted or next(self.open) ~= nil
  for _, task in ipairs(self.list) do
    if task.due then
      news = true
      self:push(task)
    end
  end
  for _, notice in ipairs(self.notices) do
    self.queue:push(notice)
  end
  local tasks = self:tasks()
  if news and #tasks > 0 then
    self.queue:push({ kind = "session", text = "agenthost was started again, and this conversation "
      .. "goes on. Its background tasks:\n" .. Earlier.table(tasks) })
  end
  self:watch()
end

--- Notices as they were drained, those of these tasks in the form of a task's end.
---@param notices table[]
---@return table[]
function Earlier:fill(notices)
  local filled = {}
  for i, notice in ipairs(notices) do
    local task = notice.kind == "earlier" and self.by_id[notice.task]
    filled[i] = notice
    if task then
      filled[i] = ledger.notice(task.record)
      filled[i].seq, filled[i].source = notice.seq, task
    end
  end
  return filled
end

--- Notes that a message on disk holds the ends of these tasks, as far as they are of ours.
---@param ids string[]
---@return boolean? done nil, message, code
function Earlier:delivered(ids)
  local ours = {}
  for _, id in ipairs(ids) do
    local task = self.by_id[id]
    if task then
      task.record.delivered, task.seq = true, nil
      ours[#ours + 1] = id
    end
  end
  if #ours == 0 then
    return true
  end
  return ledger.mark_delivered(self.path, ours)
end

local M = { table = Earlier.table }

local function add(self, record)
  local task = setmetatable({
    owner = self,
    record = record,
    id = record.id,
    command = record.command or "(unknown: the ledger has no start of it)",
    label = record.label,
    cwd = record.cwd or "(unknown)",
    output_path = record.output or "(unknown)",
  }, Task)
  self.list[#self.list + 1] = task
  self.by_id[task.id] = task
  self.open[task.id] = task
end

--- Takes over the tasks of a session. Waits, for at most defaults.session.settle, when its host has
--- died only now.
---@param dir string of the session
---@param queue agenthost.Queue where ends are told
---@param told table<string, boolean> ids of tasks whose end a message of the session holds
---@return agenthost.Earlier
function M.new(dir, queue, told)
  local path = dir .. "/tasks.jsonl"
  local self = setmetatable({
    path = path,
    queue = queue,
    told = told,
    list = {},
    by_id = {},
    open = {}, -- those that have not ended, by id
    update = ledger.follow(path),
    watching = false,
    introduced = false,
    notices = {}, -- that are no task's end, and were not told
  }, Earlier)
  for _, record in ipairs(self.update()) do
    add(self, record)
  end
  settle(self)
  local late, adopted = {}, {}
  for _, task in ipairs(self.list) do
    local record = task.record
    task.held = task.due -- until there is something to say to the model anyway
    if self.open[task.id] then
      adopted[#adopted + 1] = task.id
    elseif record.owed and not record.delivered and told[task.id] then
      late[#late + 1] = task.id -- the host died between the message and the mark
    end
  end
  self:delivered(late)
  if #adopted > 0 then
    ledger.mark(path, "adopted", adopted)
  end
  return self
end

return M
