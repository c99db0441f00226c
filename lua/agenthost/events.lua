--- The events of an agent's life, and the handlers of plugins that are called at each (`ctx.on`).
---
--- A handler gets one table, the event. Some fields it may set, or change what stands in them, and
--- the next handler sees the change; any other is for looking at. Handlers are called one after the
--- other: those with the highest priority first, then in the order in which they were added. One
--- that raises, or that puts something unfit into a field, is reported with its file and line; its
--- changes are undone, and the others are called all the same. A handler may wait; whatever its
--- event is about waits with it.
---
--- | event            | fields that may be changed                                          |
--- | ---------------- | ------------------------------------------------------------------- |
--- | `session.start`  | none; id, cwd, resumed                                              |
--- | `prompt`         | system: the system prompt, before every model call                  |
--- | `message.user`   | blocks: what the user says, as content blocks                       |
--- | `request`        | request: system, tools, max_tokens, tool_choice, extra; turn        |
--- | `response`       | none; reply: text, calls, content, stop_reason, usage               |
--- | `tool.before`    | input; refuse: a reason; answer: a result in the tool's place; the  |
--- |                  | first of the last two ends the event. name, id                      |
--- | `tool.after`     | content: the result as text or blocks; name, id, input, is_error    |
--- | `notice`         | decision: wake, merge, hold or drop, the first one ends the event;  |
--- |                  | text: is told in place of the notice's own. notice                  |
--- | `compact.before` | focus: what the summary has to keep; reason                         |
--- | `idle`           | none; a run is over: result, or message and code                    |
--- | `session.end`    | none; id                                                            |
local copy = require("agenthost.copy")
local json = require("agenthost.json")
local options = require("agenthost.options")
local strikes = require("agenthost.strikes")
local tool_result = require("agenthost.tool_result")

local M = {}

---@alias agenthost.EventName "session.start"|"prompt"|"message.user"|"request"|"response"|
---  "tool.before"|"tool.after"|"notice"|"compact.before"|"idle"|"session.end"

---@class agenthost.EventHandler
---@field event agenthost.EventName
---@field fn fun(event: table)
---@field priority number
---@field call fun(what: string, fn: function, ...: any): boolean, any protected; see
---  plugin_record.lua
---@field alive fun(): boolean false when its plugin is gone
---@field unfit? agenthost.Strikes what it has left in events that did not fit there

local DECISIONS <const> = { wake = true, merge = true, hold = true, drop = true }

local function text(value)
  return type(value) == "string", "a text"
end

local function optional_text(value)
  return value == nil or type(value) == "string", "a text"
end

-- The functions below raise what is wrong when that takes more words.

-- It goes to the model as JSON.
local function sendable(value)
  local ok, message = pcall(json.encode, value)
  return ok or error((tostring(message):gsub("^json%.encode: ", "")), 0)
end

-- What an API does not take would stand in the conversation for good.
local function blocks(value)
  tool_result.check_blocks(value)
  return sendable(value)
end

local function input(value)
  return type(value) == "table" and sendable(value), "a table"
end

local function answer(value)
  return value == nil or tool_result.content(value) ~= nil
end

local function content(value)
  return type(value) == "string" or type(value) == "table" and blocks(value),
    "a text or content blocks"
end

-- What a handler may change in a request.
local REQUEST <const> = { system = "string", tools = "table", max_tokens = "number",
  tool_choice = "table", extra = "table" }

local function check_tools(tools)
  for i, tool in ipairs(tools) do
    if type(tool) ~= "table" or type(tool.name) ~= "string" then
      error(("tools[%d]: expected { name = ..., description = ..., input_schema = ... }"):format(
        i), 0)
    end
  end
end

local function request(value)
  for field, wanted in pairs(type(value) == "table" and REQUEST or {}) do
    local given = value[field]
    if given ~= nil and type(given) ~= wanted then
      error(("%s: expected a %s, got a %s"):format(field, wanted, type(given)), 0)
    elseif given ~= nil then
      sendable(given)
    end
  end
  check_tools(type(value) == "table" and value.tools or {})
  return type(value) == "table", "a table"
end

-- Copies a request as far as it may be changed; the conversation stays where it is.
local function copy_request(value)
  local made = {}
  for field, member in pairs(value) do
    made[field] = REQUEST[field] and copy.deep(member) or member
  end
  return made
end

-- A request of the handler's own has the conversation of the one before, and its bound.
local function complete(made, before)
  for field, member in pairs(before) do
    if made[field] == nil and (not REQUEST[field] or field == "max_tokens") then
      made[field] = member
    end
  end
end

-- event -> the fields that a handler may change, and what fits there
local EVENTS <const> = {
  ["session.start"] = {},
  prompt = { system = text },
  ["message.user"] = { blocks = blocks },
  request = { request = request },
  response = {},
  ["tool.before"] = {
    input = input,
    refuse = optional_text,
    answer = answer,
  },
  ["tool.after"] = { content = content },
  notice = {
    decision = function(value)
      return value == nil or DECISIONS[value] ~= nil, "wake, merge, hold or drop"
    end,
    text = optional_text,
  },
  ["compact.before"] = { focus = optional_text },
  idle = {},
  ["session.end"] = {},
}

-- A field that ends its event as soon as it is set.
local ENDS <const> = { refuse = true, answer = true, decision = true }

---@return string[]
function M.names()
  local names = {}
  for name in pairs(EVENTS) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- Raises unless there is such an event.
---@param name string
---@param level integer as for error(), seen from the caller
function M.check_name(name, level)
  if not EVENTS[name] then
    local names = M.names()
    local best = type(name) == "string" and options.closest(name, names)
    error(("there is no event '%s'%s"):format(tostring(name), best
      and ("; did you mean '%s'?"):format(best) or "; there are " .. table.concat(names, ", ")),
      level + 1)
  end
end

---@class agenthost.Events
local Events = {}
Events.__index = Events

---@param warn fun(line: string) told what is wrong with a handler
---@return agenthost.Events
function M.new(warn)
  return setmetatable({ warn = warn, handlers = {} }, Events)
end

--- Puts these handlers in place of all there are.
---@param handlers agenthost.EventHandler[] in the order in which they were added
function Events:replace(handlers)
  local by_event = {}
  for order, handler in ipairs(handlers) do
    local list = by_event[handler.event] or {}
    by_event[handler.event] = list
    list[#list + 1] = { handler = handler, order = order }
  end
  for _, list in pairs(by_event) do
    table.sort(list, function(a, b)
      if a.handler.priority ~= b.handler.priority then
        return a.handler.priority > b.handler.priority
      end
      return a.order < b.order
    end)
  end
  self.handlers = by_event
end

---@param name agenthost.EventName
---@return boolean
function Events:handled(name)
  return self.handlers[name] ~= nil
end

-- What is wrong with a field; nil when nothing is.
local function problem_with(field, fits, got)
  local ran, ok, wanted = pcall(fits, got)
  if not ran then
    return ("event.%s: %s"):format(field, tostring(ok))
  elseif not ok then
    return ("event.%s: expected %s, got %s"):format(field, wanted,
      type(got) == "string" and ("'%s'"):format(got) or "a " .. type(got))
  end
end

-- What is wrong with what a handler has left; nil when nothing is. What was so before it came
-- (blocks that only one API knows) is not its doing.
local function problem_of(fields, event, before)
  for field, fits in pairs(fields) do
    local problem = problem_with(field, fits, event[field])
    if problem and not problem_with(field, fits, before[field]) then
      return problem
    end
  end
end

local function is_over(fields, event)
  for field in pairs(fields) do
    if ENDS[field] and event[field] ~= nil then
      return true
    end
  end
end

-- What a handler has left does not fit: that is told, and as a failure it counts.
local function refuse(self, handler, what, problem)
  local place = debug.getinfo(handler.fn, "S")
  local where = ("%s:%d"):format(place.short_src, place.linedefined)
  self.warn(("%s: %s: %s"):format(where, what, problem))
  handler.unfit = handler.unfit or strikes.new(("the %s at %s"):format(what, where))
  local off = handler.unfit:miss(problem)
  if off then
    self.warn(off)
  end
end

-- Calls one handler; when that fails the event is as it was.
function Events:call(handler, name, event)
  local fields, before = EVENTS[name], {}
  if handler.unfit and handler.unfit:off() then
    return
  end
  for field in pairs(fields) do
    before[field] = event[field]
    event[field] = (field == "request" and copy_request or copy.deep)(event[field])
  end
  local what = ("handler of '%s'"):format(name)
  local ok = handler.call(what, handler.fn, event)
  local problem = ok and problem_of(fields, event, before)
  if problem then
    refuse(self, handler, what, problem)
  elseif ok and handler.unfit then
    handler.unfit:hit()
  end
  if not ok or problem then
    for field in pairs(fields) do
      event[field] = before[field]
    end
  elseif name == "request" then
    complete(event.request, before.request)
  end
end

--- Tells all handlers of an event.
---@param name agenthost.EventName
---@param event table
---@return table event with what the handlers have changed
function Events:fire(name, event)
  for _, entry in ipairs(self.handlers[name] or {}) do
    if entry.handler.alive() then
      self:call(entry.handler, name, event)
      if is_over(EVENTS[name], event) then
        break
      end
    end
  end
  return event
end

return M
