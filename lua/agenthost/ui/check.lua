--- `agenthost check`: what is wrong with an agent's file.
local json = require("agenthost.json")
local project = require("agenthost.project")
local secrets = require("agenthost.secrets")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local trust = require("agenthost.ui.trust")
local words = require("agenthost.words")

local M = {}

local USAGE <const> = [[
agenthost check agent.lua [--json] [--trust-project]

Loads the agent, its plugins and tools, without calling a model, and says what is wrong with them.
A plugin or tool by itself (a file that returns no agent, or a folder with init.lua) is checked as
an agent's only plugin.
What they print goes to standard error.
  --json           the findings as JSON
  --trust-project  use the Lua code in .agenthost/ of this project, and remember that
Exit codes: 0 no errors, 1 errors, 2 wrong usage.
]]

local function show(path, result, count, stdout)
  local function put(line)
    sys.write_fd(stdout, text.clean(line) .. "\n")
  end
  put(("%s: %s, %s"):format(path, words.number(count(result, "error"), "error"),
    words.number(count(result, "warning"), "warning")))
  for _, severity in ipairs({ "error", "warning" }) do
    for _, finding in ipairs(result.findings) do
      if finding.severity == severity then
        put(("  %-8s %s"):format(severity, (finding.message:gsub("\n", "\n           "))))
      end
    end
  end
  if result.prompt then
    put(("The prompt begins with about %d tokens:"):format(result.prompt.tokens))
    for _, part in ipairs(result.prompt.parts) do
      put(("  %6d  %s"):format(part.tokens, part.source))
    end
  end
end

local function parse(given)
  local opts = {}
  for _, word in ipairs(given) do
    if word == "--json" then
      opts.json = true
    elseif word == "--trust-project" then
      opts.trust = true
    elseif word == "--help" or word == "-h" then
      opts.help = true
    elseif word:sub(1, 1) == "-" or opts.path then
      error({ usage = ("check: unexpected '%s'\n"):format(word) .. USAGE:gsub("\n$", "") }, 0)
    else
      opts.path = word
    end
  end
  return opts
end

--- Runs the command. Returns the exit code.
---@param given string[] what stands behind "check"
---@return integer
function M.run(given)
  local opts = parse(given)
  if opts.help then
    sys.write_fd(1, USAGE)
    return 0
  elseif not opts.path then
    error({ usage = "check: which file?\n" .. USAGE:gsub("\n$", "") }, 0)
  end
  trust.open({ trust = opts.trust, headless = opts.json })
  project.forget_modules()
  local check = require("agenthost.check") -- the project may bring its own
  local path, message = check.find(opts.path)
  if not path then
    error({ usage = message }, 0)
  end
  secrets.hide()
  os.exit = function() -- luacheck: ignore 122
    error("it calls os.exit; check wants a file that returns an agent, a plugin or a tool", 2)
  end
  local stdout = sys.move_stdout() or 1 -- what the files print is no finding
  local result = check.run(path)
  if opts.json then
    sys.write_fd(stdout, json.encode(result) .. "\n")
  else
    show(opts.path, result, check.count, stdout)
  end
  return check.count(result, "error") > 0 and 1 or 0
end

return M
