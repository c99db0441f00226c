--- The conversation: what was said, each piece encoded once in its life and kept as JSON text.
---
--- A piece is a role and some content blocks. Pieces of the same role that follow each other (tool
--- results, then the user's words, then notices) are one message on the wire: an API wants the
--- roles to alternate, and the file on disk wants every piece at once.
local joined = require("agenthost.joined")
local json = require("agenthost.json")

---@class agenthost.Piece
---@field role "user"|"assistant"
---@field blocks string the content blocks as JSON, joined by commas

---@class agenthost.Conversation
---@field pieces agenthost.Piece[]
local Conversation = {}
Conversation.__index = Conversation

local M = {}

--- A conversation, empty or with what was said before.
---@param on_append? fun(piece: agenthost.Piece, json: string) called with every new piece before it
---  counts; `json` is the piece as one message. Raises when it could not be kept.
---@param pieces? agenthost.Piece[] what was said before
---@return agenthost.Conversation
function M.new(on_append, pieces)
  return setmetatable({
    pieces = pieces or {},
    on_append = on_append or function() end,
  }, Conversation)
end

local function message_json(role, blocks)
  return '{"role":"' .. role .. '","content":[' .. blocks .. "]}"
end

--- Appends a piece. Blocks are tables in the shape of content blocks; one that has a field `json`
--- is taken as that text, unchanged.
---@param role "user"|"assistant"
---@param blocks table[] at least one
function Conversation:append(role, blocks)
  assert(#blocks > 0, "a message needs content")
  local parts = {}
  for i, block in ipairs(blocks) do
    parts[i] = block.json or json.encode(block)
  end
  local piece = { role = role, blocks = table.concat(parts, ",") }
  self.on_append(piece, message_json(role, piece.blocks))
  self.pieces[#self.pieces + 1] = piece
end

--- Puts other pieces in place of all that are there (compaction). What keeps them on disk is not
--- told.
---@param pieces agenthost.Piece[]
function Conversation:replace(pieces)
  self.pieces = pieces
end

--- The role of the last piece; nil when there is none.
---@return string?
function Conversation:last_role()
  local last = self.pieces[#self.pieces]
  return last and last.role
end

--- The messages as JSON text, roles alternating.
---@return string
function Conversation:messages_json()
  self.joined = self.joined or joined.new()
  return table.concat(self.joined:parts(self.pieces))
end

--- The messages as tables, decoded anew.
---@return table[]
function Conversation:messages()
  return json.decode(self:messages_json())
end

return M
