--- A Lua file plays the model: no key, no network. For examples, first runs, and tests of agents.
---
--- The file returns a function, or a list of turns (each a reply or such a function):
---
---     return function(request, turn)      -- turn: 1 for the first call, ...
---       if turn == 1 then
---         return { text = "Let me look.", tools = { { "bash", { command = "ls" } } } }
---       end
---       return "I saw: " .. request.last  -- the last user message as text
---     end
---
--- A reply is a text, or a table: `text`, `tools` (a list of { name, input }), `thinking`,
--- `stop_reason`, `delay` (seconds before it starts), `pace` (seconds between words), `fail` (a
--- table { message, code, retryable = true|false }: the call fails in place of answering).
local async = require("agenthost.async")
local json = require("agenthost.json")
local options = require("agenthost.options")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")

local M = {}

---@class agenthost.ScriptedProvider: agenthost.Provider
local Scripted = {}
Scripted.__index = Scripted

-- The texts of a message, tool results included, joined by line breaks.
local function text_of(message)
  local parts = {}
  for _, block in ipairs(message and message.content or {}) do
    if block.type == "text" then
      parts[#parts + 1] = block.text
    elseif block.type == "tool_result" then
      local content = block.content
      if type(content) == "table" then
        content = text_of({ content = content })
      end
      parts[#parts + 1] = content
    end
  end
  return table.concat(parts, "\n")
end

--- What a script sees of a call.
---@class agenthost.ScriptedRequest
---@field messages table[]
---@field last string the last user message as text
---@field results table[] its tool_result blocks
---@field system string
---@field tools table[]

---@param request agenthost.Request
---@return agenthost.ScriptedRequest
function M.view(request)
  local messages = request.messages()
  local results = {}
  local last = messages[#messages]
  for _, block in ipairs(last and last.content or {}) do
    if block.type == "tool_result" then
      results[#results + 1] = block
    end
  end
  return {
    messages = messages,
    last = text_of(last),
    results = results,
    system = request.system,
    tools = request.tools,
  }
end

local TURN <const> = { "text", "tools", "thinking", "stop_reason", "delay", "pace", "fail" }

local function as_table(reply, source)
  if type(reply) == "string" then
    return { text = reply }
  elseif type(reply) == "table" then
    local ok, message = pcall(options.check, reply, TURN, -1)
    return ok and reply or error(("%s: a turn: %s"):format(source, message), 0)
  end
  error(("%s: a turn has to be a text or a table, got a %s"):format(source, type(reply)), 0)
end

function Scripted:next_reply(request)
  self.turn = self.turn + 1
  local turn = self.script
  if type(turn) == "table" then
    turn = turn[self.turn]
    if turn == nil then
      error(("%s has %d turns and was called once more"):format(self.source, #self.script), 0)
    end
  end
  if type(turn) == "function" then
    turn = turn(M.view(request), self.turn)
  end
  return as_table(turn, self.source)
end

local function stream_text(text, pace, on_event)
  for piece in text:gmatch("%s*%S*") do
    if piece ~= "" then
      on_event({ type = "text", text = piece })
      if pace > 0 then
        async.sleep(pace)
      end
    end
  end
end

local function blocks_of(reply)
  local content = {}
  if reply.thinking then
    content[#content + 1] = { type = "thinking", thinking = reply.thinking, signature = "scripted" }
  end
  if reply.text and reply.text:find("%S") then
    content[#content + 1] = { type = "text", text = reply.text }
  end
  for _, call in ipairs(reply.tools or {}) do
    content[#content + 1] = {
      type = "tool_use",
      id = "toolu_" .. sys.random_hex(8),
      name = call.name or call[1],
      input = call.input or call[2] or json.object({}),
    }
  end
  return content
end

--- See agenthost.Provider.
function Scripted:stream(request, on_event)
  local ok, reply = protect.call("the scripted model", self.next_reply, self, request)
  if not ok and async.is_cancellation(reply) then
    error(reply, 0) -- a script that waits
  elseif not ok then
    return nil, protect.error_text(reply), "SCRIPT", { retryable = false }
  end
  if reply.delay then
    async.sleep(reply.delay)
  end
  if reply.fail then
    local message, code = table.unpack(reply.fail)
    return nil, message or "failed on purpose", code or "FAILED",
      { retryable = reply.fail.retryable or false, retry_after = reply.fail.retry_after }
  end
  stream_text(reply.text or "", reply.pace or 0, on_event)
  local content = blocks_of(reply)
  for _, block in ipairs(content) do
    if block.type == "tool_use" then
      on_event({ type = "tool_use", name = block.name, id = block.id })
    end
  end
  local wants_tools = reply.tools and #reply.tools > 0
  return {
    content = content,
    stop_reason = reply.stop_reason or (wants_tools and "tool_use" or "end_turn"),
    usage = { input_tokens = 0, output_tokens = 0 },
    model = self.model,
  }
end

--- A provider that answers from `script`.
---@param script function|table see above
---@param source string for messages
---@return agenthost.ScriptedProvider
function M.new(script, source)
  if type(script) ~= "function" and type(script) ~= "table" then
    error(("%s: a scripted model is a function or a list of turns, got a %s"):format(
      source, type(script)), 0)
  end
  return setmetatable({ name = "scripted", model = "scripted/" .. source, script = script,
    source = source, turn = 0 }, Scripted)
end

---@param path string of a Lua file that returns the script
---@return agenthost.ScriptedProvider
function M.from_file(path)
  local chunk, message = loadfile(path, "t")
  if not chunk then
    error("scripted model " .. message, 0)
  end
  return M.new(chunk(), path)
end

--- The one that is used when nothing is configured.
---@return agenthost.ScriptedProvider
function M.demo()
  return M.new(require("agenthost.provider.demo"), "demo")
end

return M
