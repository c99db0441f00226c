--- Limits and prices of models: what a server says, else what model_table.lua says, else a default.
local defaults = require("agenthost.defaults")
local table_of_models = require("agenthost.model_table")

local M = {}

local FREE <const> = { input = 0, output = 0, cache_read = 0, cache_write = 0 }

-- Providers whose model costs nothing: it runs on this machine, or is no model.
local FREE_PROVIDERS <const> = { scripted = true, ollama = true, llamacpp = true }

local LOCAL_HOSTS <const> = { localhost = true, ["127.0.0.1"] = true, ["::1"] = true }

-- Whether `id` is `key` with a date or "latest" behind it.
local function is_dated(id, key)
  local rest = id:sub(1, #key) == key and id:sub(#key + 1)
  return rest and (rest:find("^[-@]%d%d%d%d%d%d%d%d$") or rest:find("^%-%d%d%d%d%-%d%d%-%d%d$")
    or rest == "-latest")
end

local function matches(id, pattern)
  local escaped = pattern:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*")
  return id:find("^" .. escaped .. "$") ~= nil
end

--- What the table says of a model: its own id first, then the longest key that fits.
---@param id string
---@param models? table<string, agenthost.TableEntry> default model_table.lua
---@return agenthost.TableEntry?
function M.find(id, models)
  models = models or table_of_models
  if models[id] then
    return models[id]
  end
  local best, is_id
  for key in pairs(models) do
    local dated = is_dated(id, key)
    if dated or not is_id and key:find("*", 1, true) and matches(id, key) then
      local better = not best or dated and not is_id or #key > #best
        or #key == #best and key < best
      if better then
        best, is_id = key, dated
      end
    end
  end
  return best and models[best]
end

-- What the server says of the model, {} when it says nothing: limits are no reason to fail.
local function asked(provider)
  if not provider.model_info then
    return {}
  end
  local info = provider:model_info()
  return type(info) == "table" and info or {}
end

---@class agenthost.Limits
---@field context_window integer tokens of prompt and reply together
---@field max_output integer tokens of a reply
---@field source "server"|"table"|"default" where context_window is from

--- The limits of a provider's model as far as somebody knows them: its server, else the table. May
--- ask the server, which the provider does once.
---@param provider agenthost.Provider
---@return agenthost.ModelInfo
---@return "server"|"table"|"default" source where context_window is from
function M.known_limits(provider)
  local info, entry = asked(provider), M.find(provider.model) or {}
  local source = info.context_window and "server" or entry.context_window and "table" or "default"
  return {
    context_window = info.context_window or entry.context_window,
    max_output = info.max_output or entry.max_output,
    cuts = info.cuts,
  }, source
end

--- The limits of a provider's model. May ask the server, which the provider does once.
---@param provider agenthost.Provider
---@return agenthost.Limits
function M.limits(provider)
  local known, source = M.known_limits(provider)
  return {
    context_window = known.context_window or defaults.limits.context_window,
    max_output = known.max_output or defaults.limits.max_output,
    source = source,
  }
end

local function is_local(url)
  local authority = (url or ""):match("^%a+://([^/?#]*)") or ""
  local host = authority:gsub("^.*@", "")
  host = host:match("^%[(.*)%]") or host:gsub(":%d+$", "")
  return LOCAL_HOSTS[host] or host:find("^127%.%d+%.%d+%.%d+$") ~= nil
end

--- What a model costs. Local servers and scripts cost nothing, unless the table lists their model:
--- a gateway on this machine may pass the call on.
---@param model string|agenthost.Provider an id, or the provider with its address
---@return agenthost.Price? price nil: not known
function M.price(model)
  local provider = type(model) == "table" and model or {}
  if FREE_PROVIDERS[provider.name] then
    return FREE
  end
  local entry = M.find(provider.model or model)
  if entry then
    return entry.price
  end
  return is_local(provider.url) and FREE or nil
end

local MAX_TOKENS <const> = 1000000000 -- of one call; sums of what is more could overflow

--- A count of tokens as a server gives it; 0 for what is none.
---@param value any
---@return integer
function M.tokens(value)
  local count = math.type(value) and math.tointeger(value)
  return count and count > 0 and count <= MAX_TOKENS and count or 0
end

-- Tokens of a prompt by what they are charged as. `input_tokens` does not hold the cached ones.
local function charged(usage)
  local written = M.tokens(usage.cache_creation_input_tokens)
  local split = type(usage.cache_creation) == "table" and usage.cache_creation or {}
  local long = math.min(M.tokens(split.ephemeral_1h_input_tokens), written)
  return M.tokens(usage.input_tokens), M.tokens(usage.cache_read_input_tokens), written - long, long
end

--- What one call costs, in US dollars.
---@param usage table in Anthropic's terms
---@param price? agenthost.Price
---@return number? cost nil when the price is not known
function M.cost(usage, price)
  if not price then
    return nil
  end
  local input, read, written, written_1h = charged(usage)
  local above = price.above
  if above and input + read + written + written_1h > above.tokens then
    price = above.price
  end
  local write = price.cache_write or price.input
  local sum = input * price.input
    + read * (price.cache_read or price.input)
    + written * write
    + written_1h * (price.cache_write_1h or write)
    + M.tokens(usage.output_tokens) * price.output
  return sum / 1e6
end

return M
