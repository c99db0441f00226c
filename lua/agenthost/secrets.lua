--- Keys and passwords of the environment: kept for the host, unseen by the commands it runs.
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")

local M = {}

-- Whether the address holds a password: http://user:password@host
local function has_user(url)
  local authority = url:gsub("^%s*%a[%w+.-]*://", ""):match("^[^/?#]*")
  return authority:find("@", 1, true) ~= nil
end

--- Takes what is secret out of the environment; sys.getenv and os.getenv still give it to Lua. To
--- be called before anything else changes the environment, see agenthost.sys.
function M.hide()
  local hidden = table.move(defaults.secret_env, 1, #defaults.secret_env, 1, {})
  for _, name in ipairs(defaults.secret_url_env) do
    if has_user(sys.getenv(name) or "") then
      hidden[#hidden + 1] = name
    end
  end
  sys.hide_env(hidden)
  os.getenv = sys.getenv -- luacheck: ignore 122
end

return M
