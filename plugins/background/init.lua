--- Background tasks: `background_run`, `check_background`, `background_output`, `background_kill`.
---
--- The end of a task is told by a notice; these tools are for starting, for a look in between, and
--- for ending. Whoever sees here that a task has ended is not told again.
local defaults = require("agenthost.defaults")
local output = require("agenthost.output")
local tasks = require("agenthost.task")

local function find(id)
  local task = tasks.get(id)
  return task or error("Unknown task " .. id, 0)
end

local function background_run(input, ctx)
  local task = ctx.run_task(input.command, { notify = true, timeout = input.timeout })
  return ("Background task %s started: %s"):format(task.id, input.command)
end

local function line_of(task)
  local command = task.command:gsub("%s*\n%s*", " ")
  return ("%s: [%s] %s"):format(task.id, (task:status()), command)
end

local function list(ctx)
  local lines = {}
  for _, task in ipairs(ctx.list_tasks()) do
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
  return #lines > 0 and table.concat(lines, "\n") or "No background tasks."
end

-- What a task is and what it printed since the last look.
local function look(seen, task)
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

local function background_kill(input)
  local task = find(input.task_id)
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

local function background_output(input)
  local task = find(input.task_id)
  local printed, size = output.text(task, { since = input.since })
  return ("%s\n[output up to byte %d; status: %s]"):format(
    printed ~= "" and printed or "(no output)", size, (task:status()))
end

local function id_of(input)
  return input.task_id
end

return {
  name = "background",
  setup = function(ctx)
    local seen = {} -- task id -> how many bytes of its output the model has seen
    ctx.tool({
      name = "background_run",
      description = "Start a shell command in the background and return at once with its task id. "
        .. "You are told when it ends, so go on with other work. It is ended after "
        .. ("%g s unless `timeout` says otherwise."):format(defaults.task.timeout),
      input = {
        command = "string: the command, for bash -c",
        timeout = { type = "number", minimum = 1, description = "seconds", optional = true },
      },
      summary = function(input) return input.command end,
      run = background_run,
    })
    ctx.tool({
      name = "check_background",
      description = "Without task_id: list the background tasks. With one: its state, and what it "
        .. "has printed since your last look.",
      input = { task_id = "string?" },
      summary = id_of,
      run = function(input, tool_ctx)
        return input.task_id and look(seen, find(input.task_id)) or list(tool_ctx)
      end,
    })
    ctx.tool({
      name = "background_output",
      description = "The output of a background task, from a byte offset on; long ones are cut in "
        .. "the middle.",
      input = {
        task_id = "string",
        since = {
          type = "integer",
          minimum = 0,
          description = "byte offset; 0 is the start",
          optional = true,
        },
      },
      summary = id_of,
      run = background_output,
    })
    ctx.tool({
      name = "background_kill",
      description = "End a background task and all its processes.",
      input = { task_id = "string" },
      summary = id_of,
      run = background_kill,
    })
  end,
}
