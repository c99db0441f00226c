-- agenthost turns.lua URL MESSAGES COUNT: CPU and time of a turn behind a history of so many
-- messages, next to sending as many bytes that lie ready (in parts, too: else they would be in the
-- cache of the CPU, unlike those of a history). Prints a line for each of COUNT pairs: microseconds
-- of CPU and of time for the turn, then for the bytes alone; bytes.
local anthropic = require("agenthost.provider.anthropic")
local async = require("agenthost.async")
local conversation = require("agenthost.conversation")
local http = require("agenthost.http")
local joined = require("agenthost.joined")
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local url, messages, count = ...
messages, count = tonumber(messages), tonumber(count)
local provider = anthropic.new({ model = "bench", api_key = "none", base_url = url })
local tools = { { name = "bash", description = "Runs a command.",
  input_schema = json.decode('{"type":"object","properties":{"command":{"type":"string"}}}') } }

-- About 1 KB a message, as in work with tools.
local function user_blocks(i)
  return { { type = "tool_result", tool_use_id = "toolu_" .. i,
    content = ("line %d of what a command said\n"):format(i):rep(30) } }
end
local function assistant_blocks(i)
  return {
    { type = "text", text = ("Now I look at the next file. "):rep(25) },
    { type = "tool_use", id = "toolu_" .. i, name = "bash", input = { command = "sed -n 1p f" } },
  }
end

local function grown(n)
  local made = conversation.new()
  for i = 1, n, 2 do
    made:append("user", user_blocks(i))
    made:append("assistant", assistant_blocks(i))
  end
  return made
end

local function measure(fn)
  local time, cpu = sys.now(), os.clock()
  fn()
  return (os.clock() - cpu) * 1e6, (sys.now() - time) * 1e6
end

-- What the agent loop does: append, call, append.
local function turn(talk)
  talk:append("user", user_blocks(#talk.pieces))
  local reply = assert(provider:stream({
    system = "You are an agent.",
    tools = tools,
    messages_json = function() return talk:messages_json() end,
    messages = function() return talk:messages() end,
    pieces = talk.pieces,
    max_tokens = 1000,
  }, function() end))
  talk:append("assistant", reply.content)
end

local function wire(body)
  local stream <close> = assert(http.stream({
    url = url .. "/v1/messages", method = "POST", headers = provider.headers, body = body,
  }))
  local accumulator = require("agenthost.provider.anthropic_stream").new(function() end)
  for event in stream:events() do
    accumulator:feed(event.data)
  end
  accumulator:reply()
end

async.run(function()
  local talk = grown(messages)
  local body = joined.new():parts(grown(messages + 2).pieces)
  local length = #table.concat(body)
  for i = -2, count do
    if #talk.pieces > messages + math.max(4, messages // 50) then
      talk = grown(messages)
      turn(talk)
      collectgarbage() -- what the old one leaves is no cost of a turn
    end
    local cpu, time = measure(function() turn(talk) end)
    local wire_cpu, wire_time = measure(function() wire(body) end)
    if i > 0 then -- the first few warm up
      print(("%.0f %.0f %.0f %.0f %d"):format(cpu, time, wire_cpu, wire_time, length))
    end
  end
end)
