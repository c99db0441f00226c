---@meta agenthost.task

---Commands in the background. Implemented in src/lua/task.c and src/core/task.h.
---
---A task is queued, then running, and ends as completed (exit code 0), failed (another code, or a
---signal that nobody here has sent), timeout, killed, lost (its supervisor died) or error (it never
---started). It can be found by its id until 10000 younger ones have ended, too; its output file stays.
---
---Durations are seconds, sizes are bytes. Wrong arguments and unknown options raise an error at the
---caller's line.
local task = {}

---@alias agenthost.TaskStatus
---| "queued" | "running" | "completed" | "failed" | "timeout" | "killed" | "lost" | "error"

---@class agenthost.TaskOptions
---@field cwd? string  directory; a relative one starts at that of the process, which is the default
---@field env? table<string, string|false>  set on top of the environment; false takes a variable away
---@field shell? string  runs a command that is a text, with -c; default "/bin/sh"
---@field timeout? number  seconds > 0, then it is ended; math.huge for none; default defaults.task.timeout
---@field grace? number  seconds between TERM and KILL; default defaults.task.grace
---@field max_output? integer  bytes, then it is killed; default defaults.task.max_output
---@field limits? agenthost.TaskLimits
---@field stdin? boolean  a pipe as standard input, for `task:write`; default: it is empty
---@field pty? boolean  a terminal of its own (80 columns, 24 rows) as input and output, for programs
---  that want one; what is written to it with `task:write` is typed
---@field lifetime? "session"|"detached"  "detached": it goes on when agenthost ends, and its end is
---  in the ledger; default "session": it ends with agenthost
---@field label? string  a name for people
---@field queue? agenthost.Queue  where its end is told
---@field notify? boolean  whether its end is told there; default: whether there is a queue

---Each of its processes gets them. One that cannot be set is an end with status "error".
---@class agenthost.TaskLimits
---@field max_memory? integer  bytes of address space, at least 1 MiB
---@field max_cpu? integer  seconds of processor time
---@field max_files? integer  descriptors open at once, at least 3
---@field nice? integer  -20 to 19, added to the niceness; less than 0 needs the right to

---Starts a command as soon as fewer than the allowed number run. It has a session of its own, no
---terminal and no standard input unless asked for; what it prints goes to its output file, stdout and
---stderr in order.
---@param command string|string[]  a text for the shell, or a program and its arguments
---@param options? agenthost.TaskOptions
---@return agenthost.Task? task
---@return string? message
---@return string? code  "E2BIG": command and environment are too long; "EINVAL": no output directory
---  is set; or why that cannot be made. What goes wrong later is an end with status "error"
function task.run(command, options) end

---@param id string
---@return agenthost.Task? task  nil when there is none with this id
function task.get(id) end

---All tasks that are still known.
---@return agenthost.Task[] tasks  oldest first
function task.list() end

---Waits until one of several has ended. Inside `async.run` other jobs go on meanwhile.
---@param list agenthost.Task[]  not empty
---@param timeout? number  seconds; default: no bound
---@return agenthost.Task? task  the first of the list that has ended; nil when the time is over
---@return agenthost.TaskStatus|string status  or the message
---@return agenthost.TaskState|string state  or "TIMEOUT"
function task.wait_any(list, timeout) end

---For the host: what `Task:output` gives, of the output file of a task that this host did not start.
---@param path string
---@param options? agenthost.TaskOutputOptions
---@return string bytes  "" when there is no such file
---@return integer size
function task.read_output(path, options) end

---For the host: the directory of a session, from the next task on. Output files go to tasks/ID.log
---in it, the ledger is tasks.jsonl. Made with mode 0700 when it is needed.
---@param path string
function task.set_dir(path) end

---For the host: how many tasks run at once; the others are queued in order.
---@param count integer  1 to 4000; 64 at the start
function task.set_max_running(count) end

---Two handles of the same task are equal; a handle that is collected changes nothing for the task.
---@class agenthost.Task
---@field id string  8 hexadecimal digits
---@field command string  as it was given; the words of a list joined by spaces
---@field label? string
---@field cwd string  an absolute path
---@field output_path string
local Task = {}

---@class agenthost.TaskState
---@field status agenthost.TaskStatus
---@field ended boolean
---@field code? integer  exit code, when it exited
---@field signal? integer  that ended it
---@field reason? string  of timeout, killed, lost and error
---@field pid? integer  while it runs
---@field started number  seconds since the epoch
---@field seconds number  how long it has run, or ran
---@field notify boolean  whether its end is told by a notice
---@field detached boolean  whether it goes on when agenthost ends
---@field takes_input boolean  whether `task:write` feeds it: started with `stdin` or `pty`

---@return agenthost.TaskStatus status
---@return agenthost.TaskState state
function Task:status() end

---Waits for its end. Inside `async.run` other jobs go on meanwhile; cancelling the wait does nothing
---to the task.
---@param timeout? number  seconds; default: no bound
---@return agenthost.TaskStatus? status  nil when the time is over
---@return agenthost.TaskState|string state  or the message
---@return string? code  "TIMEOUT"
function Task:wait(timeout) end

---The id for `async.wait_any`: it has news when the task starts and when it ends.
---@return integer id
function Task:waitable() end

---@class agenthost.TaskOutputOptions
---@field since? integer  offset of the first byte, default 0
---@field head? integer  at most so many bytes of the beginning
---@field tail? integer  at most so many bytes of the end; 512 KiB of each when neither is given, 0 for
---  the one that is not given else

---What it has printed so far, as it came. A line that counts stands for what is left out between head
---and tail; there is none when `head` is 0.
---@param options? agenthost.TaskOutputOptions
---@return string bytes
---@return integer size  of the whole output, for the next `since`
function Task:output(options) end

---@class agenthost.TaskWriteOptions
---@field close? boolean  nothing more comes: it reads its end of file (a terminal: Ctrl-D is typed)
---@field timeout? number  seconds, default 10: how long to wait for it to read when much waits already

---Hands bytes to a task that was started with `stdin` or `pty`, also before it runs; raises for
---another. Returns as soon as they are taken, which is not yet read. Inside `async.run` other jobs go
---on meanwhile.
---@param bytes string
---@param options? agenthost.TaskWriteOptions
---@return true? ok
---@return string? message
---@return string? code  "EPIPE": it has ended or reads no more; "TIMEOUT": a part was taken, as the
---  message says
function Task:write(bytes, options) end

---@class agenthost.TaskKillOptions
---@field signal? "TERM"|"INT"|"HUP"|"QUIT"|"KILL"  what its processes get first, default "TERM"; wakes stopped ones
---@field grace? number  seconds between that and KILL, default defaults.task.grace
---@field by? string  who, for the reason; default "a script"

---Ends it and the processes it has started. Its end comes later, as always: wait for it.
---@param options? agenthost.TaskKillOptions
---@return boolean alive  false when it had ended already
function Task:kill(options) end

---Whether its end is told by a notice. Turned on after the end, the notice is pushed at once.
---@param notify boolean
function Task:set_notify(notify) end

---Its end is told by another queue from now on. A notice that is in its queue already, also in flight,
---is pushed there anew: the queue before is done with.
---@param queue agenthost.Queue
---@return boolean moved  false, and nothing changes: no notice is wanted, or it was told
function Task:set_queue(queue) end

---The end is being told by other means (a tool's result): its notice moves into flight, as if it had
---been drained, or is never pushed. `q:ack` notes that it is on disk, `q:requeue` puts it back.
---@return boolean told  false when it has not ended (nothing changes), or the notice is drained already
function Task:acknowledge() end

return task
