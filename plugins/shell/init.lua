--- The `bash` tool: one command, and its output as the result.
---
--- A command that is not done after `background_after` seconds goes on as a background task: the
--- same process, and the answer says so. Cancelling the wait does the same; it never ends it.
local defaults = require("agenthost.defaults")
local option_check = require("agenthost.options")
local output = require("agenthost.output")

local function moved(task, why)
  task:set_notify(true)
  return ("%s It still runs, now as background task %s: you are told when it ends, there is no "
    .. "need to poll. Output so far:\n%s"):format(why, task.id, (output.text(task)))
end

local function finished(task, status, state)
  local printed = output.text(task)
  if status == "completed" then
    return printed
  elseif status == "error" then
    error(state.reason, 0)
  end
  local line = status == "failed" and output.ending(state) or status .. ": " .. output.ending(state)
  return printed .. (printed:find("[^\n]$") and "\n" or "") .. "[" .. line .. "]"
end

local function run(options, input, ctx)
  local patience = options.background_after
  local timeout = input.timeout or options.timeout
  if input.run_in_background then
    local task = ctx.run_task(input.command, { timeout = timeout, notify = true })
    return ("Background task %s started: %s"):format(task.id, input.command)
  end
  local task = ctx.run_task(input.command, { timeout = timeout })
  local ok, status, state = pcall(task.wait, task, patience)
  if not ok then
    return moved(task, "The user stopped waiting for this command.")
  elseif not status then
    return moved(task, ("The command was not done after %g seconds."):format(patience))
  end
  return finished(task, status, state)
end

return {
  name = "shell",
  setup = function(ctx, given)
    option_check.check(given, { "background_after", "timeout" }, -1)
    local options = {
      background_after = given.background_after or defaults.bash.background_after,
      timeout = given.timeout or defaults.bash.timeout,
    }
    ctx.tool({
      name = "bash",
      description = "Run a shell command in the working directory and return its output (stdout "
        .. "and stderr together) and its exit code if that is not 0. There is no terminal and no "
        .. "standard input. For slow commands use background_run. A command that takes longer than "
        .. ("%g s goes on in the background by itself."):format(options.background_after),
      input = {
        command = "string: the command, for bash -c",
        timeout = {
          type = "number",
          minimum = 1,
          description = ("seconds after which it is ended (%g)"):format(options.timeout),
          optional = true,
        },
        run_in_background = "boolean?: return at once; you are told when it ends",
      },
      summary = function(input) return input.command end,
      permission = "command",
      run = function(input, tool_ctx) return run(options, input, tool_ctx) end,
    })
  end,
}
