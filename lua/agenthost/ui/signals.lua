--- Signals as events of the scheduler.
local async = require("agenthost.async")
local reactor = require("agenthost.reactor")

local M = {}

--- From now on calls `on_signal` for each of these signals, from a job of its own, in place of what
--- they do by default.
---@param names string[] "INT", "TERM", "HUP", "WINCH", "TSTP", ...
---@param on_signal fun(name: string)
---@return agenthost.Job
function M.watch(names, on_signal)
  for _, name in ipairs(names) do
    reactor.catch_signal(name)
  end
  return async.spawn(function()
    while true do
      async.wait(reactor.signal_id())
      local name = reactor.take_signal()
      if name then
        on_signal(name)
      end
    end
  end)
end

return M
