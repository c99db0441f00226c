-- Recording and replay of every API, without the program around it.
local json = require("agenthost.json")
local record = require("agenthost.record")
local replay = require("agenthost.provider.replay")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local dir, path

before_each(function()
  dir = temp.directory()
  path = dir .. "/calls.jsonl"
end)

after_each(function() temp.remove(dir) end)

-- Takes in an event; into how many of them a text is cut depends on how the bytes arrive.
local function add(events, event)
  local last = events[#events]
  if last and event.text and last.type == event.type then
    last.text = last.text .. event.text
  else
    events[#events + 1] = json.decode(json.encode(event)) -- as it is now
  end
end

-- The reply and the events of one call with the conversation `turns`.
local function ask(provider, support, turns)
  local pieces, events, messages = support.pieces(turns), {}, {}
  for i, piece in ipairs(pieces) do
    messages[i] = '{"role":"' .. piece.role .. '","content":[' .. piece.blocks .. "]}"
  end
  local reply, message, code = provider:stream({
    pieces = pieces,
    messages_json = function() return "[" .. table.concat(messages, ",") .. "]" end,
    max_tokens = 1000,
  }, function(event)
    add(events, event)
  end)
  return { reply = reply, message = message, code = code, events = events }
end

describe("a damaged recording", function()
  local RIGHT <const> = { type = "call", run = 1, n = 1, provider = "anthropic", model = "m",
    url = "http://h/v1/messages", headers = json.object(), request = '{"messages":[]}',
    status = 200, response_headers = { ["content-type"] = "text/event-stream" },
    response = "data: {}\n\n", message = "why", code = "CUT" }
  local VALUES <const> = { false, json.null, 5, -1, 1.5, "x", "", json.array(), { 1 },
    { a = { 1 } }, math.maxinteger, "http://h/v1/responses", "a\nb\0c", true }

  local function write(line)
    local file <close> = assert(io.open(path, "w"))
    file:write(json.encode(line), '\n{"type":"call",torn')
  end

  it("is an error in one line, or a call that fails", function()
    for field in pairs(RIGHT) do
      for _, value in ipairs(VALUES) do
        local line = {}
        for name, right in pairs(RIGHT) do
          line[name] = right
        end
        line[field] = value
        write(line)
        local what = field .. " = " .. json.encode(value)
        local ok, made = pcall(replay.from_file, path, { lenient = true })
        if ok then
          local answered, result = pcall(made.stream, made, { max_tokens = 1,
            pieces = { { role = "user", blocks = '{"type":"text","text":"x"}' } } }, function() end)
          assert.is_true(answered, what .. ": " .. tostring(result))
        else
          assert.is_nil(tostring(made):find("%.lua:%d"), what .. ": " .. tostring(made))
          assert.is_nil(tostring(made):find("\n"), what)
        end
      end
    end
  end)
end)

for _, api in ipairs({ "openai", "openai-responses" }) do
  describe("a replay of " .. api, function()
    local support = require("support.openai").new(api)

    after_each(support.stop)

    -- What the recorded provider and the replay give for each of the conversations.
    local function both(rules, conversations, fields)
      support.serve({ rules = rules })
      local provider = support.provider(fields)
      provider.recorder = assert(record.open(path))
      local recorded, replayed = {}, {}
      for i, turns in ipairs(conversations) do
        recorded[i] = ask(provider, support, turns)
      end
      provider.recorder.file:close()
      support.stop()
      local again = replay.from_file(path)
      assert.equal(provider.name, again.name)
      assert.equal(provider.model, again.model)
      for i, turns in ipairs(conversations) do
        replayed[i] = ask(again, support, turns)
      end
      return recorded, replayed, again
    end

    it("gives the same replies and events, byte by byte", function()
      local recorded, replayed = both({
        { times = 1, thinking = "Hm.", text = "Wörld 😀",
          tools = { { name = "t", input = { a = { 1, { b = 2 } } } } }, wire = { chunk = 1 } },
        { text = "Second." },
      }, { { "One" }, { "Two" } })
      assert.equal("Wörld 😀", recorded[1].reply.content[2].text)
      assert.same(recorded, replayed)
      assert.falsy(assert(sys.read_file(path)):find("test-key", 1, true))
    end)

    it("fails in the same way", function()
      local recorded, replayed = both({
        { times = 1, fault = { status = 429, error_type = "insufficient_quota" } },
        { times = 1, text = "Half an answer", fault = { cut_after_events = 3 } },
        { times = 1, text = "Half an answer", fault = { cut_after_events = 3, reset = true } },
      }, { { "One" }, { "Two" }, { "Three" } })
      assert.equal("BILLING", recorded[1].code)
      assert.equal("CUT", recorded[2].code)
      assert.same(recorded, replayed)
    end)

    it("keeps the name of a local server, and asks nobody", function()
      local _, _, again = both({ { text = "x" } }, { { "One" } }, { name = "ollama" })
      assert.equal("ollama", again.name)
      assert.same({ nil, "a replayed provider has no server", "UNSUPPORTED" },
        { again:list_models() })
    end)

    it("says what differs, unless it is lenient", function()
      support.serve({ rules = { { text = "Answer." } } })
      local provider = support.provider()
      provider.recorder = assert(record.open(path))
      ask(provider, support, { "One" })
      provider.recorder.file:close()
      local other = ask(replay.from_file(path), support, { "Other" })
      assert.equal("REPLAY", other.code)
      assert.truthy(other.message:find("call 1 differs from the one in " .. path
        .. ": the user said 'Other', not 'One'", 1, true), other.message)
      other = ask(replay.from_file(path), support, { "One", "Answer", "Two" })
      assert.truthy(other.message:find("it has 3 messages, not 1", 1, true), other.message)
      other = ask(replay.from_file(path, { lenient = true }), support, { "Other" })
      assert.equal("Answer.", other.reply.content[1].text)
    end)
  end)
end

describe("replay.from_file", function()
  local function line(fields)
    local call = { type = "call", run = 1, n = 1, provider = "anthropic", model = "m",
      url = "https://a.example/v1/messages", request = "{}", status = 200 }
    for name, value in pairs(fields or {}) do
      call[name] = value
    end
    return json.encode(call) .. "\n"
  end

  local function failure(text)
    temp.write(path, text)
    return temp.raised(replay.from_file, path)
  end

  it("refuses what is no recording", function()
    assert.equal("replay: " .. path .. " holds no calls: is it a file that AGENTHOST_RECORD has "
      .. "made?", failure("nonsense\n"))
    assert.equal("replay: no provider speaks the API of 'https://a.example/soap'",
      failure(line({ url = "https://a.example/soap" })))
    assert.matches("^replay: .*No such file", temp.raised(replay.from_file, dir .. "/none"))
  end)

  it("says that a response is damaged", function()
    temp.write(path, line({ response_base64 = "x" }))
    local provider = replay.from_file(path)
    local _, message = provider.open({ body = "{}" })
    assert.equal("the response of the recorded call 1 is damaged", message)
  end)

  it("does not mix providers", function()
    temp.write(path, line() .. line({ provider = "openai" }))
    local provider = replay.from_file(path)
    assert(provider.open({ body = "{}" })):close()
    local _, message = provider.open({ body = "{}" })
    assert.matches("call 2 of .* was made to another provider %(openai, not anthropic%)", message)
  end)
end)
