--- The older part of a conversation as a summary, written by the model.
local cut = require("agenthost.compaction.cut")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local prompt = require("agenthost.prompt")
local text = require("agenthost.text")

local M = {}

local TAG <const> = "conversation-summary"

local function preview(s, max)
  return text.preview(text.clean(s), { max = max })
end

local function one_line(s)
  return (preview(s, 200):gsub("%s+", " "))
end

-- ---- what the model is asked --------------------------------------------------------------------

local lines = {}

function lines.text(block, role)
  return (role == "user" and "USER: " or "AGENT: ") .. block.text
end

function lines.tool_use(block)
  return ("AGENT CALLS %s: %s"):format(block.name,
    preview(json.encode(block.input), defaults.compaction.transcript_call))
end

function lines.tool_result(block)
  local content = block.content
  if type(content) ~= "string" then
    content = json.encode(content or "")
  end
  return (block.is_error and "RESULT (an error): " or "RESULT: ")
    .. preview(content, defaults.compaction.transcript_result)
end

function lines.thinking() end
lines.redacted_thinking = lines.thinking

-- Nothing in a text can look like the tag that ends it.
local function inside(tag, s)
  return (s:gsub("</(" .. tag .. ")", "<\\/%1"))
end

--- Pieces as text for the one who sums them up. Only what begins a line is the host's word.
---@param pieces agenthost.Piece[]
---@param last integer the last of them
---@param max_bytes integer then the middle is left out
---@return string
function M.transcript(pieces, last, max_bytes)
  local out = {}
  for at = 1, last do
    for _, block in ipairs(json.decode("[" .. pieces[at].blocks .. "]")) do
      local line = lines[block.type]
      local shown = ("[%s]"):format(tostring(block.type))
      if line then
        shown = line(block, pieces[at].role)
      end
      out[#out + 1] = shown and shown:gsub("\n", "\n  ")
    end
  end
  local whole = inside("conversation", table.concat(out, "\n\n"))
  if #whole <= max_bytes then
    return whole
  end
  local chars = utf8.len(whole) or #whole
  return text.preview(whole, { max = math.max(1, chars * max_bytes // #whole), head = 0.3 })
end

local function request_for(transcript, focus, max_tokens)
  local parts = { "<conversation>", transcript, "</conversation>", "" }
  if focus and focus:find("%S") then
    parts[#parts + 1] = "The user asks that this above all is kept: " .. focus
  end
  parts[#parts + 1] = "Write the summary now."
  local block = { type = "text", text = table.concat(parts, "\n") }
  local piece = { role = "user", blocks = json.encode(block) }
  return {
    system = prompt.read("compact.md"),
    pieces = { piece },
    messages_json = function() return '[{"role":"user","content":[' .. piece.blocks .. "]}]" end,
    messages = function() return { { role = "user", content = { block } } } end,
    max_tokens = max_tokens,
  }
end

--- Asks the model for a summary of pieces[1] .. pieces[last]. A prompt that is too long itself is
--- tried again with half as much.
---@param agent agenthost.Agent
---@param pieces agenthost.Piece[]
---@param last integer
---@param opts { focus?: string, max_bytes: integer, max_tokens: integer }
---@return string? summary nil, message, code
---@return string? message
---@return string? code
function M.ask(agent, pieces, last, opts)
  local max_bytes = opts.max_bytes
  local reply, message, code
  for _ = 1, defaults.compaction.summary_tries do
    local transcript = M.transcript(pieces, last, max_bytes)
    reply, message, code = agent:call_beside(request_for(transcript, opts.focus, opts.max_tokens))
    if reply or code ~= "TOO_LONG" then
      break
    end
    max_bytes = math.min(max_bytes, #transcript) // 2
  end
  if not reply then
    return nil, message, code
  end
  local texts = {}
  for _, block in ipairs(reply.content) do
    texts[#texts + 1] = block.type == "text" and block.text or nil
  end
  local summary = preview(table.concat(texts, "\n"), 8 * opts.max_tokens):match("^%s*(.-)%s*$")
  if summary == "" then
    return nil, "the summary is empty", "EMPTY"
  end
  return summary
end

-- ---- what comes in place of the older part ------------------------------------------------------

--- The tasks of an agent that have not ended, as lines. (Notices tell the ends of the others.)
---@param agent agenthost.Agent
---@return string[]
function M.tasks(agent)
  local shown = {}
  for _, task in ipairs(agent:list_tasks()) do
    local status, state = task:status()
    if not state.ended then
      shown[#shown + 1] = ("[bg:%s] %s for %.0f s: %s; output file: %s"):format(task.id, status,
        state.seconds or 0, one_line(task.command), task.output_path)
    end
  end
  return shown
end

--- Whether a piece is a summary of an earlier time.
---@param piece agenthost.Piece
---@return boolean
function M.is_lead(piece)
  return piece.role == "user" and piece.blocks:find('{"text":"<' .. TAG .. ">", 1, true) == 1
end

--- The messages that come in place of pieces[1] .. pieces[last]: the summary with the tasks and,
--- where nothing behind it is from the user, the last thing that the user has asked for.
---@param agent agenthost.Agent
---@param pieces agenthost.Piece[]
---@param last integer
---@param summary string
---@return table[] messages
function M.lead(agent, pieces, last, summary)
  local tasks = M.tasks(agent)
  local parts = {
    "(The conversation became too long. The host has put this summary in place of its older part;",
    ("the whole of it is in %s/session.jsonl.)"):format(agent.session.dir),
    "",
    summary,
  }
  if #tasks > 0 then
    parts[#parts + 1] = "\nBackground tasks that were not done at this time:"
    table.move(tasks, 1, #tasks, #parts + 1, parts)
  end
  local body = inside("conversation%-summary", table.concat(parts, "\n"))
  local function message(s)
    return { role = "user", content = { { type = "text", text = s } } }
  end
  local messages = { message(("<%s>\n%s\n</%s>"):format(TAG, body, TAG)) }
  local request = not cut.last_request(pieces, last + 1, #pieces)
    and cut.last_request(pieces, 1, last)
  if request then
    local texts = {}
    for _, block in ipairs(json.decode("[" .. pieces[request].blocks .. "]")) do
      texts[#texts + 1] = block.type == "text" and block.text or ("[%s]"):format(block.type)
    end
    messages[2] = message(preview(table.concat(texts, "\n"), defaults.compaction.request))
  end
  return messages
end

return M
