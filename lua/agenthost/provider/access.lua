--- What providers share about getting in: values from options and the environment, headers, and the
--- secrets among them.
local call = require("agenthost.provider.call")

local M = {}

--- nil for what is not set or empty; keys often come with the newline of the file they were in.
---@param s? string
---@return string?
function M.value(s)
  s = s and s:match("^%s*(.-)%s*$")
  return s ~= "" and s or nil
end

--- The headers of every call: ours, and over them the user's.
---@param ours table<string, string> names in lower case
---@param extra? table<string, string>
---@return table<string, string>
function M.headers(ours, extra)
  local headers = {}
  for name, value in pairs(ours) do
    headers[name] = value
  end
  for name, value in pairs(extra or {}) do
    headers[name:lower()] = value
  end
  return headers
end

--- What must never show up in a message, as a set.
---@param keys table table.pack(...) of keys; those that are nil are passed over
---@param headers? table<string, string> those with telling names are secret, too
---@return table<string, true>
function M.secrets(keys, headers)
  local secrets = {}
  local function add(value)
    value = M.value(value)
    if value and #value >= 6 then
      secrets[value] = true
    end
  end
  for i = 1, keys.n do
    add(keys[i])
  end
  for name, value in pairs(headers or {}) do
    if call.is_secret_header(name) then
      add(value:match("^%a+ +(%S+)$")) -- without "Bearer"
      add(value)
    end
  end
  return secrets
end

--- Lines "Name: value" as a table. Never shows a line in an error: it may be a secret.
---@param variable string where they are from, for messages
---@param lines? string
---@return table<string, string>
function M.parse_headers(variable, lines)
  local headers, count = {}, 0
  for line in (lines or ""):gmatch("[^\r\n]+") do
    count = count + 1
    local name, value = line:match("^%s*([%w!#$%%&'*+.^_`|~-]+)%s*:%s*(.-)%s*$")
    if name then
      headers[name] = value
    elseif line:find("%S") then
      error(("%s: line %d is not 'Name: value'"):format(variable, count), 0)
    end
  end
  return headers
end

--- A part of a URL's path or query, percent-encoded.
---@param s string
---@return string
function M.escape(s)
  return (s:gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The host, and port, of a URL; for messages.
---@param url string
---@return string
function M.host(url)
  return (url:gsub("^%a+://", ""):gsub("[/?#].*$", ""):gsub("^.*@", ""))
end

return M
