--- What waits to get into the conversation: the notices of the queue, and what the user says while
--- the agent works. Decides when that starts a run of an idle agent.
---
--- Policy for a notice: "wake" (the default: it starts a run), "merge" (the same, but a moment
--- later, so that several that come close together are one run), "hold" (it waits for the next run,
--- whatever starts that), "drop" (nobody is told), or a function of the notice that returns one of
--- these.
local async = require("agenthost.async")
local copy = require("agenthost.copy")
local defaults = require("agenthost.defaults")
local notice_text = require("agenthost.notice")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")

local M = {}

local VERDICTS <const> = { wake = true, merge = true, hold = true, drop = true }

---@alias agenthost.NoticePolicy "wake"|"merge"|"hold"|"drop"|fun(notice: table): string

---@class agenthost.Inbox
---@field events? agenthost.Events plugins that decide before the policy does
---@field earlier? agenthost.Earlier the tasks of earlier hosts, which have something to tell, too
---@field on_drop fun(notice: table) told of each that is dropped, but for ends of tasks
---@field wanted boolean the user has said something that asks for a run
---@field changed table an event for `async.wait_any`: the user has said something
local Inbox = {}
Inbox.__index = Inbox

--- Raises unless it is a policy, or nil.
---@param policy any
function M.check_policy(policy)
  if policy ~= nil and type(policy) ~= "function" and not VERDICTS[policy] then
    error(("on_notice: expected wake, merge, hold, drop or a function, got %s"):format(
      tostring(policy)), 0)
  end
end

---@param queue agenthost.Queue
---@param policy? agenthost.NoticePolicy
---@param emit fun(event: table) told { type = "warning", text } of a policy that fails, and
---  { type = "held", runs } when notices have started too many runs in a row
---@return agenthost.Inbox
function M.new(queue, policy, emit)
  M.check_policy(policy)
  return setmetatable({
    queue = queue,
    policy = policy or "wake",
    emit = emit,
    on_drop = function() end,
    said = {}, -- blocks of the user's
    taken = {}, -- those of them that are being written
    notices = {}, -- { notice, verdict, time } in flight in the queue
    wanted = false, -- the user has said something that asks for a run
    stuck = false, -- the last delivery could not be written
    runs_alone = 0, -- since the user has said something
    changed = {},
  }, Inbox)
end

-- What plugins say to a notice: a verdict, or nil; and the notice, with their text in it if they
-- have put one in place of its own.
local function ask_plugins(self, notice)
  if not self.events or not self.events:handled("notice") then
    return nil, notice
  end
  local event = self.events:fire("notice", { notice = copy.shallow(notice) })
  if event.text then
    notice = copy.shallow(notice)
    notice.instead = event.text
  end
  return event.decision, notice
end

local function judge(self, notice)
  local verdict = self.policy
  if type(verdict) == "function" then
    local ok, answer = protect.call("on_notice", verdict, notice)
    verdict = ok and answer or "wake"
    if not ok or not VERDICTS[verdict] then
      self.emit({ type = "warning", text = ok
        and ("on_notice returned %s, not wake, merge, hold or drop"):format(tostring(answer))
        or "on_notice failed: " .. protect.error_text(answer) })
      verdict = "wake"
    end
  end
  return verdict
end

-- What is dropped counts as told. (The queue does this for tasks of this host.)
local function forget(self, notice)
  if self.earlier and notice.kind == "task" then
    self.earlier:delivered({ notice.task })
  elseif notice.key then
    self.on_drop(notice)
  end
end

-- Takes what waits in the queue into flight. A notice that is dropped is forgotten with the next
-- acknowledgement, or now when no other one is in flight.
local function sort(self)
  local drained = self.queue:drain()
  if self.earlier then
    drained = self.earlier:fill(drained)
  end
  local cancelled
  for _, notice in ipairs(drained) do
    local verdict
    if cancelled == nil then
      local ok, decision, other = pcall(ask_plugins, self, notice)
      if ok then
        verdict, notice = decision, other
      else
        cancelled = decision
      end
    end
    verdict = verdict or judge(self, notice)
    if verdict == "drop" then
      forget(self, notice)
    else
      table.insert(self.notices, { notice = notice, verdict = verdict, time = sys.now() })
    end
  end
  if #drained > 0 and #self.notices == 0 then
    self.queue:ack()
  end
  if cancelled ~= nil then
    error(cancelled, 0)
  end
end

--- What the user says: goes into the conversation with the next model call.
---@param blocks table[] content blocks
---@param opts? { hold?: boolean } hold: it does not start a run, but waits for the next one
function Inbox:say(blocks, opts)
  table.move(blocks, 1, #blocks, #self.said + 1, self.said)
  if not (opts and opts.hold) then
    self.wanted, self.stuck, self.runs_alone = true, false, 0
    async.notify(self.changed)
  end
end

--- When the next run is due: 0 for now, seconds until then, nil when nothing asks for one.
---@return number?
function Inbox:due()
  if self.wanted then
    return 0
  elseif self.stuck then
    return nil
  end
  sort(self)
  local due
  for _, entry in ipairs(self.notices) do
    if entry.verdict == "wake" then
      due = 0
    elseif entry.verdict == "merge" then
      due = math.min(due or math.huge, math.max(0, entry.time + defaults.wake.merge - sys.now()))
    end
  end
  if due and self.runs_alone >= defaults.wake.max_runs then
    if self.runs_alone == defaults.wake.max_runs then
      self.runs_alone = self.runs_alone + 1 -- said once
      self.emit({ type = "held", runs = defaults.wake.max_runs })
    end
    return nil
  end
  return due
end

--- How many notices wait to be told, whatever their policy but "drop".
---@return integer
function Inbox:waiting()
  sort(self)
  return #self.notices
end

--- A run begins: with something that the user has said, or with notices alone.
function Inbox:begin_run()
  self.runs_alone = self.wanted and 0 or self.runs_alone + 1
end

--- All that waits, as content blocks: what the user said, then the notices. To be followed by
--- `kept` or `put_back`.
---@return table[] blocks
---@return table[] notices
function Inbox:take()
  if self.earlier then
    self.earlier:introduce()
  end
  sort(self)
  local blocks, notices = table.move(self.said, 1, #self.said, 1, {}), {}
  for i, entry in ipairs(self.notices) do
    notices[i] = entry.notice
  end
  if #notices > 0 then
    blocks[#blocks + 1] = { type = "text", text = notice_text.text(notices) }
  end
  self.taken, self.said, self.notices, self.wanted = self.said, {}, {}, false
  return blocks, notices
end

--- What was taken is on disk.
function Inbox:kept()
  self.taken = {}
end

--- It could not be written, and the notices in flight are back in the queue. Nothing starts a run
--- until the user says something: it would fail in the same way.
function Inbox:put_back()
  self.said = table.move(self.said, 1, #self.said, #self.taken + 1, self.taken)
  self.taken, self.notices, self.stuck, self.wanted = {}, {}, true, false
end

return M
