--- What a run of the agent loop stands on: model calls, what is said, interrupting. (Making an
--- agent: agent_base.lua; its tasks: agent_tasks.lua.)
local agent_tasks = require("agenthost.agent_tasks")
local async = require("agenthost.async")
local copy = require("agenthost.copy")
local defaults = require("agenthost.defaults")
local checked = require("agenthost.provider.checked")
local options = require("agenthost.options")
local retry = require("agenthost.retry")
local tools = require("agenthost.tools")

---@class agenthost.AgentRun: agenthost.AgentTasks
local Run = setmetatable({}, { __index = agent_tasks.methods })

-- Runs fn in a job that `interrupt` can cancel. Returns false when it was, else true and what fn
-- returned. Cancelling whoever waits here, the run inside a tool for example, does the same.
function Run:interruptible(fn)
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
function Run:ask_model(request, on_event)
  local ok, message, code = self.usage:check(self.provider, self.max_budget_usd)
  if not ok then
    return nil, message, code
  end
  local call <close> = self.usage:start(self.provider)
  return call:done(checked.stream(self.provider, request, function(event)
    call:event(event)
    on_event(event)
  end, self.provider == self.made_with.provider))
end

--- A model call beside the conversation. Its tokens count; nothing of it is shown.
---@param request agenthost.Request
---@return agenthost.Reply? reply nil, message, code, details
function Run:call_beside(request)
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
function Run:compact(focus)
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
function Run:interrupt()
  if not self.activity then
    return false
  end
  self.interrupted = true
  self.activity:cancel(tools.CANCELLED)
  return true
end

-- What is in flight, for the line of the message that tells it: the ids of tasks that have ended,
-- and the keys of other notices.
local function in_flight(self)
  local ids = {}
  for _, notice in ipairs(self.queue:in_flight()) do
    if notice.kind == "task" or notice.kind == "earlier" then
      ids[#ids + 1] = notice.task
    else
      ids[#ids + 1] = notice.key
    end
  end
  return ids
end

--- Appends a user message that tells the notices which are in flight in the queue. They are
--- acknowledged when it is on disk, and go back when it cannot be written. Their ids stand in the
--- same line: should the host die in between, the next one knows that they were told.
function Run:append_and_ack(blocks)
  local ids = in_flight(self)
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

-- Blocks without `json`, which the conversation takes as it is: only a provider has that to say.
local function without_json(blocks)
  local plain = {}
  for i, block in ipairs(blocks) do
    if type(block) ~= "table" then
      error(("say: expected a text or content blocks, got a list with %s in it"):format(
        options.show(block)), 0)
    end
    plain[i] = copy.shallow(block)
    plain[i].json = nil
  end
  return plain
end

--- Says something to the model, as the user: it is told before the next model call, also while the
--- agent works (steering). `run` is what makes an idle agent listen.
---@param input string|table[] text or content blocks
---@param opts? { hold?: boolean } hold: it waits for whatever else starts a run
function Run:say(input, opts)
  local blocks = type(input) == "string" and { { type = "text", text = input } } or input
  self.inbox:say(without_json(self:fire("message.user", { blocks = blocks }).blocks), opts)
end

--- Every tool call gets a result, also when a run broke off before there was one (a full disk, an
--- error in a tool's context): without it no later request would be valid.
function Run:answer_open_calls()
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
function Run:keep_partial(text)
  if text:find("%S") then
    self:append("assistant", { { type = "text", text = text } })
    self:append("user", { { type = "text", text = "[The user stopped this reply.]" } })
  end
end

-- What was shown of a failed call does not count: the session says so, and whoever listens. Takes
-- the texts that were shown, and returns an empty list for the next ones.
function Run:discard(shown, failure)
  local text = table.concat(shown)
  if text:find("%S") then
    local discarded = { length = utf8.len(text) or #text, reason = failure.message,
      code = failure.code }
    self.session:append("discarded", discarded)
    self:emit({ type = "discarded", discarded = discarded })
  end
  return {}
end

-- A call that gets a result, and is not run.
local function not_run(call, problem)
  return { id = call.id, name = call.name, input = call.input, incomplete = true,
    problem = problem }
end

-- Sorts out what a reply asks for.
function Run:take_reply(reply)
  local texts, calls = {}, {}
  self.call_ids:settle(reply.content, self.conversation.pieces)
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
    calls[#calls] = not_run(last)
  end
  for i, call in ipairs(reply.stop_reason == "refusal" and calls or {}) do
    calls[i] = not_run(call, "this reply was stopped with a refusal")
  end
  if #reply.content == 0 and reply.stop_reason ~= "end_turn" then
    local why = reply.stop_details and reply.stop_details.explanation or "its reply is empty"
    return nil, ("the model stopped with %s: %s"):format(reply.stop_reason, why),
      reply.stop_reason:upper()
  end
  reply.text, reply.calls = table.concat(texts), calls
  self:emit({ type = "reply", reply = reply })
  if self.plugins.events:handled("response") then
    self:fire("response", { reply = copy.deep(reply) }) -- to look at: what it asks for stays
  end
  return reply
end

function Run:append(role, blocks)
  self.conversation:append(role, blocks)
  self:emit_message()
end

-- Tells of the newest piece of the conversation.
function Run:emit_message()
  local pieces = self.conversation.pieces
  self:emit({ type = "message", role = pieces[#pieces].role, piece = pieces[#pieces] })
end

--- A line for the user about something of theirs that does not work.
---@param line string
function Run:warn(line)
  if self.on_event then
    self:emit({ type = "warning", text = line })
  else
    table.insert(self.notes, line) -- a user interface shows it when it begins
  end
end

--- Something is about to be done: tells it to the plugins once, and sets their timers going. Inside
--- async.run; done by whatever runs the agent.
function Run:start()
  self.plugins:start()
  if not self.started then
    self.started = true
    self:fire("session.start", { id = self.session.id, cwd = self.cwd,
      resumed = self.earlier ~= nil })
  end
end

--- Tells the plugins of an event; see events.lua.
---@param name agenthost.EventName
---@param event table
---@return table event with what they have changed
function Run:fire(name, event)
  return self.plugins.events:fire(name, event)
end

--- Loads what has changed of plugins, prompts, the agent script and Lua modules; see reload.lua.
---@return boolean go_on false when the user has interrupted it
function Run:refresh()
  if #self.reloader:look() == 0 then
    return true
  end
  local ok = self:interruptible(function() self.reloader:refresh() end)
  return ok and not self.interrupted -- a reload that was past stopping has ended all the same
end

function Run:emit(event)
  if self.on_event then
    self.on_event(event)
  end
end

return { methods = Run }
