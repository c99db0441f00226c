--- The conversation as Anthropic's API takes it: without what only other APIs understand, and with
--- marks for the prompt cache.
local joined = require("agenthost.joined")
local json = require("agenthost.json")
local raw_text = require("agenthost.provider.raw")

local M = {}

-- The API looks back 20 blocks from a mark for what it has in its cache.
local LOOK_BACK <const> = 15

local MARK <const> = ',"cache_control":{"type":"ephemeral"}}'

-- ---- blocks of other APIs ----------------------------------------------------------------------
-- A conversation may have been begun with another provider. What is of that provider alone has a
-- name that begins with "openai_": a type of block, or a field. See openai_messages.lua.

local IDS <const> = { "id", "tool_use_id" }

-- The API takes no other ids. The same id always becomes the same.
local function clean_id(id)
  return (id:gsub("[^%w_-]", "_"))
end

-- The JSON of one block as this API takes it, or nil.
local function own_block(raw, no_thinking)
  local block = json.decode(raw)
  if block.type:find("^openai_") or no_thinking and block.type:find("thinking$") then
    return nil
  elseif block.type == "thinking" and block.signature == nil then
    return nil -- nobody signed it
  end
  local fields, changed = {}, false
  for name in pairs(block) do
    if name:find("^openai_") then
      changed = true
    else
      fields[name] = json.raw(json.slice(raw, name))
    end
  end
  for _, name in ipairs(IDS) do
    local id = block[name]
    if type(id) == "string" and clean_id(id) ~= id then
      fields[name], changed = clean_id(id), true
    end
  end
  if block.type == "tool_use" and raw_text.tool_name(block.name) ~= block.name then
    fields.name, changed = raw_text.tool_name(block.name), true
  end
  return changed and json.encode(fields) or raw
end

-- Names of members; in a text they mean nothing, and a second look finds that out.
local SIGNS <const> = {
  '"openai_', '"id":"[%w_-]*[^%w_"-]', '"tool_use_id":"[%w_-]*[^%w_"-]',
  '"name":"[%w_-]*[^%w_"-]', '"name":""', '"name":"' .. ("[%w_-]"):rep(65),
}

local function is_foreign(blocks)
  for _, sign in ipairs(SIGNS) do
    if blocks:find(sign) then
      return true
    end
  end
  return false
end

-- A piece as this API takes it: true for the same one, another, or false when nothing is left.
local function own_piece(piece, no_thinking)
  if not no_thinking and not is_foreign(piece.blocks) then
    return true
  end
  local kept = {}
  for _, raw in ipairs(json.elements("[" .. piece.blocks .. "]")) do
    kept[#kept + 1] = own_block(raw, no_thinking)
  end
  return #kept > 0 and { role = piece.role, blocks = table.concat(kept, ",") } or false
end

-- ---- marks for the cache -----------------------------------------------------------------------

-- The piece with a mark on its last block.
local function marked(piece)
  if piece.blocks:find('"cache_control"', 1, true) then
    return piece -- somebody has taken care of it
  end
  return { role = piece.role, blocks = piece.blocks:sub(1, -2) .. MARK }
end

-- The last user piece at or before `i`, or nil.
local function user_piece(pieces, i)
  while i > 0 and pieces[i].role ~= "user" do
    i = i - 1
  end
  return i > 0 and i or nil
end

-- Where the request before this one ended: that is what the cache holds.
local function end_before(pieces)
  local i = #pieces
  while i > 0 and pieces[i].role == "user" do
    i = i - 1
  end
  return user_piece(pieces, i)
end

-- How many blocks lie behind piece `i`, or some more: what a block holds may have a type, too.
local function blocks_behind(pieces, i)
  local count = 0
  for k = i + 1, #pieces do
    count = count + select(2, pieces[k].blocks:gsub('"type"%s*:%s*"', ""))
  end
  return count
end

-- What to send in place of some of the pieces so that there are marks, at most two: index -> piece.
local function marks(pieces, explicit)
  local changed = {}
  local last, before = user_piece(pieces, #pieces), end_before(pieces)
  if explicit and last then
    changed[last] = marked(pieces[last])
  end
  if before and (explicit or blocks_behind(pieces, before) > LOOK_BACK) then
    changed[before] = marked(pieces[before])
  end
  return changed
end

-- ---- all of it ---------------------------------------------------------------------------------

---@class agenthost.anthropic.Messages
local Messages = {}
Messages.__index = Messages

---@return agenthost.anthropic.Messages
function M.new()
  return setmetatable({
    own = setmetatable({}, { __mode = "k" }),
    no_thinking = setmetatable({}, { __mode = "k" }), -- pieces that go back without it
    joined = joined.new(),
    seen = 0, -- of a conversation's pieces, those that are in `list`
    list = {},
  }, Messages)
end

-- What is left of a piece, or nil. Looked at once in its life.
function Messages:own_piece(piece)
  local own = self.own[piece]
  if own == nil then
    own = own_piece(piece, self.no_thinking[piece])
    self.own[piece] = own
  end
  return own == true and piece or own or nil
end

--- From now on leaves out what was thought so far: another server, or another account, has signed
--- it.
---@param pieces agenthost.Piece[]
---@return boolean whether there was any such thing
function Messages:forget_thinking(pieces)
  local found = false
  for _, piece in ipairs(pieces) do
    if piece.role == "assistant" and not self.no_thinking[piece]
      and piece.blocks:find('"type":"[%w_]*thinking"') then
      self.no_thinking[piece], self.own[piece], found = true, nil, true
    end
  end
  self.pieces = nil
  return found
end

-- The pieces as this API takes them, in a list that grows with theirs.
local function follow(self, pieces)
  if self.pieces ~= pieces or pieces[self.seen] ~= self.last then
    self.pieces, self.list, self.seen = pieces, {}, 0
  end
  for i = self.seen + 1, #pieces do
    self.list[#self.list + 1] = self:own_piece(pieces[i])
  end
  self.seen, self.last = #pieces, pieces[#pieces]
  return self.list
end

--- The messages of a request as the parts of a JSON text.
---
--- The API puts one mark at the end by itself. From there it finds what the request before has left
--- in the cache, unless a turn with many calls lies between: then there is a mark at that place.
---@param request agenthost.Request
---@param cache boolean|"explicit" "explicit": the API places no mark by itself
---@return string[]
function Messages:parts(request, cache)
  if not request.pieces then
    return { request.messages_json() }
  end
  local pieces = follow(self, request.pieces)
  return self.joined:parts(pieces, cache and marks(pieces, cache == "explicit"))
end

return M
