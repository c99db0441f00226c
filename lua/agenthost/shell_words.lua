--- Splits a command line into its simple commands and their words, as bash would.
---
--- This is for permission rules, so it errs on one side: what it does not plainly understand
--- (expansions, redirections to files, compound commands, text that bash would refuse) it names in
--- `problem`, and an allow rule then does not count. It still goes on and collects every simple
--- command that it can find, inside substitutions and compound commands too: a deny rule looks at
--- all of them.
local defaults = require("agenthost.defaults")

---@class agenthost.ShellWord
---@field text string what bash makes of it, quotes removed; expansions stay as they are written
---@field literal boolean nothing in it is expanded
---@field bare boolean nothing in it is quoted
---@field unquoted? integer bytes of the text in front of the first quote, where there is one
---@field open boolean a glob or braces stand in it: bash may make other words of it

---@class agenthost.ShellCommand
---@field words agenthost.ShellWord[] at least one; without assignments in front

---@class agenthost.ShellText
---@field commands agenthost.ShellCommand[] every simple command that was found
---@field problem? string why it is not plainly understood; nil when it is
---@field unsure boolean some commands in it may not have been found

local M = {}

---@class agenthost.ShellParser
local Parser = {}
Parser.__index = Parser

-- Notes why the text is not plain; the first reason counts.
function Parser:fail(why, unsure)
  self.result.problem = self.result.problem or why
  self.result.unsure = self.result.unsure or unsure or false
end

-- ---- words -------------------------------------------------------------------------------------

local function new_word()
  return { parts = {}, literal = true, bare = true, open = false }
end

local function add(word, text)
  word.parts[#word.parts + 1] = text
end

-- From here on a part of the word is quoted.
local function quote(word)
  word.unquoted = word.unquoted or #table.concat(word.parts)
  word.bare = false
end

-- The text of a substitution is a command line of its own.
function Parser:substitution(from)
  self.pos = from
  if not self:list(true) then
    self:fail("a substitution is not closed", true)
  end
end

function Parser:backticks()
  local at = self.pos + 1
  while at <= #self.s and self.s:sub(at, at) ~= "`" do
    at = at + (self.s:sub(at, at) == "\\" and 2 or 1)
  end
  if at > #self.s then
    self:fail("a backtick is not closed", true)
  end
  M.parse_into(self.result, self.s:sub(self.pos + 1, at - 1):gsub("\\([$`\\\"])", "%1"),
    self.level + 1)
  self.pos = at + 1
end

-- $'...': its escapes are not decoded, so nobody knows what it says.
function Parser:ansi_quotes()
  local at = self.pos + 2
  while at <= #self.s and self.s:sub(at, at) ~= "'" do
    at = at + (self.s:sub(at, at) == "\\" and 2 or 1)
  end
  if at > #self.s then
    self:fail("a quote is not closed", true)
  end
  self.pos = at + 1
end

-- At a `$` or a backtick, outside single quotes.
function Parser:expansion(word, quoted)
  local from = self.pos
  local two = self.s:sub(from, from + 1)
  word.literal = false
  if two == "$(" then
    self:fail("it contains a substitution")
    self:substitution(from + 2)
  elseif two:sub(1, 1) == "`" then
    self:fail("it contains a substitution")
    self:backticks()
  elseif two == "$'" and not quoted then
    self:fail("it contains $'...'")
    self:ansi_quotes()
  else
    self:fail("it contains an expansion")
    self.pos = from + 1
  end
  add(word, self.s:sub(from, self.pos - 1))
end

-- In front of the opening quote; text inside single quotes is taken as it is.
function Parser:single_quotes(word)
  local stop = self.s:find("'", self.pos + 1, true)
  if not stop then
    self:fail("a quote is not closed", true)
  end
  stop = stop or #self.s + 1
  add(word, self.s:sub(self.pos + 1, stop - 1))
  self.pos = stop + 1
end

function Parser:double_quotes(word)
  self.pos = self.pos + 1
  add(word, "") -- "" is a word, too
  while self.pos <= #self.s do
    local c = self.s:sub(self.pos, self.pos)
    if c == '"' then
      self.pos = self.pos + 1
      return
    elseif c == "$" or c == "`" then
      self:expansion(word, true)
    elseif c == "\\" then
      local escaped = self.s:sub(self.pos + 1, self.pos + 1)
      if escaped ~= "\n" then
        add(word, escaped:find('[$`"\\]') and escaped or c .. escaped)
      end
      self.pos = self.pos + 2
    else
      local run = self.s:match('^[^"$`\\]+', self.pos)
      add(word, run)
      self.pos = self.pos + #run
    end
  end
  self:fail("a quote is not closed", true)
end

function Parser:escape(word)
  local escaped = self.s:sub(self.pos + 1, self.pos + 1)
  if escaped == "" then
    self:fail("it ends in a backslash", true)
    add(word, "\\")
  elseif escaped ~= "\n" then
    quote(word)
    add(word, escaped)
  end
  self.pos = self.pos + 2
end

-- Reads one word; nil when none stands here.
function Parser:word()
  local word = new_word()
  while self.pos <= #self.s do
    local c = self.s:sub(self.pos, self.pos)
    if c:find("[ \t\n;&|()<>]") then
      break
    elseif c == "\\" then
      self:escape(word)
    elseif c == "'" then
      quote(word)
      self:single_quotes(word)
    elseif c == '"' then
      quote(word)
      self:double_quotes(word)
    elseif c == "$" or c == "`" then
      self:expansion(word, false)
    else
      local run = self.s:match("^[^ \t\n;&|()<>\\'\"$`]+", self.pos)
      word.open = word.open or run:find("[*?%[{]") ~= nil
      add(word, run)
      self.pos = self.pos + #run
    end
  end
  if #word.parts > 0 then
    word.text, word.parts = table.concat(word.parts), nil
    word.open = word.open and word.text ~= "[" -- the command of that name
    return word
  end
end

-- ---- commands ----------------------------------------------------------------------------------

-- Words that stand in front of a command, and words of compound commands that are none themselves.
local IN_FRONT <const> = { ["!"] = true, ["{"] = true, ["then"] = true, ["do"] = true,
  ["else"] = true, ["elif"] = true, ["if"] = true, ["while"] = true, ["until"] = true,
  ["time"] = true, ["coproc"] = true }
local COMPOUND <const> = { ["}"] = true, ["fi"] = true, ["done"] = true, ["esac"] = true,
  ["for"] = true, ["case"] = true, ["select"] = true, ["function"] = true, ["[["] = true,
  ["]]"] = true, ["in"] = true }

-- Whether a word in front of a command sets a variable: up to the `=` nothing may be quoted, but
-- for a subscript.
local function is_assignment(word)
  local sign = select(2, word.text:find("^[%a_][%w_]*%+?="))
  return sign and sign <= (word.unquoted or sign) or word.text:find("^[%a_][%w_]*%[.*=") ~= nil
end

-- Takes what is in front of a simple command off it.
function Parser:strip(words)
  while words[1] do
    local first = words[1]
    if first.bare and (IN_FRONT[first.text] or COMPOUND[first.text]) then
      self:fail(("'%s' makes it a compound command"):format(first.text))
      if not IN_FRONT[first.text] then
        return
      end
    elseif is_assignment(first) then
      self:fail("it sets a variable")
    else
      return
    end
    table.remove(words, 1)
  end
end

function Parser:add_command(words)
  self:strip(words)
  local name = words[1]
  if not name then
    return
  elseif not name.literal then
    self:fail("the name of a command in it is an expansion", true)
  elseif not name.bare then
    self:fail("the name of a command in it is quoted")
  elseif name.open or name.text:find("^~") then
    self:fail("the name of a command in it is a pattern", true)
  end
  local commands = self.result.commands
  if #commands >= defaults.permission.max_commands then
    return self:fail(("it has more than %d commands (defaults.permission.max_commands)"):format(
      defaults.permission.max_commands), true)
  end
  commands[#commands + 1] = { words = words }
end

local WANTS_MORE <const> = { ["&&"] = true, ["||"] = true, ["|"] = true, ["|&"] = true }

-- A command is over: at an operator, or (nil) where the list ends.
function Parser:end_command(operator)
  local words, redirected = self.words, self.redirected
  self.words, self.redirected = {}, false
  if #words == 0 and not redirected then
    if operator and operator ~= "\n" then
      self:fail(("there is no command before '%s'"):format(operator))
    end
  else
    if #words == 0 then
      self:fail("it redirects without a command")
    else
      self:add_command(words)
    end
    self.wanted = WANTS_MORE[operator] and operator or nil
  end
  if not operator and self.wanted then
    self:fail(("there is no command behind '%s'"):format(self.wanted))
  end
end

function Parser:skip_blanks()
  while true do
    local stop = select(2, self.s:find("^[ \t]+", self.pos))
      or select(2, self.s:find("^\\\n", self.pos))
    if not stop then
      return
    end
    self.pos = stop + 1
  end
end

local REDIRECTIONS <const> = { "<<<", "<<%-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">", "&>>",
  "&>" }

function Parser:redirection()
  self.pos = self.pos + #self.s:match("^%d*", self.pos)
  if self.s:find("^[<>]%(", self.pos) then
    self:fail("it contains a process substitution")
    self.pos = self.pos + 1 -- on with the parenthesis
    return
  end
  local operator
  for _, pattern in ipairs(REDIRECTIONS) do
    operator = operator or self.s:match("^" .. pattern, self.pos)
  end
  self.pos = self.pos + #operator
  self.redirected = true
  self:skip_blanks()
  local target = self:word()
  if not target then
    self:fail("it redirects to nothing")
  elseif operator:find("^<<") then
    self:fail("it has a here-document")
  elseif operator:find("^[<>]&$") and target.text:find("^%d*%-?$") then
    return -- from one descriptor to another
  elseif target.text ~= "/dev/null" then
    self:fail(("it redirects '%s' a file"):format(operator))
  end
end

-- One step of a list, at something that is no blank. Returns true at the `)` that ends it.
function Parser:step(nested)
  local c = self.s:sub(self.pos, self.pos)
  if c == "#" then
    self.pos = self.s:find("\n", self.pos, true) or #self.s + 1
  elseif self.s:find("^%d*[<>]", self.pos) or self.s:find("^&>", self.pos) then
    self:redirection()
  elseif c == "(" then
    self:fail("it contains parentheses")
    self.depth = self.depth + 1
    self:end_command("\n")
    self.pos = self.pos + 1
  elseif c == ")" then
    self:end_command(nested and self.depth == 0 and nil or "\n")
    self.pos = self.pos + 1
    if nested and self.depth == 0 then
      return true
    end
    self:fail("it contains parentheses")
    self.depth = self.depth - 1
  elseif c:find("[;&|\n]") then
    local operator = self.s:match("^;;&", self.pos) or self.s:match("^;[;&]", self.pos)
      or self.s:match("^&&", self.pos) or self.s:match("^|[|&]", self.pos) or c
    if operator:find("^;.") then
      self:fail(("'%s' makes it a compound command"):format(operator))
    end
    self:end_command(operator)
    self.pos = self.pos + #operator
  else
    local word = self:word()
    self.words[#self.words + 1] = word
    if word and word.text:find("^{[%a_][%w_]*}$") and self.s:find("^[<>]", self.pos) then
      self:fail("it opens a descriptor")
    end
  end
end

--- Reads commands up to the end, or to the `)` of a substitution; then returns true.
function Parser:list(nested)
  local outer = { self.words, self.redirected, self.wanted, self.depth }
  self.words, self.redirected, self.wanted, self.depth = {}, false, nil, 0
  self.level = self.level + 1
  local closed = false
  if self.level > defaults.permission.max_depth then
    self:fail("it is nested too deeply (defaults.permission.max_depth)", true)
    self.pos = #self.s + 1
  end
  self:skip_blanks()
  while not closed and self.pos <= #self.s do
    closed = self:step(nested) or false
    if not closed then
      self:skip_blanks()
    end
  end
  if not closed then
    self:end_command(nil)
  end
  self.level = self.level - 1
  self.words, self.redirected, self.wanted, self.depth = table.unpack(outer, 1, 4)
  return closed
end

-- ---- the whole ---------------------------------------------------------------------------------

-- Characters that look like spaces or like nothing, or reorder what stands around them.
local HIDDEN <const> = { { 0x80, 0xA0 }, { 0xAD, 0xAD }, { 0x34F, 0x34F }, { 0x61C, 0x61C },
  { 0x115F, 0x1160 }, { 0x1680, 0x1680 }, { 0x17B4, 0x17B5 }, { 0x180B, 0x180F },
  { 0x2000, 0x200F }, { 0x2028, 0x202F }, { 0x205F, 0x206F }, { 0x2800, 0x2800 },
  { 0x3000, 0x3000 }, { 0x3164, 0x3164 }, { 0xFE00, 0xFE0F }, { 0xFEFF, 0xFEFF },
  { 0xFFA0, 0xFFA0 }, { 0xFFF0, 0xFFFB }, { 0xE0000, 0xE0FFF } }

--- Whether a character shows nothing, or something that it is not.
---@param code integer
---@return boolean
function M.is_hidden(code)
  for _, range in ipairs(HIDDEN) do
    if code >= range[1] and code <= range[2] then
      return true
    end
  end
  return false
end

-- What is wrong with the characters of a command line; nil when nothing is.
local function bad_characters(s)
  if s:find("[%z\1-\8\11-\31\127]") then
    return "it contains control characters"
  elseif not utf8.len(s) then
    return "it is not valid UTF-8"
  end
  for _, code in utf8.codes(s) do
    if code > 127 and M.is_hidden(code) then
      return ("it contains a character that cannot be seen (U+%04X)"):format(code)
    end
  end
end

--- As `parse`, into a result that is there already.
---@param result agenthost.ShellText
---@param text string
---@param level integer how deep the text stands inside others
function M.parse_into(result, text, level)
  local parser = setmetatable({ s = text, pos = 1, result = result, level = level, depth = 0 },
    Parser)
  local problem = bad_characters(text)
  if problem then
    parser:fail(problem, true)
  end
  parser:list(false)
end

--- Reads a command line.
---@param text string
---@return agenthost.ShellText
function M.parse(text)
  local result = { commands = {}, unsure = false }
  if #text > defaults.permission.max_command then
    result.problem = ("it is longer than %d bytes (defaults.permission.max_command)"):format(
      defaults.permission.max_command)
    result.unsure = true
    return result
  end
  M.parse_into(result, text, 0)
  if #result.commands == 0 then
    result.problem = result.problem or "there is no command in it"
  end
  return result
end

return M
