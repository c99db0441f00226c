--- Calls of the Anthropic provider in tests, against the strict fake server.
---
---     local support = require("support.anthropic")
---     after_each(support.stop)
---     support.serve({ rules = { { text = "Hi." } } })
---     local reply, events = support.succeed(support.provider())
local anthropic = require("agenthost.provider.anthropic")
local assert = require("luassert")
local async = require("agenthost.async")
local fake = require("support.fake")
local json = require("agenthost.json")

local M = {}

local TOOLS <const> = {
  { name = "read", description = "reads", input_schema = { type = "object" } },
  { name = "write", description = "writes",
    input_schema = { type = "object", properties = { path = { type = "string" } } } },
}

local HTTP <const> = { connect_timeout = 30, stall_timeout = 30, timeout = 60 }

---@type support.fake.Server?
M.server = nil

--- Starts the server of a test.
---@param scenario table see fake_anthropic.py
function M.serve(scenario)
  M.stop()
  M.server = fake.start(scenario)
end

--- Ends it.
function M.stop()
  if M.server then
    M.server.stop()
    M.server = nil
  end
end

--- A provider for that server. Fields change its options; api_key = false takes the key away.
function M.provider(fields)
  local opts = {
    model = "claude-test-1", api_key = "test-key", base_url = M.server.url, http = HTTP,
  }
  for name, value in pairs(fields or {}) do
    opts[name] = value
  end
  opts.api_key = opts.api_key or nil
  return anthropic.new(opts)
end

-- What a conversation sends: user texts and assistant contents in turns.
local function messages_of(turns)
  local parts = {}
  for i, turn in ipairs(turns) do
    local blocks = {}
    if type(turn) == "string" then
      blocks[1] = json.encode({ type = "text", text = turn })
    else
      for k, block in ipairs(turn) do
        blocks[k] = block.json or json.encode(block)
      end
    end
    parts[i] = ('{"role":"%s","content":[%s]}'):format(
      i % 2 == 1 and "user" or "assistant", table.concat(blocks, ","))
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

--- A request; `turns` are user texts and assistant contents in turns.
function M.request(fields)
  local made = { max_tokens = 1000, tools = TOOLS }
  for name, value in pairs(fields or {}) do
    made[name] = value
  end
  local turns = made.turns or { "Hello" }
  made.turns = nil
  made.messages_json = function() return messages_of(turns) end
  return made
end

--- One call inside async.run. Returns { reply, message, code, details } and the events.
function M.call(p, fields)
  local events, result = {}, nil
  async.run(function()
    local reply, message, code, details = p:stream(M.request(fields), function(event)
      events[#events + 1] = event
    end)
    result = { reply = reply, message = message, code = code, details = details }
  end)
  return result, events
end

--- A call that has to succeed: the reply and the events.
function M.succeed(p, fields)
  local result, events = M.call(p, fields)
  assert.is_nil(result.message)
  return result.reply, events
end

--- A call that has to fail, in one line that shows no key.
function M.fail(p, fields)
  local result, events = M.call(p, fields)
  assert.is_nil(result.reply)
  assert.is_string(result.message)
  assert.is_nil(result.message:find("\n"))
  assert.is_nil(result.message:find("test-key", 1, true))
  assert.is_boolean(result.details.retryable)
  return result, events
end

--- The texts of the events of one type.
function M.join(events, kind)
  local parts = {}
  for _, event in ipairs(events) do
    if event.type == kind then
      parts[#parts + 1] = event.text
    end
  end
  return table.concat(parts)
end

function M.types_of(content)
  local types = {}
  for i, block in ipairs(content) do
    types[i] = block.type
  end
  return types
end

--- Events as the body of a response.
function M.sse(events)
  local parts = {}
  for i, event in ipairs(events) do
    parts[i] = "data: " .. (type(event) == "string" and event or json.encode(event)) .. "\n\n"
  end
  return table.concat(parts)
end

--- A rule that answers with these bytes.
function M.raw(body, content_type, status, headers)
  return { fault = { status = status or 200, body = body, content_type = content_type or
    "text/event-stream", headers = headers } }
end

return M
