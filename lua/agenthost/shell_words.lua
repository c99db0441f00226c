--- The words of a command line, as bash reads them: quotes, escapes, substitutions. The lower half
--- of shell_commands.lua, which says what it is for.

---@class agenthost.ShellWord
---@field text string what bash makes of it, quotes removed; expansions stay as they are written
---@field literal boolean nothing in it is expanded
---@field bare boolean nothing in it is quoted
---@field unquoted? integer bytes of the text in front of the first quote, where there is one
---@field open boolean a glob or braces stand in it: bash may make other words of it

--- Where a reader is. What it reads commands with is shell_commands.lua.
---@class agenthost.ShellReader
---@field s string
---@field pos integer
---@field words agenthost.ShellWord[] of the command that is read
---@field depth integer parentheses that are open in this list
---@field here table[] here-documents that begin with the next line
---@field result agenthost.ShellText
---@field brace_end? integer the first `}` or quote behind the last `${`
---@field endless? boolean a here-document has no end
local Reader = {}

local M = { methods = Reader }

-- Notes why the text is not plain; the first reason counts.
function Reader:fail(why, unsure)
  self.result.problem = self.result.problem or why
  self.result.unsure = self.result.unsure or unsure or false
end

function M.new_word()
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
function Reader:substitution(from)
  self.pos = from
  if not self:list(true) then
    self:fail("a substitution is not closed", true)
  end
end

function Reader:backticks()
  local at = self.pos + 1
  while at <= #self.s and self.s:sub(at, at) ~= "`" do
    at = at + (self.s:sub(at, at) == "\\" and 2 or 1)
  end
  if at > #self.s then
    self:fail("a backtick is not closed", true)
  end
  self:inner_text((self.s:sub(self.pos + 1, at - 1):gsub("\\([$`\\\"])", "%1")))
  self.pos = at + 1
end

-- $'...': its escapes are not decoded, so nobody knows what it says.
function Reader:ansi_quotes()
  local at = self.pos + 2
  while at <= #self.s and self.s:sub(at, at) ~= "'" do
    at = at + (self.s:sub(at, at) == "\\" and 2 or 1)
  end
  if at > #self.s then
    self:fail("a quote is not closed", true)
  end
  self.pos = at + 1
end

-- Whether a quote stands between here and the next `}`. What is found is kept: many `${` would each
-- look through all the rest.
function Reader:quote_in_braces(from)
  if not self.brace_end or self.brace_end < from then
    self.brace_end = self.s:find("[}'\"]", from) or #self.s + 1
  end
  return self.s:find("^['\"]", self.brace_end) ~= nil
end

-- At a `$` or a backtick, outside single quotes.
function Reader:expansion(word, quoted)
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
    -- Quotes inside ${...} have rules of their own; a line break may hide what `$` belongs to.
    local unsure = two == "${" and self:quote_in_braces(from) or self.s:find("^%$\\\n", from)
    self:fail("it contains an expansion", unsure and true)
    self.pos = from + 1
  end
  add(word, self.s:sub(from, self.pos - 1))
end

-- <(...) and >(...), which are parts of a word.
function Reader:process_substitution(word)
  local from = self.pos
  word.literal = false
  self:fail("it contains a process substitution")
  self:substitution(from + 2)
  add(word, self.s:sub(from, self.pos - 1))
end

-- In front of the opening quote; text inside single quotes is taken as it is.
function Reader:single_quotes(word)
  local stop = self.s:find("'", self.pos + 1, true)
  if not stop then
    self:fail("a quote is not closed", true)
  end
  stop = stop or #self.s + 1
  add(word, self.s:sub(self.pos + 1, stop - 1))
  self.pos = stop + 1
end

-- Text as between double quotes: up to the closing one, or (in a here-document) to the end. Gives
-- true when there was a closing one.
function Reader:quoted_text(word, closing)
  while self.pos <= #self.s do
    local c = self.s:sub(self.pos, self.pos)
    if c == closing then
      self.pos = self.pos + 1
      return true
    elseif c == "$" or c == "`" then
      self:expansion(word, true)
    elseif c == "\\" then
      local escaped = self.s:sub(self.pos + 1, self.pos + 1)
      if escaped ~= "\n" then
        add(word, escaped:find('[$`"\\]') and escaped or c .. escaped)
      end
      self.pos = self.pos + 2
    else
      local run = self.s:match('^[^"$`\\]+', self.pos) or c
      add(word, run)
      self.pos = self.pos + #run
    end
  end
  return false
end

function Reader:double_quotes(word)
  self.pos = self.pos + 1
  add(word, "") -- "" is a word, too
  if not self:quoted_text(word, '"') then
    self:fail("a quote is not closed", true)
  end
end

function Reader:escape(word)
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
function Reader:word()
  local word = M.new_word()
  while self.pos <= #self.s do
    local c = self.s:sub(self.pos, self.pos)
    if self.s:find("^[<>]%(", self.pos) then
      self:process_substitution(word)
    elseif c:find("[ \t\n;&|()<>]") then
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

function Reader:skip_blanks()
  while true do
    local stop = select(2, self.s:find("^[ \t]+", self.pos))
      or select(2, self.s:find("^\\\n", self.pos))
    if not stop then
      return
    end
    self.pos = stop + 1
  end
end

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

--- What is wrong with the characters of a command line; nil when nothing is.
---@param s string
---@return string?
function M.bad_characters(s)
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

return M
