--- A session as text to read: for `agenthost sessions show` and `export`, and what is shown of it
--- when it is resumed. A message is a table with `role` and `content`, a list of blocks.
local json = require("agenthost.json")
local text = require("agenthost.text")

local M = {}

local NAMES <const> = { user = "User", assistant = "Agent" }

-- The content of a tool_result as one text.
local function result_text(block)
  if type(block.content) == "string" then
    return block.content
  end
  local parts = {}
  for _, part in ipairs(block.content or {}) do
    parts[#parts + 1] = part.text or ("[%s]"):format(part.type)
  end
  return table.concat(parts, "\n")
end

-- A fence that nothing inside can close.
local function fenced(s)
  local longest = 2
  for ticks in s:gmatch("`+") do
    longest = math.max(longest, #ticks)
  end
  local fence = ("`"):rep(longest + 1)
  return fence .. "\n" .. s .. (s:find("\n$") and "" or "\n") .. fence
end

-- One function a type of block: its Markdown.
local markdown = {}

function markdown.text(block)
  return block.text
end

function markdown.thinking(block)
  return "> " .. (block.thinking or ""):gsub("\n", "\n> ")
end

function markdown.tool_use(block)
  return ("Calls `%s`:\n\n%s"):format(block.name, fenced(json.encode(block.input)))
end

function markdown.tool_result(block)
  local head = block.is_error and "Result (failed):" or "Result:"
  return head .. "\n\n" .. fenced(result_text(block))
end

local function block_markdown(block)
  local write = markdown[block.type]
  return text.clean(write and write(block) or ("[%s]"):format(tostring(block.type)))
end

--- A session as Markdown.
---@param info agenthost.SessionInfo
---@param messages table[]
---@return string
function M.markdown(info, messages)
  local head = "# Session %s\n\n%s · %s\n"
  head = text.clean(head:format(info.id, info.started or "", info.cwd or ""))
  local parts, last = { head }, nil
  for _, message in ipairs(messages) do
    if message.role ~= last then
      parts[#parts + 1] = ("\n## %s\n"):format(NAMES[message.role])
      last = message.role
    end
    for _, block in ipairs(message.content) do
      parts[#parts + 1] = "\n" .. block_markdown(block) .. "\n"
    end
  end
  return table.concat(parts)
end

-- One line, at most `columns` characters.
local function short(s, columns)
  s = text.clean(s):gsub("%s+", " "):match("^ ?(.-) ?$")
  return utf8.len(s) > columns and s:sub(1, utf8.offset(s, columns) - 1) .. "…" or s
end

local line_of = {}

function line_of.text(block)
  return block.text
end

function line_of.tool_use(block)
  return ("[%s %s]"):format(block.name, json.encode(block.input))
end

function line_of.tool_result(block)
  return ("[%s: %s]"):format(block.is_error and "failed" or "result", result_text(block))
end

--- The last messages in a line each.
---@param messages table[]
---@param count integer at most so many
---@param columns integer
---@return string[]
function M.recap(messages, count, columns)
  local lines = {}
  for i = math.max(1, #messages - count + 1), #messages do
    local parts = {}
    for _, block in ipairs(messages[i].content) do
      parts[#parts + 1] = line_of[block.type] and line_of[block.type](block)
    end
    local sign = messages[i].role == "user" and "> " or "  "
    lines[#lines + 1] = sign .. short(table.concat(parts, " "), columns - 2)
  end
  return lines
end

M.short = short

return M
