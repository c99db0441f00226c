--- The terminal of the interactive program: text that streams, lines of their own, and below them
--- the prompt with the half-typed line.
---
--- While text streams the prompt is off the screen. It comes back for as long as something is
--- typed: then whole lines appear above it, and the line that is still coming is held back.
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local MAX_HELD <const> = 8192 -- bytes of a line that is held back

---@class agenthost.Screen
---@field editor agenthost.line.Editor
---@field colour boolean
local Screen = {}
Screen.__index = Screen

---@param editor agenthost.line.Editor
---@return agenthost.Screen
function M.new(editor)
  local no_colour = sys.getenv("NO_COLOR")
  return setmetatable({
    editor = editor,
    colour = not (no_colour and no_colour ~= "") and not editor:is_plain(),
    shown = false, -- the prompt is on the screen
    at_line_start = true, -- where the cursor is when the prompt is not
    held = "",
    row = "", -- what is written since the last line break
    prompt = nil,
  }, Screen)
end

--- Text in a style ("2" dim, "31" red: ANSI's numbers), plain without colours.
function Screen:style(code, s)
  return self.colour and ("\27[%sm%s\27[0m"):format(code, s) or s
end

---@return integer columns
function Screen.width()
  return sys.terminal_size(1) or 80
end

local function write(self, s)
  sys.write_fd(1, s)
  local rest = s:match("[^\n]*$")
  if rest ~= s then
    self.row = rest
  elseif #self.row <= MAX_HELD then -- a longer one is not taken back anyway
    self.row = self.row .. rest
  end
  self.at_line_start = self.row == ""
end

-- The line that is still coming goes off the screen, to be held back; when it has more than one row
-- it stays as it is.
local function take_row_back(self)
  local fits = #self.row <= MAX_HELD and text.width((text.clean(self.row))) < self.width()
  if fits and not self.editor:is_plain() then
    sys.write_fd(1, "\r\27[K")
    self.held, self.row = self.row, ""
  else
    write(self, "\n")
  end
end

-- Prints what is held back as a line of its own.
local function release(self)
  if self.held ~= "" then
    self.editor:print(self.held)
    self.held = ""
  end
end

--- Text as it comes.
---@param s string
function Screen:write(s)
  if s == "" then
    return
  elseif not self.shown then
    write(self, s)
    return
  end
  self.held = self.held .. s
  local lines, rest = self.held:match("^(.*\n)(.-)$")
  if lines then
    self.editor:print(lines)
    self.held = rest
  elseif #self.held > MAX_HELD then
    release(self)
  end
end

--- Lines of their own.
---@param s string
function Screen:say(s)
  if self.shown then
    release(self)
    self.editor:print(s)
  else
    write(self, (self.at_line_start and "" or "\n") .. s .. "\n")
  end
end

function Screen:dim(s)
  self:say(self:style("2", s))
end

--- What went wrong, whoever says so.
---@param s any
function Screen:red(s)
  s = text.preview(text.clean(tostring(s)), { max = defaults.ui.error })
  self:say(self:style("31", s))
end

function Screen:show()
  if not self.shown then
    if not self.at_line_start then
      take_row_back(self)
    end
    self.editor:show()
    self.shown = true
  end
end

function Screen:hide()
  if self.shown then
    self.editor:hide()
    self.shown, self.at_line_start, self.row = false, true, ""
    if self.held ~= "" then
      write(self, self.held)
      self.held = ""
    end
  end
end

--- What streamed is over: the next thing starts a line.
function Screen:end_text()
  if self.shown then
    release(self)
  elseif not self.at_line_start then
    write(self, "\n")
  end
end

---@param prompt string
function Screen:set_prompt(prompt)
  if prompt ~= self.prompt then
    self.prompt = prompt
    self.editor:set_prompt(prompt)
  end
end

return M
