--- The program: what the command line says becomes options of the agent.
local async = require("agenthost.async")
local command_line = require("agenthost.command_line")
local defaults = require("agenthost.defaults")
local fill_defaults = require("agenthost.fill_defaults")
local guard = require("agenthost.guard")
local places = require("agenthost.places")
local printed = require("agenthost.printed")
local project = require("agenthost.project")
local protect = require("agenthost.protect")
local reactor = require("agenthost.reactor")
local secrets = require("agenthost.secrets")
local settings = require("agenthost.settings")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local signals = require("agenthost.ui.signals")
local trust = require("agenthost.ui.trust")

local M = {}

local HELP = [[
agenthost [flags] [agent.lua] [prompt]
agenthost tasks [--session ID] [--json] | tasks kill ID | tasks tail [-f] ID
agenthost models [--json]
agenthost sessions [--all] [--json] | sessions show ID | sessions export ID --format markdown|json
agenthost new agent|plugin|tool NAME   a start, with a test
agenthost test [PATHS] [--tap] [--filter TEXT]
agenthost check agent.lua [--json]     what is wrong with an agent, without calling a model
agenthost help [TOPIC]                 the manual

Runs the agent that agent.lua returns, or the installed one. A script that returns nothing is simply
run, with agenthost's modules at hand.

  -p, --print [PROMPT]     answer PROMPT (or standard input) on standard output and leave
  -c, --continue           go on with the last session of this directory
  -r, --resume [ID]        go on with that session; without ID: choose one
      --model MODEL        anthropic/<id>, openai/<id>, openai-responses/<id>, ollama/<id>,
                           llamacpp, scripted/<file.lua>, or replay/<recording.jsonl>
      --output-format F    with -p: text, json or stream-json
      --input-format F     with -p: text, or stream-json (user messages as JSON lines on stdin)
      --include-partial-messages  with stream-json: also the reply while it comes
      --permission-mode M  default, acceptEdits, plan, dontAsk or bypassPermissions
      --allowed-tools R    rules for what needs no question: 'read_file, bash(git status:*)'
      --disallowed-tools R rules for what is refused, whatever the mode
      --system-prompt S    in place of the agent's; --append-system-prompt S: behind it
      --max-turns N        model calls of one run
      --max-budget-usd N   stop when the model calls have cost N US dollars
      --wait-tasks SECONDS with -p: how long to wait for background tasks (600)
      --trust-project      use the Lua code in .agenthost/ of this project, and remember that
      --cwd DIR            work there
      --verbose            say more on standard error
      --version, --help

Environment: ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, ANTHROPIC_BASE_URL, ANTHROPIC_MODEL;
OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL; OLLAMA_HOST; NO_COLOR, XDG_STATE_HOME,
XDG_CONFIG_HOME; AGENTHOST_RECORD (a file: keep each model call, to be replayed; keys are left
out), AGENTHOST_REPLAY=lenient; AGENTHOST_MEMORY (most MiB of the Lua state, 1024).
With -p nobody is asked: what would need a yes is refused, and said on standard error.
Exit codes: 0 done, 1 failed, 2 wrong usage, 4 background tasks were ended at --wait-tasks,
5 the budget (--max-budget-usd) is used up, 130 and 143 ended by Ctrl-C and by SIGTERM.
]]

local usage <const> = command_line.usage

local function absolute(path)
  return path:sub(1, 1) == "/" and path or sys.cwd() .. "/" .. path
end

-- A model in a file that the command line names: where the user is, else beside the script.
local function find_model(model)
  local kind, path = (model or ""):match("^(%l+)/(.+)$")
  local stat = (kind == "scripted" or kind == "replay") and sys.stat(path)
  return stat and stat.type == "file" and kind .. "/" .. absolute(path) or model
end

-- What went wrong in a script. With a place in it also the way there; without one it is meant for
-- the user as it is.
local function script_error(name, err)
  if type(err) == "table" and (err.usage or err.message) then
    return err
  elseif type(err) == "string" and not err:find("^[^\n:]+:%d+: ") then
    return { message = (name and name .. ": " or "") .. err }
  end
  return { message = debug.traceback(tostring(protect.explain(err)), 2) }
end

-- Runs the script and returns what it returned. `name` is what the user calls it, nil for ours.
local function run_script(path, name, args)
  local stat = sys.stat(path)
  if not stat then
    usage("there is no file %s", path)
  end
  local chunk, message = loadfile(path, "t")
  if not chunk then
    error({ message = message }, 0)
  end
  arg = { [0] = path, table.unpack(args) } -- luacheck: ignore 121
  guard.watch(true) -- coroutines that it makes may run inside tools
  local ok, value = xpcall(chunk, function(err) return script_error(name, err) end,
    table.unpack(args))
  guard.watch(false)
  if not ok then
    local explained = protect.explain(value)
    error(explained == value and value or { message = explained }, 0)
  end
  return value
end

-- With a prompt on the command line, standard input is context that may be missing: a pipe that
-- somebody has left open must not hold up the run. Its end is news, too.
local function stdin_has_news()
  local watch = reactor.watch(0)
  local news = not watch or async.wait(watch, defaults.stdin_patience)
  if watch then
    reactor.unwatch(watch)
  end
  return news
end

local function prompt_from_stdin(parsed)
  if sys.isatty(0) then
    return parsed.prompt
  end
  if parsed.prompt and not stdin_has_news() then
    sys.write_fd(2, "agenthost: nothing on standard input so far; going on without it\n")
    return parsed.prompt
  end
  local piped = io.read("a")
  if piped and piped:find("%S") then
    return parsed.prompt and parsed.prompt .. "\n\n" .. piped or piped
  end
  return parsed.prompt
end

local function run_agent(parsed, agent)
  if parsed.print or not sys.isatty(0) or not sys.isatty(1) then
    if parsed.input_format == "stream-json" then
      if parsed.prompt then
        usage("--input-format stream-json takes the prompts from standard input, not from words")
      end
      return require("agenthost.ui.print").run(agent, nil, parsed)
    end
    local prompt = prompt_from_stdin(parsed)
    if not (prompt and prompt:find("%S")) then
      usage("there is no prompt: say it after -p, or on standard input")
    elseif agent.session.read_only then
      error({ message = agent.session.read_only }, 0)
    end
    return require("agenthost.ui.print").run(agent, prompt, parsed)
  end
  return require("agenthost.ui.repl").run(agent, parsed)
end

-- For scripts that run tasks without an agent: a session directory that holds no conversation.
local function set_task_dir()
  local dir = require("agenthost.session").new({ cwd = sys.cwd() }).dir
  require("agenthost.task").set_dir(dir)
end

-- The session to go on with, if any. A second value says that the user wants none.
local function choose_session(parsed)
  local ui = require("agenthost.ui.sessions")
  local id, none = ui.choose(parsed)
  if id and parsed.resume and not parsed.cwd then
    ui.enter(id)
  end
  return id, none
end

local function run(parsed)
  parsed.model = find_model(parsed.model or sys.getenv("AGENTHOST_MODEL"))
  parsed.path = absolute(parsed.script or places.share .. "/lua/agenthost/default_agent.lua")
  if parsed.cwd then
    local ok, message = sys.chdir(parsed.cwd)
    if not ok then
      usage("--cwd: %s", message)
    end
  end
  local ok, problem = pcall(settings.load)
  if not ok then
    error({ message = problem }, 0) -- it has file and line; the way there is of no use
  end
  local none
  parsed.session, none = choose_session(parsed)
  if none then
    return 0
  end
  trust.open({ trust = parsed.trust_project, headless = parsed.print })
  -- The project may bring its own copy of any module.
  return (project.forget_modules() and require("agenthost.cli") or M).run_script(parsed)
end

-- What is wrong when an agent is closed, or goes with it.
local function say_at_the_end(event)
  if event.type == "warning" or event.type == "note" then
    sys.write_fd(2, ("agenthost: %s\n"):format((text.clean(event.text):gsub("%s+", " "))))
  end
end

-- The defaults may be the user's own file.
local function fill()
  local ok, problem = pcall(fill_defaults.fill, defaults)
  if not ok then
    error({ message = problem }, 0)
  end
end

--- Runs the script of the command line, and the agent that it returns.
---@param parsed table with `path`, `model` and `session`
---@return integer code
function M.run_script(parsed)
  fill() -- once more: the project may bring its own
  secrets.hide()
  set_task_dir()
  local agent_base = require("agenthost.agent_base")
  agent_base.override({
    model = parsed.model,
    max_turns = parsed.max_turns,
    system = parsed.system,
    append_system = parsed.append_system,
    permissions = { mode = parsed.permission_mode, allow = parsed.allow, deny = parsed.deny },
    max_budget_usd = parsed.max_budget_usd,
    base_dir = parsed.script and parsed.path:match("^(.*)/") or sys.cwd(),
    session = parsed.session,
  })
  parsed.printed = printed.new()
  parsed.printed:install()
  local to_stderr = parsed.printed.show
  local value = run_script(parsed.path, parsed.script, parsed.script_args)
  if value == nil then
    return 0
  elseif not agent_base.is_agent(value) then
    error({ message = ("%s has to return an agent (agent.new{...}) or nothing, it returned a %s%s")
      :format(parsed.path, type(value), type(value) == "table"
        and "; a tool or a plugin is named in an agent's `plugins`" or "") }, 0)
  end
  value.reloader:follow(parsed.path, parsed.script_args)
  local code, last = run_agent(parsed, value)
  parsed.printed.show = to_stderr -- the screen is gone
  parsed.printed:finish()
  last = last or value -- or the user has gone on to another session
  last.on_event = say_at_the_end
  signals.run({ "INT", "TERM", "HUP" }, function() last:close() end) -- its plugins may wait there
  return code
end

local commands = {
  check = function(words) return require("agenthost.ui.check").run(words) end,
  help = function(words) return require("agenthost.ui.help").run(words) end,
  models = function(words) return require("agenthost.ui.models").run(words) end,
  new = function(words) return require("agenthost.ui.new").run(words) end,
  sessions = function(words) return require("agenthost.ui.sessions").run(words) end,
  tasks = function(words) return require("agenthost.ui.tasks").run(words) end,
  test = function(words) return require("agenthost.ui.test").run(words) end,
}

--- The program. Returns its exit code.
---@param args string[]
---@return integer
function M.main(args)
  local verbose = false
  local ok, result = xpcall(function()
    fill()
    local problem = protect.limit_memory(sys.getenv("AGENTHOST_MEMORY"))
    if problem then
      usage("%s", problem)
    elseif commands[args[1]] then
      return commands[args[1]](table.move(args, 2, #args, 1, {}))
    end
    local parsed = command_line.parse(args)
    verbose = parsed.verbose
    if parsed.help then
      io.write(HELP)
      return 0
    elseif parsed.version then
      io.write("agenthost " .. places.version .. "\n")
      return 0
    end
    command_line.sort_words(parsed)
    return run(parsed)
  end, function(err)
    if type(err) == "table" and (err.usage or err.message) then
      return err
    end
    return { message = debug.traceback(tostring(err), 2) }
  end)
  if ok then
    return result
  end
  if type(result) ~= "table" then -- memory ran out: no handler is called then
    result = { message = tostring(protect.explain(result)) }
  end
  local message = result.usage or result.message
  message = verbose and message or protect.fold(message)
  sys.write_fd(2, "agenthost: " .. text.clean(sys.redact(message)) .. "\n")
  return result.usage and 2 or 1
end

return M
