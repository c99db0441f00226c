--- For reload.lua: what an agent script gives to agent.new, without making an agent.
---
--- The script is run as at the start, but agent.new gives a stand-in then: a table that can be
--- given fields, and be returned. The options are those of the agent that the script returns, so
--- there has to be one agent alone, and the script may not use it.
local async = require("agenthost.async")

---@class agenthost.Capture
---@field co thread in which the script runs
---@field count integer calls of agent.new
---@field opts? table of the last one
---@field stand_in? table what it gave
local Capture = {}
Capture.__index = Capture

local M = {}

local running -- the capture under way

local function in_use()
  error("it uses its agent before it returns it: what has changed counts from the next start on", 0)
end

--- What agent.new returns while a script is looked at.
---@param opts table
---@param methods table of agents
---@return table
function Capture:stand_in_for(opts, methods)
  self.opts, self.stand_in = opts, {}
  while methods do
    for name, value in pairs(methods) do
      self.stand_in[name] = type(value) == "function" and in_use or nil
    end
    local parent = getmetatable(methods)
    methods = parent and parent.__index
  end
  return self.stand_in
end

--- For agent.new: whether it is called by a script that is only looked at. (A tool may make an
--- agent meanwhile, in a job of its own.)
---@return agenthost.Capture?
function M.current()
  if not running or coroutine.running() ~= running.co and async.inside() then
    return nil
  end
  running.count = running.count + 1
  return running
end

--- Runs an agent script.
---@param fn fun(): any what the script returns
---@return table opts of the agent; raises what the script raises, and what is wrong with it
function M.options_of(fn)
  local mine = setmetatable({ co = coroutine.running(), count = 0 }, Capture)
  running = mine
  local ok, value = pcall(fn)
  running = nil
  if mine.count > 1 then
    error(("it makes %d agents, and only one can be reloaded: what has changed counts from the "
      .. "next start on"):format(mine.count), 0)
  elseif not ok then
    error(value, 0)
  elseif value == nil or value ~= mine.stand_in then
    error("it does not return an agent of agent.new any more", 0)
  end
  return mine.opts
end

return M
