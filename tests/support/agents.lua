--- Agents whose model is a table in the spec: everything else is real.
local agent = require("agenthost.agent")
local json = require("agenthost.json")
local places = require("agenthost.places")
local temp = require("support.temp")

local M = {}

local next_id = 0

--- A tool_use block.
function M.call(name, input)
  next_id = next_id + 1
  return { type = "tool_use", id = "toolu_" .. next_id, name = name,
    input = input or json.object() }
end

--- A reply of texts (strings) and other blocks.
function M.reply(...)
  local content, stop_reason = {}, "end_turn"
  for i, block in ipairs({ ... }) do
    content[i] = type(block) == "string" and { type = "text", text = block } or block
    if content[i].type == "tool_use" then
      stop_reason = "tool_use"
    end
  end
  return { content = content, stop_reason = stop_reason, usage = {} }
end

-- Raises unless an API would take the messages: roles alternate, from "user" on; no content is
-- empty; every tool_use has exactly one tool_result, at the start of the next message.
local function check_results(asked, message)
  local results = {}
  for i, block in ipairs(message and message.content or {}) do
    if block.type == "tool_result" then
      assert(message.content[i - 1] == nil or message.content[i - 1].type == "tool_result",
        "a tool_result behind other blocks")
      assert(not results[block.tool_use_id], "two results for " .. block.tool_use_id)
      assert(asked[block.tool_use_id], "a result for nothing: " .. block.tool_use_id)
      assert(#block.content > 0, "an empty result")
      results[block.tool_use_id] = true
    end
  end
  for id in pairs(asked) do
    assert(results[id], "no result for " .. id)
  end
end

--- Checks messages as a strict API would.
---@param messages table[]
---@param complete? boolean the last message may not ask for tools
function M.check(messages, complete)
  check_results({}, messages[1])
  for i, message in ipairs(messages) do
    assert(message.role == (i % 2 == 1 and "user" or "assistant"),
      "roles do not alternate at " .. i)
    assert(#message.content > 0, "an empty message")
    local asked = {}
    for _, block in ipairs(message.content) do
      assert(block.type ~= "text" or block.text:find("%S"), "an empty text")
      if block.type == "tool_use" then
        asked[block.id] = true
      end
      assert(block.incomplete == nil, "a field of ours on the wire")
    end
    if complete or messages[i + 1] then
      check_results(asked, messages[i + 1])
    end
  end
end

--- A provider that answers with one of `turns` after the other: each a reply, or a function
--- (messages, request, on_event) that gives what `stream` has to give; or with the one function.
--- Checks every request.
function M.provider(turns)
  local provider = { name = "inline", model = "inline/test", calls = 0, requests = {} }
  function provider:stream(request, on_event)
    self.calls = self.calls + 1
    local messages = json.decode(request.messages_json())
    M.check(messages, true)
    assert(messages[#messages].role == "user", "the last message has to be the user's")
    self.requests[self.calls] = messages
    local turn = type(turns) == "table" and turns[self.calls] or turns
    if type(turn) == "function" then
      return turn(messages, request, on_event)
    end
    return assert(turn, "the model is called once too often")
  end
  return provider
end

---@class support.Agents
local Agents = {}
Agents.__index = Agents

--- A place for agents: `new` makes them, `close` removes all that they have left.
function M.place()
  return setmetatable({ cwd = temp.directory(), made = {} }, Agents)
end

--- A place with files of the user's: a folder `base`, and in it `config`, the user's configuration
--- until `close`.
function M.users_place()
  local place = M.place()
  place.base, place.config_before = temp.directory(), places.config
  places.config = place.base .. "/config"
  return place, place.base
end

--- An agent with the provider `turns`. Options as for agent.new; unless they say otherwise nothing
--- is asked for.
function Agents:new(turns, opts)
  local all = { cwd = self.cwd, provider = M.provider(turns),
    permissions = { mode = "bypassPermissions" } }
  for name, value in pairs(opts or {}) do
    all[name] = value
  end
  local made = agent.new(all)
  made.events = {}
  made.on_event = function(event)
    made.events[#made.events + 1] = event
  end
  self.made[#self.made + 1] = made
  return made
end

function Agents:close()
  for _, made in ipairs(self.made) do
    for _, one in ipairs(made:list_tasks()) do
      one:kill({ grace = 0 })
      one:wait(30)
    end
    M.check(made.conversation:messages())
    local dir = made.session.dir
    made:close()
    temp.remove(dir)
  end
  temp.remove(self.cwd)
  if self.base then
    places.config = self.config_before
    temp.remove(self.base)
  end
end

--- The events of one type that an agent has told so far.
---@param type string
---@return table[]
function M.events_of(made, type)
  local found = {}
  for _, event in ipairs(made.events) do
    found[#found + 1] = event.type == type and event or nil
  end
  return found
end

--- The texts of its warnings.
---@return string[]
function M.warnings(made)
  local texts = {}
  for i, event in ipairs(M.events_of(made, "warning")) do
    texts[i] = event.text
  end
  return texts
end

return M
