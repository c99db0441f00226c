--- How long the next prompt is, and how long it may be, in tokens.
local models = require("agenthost.models")
local json = require("agenthost.json")

---@class agenthost.PromptSize
local Size = {}
Size.__index = Size

local M = {}

---@param agent agenthost.Agent
---@return agenthost.PromptSize
function M.new(agent)
  return setmetatable({
    agent = agent,
    limits = {}, -- of a provider: { provider, window }
    counted = {}, -- the bytes of the first n pieces of a list: { pieces, n, bytes }
  }, Size)
end

--- Tokens that a prompt may have, when that is known without asking the server.
---@return integer?
function Size:known_limit()
  if self.limits.provider ~= self.agent.provider then
    return nil
  end
  local window = self.limits.window
  return math.max(window - self.agent.max_tokens, window // 2)
end

--- The same; asks the server the first time.
---@return integer
function Size:limit()
  local provider = self.agent.provider
  if self.limits.provider ~= provider then
    self.limits = { provider = provider, window = models.limits(provider).context_window }
  end
  return self:known_limit()
end

-- The bytes of the tools; they are encoded again when there are more or fewer.
local function tools_bytes(self)
  local definitions = self.agent.tools:definitions()
  if #definitions ~= self.tools_count then
    self.tools_count, self.tools_bytes = #definitions, #json.encode(json.array(definitions))
  end
  return self.tools_bytes
end

--- Bytes of the next request, about. Each piece is counted once in its life.
---@return integer
function Size:bytes()
  local pieces, counted = self.agent.conversation.pieces, self.counted
  if counted.pieces ~= pieces then
    counted = { pieces = pieces, n = 0, bytes = 0 }
    self.counted = counted
  end
  for at = counted.n + 1, #pieces do
    counted.bytes = counted.bytes + #pieces[at].blocks
  end
  counted.n = #pieces
  return counted.bytes + tools_bytes(self) + #self.agent.system
end

--- Tokens of the next prompt, estimated: what the last call has used, and a quarter of the bytes
--- that came since.
---@return integer
function Size:tokens()
  local bytes, last = self:bytes(), self.last
  return last and last.tokens + (bytes - last.bytes) // 4 or bytes // 4
end

--- Puts other pieces into the conversation. What goes is taken to have had as many tokens a byte as
--- what stays.
---@param pieces agenthost.Piece[]
function Size:replace(pieces)
  local tokens, bytes = self:tokens(), math.max(1, self:bytes())
  self.agent.conversation:replace(pieces)
  self.last = { tokens = tokens * self:bytes() // bytes, bytes = self:bytes() }
end

---@return number
function Size:bytes_per_token()
  return self:bytes() / math.max(1, self:tokens())
end

--- Takes note of what a call has used, before its reply is in the conversation.
---@param usage table
function Size:took(usage)
  local tokens = models.tokens(usage.input_tokens) + models.tokens(usage.cache_read_input_tokens)
    + models.tokens(usage.cache_creation_input_tokens)
  if tokens > 0 then
    self.last = { tokens = tokens, bytes = self:bytes() }
  end
end

--- A prompt was refused: the window is smaller than thought, or the prompt has more tokens.
---@param window? integer what the server says of it
function Size:learn(window)
  self:limit()
  window = window or math.min(self:tokens(), self.limits.window)
  self.limits.window = window
  self.last = { tokens = math.max(self:tokens(), window), bytes = self:bytes() }
end

return M
