--- A model call, whoever wrote the provider: what `stream` returns is checked, and one that stands
--- in a script runs within the bounds of plugin code.
local async = require("agenthost.async")
local options = require("agenthost.options")
local protect = require("agenthost.protect")

local M = {}

-- What is wrong with a block of a reply; nil when nothing is.
local function problem_of(block)
  if type(block) ~= "table" or type(block.type) ~= "string" then
    return "expected a table with `type`, got " .. options.show(block)
  elseif block.type == "text" and type(block.text) ~= "string" then
    return "a text block needs `text`, got " .. options.show(block.text)
  elseif block.type == "tool_use" then
    for _, field in ipairs({ "id", "name" }) do
      if type(block[field]) ~= "string" then
        return ("a tool_use block needs `%s`, a text, got %s"):format(field,
          options.show(block[field]))
      end
    end
  end
end

-- What is wrong with a reply; nil when nothing is. A missing `stop_reason` is filled in.
local function check(reply, message)
  if reply == nil and type(message) == "string" then
    return nil
  elseif type(reply) ~= "table" or type(reply.content) ~= "table" then
    return "expected { content = { blocks }, stop_reason = ... }, or nil and a message; got "
      .. (type(reply) == "table" and "a table without `content`" or options.show(reply))
  end
  local has_calls = false
  for i, block in ipairs(reply.content) do
    local problem = problem_of(block)
    if problem then
      return ("content[%d]: %s"):format(i, problem)
    end
    has_calls = has_calls or block.type == "tool_use"
  end
  reply.stop_reason = reply.stop_reason or has_calls and "tool_use" or "end_turn"
end

--- Makes a call. Returns what `stream` returns; what is wrong with that, or what a provider of the
--- script's raises, is a failure with the code PROVIDER.
---@param provider agenthost.Provider
---@param request agenthost.Request
---@param on_event fun(event: table)
---@param is_own boolean it stands in the script, and is bounded as plugins are
---@return agenthost.Reply? reply
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function M.stream(provider, request, on_event, is_own)
  local owner = "the provider " .. tostring(provider.name or provider.model)
  local results
  if is_own then
    results = table.pack(protect.call(owner, provider.stream, provider, request, on_event))
    local ok, err, trace = table.unpack(results, 1, 3)
    if not ok and async.is_cancellation(err) then
      error(err, 0)
    elseif not ok then
      on_event({ type = "log", text = trace })
      return nil, owner .. " failed: " .. protect.error_text(err), "PROVIDER"
    end
    table.remove(results, 1)
    results.n = results.n - 1
  else
    results = table.pack(provider:stream(request, on_event))
  end
  local problem = check(results[1], results[2])
  if problem then
    return nil, ("%s: what `stream` returned is no reply: %s"):format(owner, problem), "PROVIDER"
  end
  return table.unpack(results, 1, results.n)
end

return M
