--- The interactive conversation: a prompt that shares its wait with the notices. What is drawn is
--- screen.lua, status.lua and show.lua; what is typed is typed.lua, and what begins with "/"
--- commands.lua.
local ask = require("agenthost.ui.ask")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local line = require("agenthost.line")
local markdown = require("agenthost.ui.markdown")
local screens = require("agenthost.ui.screen")
local show = require("agenthost.ui.show")
local sessions = require("agenthost.ui.sessions")
local signals = require("agenthost.ui.signals")
local status = require("agenthost.ui.status")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local typed = require("agenthost.ui.typed")
local words = require("agenthost.words")

local M = {}

local EXIT_SIGNAL <const> = { TERM = 143, HUP = 129 }
local TWICE <const> = 2 -- seconds within which a second Ctrl-C leaves

---@class agenthost.Repl: agenthost.Typed
---@field agent agenthost.Agent
---@field screen agenthost.Screen
---@field editor agenthost.line.Editor
---@field last_call? table the newest tool call, as in the event
local Repl = setmetatable({}, { __index = typed })
Repl.__index = Repl

-- ---- the agent works ---------------------------------------------------------------------------

function Repl:list_tasks(what, agent, lifetime)
  for _, task in ipairs((agent or self.agent):pending_tasks(lifetime)) do
    self.screen:dim(("%s: task %s %s"):format(what, task.id, words.shorten(task.command, 60)))
  end
end

-- Waits for the end of a job, as pcall would tell it; when the user leaves, not for ever.
function Repl:wait_for(job)
  local bound
  while not job.done and not (bound and sys.now() >= bound) do
    bound = bound or self.leaving and sys.now() + defaults.ui.leave_grace
    async.wait_any({ job, self.news }, bound and math.max(0, bound - sys.now()))
  end
  if not job.done then
    return false, ("it does not stop: left without it after %g s"):format(defaults.ui.leave_grace)
  end
  return pcall(job.wait, job)
end

-- Does something that takes a while, with the status line meanwhile.
function Repl:work(fn, ...)
  self.screen:hide()
  self.streaming = false
  self.status:start(function() return self.streaming end)
  local results = table.pack(self:wait_for(async.spawn(fn, ...)))
  self.status:stop()
  show.end_text(self)
  return table.unpack(results, 1, results.n)
end

-- One run of the agent, on what waits in its inbox.
function Repl:run_agent()
  local ok, result, message, code = self:work(self.agent.run, self.agent)
  if not ok then
    self.screen:red("error: " .. tostring(result))
  elseif code == "INTERRUPTED" then
    self.screen:dim("(stopped)")
    self:list_tasks("still running in the background")
  elseif not result then
    self.screen:red("error: " .. words.shorten(message, 500))
  elseif result.stop_reason ~= "end_turn" and result.stop_reason ~= "stop_sequence" then
    self.screen:dim(words.shorten("(the reply stopped with " .. result.stop_reason .. ")", 200))
  end
end

-- What the agent asks before it runs a tool.
function Repl:ask(question)
  return ask.ask(question, {
    width = self.screen.width(),
    say = function(s) self.screen:say(s) end,
    read = function(prompt) return self:read_answer(prompt) end,
  })
end

-- A question for a yes; its last line is the prompt.
function Repl:confirm(question)
  local lines, prompt = question:match("^(.*)\n([^\n]*)$")
  for shown in (lines or ""):gmatch("[^\n]+") do
    self.screen:say(text.clean(shown))
  end
  local answer = self:read_answer(prompt or question)
  return answer ~= nil and answer:lower():find("^%s*y") ~= nil
end

-- ---- stopping and leaving ----------------------------------------------------------------------

-- Stops the model call, the foreground wait or the command that is under way, if there is one.
function Repl:stop()
  return self.agent:interrupt() or self:stop_command()
end

--- Leaves at the next opportunity.
function Repl:leave()
  self.leaving = true
  self:stop()
  async.notify(self.news)
end

-- Ctrl-C stops what `stop` stops, and nothing else; at the prompt it empties the line. A second one
-- soon after leaves.
function Repl:on_interrupt()
  local soon = self.interrupted_at and sys.now() - self.interrupted_at < TWICE
  self.interrupted_at = nil
  self.begun = nil
  self.status:set_continued(false)
  if soon then
    return self:leave()
  elseif not self:stop() and self.editor:discard() ~= "" then
    return
  end
  self.interrupted_at = sys.now()
  if self.idle then
    self.screen:dim("(Ctrl-C once more, exit, q or Ctrl-D leaves)")
  end
end

function Repl:on_signal(name)
  if name == "INT" then
    self:on_interrupt()
  elseif name == "WINCH" then
    self.editor:resize()
  elseif name == "TSTP" then
    self.editor:suspend()
    sys.stop_self()
    self.editor:resume()
  elseif EXIT_SIGNAL[name] then
    self.exit_signal = name
    self:leave()
  end
end

-- A function without which nobody could type or stop anything any more: when it fails, the program
-- ends and says why.
function Repl:vital(fn)
  return function(...)
    local ok, err = xpcall(fn, debug.traceback, ...)
    if not ok and not self.leaving then
      self.failure = err
      self:leave()
    end
  end
end

-- ---- the whole ---------------------------------------------------------------------------------

-- Waits at the prompt until there is something to do, at most until `due`.
function Repl:wait(due)
  self.idle = true
  self.status:update()
  self.screen:show()
  async.wait_any({ self.news, self.agent.queue:waitable(), self.agent.inbox.changed }, due)
  self.idle = false
end

function Repl:loop()
  while not self.leaving do
    local due = self.agent.inbox:due()
    local input = self.lines[1]
    if input and not (self.agent.inbox.wanted and self:needs_idle(input)) then
      self:take_input(table.remove(self.lines, 1))
    elseif due == 0 then
      self:run_agent()
    elseif self.ended then
      self.leaving = true
    else
      self:wait(due)
    end
  end
end

-- Where the user is in the session.
function Repl:recap()
  for _, recalled in ipairs(sessions.recap(self.agent, self.screen.width())) do
    self.screen:dim(text.clean(recalled))
  end
end

-- What there was to say before anybody listened.
function Repl:say_notes()
  for _, note in ipairs(self.agent.notes) do
    self.screen:dim("(" .. words.shorten(note, 500) .. ")")
  end
end

function Repl:greet()
  local agent = self.agent
  self.screen:dim(words.shorten(("agenthost · %s · %s"):format(agent.provider.model, agent.cwd),
    500))
  if agent.provider.note then
    self.screen:dim("(" .. words.shorten(agent.provider.note, 500) .. ")")
  end
  self:say_notes()
  self:recap()
end

-- How to come back to a session that has something in it.
function Repl:say_how_to_resume()
  local agent = self.agent
  if #agent.conversation.pieces > 0 and not agent.session.read_only then
    self.screen:dim("resume with: agenthost -r " .. agent.session.id)
  end
end

function Repl:on_event(event)
  if event.type == "tool_end" then
    self.options.printed:finish()
  end
  self.status:on_event(event)
  show.event(self, event)
end

-- What is kept of the Repl in others looks its methods up at each call: they may be reloaded.
function Repl:listen_to(agent)
  self.agent = agent
  self.status:set_agent(agent)
  agent.on_event = function(event) self:on_event(event) end
  agent.ask = function(question) return self:ask(question) end
  agent.confirm = function(question) return self:confirm(question) end
end

--- Goes on with an agent that has another session, and closes the present one. Only when idle.
---@param agent agenthost.Agent see switch_session
function Repl:switch_to(agent)
  local before = self.agent
  self:say_how_to_resume()
  self:list_tasks("still running", before)
  if #before:pending_tasks() > 0 then
    table.insert(self.left, before)
  end
  before.on_event, before.ask, before.confirm = nil, nil, nil
  before:close()
  self.last_call = nil
  self:listen_to(agent)
  agent:start()
  self:say_notes()
  self:recap()
end

local function history_path()
  local dir = sys.xdg("state") .. "/agenthost"
  return sys.mkdir_private(dir) and dir .. "/history" or nil
end

--- Runs the conversation until the user leaves.
---@param agent agenthost.Agent
---@param options { verbose: boolean, prompt?: string, printed: agenthost.Printed }
---@return integer code of the program's exit
---@return agenthost.Agent agent the one of the last session
function M.run(agent, options)
  local editor <close> = assert(line.open({ prompt = "> ", history = history_path() }))
  local screen = screens.new(editor)
  local self = setmetatable({
    agent = agent,
    options = options,
    editor = editor,
    screen = screen,
    status = status.new(screen, agent),
    left = {}, -- agents of other sessions whose tasks ran when it was switched
    lines = {}, -- entered, and not yet taken up because the agent works
    news = {}, -- the event that there is something to look at
    idle = false, -- at the prompt
    streaming = false, -- text of a reply is coming
  }, Repl)
  self.markdown = markdown.new({ width = function() return screen.width() end,
    colour = screen.colour and defaults.ui.markdown })
  local printed = options.printed
  printed.all, printed.show = true, function(lines) screen:say(lines) end
  self:listen_to(agent)
  return async.run(function()
    agent:start()
    self:greet()
    signals.watch({ "INT", "TERM", "HUP", "WINCH", "TSTP" }, self:vital(function(name)
      self:on_signal(name)
    end))
    self:watch_terminal()
    if options.prompt then
      self:say(options.prompt)
    end
    self:loop()
    screen:hide()
    for _, one in ipairs({ self.agent, table.unpack(self.left) }) do
      self:list_tasks("ending", one, "session")
      self:list_tasks("goes on, detached", one, "detached")
    end
    for _, call in ipairs(self.agent.tool_jobs:close("agenthost was left")) do
      screen:dim(("ending: %s %s"):format(call.id, call.name))
    end
    self:say_how_to_resume()
    if self.failure then
      error(self.failure, 0)
    end
    return EXIT_SIGNAL[self.exit_signal] or 0, self.agent
  end)
end

return M
