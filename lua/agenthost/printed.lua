--- What plugin code prints: `print`, `io.write` and `io.stdout:write` of it do not reach standard
--- output, which is the answer of a headless run, and which a terminal is drawn on.
---
--- Scripts that run no agent print as ever.
local defaults = require("agenthost.defaults")
local guard = require("agenthost.guard")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

---@class agenthost.Printed
---@field all boolean whoever prints is meant, not only code that runs under the guard
---@field show fun(lines: string, owner?: string) takes whole lines, clean, without the last newline
local Printed = {}
Printed.__index = Printed

local M = {}

--- Shows on standard error, with a line that names whose it is before the first ones.
---@return fun(lines: string, owner?: string)
function M.to_stderr()
  local named = {}
  return function(lines, owner)
    local whose = owner or "the script"
    if not named[whose] then
      named[whose] = true
      sys.write_fd(2, ("agenthost: %s prints, on standard error: standard output is for answers\n")
        :format((text.clean(whose):gsub("\n", " "))))
    end
    sys.write_fd(2, lines .. "\n")
  end
end

--- One that catches nothing yet.
---@param show? fun(lines: string, owner?: string) default: to_stderr()
---@return agenthost.Printed
function M.new(show)
  return setmetatable({ all = false, show = show or M.to_stderr(), held = "" }, Printed)
end

-- Whether what is printed now is to be caught.
function Printed:catches()
  return self.all or guard.owner() ~= nil
end

--- Takes what was printed. A line that has no end yet is held back.
---@param s string
function Printed:take(s)
  local owner = guard.owner()
  if owner ~= self.owner then
    self:finish()
    self.owner = owner
  end
  self.held = self.held .. s
  local lines, rest = self.held:match("^(.*)\n(.-)$")
  if lines then
    self.held = rest
    self.show((text.clean(lines)), owner)
  elseif #self.held > defaults.guard.printed then
    self:finish()
  end
end

--- Shows what is held back.
function Printed:finish()
  if self.held ~= "" then
    local held = self.held
    self.held = ""
    self.show((text.clean(held)), self.owner)
  end
end

-- What io.write would write; nil: it is for io.write to complain.
local function joined(...)
  local parts = table.pack(...)
  for i = 1, parts.n do
    if type(parts[i]) ~= "string" and type(parts[i]) ~= "number" then
      return nil
    end
  end
  return table.concat(parts)
end

--- Puts itself before print, io.write and the method write of standard output.
function Printed:install()
  local real_print, io_write, stdout = print, io.write, io.stdout
  local methods = getmetatable(stdout).__index
  local write = methods.write
  function print(...) -- luacheck: ignore 121
    if not self:catches() then
      return real_print(...)
    end
    local parts = table.pack(...)
    for i = 1, parts.n do
      parts[i] = tostring(parts[i])
    end
    self:take(table.concat(parts, "\t") .. "\n")
  end
  function methods.write(file, ...)
    local s = file == stdout and self:catches() and joined(...)
    if not s then
      return write(file, ...)
    end
    self:take(s)
    return file
  end
  function io.write(...) -- luacheck: ignore 122
    local s = io.output() == stdout and self:catches() and joined(...)
    if not s then
      return io_write(...)
    end
    self:take(s)
    return stdout
  end
end

return M
