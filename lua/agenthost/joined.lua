--- The pieces of a conversation as the messages of a request, joined once: behind a long history a
--- request costs what is new, and sending the bytes.
---
--- What comes before the last piece never changes, so its JSON is kept in long texts. They are not
--- joined into one for each request, for that would copy all of them: agenthost.http takes the body
--- in parts.
local M = {}

local LONG <const> = 16 * 1024 -- bytes; a shorter text is joined with what follows

---@class agenthost.Joined
local Joined = {}
Joined.__index = Joined

--- For one conversation at a time; another one costs joining it anew.
---@return agenthost.Joined
function M.new()
  return setmetatable({ count = 0, texts = {} }, Joined)
end

-- Appends the JSON of piece `i` to `out`, with what comes between it and its neighbours: pieces of
-- the same role are one message.
local function add(out, pieces, i, blocks)
  local role = pieces[i].role
  local before, after = pieces[i - 1], pieces[i + 1]
  if before and before.role == role then
    out[#out + 1] = ","
  else
    out[#out + 1] = (before and "," or "") .. '{"role":"' .. role .. '","content":['
  end
  out[#out + 1] = blocks
  if not after or after.role ~= role then
    out[#out + 1] = "]}"
  end
end

--- Adds to texts that only grow, such that there are few of them and none is copied often.
---@param texts string[] changed
---@param fresh string[] what comes behind them; changed
function M.grow(texts, fresh)
  if #fresh == 0 then
    return
  elseif texts[1] and #texts[#texts] < LONG then
    table.insert(fresh, 1, table.remove(texts))
  end
  texts[#texts + 1] = table.concat(fresh)
end

-- Takes the pieces up to `count` into the texts that are kept.
local function extend(self, pieces, count)
  if self.count >= count then
    return
  end
  local fresh = {}
  for i = self.count + 1, count do
    add(fresh, pieces, i, pieces[i].blocks)
  end
  M.grow(self.texts, fresh)
  self.count, self.last = count, pieces[count]
end

--- The messages, roles alternating, as the parts of a JSON text.
---@param pieces agenthost.Piece[] they never change, and the list only grows; with another list, or
---  with other pieces in it, all is joined anew
---@param changed? table<integer, agenthost.Piece> for this request only: index -> what to send in
---  place of that piece, with the same role. It should be one of the last
---@return string[] parts
function Joined:parts(pieces, changed)
  local stable = #pieces - 1
  for i in pairs(changed or {}) do
    stable = math.min(stable, i - 1)
  end
  if self.pieces ~= pieces or pieces[self.count] ~= self.last or stable < self.count then
    self.pieces, self.count, self.last, self.texts = pieces, 0, nil, {}
  end
  extend(self, pieces, stable)
  local out = table.move(self.texts, 1, #self.texts, 2, { "[" })
  for i = self.count + 1, #pieces do
    add(out, pieces, i, (changed and changed[i] or pieces[i]).blocks)
  end
  out[#out + 1] = "]"
  return out
end

return M
