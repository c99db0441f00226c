--- Splits a command line into its simple commands and their words, as bash would.
---
--- This is for permission rules, so it errs on one side: what it does not plainly understand
--- (expansions, redirections to files, compound commands, text that bash would refuse) it names in
--- `problem`, and an allow rule then does not count. It still goes on and collects every simple
--- command that it can find, inside substitutions and compound commands too: a deny rule looks at
--- all of them.
local defaults = require("agenthost.defaults")
local shell_here = require("agenthost.shell_here")
local shell_words = require("agenthost.shell_words")

---@class agenthost.ShellCommand
---@field words agenthost.ShellWord[] at least one; without assignments in front
---@field starts? integer each suffix of the words from the second up to this one may be a command

---@class agenthost.ShellText
---@field commands agenthost.ShellCommand[] every simple command that was found
---@field problem? string why it is not plainly understood; nil when it is
---@field unsure boolean some commands in it may not have been found
---@field inside integer bytes of texts inside it that were read as command lines

local M = {}

---@class agenthost.ShellParser: agenthost.ShellReader
local Parser = setmetatable({}, { __index = shell_words.methods })
Parser.__index = Parser

-- A text inside this one, with quotes of its own, that is run as commands.
function Parser:inner_text(text)
  M.parse_into(self.result, text, self.level + 1)
end

-- A here-document in which there are expansions.
function Parser:inner_quoted(text)
  M.new_parser(self.result, text, self.level + 1):quoted_text(shell_words.new_word())
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

-- Words behind which names and options may stand before the command.
local LOOSE <const> = { ["time"] = true, ["coproc"] = true }

-- Looks at what is in front of a simple command. Gives true when it cannot be said at which of the
-- words that are left the command begins, and which is the first of these.
function Parser:strip(words)
  local loose, at = false, 1
  while words[at] do
    local first = words[at]
    if first.bare and (IN_FRONT[first.text] or COMPOUND[first.text]) then
      self:fail(("'%s' makes it a compound command"):format(first.text))
      if not IN_FRONT[first.text] then
        return true, at
      end
      loose = loose or LOOSE[first.text]
    elseif is_assignment(first) then
      self:fail("it sets a variable")
    else
      break
    end
    at = at + 1
  end
  return loose, at
end

function Parser:add_command(words)
  local loose, first = self:strip(words)
  words = first > 1 and table.move(words, first, #words, 1, {}) or words
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
  commands[#commands + 1] = { words = words, starts = loose and #words or nil }
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

local REDIRECTIONS <const> = { "<<<", "<<%-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">", "&>>",
  "&>" }

function Parser:redirection()
  self.pos = self.pos + #self.s:match("^%d*", self.pos)
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
  elseif operator == "<<<" then
    self:fail("it has a here-string")
  elseif operator:find("^<<") then
    shell_here.note(self, operator, target)
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
    if self.depth > 0 then
      self:fail("it contains parentheses", true) -- in arithmetic it begins no comment
    end
    self.pos = self.s:find("\n", self.pos, true) or #self.s + 1
  elseif self.s:find("^%d*[<>]", self.pos) and not self.s:find("^%d*[<>]%(", self.pos)
    or self.s:find("^&>", self.pos) then
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
    if operator == "\n" and #self.here > 0 then
      shell_here.skip(self)
    end
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
  local outer = { self.words, self.redirected, self.wanted, self.depth, self.here }
  self.words, self.redirected, self.wanted, self.depth, self.here = {}, false, nil, 0, {}
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
  if #self.here > 0 then
    self:fail("a here-document has no end", true)
  end
  self.level = self.level - 1
  self.words, self.redirected, self.wanted, self.depth, self.here = table.unpack(outer, 1, 5)
  return closed
end

-- ---- the whole ---------------------------------------------------------------------------------

--- A parser of a text that is a part of another one.
---@param result agenthost.ShellText
---@param text string
---@param level integer how deep the text stands inside others
---@return agenthost.ShellParser
function M.new_parser(result, text, level)
  return setmetatable({ s = text, pos = 1, result = result, level = level, depth = 0 }, Parser)
end

--- As `parse`, into a result that is there already.
---@param result agenthost.ShellText
---@param text string
---@param level integer how deep the text stands inside others
function M.parse_into(result, text, level)
  local parser = M.new_parser(result, text, level)
  result.inside = result.inside + (level > 0 and #text or 0)
  if result.inside > defaults.permission.max_inside then
    return parser:fail(("commands inside it are longer than %d bytes "
      .. "(defaults.permission.max_inside)"):format(defaults.permission.max_inside), true)
  end
  local problem = shell_words.bad_characters(text)
  if problem then
    parser:fail(problem, true)
  end
  parser:list(false)
end

--- Reads a command line.
---@param text string
---@return agenthost.ShellText
function M.parse(text)
  local result = { commands = {}, unsure = false, inside = 0 }
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
