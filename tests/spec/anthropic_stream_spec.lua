--- Replies of the Anthropic provider put together from their events, without a server.
local anthropic_stream = require("agenthost.provider.anthropic_stream")
local json = require("agenthost.json")

-- A reply made of events, without a server. Events are tables or JSON texts.
local function accumulate(events)
  local told = {}
  local acc = anthropic_stream.new(function(event) told[#told + 1] = event end)
  for _, event in ipairs(events) do
    assert(acc:feed(type(event) == "string" and event or json.encode(event)))
  end
  return acc, told
end

local function block_start(index, block)
  return { type = "content_block_start", index = index, content_block = block }
end
local function block_delta(index, delta)
  return { type = "content_block_delta", index = index, delta = delta }
end
local function block_stop(index)
  return { type = "content_block_stop", index = index }
end
local function stop_with(reason)
  return { type = "message_delta", delta = { stop_reason = reason }, usage = { output_tokens = 9 } }
end
local STOP <const> = { type = "message_stop" }

-- A tool call whose input comes in these fragments.
local function tool_call(fragments, reason)
  local events = { block_start(0, { type = "tool_use", id = "t", name = "read", input = {} }) }
  for _, fragment in ipairs(fragments) do
    events[#events + 1] = block_delta(0, { type = "input_json_delta", partial_json = fragment })
  end
  table.move({ block_stop(0), stop_with(reason or "tool_use"), STOP }, 1, 3, #events + 1, events)
  return accumulate(events):reply().content[1]
end

describe("the accumulator", function()
  it("marks a tool call that was cut, and sends back {} for its input", function()
    for _, fragment in ipairs({ '{"path":"/et', '[1]', '"x"', '{"a":1e999}', '{"a":1}}', "nul" }) do
      local block = tool_call({ "", fragment }, "max_tokens")
      assert.is_true(block.incomplete, fragment)
      assert.same({}, block.input)
      assert.equal('{"id":"t","input":{},"name":"read","type":"tool_use"}', block.json)
    end
    assert.is_true(tool_call({ '{"a":' }).incomplete) -- whatever the stop reason
  end)

  it("takes {} for an input that never came", function()
    for _, fragments in ipairs({ {}, { "" }, { "", " " }, { "null" } }) do
      local block = tool_call(fragments)
      assert.is_nil(block.incomplete)
      assert.equal("{}", json.encode(block.input))
    end
  end)

  it("takes an input that came whole with the start of the block", function()
    local reply = accumulate({
      '{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t",'
        .. '"name":"read","input":{"b":1.0,"a":9007199254740993}}}', block_stop(0), STOP }):reply()
    assert.equal('{"id":"t","input":{"b":1.0,"a":9007199254740993},"name":"read",'
      .. '"type":"tool_use"}', reply.content[1].json)
    assert.equal("tool_use", reply.stop_reason) -- none was given
  end)

  it("keeps further members of a tool call", function()
    local reply = accumulate({ block_start(0, { type = "tool_use", id = "t", name = "read",
      input = {}, caller = { type = "direct" } }), block_stop(0), STOP }):reply()
    assert.same({ type = "direct" }, json.decode(reply.content[1].json).caller)
  end)

  it("puts every block on one line", function()
    assert.equal('{"id":"t","input":{ "a": "x\\ny" },"name":"read","type":"tool_use"}',
      tool_call({ '{\n"a":', '\r\n"x\\ny"\n}' }).json)
    local reply = accumulate({
      '{"type":"content_block_start","index":0,"content_block":{"type":"new",\n"a":1}}',
      block_stop(0),
      '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"a"}}',
      '{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{\n}}}',
      block_stop(1), STOP }):reply()
    assert.equal('{"type":"new", "a":1}', reply.content[1].json)
    assert.equal('{"citations":[{ }],"text":"a","type":"text"}', reply.content[2].json)
  end)

  it("joins a surrogate pair that was cut", function()
    local reply = accumulate({
      block_start(0, { type = "text", text = "" }),
      [[{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\ud83d"}}]],
      [[{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ude00b"}}]],
      block_stop(0), STOP }):reply()
    assert.equal("a😀b", reply.content[1].text)
  end)

  it("shows and keeps whole characters, however the server cut them", function()
    for inside, wanted in pairs({
      ["a\\ud83d\\ude00b\\ud83d\\ude00"] = "a😀b😀",
      ["a\xF0\x9F\x98\x80é€ \\\\ud83d"] = "a😀é€ \\ud83d",
      ["a\\ud83dx\\ude00\u{FFFD}\\ud83d"] = "a\u{FFFD}x\u{FFFD}\u{FFFD}\u{FFFD}",
      ["a\xF0\x9Fb\xC3"] = "a\u{FFFD}b\u{FFFD}",
      ["\xE2\x82"] = "\u{FFFD}",
    }) do
      local units = {} -- escapes stay whole, or it is no JSON
      local at = 1
      while at <= #inside do
        local unit = inside:match("^\\u%x%x%x%x", at) or inside:match("^\\.", at)
          or inside:sub(at, at)
        units[#units + 1] = unit
        at = at + #unit
      end
      for cut = 1, #units do
        local one, two = table.concat(units, "", 1, cut), table.concat(units, "", cut + 1)
        local shown = ""
        local acc, told = accumulate({
          block_start(0, { type = "text", text = "" }),
          '{"type":"content_block_delta","delta":{"type":"text_delta","text":"' .. one .. '"}}',
          '{"type":"content_block_delta","delta":{"type":"text_delta","text":"' .. two .. '"}}',
          block_stop(0), STOP })
        for _, event in ipairs(told) do
          shown = shown .. (event.type == "text" and event.text or "")
        end
        local reply = acc:reply()
        assert.equal(wanted, reply.content[1].text)
        assert.equal((wanted:gsub("\u{FFFD}$", "")), shown) -- the last one was waited for
      end
    end
  end)

  it("joins a character that was cut, and repairs one that was lost", function()
    local function thinking(pieces)
      local events = { block_start(0, { type = "thinking", thinking = "", signature = "" }) }
      for _, piece in ipairs(pieces) do
        events[#events + 1] = '{"type":"content_block_delta","index":0,"delta":{"type":'
          .. '"thinking_delta","thinking":"' .. piece .. '"}}'
      end
      events[#events + 1] = block_delta(0, { type = "signature_delta", signature = "s+/=" })
      events[#events + 1] = STOP
      return accumulate(events):reply().content[1]
    end
    local good = thinking({ "a\xF0\x9F", "\x98\x80b\\/" })
    assert.equal("a😀b/", good.text)
    assert.equal('{"type":"thinking","thinking":"a😀b\\/","signature":"s+/="}', good.json)
    assert.equal('{"type":"thinking","thinking":"a\u{FFFD}b","signature":"s+/="}',
      thinking({ "a\xF0\x9F", "b" }).json)
  end)

  it("takes a signature without thinking, and one that comes with the start", function()
    local reply = accumulate({
      block_start(0, { type = "thinking", thinking = "", signature = "" }),
      block_delta(0, { type = "signature_delta", signature = "abc" }), block_stop(0),
      block_start(1, { type = "thinking", thinking = "x", signature = "y" }), block_stop(1),
      STOP }):reply()
    assert.equal('{"type":"thinking","thinking":"","signature":"abc"}', reply.content[1].json)
    assert.equal('{"type":"thinking","thinking":"x","signature":"y"}', reply.content[2].json)
  end)

  it("drops thinking that was cut before its signature", function()
    local function reply_with(reason)
      return accumulate({ block_start(0, { type = "thinking", thinking = "", signature = "" }),
        block_delta(0, { type = "thinking_delta", thinking = "so" }), block_stop(0),
        stop_with(reason), STOP }):reply()
    end
    assert.same({}, reply_with("max_tokens").content)
    assert.equal(1, #reply_with("end_turn").content) -- local servers do not sign
  end)

  it("ends the blocks whose end was left out, once each", function()
    local acc, told = accumulate({
      block_start(0, { type = "text", text = "" }),
      block_delta(0, { type = "text_delta", text = "one" }),
      block_start(0, { type = "text", text = "" }),
      block_delta(0, { type = "text_delta", text = "two" }),
      STOP })
    assert.is_true(acc.done)
    local content = acc:reply().content
    assert.same({ "one", "two" }, { content[1].text, content[2].text })
    local blocks = 0
    for _, event in ipairs(told) do
      blocks = blocks + (event.type == "block" and 1 or 0)
    end
    assert.equal(2, blocks)
  end)

  it("overwrites usage and leaves null out", function()
    local acc = accumulate({
      { type = "message_start", message = { id = "m", model = "x", usage = {
        input_tokens = 5, output_tokens = 1, cache_read_input_tokens = 2 } } },
      { type = "message_delta", delta = {}, usage = { output_tokens = 10 } },
      { type = "message_delta", delta = { stop_reason = "end_turn" }, usage = {
        output_tokens = 20, cache_read_input_tokens = json.null } },
      STOP })
    assert.same({ input_tokens = 5, output_tokens = 20, cache_read_input_tokens = 2 },
      acc:reply().usage)
  end)

  it("skips what it does not know", function()
    local acc = accumulate({
      "[DONE]", '{"type":"ping"}', '{"type":"new"}', '{"type":1}', "{}",
      block_delta(7, { type = "new_delta", text = "x" }),
      block_start(0, { type = "text", text = "a" }),
      block_delta(0, { type = "new_delta", text = "x" }), block_stop(0), block_stop(3), STOP })
    assert.equal("a", acc:reply().content[1].text)
  end)

  it("refuses events that make no sense", function()
    local function refused(...)
      local acc = anthropic_stream.new(function() end)
      local ok, message, code, error_type
      for _, text in ipairs({ ... }) do
        ok, message, code, error_type = acc:feed(text)
      end
      assert.is_nil(ok)
      assert.is_string(message)
      return code, error_type
    end
    assert.equal("PROTOCOL", refused("{"))
    assert.equal("PROTOCOL", refused("12"))
    assert.equal("PROTOCOL", refused('{"type":"content_block_start","index":0}'))
    assert.equal("PROTOCOL", refused(
      '{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}'))
    assert.equal("PROTOCOL", refused('{"type":"content_block_delta","index":0,"delta":'
      .. '{"type":"text_delta","text":"lost"}}'))
    assert.same({ "ERROR", "api_error" },
      { refused('{"type":"error","error":{"type":"api_error","message":"x"}}') })
    assert.equal("ERROR", refused('{"error":{"code":500,"message":"x"}}'))
    assert.equal("ERROR", refused('{"error":"x"}'))
    assert.equal("ERROR", refused('{"type":"error"}'))
  end)

  it("says whether something was shown", function()
    assert.is_false(accumulate({ block_start(0, { type = "text", text = "" }) }).partial)
    assert.is_true(accumulate({ block_start(0, { type = "text", text = "a" }) }).partial)
  end)
end)
