--- How long the next prompt is, and how long it and its reply may be, in tokens.
local defaults = require("agenthost.defaults")
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
    limits = {}, -- of a provider: { provider, window, known }; see learn_of
    counted = {}, -- the bytes of the first n pieces of a list: { pieces, n, bytes }
  }, Size)
end

-- Asks for the limits of the agent's provider, once. `known` is what is certain.
local function learn_of(self)
  local provider = self.agent.provider
  if self.limits.provider ~= provider then
    local known = models.known_limits(provider)
    local window = known.context_window or defaults.limits.context_window
    self.limits = { provider = provider, window = window, known = known }
  end
  return self.limits
end

--- Whether the server has to be asked before the next call: nobody knows the model.
---@return boolean
function Size:must_ask()
  local provider = self.agent.provider
  local entry = models.find(provider.model) or {}
  return self.limits.provider ~= provider and not (entry.context_window and entry.max_output)
end

--- Tokens that a prompt may have, when that is known without asking the server.
---@return integer?
function Size:known_limit()
  if self.limits.provider ~= self.agent.provider then
    return nil
  end
  local window = self.limits.window
  return math.max(window - self:most(), window // 2)
end

--- The same; asks the server the first time.
---@return integer
function Size:limit()
  learn_of(self)
  return self:known_limit()
end

--- Tokens that a reply may have at most.
---@return integer
---@return agenthost.ModelInfo known what is certain of the model
function Size:most()
  local provider = self.agent.provider
  local known = self.limits.provider == provider and self.limits.known
    or models.find(provider.model) or {}
  return math.min(self.agent.max_tokens, known.max_output or math.maxinteger), known
end

-- Tokens that a reply has at least: the API refuses a limit that a budget for thinking does not fit
-- in, and the reply needs room behind it.
local function least(agent)
  local thinking = agent.extra and agent.extra.thinking
  local budget = type(thinking) == "table" and math.tointeger(thinking.budget_tokens) or 0
  return defaults.reply.smallest + math.max(0, budget)
end

--- Tokens that the next reply may have: what the agent asks for, unless the model does not give as
--- much, or prompt and reply together would not fit. Asks nobody.
---@return integer
function Size:reply()
  local options, most, known = defaults.reply, self:most()
  if known.context_window then
    local free = math.floor(known.context_window * (1 - options.margin)) - self:tokens()
    most = math.min(most, math.max(free, least(self.agent)))
  end
  return most
end

--- The window, when a prompt that is longer would be cut without a word and the next one is.
---@return integer?
function Size:is_cut()
  local limits = self.limits
  return limits.provider == self.agent.provider and limits.known.cuts
    and self:tokens() > limits.window and limits.window or nil
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
---@param prompt? integer what it says of the prompt
---@return boolean is_enough a shorter reply will do, for the prompt itself fits
function Size:learn(window, prompt)
  local limits, before = learn_of(self), self:reply()
  if window then
    limits.known = { context_window = window, max_output = limits.known.max_output,
      cuts = limits.known.cuts }
  end
  limits.window = window or math.min(self:tokens(), limits.window)
  self.last = { tokens = prompt or math.max(self:tokens(), limits.window), bytes = self:bytes() }
  return prompt ~= nil and window ~= nil and prompt + self:reply() <= window
    and self:reply() < before
end

return M
