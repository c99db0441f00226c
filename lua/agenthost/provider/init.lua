--- Picks the provider for a model's name.
local access = require("agenthost.provider.access")
local defaults = require("agenthost.defaults")
local discover = require("agenthost.provider.discover")
local record = require("agenthost.record")
local sys = require("agenthost.sys")

local M = {}

-- A provider's module, loaded when it is needed: a run has one of them.
local function of(name)
  return require("agenthost.provider." .. name)
end

local HOW_TO = "set ANTHROPIC_API_KEY (and ANTHROPIC_MODEL) or OPENAI_API_KEY (and OPENAI_MODEL), "
  .. "or say --model"

local NAMES <const> = "anthropic/<id>, openai/<id>, openai-responses/<id>, ollama/<id>, llamacpp, "
  .. "llamacpp/<id>, scripted/<file.lua> or replay/<file.jsonl>"

local MAX_NAMED <const> = 5 -- models that a message lists

-- A variable that is empty counts as one that is not set.
local function variable(name)
  return access.value(sys.getenv(name))
end

local function has_anthropic()
  return variable("ANTHROPIC_API_KEY") or variable("ANTHROPIC_AUTH_TOKEN")
    or variable("ANTHROPIC_BASE_URL")
end

local function has_openai()
  return variable("OPENAI_API_KEY") or variable("OPENAI_BASE_URL")
end

local function check_openai(name, id)
  if not has_openai() then
    error(("the model %s/%s needs a key: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that "
      .. "needs none"):format(name, id), 0)
  end
end

-- A server of one's own: it gets no key that is meant for another.
local function own_server(name, id, url)
  local key_name = name:upper() .. "_API_KEY"
  return of("openai").new({
    name = name,
    model = id,
    base_url = url,
    api_key = variable(key_name),
    key_name = key_name,
  })
end

local function absolute(path, base_dir)
  return path:sub(1, 1) == "/" and path or base_dir .. "/" .. path
end

local function from_recording(path, base_dir)
  local lenient = variable("AGENTHOST_REPLAY") == "lenient"
  return of("replay").from_file(absolute(path, base_dir), { lenient = lenient })
end

local makers = {
  replay = from_recording,
  anthropic = function(id)
    if not has_anthropic() then
      error("the model anthropic/" .. id .. " needs a key: set ANTHROPIC_API_KEY, or "
        .. "ANTHROPIC_BASE_URL for a server that needs none", 0)
    end
    return of("anthropic").from_env(id, variable)
  end,
  openai = function(id)
    check_openai("openai", id)
    return of("openai").new(of("openai").options_from_env(id, variable))
  end,
  ["openai-responses"] = function(id)
    check_openai("openai-responses", id)
    return of("openai_responses").new(of("openai").options_from_env(id, variable))
  end,
  ollama = function(id)
    return own_server("ollama", id, discover.ollama_url())
  end,
  llamacpp = function(id)
    return own_server("llamacpp", id, defaults.llamacpp_url)
  end,
  scripted = function(path, base_dir)
    if path == "demo" then
      return of("scripted").demo()
    end
    if path:find("%.jsonl$") then
      return from_recording(path, base_dir)
    end
    return of("scripted").from_file(absolute(path, base_dir))
  end,
}

-- The provider of "name/id"; a name alone that looks like Anthropic's is taken for one of theirs.
local function from_name(model, base_dir)
  local name, id = model:match("^(%l[%w-]*)/(.+)$")
  if name and makers[name] then
    return makers[name](id, base_dir)
  elseif model == "llamacpp" then
    return makers.llamacpp("default") -- it has one model and does not look at the name
  elseif model:find("^claude%-") then
    return makers.anthropic(model)
  end
  error(("unknown model '%s': expected %s"):format(model, NAMES), 0)
end

--- The provider for a local server that was found, with the first model that it lists.
---@param server agenthost.LocalServer
---@return agenthost.Provider
function M.of_server(server)
  if server.api == "anthropic" then
    return of("anthropic").new({ model = server.model, base_url = server.url })
  end
  return own_server(server.name, server.model, server.url)
end

-- A local server on its usual port, if one answers at once.
local function from_local_server()
  local server = discover.find()[1]
  if not server then
    return nil
  end
  local provider = M.of_server(server)
  provider.note = ("no key is set; using %s from the local server %s"):format(
    server.model, server.url)
  return provider
end

-- A server of another host with one model leaves no choice; with more the user has to say which.
local function openai_default()
  if not variable("OPENAI_BASE_URL") then
    return makers.openai(defaults.openai_model)
  end
  local provider = makers.openai(defaults.openai_model)
  if provider.host == "api.openai.com" then
    return provider
  end
  local list, message = provider:list_models()
  if list and #list == 1 then
    return makers.openai(list[1].id)
  end
  local names = {}
  for i = 1, math.min(#(list or {}), MAX_NAMED) do
    names[i] = list[i].id
  end
  error(("OPENAI_BASE_URL is set, but no model: set OPENAI_MODEL, or say --model openai/<id> (%s)")
    :format(#names > 0 and "there are " .. table.concat(names, ", ")
      .. (#list > #names and ", ..." or "") or message or "the server lists none"), 0)
end

local function from_environment()
  if has_anthropic() then
    local id = variable("ANTHROPIC_MODEL") or variable("MODEL_ID") or defaults.model
    return makers.anthropic((id:gsub("^anthropic/", "")))
  elseif has_openai() then
    local id = variable("OPENAI_MODEL") or variable("MODEL_ID")
    return id and makers.openai((id:gsub("^openai/", ""))) or openai_default()
  end
  local provider = from_local_server()
  if not provider then
    provider = of("scripted").demo()
    provider.note = "no key is set and no local model server answers, so a small script plays the "
      .. "model; for a real one " .. HOW_TO
  end
  return provider
end

--- The provider for a model. Of keys for both services Anthropic's is used, unless the model's name
--- says otherwise.
---@param model? string "anthropic/<id>", "openai/<id>" (Chat Completions), "openai-responses/<id>",
---  "ollama/<id>" (OLLAMA_HOST), "llamacpp" or "llamacpp/<id>", "scripted/<file>", "replay/<file>";
---  nil: from the environment
---@param base_dir string where the path of a scripted model starts
---@return agenthost.Provider provider its field `note`, if any, is a line for the user; raises when
---  there is no such model
function M.new(model, base_dir)
  local provider = model == nil and from_environment() or from_name(model, base_dir)
  record.attach(provider)
  return provider
end

--- A provider that a script has made.
---@param provider agenthost.Provider
---@return agenthost.Provider provider the same; its calls are recorded, too
function M.own(provider)
  record.attach(provider)
  return provider
end

return M
