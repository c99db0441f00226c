-- A plugin that builds in the background whenever a file changes, and tells the model only when the
-- outcome is another one: it broke, or it works again. No model call is made for anything else.
-- Its tests, build_watcher_test.lua, play the build and the time.
local async = require("agenthost.async")
local text = require("agenthost.text")

-- The newest change below a folder, seconds since the epoch.
local function newest(root, folder)
  local latest = 0
  for _, entry in ipairs(root:list(folder) or {}) do
    local path = folder .. "/" .. entry.name
    local stat = entry.type == "file" and root:stat(path)
    latest = math.max(latest, stat and stat.mtime or 0)
  end
  return latest
end

local function build(ctx, command)
  local task = ctx.run_task(command, { timeout = 600 })
  local status, state = task:wait()
  return status == "completed", status, state, task
end

return {
  name = "build_watcher",
  setup = function(ctx, options)
    local interval = options.interval or 1
    local watching = false
    ctx.tool({
      name = "watch_build",
      description = "Run a build command now and after every change of a file in a folder. You are "
        .. "told when it breaks and when it works again; there is no need to ask.",
      input = { command = "string: the build, for the shell", folder = "string: what is watched" },
      permission = "command",
      run = function(input, tool)
        if watching then
          return nil, "a build is watched already"
        end
        watching = true
        local seen, worked = nil, true
        async.spawn(function() -- goes on when this call has returned
          while true do
            local now = newest(tool.root, input.folder)
            if now ~= seen then
              seen = now
              local works, status, _, task = build(tool, input.command)
              if works ~= worked then
                ctx.notify(works and "The build works again." or ("The build is broken (%s):\n%s")
                  :format(status, text.preview(text.clean(task:output()), { max = 2000 })))
              end
              worked = works
            end
            async.sleep(interval)
          end
        end)
        return "Watching " .. input.folder .. "."
      end,
    })
  end,
}
