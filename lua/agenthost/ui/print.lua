--- Headless: one prompt, one answer on stdout, everything else on stderr.
local async = require("agenthost.async")
local compaction = require("agenthost.compaction")
local defaults = require("agenthost.defaults")
local output = require("agenthost.output")
local partial = require("agenthost.ui.partial")
local signals = require("agenthost.ui.signals")
local stream_input = require("agenthost.ui.stream_input")
local stream_lines = require("agenthost.ui.stream_lines")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

--- Exit codes beyond 0 and 1.
M.EXIT_TASKS_STOPPED = 4 -- background tasks were ended at --wait-tasks
M.EXIT_MAX_BUDGET = 5 -- the budget (--max-budget-usd) is used up
local EXIT_SIGNAL = { INT = 130, TERM = 143, HUP = 129 }

local function say(line)
  sys.write_fd(2, "agenthost: " .. text.clean(line) .. "\n")
end

-- A command, fit for a line on a terminal.
local function one_line(s)
  return (text.clean(s):gsub("%s+", " "))
end

---@class agenthost.Print
local Print = {}
Print.__index = Print

-- Ends the run, whatever it does now.
function Print:stop()
  if not self.agent:interrupt() and self.main then
    self.main:cancel("stopped")
  end
end

-- Writes to stdout; when that fails there is nobody to work for. That a reader has left is not
-- worth a word; that the disk is full is.
function Print:write(s)
  local ok, message, code = sys.write_fd(self.stdout, s)
  if not ok and not self.broken then
    self.broken = true
    self.write_failed = code ~= "EPIPE"
    if self.write_failed then
      say(message)
    end
    self:stop()
  end
end

-- One line of stream-json.
function Print:line(object)
  self:write(stream_lines.line(self.agent, object))
end

function Print:on_event(event)
  if event.type == "retry" then
    say(("%s; trying again in %.1f s (%d of %d)"):format(
      event.wait.message, event.wait.delay, event.wait.try, event.wait.tries))
  elseif event.type == "reply" then
    self.turns, self.reply = self.turns + 1, event.reply
  elseif event.type == "held" then
    self.held = event.runs
    say(("%d runs in a row were started by notices alone: what comes now waits for the next "
      .. "message (defaults.wake.max_runs)"):format(event.runs))
  elseif event.type == "compaction" and (self.options.verbose or event.problem) then
    say(one_line(compaction.describe(event)))
  elseif event.type == "warning" or event.type == "note" then
    say(one_line(event.text))
  elseif (event.type == "log" or event.type == "reload") and self.options.verbose then
    say(event.text)
  elseif event.type == "tool_end" and self.options.verbose then
    say(("%s %s (%.1f s)%s"):format(event.call.name, event.call.summary or "", event.call.seconds,
      event.call.is_error and " failed" or ""))
  elseif event.type == "notice" and self.options.verbose and event.notice.kind == "task" then
    say(("task %s: %s (%s)"):format(event.notice.task, event.notice.status,
      output.ending(event.notice)))
  end
  if event.type == "tool_end" and self.options.printed then
    self.options.printed:finish()
  end
  if event.type == "tool_end" and event.call.refused then
    local summary = event.call.summary or ""
    say(("not run: %s%s: %s"):format(event.call.name, summary ~= "" and " " .. one_line(summary)
      or "", one_line(event.call.content)))
  end
  if self.partial then
    self.partial:on_event(event)
  end
  if event.type == "message" and self.options.format == "stream-json" then
    self:line(stream_lines.message(self.agent, event.piece, self.reply))
    self.reply = nil
  end
end

-- Ends what still runs when nobody waits for it any more, and waits until it has ended.
function Print:stop_tasks(why)
  local agent = self.agent
  local pending, calls = agent:pending_tasks("session"), agent.tool_jobs:list()
  self.ending, self.stopped = true, self.stopped or #pending + #calls > 0
  for _, task in ipairs(pending) do
    say(("ended task %s at %s: %s"):format(task.id, why, one_line(task.command)))
    task:kill({ by = "agenthost, at " .. why })
  end
  for _, call in ipairs(calls) do
    say(("stopped %s at %s: %s %s"):format(call.id, why, call.name, one_line(call.summary or "")))
    agent.tool_jobs:cancel(call.id)
  end
  local deadline = sys.now() + defaults.wait_ended
  while agent:owed() > 0 and sys.now() < deadline do
    agent.inbox:due() -- takes in what has come, so that the queue has news only of what comes
    agent.queue:wait(math.max(0, math.min(deadline - sys.now(), 1)))
  end
end

-- Waits until notices ask for a run. Gives false when none will: nothing owes one any more, what
-- came waits for the user's next message, or notices have started too many runs.
function Print:wait_for_notices(deadline)
  local agent = self.agent
  while true do
    local due = agent.inbox:due()
    if due == 0 then
      return true
    elseif self.held then
      self:stop_tasks(("the limit of %d runs (defaults.wake.max_runs)"):format(self.held))
      return false
    elseif not due and agent:owed() == 0 then
      return false
    elseif sys.now() >= deadline then
      self:stop_tasks(("the bound of %g s (--wait-tasks)"):format(self.options.wait_tasks))
      return agent.inbox:due() ~= nil
    end
    agent.queue:wait(math.min(due or math.huge, deadline - sys.now()))
  end
end

-- The run, and further ones for the notices that ask for one.
function Print:converse(prompt)
  self.held, self.ending = nil, false
  local result, message, code = self.agent:run(prompt)
  local deadline = sys.now() + self.options.wait_tasks
  while result and not self.ending and self:wait_for_notices(deadline) do
    result, message, code = self.agent:run(nil)
  end
  return result, message, code
end

-- One run for each message of standard input, each with its result.
function Print:converse_with_stdin()
  local input = stream_input.new()
  local result, message, code
  repeat
    local prompt, problem = input:next()
    if not prompt then
      self.failed = self.failed or problem ~= nil
      if problem or not self.reported then
        return nil, problem or "there is no user message on standard input", "INPUT"
      end
      return result, message, code
    end
    self:begin()
    result, message, code = self:converse(prompt)
    self:report(result, message, code)
    self.reported = true
  until self.broken or code == "INTERRUPTED"
  return result, message, code
end

-- The first signal stops the run, and the program with it.
function Print:on_signal(name)
  self.exit_signal = name
  self:stop()
end

-- Counts from here on.
function Print:begin()
  self.turns, self.started = 0, sys.now()
  self.agent.permission.denials = {}
end

-- What came of one prompt.
function Print:report(result, message, code)
  local format = self.options.format
  local is_error = result == nil
  self.failed = self.failed or is_error
  if format == "text" then
    if result and result.text ~= "" then
      local newline = result.text:sub(-1) == "\n" and "" or "\n"
      -- What a script reads is what the model said; a terminal would obey some of it.
      self:write((self.to_terminal and text.clean(result.text) or result.text) .. newline)
    end
  else
    self:line(stream_lines.result(self.agent, { result = result, message = message, code = code,
      turns = self.turns, seconds = sys.now() - self.started }))
  end
  if result and result.stop_reason ~= "end_turn" and result.stop_reason ~= "stop_sequence" then
    say("the reply is not complete: it stopped with " .. result.stop_reason)
  end
  if is_error and code ~= "INTERRUPTED" then
    say(message)
  end
end

-- Whether a task has been started, for which one that was made just now gets a moment.
local function has_begun(task)
  if task:status() == "queued" then
    async.wait(task:waitable(), defaults.ui.leave_grace)
  end
  return task:status() ~= "queued"
end

-- Names what ends with the program, and what does not.
function Print:say_goodbye()
  if self.broken then
    return
  end
  for _, task in ipairs(self.agent:pending_tasks()) do
    local goes_on = select(2, task:status()).detached and has_begun(task)
    say((goes_on and "task %s goes on, detached: %s"
      or "ending task %s, which still runs: %s"):format(task.id, one_line(task.command)))
  end
end

--- Runs one prompt to its end. Returns the exit code.
---@param agent agenthost.Agent
---@param prompt? string nil: standard input has user messages, see stream_input.lua
---@param options { format: "text"|"json"|"stream-json", wait_tasks: number, verbose: boolean,
---  partial?: boolean, printed?: agenthost.Printed }
---@return integer
function M.run(agent, prompt, options)
  local self = setmetatable({ agent = agent, options = options }, Print)
  self.to_terminal = sys.isatty(1) -- asked before it moves
  self.stdout = sys.move_stdout() or 1 -- what others print is no answer
  if options.printed then
    options.printed.all = true
  end
  self:begin()
  agent.on_event = function(event) self:on_event(event) end
  if agent.provider.note then
    say(agent.provider.note)
  end
  for _, notes in ipairs({ agent.notes, agent.session.notes }) do
    for _, note in ipairs(notes) do
      say(one_line(note))
    end
  end
  return async.run(function()
    if options.format == "stream-json" then
      self:line(stream_lines.init(agent))
      self.partial = options.partial and partial.new(agent.provider.model, function(event)
        self:line(stream_lines.event(event))
      end)
    end
    signals.watch({ "INT", "TERM", "HUP" }, function(name) self:on_signal(name) end)
    self.main = async.spawn(function()
      agent:start()
      if prompt then
        return self:converse(prompt)
      end
      return self:converse_with_stdin()
    end)
    if self.broken then
      self:stop()
    end
    local ok, result, message, code = pcall(self.main.wait, self.main)
    if not ok and (self.exit_signal or self.broken) then
      result, message, code = nil, "interrupted", "INTERRUPTED"
    elseif not ok then
      result, message, code = nil, tostring(result), "ERROR"
    end
    if not self.reported or not ok then
      self:report(result, message, code)
    end
    self:say_goodbye()
    if self.exit_signal then
      return EXIT_SIGNAL[self.exit_signal]
    end
    if code == "MAX_BUDGET" and not self.write_failed then
      return M.EXIT_MAX_BUDGET
    end
    if self.failed or self.write_failed then
      return 1
    end
    return self.stopped and M.EXIT_TASKS_STOPPED or 0
  end)
end

return M
