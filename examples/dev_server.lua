-- A plugin with a notice policy: it keeps a development server running. When the server crashes it
-- is started again, and the model is not asked. Only when that does not help is the model told.
--
--     plugins = { "shell", { "./dev_server.lua", command = "npm run dev", restarts = 3 } }
local server, restarts = nil, 0 -- the running task; how often it was started again

return {
  name = "dev_server",

  setup = function(ctx, opts)
    local command = opts.command or error("dev_server needs a `command`", 0)
    local most = opts.restarts or 3

    local function start()
      server = ctx.task(command, { notify = true, timeout = math.huge, label = "dev server" }).id
    end

    -- A task belongs to the session in which it was begun: each session (/clear) has its server.
    ctx.on("session.start", start)
    ctx.on("session.end", function()
      local running = server and ctx.find_task(server)
      server, restarts = nil, 0
      if running then
        running:set_notify(false) -- the model need not be told
        running:kill({ by = "the dev_server plugin" })
        running:wait(10) -- its port is free then
      end
    end)

    ctx.on("notice", function(event)
      local notice = event.notice
      if not server or notice.task ~= server or notice.status == "killed" then
        return -- not ours, or somebody wanted it to end
      elseif restarts < most then
        restarts = restarts + 1
        event.decision = "drop"
        ctx.note(("the dev server has crashed; started again (%d of %d)"):format(restarts, most))
        start()
      else
        event.text = ("the dev server (%s) has crashed once more after %d restarts. Its last words "
          .. "are in the output of this task; it is down now."):format(command, most)
      end
    end)
  end,

  -- This file may be edited while the server runs: the next version takes it over.
  save = function()
    return { server = server, restarts = restarts }
  end,
  restore = function(saved)
    server, restarts = saved.server, saved.restarts
  end,
}
