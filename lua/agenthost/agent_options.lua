--- The options of agent.new: what they mean, and whether each has the right shape.
local options = require("agenthost.options")

---@class agenthost.AgentOptions
---@field model? string a name as of agenthost.provider; default: from the environment
---@field provider? agenthost.Provider in place of `model`
---@field system? string|fun(env: agenthost.PromptEnv): string in place of prompts/system.md; the
---  rest of the prompt stays
---@field instructions? boolean false leaves AGENTS.md and CLAUDE.md out of the prompt
---@field plugins? table see plugin.lua
---@field tools? agenthost.Tool[]
---@field permissions? { mode?: string, allow?: string[], deny?: string[], ask?: string[] } see
---  permission.lua and permission_rules.lua. What the command line says comes first, then this,
---  then the settings file; deny rules of all three hold
---@field max_turns? integer model calls of one run, default defaults.run.max_turns
---@field max_tokens? integer of a reply, default defaults.run.max_tokens
---@field max_budget_usd? number when the calls have cost this much, runs end with the code
---  MAX_BUDGET
---@field tool_choice? table for any provider: { type = "auto"|"any"|"none"|"tool", name?,
---  disable_parallel_tool_use? }
---@field extra? table fields for the request's body that the provider does not set by itself
---@field on_notice? agenthost.NoticePolicy default "wake"
---@field cwd? string where it works, default the working directory
---@field base_dir? string where paths in `plugins` and `model` start, default the script's folder
---@field session? string the id of one to go on with
---@field parent? agenthost.Agent the agent for which this one works (in a tool: ctx.agent), which
---  is told the ends of its tasks once it is closed

local M = {}

--- Their names.
M.NAMES = {
  "model", "system", "plugins", "tools", "max_turns", "max_tokens", "cwd", "provider", "extra",
  "base_dir", "on_notice", "instructions", "tool_choice", "permissions", "max_budget_usd",
  "session", "parent",
}

local PERMISSIONS <const> = { "mode", "allow", "deny", "ask" }
local CHOICES <const> = { auto = true, any = true, none = true, tool = true }
local METHODS <const> = { "list_models", "model_info", "count_tokens" }

local function of_type(wanted, words)
  return function(value)
    return type(value) ~= wanted and words or nil
  end
end

local function list(value)
  return (type(value) ~= "table" or #value == 0 and next(value) ~= nil) and "a list" or nil
end

local function count(value)
  return (math.type(value) == nil or value < 1 or value ~= value) and "a number from 1 on" or nil
end

local function tool_choice(value)
  if type(value) ~= "table" or not CHOICES[value.type] then
    return '{ type = "auto" }, "any", "none", or { type = "tool", name = "..." }'
  end
end

local function provider(value)
  if type(value) ~= "table" or type(value.stream) ~= "function"
    or type(value.model) ~= "string" then
    return "a table with a text `model` and a function `stream` (a model's name goes into `model`)"
  end
  for _, method in ipairs(METHODS) do
    if value[method] ~= nil and type(value[method]) ~= "function" then
      return ("a function `%s`"):format(method)
    end
  end
end

local function parent(value)
  if type(value) ~= "table" or type(value.adopt) ~= "function" then
    return "an agent (in a tool: ctx.agent)"
  end
end

-- What each has to be, when it is not; nil when it is.
local CHECKS <const> = {
  model = of_type("string", 'a text such as "anthropic/<id>" (a table goes into `provider`)'),
  provider = provider,
  cwd = of_type("string", "a path"),
  base_dir = of_type("string", "a path"),
  session = of_type("string", "the id of a session"),
  extra = of_type("table", "a table of fields for the request"),
  instructions = of_type("boolean", "true or false"),
  permissions = of_type("table", "a table with mode, allow, deny, ask"),
  max_turns = count,
  max_tokens = count,
  plugins = list,
  tools = list,
  tool_choice = tool_choice,
  parent = parent,
}

--- Raises one line unless every option has the right shape.
---@param opts table
function M.check(opts)
  for name, problem in pairs(CHECKS) do
    local wanted = opts[name] ~= nil and problem(opts[name])
    if wanted then
      error(("%s: expected %s, got %s"):format(name, wanted, options.show(opts[name])), 0)
    end
  end
  local ok, message = pcall(options.check, opts.permissions or {}, PERMISSIONS, -1)
  if not ok then
    error("permissions: " .. message, 0)
  end
end

return M
