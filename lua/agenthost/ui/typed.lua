--- What is typed into the interactive program: keys become lines, and lines something that is said,
--- a command, or an answer. Methods of the Repl.
local async = require("agenthost.async")
local attach = require("agenthost.ui.attach")
local commands = require("agenthost.ui.commands")
local complete = require("agenthost.ui.complete")
local defaults = require("agenthost.defaults")
local edit = require("agenthost.ui.edit")
local output = require("agenthost.output")
local reactor = require("agenthost.reactor")
local text = require("agenthost.text")
local words = require("agenthost.words")

local LEAVE <const> = { exit = true, q = true, quit = true }
local STOPPED <const> = setmetatable({}, { __tostring = function() return "stopped" end })
local ESCAPE <const> = 0.06 -- seconds after which a lone ESC is the Escape key

---@class agenthost.Typed
local Typed = {}

-- `!command`: the user's own, with its output for the model as well.
function Typed:run_command(command)
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
    return self.screen:red("error: " .. tostring(done))
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

--- Opens the user's editor with a text, and says what it was made into.
---@param draft string
---@return string? shown
---@return string? message
function Typed:edit(draft)
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
function Typed:say(said)
  local blocks, notes = attach.blocks(said, self.agent.cwd)
  for _, note in ipairs(notes) do
    self.screen:dim("(" .. words.shorten(note, 200) .. ")")
  end
  self.agent:say(blocks)
end

-- Runs a command. What Ctrl-C stops while it waits is this.
function Typed:run_slash(command, argument)
  local job = async.spawn(command.run, self, argument)
  self.command = job
  local ok, shown, message = self:wait_for(job)
  self.command = nil
  if not ok and shown == STOPPED then
    self.screen:dim(("(/%s was stopped)"):format(command.name))
  elseif not ok then
    self.screen:red(("/%s failed: %s"):format(command.name, tostring(shown)))
  elseif message then
    self.screen:red(message)
  elseif shown and shown ~= "" then
    self.screen:say(text.clean(tostring(shown)))
  end
end

-- Stops the command that waits, if there is one.
function Typed:stop_command()
  if not self.command then
    return false
  end
  self.command:cancel(STOPPED)
  return true
end

-- Whether a line has to wait until the agent is idle.
function Typed:needs_idle(input)
  local command = commands.find(self.agent, input)
  return LEAVE[input] or input:sub(1, 1) == "!" or command and not command.anytime
end

-- One line, or several that belong together, that may be taken up now.
function Typed:take_input(input)
  local command, argument = commands.find(self.agent, input)
  if LEAVE[input] then
    self:leave()
  elseif input:sub(1, 1) == "!" then
    self:run_command(input:sub(2):match("^%s*(.*)$"))
  elseif command then
    self:run_slash(command, argument)
  elseif argument then
    self.screen:red(argument)
  elseif input ~= "" then
    self:say(input)
  end
end

-- What is entered while the agent works goes to the model with its next call; behind a line that
-- has to wait everything waits, so that the order stays.
function Typed:take_while_working(input)
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
function Typed:join_lines(entered)
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

function Typed:on_line(entered)
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

function Typed:on_tab()
  local insertion, candidates = complete.complete(self.editor:text(), commands.names(self.agent),
    self.agent.cwd)
  if insertion ~= "" then
    self.editor:insert(insertion)
  elseif #candidates > 1 then
    self.screen:dim(text.clean(table.concat(candidates, "  ")))
  end
end

-- While a reply streams the prompt is there for as long as something is typed.
function Typed:on_typed()
  if not self.idle and self.streaming then
    if self.editor:text() ~= "" then
      self.screen:show()
    else
      self.screen:hide()
    end
  end
end

-- Takes in what has been typed.
function Typed:take_typed()
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

function Typed:watch_terminal()
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

-- Waits for a line that is typed from now on; nil when there comes none. What was typed before is
-- put away meanwhile: it does not answer.
function Typed:read_answer(prompt)
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

return Typed
