local conversation = require("agenthost.conversation")
local json = require("agenthost.json")
local raised = require("support.temp").raised

local function text(s)
  return { type = "text", text = s }
end

describe("agenthost.conversation", function()
  it("is empty at first", function()
    local c = conversation.new()
    assert.equal("[]", c:messages_json())
    assert.same({}, c:messages())
    assert.is_nil(c:last_role())
  end)

  it("makes one message of pieces of the same role that follow each other", function()
    local c = conversation.new()
    c:append("user", { text("a") })
    c:append("assistant", { text("b"), text("c") })
    c:append("assistant", { text("d") })
    c:append("user", { { type = "tool_result", tool_use_id = "1", content = "x" } })
    c:append("user", { text("e") })
    c:append("user", { text("f") })
    assert.same({
      { role = "user", content = { text("a") } },
      { role = "assistant", content = { text("b"), text("c"), text("d") } },
      { role = "user", content = {
        { type = "tool_result", tool_use_id = "1", content = "x" }, text("e"), text("f") } },
    }, c:messages())
    assert.equal("user", c:last_role())
    assert.equal(6, #c.pieces)
  end)

  it("takes a block that has its own text as that, byte for byte", function()
    local c = conversation.new()
    local raw <const> = '{"type":"thinking",  "signature":"\\u00e9=="}'
    c:append("assistant", { { type = "thinking", json = raw }, text("x") })
    assert.equal('[{"role":"assistant","content":[' .. raw .. ',{"text":"x","type":"text"}]}]',
      c:messages_json())
  end)

  it("keeps the bytes of what was said before: a prompt cache needs that", function()
    local c = conversation.new()
    c:append("user", { text("a") })
    local before
    for i = 1, 20 do
      before = c:messages_json():sub(1, -2)
      c:append(i % 2 == 0 and "user" or "assistant",
        { text("x"), { b = 1, a = { 2, 3 }, type = "t" } })
      assert.equal(before, c:messages_json():sub(1, #before))
    end
  end)

  it("encodes a block once in its life", function()
    local c = conversation.new()
    local block = text("first")
    c:append("user", { block })
    block.text = "changed"
    assert.matches("first", c:messages_json(), 1, true)
  end)

  it("gives every piece as one message before it counts", function()
    local kept, counted = {}, {}
    local c
    c = conversation.new(function(piece, message)
      kept[#kept + 1] = json.decode(message)
      counted[#counted + 1] = #c.pieces
      assert.equal("user", piece.role)
    end)
    c:append("user", { text("a") })
    c:append("user", { text("b") })
    assert.same({ 0, 1 }, counted)
    assert.same({ { role = "user", content = { text("a") } },
      { role = "user", content = { text("b") } } }, kept)
  end)

  it("does not hold what could not be kept", function()
    local fail = true
    local c = conversation.new(function()
      if fail then
        error("the disk is full", 0)
      end
    end)
    assert.equal("the disk is full", raised(c.append, c, "user", { text("a") }))
    assert.equal("[]", c:messages_json())
    fail = false
    c:append("user", { text("b") })
    assert.equal(1, #c.pieces)
  end)

  it("takes other pieces in place of all, without telling of them", function()
    local told = 0
    local c = conversation.new(function() told = told + 1 end)
    c:append("user", { text("a") })
    c:append("assistant", { text("b") })
    local kept = c.pieces[2]
    c:replace({ { role = "user", blocks = '{"s":1}' }, kept })
    c:append("user", { text("c") })
    assert.equal(3, told)
    assert.equal('[{"role":"user","content":[{"s":1}]},{"role":"assistant","content":['
      .. kept.blocks .. ']},{"role":"user","content":[{"text":"c","type":"text"}]}]',
      c:messages_json())
  end)

  it("refuses a message without content", function()
    local c = conversation.new()
    assert.matches("a message needs content", raised(c.append, c, "user", {}))
  end)

  it("repairs what is no UTF-8", function()
    local c = conversation.new()
    c:append("user", { text("a\xffb") })
    assert.same({ text("a\u{fffd}b") }, c:messages()[1].content)
  end)
end)
