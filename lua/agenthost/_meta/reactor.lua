---@meta agenthost.reactor

---The one wait of the program. For agenthost.async and user interfaces; everybody else waits through
---agenthost.async. Implemented in src/lua/reactor.c and src/core/reactor.h.
---
---What can be waited for has an id. An id that is reported is a hint that it is worth looking: the
---news may be for somebody else.
local reactor = {}

---Waits until something has news or the time is over. Transfers go on only in here.
---@param timeout? number  seconds; default: no bound
---@return integer[] ids  what has news; empty when the time is over
---@return boolean all  ids were lost for want of memory: everybody has to look
function reactor.wait(timeout) end

---Reports when the descriptor is readable (or at its end), again and again while it is.
---@param fd integer  borrowed; stays open until unwatched
---@return integer? id
---@return string? message
---@return string? code
function reactor.watch(fd) end

---Unknown ids are passed over.
---@param id integer
function reactor.unwatch(id) end

---Whether a signal is noted for `take_signal` instead of doing what it usually does.
---@param name "INT"|"TERM"|"HUP"|"QUIT"|"WINCH"|"TSTP"|"CONT"
---@param catch? boolean  default true
function reactor.catch_signal(name, catch) end

---A signal that has come since; several of one name count once.
---@return string? name  nil when there is none
function reactor.take_signal() end

---The id that has news when a caught signal has come.
---@return integer id
function reactor.signal_id() end

return reactor
