--- The commands that go from one session to another: /clear, /sessions, /resume.
local sessions = require("agenthost.sessions")
local ui = require("agenthost.ui.sessions")

local COUNT <const> = 20 -- sessions that are offered

local function lines_of(found, columns)
  local lines = {}
  for i, info in ipairs(found) do
    lines[i] = ("%3d  %s"):format(i, ui.line(info, columns - 5))
  end
  return lines
end

local function switch(repl, id)
  local agent, message = repl.agent:switch_session(id)
  if not agent then
    return nil, message
  end
  repl:switch_to(agent)
  return "(session " .. agent.session.id .. ")"
end

-- Lets the user choose one of this directory. Returns its id; or nil, and what is wrong.
local function pick(repl)
  local found = {}
  for _, info in ipairs((sessions.list({ cwd = repl.agent.cwd, limit = COUNT + 1 }))) do
    if info.id ~= repl.agent.session.id and #found < COUNT then
      found[#found + 1] = info
    end
  end
  if #found == 0 then
    return nil, "there is no other session of this directory (/sessions lists those of all)"
  end
  for _, line in ipairs(lines_of(found, repl.screen.width())) do
    repl.screen:say(line)
  end
  while true do
    local answer = repl:read_answer("which one (a number; Enter: none)? ")
    local chosen = answer and found[tonumber(answer)]
    if not answer or not answer:find("%S") or answer:match("^%s*q%s*$") then
      return nil
    elseif chosen then
      return chosen.id
    end
  end
end

local function resume(repl, argument)
  local id, message
  if argument == "" then
    id, message = pick(repl)
  else
    id, message = sessions.find(argument)
  end
  local cwd = id and sessions.cwd(id)
  if not id then
    return nil, message
  elseif cwd and cwd ~= repl.agent.cwd then
    return nil, ("session %s works in %s: leave, and go on with agenthost -r %s"):format(id,
      cwd, id)
  end
  return switch(repl, id)
end

---@type agenthost.Command[]
return {
  {
    name = "clear",
    help = "begin a new session; this one stays on disk",
    run = function(repl) return switch(repl) end,
  },
  {
    name = "sessions",
    help = "the newest sessions",
    anytime = true,
    run = function(repl)
      local found = sessions.list({ limit = COUNT })
      return #found > 0 and table.concat(lines_of(found, repl.screen.width()), "\n")
        or "no sessions yet"
    end,
  },
  {
    name = "resume",
    arguments = "[ID]",
    help = "go on with another session of this directory",
    run = resume,
  },
}
