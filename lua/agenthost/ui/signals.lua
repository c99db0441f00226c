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

--- Runs fn in async.run. Each of these signals stops the wait that is under way in it.
---@param names string[] as for `watch`
---@param fn fun()
function M.run(names, fn)
  async.run(function()
    local job = async.spawn(fn)
    M.watch(names, function(name) job:cancel("stopped by SIG" .. name) end)
    job:wait()
  end)
end

return M
