--- Notices that are no task's end (of plugins, monitors, tool calls in the background) stand in the
--- session file until a message holds them: a host that dies has not forgotten what it was to tell.
--- (The ends of tasks stand in the ledger.)
---
--- Entries: `notice` { notice }, which has a `key`; `dropped` { key }; and `call` { call, name } of
--- a call in the background that has begun, whose notice has `call`, too. The keys that a message
--- holds stand in its `told`.
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")

local M = {}

-- Before the conversation has begun there is nothing that could be resumed.
local function append(session, kind, fields)
  if session.header_written and not session.read_only then
    session:append(kind, fields)
  end
end

--- Writes down a notice. Raises when the file cannot be written, as the others do.
---@param session agenthost.Session
---@param notice table flat, as a queue takes it, with a `key` of its own
function M.note(session, notice)
  append(session, "notice", { notice = notice })
end

--- Nobody is to be told of it.
---@param session agenthost.Session
---@param notice table
function M.drop(session, notice)
  append(session, "dropped", { key = notice.key })
end

--- A call in the background begins.
---@param session agenthost.Session
---@param call { id: string, name: string }
function M.call(session, call)
  append(session, "call", { call = call.id, name = call.name })
end

-- ---- from a session file -----------------------------------------------------------------------

--- How resume reads these entries: see resume.readers.
---@type table<string, fun(restored: agenthost.Restored, entry: table)>
M.readers = {}

local FLAT <const> = { string = true, number = true, boolean = true }

local function is_flat(notice)
  if type(notice) ~= "table" or type(notice.key) ~= "string" or type(notice.kind) ~= "string"
    or notice.kind == "task" then
    return false
  end
  for _, value in pairs(notice) do
    if not FLAT[type(value)] then
      return false
    end
  end
  return true
end

function M.readers.notice(restored, entry)
  local notice = entry.notice
  if not is_flat(notice) then
    return
  end
  table.insert(restored.notices, notice)
  if notice.call then
    restored.calls[notice.call] = nil
  end
end

function M.readers.dropped(restored, entry)
  restored.told[entry.key or ""] = true
end

function M.readers.call(restored, entry)
  if type(entry.call) == "string" and type(entry.name) == "string" then
    restored.calls[entry.call] = entry.name
  end
end

-- Calls whose notice nobody will write any more.
local function close_calls(session, restored)
  local ids = {}
  for id in pairs(restored.calls) do
    ids[#ids + 1] = id
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    local text = "%s %s did not end: agenthost stopped while it ran, and what it did is not known"
    local notice = { kind = "call", call = id, key = sys.random_hex(4),
      text = text:format(id, restored.calls[id]) }
    M.note(session, notice)
    table.insert(restored.notices, notice)
  end
end

--- What earlier hosts were to tell and have not told, oldest first; no more than
--- defaults.session.notices of it.
---@param session agenthost.Session it can be written
---@param restored agenthost.Restored
---@return table[] notices
function M.left(session, restored)
  close_calls(session, restored)
  local left = {}
  for _, notice in ipairs(restored.notices) do
    if not restored.told[notice.key] then
      left[#left + 1] = notice
    end
  end
  local over = #left - defaults.session.notices
  if over > 0 then
    for i = 1, over do
      M.drop(session, left[i])
    end
    left = table.move(left, over + 1, #left, 2, { { kind = "session",
      text = ("%d older notices are left out (defaults.session.notices)"):format(over) } })
  end
  return left
end

return M
