--- Running the tool calls of a reply: side by side, each within its time, each with one result.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local protect = require("agenthost.protect")
local schema = require("agenthost.schema")
local sys = require("agenthost.sys")
local tool_result = require("agenthost.tool_result")

local M = {}

M.CANCELLED = setmetatable({}, { __tostring = function() return "cancelled by the user" end })

local TIMEOUT <const> = setmetatable({}, { __tostring = function() return "its time is over" end })

-- ---- before a call -----------------------------------------------------------------------------

-- Why a call cannot be run, in words for the model.
local function misfit(entry, call)
  if not entry then
    return ("Error: there is no tool '%s'"):format(call.name)
  elseif call.incomplete then
    return "Error: " .. (call.problem and call.problem .. "; it was not run."
      or "the reply was cut off inside this call; it was not run. Make it shorter.")
  end
  local problem = schema.check(call.input, entry.schema)
  return problem and "Error: " .. problem
end

-- Why permissions forbid a call; a second value says that they do, and that nothing went wrong.
-- Waits where the user is asked.
local function forbidden(permission, entry, input, context)
  local ok, allowed, why = pcall(permission.check, permission, entry.tool, input, context)
  if ok then
    return not allowed and why or nil, not allowed
  end
  return allowed == M.CANCELLED and "Cancelled by the user; it was not run."
    or "Error: it was not run: the check of permissions failed: " .. tostring(allowed)
end

-- What plugins make of a call: they may change its input. Returns what stands in place of its
-- result, if they refuse or answer it, and whether that is a refusal.
local function ask_plugins(events, call)
  if not events or not events:handled("tool.before") or call.incomplete then
    return nil
  end
  local event = events:fire("tool.before",
    { name = call.name, id = call.id, input = call.input })
  if event.refuse then
    return "Refused: " .. event.refuse, true
  elseif event.answer ~= nil then
    return tool_result.content(event.answer), false
  end
  call.input = event.input
end

-- ---- the call ----------------------------------------------------------------------------------

-- Runs the tool in a job of its own, within its time. Returns as protect.call does. Whoever cancels
-- the wait here cancels the tool.
local function call_in_time(entry, input, context)
  local job = async.spawn(function()
    return protect.call(entry.label, entry.tool.run, input, context)
  end)
  local deadline, stopped = sys.now() + (entry.tool.timeout or defaults.tool.timeout), nil
  while not job.done do
    local ok, reason = pcall(async.wait_any, { job }, deadline and deadline - sys.now())
    if not ok then
      deadline = nil -- what cleans up has its own bounds
      job:cancel(reason)
    elseif not job.done and sys.now() >= deadline then
      if stopped then
        return false, TIMEOUT -- it does not listen, and is left alone
      end
      stopped, deadline = true, sys.now() + defaults.tool.grace
      job:cancel(TIMEOUT)
    end
  end
  return table.unpack(job.results, job.ok and 2 or 1, job.results.n)
end

-- A failure with a place in it is a mistake in the tool; a text without one is what it has to say.
local function is_mistake(err)
  return type(err) ~= "string" or err:find("^[^\n:]+:%d+: ") ~= nil
    or err:find("^not enough memory") ~= nil
end

-- What a tool has raised, as a result. Mistakes again and again switch it off.
local function raised(entry, err, traceback, context)
  local said = protect.error_text(err)
  context.log(("tool %s failed: %s%s"):format(entry.tool.name, said, traceback or ""))
  local off = is_mistake(err) and entry.strikes:miss(said)
  if off and context.agent then
    context.agent:warn(off)
  end
  return tool_result.content("Error: " .. said), true
end

-- Runs one call. Returns content, is_error; never raises.
local function run_call(entry, input, context)
  local off = entry.strikes:off()
  if off then
    return "Error: " .. off, true
  end
  local ok, value, message = call_in_time(entry, input, context)
  if ok then
    entry.strikes:hit()
  end
  if ok and value == nil and type(message) == "string" then
    return tool_result.content("Error: " .. message), true -- `return nil, message`, as elsewhere
  elseif ok then
    -- bounded, too: a table may have code of its own in it (a metatable)
    ok, value = protect.call(entry.label, tool_result.content, value)
    return ok and value or "Error: the tool's result cannot be sent: " .. tostring(value), not ok
  elseif value == M.CANCELLED then
    return "Cancelled by the user before it was done.", true
  elseif value == TIMEOUT then
    return ("Error: it was not done after %g s and was stopped."):format(
      entry.tool.timeout or defaults.tool.timeout), true
  end
  return raised(entry, value, message, context)
end

-- Runs it as background work, or at once.
local function run_entry(registry, entry, call, context, event)
  if not entry.tool.background or not registry.jobs then
    local content, is_error = run_call(entry, call.input, context)
    if entry.done then
      entry.done()
    end
    return content, is_error
  end
  local id, message = registry.jobs:start(entry.tool.name, event.summary, function()
    local content, is_error = run_call(entry, call.input, context)
    if entry.done then
      entry.done()
    end
    return content, is_error
  end, event)
  if not id then
    return "Error: " .. message, true
  end
  return ("Started in the background as %s. You are told when it is done; go on with other work.")
    :format(id)
end

local function summary(entry, call)
  if entry and entry.tool.summary and type(call.input) == "table" then
    local ok, line = protect.call(entry.label, entry.tool.summary, call.input)
    return ok and type(line) == "string" and line or nil
  end
end

-- What a tool tells of how far it is: for the user interface, and only while it runs.
local function set_progress(context, event, emit)
  context.progress = function(text, fraction)
    if fraction ~= nil and (type(fraction) ~= "number" or fraction ~= fraction) then
      error("ctx.progress: fraction: expected a number from 0 to 1, got "
        .. tostring(fraction), 2)
    end
    event.progress = text ~= nil and tostring(text) or nil
    event.fraction = fraction and math.max(0, math.min(1, fraction))
    emit({ type = "tool_progress", call = event, text = event.progress,
      fraction = event.fraction })
  end
end

-- What is said in place of running it, if anything: content, is_error, and whether permissions or a
-- plugin have refused it.
local function instead(registry, entry, call, context)
  if entry then
    local content, refused = ask_plugins(registry.events, call)
    if content then
      return content, refused, refused
    end
  end
  local problem = misfit(entry, call)
  if problem or not registry.permission then
    return problem, problem ~= nil
  end
  local content, was_refused = forbidden(registry.permission, entry, call.input, context)
  return content, content ~= nil, was_refused
end

-- Plugins look at the result, and may change it.
local function tell_plugins(events, call, content, is_error)
  if not events or not events:handled("tool.after") then
    return content
  end
  return tool_result.content(events:fire("tool.after", { name = call.name, id = call.id,
    input = call.input, content = content, is_error = is_error }).content)
end

-- One call from beginning to end. Returns its tool_result block.
local function whole_call(registry, call, new_context, emit)
  local entry = registry.by_name[call.name]
  call = { id = call.id, name = call.name, input = call.input, incomplete = call.incomplete,
    problem = call.problem } -- its input may be changed: here, not in the reply
  local event = { call = call, name = call.name, summary = summary(entry, call) }
  emit({ type = "tool_start", call = event })
  local context = new_context(call)
  set_progress(context, event, emit)
  local content, is_error, refused = instead(registry, entry, call, context)
  event.refused = refused or nil
  local started = sys.now() -- the time for a question does not count
  if not content then
    content, is_error = run_entry(registry, entry, call, context, event)
  end
  content = tell_plugins(registry.events, call, content, is_error)
  event.seconds, event.is_error, event.content = sys.now() - started, is_error, content
  emit({ type = "tool_end", call = event })
  return {
    type = "tool_result",
    tool_use_id = call.id,
    content = content,
    is_error = is_error or nil,
  }
end

-- ---- all calls of a reply ----------------------------------------------------------------------

-- Calls that may run at the same time: an exclusive one is a group of its own.
local function groups(registry, calls)
  local list, open = {}, nil
  for i, call in ipairs(calls) do
    local entry = registry.by_name[call.name]
    if entry and entry.tool.exclusive then
      list[#list + 1], open = { i }, nil
    elseif open then
      open[#open + 1] = i
    else
      open = { i }
      list[#list + 1] = open
    end
  end
  return list
end

--- See Tools:run.
---@param registry agenthost.Tools
function M.run(registry, calls, new_context, emit)
  local results = {}
  -- Cancelling whoever waits here cancels the tools, which end with a result each.
  local ok, reason = pcall(function()
    for _, group in ipairs(groups(registry, calls)) do
      local functions = {}
      for at, i in ipairs(group) do
        functions[at] = function()
          results[i] = whole_call(registry, calls[i], new_context, emit)
        end
      end
      async.all(functions)
    end
  end)
  for i, call in ipairs(calls) do
    results[i] = results[i] or {
      type = "tool_result",
      tool_use_id = call.id,
      content = ok and "Error: the tool ended without a result" or "Cancelled before it was run.",
      is_error = true,
    }
  end
  if not ok and reason ~= M.CANCELLED then
    error(reason, 0)
  end
  return results
end

return M
