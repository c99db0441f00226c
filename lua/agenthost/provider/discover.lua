--- Finds a local model server by asking the usual ports, all at once and only for a moment.
local access = require("agenthost.provider.access")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local http = require("agenthost.http")
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local M = {}

--- Where Ollama is: as OLLAMA_HOST says in Ollama's own way (host, host:port, :port or a URL), else
--- defaults.ollama_url.
---@return string url without a path
function M.ollama_url()
  local said = access.value(sys.getenv("OLLAMA_HOST"))
  if not said then
    return defaults.ollama_url
  end
  local scheme, rest = said:match("^(%a+)://(.*)$")
  rest = (rest or said):gsub("/+$", ""):gsub("/v1$", "")
  local host, port = rest:match("^(.-):(%d+)$")
  host = host or rest
  port = port or scheme == "http" and "80" or scheme == "https" and "443" or "11434"
  if host == "" or host == "0.0.0.0" or host == "[::]" then
    host = "127.0.0.1" -- where the server listens is not where it is asked
  end
  return ("%s://%s:%s"):format(scheme or "http", host, port)
end

-- Models that only embed text cannot be talked to.
local function first_model(list)
  for _, entry in ipairs(type(list) == "table" and list or {}) do
    if type(entry) == "table" and type(entry.id) == "string"
      and not entry.id:lower():find("embed", 1, true) then
      return entry
    end
  end
end

-- The server at `url`, or nil when nothing there answers like a model server. How it lists its
-- models says what it is to be spoken to in: Anthropic's way, or everybody else's, for which Chat
-- Completions is what all versions of llama.cpp and Ollama know best.
local function ask(url)
  local response = http.request({
    url = url .. "/v1/models",
    timeout = defaults.local_server_timeout,
    connect_timeout = defaults.local_server_timeout,
    max_body = 1024 * 1024,
  })
  if not response or response.status ~= 200 then
    return nil
  end
  local data = json.decode(response.body)
  local entry = first_model(type(data) == "table" and data.data)
  return entry and {
    url = url,
    model = entry.id,
    name = entry.owned_by == "library" and "ollama" or "llamacpp",
    api = entry.type == "model" and "anthropic" or "openai",
  }
end

-- The usual places, with Ollama where the user has it.
local function places()
  local urls = {}
  for i, url in ipairs(defaults.local_servers) do
    urls[i] = url == defaults.ollama_url and M.ollama_url() or url
  end
  return urls
end

---@class agenthost.LocalServer
---@field url string
---@field model string the first that it lists
---@field name "ollama"|"llamacpp"
---@field api "anthropic"|"openai" what to speak with it

--- The servers of `defaults.local_servers` that answer.
---@return agenthost.LocalServer[]
function M.find()
  if not async.inside() then
    return async.run(M.find)
  end
  local found, questions = {}, {}
  for i, url in ipairs(places()) do
    questions[i] = function()
      return ask(url)
    end
  end
  for _, job in ipairs(async.all(questions)) do
    if job.ok then
      found[#found + 1] = job.results[2]
    end
  end
  return found
end

return M
