--- A conversation in the words of the APIs that it is sent to: without a server.
local anthropic_messages = require("agenthost.provider.anthropic_messages")
local json = require("agenthost.json")
local openai_blocks = require("agenthost.provider.openai_blocks")
local openai_items = require("agenthost.provider.openai_items")
local openai_messages = require("agenthost.provider.openai_messages")
local openai_stream = require("agenthost.provider.openai_stream")
local support = require("support.openai")

local IMAGE <const> =
  { type = "image", source = { type = "base64", media_type = "image/png", data = "aGk=" } }

local function piece(role, ...)
  local blocks = {}
  for i, block in ipairs({ ... }) do
    blocks[i] = block.json or json.encode(block)
  end
  return { role = role, blocks = table.concat(blocks, ",") }
end

local function text(s)
  return { type = "text", text = s }
end

local function chat(...)
  return json.decode(table.concat(openai_messages.new():parts(nil, { ... })))
end

local function input(...)
  return json.decode(table.concat(openai_items.new():parts({ ... })))
end

local function messages(...)
  return json.decode(table.concat(anthropic_messages.new():parts({ pieces = { ... } }, false)))
end

describe("messages of Chat Completions", function()
  it("are one of each role, with one string", function()
    assert.same({ { role = "user", content = 'a "b"\n\nc\n\nd' },
      { role = "assistant", content = "e" }, { role = "user", content = "f" } },
      chat(piece("user", text('a "b"'), text("c")), piece("user", text("d")),
        piece("assistant", text("e")), piece("user", text("f"))))
  end)

  it("have results right behind the calls, one each, and images behind them", function()
    local made = chat(piece("user", text("go")),
      piece("assistant", text("I look."), openai_blocks.tool_use("c1", "read", "{}"),
        openai_blocks.tool_use("c2", "read", '{"a":1}')),
      piece("user", text("before"), { type = "tool_result", tool_use_id = "c1", content = {
        text("one"), IMAGE } }),
      piece("user", { type = "tool_result", tool_use_id = "c2", content = "no", is_error = true },
        text("and?")))
    assert.same({ "user", "assistant", "tool", "tool", "user" },
      { made[1].role, made[2].role, made[3].role, made[4].role, made[5].role })
    assert.same({ "c1", "one\n(an image, see the next message of the user)", "c2", "Error: no" },
      { made[3].tool_call_id, made[3].content, made[4].tool_call_id, made[4].content })
    local parts = made[5].content
    assert.same({ "before", "Image from the tool call c1:", "data:image/png;base64,aGk=", "and?" },
      { parts[1].text, parts[2].text, parts[3].image_url.url, parts[4].text })
    assert.equal("I look.", made[2].content)
    assert.equal('{"a":1}', made[2].tool_calls[2]["function"].arguments)
  end)

  it("leave out what only others understand", function()
    local thinking = { type = "thinking", thinking = "Hm", signature = "s" }
    local pieces = { piece("user", text("a")),
      piece("assistant", thinking, { type = "redacted_thinking", data = "x" },
        openai_blocks.item('{"type":"reasoning","id":"rs_1"}')),
      piece("user", text("b")), piece("assistant", thinking, text("c")) }
    assert.same({ { role = "user", content = "a" }, { role = "user", content = "b" },
      { role = "assistant", content = "c" } }, chat(table.unpack(pieces)))
    local with = json.decode(table.concat(
      openai_messages.new("reasoning_content"):parts("sys", pieces)))
    assert.same({ role = "system", content = "sys" }, with[1])
    assert.same({ role = "assistant", content = "c", reasoning_content = "Hm" }, with[4])
  end)

  -- The same as if all had been made anew, whatever was asked for before.
  local function check_growing(make)
    local kept, pieces = make(), {}
    math.randomseed(1)
    for i = 1, 150 do
      local user = math.random() < 0.5
      pieces[i] = user and piece("user", text(("u"):rep(math.random(3000))))
        or math.random() < 0.2 and piece("assistant", { type = "thinking", thinking = "Hm" })
        or piece("assistant", text(("a"):rep(math.random(3000))))
      local made = table.concat(kept(pieces))
      assert.equal(table.concat(make()(pieces)), made)
      assert.is_table(json.decode(made))
    end
    local parts = kept(pieces)
    assert.is_true(#parts < 25, #parts .. " parts")
    assert.is_true(rawequal(parts[3], kept(pieces)[3]))
    local other = { piece("user", text("another conversation")) }
    assert.equal(table.concat(make()(other)), table.concat(kept(other)))
    pieces[10] = nil
    table.move(pieces, 12, #pieces, 10)
    assert.equal(table.concat(make()(pieces)), table.concat(kept(pieces)))
  end

  it("cost what is new: the rest is kept as text", function()
    for _, system in ipairs({ false, "You are a test." }) do
      check_growing(function()
        local m = openai_messages.new()
        return function(pieces) return m:parts(system or nil, pieces) end
      end)
    end
    check_growing(function()
      local items = openai_items.new()
      return function(pieces) return items:parts(pieces) end
    end)
  end)

  it("are converted once for each piece, and not kept longer than it", function()
    local m = openai_messages.new()
    local one = piece("user", text("a"))
    local first = m:convert(one)
    local pieces = { one }
    m:parts(nil, pieces)
    assert.equal(first, m:convert(one))
    pieces[2] = piece("assistant", text("b"))
    m:parts(nil, pieces)
    collectgarbage()
    collectgarbage()
    local count = 0
    for kept in pairs(m.converted) do
      count = count + 1
      assert.equal(pieces[2], kept) -- the first one is text by now
    end
    assert.equal(1, count)
  end)

  it("can be made of a request without pieces", function()
    local made = openai_messages.pieces_of({ messages_json = function()
      return '[{"role":"user","content":[{"type":"text","text":"a"}]}]'
    end })
    assert.same({ { role = "user", blocks = '{"type":"text","text":"a"}' } }, made)
  end)
end)

describe("a conversation that goes on with another provider", function()
  local item = '{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"xyz"}'
  local call =
    '{"type":"function_call","id":"fc_1","call_id":"a.b:0","name":"read","arguments":"{}"}'
  local said = piece("assistant", openai_blocks.item(item),
    openai_blocks.thinking("Hm", "reasoning"),
    openai_blocks.text("Hi", '{"type":"message","id":"m","role":"assistant","content":[]}'),
    openai_blocks.tool_use("a.b:0", "read", '{\n"a":[]}', false, call))
  local result = piece("user", { type = "tool_result", tool_use_id = "a.b:0", content = "ok" })

  it("is clean for Anthropic: no foreign fields, unsigned thinking, odd ids", function()
    assert.same({ { role = "user", content = { text("a") } },
      { role = "assistant", content = { text("Hi"),
        { type = "tool_use", id = "a_b_0", name = "read", input = { a = {} } } } },
      { role = "user", content = { { type = "tool_result", tool_use_id = "a_b_0",
        content = "ok" } } } }, messages(piece("user", text("a")), said, result))
    assert.same({ { role = "user", content = { text("a"), text("b") } } }, messages(
      piece("user", text("a")), piece("assistant", openai_blocks.item(item)),
      piece("user", text("b"))))
  end)

  it("stays the same text for Anthropic where nothing is foreign", function()
    local odd = { role = "user", blocks = '{ "type" : "text", "text" : "say \\"openai_x\\" " }' }
    local back = table.concat(anthropic_messages.new():parts({ pieces = { odd } }, false))
    assert.matches(odd.blocks, back, 1, true)
  end)

  it("has its items as they were for the Responses API, and none for Chat Completions", function()
    local m = table.concat(openai_items.new():parts({ said, result }))
    assert.matches(item .. ',{"type":"message","id":"m","role":"assistant","content":[]},' .. call,
      m, 1, true)
    local made = chat(said, result)
    assert.same({ "a.b:0", '{\n"a":[]}', "Hi", "a.b:0" }, { made[1].tool_calls[1].id,
      made[1].tool_calls[1]["function"].arguments, made[1].content, made[2].tool_call_id })
  end)

  it("has no reasoning that cannot be read again", function()
    local items = input(piece("assistant", openai_blocks.item(
      '{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":null}'),
      openai_blocks.item('{"type":"reasoning","id":"rs_2","summary":[],"content":[{"type":'
        .. '"reasoning_text","text":"x"}]}'), text("Hi")))
    assert.same({ "rs_2", "assistant" }, { items[1].id, items[2].role })
  end)
end)

describe("marks for the cache", function()
  local MARK <const> = { type = "ephemeral" }

  local function marks(cache, pieces)
    local parts = anthropic_messages.new():parts({ pieces = pieces }, cache)
    local found, made = {}, json.decode(table.concat(parts))
    for i, message in ipairs(made) do
      for k, block in ipairs(message.content) do
        if block.cache_control then
          assert.same(MARK, block.cache_control)
          found[#found + 1] = i .. "." .. k
        end
      end
    end
    return found
  end

  local function turn(calls)
    local uses, results = {}, {}
    for i = 1, calls do
      uses[i] = openai_blocks.tool_use("c" .. i, "read", "{}")
      results[i] = { type = "tool_result", tool_use_id = "c" .. i, content = "ok" }
    end
    return piece("assistant", table.unpack(uses)), piece("user", table.unpack(results))
  end

  it("are left to the API, but for a turn with many calls", function()
    local few, few_results = turn(3)
    local many, many_results = turn(12)
    local start = piece("user", text("a"), text("b"))
    assert.same({}, marks(true, { start }))
    assert.same({}, marks(true, { start, few, few_results }))
    assert.same({ "1.2" }, marks(true, { start, many, many_results }))
    assert.same({ "3.3" }, marks(true, { start, few, few_results, many, many_results,
      piece("user", text("notice")) }))
    assert.same({}, marks(false, { start, many, many_results }))
  end)

  it("are at the ends of this request and of the one before when they are explicit", function()
    local use, result = turn(1)
    assert.same({ "1.1" }, marks("explicit", { piece("user", text("a")) }))
    assert.same({ "1.1", "3.2" }, marks("explicit", { piece("user", text("a")), use, result,
      piece("user", text("more")) }))
    assert.same({ "1.1" }, marks("explicit", { piece("user", text("a")), use }))
    local own = piece("user", { type = "text", text = "x", cache_control = MARK })
    assert.same({ "1.1" }, marks("explicit", { own }))
  end)
end)

describe("the accumulator of Chat Completions", function()
  local function reply_of(...)
    local acc = openai_stream.new(function() end)
    for _, chunk in ipairs({ ... }) do
      assert(acc:feed(chunk))
    end
    assert.is_true(acc:close())
    return acc:reply()
  end
  local function delta(inside)
    return '{"choices":[{"index":0,"delta":{' .. inside .. "}}]}"
  end
  local STOP <const> = '{"choices":[{"delta":{},"finish_reason":"stop"}]}'

  local function call(inside)
    return delta('"tool_calls":[{' .. inside .. "}]")
  end

  it("tells calls apart by index, by id, and by what is complete", function()
    local function calls(...)
      local found = {}
      for i, block in ipairs(reply_of(...).content) do
        found[i] = block.name .. json.encode(block.input)
      end
      return found
    end
    local want = { 'a{"x":1}', 'b{"y":2}' }
    -- Interleaved.
    assert.same(want, calls(call('"index":0,"id":"1","function":{"name":"a","arguments":""}'),
      call('"index":1,"id":"2","function":{"name":"b","arguments":"{"}'),
      call('"index":0,"function":{"arguments":"{\\"x\\":1}"}'),
      call('"index":1,"function":{"arguments":"\\"y\\":2}"}'), STOP))
    -- The same index for all.
    assert.same(want, calls(
      call('"index":0,"id":"1","function":{"name":"a","arguments":"{\\"x\\":1}"}'),
      call('"index":0,"id":"2","function":{"name":"b","arguments":"{\\"y\\":2}"}'), STOP))
    -- Nothing to tell them by but that the first is complete.
    assert.same(want, calls(call('"function":{"name":"a","arguments":"{\\"x\\""}'),
      call('"function":{"arguments":":1}"}'),
      call('"function":{"name":"b","arguments":{"y":2}}'), STOP))
    -- The name in each delta, and the id, too.
    assert.same({ 'a{"x":1}' }, calls(
      call('"index":0,"id":"1","function":{"name":"a","arguments":"{\\"x\\""}'),
      call('"index":0,"id":"1","function":{"name":"a","arguments":":1}"}'), STOP))
  end)

  it("makes ids that are its own", function()
    local content = reply_of(call('"index":0,"function":{"name":"a","arguments":""}'),
      call('"index":1,"id":"","function":{"name":"b"}'), STOP).content
    assert.matches("^call_%x+$", content[1].id)
    assert.is_true(content[1].id ~= content[2].id)
    assert.same({ {}, {} }, { content[1].input, content[2].input })
  end)

  it("joins a surrogate pair that was cut, in text and in arguments", function()
    local content = reply_of(delta([["content":"a\ud83d"]]), delta([["content":"\ude00b"]]),
      call([["index":0,"id":"1","function":{"name":"a","arguments":"{\"x\":\"\ud83d"}]]),
      call([["index":0,"function":{"arguments":"\ude00\"}"}]]), STOP).content
    assert.same({ "a😀b", "😀" }, { content[1].text, content[2].input.x })
  end)

  it("takes parts for a content, other choices for nothing, and counts where they are", function()
    local reply = reply_of(delta('"content":[{"type":"text","text":"a"},{"type":"x"}]'),
      '{"choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"length"}]}',
      '{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":9,'
        .. '"completion_tokens":2,"cached_tokens":4}}]}')
    assert.equal("a", reply.content[1].text)
    assert.equal("end_turn", reply.stop_reason)
    assert.same({ input_tokens = 5, cache_read_input_tokens = 4, output_tokens = 2 }, reply.usage)
    reply = reply_of('{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],'
      .. '"timings":{"cache_n":3,"prompt_n":7,"predicted_n":2}}')
    assert.same({ input_tokens = 7, cache_read_input_tokens = 3, output_tokens = 2 }, reply.usage)
  end)
end)

describe("support", function()
  it("makes pieces as a conversation does", function()
    assert.same({ { role = "user", blocks = '{"text":"a","type":"text"}' } },
      support.pieces({ "a" }))
  end)
end)
