--- Where a conversation may be cut: what is before goes, what is behind stays as it is.
---
--- A cut never parts a tool_use from its result, nor a reply of several pieces (what was thought
--- comes back with the call it led to).
local M = {}

--- Whether a piece holds results of tools. (Inside a JSON string the quotes would be escaped.)
---@param piece agenthost.Piece
---@return boolean
function M.has_results(piece)
  return piece.role == "user" and piece.blocks:find('"type":"tool_result"', 1, true) ~= nil
end

-- Whether pieces[at] can be the first one that is kept, behind a message of the user's.
local function is_cut(pieces, at)
  if pieces[at].role == "assistant" then
    return pieces[at - 1].role == "user"
  end
  return not M.has_results(pieces[at])
end

--- The first piece to keep so that as many of the newest turns as allowed stay: at least one reply
--- with what follows it, or where there is none the newest message.
---@param pieces agenthost.Piece[]
---@param turns integer
---@param bytes integer of what is kept; math.huge: no matter
---@return integer? index nil when there is no place to cut
function M.find(pieces, turns, bytes)
  local best, has_reply, size, replies = nil, false, 0, 0
  for at = #pieces, 2, -1 do
    size = size + #pieces[at].blocks
    if is_cut(pieces, at) then
      local is_reply = pieces[at].role == "assistant"
      replies = replies + (is_reply and 1 or 0)
      local fits = size <= bytes and replies <= turns
      if has_reply and not fits then
        break
      end
      best = (fits or is_reply or not best) and at or best
      has_reply = has_reply or is_reply
    end
  end
  return best
end

--- Whether a piece is something that the user has said: not a result, not a text of the host's,
--- which begins with a tag or says that a reply was stopped.
---@param piece agenthost.Piece
---@return boolean
function M.is_request(piece)
  return piece.role == "user" and not M.has_results(piece)
    and not piece.blocks:find('^{"text":"<[%a-]+>')
    and not piece.blocks:find('^{"text":"%[The user stopped')
end

--- The newest of them in pieces[first] .. pieces[last].
---@return integer? index
function M.last_request(pieces, first, last)
  for at = last, first, -1 do
    if M.is_request(pieces[at]) then
      return at
    end
  end
end

return M
