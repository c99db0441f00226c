--- `agenthost sessions`, and the choice of the session to go on with.
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local resume = require("agenthost.resume")
local session = require("agenthost.session")
local sessions = require("agenthost.sessions")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local transcript = require("agenthost.ui.transcript")

local M = {}

local USAGE <const> = [[
agenthost sessions [--all] [--json]       list sessions, newest first; --all: without a bound
agenthost sessions show ID                print what was said
agenthost sessions export ID --format F   all of it as markdown or json
ID may be the end of an id. To go on with one: agenthost --resume ID
]]

local function usage(format, ...)
  error({ usage = format:format(...) }, 0)
end

local function print_text(s)
  return sys.write_fd(1, s) and 0 or 1
end

-- ---- the command -------------------------------------------------------------------------------

--- One session as a line for people.
---@param info agenthost.SessionInfo
---@param columns integer how wide it may be
---@return string
function M.line(info, columns)
  local head = ("%s  %s  %4d messages  "):format(info.id, os.date("%Y-%m-%d %H:%M",
    math.floor(info.used)), info.messages)
  local room = math.max(24, columns - #head)
  local where = text.clean(info.cwd or "")
  local skipped = utf8.len(where) - room // 3
  if skipped > 0 then -- its end says more
    where = "…" .. where:sub(utf8.offset(where, skipped + 2))
  end
  return head .. where .. "  "
    .. transcript.short(info.first or "(nothing was said)", room - utf8.len(where) - 2)
end

local function list(all, as_json)
  local found, more = sessions.list({ limit = all and math.huge or nil })
  if as_json then
    return print_text(json.encode(json.array(found)) .. "\n")
  end
  local columns = sys.isatty(1) and sys.terminal_size(1) or 200
  for _, info in ipairs(found) do
    if print_text(M.line(info, columns) .. "\n") ~= 0 then
      return 1
    end
  end
  if #found == 0 then
    sys.write_fd(2, "no sessions\n")
  elseif more then
    sys.write_fd(2, ("the newest %d; --all lists all\n"):format(#found))
  end
  return 0
end

-- What a session file holds: its header, its messages as they were said, and its id.
local function load(name)
  local id = sessions.find(name) or usage("%s", (select(2, sessions.find(name))))
  local path = session.base_dir() .. "/" .. id .. "/session.jsonl"
  local content, message = sys.read_file(path, defaults.session.max_bytes)
  if not content then
    error({ message = message }, 0)
  end
  local records, damaged = session.parse(content)
  if #damaged > 0 then
    sys.write_fd(2, ("agenthost: %d lines of %s could not be read\n"):format(#damaged, path))
  end
  local header = records[1] and records[1].entry or {}
  return { id = id, cwd = header.cwd, started = header.timestamp }, records
end

local function messages_of(records)
  local messages = {}
  for _, record in ipairs(records) do
    if resume.is_message(record.entry.message) then
      messages[#messages + 1] = record.entry.message
    end
  end
  return messages
end

local exports = {}

function exports.markdown(info, records)
  return transcript.markdown(info, messages_of(records))
end

function exports.json(info, records)
  local messages = json.array()
  for _, record in ipairs(records) do
    if resume.is_message(record.entry.message) then
      messages[#messages + 1] = json.raw(json.slice(record.line, "message"))
    end
  end
  info.messages = messages
  return json.encode(info) .. "\n"
end

local function export(name, format)
  local write = exports[format]
    or usage("--format: expected markdown or json, got '%s'", tostring(format))
  return print_text(write(load(name)))
end

--- Runs the command. Returns the exit code.
---@param words string[] what stands behind "sessions"
---@return integer
function M.run(words)
  local given = {}
  local i = 1
  while i <= #words do
    local word = words[i]
    if word == "--all" or word == "--json" then
      given[word] = true
    elseif word == "--format" or word:find("^%-%-format=") then
      i = word == "--format" and i + 1 or i
      given.format = word:match("=(.*)$") or words[i] or ""
    elseif word == "--help" or word == "-h" then
      sys.write_fd(1, USAGE)
      return 0
    elseif word:sub(1, 1) == "-" then
      sys.write_fd(2, USAGE)
      return 2
    else
      given[#given + 1] = word
    end
    i = i + 1
  end
  local verb, name = given[1], given[2]
  if verb == "show" and name and not given[3] then
    return export(name, "markdown")
  elseif verb == "export" and name and not given[3] then
    return export(name, given.format or "markdown")
  elseif verb == nil then
    return list(given["--all"], given["--json"])
  end
  sys.write_fd(2, USAGE)
  return 2
end

-- ---- choosing ----------------------------------------------------------------------------------

-- Asks on the terminal which session to go on with.
local function pick()
  local found = sessions.list({ limit = 20 })
  if #found == 0 then
    usage("--resume: there are no sessions yet")
  end
  for i, info in ipairs(found) do
    sys.write_fd(1, ("%3d  %s\n"):format(i, M.line(info, (sys.terminal_size(1) or 80) - 5)))
  end
  while true do
    sys.write_fd(1, "Which one (a number; Enter for 1, q to leave)? ")
    local answer = io.read("l")
    if not answer or answer:match("^%s*q") then
      return nil
    end
    local number = answer:find("%S") and tonumber(answer) or not answer:find("%S") and 1
    if found[number] then
      return found[number].id
    end
  end
end

--- The session that the command line asks for.
---@param asked { continue?: boolean, resume?: string|boolean, print?: boolean }
---@return string? id nil: a new one
---@return boolean? left the user does not want any
function M.choose(asked)
  if asked.continue and asked.resume then
    usage("--continue and --resume exclude each other")
  elseif asked.continue then
    local id = sessions.latest(sys.cwd())
    if not id then
      sys.write_fd(2, "agenthost: there is no session of this directory yet; this is a new one\n")
    end
    return id
  elseif type(asked.resume) == "string" then
    local id, message = sessions.find(asked.resume)
    return id or usage("--resume: %s", message)
  elseif asked.resume then
    if asked.print or not sys.isatty(0) or not sys.isatty(1) then
      usage("--resume needs the id of a session here (agenthost sessions lists them)")
    end
    local id = pick()
    return id, id == nil
  end
end

--- Goes to the directory in which a session worked.
---@param id string
function M.enter(id)
  local cwd = sessions.cwd(id)
  if cwd and cwd ~= sys.cwd() then
    local ok, message = sys.chdir(cwd)
    local line = ok and ("agenthost: working in %s, as this session did"):format(cwd)
      or ("agenthost: this session worked in %s (%s); working here"):format(cwd, message)
    sys.write_fd(2, transcript.short(line, 1000) .. "\n")
  end
end

--- Lines that tell a user who resumes a session where he is.
---@param agent agenthost.Agent
---@param columns integer
---@return string[]
function M.recap(agent, columns)
  local pieces = agent.conversation.pieces
  local messages = {}
  for i = math.max(1, #pieces - defaults.session.recap + 1), #pieces do
    messages[#messages + 1] = { role = pieces[i].role,
      content = json.decode("[" .. pieces[i].blocks .. "]") }
  end
  local lines = transcript.recap(messages, defaults.session.recap, columns)
  if #pieces > #messages then
    table.insert(lines, 1, ("(session %s; %d earlier messages)"):format(agent.session.id,
      #pieces - #messages))
  end
  for _, note in ipairs(agent.session.notes) do
    lines[#lines + 1] = transcript.short(note, 200)
  end
  lines[#lines + 1] = agent.session.read_only
  return lines
end

return M
