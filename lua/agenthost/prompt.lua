--- The system prompt: a text or a function of the agent's, or prompts/system.md.
local sys = require("agenthost.sys")
local places = require("agenthost.places")

local M = {}

-- A user's copy of a prompt file comes before ours.
local function read_prompt(name)
  for _, dir in ipairs({ places.config .. "/prompts", places.share .. "/lua/agenthost/prompts" }) do
    local content, message, code = sys.read_file(dir .. "/" .. name, 1024 * 1024)
    if content then
      return content
    elseif code ~= "ENOENT" then
      error("cannot read " .. dir .. "/" .. name .. ": " .. message, 0)
    end
  end
  error("the prompt " .. name .. " is missing", 0)
end

--- The name of the system, as a person would say it.
---@return string
function M.os_name()
  local release = sys.read_file("/etc/os-release", 65536) or ""
  return release:match('PRETTY_NAME="([^"\n]*)"') or "Linux"
end

--- What a prompt may depend on.
---@class agenthost.PromptEnv
---@field cwd string
---@field os string
---@field model string
---@field tools string[] names

--- The system prompt of an agent. Made once a run of the program, so that its bytes stay the same
--- from turn to turn (a prompt cache needs that).
---@param system string|nil|fun(env: agenthost.PromptEnv): string a text is taken as it is; nil:
---  prompts/system.md, in which `{cwd}`, `{os}` and `{model}` are filled in
---@param env agenthost.PromptEnv
---@return string
function M.build(system, env)
  if type(system) == "function" then
    system = system(env)
    if type(system) ~= "string" then
      error("the function `system` has to return a text, got a " .. type(system), 0)
    end
    return system
  end
  if system ~= nil then
    if type(system) ~= "string" then
      error("system: expected a text or a function that returns one, got a " .. type(system), 0)
    end
    return system
  end
  local filled = read_prompt("system.md"):gsub("{(%l+)}", function(name)
    return type(env[name]) == "string" and env[name] or nil
  end)
  return (filled:gsub("%s+$", ""))
end

return M
