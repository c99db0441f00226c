--- Whatever JSON a provider sends in a call goes back byte for byte: for each API, from its events
--- through a conversation to its next request.
local anthropic_messages = require("agenthost.provider.anthropic_messages")
local anthropic_stream = require("agenthost.provider.anthropic_stream")
local conversation = require("agenthost.conversation")
local json = require("agenthost.json")
local openai_items = require("agenthost.provider.openai_items")
local openai_messages = require("agenthost.provider.openai_messages")
local openai_responses_stream = require("agenthost.provider.openai_responses_stream")
local openai_stream = require("agenthost.provider.openai_stream")

local ROUNDS <const> = 300

-- ---- JSON texts, as odd as JSON allows ---------------------------------------------------------

local random

local ATOMS <const> = {
  "null", "true", "false", "0", "-0", "1.0", "1e3", "1E-7", "-1.50", "9007199254740993",
  "9223372036854775807", "-9223372036854775808", "18446744073709551615", "0.1", "[]", "{}", '""',
  "123456789012345678901234567890",
}

local LETTERS <const> = {
  "a", "Z", " ", "ü", "日", "😀",
  "\\n", "\\\\", '\\"', "\\/", "/", "\\u00fc", "\\ud83d\\ude00", "\\b",
  "\\u0000", "{", "]", ",", ":", "\u{2028}", "'", "\\t", "openai_", "\\u001f",
}

-- The messages as Anthropic's API gets them.
local function sent(pieces)
  return table.concat(anthropic_messages.new():parts({ pieces = pieces }, true))
end

local function some(list)
  return list[random(#list)]
end

local function a_string()
  local parts = {}
  for i = 1, random(0, 6) do
    parts[i] = some(LETTERS)
  end
  return '"' .. table.concat(parts) .. '"'
end

local function space(plain)
  return not plain and random(6) == 1 and some({ " ", "\n", "\t", "\r\n", "  " }) or ""
end

local a_value

local function an_object(depth, plain)
  local parts = {}
  for i = 1, random(0, 4) do
    -- Keys are unique: what two equal ones mean nobody says.
    parts[i] = space(plain) .. '"k' .. i .. a_string():sub(2) .. space(plain) .. ":" .. space(plain)
      .. a_value(depth - 1, plain) .. space(plain)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function a_value(depth, plain)
  local kind = depth > 0 and random(4) or random(2)
  if kind == 1 then
    return some(ATOMS)
  elseif kind == 2 then
    return a_string()
  elseif kind == 3 then
    return an_object(depth, plain)
  end
  local parts = {}
  for i = 1, random(0, 4) do
    parts[i] = space(plain) .. a_value(depth - 1, plain) .. space(plain)
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

-- ---- through a conversation --------------------------------------------------------------------

-- A text in pieces, never cut inside a character.
local function pieces_of(text)
  local pieces, last = {}, ""
  for _, code in utf8.codes(text) do
    last = last .. utf8.char(code)
    if random(4) == 1 then
      pieces[#pieces + 1], last = last, ""
    end
  end
  pieces[#pieces + 1] = last
  return pieces
end

-- The conversation that holds a reply, as it comes back from a session file.
local function kept(acc, events)
  for _, event in ipairs(events) do
    assert(acc:feed(event))
  end
  if acc.close then
    acc:close()
  end
  local all = conversation.new(function(_, text)
    assert.is_nil(text:find("[\r\n]"))
  end)
  all:append("assistant", acc:reply().content)
  return all.pieces
end

local function nothing() end

-- Each sends arguments as an API does, and gives what the next request has in their place.
local APIS <const> = {}

function APIS.anthropic(text)
  local events = { '{"type":"content_block_start","index":0,"content_block":'
    .. '{"type":"tool_use","id":"t","name":"n","input":{}}}' }
  for _, fragment in ipairs(pieces_of(text)) do
    events[#events + 1] = '{"type":"content_block_delta","index":0,"delta":{"type":'
      .. '"input_json_delta","partial_json":' .. json.encode(fragment) .. "}}"
  end
  events[#events + 1] = '{"type":"message_stop"}'
  local pieces = kept(anthropic_stream.new(nothing), events)
  return json.slice(sent(pieces), 1, "content", 1,
    "input")
end

function APIS.openai(text)
  local events = { '{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"t","function":{"name":"n",'
    .. '"arguments":""}}]}}]}' }
  for _, fragment in ipairs(pieces_of(text)) do
    events[#events + 1] = '{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
      .. json.encode(fragment) .. "}}]}}]}"
  end
  events[#events + 1] = '{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}'
  local pieces = kept(openai_stream.new(nothing), events)
  local whole = table.concat(openai_messages.new():parts(nil, pieces))
  return json.decode(whole)[1].tool_calls[1]["function"].arguments
end

APIS["openai-responses"] = function(text)
  local item = '{"type":"function_call","call_id":"t","name":"n","arguments":' .. json.encode(text)
    .. "}"
  local pieces = kept(openai_responses_stream.new(nothing), {
    '{"type":"response.output_item.done","output_index":0,"item":' .. item .. "}",
    '{"type":"response.completed","response":{"status":"completed","output":[' .. item .. "]}}",
  })
  return json.decode(table.concat(openai_items.new():parts(pieces)))[1].arguments
end

-- A block or item that nobody knows, with anything in it.
local function unknown_anthropic(text)
  local block = '{"type":"new","data":' .. text .. "}"
  local pieces = kept(anthropic_stream.new(nothing), {
    '{"type":"content_block_start","index":0,"content_block":' .. block .. "}",
    '{"type":"message_stop"}' })
  return json.slice(sent(pieces), 1, "content", 1,
    "data")
end

local function unknown_item(text)
  local item = '{"type":"new","data":' .. text .. "}"
  local pieces = kept(openai_responses_stream.new(nothing), {
    '{"type":"response.output_item.done","output_index":0,"item":' .. item .. "}",
    '{"type":"response.completed","response":{"status":"completed","output":[]}}' })
  return json.slice(table.concat(openai_items.new():parts(pieces)), 1, "data")
end

describe("what a provider sent goes back byte for byte", function()
  before_each(function()
    local seed = os.time()
    math.randomseed(seed)
    random = math.random
  end)

  for name, through in pairs(APIS) do
    it("arguments of " .. name, function()
      for _ = 1, ROUNDS do
        -- Line breaks between tokens are spaces in a session file; the OpenAI APIs keep them apart.
        local text = an_object(3, name == "anthropic")
        assert.equal(text, through(text))
      end
    end)
  end

  it("arguments of openai for Anthropic, but for line breaks", function()
    for _ = 1, ROUNDS do
      local text = an_object(3, true)
      local pieces = kept(openai_stream.new(nothing), {
        '{"choices":[{"delta":{"tool_calls":[{"id":"t","function":{"name":"n","arguments":'
          .. json.encode(text) .. '}}]},"finish_reason":"stop"}]}' })
      assert.equal(text, json.slice(sent(pieces), 1,
        "content", 1, "input"))
    end
  end)

  it("blocks and items that nobody knows", function()
    for _ = 1, ROUNDS do
      local text = a_value(3, true)
      assert.equal(text, unknown_anthropic(text))
      assert.equal(text, unknown_item(text))
    end
  end)
end)
