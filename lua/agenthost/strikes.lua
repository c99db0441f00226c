--- Three strikes: what fails again and again (a tool, a handler, a timer) is switched off, and says
--- so once. A success in between begins anew; so does a reload, which makes a new one of these.
---
---     local mine = strikes.new("the handler of 'idle' in my.lua")
---     local why = mine:off()            -- nil while it may be called
---     if ok then mine:hit() else local message = mine:miss(err) ... end
local defaults = require("agenthost.defaults")

local M = {}

---@class agenthost.Strikes
local Strikes = {}
Strikes.__index = Strikes

--- One that has never failed.
---@param what string names it, for messages
---@return agenthost.Strikes
function M.new(what)
  return setmetatable({ what = what, count = 0 }, Strikes)
end

--- Whether it may not be called any more, and why.
---@return string? message nil while it may
function Strikes:off()
  return self.message
end

--- It went well.
function Strikes:hit()
  self.count = 0
end

--- It failed.
---@param err any what it raised; its first line names the place
---@return string? message when this has switched it off: for the user, once
function Strikes:miss(err)
  self.count = self.count + 1
  if self.count < defaults.guard.strikes or self.message then
    return nil
  end
  local first = tostring(err):match("^[^\n]*")
  self.message = ("%s is switched off: it failed %d times in a row, the last time with: %s; "
    .. "mend that and /reload"):format(self.what, self.count, first)
  return self.message
end

return M
