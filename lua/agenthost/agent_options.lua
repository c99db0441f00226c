--- The options of agent.new: whether each has the right shape. What they mean: agent_base.new.
local options = require("agenthost.options")

local M = {}

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
