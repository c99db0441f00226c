--- The lines of `--output-format stream-json` and `json`, in the shapes that wrappers of other
--- agents read.
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local M = {}

-- What a result is called when a run ends with these codes.
local SUBTYPES <const> = {
  MAX_TURNS = "error_max_turns",
  MAX_BUDGET = "error_max_budget_usd",
}

-- A random one, of version 4.
local function uuid()
  local digits = sys.random_hex(16)
  local variant = ("%x"):format(8 + tonumber(digits:sub(17, 17), 16) % 4)
  return ("%s-%s-4%s-%s%s-%s"):format(digits:sub(1, 8), digits:sub(9, 12), digits:sub(14, 16),
    variant, digits:sub(18, 20), digits:sub(21))
end

--- A line, with what each has.
---@param agent agenthost.Agent
---@param object table what it says; changed
---@return string
function M.line(agent, object)
  object.session_id, object.uuid = agent.session.id, uuid()
  return json.encode(object) .. "\n"
end

--- The first line.
---@param agent agenthost.Agent
---@return table
function M.init(agent)
  return { type = "system", subtype = "init", cwd = agent.cwd, model = agent.provider.model,
    tools = json.array(agent.tools:names()), mcp_servers = json.array({}),
    permissionMode = agent.permission.mode }
end

--- A message. One of the model's has the fields of a reply of Anthropic's, whoever answered.
---@param agent agenthost.Agent
---@param piece agenthost.Piece
---@param reply? agenthost.Reply nil when there is none: what was shown before it was interrupted
---@return table
function M.message(agent, piece, reply)
  local message = { role = piece.role, content = json.raw("[" .. piece.blocks .. "]") }
  if piece.role == "assistant" then
    message.id, message.type = "msg_" .. sys.random_hex(12), "message"
    message.model = agent.provider.model
    message.stop_reason = reply and reply.stop_reason or json.null
    message.stop_sequence = json.null
    message.usage = json.object(reply and reply.usage or { input_tokens = 0, output_tokens = 0 })
  end
  return { type = piece.role, message = message, parent_tool_use_id = json.null }
end

--- A part of a reply while it comes: see partial.lua.
---@param event table
---@return table
function M.event(event)
  return { type = "stream_event", event = event, parent_tool_use_id = json.null }
end

--- What came of one prompt.
---@param agent agenthost.Agent
---@param outcome { result?: table, message?: string, code?: string, turns: integer,
---  seconds: number } result: as Agent:run gives it, else message and code
---@return table
function M.result(agent, outcome)
  local used, result = agent.usage:result(), outcome.result
  return {
    type = "result",
    subtype = result and "success" or SUBTYPES[outcome.code] or "error_during_execution",
    is_error = result == nil,
    result = result and result.text or outcome.message,
    stop_reason = result and result.stop_reason or json.null,
    num_turns = outcome.turns,
    duration_ms = math.floor(outcome.seconds * 1000),
    duration_api_ms = used.duration_api_ms,
    permission_denials = json.array(agent.permission.denials),
    total_cost_usd = used.total_cost_usd,
    usage = used.usage,
    modelUsage = used.modelUsage,
  }
end

return M
