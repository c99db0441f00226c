--- Ids of tool calls. An API refuses a conversation in which two calls have the same one, or one
--- has none; some servers begin to count anew in each reply. Such calls get an id of ours.
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local M = {}

---@class agenthost.CallIds
local Ids = {}
Ids.__index = Ids

---@return agenthost.CallIds
function M.new()
  return setmetatable({ used = {}, count = 0 }, Ids)
end

-- Takes note of the calls of a conversation: each has a result, and each piece is looked at once.
-- (Inside a JSON string the quotes would be escaped.)
local function follow(self, pieces)
  if self.pieces ~= pieces then
    self.pieces, self.count = pieces, 0
  end
  for i = self.count + 1, #pieces do
    if pieces[i].role == "user" then
      for id in pieces[i].blocks:gmatch('"tool_use_id":"([^"]*)"') do
        self.used[id] = true
      end
    end
  end
  self.count = #pieces
end

-- The call with another id. What the Responses API keeps of it names the old one.
local function renamed(block)
  local copy = {}
  for name, value in pairs(block) do
    copy[name] = value
  end
  copy.id = "call_" .. sys.random_hex(12)
  if block.json then
    local fields = {}
    for name in pairs(json.decode(block.json)) do
      fields[name] = json.raw(json.slice(block.json, name))
    end
    fields.id, fields.openai_item = copy.id, nil
    copy.json = json.encode(fields)
  end
  return copy
end

--- Puts others in place of calls whose id is empty or taken.
---@param content agenthost.Block[] of a reply; changed
---@param pieces agenthost.Piece[] the conversation before it
function Ids:settle(content, pieces)
  follow(self, pieces)
  local here = {}
  for i, block in ipairs(content) do
    if block.type == "tool_use" then
      if block.id == "" or here[block.id] or self.used[block.id] then
        content[i] = renamed(block)
      end
      here[content[i].id] = true
    end
  end
end

return M
