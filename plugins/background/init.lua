--- Background tasks: `background_run`, `check_background`, `background_output`, `background_wait`,
--- `background_write`, `background_kill` and `monitor`.
---
--- The end of a task is told by a notice; these tools are for starting, for a look in between, and
--- for ending. Whoever sees here that a task has ended is not told again.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local options = require("agenthost.options")
local output = require("agenthost.output")
local sys = require("agenthost.sys")
local tool_jobs = require("agenthost.tool_jobs")
local watch = require("agenthost.watch")

local function find(ctx, id)
  return ctx.find_task(id) or error("Unknown task " .. id, 0)
end

-- Waits until a server that was just started is ready; says so, or why it is not.
local function readiness(task, input)
  local ready = { port = input.ready_port, pattern = input.ready_pattern }
  local ok, message = watch.wait_ready(task, ready, defaults.background.ready_timeout)
  local what = input.ready_port and ("port %d takes connections"):format(input.ready_port)
    or ("its output contains %q"):format(input.ready_pattern)
  if ok then
    return "Ready: " .. what
  end
  return ("Not ready: %s. Its output:\n%s"):format(message, (output.text(task)))
end

local function background_run(input, ctx)
  if input.ready_port and sys.port_is_open(input.ready_port) then
    error(("port %d is taken already: something else listens there"):format(input.ready_port), 0)
  end
  local task = ctx.run_task(input.command, {
    notify = true,
    timeout = input.timeout or (input.detached and math.huge or nil),
    lifetime = input.detached and "detached" or "session",
    stdin = input.stdin == "pipe",
    pty = input.stdin == "terminal",
  })
  local started = ("Background task %s started: %s"):format(task.id, input.command)
  if input.ready_port or input.ready_pattern then
    return started .. "\n" .. readiness(task, input)
  end
  return started
end

-- What was started just now may not have been taken up: it gets a moment, so that "queued" means
-- that it waits for its turn.
local function let_begin(tasks)
  local deadline = sys.now() + defaults.background.settle
  for _, task in ipairs(tasks) do
    while task:status() == "queued" and sys.now() < deadline do
      async.wait(task:waitable(), deadline - sys.now())
    end
  end
end

local function line_of(task)
  local command = task.command:gsub("%s*\n%s*", " ")
  return ("%s: [%s] %s"):format(task.id, (task:status()), command)
end

local function list(ctx)
  local lines, tasks = {}, ctx.list_tasks()
  let_begin(tasks)
  for _, task in ipairs(tasks) do
    local _, state = task:status()
    if state.notify then
      lines[#lines + 1] = line_of(task)
    end
  end
  local left_out = #lines - defaults.text.listing
  if left_out > 0 then
    lines = table.move(lines, left_out + 1, #lines, 1, {})
    table.insert(lines, 1, ("[... %d older tasks left out ...]"):format(left_out))
  end
  for _, call in ipairs(ctx.list_calls()) do
    lines[#lines + 1] = ("%s: [running] %s"):format(call.id, tool_jobs.describe(call))
  end
  return #lines > 0 and table.concat(lines, "\n") or "No background tasks."
end

-- What a task is and what it printed since the last look.
local function look(seen, task)
  let_begin({ task })
  local status, state = task:status()
  local since = seen[task.id] or 0
  local printed, size = output.text(task, { since = since })
  seen[task.id] = size
  if state.ended then
    task:acknowledge()
  end
  local head = ("%s: [%s] %s\n%s"):format(task.id, status, task.command, output.ending(state))
  if printed == "" then
    printed = since > 0 and "(no new output)" or "(no output)"
  end
  local hint = state.ended and "" or "\nYou are told when it ends; there is no need to poll."
  return head .. "\n" .. printed .. hint
end

local function background_kill(input, ctx)
  if ctx.cancel_call(input.task_id) then
    return ("Stopping %s; you are told when it has ended."):format(input.task_id)
  end
  local task = find(ctx, input.task_id)
  if not task:kill({ by = "the model" }) then
    return ("Task %s has ended already: %s"):format(task.id, (task:status()))
  end
  local status, state = task:wait(defaults.task.grace + 10)
  if not status then
    return ("Task %s does not end; you are told when it does."):format(task.id)
  end
  task:acknowledge()
  return ("Task %s: %s (%s)"):format(task.id, status, output.ending(state))
end

-- Until it ends, prints what is looked for, or the bound is reached.
local function background_wait(seen, input, ctx)
  local task = find(ctx, input.task_id)
  local deadline = sys.now() + (input.timeout or defaults.background.wait)
  local since = seen[task.id] or 0
  local function found()
    return input.pattern and watch.contains((task:output({ since = since })), input.pattern)
  end
  repeat
    local _, state = task:status()
    if state.ended or found() then
      break
    end
    local left = deadline - sys.now()
    async.wait(task:waitable(), input.pattern and math.min(left, defaults.watch.interval) or left)
  until sys.now() >= deadline
  return look(seen, task)
end

local function background_write(input, ctx)
  local task = find(ctx, input.task_id)
  if select(2, task:status()).takes_input == false then
    error(("task %s has no input: only a task that background_run has started with `stdin` can be "
      .. "written to"):format(task.id), 0)
  end
  local ok, message = task:write(input.text, { close = input.close })
  if not ok then
    error(message, 0)
  end
  return ("Wrote %d bytes to task %s"):format(#input.text, task.id)
end

-- Follows a task in a job of its own; every batch of lines is a notice.
local function monitor(input, ctx)
  local task = input.task_id and find(ctx, input.task_id)
    or input.command and ctx.run_task(input.command, { notify = true, timeout = input.timeout })
  if not task then
    error("say which: task_id, or a command to start", 0)
  end
  async.spawn(function()
    local _, message = watch.follow(task, input.pattern, function(lines)
      ctx.notify(("task %s: %s"):format(task.id, table.concat(lines, "\n")), { kind = "monitor" })
    end)
    if message then
      ctx.notify(("task %s: no longer monitored: %s; the task goes on"):format(task.id, message),
        { kind = "monitor" })
    end
  end)
  return ("Monitoring task %s: %s"):format(task.id, task.command)
end

local function background_output(input, ctx)
  local task = find(ctx, input.task_id)
  local printed, size = output.text(task, { since = input.since })
  return ("%s\n[output up to byte %d; status: %s]"):format(
    printed ~= "" and printed or "(no output)", size, (task:status()))
end

local function id_of(input)
  return input.task_id
end

local SECONDS <const> = { type = "number", minimum = 1, optional = true }

local function seconds(description)
  local field = { description = description }
  for name, value in pairs(SECONDS) do
    field[name] = value
  end
  return field
end

local function add_starting_tools(ctx)
  ctx.tool({
    name = "background_run",
    description = "Start a shell command in the background and return at once with its task id. "
      .. "You are told when it ends, so go on with other work. It is ended after "
      .. ("%g s unless `timeout` says otherwise. "):format(defaults.task.timeout)
      .. "For a server give ready_port or ready_pattern: the answer then comes when it is ready.",
    input = {
      command = "string: the command, for bash -c",
      timeout = seconds("seconds after which it is ended"),
      ready_port = {
        type = "integer", minimum = 1, maximum = 65535, optional = true,
        description = "wait until this TCP port takes connections",
      },
      ready_pattern = "string?: wait until the output contains this text or Lua pattern",
      detached = "boolean?: it goes on when the host ends, without a time limit",
      stdin = {
        type = "string", enum = { "pipe", "terminal" }, optional = true,
        description = "what background_write feeds; without it there is no input",
      },
    },
    summary = function(input) return input.command end,
    permission = "command",
    run = background_run,
  })
  ctx.tool({
    name = "monitor",
    description = "Be told of each line that a command prints (or each that matches a pattern) "
      .. "while it runs. Give a command to start, or the task_id of one that runs.",
    input = {
      command = "string?",
      task_id = "string?",
      pattern = "string?: a text or a Lua pattern",
      timeout = seconds("seconds after which a command started here is ended"),
    },
    summary = function(input) return input.command or input.task_id end,
    permission = function(input)
      return input.command and not input.task_id and "command" or "none", input.command
    end,
    run = monitor,
  })
end

local function add_looking_tools(ctx)
  local seen = {} -- task id -> how many bytes of its output the model has seen
  ctx.tool({
    name = "check_background",
    description = "Without task_id: list the background tasks. With one: its state, and what it "
      .. "has printed since your last look.",
    input = { task_id = "string?" },
    summary = id_of,
    permission = "none",
    run = function(input, tool_ctx)
      return input.task_id and look(seen, find(tool_ctx, input.task_id)) or list(tool_ctx)
    end,
  })
  ctx.tool({
    name = "background_wait",
    description = "Wait until a background task ends, or prints something new that matches "
      .. "pattern, but no longer than timeout. Only when there is nothing else to do.",
    input = {
      task_id = "string",
      pattern = "string?: a text or a Lua pattern",
      timeout = {
        type = "number", minimum = 1, maximum = 600, optional = true,
        description = ("seconds (%g)"):format(defaults.background.wait),
      },
    },
    summary = id_of,
    permission = "none",
    run = function(input, tool_ctx) return background_wait(seen, input, tool_ctx) end,
  })
  ctx.tool({
    name = "background_output",
    description = "The output of a background task, from a byte offset on; long ones are cut in "
      .. "the middle.",
    input = {
      task_id = "string",
      since = {
        type = "integer", minimum = 0, optional = true,
        description = "byte offset; 0 is the start",
      },
    },
    summary = id_of,
    permission = "none",
    run = background_output,
  })
end

local function add_acting_tools(ctx)
  ctx.tool({
    name = "background_write",
    description = "Write text to a task that was started with `stdin`; a line needs its newline.",
    input = {
      task_id = "string",
      text = "string",
      close = "boolean?: nothing more comes: the command reads its end of file",
    },
    summary = id_of,
    -- What reads the text may well be a shell, or a program that waits for a yes.
    permission = function(input) return "input", input.text end,
    run = background_write,
  })
  ctx.tool({
    name = "background_kill",
    description = "End a background task and all its processes, or a background call (call-...).",
    input = { task_id = "string" },
    summary = id_of,
    permission = "none",
    run = background_kill,
  })
end

return {
  name = "background",
  setup = function(ctx, given)
    options.check(given, {}, -1)
    add_starting_tools(ctx)
    add_looking_tools(ctx)
    add_acting_tools(ctx)
  end,
}
