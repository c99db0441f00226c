--- A conversation that goes on with another provider, in the middle of tool calls and thinking.
local agents = require("support.agents")
local anthropic = require("agenthost.provider.anthropic")
local fake = require("support.fake")
local json = require("agenthost.json")
local openai = require("agenthost.provider.openai")
local openai_responses = require("agenthost.provider.openai_responses")

local MAKERS <const> = { anthropic = anthropic, openai = openai,
  ["openai-responses"] = openai_responses }
local APIS <const> = { "anthropic", "openai", "openai-responses" }

local place, servers

before_each(function()
  place, servers = agents.place(), {}
end)

after_each(function()
  place:close()
  for _, server in ipairs(servers) do
    server.stop()
  end
end)

-- A server that thinks, calls tools and says something in each run.
local function serve(api, more)
  local scenario = { quirks = { "elsewhere" }, rules = {
    { when = { has_tool_result = false }, thinking = "Hm, 思考.", text = "Looking.", tools = {
      { name = "look", input = { path = "a", list = json.array() } },
      { name = "look", input = json.object() } } },
    { thinking = "Well.", text = "Done by " .. api .. "." } } }
  for name, value in pairs(more or {}) do
    scenario[name] = value
  end
  local server = fake.start(scenario, { api = api })
  servers[#servers + 1] = server
  local provider = MAKERS[api].new({ model = api == "anthropic" and "claude-test-1" or "gpt-test-1",
    api_key = "test-key", base_url = server.base_url })
  provider.max_tokens_field = api == "openai" and "max_completion_tokens" or nil
  return provider, server
end

local function new_agent()
  return place:new({}, { tools = { { name = "look", description = "looks",
    run = function() return "seen" end } } })
end

local function rejected(server)
  local found = {}
  for _, entry in ipairs(server.log()) do
    found[#found + 1] = entry.kind == "rejected" and entry.message or nil
  end
  return found
end

describe("a conversation goes on", function()
  for _, from in ipairs(APIS) do
    for _, to in ipairs(APIS) do
      it(("from %s to %s and back"):format(from, to), function()
        local agent = new_agent()
        local one, first = serve(from)
        local other, second = serve(to)
        for i, provider in ipairs({ one, other, one, other }) do
          agent.provider = provider
          local result, why = agent:run("Go on, " .. i .. ".")
          assert.is_nil(why)
          assert.equal("Done by " .. (i % 2 == 1 and from or to) .. ".", result.text)
        end
        for _, server in ipairs({ first, second }) do
          local refused = rejected(server)
          local again = from == to and from ~= "openai"
          assert.equal(again and (server == first and 1 or 2) or 0, #refused)
          for _, why in ipairs(refused) do -- another server's thoughts: they were left out then
            assert.is_truthy(why:find("signature") or why:find("encrypted content"), why)
          end
        end
      end)
    end
  end

  it("with another server that cannot read what was encrypted", function()
    local agent = new_agent()
    agent.provider = serve("openai-responses")
    assert(agent:run("Go."))
    local provider, server = serve("openai-responses", { rules = { { text = "Read." } } })
    agent.provider = provider
    assert.equal("Read.", assert(agent:run("And now?")).text)
    local requests = server.requests()
    assert.equal(2, #requests)
    assert.matches("encrypted_content\":\"", requests[1].body_text, 1, true)
    assert.is_nil(requests[2].body_text:find('encrypted_content":"', 1, true))
    assert.matches('"function_call_output"', requests[2].body_text, 1, true)
  end)

  it("ends with an error where leaving out what was thought does not help", function()
    local agent = new_agent()
    agent.provider = serve("anthropic")
    assert(agent:run("Go."))
    local provider, server = serve("anthropic", { rules = { { fault = { status = 400,
      message = "messages.1.content.0: Invalid `signature` in `thinking` block" } } } })
    agent.provider = provider
    local _, message, code = agent:run("And now?")
    assert.equal("BAD_REQUEST", code)
    assert.matches("Invalid `signature`", message, 1, true)
    assert.equal(2, #server.requests())
  end)
end)

describe("calls", function()
  local function call(id)
    return { type = "tool_use", id = id, name = "look", input = json.object(),
      json = json.encode({ type = "tool_use", id = id, name = "look", input = { big = 1 << 62 },
        openai_item = { call_id = id } }) }
  end

  it("whose ids are empty or taken get others, and the history is no worse for it", function()
    local turns = { agents.reply(call("a"), call("a"), call("")),
      agents.reply(call("a"), call("b")), agents.reply("done") }
    local agent = place:new(turns, { tools = { { name = "look", description = "looks",
      run = function() return "seen" end } } })
    assert.equal("done", assert(agent:run("go")).text)
    local ids, count = {}, 0
    for _, message in ipairs(agent.conversation:messages()) do
      for _, block in ipairs(message.content) do
        if block.type == "tool_use" then
          assert.is_nil(ids[block.id], block.id)
          ids[block.id], count = true, count + 1
          assert.equal(1 << 62, block.input.big)
          assert.equal(block.id == "a" or block.id == "b", block.openai_item ~= nil)
        end
      end
    end
    assert.equal(5, count)
    assert.is_true(ids.a and ids.b and not ids[""])
  end)
end)

describe("a name of a tool that no API takes", function()
  local function piece(name)
    return { role = "assistant", blocks = json.encode({ type = "tool_use", id = "t", name = name,
      input = { name = "is not touched", list = json.array() } }) }
  end

  it("goes back as one that all take", function()
    for name, wanted in pairs({ ["functions.look up"] = "functions_look_up", [""] = "unnamed",
      [("n"):rep(80)] = ("n"):rep(64), look = "look" }) do
      local pieces = { { role = "user", blocks = '{"type":"text","text":"a"}' }, piece(name) }
      for maker, parts in pairs({
        ["agenthost.provider.anthropic_messages"] = { { pieces = pieces }, true },
        ["agenthost.provider.openai_messages"] = { nil, pieces },
        ["agenthost.provider.openai_items"] = { pieces },
      }) do
        local made = require(maker).new()
        local text = table.concat(made:parts(table.unpack(parts, 1, 2)))
        assert.matches(('"name":"%s"'):format(wanted), text, 1, true)
        assert.matches('is not touched', text, 1, true)
      end
    end
  end)
end)

describe("half a surrogate pair", function()
  for _, api in ipairs(APIS) do
    it("in what a model says goes back as U+FFFD: " .. api, function()
      local bad = [[{"a":"x\ud83d","ok":"\ud83d\ude00","path":"\\ud83d","n":12345678901234567890}]]
      local replies = {
        anthropic = '{"type":"message","content":[{"type":"text","text":"\\ude00!"},'
          .. '{"type":"tool_use","id":"t","name":"look","input":' .. bad .. "}]}",
        openai = '{"choices":[{"message":{"content":"\\ude00!","tool_calls":[{"id":"t",'
          .. '"function":{"name":"look","arguments":' .. json.encode(bad) .. "}}]}}]}",
        ["openai-responses"] = '{"status":"completed","output":[{"type":"message","id":"m",'
          .. '"role":"assistant","content":[{"type":"output_text","text":"\\ude00!"}]},'
          .. '{"type":"function_call","id":"f","call_id":"t","name":"look","arguments":'
          .. json.encode(bad) .. "}]}",
      }
      local agent = new_agent()
      local provider, server = serve(api, { rules = {
        { times = 1, fault = { status = 200, body = replies[api],
          content_type = "application/json" } }, { text = "Done." } } })
      agent.provider = provider
      assert.equal("Done.", assert(agent:run("go")).text)
      local sent = server.requests()[2].body_text
      assert.matches("\\\\ud83d", sent, 1, true) -- a backslash and some letters
      assert.matches("12345678901234567890", sent, 1, true)
      assert.is_nil(sent:gsub("\\+ud83d\\+ude00", ""):find("x\\+ud83d"), sent)
      assert.is_nil(sent:find("\\ude00!", 1, true), sent)
      assert.matches("x\\+ufffd", sent)
    end)
  end
end)
