--- The system prompt: a text or a function of the agent's, or prompts/system.md; behind it the
--- instruction files (instructions.lua), then what plugins have added. Always in this order, so
--- that its bytes stay the same.
local instructions = require("agenthost.instructions")
local places = require("agenthost.places")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local INSTRUCTIONS <const> = [[
# Instructions

What the user and this project have written down for agents. Where two of these files contradict
each other the later one counts; what the user says in the conversation counts more than all of
them.]]

--- Reads a prompt file. A user's copy (~/.config/agenthost/prompts/) comes before ours.
---@param name string
---@return string content raises when it cannot be read
---@return string path
function M.read(name)
  for _, dir in ipairs({ places.config .. "/prompts", places.share .. "/lua/agenthost/prompts" }) do
    local content, message, code = sys.read_file(dir .. "/" .. name, 1024 * 1024)
    if content then
      return content, dir .. "/" .. name
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

--- The beginning of an agent's system prompt.
---@param system string|nil|fun(env: agenthost.PromptEnv): string a text is taken as it is; nil:
---  prompts/system.md, in which `{cwd}`, `{os}` and `{model}` are filled in
---@param env agenthost.PromptEnv
---@return string text
---@return string source where it comes from, for people
function M.build(system, env)
  if type(system) == "function" then
    system = protect.run("the function `system`", system, env)
    if type(system) ~= "string" then
      error("the function `system` has to return a text, got a " .. type(system), 0)
    end
    return system, "the agent's function `system`"
  end
  if system ~= nil then
    if type(system) ~= "string" then
      error("system: expected a text or a function that returns one, got a " .. type(system), 0)
    end
    return system, "the agent's `system`"
  end
  local content, path = M.read("system.md")
  local filled = content:gsub("{(%l+)}", function(name)
    return type(env[name]) == "string" and env[name] or nil
  end)
  return filled:gsub("%s+$", ""), path
end

--- The parts of an agent's system prompt, in order. Made once a run of the program, so that its
--- bytes stay the same from turn to turn (a prompt cache needs that).
---@param system string|nil|fun(env: agenthost.PromptEnv): string as for `build`
---@param env agenthost.PromptEnv
---@param opts? { instructions?: boolean, added?: agenthost.PromptPart[] } instructions: false
---  leaves out AGENTS.md and the like (default true); added: further parts
---@return agenthost.PromptPart[]
function M.parts(system, env, opts)
  opts = opts or {}
  local beginning, source = M.build(system, env)
  local parts = { { source = source, text = beginning } }
  local intro = INSTRUCTIONS .. "\n\n"
  for _, file in ipairs(opts.instructions ~= false and instructions.load(env.cwd) or {}) do
    if file.text ~= "" then
      local heading = text.clean(file.source):gsub("%s+", " ")
      file.text = ("%s## %s\n\n%s"):format(intro, heading, file.text)
      intro = ""
    end
    parts[#parts + 1] = file
  end
  table.move(opts.added or {}, 1, #(opts.added or {}), #parts + 1, parts)
  return parts
end

--- The system prompt that is sent: the texts of all parts.
---@param parts agenthost.PromptPart[]
---@return string
function M.join(parts)
  local texts = {}
  for _, part in ipairs(parts) do
    if part.text ~= "" then
      texts[#texts + 1] = part.text
    end
  end
  return table.concat(texts, "\n\n")
end

--- The system prompt of an agent for a person: each part with where it comes from, and what was
--- left out. May hold anything that is in the files: `text.clean` it for a terminal.
---@param agent agenthost.Agent
---@return string
function M.show(agent)
  local shown = {}
  for _, part in ipairs(agent.prompt_parts) do
    shown[#shown + 1] = ("── %s (%d bytes)"):format(part.source, #part.text)
    if part.note then
      shown[#shown + 1] = "(" .. part.note .. ")"
    end
    if part.text ~= "" then
      shown[#shown + 1] = part.text .. "\n"
    end
  end
  return (table.concat(shown, "\n"):gsub("\n*$", "\n"))
end

return M
