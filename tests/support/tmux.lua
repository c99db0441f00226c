--- A program in a terminal, for end-to-end tests: a detached tmux server with its own socket.
---
---     local tmux = require("support.tmux")
---     local t <close> = tmux.start{ command = { "agenthost", "agent.lua" }, width = 80 }
---     t:wait_for("^> ")
---     t:type("hello") t:keys("Enter")
---     assert(t:wait_for("answer", 10))
---
--- Nothing sleeps for a fixed time: every wait looks often and ends at the event or the deadline.

local M = {}

local POLL <const> = 0.02 -- seconds between two looks
local DEADLINE <const> = 30 -- seconds, unless the caller names another

local count = 0

--- A shell word that means exactly this text.
---@param text string
---@return string
function M.quote(text)
  return "'" .. tostring(text):gsub("'", [['\'']]) .. "'"
end

local function quote_all(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = M.quote(word)
  end
  return table.concat(quoted, " ")
end

--- Runs a shell command line: its output (stdout and stderr) and whether it exited with 0.
---@param command string
---@return string output, boolean ok
function M.run(command)
  local pipe <close> = assert(io.popen("{ " .. command .. "\n} 2>&1 </dev/null", "r"))
  local output = pipe:read("a")
  return output, pipe:close() == true
end

local function now()
  local file <close> = assert(io.open("/proc/uptime"))
  return file:read("n")
end

--- Calls `look` until it returns something true, which is returned, or the deadline has passed.
---@param look fun(): any
---@param seconds? number
---@return any # nil when the time is over
function M.eventually(look, seconds)
  local deadline = now() + (seconds or DEADLINE)
  while true do
    local result = look()
    if result then
      return result
    end
    if now() > deadline then
      return nil
    end
    os.execute("sleep " .. POLL)
  end
end

---@return integer
local function own_pid()
  local file <close> = assert(io.open("/proc/self/stat"))
  return file:read("n")
end

---@class support.tmux.Session
---@field socket string the name of the server's socket (tmux -L)
---@field closed boolean
local Session = {}
Session.__index = Session

function Session:_tmux(...)
  local output, ok = M.run("tmux -L " .. self.socket .. " " .. quote_all({ ... }))
  if not ok then
    error("tmux " .. tostring((...)) .. ": " .. output, 2)
  end
  return output
end

--- Presses keys by tmux's names: "Enter", "C-c", "Up", "M-b". Several are pressed in order.
function Session:keys(...)
  self:_tmux("send-keys", "-t", "main", ...)
end

--- Types text as it is, all of it at once. Long texts go in pieces that a command line can hold.
---@param text string without newlines: see paste
function Session:type(text)
  local at = 1
  while at <= #text do
    local stop = math.min(at + 8000, #text)
    while stop < #text and (text:byte(stop + 1) & 0xC0) == 0x80 do
      stop = stop - 1 -- not inside a character
    end
    self:_tmux("send-keys", "-t", "main", "-l", "--", text:sub(at, stop))
    at = stop + 1
  end
end

--- Pastes text, newlines and all, as one burst. Newlines arrive as a terminal sends them (CR).
---@param text string
---@param bracketed? boolean as terminals do that were asked to mark pastes
function Session:paste(text, bracketed)
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
  local ok, message = pcall(function()
    self:_tmux("load-buffer", "-b", "paste", name)
    local mark = bracketed and "-dp" or "-d"
    self:_tmux("paste-buffer", mark, "-b", "paste", "-t", "main")
  end)
  os.remove(name)
  assert(ok, message)
end

--- What the screen shows: lines without trailing spaces, joined by "\n"; empty ones at the end are
--- left out. With `history` also what has scrolled off.
---@param history? boolean
---@return string
function Session:screen(history)
  local text
  if history then
    text = self:_tmux("capture-pane", "-p", "-t", "main", "-S", "-")
  else
    text = self:_tmux("capture-pane", "-p", "-t", "main")
  end
  return (text:gsub("%s+$", ""))
end

--- Where the cursor is, from 0.
---@return integer column, integer row
function Session:cursor()
  local text = self:_tmux("display-message", "-p", "-t", "main", "#{cursor_x} #{cursor_y}")
  local column, row = text:match("(%d+) (%d+)")
  return tonumber(column), tonumber(row)
end

--- Waits until the screen matches: a Lua pattern, or a function of the screen's text. Raises with
--- the screen in the message when the time is over.
---@param what string|fun(screen: string): any
---@param seconds? number
---@return string screen
function Session:wait_for(what, seconds)
  local screen
  local found = M.eventually(function()
    screen = self:screen()
    if type(what) == "function" then
      return what(screen)
    end
    return screen:find(what) ~= nil
  end, seconds)
  if not found then
    error(("waited in vain for %s; the screen:\n%s"):format(tostring(what), screen), 2)
  end
  return screen
end

--- Resizes the terminal; the program gets SIGWINCH.
function Session:resize(width, height)
  self:_tmux("resize-window", "-t", "main", "-x", tostring(width), "-y", tostring(height))
end

--- The process that the terminal was started with (the command itself).
---@return integer
function Session:pid()
  return tonumber(self:_tmux("display-message", "-p", "-t", "main", "#{pane_pid}"))
end

-- tmux 3.3a now and then misses the end of its child, which then stays a zombie: the kernel knows
-- its status (the last field).
local function exit_status(pid)
  local file <close> = io.open("/proc/" .. pid .. "/stat")
  local wait_status = file and file:read("a"):match("%) Z .* (%d+)%s*$")
  return wait_status and tonumber(wait_status) & 0x7F == 0 and tonumber(wait_status) >> 8 or nil
end

--- Whether the command still runs; and its exit status when not.
---@return boolean alive, integer? status
function Session:alive()
  local text = self:_tmux("display-message", "-p", "-t", "main", "#{pane_dead} #{pane_dead_status}")
  local dead, status = text:match("(%d) ?(%d*)")
  if dead == "1" and status == "" then
    status = exit_status(self:pid())
  end
  return dead ~= "1", tonumber(status)
end

--- The terminal's modes as `stty -g` prints them.
---@return string
function Session:modes()
  local tty = self:_tmux("display-message", "-p", "-t", "main", "#{pane_tty}"):gsub("%s+$", "")
  local output, ok = M.run("stty -g -F " .. M.quote(tty))
  assert(ok, output)
  return (output:gsub("%s+$", ""))
end

--- Ends the server and what runs in it.
function Session:close()
  if not self.closed then
    self.closed = true
    M.run("tmux -L " .. self.socket .. " kill-server")
    M.run("rm -f \"${TMUX_TMPDIR:-/tmp}/tmux-$(id -u)/" .. self.socket .. "\"")
  end
end

Session.__close = Session.close
Session.__gc = Session.close

---@class support.tmux.Options
---@field command string|string[] a shell command line, or the words of a command
---@field width? integer columns, default 80
---@field height? integer rows, default 24
---@field env? table<string, string|false> set in the program's environment; false takes one out
---@field cwd? string

--- Starts the command in a terminal of its own. It sees LANG=C.UTF-8 unless `env` says otherwise.
--- The screen stays readable when the command has ended.
---@param opts support.tmux.Options
---@return support.tmux.Session
function M.start(opts)
  count = count + 1
  local session = setmetatable({
    socket = ("agenthost-test-%d-%d"):format(own_pid(), count),
    closed = false,
  }, Session)
  local words = { "env", "-u", "LC_ALL", "-u", "LC_CTYPE", "-u", "TMUX", "-u", "TMUX_PANE" }
  local set = { LANG = "C.UTF-8" }
  for name, value in pairs(opts.env or {}) do
    set[name] = value
  end
  local sets = {}
  for name, value in pairs(set) do
    if value then
      sets[#sets + 1] = name .. "=" .. value
    else
      table.insert(words, "-u")
      table.insert(words, name)
    end
  end
  table.move(sets, 1, #sets, #words + 1, words)
  if type(opts.command) == "table" then
    table.move(opts.command, 1, #opts.command, #words + 1, words)
  else
    table.move({ "sh", "-c", opts.command }, 1, 3, #words + 1, words)
  end
  local output, ok = M.run(table.concat({
    "env -u TMUX LC_ALL=C.UTF-8 tmux -L " .. session.socket .. " -f /dev/null -u",
    "set-option -g remain-on-exit on \\;",
    "set-option -g remain-on-exit-format '' \\;",
    "set-option -g history-limit 10000 \\;",
    "set-option -g status off \\;",
    "new-session -d -s main",
    "-x " .. (opts.width or 80),
    "-y " .. (opts.height or 24),
    opts.cwd and "-c " .. M.quote(opts.cwd) or "",
    M.quote("exec " .. quote_all(words)),
    "\\; set-option -g window-size manual",
  }, " "))
  if not ok then
    session:close()
    error("tmux does not start: " .. output, 2)
  end
  return session
end

return M
