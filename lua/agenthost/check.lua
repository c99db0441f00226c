--- Checks an agent's file without calling a model: it is loaded, then each part by itself, so that
--- all that is wrong is found at once. The file of a plugin is checked as an agent's only one.
---
--- The script itself runs, as for `agenthost agent.lua`; its model is one that answers nothing.
local agent = require("agenthost.agent")
local agent_base = require("agenthost.agent_base")
local agent_options = require("agenthost.agent_options")
local check_schema = require("agenthost.check_schema")
local json = require("agenthost.json")
local options = require("agenthost.options")
local permission_path = require("agenthost.permission_path")
local permission_rules = require("agenthost.permission_rules")
local protect = require("agenthost.protect")
local provider = require("agenthost.provider")
local settings = require("agenthost.settings")
local sys = require("agenthost.sys")

---@class agenthost.CheckFinding
---@field severity "error"|"warning"
---@field message string

---@class agenthost.CheckPart
---@field source string where it comes from
---@field tokens integer estimated: a quarter of its bytes

---@class agenthost.CheckReport
---@field findings agenthost.CheckFinding[]
---@field prompt? { tokens: integer, parts: agenthost.CheckPart[] } nil when there is no agent
---@field tools string[] names

local M = {}

local BYTES_PER_TOKEN <const> = 4
local SHORT <const> = 20 -- characters; a description below says nothing
local NO_MODEL <const> = "agenthost check calls no model"

local function idle_provider(model)
  return { name = "check", model = type(model) == "string" and model or "(from the environment)",
    stream = function() return nil, NO_MODEL, "CHECK", { retryable = false } end }
end

-- ---- loading -----------------------------------------------------------------------------------

-- An error with its place where there is one, without the way there.
local function plain(err)
  if type(err) == "table" then
    err = err.message or "a table was raised"
  end
  return tostring(err)
end

-- Runs the script. Returns what it returned, the options of the last agent that it wanted, and the
-- error.
local function load_script(path, args)
  local chunk, message = loadfile(path, "t")
  if not chunk then
    return nil, nil, message
  end
  local wanted
  local new = agent_base.new
  agent_base.new = function(opts)
    wanted = opts
    return new(opts)
  end
  arg = { [0] = path, table.unpack(args or {}) } -- luacheck: ignore 121
  local ok, value = protect.call(path, chunk, table.unpack(args or {}))
  agent_base.new = new
  if not ok then
    return nil, wanted, plain(value)
  end
  return value, wanted
end

-- An agent with some of the options, to see whether these can be had; nil and the message.
local function try(given)
  given.instructions, given.system = false, given.system or "-"
  local ok, made = pcall(agent.new, given)
  if not ok then
    return nil, plain(made)
  end
  return made
end

-- ---- the parts ---------------------------------------------------------------------------------

-- Options that only agent.new itself can judge.
local BY_TRIAL <const> = { cwd = true, max_budget_usd = true, on_notice = true }

-- What is wrong with one option, seen alone; nil when nothing is.
local function problem_with(name, value)
  local ok, message = pcall(options.check, { [name] = 1 }, agent_base.OPTIONS, -1)
  if ok then
    ok, message = pcall(agent_options.check, { [name] = value })
  end
  if ok and (BY_TRIAL[name] or name == "system" and type(value) ~= "function") then
    local made
    made, message = try({ [name] = value })
    ok = made ~= nil
    if made then
      made:close()
    end
  end
  return not ok and message or nil
end

local function check_options(opts, report)
  local messages = {}
  for name, value in pairs(opts) do
    messages[#messages + 1] = problem_with(name, value)
  end
  table.sort(messages)
  for _, message in ipairs(messages) do
    report("error", message)
  end
end

local function check_model(opts, base_dir, report)
  if opts.provider ~= nil or type(opts.model) ~= "string" then
    return
  end
  local ok, message = pcall(provider.new, opts.model, base_dir)
  if not ok then
    message = plain(message)
    report(message:find("needs a key", 1, true) and "warning" or "error", message)
  end
end

local function check_rules(given, source, report)
  if type(given) ~= "table" then
    return -- missing, or told as the option that it is
  end
  for _, list in ipairs({ "allow", "deny", "ask" }) do
    local rules = given[list]
    if rules ~= nil and type(rules) ~= "table" then
      report("error", ("%s: %s: expected a list of rules, got %s"):format(source, list,
        options.show(rules)))
    end
    for _, text in ipairs(type(rules) == "table" and rules or {}) do
      local rule, message = permission_rules.parse(text)
      if not rule then
        report("error", ("%s: %s: %s"):format(source, list, message))
      end
    end
  end
  local _, message = try({ permissions = { mode = given.mode } })
  if message then
    report("error", ("%s: %s"):format(source, message))
  end
end

-- Rules that name a tool which the agent has not got.
local function check_rule_names(given, names, report)
  local known = {}
  for _, name in ipairs(names) do
    known[#known + 1] = name
  end
  for _, list in ipairs({ "allow", "deny", "ask" }) do
    for _, text in ipairs(type(given) == "table" and type(given[list]) == "table" and given[list]
      or {}) do
      local rule = permission_rules.parse(text)
      local fits = not rule or rule.kind ~= nil
      for _, name in ipairs(rule and known or {}) do
        fits = fits or permission_path.fits(name, rule.name)
      end
      if not fits then
        local best = options.closest(text:match("^%s*([%w_-]+)") or "", known)
        report("warning", ("permissions: %s: '%s' is for no tool of this agent%s"):format(list,
          text, best and ("; did you mean '%s'?"):format(best) or ""))
      end
    end
  end
end

local function name_of(spec)
  local value = type(spec) == "table" and (spec[1] or spec.name) or spec
  return type(value) == "string" and value or "(inline)"
end

-- The field of the input by which rules judge a call, by the tool's permission.
local JUDGED_BY <const> = { read = "path", edit = "path", command = "command" }

local function check_permission(tool, properties, tell)
  local field = JUDGED_BY[tool.permission]
  if field and not properties[field] then
    tell("warning", ("its permission is '%s', but its input has no `%s`: rules cannot see what it "
      .. "is about; a function can say so"):format(tool.permission, field))
  end
end

local function check_tool(definition, tool, report)
  local function tell(severity, message)
    report(severity, ("tool '%s': %s"):format(definition.name, message))
  end
  if #definition.description < SHORT then
    tell("warning", "its description is so short that a model cannot know when to use it")
  end
  check_schema.check(definition.input_schema, tell)
  local properties = definition.input_schema.properties
  check_permission(tool, type(properties) == "table" and properties or {}, tell)
end

-- The tools of one plugin or of the option `tools`, each with where it is from.
local function check_source(given, source, found, report)
  local made, message = try(given)
  if not made then
    return report("error", message)
  end
  for _, definition in ipairs(made.tools:definitions()) do
    local other = found[definition.name]
    if other then
      report("error", ("tool '%s' of %s is already there, from %s"):format(definition.name, source,
        other))
    else
      found[definition.name] = source
      table.insert(found, definition.name)
    end
    check_tool(definition, made.tools.by_name[definition.name].tool, report)
  end
  made:close()
end

local function is_list(value)
  return type(value) == "table" and (#value > 0 or next(value) == nil)
end

local function check_tools(opts, report)
  local found = {}
  for _, spec in ipairs(is_list(opts.plugins) and opts.plugins or {}) do
    check_source({ plugins = { spec } }, "plugin " .. name_of(spec), found, report)
  end
  for i, tool in ipairs(is_list(opts.tools) and opts.tools or {}) do
    check_source({ tools = { tool } }, ("tools[%d]"):format(i), found, report)
  end
  return found
end

-- ---- the prompt --------------------------------------------------------------------------------

local function tokens(bytes)
  return (bytes + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN
end

local function measure(made)
  local parts, total = json.array(), 0
  for _, part in ipairs(made.prompt_parts) do
    parts[#parts + 1] = { source = part.source, tokens = tokens(#part.text) }
  end
  for _, definition in ipairs(made.tools:definitions()) do
    parts[#parts + 1] = { source = "tool " .. definition.name,
      tokens = tokens(#json.encode(definition)) }
  end
  for _, part in ipairs(parts) do
    total = total + part.tokens
  end
  return { tokens = total, parts = parts }
end

local function is_agent(value)
  return type(value) == "table" and type(value.run) == "function" and value.conversation ~= nil
end

-- What is wrong with the script as a whole.
local function check_result(value, problem, report)
  if problem and problem:find("global 'describe'", 1, true) then
    return report("error", problem .. "; a file of tests is run with agenthost test")
  elseif problem then
    return report("error", problem:find(NO_MODEL, 1, true)
      and "the script runs its agent itself; check wants a file that returns one" or problem)
  elseif not is_agent(value) then
    return report("error", ("it has to return an agent (agent.new{...}), a plugin or a tool; it "
      .. "returned %s"):format(value ~= nil and "a " .. type(value)
      or "nothing: is `return` missing?"))
  end
  return true
end

--- Checks a file.
---@param path string absolute
---@param opts? { args?: string[] } args: of the script
---@return agenthost.CheckReport
function M.run(path, opts)
  local result = { findings = json.array(), tools = json.array() }
  local function report(severity, message)
    table.insert(result.findings, { severity = severity, message = message })
  end
  local base_dir = path:match("^(.*)/")
  local ok, user_settings = pcall(settings.load)
  if not ok then
    report("error", user_settings)
  end
  local overrides = { provider = idle_provider(), base_dir = base_dir, settings = {},
    state_dir = false }
  agent_base.override(overrides)
  local value, wanted, problem = load_script(path, opts and opts.args)
  if not wanted and type(value) == "table" and not is_agent(value) then
    wanted = { plugins = { path } }
    value, problem = try({ plugins = { path } })
  end
  if type(wanted) == "table" then
    overrides.provider = idle_provider(wanted.model)
    agent_base.override(overrides)
    local own_base = type(wanted.base_dir) == "string" and wanted.base_dir or base_dir
    overrides.base_dir = own_base
    check_options(wanted, report)
    check_model(wanted, own_base, report)
    check_rules(wanted.permissions, "permissions", report)
    local names = check_tools(wanted, report)
    table.move(names, 1, #names, 1, result.tools)
    check_rule_names(wanted.permissions, names, report)
  end
  local errors = M.count(result, "error")
  if errors == 0 and check_result(value, problem, report) then
    result.prompt = measure(value)
    for _, part in ipairs(value.prompt_parts) do
      if part.note then
        report("warning", part.note)
      end
    end
  end
  if is_agent(value) then
    value:close()
  end
  agent_base.override({})
  return result
end

--- How many findings there are of one severity.
---@param result agenthost.CheckReport
---@param severity "error"|"warning"
---@return integer
function M.count(result, severity)
  local count = 0
  for _, finding in ipairs(result.findings) do
    count = count + (finding.severity == severity and 1 or 0)
  end
  return count
end

--- The path of a file that a user names, or of the init.lua of a folder; nil and a message when it
--- is not there.
---@param path string
---@return string? absolute
---@return string? message
function M.find(path)
  local stat = sys.stat(path)
  if stat and stat.type == "directory" then
    path = path:gsub("(.)/+$", "%1")
    local init = sys.stat(path .. "/init.lua")
    if not init or init.type ~= "file" then
      return nil, ("%s is a folder without init.lua: say which file"):format(path)
    end
    return sys.realpath(path .. "/init.lua")
  elseif not stat or stat.type ~= "file" then
    return nil, ("there is no file %s"):format(path)
  end
  return sys.realpath(path)
end

return M
