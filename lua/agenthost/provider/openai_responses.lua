--- OpenAI's Responses API, streamed and stateless: nothing is stored at the server, and what it
--- said goes back as it came, reasoning in encrypted form.
local body = require("agenthost.provider.body")
local call = require("agenthost.provider.call")
local json = require("agenthost.json")
local openai_http = require("agenthost.provider.openai_http")
local openai_items = require("agenthost.provider.openai_items")
local openai_messages = require("agenthost.provider.openai_messages")
local openai_models = require("agenthost.provider.openai_models")
local openai_responses_stream = require("agenthost.provider.openai_responses_stream")
local options = require("agenthost.options")

local M = {}

---@class agenthost.OpenAIResponsesProvider: agenthost.OpenAIQuestions
local Provider = setmetatable({}, { __index = openai_models.methods })
Provider.__index = Provider

-- ---- the request -------------------------------------------------------------------------------

-- `strict` is on here unless it is said to be off, and wants schemas of a narrower kind.
local function as_function(tool)
  return {
    type = "function",
    name = tool.name,
    description = tool.description,
    parameters = tool.input_schema,
    strict = false,
  }
end

local function named(name)
  return { type = "function", name = name }
end

local MEMBERS <const> = {
  "model", "instructions", "tools", "tool_choice", "parallel_tool_calls", "input", "stream",
  "store", "include", "max_output_tokens",
}

local function body_of(self, request)
  local has_tools = request.tools ~= nil and #request.tools > 0
  local has_system = request.system ~= nil and request.system ~= ""
  local choice, parallel
  if has_tools and request.tool_choice then
    choice, parallel = openai_http.tool_choice(request.tool_choice, named)
  end
  return body.join(MEMBERS, {
    model = json.encode(self.model),
    instructions = has_system and json.encode(request.system) or nil,
    tools = has_tools and body.tools(self.encoded_tools, request.tools, as_function) or nil,
    tool_choice = choice and json.encode(choice) or nil,
    parallel_tool_calls = parallel ~= nil and json.encode(parallel) or nil,
    input = self.items:parts(openai_messages.pieces_of(request)),
    stream = "true",
    store = "false",
    include = self.encrypted_reasoning and '["reasoning.encrypted_content"]' or nil,
    max_output_tokens = json.encode(request.max_tokens),
  }, request.extra, 3)
end

--- Makes one call. See agenthost.Provider.
---@param request agenthost.Request
---@param on_event fun(event: table)
---@return agenthost.Reply? reply
---@return string? message
---@return string? code
---@return agenthost.Failure? details
function Provider:stream(request, on_event)
  local reply, message, code, details =
    call.stream(self, body_of(self, request), openai_responses_stream.new(on_event))
  if code == "BAD_REQUEST" and self.encrypted_reasoning
    and message:find("ncrypted content is not supported", 1, true) then
    self.encrypted_reasoning = false -- a model that does not reason
    return self:stream(request, on_event)
  elseif code == "BAD_REQUEST" and message:lower():find("encrypted content", 1, true)
    and request.pieces and self.items:forget(request.pieces) then
    return self:stream(request, on_event) -- the conversation was begun elsewhere
  end
  return reply, message, code, details
end

-- ---- making one --------------------------------------------------------------------------------

local OPTIONS <const> = { "encrypted_reasoning" }
table.move(openai_http.OPTIONS, 1, #openai_http.OPTIONS, #OPTIONS + 1, OPTIONS)

---@class agenthost.OpenAIResponsesOptions: agenthost.OpenAIAccess
---@field encrypted_reasoning? boolean ask for reasoning in encrypted form, so that it can go back;
---  default true

--- A provider. Raises when it is for OpenAI and there is no key.
---@param opts agenthost.OpenAIResponsesOptions
---@return agenthost.OpenAIResponsesProvider
function M.new(opts)
  options.check(opts, OPTIONS, 2)
  local self = openai_http.fields(opts, "openai-responses", "/responses")
  self.encrypted_reasoning = opts.encrypted_reasoning ~= false
  self.items = openai_items.new()
  return setmetatable(self, Provider)
end

return M
