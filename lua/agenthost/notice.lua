--- How notices become text in the conversation.
---
--- What a command printed is escaped and indented, so that it can neither close the frame nor look
--- like an entry of its own; ids, states and codes come from the core.
local defaults = require("agenthost.defaults")
local output = require("agenthost.output")
local task = require("agenthost.task")
local text = require("agenthost.text")

local M = {}

local FRAME = "(An automated event of the task runner, not a message from the user.)"

-- Escaped, and every line after the first indented: only the core starts a line with "[". Unicode
-- has line breaks of its own.
local function quote(s)
  return (text.escape(s):gsub("\u{2028}", "\n"):gsub("\u{2029}", "\n"):gsub("\n", "\n  "))
end

local function one_line(s)
  return quote((text.clean(s):gsub("%s+", " ")))
end

--- The lines for one ended task.
---@param notice table of kind "task"
---@return string
function M.task_entry(notice)
  local ended = notice.source or task.get(notice.task)
  local tail = { max = defaults.text.notice, tail_only = true }
  local printed = ended and output.text(ended, tail) or ""
  printed = printed:gsub("%s+$", "")
  if printed == "" then
    printed = notice.status == "error" and (notice.reason or "") or "(no output)"
  end
  return ("[bg:%s] %s: %s\n  command: %s\n  %s; output file: %s (%d bytes)"):format(
    notice.task, notice.status, quote(printed), one_line(notice.command),
    one_line(output.ending(notice)),
    notice.output, notice.bytes)
end

--- The lines for a notice of any other kind: its text.
---@param notice table
---@return string
function M.other_entry(notice)
  return ("[%s] %s"):format(one_line(notice.kind), quote((text.clean(tostring(notice.text or "")))))
end

--- The lines for a notice whose text a plugin has replaced; what it is about is the core's word.
---@param notice table with `instead`
---@return string
function M.replaced_entry(notice)
  local head = notice.kind == "task" and ("[bg:%s] %s:"):format(notice.task, notice.status)
    or ("[%s]"):format(one_line(notice.kind))
  return head .. " " .. quote((text.clean(notice.instead)))
end

--- The text that is put into the last user message, for all notices of one drain.
---@param notices table[] at least one
---@return string
function M.text(notices)
  local lines = { "<background-results>" }
  for _, notice in ipairs(notices) do
    lines[#lines + 1] = notice.instead and M.replaced_entry(notice)
      or notice.kind == "task" and M.task_entry(notice) or M.other_entry(notice)
  end
  lines[#lines + 1] = FRAME
  lines[#lines + 1] = "</background-results>"
  return table.concat(lines, "\n")
end

return M
