--- Calls of tools with `background = true`: they go on beside the conversation, and each ends in a
--- notice.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")
local tool_run = require("agenthost.tool_run")

--- A call that runs.
---@class agenthost.ToolJob
---@field id string
---@field name string the tool's
---@field summary? string
---@field since number sys.now() at its start
---@field event? { progress?: string, fraction?: number } how far it is, as it says itself

---@class agenthost.ToolJobs
---@field running table<string, agenthost.ToolJob>
local Jobs = {}
Jobs.__index = Jobs

local M = {}

---@param notify fun(text: string, fields: table): integer?, string? as agent.notify
---@param warn fun(line: string)
---@param on_start fun(call: agenthost.ToolJob)
---@return agenthost.ToolJobs
function M.new(notify, warn, on_start)
  return setmetatable({ notify = notify, warn = warn, on_start = on_start, running = {},
    count = 0 }, Jobs)
end

local function as_text(content)
  if type(content) == "string" then
    return content
  end
  local texts = {}
  for i, block in ipairs(content) do
    texts[i] = block.text or ("[%s: a notice is text only]"):format(tostring(block.type))
  end
  return table.concat(texts, "\n")
end

function Jobs:finish(one, content, is_error)
  self.running[one.id] = nil
  self.count = self.count - 1
  if self.closed then
    return
  end
  local ok, message = self.notify(("%s %s %s: %s"):format(one.id, one.name,
    is_error and "failed" or "is done", as_text(content)), { kind = "call", call = one.id })
  if not ok then
    self.warn(("what %s %s returned is lost: %s"):format(one.id, one.name, message))
  end
end

--- Starts one.
---@param name string
---@param summary? string
---@param fn fun(): string|table, boolean content and is_error, as they stand in a tool_result;
---  raises nothing but a cancellation
---@param event? table of the call; its progress is put there
---@return string? id nil and a message when too many run
---@return string? message
function Jobs:start(name, summary, fn, event)
  if self.count >= defaults.tool.max_background then
    return nil, ("%d background calls run already (defaults.tool.max_background): wait until some "
      .. "are done"):format(self.count)
  end
  local one = { id = "call-" .. assert(sys.random_hex(3)), name = name, summary = summary,
    since = sys.now(), event = event }
  self.running[one.id], self.count = one, self.count + 1
  self.on_start(one)
  one.job = async.spawn(function()
    one.begun = true
    local ok, content, is_error = pcall(fn)
    self:finish(one, ok and content or tostring(content), not ok or is_error)
  end)
  return one.id
end

--- One line of what a call is and how far: "slow_count b.txt: 3 of 20 (15 %)".
---@param one agenthost.ToolJob
---@return string
function M.describe(one)
  local event = one.event or {}
  local percent = event.fraction and ("%d %%"):format(event.fraction * 100 // 1)
  local progress = event.progress and percent and ("%s (%s)"):format(event.progress, percent)
    or event.progress or percent
  return one.name .. (one.summary and " " .. one.summary or "") .. (progress and ": " .. progress
    or "")
end

--- Those that run, oldest first.
---@return agenthost.ToolJob[]
function Jobs:list()
  local list = {}
  for _, one in pairs(self.running) do
    list[#list + 1] = one
  end
  table.sort(list, function(a, b) return a.since < b.since end)
  return list
end

local function stop(self, one)
  one.job:cancel(tool_run.CANCELLED)
  if not one.begun then -- nor will it
    self:finish(one, "Cancelled before it was run.", true)
  end
end

--- Stops one; its notice says so.
---@param id string
---@return boolean whether there was such a call
function Jobs:cancel(id)
  local one = self.running[id]
  if one then
    stop(self, one)
  end
  return one ~= nil
end

--- Stops all, for good. What they return is not told any more, but that they were stopped is.
---@param why string
---@return agenthost.ToolJob[] stopped
function Jobs:close(why)
  local stopped = self:list()
  self.closed = true
  for _, one in ipairs(stopped) do
    stop(self, one)
    self.notify(("%s %s was stopped: %s"):format(one.id, one.name, why),
      { kind = "call", call = one.id })
  end
  return stopped
end

return M
