--- The prompt as a status line: what runs, for how long, tokens, tasks; and the ticker that keeps
--- it.
local async = require("agenthost.async")
local sys = require("agenthost.sys")
local usage = require("agenthost.usage")
local words = require("agenthost.words")

local M = {}

local TICK <const> = 0.25 -- seconds
local TYPED <const> = 20 -- columns that are left for what is typed, if possible
local WHAT <const> = 6 -- columns that what runs gets at least, if possible
local AROUND <const> = 5 -- columns of "⠋ " and " > "
local SPINNER <const> = { "⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏" }

---@class agenthost.Status
local Status = {}
Status.__index = Status

---@param screen agenthost.Screen
---@param agent agenthost.Agent
---@return agenthost.Status
function M.new(screen, agent)
  return setmetatable({ screen = screen, agent = agent, tools = {}, frame = 0 }, Status)
end

local function tasks_running(self)
  local count = #self.agent:pending_tasks() + #self.agent.tool_jobs:list()
  return count > 0 and words.number(count, "task") .. " running" or nil
end

-- What the agent does now.
local function activity(self)
  local newest = self.tools[#self.tools]
  if not newest then
    return self.waiting or "thinking", self.model_since
  end
  local more = #self.tools > 1 and (" (+%d)"):format(#self.tools - 1) or ""
  local progress = newest.progress or newest.summary or ""
  local percent = newest.fraction and (" %d %%"):format(newest.fraction * 100 // 1) or ""
  return newest.name .. " " .. progress .. percent .. more, newest.since
end

-- How long, how much, how many: in the order in which they go when there is no room.
local function numbers(self, since)
  local used = self.agent.usage.session
  local tokens = used.input_tokens + used.output_tokens + used.cache_read_input_tokens
    + used.cache_creation_input_tokens
  local cost = usage.cost(used) or 0
  return {
    { place = 2, text = tokens > 0 and words.count(tokens) .. " tokens" or nil },
    { place = 3, text = cost > 0 and usage.dollars(cost) or nil },
    { place = 4, text = tasks_running(self) },
    { place = 1, text = since and words.duration((sys.now() - since) // 1) },
  }
end

local function join(parts)
  local texts = { "", "", "", "" }
  for _, part in ipairs(parts) do
    texts[part.place] = part.text and " · " .. part.text or ""
  end
  return table.concat(texts)
end

-- Fits on one row, with some columns left for what is typed.
local function working_prompt(self)
  local what, since = activity(self)
  local parts, columns = numbers(self, since), self.screen.width()
  local room = columns - math.min(TYPED, columns // 3) - AROUND
  while #parts > 0 and room - utf8.len(join(parts)) < math.min(WHAT, room) do
    table.remove(parts, 1)
  end
  local tail = join(parts)
  local shown = words.shorten(what, math.max(0, room - utf8.len(tail)))
  return ("%s %s%s "):format(SPINNER[self.frame % #SPINNER + 1], shown, tail)
end

--- From now on it is this agent's.
---@param agent agenthost.Agent
function Status:set_agent(agent)
  self.agent = agent
end

--- The message goes on with the next line.
---@param continued boolean
function Status:set_continued(continued)
  self.continued = continued
  self:update()
end

--- While the user is asked something the prompt is the question's.
---@param prompt? string nil: it is answered
function Status:set_question(prompt)
  self.question = prompt
  self:update()
end

--- Draws it anew.
function Status:update()
  if self.question then
    self.screen:set_prompt(self.question)
  elseif self.continued then
    self.screen:set_prompt("… ")
  elseif self.working then
    self.screen:set_prompt(self.screen:style("2", working_prompt(self)) .. "> ")
  else
    local tasks = tasks_running(self)
    self.screen:set_prompt((tasks and self.screen:style("2", tasks) .. " " or "") .. "> ")
  end
end

--- The agent starts to work. Until `stop` the status line shows whenever no text streams.
---@param is_streaming fun(): boolean
function Status:start(is_streaming)
  self.working, self.model_since, self.tools = true, sys.now(), {}
  if self.screen.editor:is_plain() then
    return -- nothing can be drawn anew there
  end
  self.ticker = async.spawn(function()
    while true do
      async.sleep(TICK)
      self.frame = self.frame + 1
      if self.screen.shown or not is_streaming() then
        self:update()
        self.screen:show()
      end
    end
  end)
end

function Status:stop()
  self.working, self.tools, self.waiting = false, {}, nil
  if self.ticker then
    self.ticker:cancel("stopped")
    self.ticker = nil
  end
end

--- What happens, as the agent tells it.
---@param event table
function Status:on_event(event)
  if event.type == "model_start" then
    self.model_since, self.waiting = sys.now(), nil
  elseif event.type == "retry" then
    self.model_since = sys.now()
    self.waiting = ("trying again in %.0f s"):format(math.ceil(event.wait.delay))
  elseif event.type == "retry_tick" then
    self.waiting = event.left > 0 and ("trying again in %d s"):format(event.left)
      or "trying again"
  elseif event.type == "tool_start" then
    event.call.since = sys.now()
    table.insert(self.tools, event.call)
  elseif event.type == "tool_end" then
    for i, call in ipairs(self.tools) do
      if call == event.call then
        table.remove(self.tools, i)
        break
      end
    end
  end
end

return M
