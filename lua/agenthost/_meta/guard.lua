---@meta agenthost.guard

---Bounds for plugin code: the time it may go on without a wait, and the memory of the Lua state. For
---agenthost.protect and agenthost.async. Implemented in src/lua/guard.c; what it covers and what not
---is in src/lua/guard.h.
local guard = {}

---One entry into plugin code.
---@class agenthost.guard.Call

---Like Lua's xpcall, under a budget: what runs longer than that without a wait gets an error, and when
---it goes on all the same, after a grace of half a second, one at every instruction until it is over.
---While a caught SIGINT, SIGTERM or SIGHUP waits the budget is half a second at most.
---@param budget number|agenthost.guard.Call  seconds; a call: as that; no more than the budget of the
---  call that it is made in
---@param owner any  whose code it is; nil with a call: as that
---@param handler fun(err: any): any  not called when memory runs out
---@param fn function
---@return boolean ok
---@return any ...  results; or what the handler says
function guard.xpcall(budget, owner, handler, fn, ...) end

---@return agenthost.guard.Call? call  the innermost one that runs
function guard.current() end

---@return any owner  of the innermost call that runs; nil outside any
function guard.owner() end

---For the scheduler: another call runs from now on, with its time before it.
---@param call? agenthost.guard.Call
---@param resumes? boolean  a job is resumed: until the next swap the caller's own steps do not count
---@return agenthost.guard.Call? call  the one that ran
function guard.swap(call, resumes) end

---For the scheduler: the whole thread has waited, so the time starts anew.
function guard.restart() end

---Sets or takes away the hook on the running coroutine, without a budget: coroutines that are made
---meanwhile can be stopped when plugin code runs them later.
---@param on boolean
function guard.watch(on) end

---@return integer used  bytes that the Lua state holds
---@return integer? limit
function guard.memory() end

---Bounds the memory of the Lua state.
---@param limit integer  bytes
---@param reserve integer  bytes beyond it that are for everybody but plugin code
function guard.limit_memory(limit, reserve) end

---For tests: calls fn like pcall; after n allocations each further one fails.
---@param n integer
---@param fn function  does not wait
---@return boolean ok
---@return any ...
function guard.starve(n, fn, ...) end

return guard
