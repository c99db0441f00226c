--- The provider against the strict fake server (support/fake_anthropic.py), over real HTTP.
local anthropic = require("agenthost.provider.anthropic")
local async = require("agenthost.async")
local fake = require("support.fake")
local json = require("agenthost.json")
local openai_support = require("support.openai")
local support = require("support.anthropic")

local serve, provider, request, call =
  support.serve, support.provider, support.request, support.call
local succeed, join, types_of, sse =
  support.succeed, support.join, support.types_of, support.sse
local raw = support.raw

after_each(support.stop)

describe("a reply", function()
  it("is told as it comes and given whole", function()
    serve({ rules = { { thinking = "Let me see.", text = "Hello, wörld.", usage = {
      input_tokens = 7, output_tokens = 5, cache_read_input_tokens = 3 } } } })
    local reply, events = succeed(provider())
    assert.equal("Let me see.", join(events, "thinking"))
    assert.equal("Hello, wörld.", join(events, "text"))
    assert.same({ "thinking", "text" }, types_of(reply.content))
    assert.equal("Hello, wörld.", reply.content[2].text)
    assert.equal('{"text":"Hello, wörld.","type":"text"}', reply.content[2].json)
    assert.equal("end_turn", reply.stop_reason)
    assert.is_nil(reply.stop_details)
    assert.equal("claude-test-1", reply.model)
    assert.matches("^msg_", reply.id)
    assert.matches("^req_", reply.request_id)
    assert.equal(7, reply.usage.input_tokens)
    assert.equal(5, reply.usage.output_tokens) -- not the 1 of message_start, nor 6
    assert.equal(3, reply.usage.cache_read_input_tokens)
    local blocks, usages = {}, 0
    for _, event in ipairs(events) do
      if event.type == "block" then
        blocks[#blocks + 1] = event.block
      end
      usages = usages + (event.type == "usage" and 1 or 0)
    end
    assert.same(reply.content, blocks)
    assert.equal(2, usages)
  end)

  it("comes without async.run, too", function()
    serve({ rules = { { text = "Hello." } } })
    local p = provider()
    for _ = 1, 2 do
      local reply = assert(p:stream(request(), function() end))
      assert.equal("Hello.", reply.content[1].text)
    end
  end)

  it("is read to its end, and the connection used again", function()
    serve({ rules = { { text = "Hello." } } })
    local p = provider()
    for _ = 1, 3 do
      succeed(p)
    end
    support.server.wait(function(log)
      local ends = 0
      for _, entry in ipairs(log) do
        if entry.kind == "end" then
          assert.is_true(entry.complete)
          ends = ends + 1
        end
      end
      return ends == 3
    end)
    local requests = support.server.requests()
    assert.equal(requests[1].connection, requests[3].connection)
  end)

  local WIRES <const> = {
    { "byte by byte", { chunk = 1 } },
    { "in pieces of 7 bytes", { chunk = 7 } },
    { "with CRLF", { crlf = true } },
    { "with CRLF byte by byte", { crlf = true, chunk = 1 } },
    { "with comments", { comments = true } },
    { "with unknown events and deltas", { unknown_events = true } },
    { "without pings", { ping = false } },
    { "with deltas of one character", { delta = 1 } },
    { "with deltas of everything", { delta = 100000 } },
    { "with all of it",
      { crlf = true, comments = true, unknown_events = true, chunk = 1, delta = 1 } },
    { "slowly", { event_delay = 0.01, first_delay = 0.05 } },
  }
  for _, wire in ipairs(WIRES) do
    it("is the same " .. wire[1], function()
      local text = "Grüße, 日本語, 😀👩‍👩‍👧, \"quoted\" \\ / \t tab,\nline"
      local input = { path = "ü/😀", list = json.array(), deep = { empty = json.object() }, n = 1 }
      serve({ rules = { { thinking = "Hm, 思考…", text = text, wire = wire[2], tools = {
        { name = "read", input = input, id = "toolu_1" },
        { name = "write", id = "toolu_2" } } } } })
      local reply, events = succeed(provider())
      assert.equal("Hm, 思考…", join(events, "thinking"))
      assert.equal(text, join(events, "text"))
      assert.same({ "thinking", "text", "tool_use", "tool_use" }, types_of(reply.content))
      assert.equal("Hm, 思考…", reply.content[1].text)
      assert.equal(text, reply.content[2].text)
      local first, second = reply.content[3], reply.content[4]
      assert.same({ "read", "toolu_1", "write", "toolu_2" },
        { first.name, first.id, second.name, second.id })
      assert.equal(json.encode(input), json.encode(first.input))
      assert.equal("{}", json.encode(second.input))
      assert.equal('{"id":"toolu_2","input":{},"name":"write","type":"tool_use"}', second.json)
      assert.is_nil(first.incomplete)
      assert.is_nil(second.incomplete)
      assert.equal("tool_use", reply.stop_reason)
    end)
  end

  it("names a tool as soon as its call begins", function()
    serve({ rules = { { tools = { { name = "read", input = { a = 1 }, id = "toolu_1" } } } } })
    local _, events = succeed(provider())
    local order = {}
    for _, event in ipairs(events) do
      if event.type == "tool_use" then
        order[#order + 1] = event.name .. " " .. event.id
      elseif event.type == "block" then
        order[#order + 1] = "block"
      end
    end
    assert.same({ "read toolu_1", "block" }, order)
  end)

  it("keeps blocks that it does not know", function()
    serve({ rules = { { content = {
      { type = "redacted_thinking", data = "b64==" },
      { type = "server_tool_use", id = "srvtoolu_1", name = "web_search", input = { query = "ü" } },
      { type = "web_search_tool_result", tool_use_id = "srvtoolu_1",
        content = { { type = "x", list = json.array(), none = json.null,
          big = json.raw("9007199254740993") } } },
      { type = "text", text = "Found.",
        citations = { { type = "web", url = "http://x", n = json.null } } },
    } } } })
    local reply = succeed(provider())
    assert.same({ "redacted_thinking", "server_tool_use", "web_search_tool_result", "text" },
      types_of(reply.content))
    assert.same({ type = "redacted_thinking", data = "b64==" }, json.decode(reply.content[1].json))
    assert.equal('{"id":"srvtoolu_1","input":{"query":"ü"},"name":"web_search","type":'
      .. '"server_tool_use"}', reply.content[2].json)
    assert.matches('"big":9007199254740993', reply.content[3].json, 1, true)
    assert.matches('"none":null', reply.content[3].json, 1, true)
    assert.matches('"list":[]', reply.content[3].json, 1, true)
    assert.equal("http://x", json.decode(reply.content[4].json).citations[1].url)
    local again = succeed(provider(), { turns = { "Hello", reply.content, "Go on" } })
    assert.is_table(again)
  end)

  it("may be empty, as in a refusal", function()
    serve({ rules = { { content = json.array(), stop_reason = "refusal", stop_details = {
      type = "refusal", category = "cyber", explanation = json.null } } } })
    local reply = succeed(provider())
    assert.same({}, reply.content)
    assert.equal("refusal", reply.stop_reason)
    assert.same({ type = "refusal", category = "cyber" }, reply.stop_details)
  end)

  it("may be paused, and goes on when it is sent back", function()
    serve({ rules = { { when = { turn = 1 }, stop_reason = "pause_turn", content = {
      { type = "text", text = "Searching." },
      { type = "server_tool_use", id = "srvtoolu_1", name = "web_search", input = { q = "a" } } } },
      { text = "Done." } } })
    local p = provider()
    local reply = succeed(p)
    assert.equal("pause_turn", reply.stop_reason)
    local again = succeed(p, { turns = { "Hello", reply.content } })
    assert.equal("Done.", again.content[1].text)
  end)

  it("is taken whole from a server that does not stream", function()
    serve({ rules = { raw(json.encode({
      type = "message", id = "msg_1", role = "assistant", model = "local", stop_reason = "tool_use",
      content = { { type = "text", text = "Hi." }, { type = "tool_use", id = "t1", name = "read",
        input = { big = json.raw("9007199254740993"), list = json.array() } } },
      usage = { input_tokens = 1, output_tokens = 2, cache_read_input_tokens = json.null },
    }), "application/json; charset=utf-8") } })
    local reply, events = succeed(provider())
    assert.equal("Hi.", join(events, "text"))
    assert.same({ "text", "tool_use" }, types_of(reply.content))
    assert.equal('{"id":"t1","input":{"big":9007199254740993,"list":[]},"name":"read",'
      .. '"type":"tool_use"}', reply.content[2].json)
    assert.same({ input_tokens = 1, output_tokens = 2 }, reply.usage)
    assert.same({ "tool_use", "local", "msg_1" }, { reply.stop_reason, reply.model, reply.id })
  end)

  it("ends with message_stop, even when the server keeps the connection open", function()
    -- A stall after all events: the terminating chunk comes an hour later.
    serve({ rules = { { text = "Hi.", fault = { stall_after_events = 1000, seconds = 3600 } } } })
    local reply = succeed(provider({ http = { stall_timeout = 60 } }))
    assert.equal("Hi.", reply.content[1].text)
  end)

  it("stops when the job is cancelled, and the server is told", function()
    serve({ rules = { { text = "Hi.", fault = { stall_after_events = 3, seconds = 60 } } } })
    local p, reason = provider(), nil
    collectgarbage("stop") -- it would close the stream, too, some time later
    finally(function() collectgarbage("restart") end)
    async.run(function()
      local seen = {}
      local job = async.spawn(function()
        p:stream(request(), function(event)
          if event.type == "text" then
            async.notify(seen)
          end
        end)
      end)
      assert.is_true(async.wait(seen, 10))
      job:cancel("stop it")
      reason = select(2, pcall(job.wait, job))
    end)
    assert.equal("stop it", reason)
    support.server.wait(function(log)
      return log[#log].kind == "end" and log[#log].client_gone
    end)
  end)

  it("passes on errors of on_event", function()
    serve({ rules = { { text = "Hi." } } })
    assert.has_error(function()
      provider():stream(request(), function(event)
        if event.type == "text" then
          error("broken listener", 0)
        end
      end)
    end, "broken listener")
  end)
end)

describe("what goes back", function()
  -- Inputs that must not change on the way: digits, order, empty lists and objects.
  local INPUT <const> = '{"z":9007199254740993,"a":-9223372036854775808,"list":[],"obj":{},'
    .. '"deep":[[],{},[{"x":[]}],null,true,1.50,1e3],"s":"\\u00fc \\ud83d\\ude00 \\n"}'

  it("is accepted: signature, tool inputs, parallel calls", function()
    serve({ rules = {
      { when = { has_tool_result = false }, thinking = "Hm \"quoted\" 😀", text = "Looking.",
        wire = { delta = 3 }, tools = {
          { name = "read", input = json.raw(INPUT), id = "toolu_a" },
          { name = "write", id = "toolu_b" },
          { name = "read", input = { path = "x" }, id = "toolu_c" } } },
      { when = { has_tool_result = true }, text = "Done." } } })
    local p = provider()
    local reply = succeed(p)
    local results = {}
    for _, block in ipairs(reply.content) do
      if block.type == "tool_use" then
        results[#results + 1] = { type = "tool_result", tool_use_id = block.id, content = "ok" }
      end
    end
    assert.equal(3, #results)
    local again = succeed(p, { turns = { "Hello", reply.content, results } })
    assert.equal("Done.", again.content[1].text)
    local sent = support.server.requests()[2].body_text
    assert.matches('"z":9007199254740993,"a":-9223372036854775808,"list":[],"obj":{}', sent, 1,
      true)
    assert.equal(9007199254740993, reply.content[3].input.z)
  end)

  it("has images in tool results, and marks for the cache where the API wants them", function()
    serve({ rules = { { when = { has_tool_result = false }, text = "Looking.", tools = {
      { name = "read", id = "toolu_a" }, { name = "read", id = "toolu_b" } } },
      { text = "Done." } } })
    local image = { type = "image", source = { type = "base64", media_type = "image/png",
      data = "iVBORw0KGgo=" } }
    local p = provider({ cache = "explicit" })
    local reply = succeed(p, { system = "s" })
    local pieces = openai_support.pieces({ "Hello", reply.content, {
      { type = "tool_result", tool_use_id = "toolu_a", content = { { type = "text", text = "so" },
        image } },
      { type = "tool_result", tool_use_id = "toolu_b", content = "no", is_error = true } } })
    succeed(p, { system = "s", pieces = pieces })
    local body = json.decode(support.server.requests()[2].body_text)
    assert.same(image, body.messages[3].content[1].content[2])
    local _, count = support.server.requests()[2].body_text:gsub('"cache_control"', "")
    assert.equal(3, count)
    assert.is_nil(body.cache_control)
    assert.is_table(body.system[1].cache_control)
    assert.is_table(body.messages[1].content[1].cache_control)
    assert.is_table(body.messages[3].content[2].cache_control)
  end)

  it("has a mark where the request before ended when many blocks of any kind lie behind", function()
    local function sent_after(thoughts)
      local called, results = {}, {}
      for i = 1, 7 do
        if i <= thoughts then
          called[#called + 1] = { type = "thinking", thinking = "Hm.", signature = "s" }
        end
        called[#called + 1] = { type = "tool_use", id = "t" .. i, name = "read", input = {} }
        results[i] = { type = "tool_result", tool_use_id = "t" .. i, content = "so" }
      end
      local parts = require("agenthost.provider.anthropic_messages").new():parts({
        pieces = openai_support.pieces({ "Hello", called, results }) }, true)
      return json.decode(table.concat(parts))
    end
    local messages = sent_after(7) -- 21 blocks: more than the API looks back
    assert.is_table(messages[1].content[1].cache_control)
    assert.is_nil(sent_after(0)[1].content[1].cache_control)
  end)

  it("has a thinking block without text", function()
    serve({ rules = { { when = { turn = 1 }, thinking = "", text = "Yes." }, { text = "Done." } } })
    local p = provider()
    local reply = succeed(p)
    assert.same({ "thinking", "text" }, types_of(reply.content))
    succeed(p, { turns = { "Hello", reply.content, "More" } })
  end)

  it("has no empty text blocks", function()
    local body = sse({
      { type = "content_block_start", index = 0, content_block = { type = "text", text = "" } },
      { type = "content_block_delta", index = 0, delta = { type = "text_delta", text = "\n\n" } },
      { type = "content_block_stop", index = 0 }, { type = "message_stop" } })
    serve({ rules = { raw(body) } })
    local reply, events = succeed(provider())
    assert.same({}, reply.content)
    assert.equal("\n\n", join(events, "text"))
  end)
end)

describe("credentials", function()
  -- What the server saw of them, and the provider's result.
  local function seen(env)
    env.ANTHROPIC_BASE_URL = env.ANTHROPIC_BASE_URL or support.server.url
    local p = anthropic.from_env("claude-test-1", function(name) return env[name] end)
    local result = call(p)
    local requests = support.server.requests()
    return requests[#requests].headers, result
  end

  it("are a key or a token, never both", function()
    serve({ rules = { { text = "Hi." } } })
    local headers, result = seen({ ANTHROPIC_API_KEY = "test-key" })
    assert.same({ "<key>", nil }, { headers["x-api-key"], headers.authorization })
    assert.is_table(result.reply)
    headers, result = seen({ ANTHROPIC_AUTH_TOKEN = " test-key\n", ANTHROPIC_API_KEY = "" })
    assert.same({ nil, "Bearer <key>" }, { headers["x-api-key"], headers.authorization })
    assert.is_table(result.reply)
    -- This server is not Anthropic's, so it gets the token.
    headers, result = seen({ ANTHROPIC_API_KEY = "other\n", ANTHROPIC_AUTH_TOKEN = "test-key" })
    assert.same({ nil, "Bearer <key>" }, { headers["x-api-key"], headers.authorization })
    assert.is_table(result.reply)
    local env = { ANTHROPIC_API_KEY = "key", ANTHROPIC_AUTH_TOKEN = "token" }
    local ours = anthropic.from_env("m", function(name) return env[name] end)
    assert.same({ "key", nil }, { ours.headers["x-api-key"], ours.headers.authorization })
  end)

  it("may come in extra headers", function()
    serve({ rules = { { text = "Hi." } } })
    local headers, result = seen({ ANTHROPIC_API_KEY = "other",
      ANTHROPIC_CUSTOM_HEADERS = "X-Team:  a: b \r\n\nAuthorization: Bearer test-key\n" })
    assert.is_table(result.reply)
    assert.same({ nil, "Bearer <key>", "a: b" },
      { headers["x-api-key"], headers.authorization, headers["x-team"] })
  end)

  it("are 'none' for a server of one's own", function()
    serve({ api_key = "none", rules = { { text = "Hi." } } })
    local _, result = seen({})
    assert.is_table(result.reply)
    support.stop()
    serve({ rules = {} })
    _, result = seen({})
    assert.equal("AUTH", result.code)
    assert.matches("wants a key, set ANTHROPIC_API_KEY: invalid x%-api%-key", result.message)
  end)

  it("name the variable when they are refused", function()
    serve({ rules = {} })
    local _, result = seen({ ANTHROPIC_API_KEY = "sk-wrong-key" })
    assert.same({ "AUTH", false }, { result.code, result.details.retryable })
    assert.matches("^ANTHROPIC_API_KEY was refused by 127.0.0.1:%d+: invalid x%-api%-key %(request",
      result.message)
    _, result = seen({ ANTHROPIC_AUTH_TOKEN = "sk-wrong-key" })
    assert.matches("^ANTHROPIC_AUTH_TOKEN was refused by .*: invalid bearer token", result.message)
  end)

  it("are needed for Anthropic's own server", function()
    assert.has_error(function() anthropic.from_env("m", function() end) end,
      "no key: set ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for a server that needs none")
    local p = anthropic.from_env("m", function(name)
      return name == "ANTHROPIC_API_KEY" and "k" or nil
    end)
    assert.equal("https://api.anthropic.com/v1/messages", p.url)
  end)

  it("do not show in the error for a bad header line", function()
    assert.has_error(function()
      anthropic.from_env("m", function(name)
        return name == "ANTHROPIC_CUSTOM_HEADERS" and "a: b\nsecret" or "x"
      end)
    end, "ANTHROPIC_CUSTOM_HEADERS: line 2 is not 'Name: value'")
  end)

  it("go to any form of the base URL", function()
    serve({ rules = { { text = "Hi." } } })
    for _, tail in ipairs({ "", "/", "//", "/v1", "/v1/", " \n" }) do
      local _, result = seen({ ANTHROPIC_API_KEY = "test-key",
        ANTHROPIC_BASE_URL = support.server.url .. tail })
      assert.is_table(result.reply, tail)
    end
    assert.equal("http://host/proxy/v1/messages",
      anthropic.new({ model = "m", base_url = "http://host/proxy/" }).url)
    assert.equal("host:1",
      anthropic.new({ model = "m", base_url = "http://u:p@host:1/x" }).errors.host)
  end)
end)

describe("options", function()
  it("are checked", function()
    local _, message = pcall(function()
      local made = anthropic.new({ modle = "m" })
      return made
    end)
    assert.matches("anthropic_spec.lua:%d+: unknown option 'modle'; did you mean 'model'%?",
      message)
    assert.error_matches(function() anthropic.new({ api_key = "k" }) end,
      "option 'model' is missing")
  end)
end)

describe("a request", function()
  before_each(function()
    serve({ rules = { { text = "Hi." } } })
  end)

  local function sent(p, fields)
    succeed(p, fields)
    local requests = support.server.requests()
    return requests[#requests].body_text
  end

  it("has its members in a fixed order", function()
    assert.equal('{"model":"claude-test-1","max_tokens":1000,'
      .. '"system":[{"text":"Be \\"brief\\".","type":"text"}],'
      .. '"tools":[{"description":"reads","input_schema":{"type":"object"},"name":"read"},'
      .. '{"description":"writes","input_schema":{"properties":{"path":{"type":"string"}},'
      .. '"type":"object"},"name":"write"}],"tool_choice":{"type":"any"},'
      .. '"messages":[{"role":"user","content":[{"text":"Hello","type":"text"}]}],'
      .. '"stream":true,"cache_control":{"type":"ephemeral"},'
      .. '"output_config":{"effort":"low"},"thinking":{"type":"adaptive"}}',
      sent(provider(), { system = 'Be "brief".', tool_choice = { type = "any" },
        extra = { thinking = { type = "adaptive" }, output_config = { effort = "low" } } }))
  end)

  it("is the same each time, and its prefix stays as the conversation grows", function()
    local turns = { "Hello" }
    local first = sent(provider(), { system = "s", turns = turns })
    assert.equal(first, sent(provider(), { system = "s", turns = turns }))
    local longer = sent(provider(), { system = "s", turns = { "Hello", { { type = "text",
      text = "Hi." } }, "More" } })
    local prefix = first:match('^(.*)%],"stream"')
    assert.equal(prefix, longer:sub(1, #prefix))
  end)

  it("leaves out what is not there", function()
    assert.equal('{"model":"claude-test-1","max_tokens":5,'
      .. '"messages":[{"role":"user","content":[{"text":"Hello","type":"text"}]}],"stream":true}',
      sent(provider({ cache = false }),
        { tools = {}, system = "", max_tokens = 5, tool_choice = { type = "auto" } }))
  end)

  it("lets extra override, but not what the call depends on", function()
    local body = json.decode(sent(provider(), { extra = { max_tokens = 77,
      cache_control = { type = "ephemeral", ttl = "1h" } } }))
    assert.same({ 77, "1h" }, { body.max_tokens, body.cache_control.ttl })
    for _, name in ipairs({ "stream", "messages" }) do
      assert.error_matches(function()
        provider():stream(request({ extra = { [name] = false } }), function() end)
      end, "request.extra cannot set '" .. name .. "'")
    end
  end)

  it("encodes each tool once, and sees tools that are added", function()
    local tools = { { name = "read", description = "r", input_schema = { type = "object" } } }
    local p = provider()
    sent(p, { tools = tools })
    local encoded = 0
    for _ in pairs(p.encoded_tools) do
      encoded = encoded + 1
    end
    assert.equal(1, encoded)
    tools[1].description = "changed" -- a definition is not looked at again
    tools[2] = { name = "write", description = "w", input_schema = { type = "object" } }
    local body = sent(p, { tools = tools })
    assert.matches('"description":"r"', body, 1, true)
    assert.matches('"name":"write"', body, 1, true)
  end)

  it("has the headers of the API", function()
    sent(provider({ headers = { ["Anthropic-Beta"] = "x-1,y-2" } }))
    local headers = support.server.requests()[1].headers
    assert.same({ "2023-06-01", "application/json", "x-1,y-2" }, { headers["anthropic-version"],
      headers["content-type"], headers["anthropic-beta"] })
  end)
end)

describe("the fake server", function()
  it("says why it does not start, and leaves nothing", function()
    assert.error_matches(function() fake.start({ rulez = {} }) end, "unknown rulez")
  end)

  it("is gone after stop", function()
    local one = fake.start({ rules = {} })
    assert.is_not_nil(io.open("/proc/" .. one.pid .. "/stat"))
    one.stop()
    one:stop()
    assert.is_nil(io.open("/proc/" .. one.pid .. "/stat"))
  end)
end)
