--- The interactive program in a real terminal, for end-to-end tests.
---
---     local term = interactive.start(t, { width = 80 })   -- t: see support.case
---     term:say("Hello")
---     term:wait_answer("Hi.")
local tmux = require("support.tmux")

local M = {}

local SLOW <const> = 60 -- seconds; machines are noisy

---@class support.interactive.Terminal
---@field tmux support.tmux.Session
local Terminal = {}

-- What is not here is the session's.
Terminal.__index = function(self, name)
  local own = Terminal[name]
  local theirs = own == nil and rawget(self, "tmux")[name]
  if type(theirs) ~= "function" then
    return own or theirs
  end
  return function(_, ...)
    return theirs(rawget(self, "tmux"), ...)
  end
end

--- The same for a session that was started by hand.
---@param session support.tmux.Session
---@return support.interactive.Terminal
function M.wrap(session)
  return setmetatable({ tmux = session }, Terminal)
end

--- Whether the screen ends with the prompt of an idle agent, with nothing typed.
---@param screen string
---@return boolean
function M.at_prompt(screen)
  return (screen:match("[^\n]*$"):gsub("^%d+ tasks? running ", "")):find("^> *$") ~= nil
end

--- A command in a terminal that is closed when the test ends.
---@param t support.case.Case
---@param opts support.tmux.Options
---@return support.interactive.Terminal
function M.run(t, opts)
  opts.cwd = opts.cwd or t.place.work
  return M.wrap(t:own(tmux.start(opts)))
end

--- Starts it and waits for its prompt; the terminal is closed when the test ends.
---@param t support.case.Case
---@param opts? table of Place:words; also width and env
---@return support.interactive.Terminal
function M.start(t, opts)
  opts = opts or {}
  opts.server = t.server
  opts.env = opts.env or {}
  opts.env.TERM = opts.env.TERM or "screen"
  local self = M.run(t, { command = t.place:words(opts), width = opts.width,
    height = opts.height })
  self:wait_for(M.at_prompt)
  return self
end

function Terminal:wait_for(what)
  return self.tmux:wait_for(what, SLOW)
end

--- Types a line.
function Terminal:say(line)
  self:type(line)
  self:keys("Enter")
end

--- Waits until `text` is on the screen and the prompt below it.
---@return string screen
function Terminal:wait_answer(text)
  return self:wait_for(function(screen)
    return screen:find(text, 1, true) and M.at_prompt(screen)
  end)
end

--- Waits for the end of the program.
---@return integer status
function Terminal:wait_dead()
  local status
  assert(tmux.eventually(function()
    status = select(2, self:alive())
    return status
  end, SLOW), self:screen())
  return status
end

return M
