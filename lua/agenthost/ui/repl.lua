--- The interactive conversation: a prompt that shares its wait with the notices.
local async = require("agenthost.async")
local line = require("agenthost.line")
local output = require("agenthost.output")
local reactor = require("agenthost.reactor")
local sessions = require("agenthost.ui.sessions")
local signals = require("agenthost.ui.signals")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local LEAVE = { exit = true, q = true, quit = true }
local EXIT_SIGNAL = { TERM = 143, HUP = 129 }

---@class agenthost.Repl
local Repl = {}
Repl.__index = Repl

local function style(self, code, s)
  return self.colour and ("\27[%sm%s\27[0m"):format(code, s) or s
end

-- ---- showing -----------------------------------------------------------------------------------

-- Text of a reply as it comes. The prompt is off the screen while the agent works.
function Repl:write(s)
  if s ~= "" then
    sys.write_fd(1, s)
    self.at_line_start = s:sub(-1) == "\n"
  end
end

-- A line of its own, above the prompt when that is on the screen.
function Repl:say(s)
  if self.prompt_shown then
    self.editor:print(s)
  else
    self:write((self.at_line_start and "" or "\n") .. s .. "\n")
  end
end

function Repl:dim(s)
  self:say(style(self, "2", s))
end

local function shorten(s, columns)
  s = text.clean(s):gsub("%s+", " ")
  if utf8.len(s) > columns then
    s = s:sub(1, utf8.offset(s, columns) - 1) .. "…"
  end
  return s
end

local function terminal_width()
  return sys.terminal_size(1) or 80
end

local show = {}

function show.model_start(self)
  self.filter = text.filter()
end

function show.text(self, event)
  self:write(self.filter:feed(event.text))
end

function show.reply(self)
  self:write(self.filter:finish())
  if not self.at_line_start then
    self:write("\n")
  end
end

function show.tool_end(self, event)
  local call = event.call
  local head = ("%s %s "):format(call.is_error and "✗" or "✓", call.name)
  local tail = (" (%.1f s)"):format(call.seconds)
  local room = math.max(10, terminal_width() - #head - #tail)
  self:dim(head .. shorten(call.summary or "", room) .. tail)
end

function show.notice(self, event)
  local notice = event.notice
  if notice.kind == "task" then
    local tail = (": %s (%s)"):format(notice.status, output.ending(notice))
    self:dim(("● task %s %s%s"):format(notice.task, shorten(notice.command, 40), tail))
  else
    self:dim("● " .. shorten(notice.text or notice.kind, terminal_width() - 4))
  end
end

function show.retry(self, event)
  local wait = event.wait
  self:dim(("%s; trying again in %.1f s (%d of %d)"):format(
    shorten(wait.message, 200), wait.delay, wait.try, wait.tries))
  if wait.partial then
    self:dim("the text above was cut off and is discarded")
  end
end

function show.log(self, event)
  if self.options.verbose then
    self:dim(shorten(event.text, 1000))
  end
end

function Repl:on_event(event)
  if show[event.type] then
    show[event.type](self, event)
  end
end

-- ---- doing -------------------------------------------------------------------------------------

function Repl:show_prompt()
  if not self.prompt_shown then
    self.editor:show()
    self.prompt_shown = true
  end
end

function Repl:hide_prompt()
  if self.prompt_shown then
    self.editor:hide()
    self.prompt_shown = false
    self.at_line_start = true
  end
end

function Repl:list_tasks(what)
  for _, task in ipairs(self.agent:pending_tasks()) do
    self:dim(("%s: task %s %s"):format(what, task.id, shorten(task.command, 60)))
  end
end

-- One run of the agent, the prompt off the screen meanwhile. `input` is nil when notices woke it.
function Repl:run_agent(input)
  self:hide_prompt()
  local ok, result, message, code = pcall(self.agent.run, self.agent, input)
  if not ok then
    self:say(style(self, "31", "error: " .. tostring(result)))
  elseif code == "INTERRUPTED" then
    self:dim("(stopped)")
    self:list_tasks("still running in the background")
  elseif not result then
    self:say(style(self, "31", "error: " .. shorten(message, 500)))
  elseif result.stop_reason ~= "end_turn" and result.stop_reason ~= "stop_sequence" then
    self:dim("(the reply stopped with " .. result.stop_reason .. ")")
  end
  if not self.at_line_start then
    self:write("\n")
  end
end

function Repl:take_line(entered)
  local input = entered:match("^%s*(.-)%s*$")
  if LEAVE[input] then
    self.leaving = true
  elseif input ~= "" then
    self.editor:add_history(entered)
    self:run_agent(input)
  end
end

-- Ctrl-C stops the model call or the foreground wait, and nothing else; at the prompt it empties
-- the line.
function Repl:on_signal(name)
  if name == "INT" then
    if not self.agent:interrupt() and self.editor:discard() == "" and self.prompt_shown then
      self:dim("(exit, q or Ctrl-D leaves)")
    end
  elseif name == "WINCH" then
    self.editor:resize()
  elseif name == "TSTP" then
    self.editor:suspend()
    sys.stop_self()
    self.editor:resume()
  elseif EXIT_SIGNAL[name] then
    self.exit_signal = name
    self.leaving = true
    self.agent:interrupt()
    async.notify(self.inbox)
  end
end

-- Lines come from the terminal whenever they are typed; they are taken up one by one when the agent
-- is idle.
function Repl:watch_terminal()
  local watch = assert(reactor.watch(self.editor:fd()))
  return async.spawn(function()
    repeat
      async.wait(watch)
      local lines, ended = self.editor:feed()
      for _, entered in ipairs(lines) do
        self.inbox[#self.inbox + 1] = entered
      end
      self.ended = ended
      async.notify(self.inbox)
    until ended
    reactor.unwatch(watch)
  end)
end

function Repl:loop()
  local agent = self.agent
  while not self.leaving do
    if #self.inbox > 0 then
      self:take_line(table.remove(self.inbox, 1))
    elseif self.ended then
      self.leaving = true
    elseif #agent.queue > 0 then
      self:run_agent(nil)
    else
      self:show_prompt()
      async.wait_any({ self.inbox, agent.queue:waitable() })
    end
  end
end

function Repl:say_goodbye()
  self:hide_prompt()
  self:list_tasks("ending")
end

function Repl:greet()
  self:dim(("agenthost · %s · %s"):format(self.agent.provider.model, self.agent.cwd))
  if self.agent.provider.note then
    self:dim("(" .. self.agent.provider.note .. ")")
  end
  for _, recalled in ipairs(sessions.recap(self.agent, terminal_width())) do
    self:dim(recalled)
  end
end

local function history_path()
  local dir = sys.xdg("state") .. "/agenthost"
  return sys.mkdir_private(dir) and dir .. "/history" or nil
end

--- Runs the conversation until the user leaves. Returns the exit code.
---@param agent agenthost.Agent
---@param options { verbose: boolean, prompt?: string }
---@return integer
function M.run(agent, options)
  local editor <close> = assert(line.open({ prompt = "> ", history = history_path() }))
  local no_colour = sys.getenv("NO_COLOR")
  local self = setmetatable({
    agent = agent,
    options = options,
    editor = editor,
    inbox = {}, -- lines entered and not yet taken up; also the event that there are some
    at_line_start = true,
    colour = not (no_colour and no_colour ~= "") and sys.getenv("TERM") ~= "dumb",
  }, Repl)
  agent.on_event = function(event) self:on_event(event) end
  return async.run(function()
    self:greet()
    signals.watch({ "INT", "TERM", "HUP", "WINCH", "TSTP" }, function(name)
      self:on_signal(name)
    end)
    self:watch_terminal()
    if options.prompt then
      self:run_agent(options.prompt)
    end
    self:loop()
    self:say_goodbye()
    return EXIT_SIGNAL[self.exit_signal] or 0
  end)
end

return M
