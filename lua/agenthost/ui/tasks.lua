--- `agenthost tasks`: the tasks of this user's sessions, from their ledgers; from any terminal.
local async = require("agenthost.async")
local json = require("agenthost.json")
local kill_request = require("agenthost.kill_request")
local ledger = require("agenthost.ledger")
local session = require("agenthost.session")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local NOTING <const> = 0.2 -- seconds from the end of a process until it surely is in the ledger
local TAKING <const> = 3 -- seconds that a supervisor may take to hear of a request
local GRACE <const> = 5 -- seconds between TERM and KILL

local USAGE = [[
agenthost tasks [--session ID] [--json]   list tasks, running ones last
agenthost tasks kill ID                   end a task: TERM to its processes, 5 s, KILL
agenthost tasks tail [-f] ID              print what it has printed; -f: until it ends
]]

local function fail(format, ...)
  sys.write_fd(2, "agenthost: " .. format:format(...) .. "\n")
  return 1
end

local function print_line(line)
  return sys.write_fd(1, line .. "\n")
end

local function is_gone(task)
  return task.status == "running" and not ledger.is_alive(task)
end

local function read_session(name)
  local tasks = ledger.read(session.base_dir() .. "/" .. name .. "/tasks.jsonl") or {}
  local gone = false
  for _, task in ipairs(tasks) do
    task.session = name
    gone = gone or is_gone(task)
  end
  return tasks, gone
end

-- What the ledger cannot say when nobody was left to write it down.
local function settle(tasks)
  for _, task in ipairs(tasks) do
    if is_gone(task) then
      task.status, task.reason = "lost", "its process is gone, and nobody noted its end"
    end
  end
end

-- The tasks of one session or of all, oldest session first.
local function load_tasks(only_session)
  local sessions, doubtful = {}, {}
  for _, entry in ipairs(sys.list(session.base_dir()) or {}) do
    if not only_session or entry.name == only_session then
      local tasks, gone = read_session(entry.name)
      sessions[#sessions + 1] = tasks
      if gone then
        doubtful[#sessions] = entry.name
      end
    end
  end
  if next(doubtful) then
    async.sleep(NOTING) -- perhaps they have just ended
    for i, name in pairs(doubtful) do
      sessions[i] = read_session(name)
      settle(sessions[i])
    end
  end
  local all = {}
  for _, tasks in ipairs(sessions) do
    table.move(tasks, 1, #tasks, #all + 1, all)
  end
  return all
end

local function find(id)
  for _, task in ipairs(load_tasks()) do
    if task.id == id then
      return task
    end
  end
end

local function list(only_session, as_json)
  local tasks = load_tasks(only_session)
  table.sort(tasks, function(a, b)
    if (a.status == "running") ~= (b.status == "running") then
      return b.status == "running"
    end
    return (a.started or 0) < (b.started or 0)
  end)
  if as_json then
    return print_line(json.encode(json.array(tasks))) and 0 or 1
  end
  for _, task in ipairs(tasks) do
    local seconds = task.seconds or (task.started and sys.wall() - task.started) or 0
    local command = text.preview(text.clean(task.command or ""):gsub("%s+", " "), { max = 200 })
    local outcome = task.status .. (task.code and task.code ~= 0 and " " .. task.code or "")
    if not print_line(("%s  %-12s %8.1f s  %s"):format(task.id, outcome, seconds, command)) then
      return 1
    end
  end
  if #tasks == 0 then
    sys.write_fd(2, "no tasks\n")
  end
  return 0
end

-- Waits until a supervisor that was asked has ended the task. False when it does not take it.
local function is_ended_for_us(task, update)
  local deadline = sys.now() + TAKING
  local ended, taken
  repeat
    async.sleep(0.02)
    for _, one in ipairs(update()) do
      ended = ended or one.id == task.id and one.status ~= "running"
    end
    if not taken and kill_request.is_taken(task) then
      taken, deadline = true, sys.now() + GRACE + TAKING
    end
  until ended or sys.now() >= deadline
  return not kill_request.withdraw(task) or ended == true
end

-- For a task whose supervisor is dead, or does not answer.
local function end_ourselves(task)
  local deadline = sys.now() + GRACE
  sys.signal_group(task.pid, "TERM")
  while ledger.is_alive(task) and sys.now() < deadline do
    async.sleep(0.05)
  end
  if ledger.is_alive(task) then
    sys.signal_group(task.pid, "KILL")
  end
end

local function kill(id)
  local task = find(id)
  if not task then
    return fail("there is no task %s", id)
  elseif task.status == "queued" then
    return fail("task %s has not been started yet; its agenthost can end it (/kill %s)", id, id)
  elseif task.status ~= "running" then
    return fail("task %s has ended: %s", id, task.status)
  end
  local update = ledger.follow(session.base_dir() .. "/" .. task.session .. "/tasks.jsonl")
  if not kill_request.ask(task, "`agenthost tasks kill`", GRACE)
    or not is_ended_for_us(task, update) then
    end_ourselves(task)
  end
  print_line(("ended task %s: %s"):format(id, text.clean(task.command)))
  return 0
end

local function read_range(path, since)
  local file = path and io.open(path, "rb") -- a task that only waited has none
  if not file then
    return ""
  end
  file:seek("set", since)
  local bytes = file:read(65536) or ""
  file:close()
  return bytes
end

local function tail(id, follow)
  local task = find(id)
  if not task then
    return fail("there is no task %s", id)
  end
  local filter = text.filter()
  local since = 0
  while true do
    local alive = task.status == "running" and ledger.is_alive(task)
    local bytes = read_range(task.output, since)
    since = since + #bytes
    if not sys.write_fd(1, filter:feed(bytes)) then
      return 1
    elseif bytes == "" and not (follow and alive) then
      sys.write_fd(1, filter:finish())
      return 0
    elseif bytes == "" then
      async.sleep(0.1)
    end
  end
end

--- Runs the command. Returns the exit code.
---@param words string[] what stands behind "tasks"
---@return integer
function M.run(words)
  local verb = words[1]
  if verb == "--help" or verb == "-h" then
    sys.write_fd(1, USAGE)
    return 0
  elseif verb == "kill" and #words == 2 then
    return kill(words[2])
  elseif verb == "tail" and #words == 2 and words[2] ~= "-f" then
    return tail(words[2], false)
  elseif verb == "tail" and #words == 3 and words[2] == "-f" then
    return tail(words[3], true)
  end
  local only_session, as_json
  local i = 1
  while i <= #words do
    if words[i] == "--json" then
      as_json = true
    elseif words[i] == "--session" and words[i + 1] then
      i = i + 1
      only_session = words[i]
    else
      sys.write_fd(2, USAGE)
      return 2
    end
    i = i + 1
  end
  return list(only_session, as_json)
end

return M
