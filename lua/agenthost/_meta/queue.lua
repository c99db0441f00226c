---@meta agenthost.queue

---Notification queues. Implemented in src/lua/queue.c and src/core/queue.c.
---
---Life of a notice: pushed (it waits), drained (in flight), acknowledged (gone). Draining does not
---forget: what is in flight can be put back, so that a notice whose message never came to be is
---delivered with the next.
---
---Wrong arguments raise an error at the caller's line.
local queue = {}

---One event: a flat record. Fields of any name hold strings, numbers and booleans, at most 64 of them.
---@class agenthost.Notice
---@field kind string  what it is; "task" comes from the task runner only
---@field seq integer  given by the queue: 1 for the first, rising by one
---@field text? string  of all kinds but "task"

---The end of a task, pushed by the task runner.
---@class agenthost.TaskNotice: agenthost.Notice
---@field kind "task"
---@field task string  its id
---@field status "completed"|"failed"|"timeout"|"killed"|"lost"|"error"
---@field command string  as it was given
---@field label? string
---@field code? integer  exit code, when it exited
---@field signal? integer  that ended it
---@field reason? string  of timeout, killed, lost and error
---@field seconds number  how long it ran
---@field output string  path of its output file
---@field bytes integer  size of that file at the end

---A new, empty queue.
---@return agenthost.Queue
function queue.new() end

---`#q` is the number of notices that wait. Using a closed queue raises.
---@class agenthost.Queue
---@operator len: integer
local Queue = {}

---Appends a notice; its field `seq`, if any, is replaced. Raises when there is no `kind`, when that is
---"task", and for a value that is no string, number or boolean.
---@param notice table  its fields
---@return integer? seq
---@return string? message
---@return string? code  "ENOSPC": 100000 notices wait already
function Queue:push(notice) end

---Takes all notices that wait into flight, oldest first.
---@return agenthost.Notice[] notices  empty when none waits
function Queue:drain() end

---Forgets the notices in flight up to and including `seq`: what they tell is on disk. That of a task's
---end is noted in the ledger, so that nobody is told it again after a crash.
---@param seq? integer  default: all that are in flight
---@return integer? count  how many those were; nil when the ledger could not be written (they are
---  forgotten all the same)
---@return string? message
---@return string? code
function Queue:ack(seq) end

---Takes one notice that waits into flight, for what it says is being told by other means.
---@param seq integer
---@return boolean withdrawn  false when it does not wait: in flight, acknowledged, or never pushed
function Queue:withdraw(seq) end

---The notices in flight: drained, withdrawn, or taken out by `task:acknowledge`, and not acknowledged yet.
---@return agenthost.Notice[] notices  oldest first
function Queue:in_flight() end

---Puts all notices that are in flight back: in their order, before those that wait.
---@return integer count  how many those were
function Queue:requeue() end

---Waits until a notice waits; takes none. Inside `async.run` other jobs go on meanwhile.
---@param timeout? number  seconds; default: no bound
---@return boolean pending  false when the time is over
function Queue:wait(timeout) end

---The id for `async.wait_any`. It has news with every push: look at `#q` first, and again after.
---@return integer id
function Queue:waitable() end

---Frees it when no task holds it any more. Closing twice is fine. Also `<close>`, and garbage
---collection.
function Queue:close() end

return queue
