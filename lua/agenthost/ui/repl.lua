--- The interactive conversation: a prompt that shares its wait with the notices. What is drawn is
--- screen.lua, status.lua and show.lua; what begins with "/" is commands.lua.
local ask = require("agenthost.ui.ask")
local async = require("agenthost.async")
local attach = require("agenthost.ui.attach")
local commands = require("agenthost.ui.commands")
local complete = require("agenthost.ui.complete")
local defaults = require("agenthost.defaults")
local edit = require("agenthost.ui.edit")
local line = require("agenthost.line")
local markdown = require("agenthost.ui.markdown")
local output = require("agenthost.output")
local reactor = require("agenthost.reactor")
local screens = require("agenthost.ui.screen")
local show = require("agenthost.ui.show")
local sessions = require("agenthost.ui.sessions")
local signals = require("agenthost.ui.signals")
local status = require("agenthost.ui.status")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local words = require("agenthost.ui.words")

local M = {}

local LEAVE <const> = { exit = true, q = true, quit = true }
local EXIT_SIGNAL <const> = { TERM = 143, HUP = 129 }
local TWICE <const> = 2 -- seconds within which a second Ctrl-C leaves
local STOPPED <const> = setmetatable({}, { __tostring = function() return "stopped" end })
local ESCAPE <const> = 0.06 -- seconds after which a lone ESC is the Escape key

---@class agenthost.Repl
---@field agent agenthost.Agent
---@field screen agenthost.Screen
---@field editor agenthost.line.Editor
---@field last_call? table the newest tool call, as in the event
local Repl = {}
Repl.__index = Repl

-- ---- the agent works ---------------------------------------------------------------------------

-- What went wrong, whoever says so.
local function red(self, s)
  s = text.preview(text.clean(tostring(s)), { max = defaults.ui.error })
  self.screen:say(self.screen:style("31", s))
end

function Repl:list_tasks(what, agent)
  for _, task in ipairs((agent or self.agent):pending_tasks()) do
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
    red(self, "error: " .. tostring(result))
  elseif code == "INTERRUPTED" then
    self.screen:dim("(stopped)")
    self:list_tasks("still running in the background")
  elseif not result then
    red(self, "error: " .. words.shorten(message, 500))
  elseif result.stop_reason ~= "end_turn" and result.stop_reason ~= "stop_sequence" then
    self.screen:dim("(the reply stopped with " .. result.stop_reason .. ")")
  end
end

-- `!command`: the user's own, with its output for the model as well.
function Repl:run_command(command)
  local agent = self.agent
  local ok, done, how, state = self:work(function()
    local task = agent:run_task(command, { timeout = defaults.bash.timeout })
    local waited, ended, its_state = agent:interruptible(function() return task:wait() end)
    if waited == false then
      task:set_notify(true)
      return false, task
    end
    return task, ended or waited, its_state
  end)
  if not ok then
    return red(self, "error: " .. tostring(done))
  elseif done == false then
    return self.screen:dim(("it goes on as background task %s"):format(how.id))
  end
  state = state or select(2, done:status())
  local printed, ending = output.text(done), output.ending(state)
  self.screen:say(text.preview(printed ~= "" and printed or "(no output)",
    { max = defaults.text.shown }))
  self.screen:dim(("(%s)"):format(ending))
  agent:say(("The user ran a command by themselves:\n$ %s\n%s\n[%s]"):format(
    command, printed ~= "" and printed or "(no output)", ending), { hold = true })
end

-- ---- lines -------------------------------------------------------------------------------------

--- Leaves at the next opportunity.
function Repl:leave()
  self.leaving = true
  self:stop()
  async.notify(self.news)
end

--- Opens the user's editor with a text, and says what it was made into.
---@param draft string
---@return string? shown
---@return string? message
function Repl:edit(draft)
  self.editor:suspend()
  local written, message, came = edit.write(draft, self.agent.session.dir)
  self.editor:resume()
  for _, name in ipairs(came) do
    self:on_signal(name)
  end
  if not written then
    return nil, message
  elseif not written:find("%S") then
    return "(nothing to send)"
  end
  self:say(written:gsub("%s+$", ""))
  return ""
end

-- What the user says to the model, now or while it works.
function Repl:say(said)
  local blocks, notes = attach.blocks(said, self.agent.cwd)
  for _, note in ipairs(notes) do
    self.screen:dim("(" .. words.shorten(note, 200) .. ")")
  end
  self.agent:say(blocks)
end

-- Runs a command. What Ctrl-C stops while it waits is this.
function Repl:run_slash(command, argument)
  local job = async.spawn(command.run, self, argument)
  self.command = job
  local ok, shown, message = self:wait_for(job)
  self.command = nil
  if not ok and shown == STOPPED then
    self.screen:dim(("(/%s was stopped)"):format(command.name))
  elseif not ok then
    red(self, ("/%s failed: %s"):format(command.name, tostring(shown)))
  elseif message then
    red(self, message)
  elseif shown and shown ~= "" then
    self.screen:say(text.clean(tostring(shown)))
  end
end

-- Whether a line has to wait until the agent is idle.
function Repl:needs_idle(input)
  local command = commands.find(self.agent, input)
  return LEAVE[input] or input:sub(1, 1) == "!" or command and not command.anytime
end

-- One line, or several that belong together, that may be taken up now.
function Repl:take_input(input)
  local command, argument = commands.find(self.agent, input)
  if LEAVE[input] then
    self:leave()
  elseif input:sub(1, 1) == "!" then
    self:run_command(input:sub(2):match("^%s*(.*)$"))
  elseif command then
    self:run_slash(command, argument)
  elseif argument then
    red(self, argument)
  elseif input ~= "" then
    self:say(input)
  end
end

-- What is entered while the agent works goes to the model with its next call; behind a line that
-- has to wait everything waits, so that the order stays.
function Repl:take_while_working(input)
  local command = commands.find(self.agent, input)
  local when = "goes along with the next call"
  if command and command.anytime then
    async.spawn(self.run_slash, self, command, select(2, commands.find(self.agent, input)))
    return
  elseif #self.lines > 0 or self:needs_idle(input) then
    table.insert(self.lines, input)
    when = "waits until the agent is done"
  else
    self:take_input(input)
  end
  self.screen:dim(("» %s (%s)"):format(words.shorten(input, self.screen.width() - 34), when))
end

-- A line that ends with a backslash goes on.
function Repl:join_lines(entered)
  self.begun = (self.begun or "") .. entered
  local slashes = #entered:match("\\*$")
  if slashes % 2 == 1 then
    self.begun = self.begun:sub(1, -2) .. "\n"
    self.status:set_continued(true)
    return nil
  end
  local whole = self.begun
  self.begun = nil
  self.status:set_continued(false)
  return whole
end

function Repl:on_line(entered)
  self.interrupted_at = nil -- a Ctrl-C from now on is the first one
  if self.answers then
    table.insert(self.answers, entered)
    return async.notify(self.answers)
  end
  local whole = self:join_lines(entered)
  if not whole then
    return
  end
  if not LEAVE[whole] then
    self.editor:add_history(whole)
  end
  local input = whole:match("^%s*(.-)%s*$")
  if self.idle then
    table.insert(self.lines, input)
    async.notify(self.news)
  elseif input ~= "" then
    self:take_while_working(input)
  end
end

function Repl:on_tab()
  local insertion, candidates = complete.complete(self.editor:text(), commands.names(self.agent),
    self.agent.cwd)
  if insertion ~= "" then
    self.editor:insert(insertion)
  elseif #candidates > 1 then
    self.screen:dim(text.clean(table.concat(candidates, "  ")))
  end
end

-- While a reply streams the prompt is there for as long as something is typed.
function Repl:on_typed()
  if not self.idle and self.streaming then
    if self.editor:text() ~= "" then
      self.screen:show()
    else
      self.screen:hide()
    end
  end
end

-- Takes in what has been typed.
function Repl:take_typed()
  local lines, ended, tab = self.editor:feed()
  for _, entered in ipairs(lines) do
    self:on_line(entered)
  end
  if tab and not self.answers then
    self:on_tab()
  end
  self:on_typed()
  self.ended = self.ended or ended
  if ended and self.answers then
    async.notify(self.answers)
  elseif ended and not self.idle then
    self.screen:dim("(leaving when the agent is done; Ctrl-C stops it)")
  end
  async.notify(self.news)
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

function Repl:watch_terminal()
  local watch = assert(reactor.watch(self.editor:fd()))
  return async.spawn(self:vital(function()
    repeat
      local typed = async.wait(watch, self.escape_pending and ESCAPE or nil)
      if not typed and self.editor:take_escape() then
        self:stop()
      end
      self.escape_pending = typed
      self:take_typed()
    until self.ended
    reactor.unwatch(watch)
  end))
end

-- ---- questions ---------------------------------------------------------------------------------

-- Waits for a line that is typed from now on; nil when there comes none. What was typed before is
-- put away meanwhile: it does not answer.
function Repl:read_answer(prompt)
  local editor = self.editor
  self:take_typed()
  local draft = editor:discard()
  local answers = {}
  local _ <close> = setmetatable({}, { __close = function()
    self.answers = nil
    self.status:set_question(nil)
    editor:discard()
    editor:insert(draft)
    for i = 2, #answers do
      self:on_line(answers[i]) -- they are no answers
    end
  end })
  self.answers = answers
  self.status:set_question(prompt)
  self.screen:end_text()
  self.screen:show()
  while not answers[1] and not self.ended do
    async.wait_any({ answers })
  end
  return answers[1]
end

-- What the agent asks before it runs a tool.
function Repl:ask(question)
  return ask.ask(question, {
    width = self.screen.width(),
    say = function(s) self.screen:say(s) end,
    read = function(prompt) return self:read_answer(prompt) end,
  })
end

-- ---- signals -----------------------------------------------------------------------------------

-- Stops the model call, the foreground wait or the command that is under way, if there is one.
function Repl:stop()
  if self.agent:interrupt() then
    return true
  elseif self.command then
    self.command:cancel(STOPPED)
    return true
  end
  return false
end

-- Ctrl-C stops what `stop` stops, and nothing else; at the prompt it empties
-- the line. A second one soon after leaves.
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

function Repl:greet()
  local agent = self.agent
  self.screen:dim(words.shorten(("agenthost · %s · %s"):format(agent.provider.model, agent.cwd),
    500))
  if agent.provider.note then
    self.screen:dim("(" .. words.shorten(agent.provider.note, 500) .. ")")
  end
  for _, note in ipairs(agent.notes) do
    self.screen:dim("(" .. words.shorten(note, 500) .. ")")
  end
  self:recap()
end

-- How to come back to a session that has something in it.
function Repl:say_how_to_resume()
  local agent = self.agent
  if #agent.conversation.pieces > 0 and not agent.session.read_only then
    self.screen:dim("resume with: agenthost -r " .. agent.session.id)
  end
end

function Repl:listen_to(agent)
  self.agent = agent
  self.status:set_agent(agent)
  agent.on_event = function(event)
    if event.type == "tool_end" then
      self.options.printed:finish()
    end
    self.status:on_event(event)
    show.event(self, event)
  end
  agent.ask = function(question) return self:ask(question) end
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
  before.on_event, before.ask = nil, nil
  before:close()
  self.last_call = nil
  self:listen_to(agent)
  agent:start()
  self:recap()
end

local function history_path()
  local dir = sys.xdg("state") .. "/agenthost"
  return sys.mkdir_private(dir) and dir .. "/history" or nil
end

--- Runs the conversation until the user leaves. Returns the exit code.
---@param agent agenthost.Agent
---@param options { verbose: boolean, prompt?: string, printed: agenthost.Printed }
---@return integer
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
  self.markdown = markdown.new({ width = screen.width,
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
      self:list_tasks("ending", one)
    end
    self:say_how_to_resume()
    if self.failure then
      error(self.failure, 0)
    end
    return EXIT_SIGNAL[self.exit_signal] or 0
  end)
end

return M
