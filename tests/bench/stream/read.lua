-- agenthost's readers: agenthost read.lua WAY URL, where WAY is
--   provider  the Anthropic provider: the text as it is shown on the way, and the whole reply
--   events    stream:events{ join } and json.decode: the text of every delta, nothing is kept
--   single    the same without join: one Lua event for each event of the stream
-- Prints seconds, bytes of text seen, and bytes that the server says it sent.
local anthropic = require("agenthost.provider.anthropic")
local async = require("agenthost.async")
local http = require("agenthost.http")
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local way, url = ...
local read = {}

local function by_events(opts)
  local seen, stream <close> = 0, assert(http.stream({ url = url .. "/v1/messages" }))
  for event in stream:events(opts) do
    local delta = json.decode(event.data).delta
    if delta and delta.text then
      seen = seen + #delta.text
    end
  end
  assert(not stream:error())
  return seen, stream.headers["x-text"]:match("%d+")
end

function read.events()
  return by_events({ join = { '"text_delta","text":"' } })
end

function read.single()
  return by_events({})
end

function read.provider()
  local seen = 0
  local provider = anthropic.new({ model = "bench", api_key = "none", base_url = url })
  local reply = assert(provider:stream({
    max_tokens = 1,
    messages_json = function() return "[]" end,
  }, function(event)
    if event.type == "text" then
      seen = seen + #event.text
    end
  end))
  local kept = 0
  for _, block in ipairs(reply.content) do
    kept = kept + #block.text
  end
  return seen, kept
end

local begin = sys.now()
local seen, sent = async.run(read[way])
print(sys.now() - begin, seen, sent)
