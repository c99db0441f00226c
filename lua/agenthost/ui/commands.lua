--- What begins with "/": commands of the interactive program. Plugins add theirs with
--- `ctx.command`.
local defaults = require("agenthost.defaults")
local output = require("agenthost.output")
local own_commands = require("agenthost.own_commands")
local ports = require("agenthost.ui.ports")
local prompt = require("agenthost.prompt")
local provider = require("agenthost.provider")
local session_commands = require("agenthost.ui.session_commands")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local timeline = require("agenthost.ui.timeline")
local tool_jobs = require("agenthost.tool_jobs")
local words = require("agenthost.words")

local M = {}

--- A command.
---@class agenthost.Command
---@field name string without "/"
---@field help string one line
---@field arguments? string what may follow, for the help: "ID", "[focus]"
---@field anytime? boolean it runs at once, also while the agent works; else when the agent is idle
---@field run fun(repl: agenthost.Repl, argument: string): string?, string? a text to be shown; or
---  nil and what is wrong

local list = {}

local function add(name, arguments, help, run, anytime)
  list[#list + 1] =
    { name = name, arguments = arguments, help = help, run = run, anytime = anytime }
end

local function find_task(repl, id)
  for _, one in ipairs(repl.agent:list_tasks()) do
    if one.id == id or id ~= "" and one.id:sub(1, #id) == id then
      return one
    end
  end
  return nil, id == "" and "which task? /tasks lists them" or "there is no task " .. id
end

add("help", nil, "this list", function(repl)
  local lines = {}
  for _, command in ipairs(M.all(repl.agent)) do
    local head = "/" .. command.name .. (command.arguments and " " .. command.arguments or "")
    lines[#lines + 1] = ("%-20s %s"):format(head, command.help)
  end
  table.move({
    ("%-20s %s"):format("!command", "run a command; the model sees its output with your next line"),
    ("%-20s %s"):format("@path", "attach a file to what you say; Tab completes"),
    ("%-20s %s"):format("\\ at the end", "the message goes on with the next line"),
    ("%-20s %s"):format("Esc, Ctrl-C", "stop the model or the wait for a command; tasks go on"),
    ("%-20s %s"):format("exit, q, Ctrl-D", "leave; so does Ctrl-C twice within 2 s"),
  }, 1, 5, #lines + 1, lines)
  return table.concat(lines, "\n")
end, true)

add("tasks", nil, "the tasks of this session, against time, and their ports", function(repl)
  local tasks = repl.agent:list_tasks()
  local first = math.max(1, #tasks - defaults.text.listing + 1)
  tasks = table.move(tasks, first, #tasks, 1, {})
  local leaders = {}
  for _, task in ipairs(tasks) do
    local _, state = task:status()
    leaders[#leaders + 1] = state.pid
  end
  local rows = timeline.rows(tasks, repl.screen.width(), ports.of(leaders))
  for _, call in ipairs(repl.agent.tool_jobs:list()) do
    rows[#rows + 1] = words.shorten(("%s running, %s %s"):format(call.id,
      words.duration(sys.now() - call.since), tool_jobs.describe(call)), repl.screen.width())
  end
  return #rows > 0 and table.concat(rows, "\n") or "no tasks"
end, true)

add("usage", nil, "tokens and cost of this session", function(repl)
  local agent = repl.agent
  return table.concat(agent.usage:lines(agent.max_budget_usd), "\n")
end, true)

add("kill", "ID", "end a task and all its processes", function(repl, argument)
  if repl.agent.tool_jobs:cancel(argument) then
    return "stopping " .. argument
  end
  local found, message = find_task(repl, argument)
  if not found then
    return nil, message
  elseif not found:kill({ by = "the user" }) then
    return ("task %s has ended already: %s"):format(found.id, (found:status()))
  end
  return ("ending task %s"):format(found.id)
end, true)

add("output", "ID", "what a task has printed", function(repl, argument)
  local found, message = find_task(repl, argument)
  if not found then
    return nil, message
  end
  local printed = output.text(found, { max = defaults.text.shown })
  return printed ~= "" and printed or "(no output)"
end, true)

add("last", nil, "the last tool call with its whole input and result", function(repl)
  local call = repl.last_call
  if not call then
    return "no tool was called yet"
  end
  local content = call.content
  if type(content) == "table" then
    local parts = {}
    for i, block in ipairs(content) do
      parts[i] = block.text or ("[%s]"):format(block.type)
    end
    content = table.concat(parts, "\n")
  end
  local json = require("agenthost.json")
  return text.preview(("%s %s\n%s"):format(call.name, text.clean(json.encode(call.call.input)),
    text.clean(content or "(it still runs)")), { max = defaults.text.shown })
end, true)

add("model", "[NAME]", "which model answers, or another one from now on", function(repl, argument)
  local agent = repl.agent
  if argument ~= "" then
    local ok, made = pcall(provider.new, argument, agent.cwd)
    if not ok then
      return nil, tostring(made)
    end
    agent.provider = made
  end
  return agent.provider.model .. (agent.provider.note and " (" .. agent.provider.note .. ")" or "")
end)

add("tools", nil, "the tools that the model has", function(repl)
  local lines = {}
  for i, tool in ipairs(repl.agent.tools:definitions()) do
    lines[i] = ("%-20s %s"):format(tool.name, words.shorten(tool.description or "",
      math.max(20, repl.screen.width() - 22)))
  end
  return #lines > 0 and table.concat(lines, "\n") or "no tools"
end, true)

add("plugins", nil, "the plugins that are loaded, and what they give", function(repl)
  local lines = {}
  for i, loaded in ipairs(repl.agent.plugins:loaded()) do
    local gives = table.move(loaded.tools, 1, #loaded.tools, 1, {})
    for _, command in ipairs(loaded.commands) do
      gives[#gives + 1] = "/" .. command
    end
    lines[i] = ("%-14s %s%s"):format(loaded.name, #gives > 0 and table.concat(gives, ", ")
      or "(no tools)", loaded.source ~= loaded.name and "\n               " .. loaded.source or "")
  end
  return #lines > 0 and table.concat(lines, "\n") or "no plugins"
end, true)

add("prompt", nil, "the system prompt, and where each part of it comes from", function(repl)
  return prompt.show(repl.agent)
end, true)

add("compact", "[FOCUS]", "sum up the older part of the conversation", function(repl, focus)
  local ok, event, message = repl:work(repl.agent.compact, repl.agent, focus ~= "" and focus or nil)
  if not ok then
    error(event, 0)
  end
  return event and "", message -- what happened is an event
end)

add("permissions", "[MODE]", "what tools may do, or another mode from now on", function(repl, mode)
  local permission = repl.agent.permission
  if mode ~= "" then
    local ok, message = pcall(permission.set_mode, permission, mode)
    if not ok then
      return nil, tostring(message)
    end
  end
  return table.concat(permission:describe(), "\n")
end)

add("reload", "[all]", "load files that have changed; all: every plugin, the prompt",
  function(repl, what)
  if what ~= "" and what ~= "all" then
    return nil, "/reload takes nothing or `all`"
  end
  local lines = repl.agent.reloader:refresh({ asked = true, all = what == "all" })
  return #lines == 0 and "nothing has changed" or "" -- what happened are events
end, true)

table.move(session_commands, 1, #session_commands, #list + 1, list)

add("edit", nil, "write the message in $EDITOR", function(repl, argument)
  return repl:edit(argument)
end)

add("quit", nil, "leave", function(repl)
  repl:leave()
  return ""
end, true)

for _, command in ipairs(list) do
  assert(own_commands[command.name], command.name) -- what is not there a plugin could take
end

--- All commands, those of plugins last.
---@param agent agenthost.Agent
---@return agenthost.Command[]
function M.all(agent)
  local all = table.move(list, 1, #list, 1, {})
  return table.move(agent.commands, 1, #agent.commands, #all + 1, all)
end

---@param agent agenthost.Agent
---@return string[]
function M.names(agent)
  local names = {}
  for i, command in ipairs(M.all(agent)) do
    names[i] = command.name
  end
  return names
end

--- The command that a line calls, and what stands behind its name. A path ("/etc/hosts is odd") is
--- no command.
---@param agent agenthost.Agent
---@param line string
---@return agenthost.Command? command
---@return string? argument or, when it looks like a command that is not there, nil and a message
function M.find(agent, line)
  local name, argument = line:match("^/([%w_-]+)%s*(.-)%s*$")
  if not name or line:find("^/[%w_-]+/") then
    return nil
  end
  for _, command in ipairs(M.all(agent)) do
    if command.name == name then
      return command, argument
    end
  end
  local best = require("agenthost.options").closest(name, M.names(agent))
  return nil, ("there is no command /%s%s; /help lists them"):format(name,
    best and (" (did you mean /%s?)"):format(best) or "")
end

return M
