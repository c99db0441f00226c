--- The question whether a tool call may run, on a terminal.
---
--- It shows exactly what will run: characters that a terminal would obey or not show are written
--- out, every line of it has a bar in front, long lines are folded, so that nothing in it can pass
--- for text of ours. Only a line that is typed after the question was shown answers it.
local defaults = require("agenthost.defaults")
local shell_words = require("agenthost.shell_words")
local text = require("agenthost.text")

local M = {}

--- What `ask` needs of a terminal.
---@class agenthost.AskTerminal
---@field width integer columns
---@field say fun(line: string) prints a line
---@field read fun(prompt: string): string? waits for a line that is typed from now on; nil at the
---  end of the input

local BAR <const> = "│ "

local function written_out(code)
  return code < 256 and ("\\x%02x"):format(code) or ("\\u{%x}"):format(code)
end

--- A text in which everything shows: control characters, invalid bytes and characters that hide are
--- written out.
---@param s string
---@return string
function M.visible(s)
  local out, at = {}, 1
  while at <= #s do
    local run = s:match("^[\t\n -~]+", at)
    if run then
      out[#out + 1] = run
      at = at + #run
    else
      local stop = utf8.len(s, at, at) and utf8.offset(s, 2, at)
      local code = stop and utf8.codepoint(s, at) or s:byte(at)
      local shows = stop and code > 127 and not shell_words.is_hidden(code)
      stop = stop or at + 1
      out[#out + 1] = shows and s:sub(at, stop - 1) or written_out(code)
      at = stop
    end
  end
  return (text.clean(table.concat(out)))
end

-- Folds one line so that it fits.
local function fold(line, columns, lines)
  local from, used = 1, 0
  for at, code in utf8.codes(line) do
    local width = code == 9 and 8 or text.width(utf8.char(code))
    if used + width > columns and at > from then
      lines[#lines + 1] = BAR .. line:sub(from, at - 1)
      from, used = at, 0
    end
    used = used + width
  end
  lines[#lines + 1] = BAR .. line:sub(from)
end

-- A character that is written out is longer than it was.
local LONGEST <const> = 10

local function block(s, width, lines, max)
  local shown = text.preview(M.visible(s), { max = max })
  for line in (shown .. "\n"):gmatch("([^\n]*)\n") do
    fold(line, math.max(10, width - 3), lines)
  end
end

local ASKS <const> = {
  command = "run this command",
  edit = "change this file",
  read = "read this",
  input = "write this to a running command",
  unknown = "be called with this input",
}

local function choices(question)
  local parts = { question.all_edits and "y yes, and all edits in this workspace from now on"
    or "y yes, once" }
  if question.always and not question.all_edits then
    parts[#parts + 1] = "a always here: " .. M.visible(table.concat(question.always, ", "))
  end
  parts[#parts + 1] = "n no"
  parts[#parts + 1] = "r REASON no, and why"
  return table.concat(parts, " · ")
end

--- What is shown, line by line.
---@param question agenthost.Question
---@param width integer columns of the terminal
---@return string[]
function M.lines(question, width)
  local lines = { ("May %s %s?"):format(M.visible(question.tool), ASKS[question.kind]) }
  -- What runs is shown whole: what is longer is not asked for.
  block(question.text, width, lines, LONGEST * defaults.permission.shown)
  if question.detail then
    lines[#lines + 1] = BAR
    block(question.detail, width, lines, defaults.permission.shown)
  end
  if question.why then
    lines[#lines + 1] = "(" .. M.visible(question.why) .. ")"
  end
  lines[#lines + 1] = choices(question)
  return lines
end

local WORDS <const> = { y = "y", yes = "y", a = "a", always = "a", n = "n", no = "n", r = "r",
  reason = "r" }

--- What a typed line answers; nil when it is no answer.
---@param question agenthost.Question
---@param line string
---@return agenthost.Answer?
function M.read(question, line)
  local first, rest = line:match("^%s*(%a+)[%s,:]*(.-)%s*$")
  local word = first and WORDS[first:lower()]
  if word == "y" and rest == "" then
    return { allow = true }
  elseif word == "a" and rest == "" and (question.always or question.all_edits) then
    return { allow = true, always = true }
  elseif word == "n" or word == "r" and rest ~= "" then
    return { allow = false, reason = rest ~= "" and rest or nil }
  end
end

--- Asks until there is an answer. At the end of the input the answer is no.
---@param question agenthost.Question
---@param terminal agenthost.AskTerminal
---@return agenthost.Answer
function M.ask(question, terminal)
  for _, line in ipairs(M.lines(question, terminal.width)) do
    terminal.say(line)
  end
  while true do
    local line = terminal.read("y/n? ")
    if not line then
      return { allow = false, reason = "the terminal is gone" }
    end
    local answer = M.read(question, line)
    if not answer and WORDS[line:lower():match("^%s*(%a*)%s*$")] == "r" then
      local reason = terminal.read("reason: ")
      answer = { allow = false, reason = reason }
    end
    if answer then
      return answer
    end
    terminal.say(choices(question))
  end
end

return M
