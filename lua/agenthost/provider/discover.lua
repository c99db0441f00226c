--- Finds a local model server by asking the usual ports, all at once and only for a moment.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local http = require("agenthost.http")
local json = require("agenthost.json")

local M = {}

-- The first model that the server lists; nil when nothing there answers like a model server.
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
  local list = json.decode(response.body)
  local first = type(list) == "table" and type(list.data) == "table" and list.data[1]
  return type(first) == "table" and type(first.id) == "string" and first.id or nil
end

--- The servers of `defaults.local_servers` that answer.
---@return { url: string, model: string }[]
function M.find()
  if not async.inside() then
    return async.run(M.find)
  end
  local found, questions = {}, {}
  for i, url in ipairs(defaults.local_servers) do
    questions[i] = function()
      return ask(url)
    end
  end
  for i, job in ipairs(async.all(questions)) do
    if job.ok and job.results[2] then
      found[#found + 1] = { url = defaults.local_servers[i], model = job.results[2] }
    end
  end
  return found
end

return M
