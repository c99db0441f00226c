--- What servers that speak OpenAI's APIs say about their models. Each says it in its own way, and
--- OpenAI itself not at all.
local access = require("agenthost.provider.access")
local call = require("agenthost.provider.call")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local openai_http = require("agenthost.provider.openai_http")
local sys = require("agenthost.sys")

local M = {}

local function whole(owner, ...)
  for _, name in ipairs({ ... }) do
    local value = type(owner) == "table" and owner[name]
    if math.type(value) == "integer" and value > 0 then
      return value
    end
  end
end

-- ---- the list ----------------------------------------------------------------------------------

-- The limits that the entry of a model shows: vLLM, OpenRouter, Groq, Mistral, llama.cpp.
local function limits(entry)
  local window = whole(entry, "max_model_len", "context_length", "context_window",
    "max_context_length") or whole(entry.meta, "n_ctx")
  return window, whole(entry, "max_completion_tokens", "max_output_tokens")
    or whole(entry.top_provider, "max_completion_tokens")
end

-- The entries as the server gives them; nil, message, code.
local function entries(provider)
  local data, message, code = call.ask(provider, provider.base_url .. "/models")
  if not data then
    return nil, message, code
  end
  local list, found = json.is_array(data) and data or data.data, {}
  for _, entry in ipairs(type(list) == "table" and list or {}) do
    if type(entry) == "table" and type(entry.id) == "string" then
      found[#found + 1] = entry
    end
  end
  return found
end

--- What there is. See agenthost.Provider.
---@param provider agenthost.HttpProvider
---@return agenthost.ModelEntry[]?
---@return string? message
---@return string? code
function M.list(provider)
  local list, message, code = entries(provider)
  if not list then
    return nil, message, code
  end
  for i, entry in ipairs(list) do
    local window, output = limits(entry)
    local name = type(entry.name) == "string" and entry.name or nil
    list[i] = { id = entry.id, name = name, context_window = window, max_output = output }
  end
  return list
end

-- ---- local servers -----------------------------------------------------------------------------

local function root(provider)
  return (provider.base_url:gsub("/v1$", ""))
end

-- llama.cpp: the context of one slot.
local function ask_llamacpp(provider)
  local props = call.ask(provider, root(provider) .. "/props") or {}
  return whole(props.default_generation_settings, "n_ctx") or whole(props, "n_ctx")
end

-- Ollama cuts a prompt that is longer than num_ctx without a word, whatever the model could take.
-- It is a parameter of the model, or what the server took when it loaded it, or the server's
-- default: only the first two are certain.
local function ask_ollama(provider)
  local shown = call.ask(provider, root(provider) .. "/api/show",
    json.encode({ model = provider.model })) or {}
  local possible
  for name, value in pairs(type(shown.model_info) == "table" and shown.model_info or {}) do
    if name:find("%.context_length$") then
      possible = whole({ value }, 1)
    end
  end
  local parameters = type(shown.parameters) == "string" and shown.parameters or ""
  local certain = math.tointeger(tonumber(("\n" .. parameters):match("\nnum_ctx%s+(%d+)")))
  if not certain then
    local running = call.ask(provider, root(provider) .. "/api/ps") or {}
    for _, model in ipairs(type(running.models) == "table" and running.models or {}) do
      if model.name == provider.model or model.model == provider.model then
        certain = whole(model, "context_length")
      end
    end
  end
  local window = certain or math.tointeger(tonumber(access.value(sys.getenv(
    "OLLAMA_CONTEXT_LENGTH")))) or defaults.ollama_context
  return math.min(window, possible or window), certain ~= nil
end

-- ---- one model ---------------------------------------------------------------------------------

-- The entry of the provider's model; of a server with one model its entry, whatever the name.
local function own_entry(provider, list)
  for _, entry in ipairs(list) do
    if entry.id == provider.model then
      return entry
    end
  end
  return #list == 1 and list[1] or {}
end

local function is_ollama(provider, entry)
  return provider.name == "ollama" or entry.owned_by == "library"
end

-- The limits, and whether they will not change.
local function ask(provider)
  if provider.host == openai_http.OPENAI_HOST then
    return nil, true
  end
  local list = entries(provider)
  local entry = own_entry(provider, list or {})
  if is_ollama(provider, entry) then
    local window, certain = ask_ollama(provider)
    return { context_window = window, cuts = true }, certain
  end
  local window, output = limits(entry)
  if not window and (provider.name == "llamacpp" or entry.owned_by == "llamacpp") then
    window = ask_llamacpp(provider)
  end
  return (window or output) and { context_window = window, max_output = output } or nil,
    list ~= nil
end

--- The limits of a provider's model. See agenthost.Provider. Asked once, or again as long as there
--- is no certain answer.
---@param provider agenthost.HttpProvider
---@return agenthost.ModelInfo?
function M.info(provider)
  if provider.info == nil then
    local info, certain = ask(provider)
    if not certain then
      return info
    end
    provider.info = info or false
  end
  return provider.info or nil
end

--- What both of OpenAI's providers answer beside their calls: a base for their methods.
---@class agenthost.OpenAIQuestions: agenthost.HttpProvider
local Questions = {}

--- What there is. See agenthost.Provider.
---@return agenthost.ModelEntry[]?
---@return string? message
---@return string? code
function Questions:list_models()
  return M.list(self)
end

--- The limits of the model. See agenthost.Provider.
---@return agenthost.ModelInfo?
function Questions:model_info()
  return M.info(self)
end

--- These APIs cannot count.
---@return nil, string message, string code
function Questions:count_tokens()
  return nil, self.host .. " has no way to count the tokens of a request", "UNSUPPORTED"
end

M.methods = Questions

return M
