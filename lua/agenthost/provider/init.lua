--- Picks the provider for a model's name.
local anthropic = require("agenthost.provider.anthropic")
local defaults = require("agenthost.defaults")
local discover = require("agenthost.provider.discover")
local record = require("agenthost.record")
local replay = require("agenthost.provider.replay")
local scripted = require("agenthost.provider.scripted")
local sys = require("agenthost.sys")

local M = {}

local HOW_TO = "set ANTHROPIC_API_KEY (and ANTHROPIC_MODEL), or say --model"

-- A variable that is empty counts as one that is not set.
local function variable(name)
  local value = sys.getenv(name)
  return value ~= "" and value or nil
end

local function absolute(path, base_dir)
  return path:sub(1, 1) == "/" and path or base_dir .. "/" .. path
end

local function from_recording(path, base_dir)
  local lenient = variable("AGENTHOST_REPLAY") == "lenient"
  return replay.from_file(absolute(path, base_dir), { lenient = lenient })
end

local makers = {
  replay = from_recording,
  anthropic = function(id)
    if not (variable("ANTHROPIC_API_KEY") or variable("ANTHROPIC_AUTH_TOKEN")
        or variable("ANTHROPIC_BASE_URL")) then
      error("the model anthropic/" .. id .. " needs a key: set ANTHROPIC_API_KEY, or "
        .. "ANTHROPIC_BASE_URL for a server that needs none", 0)
    end
    return anthropic.from_env(id, variable)
  end,
  scripted = function(path, base_dir)
    if path == "demo" then
      return scripted.demo()
    end
    if path:find("%.jsonl$") then
      return from_recording(path, base_dir)
    end
    return scripted.from_file(absolute(path, base_dir))
  end,
}

-- The provider of "name/id"; a name alone that looks like Anthropic's is taken for one of theirs.
local function from_name(model, base_dir)
  local name, id = model:match("^(%l[%w-]*)/(.+)$")
  if name and makers[name] then
    return makers[name](id, base_dir)
  elseif model:find("^claude%-") then
    return makers.anthropic(model)
  end
  error(("unknown model '%s': expected anthropic/<id> or scripted/<file.lua>"):format(model), 0)
end

-- A local server that speaks the Messages API on its usual port, if one answers at once.
local function from_local_server()
  local server = discover.find()[1]
  if server then
    local provider = anthropic.new({ model = server.model, base_url = server.url })
    provider.note = ("no key is set; using %s from the local server %s"):format(
      server.model, server.url)
    return provider
  end
end

local function from_environment()
  if variable("ANTHROPIC_API_KEY") or variable("ANTHROPIC_AUTH_TOKEN")
    or variable("ANTHROPIC_BASE_URL") then
    local id = variable("ANTHROPIC_MODEL") or variable("MODEL_ID") or defaults.model
    return makers.anthropic((id:gsub("^anthropic/", "")))
  end
  local provider = from_local_server()
  if not provider then
    provider = scripted.demo()
    provider.note = "no key is set and no local model server answers, so a small script plays the "
      .. "model; for a real one " .. HOW_TO
  end
  return provider
end

--- The provider for a model.
---@param model? string "anthropic/<id>", "scripted/<file>", "replay/<file>" or nil: from the
---  environment
---@param base_dir string where the path of a scripted model starts
---@return agenthost.Provider provider its field `note`, if any, is a line for the user; raises when
---  there is no such model
function M.new(model, base_dir)
  local provider = model == nil and from_environment() or from_name(model, base_dir)
  provider.recorder = record.from_env()
  return provider
end

return M
