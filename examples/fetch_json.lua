-- A tool that asks a web service. While it waits everything else goes on, and the user can stop it.
-- Its test asks a server of its own: agenthost test examples/fetch_json_test.lua
-- With a real model: agenthost examples/fetch_json.lua -p "Fetch URL and say what is in it."
local agent = require("agenthost.agent")
local http = require("agenthost.http")
local json = require("agenthost.json")

-- The value below a path like "items.1.name"; nil when there is none.
local function pick(value, path)
  for part in (path or ""):gmatch("[^.]+") do
    if type(value) ~= "table" then
      return nil
    end
    value = value[math.tointeger(tonumber(part)) or part]
  end
  return value
end

local fetch_json = {
  name = "fetch_json",
  description = "Get a JSON document from a web address and return it, or one value in it.",
  input = {
    url = "string: http:// or https://",
    path = "string?: which value, names and numbers (from 1) with dots, like items.1.name",
  },
  -- Without `permission` the user is asked for each call: an address may carry out what was read.
  run = function(input)
    local response, message = http.request({ url = input.url, timeout = 20, max_body = 1 << 20 })
    if not response then
      return nil, message -- the model is told
    elseif response.status ~= 200 then
      return nil, ("the server answered with status %d"):format(response.status)
    end
    local value, problem = json.decode(response.body)
    if value == nil then
      return nil, "that is no JSON: " .. problem
    end
    local picked = pick(value, input.path)
    if picked == nil then
      return nil, ("there is nothing at '%s'"):format(input.path)
    end
    return type(picked) == "table" and picked or tostring(picked) -- a table is sent as JSON
  end,
}

return agent.new({ tools = { fetch_json }, permissions = { allow = { "fetch_json" } } })
