--- From a session on disk to a conversation that can go on.
---
--- The blocks of messages are taken from the file as they stand there, byte for byte: a prompt
--- cache finds them again, and a server that has signed some of them accepts them. What a crash or
--- a damaged line has left open is closed, so that the next request is valid: the same file gives
--- the same messages each time.
local compaction = require("agenthost.compaction")
local conversation = require("agenthost.conversation")
local earlier = require("agenthost.earlier")
local json = require("agenthost.json")
local kept_notices = require("agenthost.kept")
local session = require("agenthost.session")

local M = {}

--- The result of a tool call that has none.
M.INTERRUPTED = "Error: interrupted; the host stopped before the result was known."

local UNREADABLE <const> = "[What was said here could not be read from the session file.]"

---@class agenthost.Restored
---@field pieces agenthost.Piece[] a valid conversation
---@field told table<string, boolean> ids of tasks whose end one of the messages holds, and keys of
---  other notices
---@field notices table[] those that are no task's end; see kept.lua
---@field calls table<string, string> names of tools whose calls in the background have not ended
---@field open_results? table[] results that have to follow the last message
---@field notes string[] lines for people: what could not be taken over
---@field unreadable? integer messages that are none

-- A piece while it is looked at has in addition `content` (its blocks, decoded) and `after_gap`; a
-- reader may leave them out.

-- What each type of block needs, so that a provider can send it; of others nobody knows.
local needs = {}

function needs.text(block)
  return type(block.text) == "string"
end

function needs.tool_use(block)
  return type(block.id) == "string" and type(block.name) == "string"
    and type(block.input) == "table"
end

function needs.tool_result(block)
  local content = block.content
  if type(block.tool_use_id) ~= "string" or content ~= nil and type(content) ~= "string"
    and not json.is_array(content) then
    return false
  end
  for _, part in ipairs(type(content) == "table" and content or {}) do
    if type(part) ~= "table" or part.type == "text" and type(part.text) ~= "string" then
      return false
    end
  end
  return true
end

--- Whether a value is a message as agenthost writes them.
---@param message any
---@return boolean
function M.is_message(message)
  if type(message) ~= "table" or message.role ~= "user" and message.role ~= "assistant"
    or not json.is_array(message.content) then
    return false
  end
  for _, block in ipairs(message.content) do
    local need = type(block) == "table" and needs[block.type]
    if type(block) ~= "table" or need and not need(block) then
      return false
    end
  end
  return #message.content > 0
end

--- What an entry means for the conversation, by its type: (restored, entry, its line, after_gap).
--- What is not here is passed over. One that stands for what was said before it (a summary) puts
--- other pieces into `restored.pieces`.
---@type table<string, fun(restored: agenthost.Restored, entry: table, line: string, gap?: boolean)>
M.readers = { notice = kept_notices.readers.notice, dropped = kept_notices.readers.dropped,
  call = kept_notices.readers.call }

function M.readers.message(restored, entry, line, after_gap)
  if not M.is_message(entry.message) then
    restored.unreadable = (restored.unreadable or 0) + 1
    return
  end
  local role, content = entry.message.role, entry.message.content
  restored.pieces[#restored.pieces + 1] = {
    role = role,
    blocks = json.slice(line, "message", "content"):sub(2, -2),
    content = content,
    after_gap = after_gap,
  }
  for _, id in ipairs(type(entry.told) == "table" and entry.told or {}) do
    restored.told[id] = true
  end
end

function M.readers.compaction(restored, entry)
  M.repair(restored)
  local pieces, message = compaction.apply(restored.pieces, entry)
  if pieces then
    restored.pieces = pieces
  else
    restored.notes[#restored.notes + 1] = message
  end
end

-- Pieces of one role that follow each other. Two replies with a lost line between are two.
local function runs_of(pieces)
  local runs = {}
  for _, piece in ipairs(pieces) do
    piece.content = piece.content or json.decode("[" .. piece.blocks .. "]")
    local run = runs[#runs]
    local lost_between = piece.after_gap and piece.role == "assistant"
    if not run or run.role ~= piece.role or lost_between then
      run = { role = piece.role }
      runs[#runs + 1] = run
    end
    run[#run + 1] = piece
  end
  return runs
end

local function encode_piece(role, blocks)
  local parts = {}
  for i, block in ipairs(blocks) do
    parts[i] = json.encode(block)
  end
  return { role = role, blocks = table.concat(parts, ",") }
end

-- The ids of the tool calls of a run, in order.
local function calls_of(run)
  local calls = {}
  for _, piece in ipairs(run) do
    for _, block in ipairs(piece.content) do
      if block.type == "tool_use" and type(block.id) == "string" then
        calls[#calls + 1] = block.id
      end
    end
  end
  return calls
end

-- The blocks of a piece for which `keep` gives true, as they stand there; nil when none is left.
local function filter(piece, keep)
  local kept = {}
  for i, block in ipairs(piece.content) do
    if keep(block) then
      kept[#kept + 1] = json.slice("[" .. piece.blocks .. "]", i)
    end
  end
  if #kept == #piece.content then
    return piece
  end
  return #kept > 0 and { role = piece.role, blocks = table.concat(kept, ",") } or nil
end

-- Takes out of what the user said results that answer nothing, answer twice, or stand behind other
-- blocks. Returns the pieces, and the results that are missing.
local function match_results(run, calls)
  local open, first = {}, true
  for _, id in ipairs(calls) do
    open[id] = true
  end
  local kept = {}
  for _, piece in ipairs(run) do
    kept[#kept + 1] = filter(piece, function(block)
      if block.type ~= "tool_result" then
        first = false
        return true
      end
      local id = block.tool_use_id
      local answers = first and id ~= nil and open[id]
      if answers then
        open[id] = nil
      end
      return answers
    end)
  end
  local missing = {}
  for _, id in ipairs(calls) do
    if open[id] then
      missing[#missing + 1] = { type = "tool_result", tool_use_id = id, content = M.INTERRUPTED,
        is_error = true }
    end
  end
  return kept, missing
end

local function add_all(pieces, more)
  for _, piece in ipairs(more) do
    piece.content, piece.after_gap = nil, nil
    pieces[#pieces + 1] = piece
  end
end

--- Makes the pieces a valid conversation: it begins with the user, roles alternate, each tool call
--- has one result at the start of the next message. A reader that counts pieces calls it first, for
--- the host that wrote its entry counted those. Doing it again changes nothing.
---@param restored agenthost.Restored
function M.repair(restored)
  local runs, pieces, calls = runs_of(restored.pieces), {}, {}
  local function add_missing(missing)
    if #missing > 0 then
      pieces[#pieces + 1] = encode_piece("user", missing)
    end
  end
  for _, run in ipairs(runs) do
    if run.role == "user" then
      local kept, missing = match_results(run, calls)
      calls = {}
      add_missing(missing)
      add_all(pieces, kept)
    else
      local _, missing = match_results({}, calls)
      add_missing(missing)
      local last = pieces[#pieces]
      if not last or last.role == "assistant" then
        pieces[#pieces + 1] = encode_piece("user", { { type = "text", text = UNREADABLE } })
      end
      calls = calls_of(run)
      add_all(pieces, run)
    end
  end
  local _, missing = match_results({}, calls)
  restored.pieces, restored.open_results = pieces, #missing > 0 and missing or nil
end

--- The conversation that a session file holds.
---@param records agenthost.SessionRecord[]
---@return agenthost.Restored
function M.restore(records)
  local restored = { pieces = {}, told = {}, notices = {}, calls = {}, notes = {} }
  local gap
  for _, record in ipairs(records) do
    gap = gap or record.after_gap
    local reader = M.readers[record.entry.type]
    if reader then
      reader(restored, record.entry, record.line, gap)
      gap = nil
    end
  end
  M.repair(restored)
  if restored.unreadable then
    local one = restored.unreadable == 1
    restored.notes[#restored.notes + 1] = ("session: %d message%s of its file %s that can be sent, "
      .. "and %s passed over"):format(restored.unreadable, one and "" or "s",
      one and "is none" or "are none", one and "was" or "were")
  end
  return restored
end

-- What the user is told about the tasks.
local function note_tasks(agent)
  for _, task in ipairs(agent.earlier:running()) do
    agent.session.notes[#agent.session.notes + 1] = ("still running: task %s %s"):format(task.id,
      task.command)
  end
end

--- Lets an agent go on with a session: fills in its `session`, `conversation`, `usage` and
--- `earlier`. Needs its `queue` and its `usage`.
---@param agent agenthost.AgentBase
---@param id string
---@param on_append fun(piece: agenthost.Piece, json: string)
function M.into(agent, id, on_append)
  local opened, records = session.open(id)
  if not opened then
    error(records, 0)
  end
  agent.session = opened -- whatever goes wrong from here on: the agent closes it
  local restored = M.restore(records)
  table.move(restored.notes, 1, #restored.notes, #opened.notes + 1, opened.notes)
  agent.conversation = conversation.new(on_append, restored.pieces)
  agent.usage:replay(records)
  if opened.read_only then
    return
  end
  agent.earlier = earlier.new(opened.dir, agent.queue, restored.told)
  if restored.open_results then
    agent.conversation:append("user", restored.open_results)
    agent.earlier.interrupted = true
  end
  agent.earlier.notices = kept_notices.left(opened, restored)
  agent.earlier:watch()
  note_tasks(agent)
end

return M
