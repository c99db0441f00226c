--- The Responses API against the strict fake server (support/fake_openai.py), over real HTTP.
local json = require("agenthost.json")
local support = require("support.openai").new("openai-responses")

local serve, provider, succeed, fail, join =
  support.serve, support.provider, support.succeed, support.fail, support.join

after_each(support.stop)

local TEXT <const> = "Grüße, 日本語, 😀👩‍👩‍👧, \"quoted\" \\ / \t tab,\nline"

describe("a reply of the Responses API", function()
  it("is told as it comes and given whole", function()
    serve({ rules = { { thinking = { "One.", "Two." }, text = "Hello, wörld.", usage = {
      input_tokens = 10, output_tokens = 5, input_tokens_details = { cached_tokens = 3 },
      output_tokens_details = { reasoning_tokens = 2 } } } } })
    local reply, events = succeed(provider())
    assert.equal("One.\n\nTwo.", join(events, "thinking"))
    assert.equal("Hello, wörld.", join(events, "text"))
    assert.same({ "openai_item", "text" }, support.types_of(reply.content))
    assert.equal("Hello, wörld.", reply.content[2].text)
    assert.equal("end_turn", reply.stop_reason)
    assert.equal("gpt-test-1", reply.model)
    assert.same({ input_tokens = 7, cache_read_input_tokens = 3, output_tokens = 5,
      output_tokens_details = { thinking_tokens = 2 } }, reply.usage)
    assert.is_string(reply.request_id)
  end)

  local CASES <const> = {
    { "byte by byte with CRLF", { chunk = 1, crlf = true }, {} },
    { "with deltas of one character", { delta = 1 }, {} },
    { "with unknown events and comments", { unknown_events = true, comments = true }, {} },
    { "as one JSON", {}, { "ignores_stream" } },
    { "with readable reasoning", {}, { "reasoning_text" } },
    { "without usage", {}, { "no_usage" } },
  }
  for _, case in ipairs(CASES) do
    it("goes back as it came " .. case[1], function()
      local input = { path = "ü/😀", list = json.array(), deep = { empty = json.object() }, n = 1 }
      serve({ quirks = case[3], rules = {
        { when = { has_tool_result = false }, wire = case[2], thinking = "Hm, 思考…", text = TEXT,
          tools = { { name = "read", input = input, id = "call_1" },
            { name = "write", arguments = '{\n "a" : [ 1.0, 9007199254740993 ]\n}', id = "call_2" },
            { name = "read", id = "call_3" } } },
        { text = "Done." } } })
      local p = provider()
      local reply, events = succeed(p)
      assert.equal(TEXT, join(events, "text"))
      assert.same({ "openai_item", "text", "tool_use", "tool_use", "tool_use" },
        support.types_of(reply.content))
      assert.equal("tool_use", reply.stop_reason)
      assert.equal(json.encode(input), json.encode(reply.content[3].input))
      assert.same({ "call_1", "call_2", "call_3" },
        { reply.content[3].id, reply.content[4].id, reply.content[5].id })
      local again = succeed(p, { turns = { "Hello", reply.content,
        support.results(reply.content) } })
      assert.equal("Done.", again.content[1].text)
      support.check()
    end)
  end

  it("keeps items that it does not know", function()
    serve({ rules = { { when = { turn = 1 }, items = {
      { type = "web_search_call", id = "ws_1", status = "completed",
        action = { list = json.array(), big = json.raw("9007199254740993") } },
      { type = "message", id = "msg_1", role = "assistant", status = "completed", content = {
        { type = "output_text", text = "Found.", annotations = json.array() } } } } },
      { text = "Done." } } })
    local p = provider()
    local reply = succeed(p)
    assert.same({ "openai_item", "text" }, support.types_of(reply.content))
    succeed(p, { turns = { "Hello", reply.content, "More" } })
    local _, text = support.sent()
    assert.matches('"big":9007199254740993,"list":[]', text, 1, true)
    support.check()
  end)

  it("that was cut says so, and leaves no reasoning behind", function()
    serve({ rules = {
      { times = 1, thinking = "Hm.", stop_reason = "max_output_tokens" },
      { times = 1, text = "So", stop_reason = "max_output_tokens" },
      { times = 1, text = "So", stop_reason = "content_filter" },
      { times = 1, refusal = "No." },
      { times = 1, stop_reason = "content_filter", tools = { { name = "read",
        arguments = '{"path":"/etc"}' } } } } })
    local p = provider()
    local reply = succeed(p)
    assert.same({ {}, "max_tokens" }, { reply.content, reply.stop_reason })
    assert.equal("max_tokens", succeed(p).stop_reason)
    assert.equal("refusal", succeed(p).stop_reason)
    reply = succeed(p)
    assert.same({ "No.", "refusal" }, { reply.content[1].text, reply.stop_reason })
    assert.equal("refusal", succeed(p).stop_reason) -- not tool_use: the call must not be run
  end)
end)

describe("a request to the Responses API", function()
  it("is stateless", function()
    serve({ rules = { { text = "Hi." } } })
    succeed(provider(), { system = "Be brief.", tool_choice = { type = "any" } })
    local _, text = support.sent()
    assert.equal('{"model":"gpt-test-1","instructions":"Be brief.","tools":[{"description":"reads",'
      .. '"name":"read","parameters":{"type":"object"},"strict":false,"type":"function"},'
      .. '{"description":"writes","name":"write","parameters":{"properties":{"path":{"type":'
      .. '"string"}},"type":"object"},"strict":false,"type":"function"}],"tool_choice":"required",'
      .. '"input":[{"content":[{"text":"Hello","type":"input_text"}],"role":"user","type":'
      .. '"message"}],"stream":true,"store":false,"include":["reasoning.encrypted_content"],'
      .. '"max_output_tokens":1000}', text)
  end)

  it("has images, also in results, and takes over what others said", function()
    serve({ rules = { { when = { has_tool_result = false }, tools = {
      { name = "read", id = "call_1", input = { a = 1 } } } }, { text = "Done." } } })
    local p = provider()
    local image = { type = "image", source = { type = "base64", media_type = "image/png",
      data = "iVBORw0KGgo=" } }
    local first = succeed(p, { turns = { { { type = "text", text = "Look" }, image },
      { { type = "thinking", thinking = "x", signature = "y" },
        { type = "text", text = "I see." } },
      "Go" } })
    succeed(p, { turns = { "Look", first.content, { { type = "tool_result", tool_use_id = "call_1",
      is_error = true, content = { { type = "text", text = "half" }, image } },
      { type = "text", text = "and?" } } } })
    local _, text = support.sent()
    assert.matches('"output":[{"text":"Error: half\\n(image 1)","type":"input_text"},{"image_url":'
      .. '"data:image/png;base64,iVBORw0KGgo=","type":"input_image"}]', text, 1, true)
    support.check()
  end)

  it("asks for no reasoning where the model has none", function()
    serve({ quirks = { "no_reasoning" }, rules = { { text = "Hi." } } })
    local p = provider()
    succeed(p)
    succeed(p)
    assert.equal(3, #support.server.requests())
    assert.is_nil(support.sent().include)
  end)
end)

describe("a failure of the Responses API", function()
  it("may come in every way", function()
    serve({ rules = {
      { times = 1, fault = { status = 429, error_type = "insufficient_quota" } },
      { times = 1, fault = { status = 429, error_type = "rate_limit_exceeded",
        headers = { ["retry-after-ms"] = "1500" } } },
      { times = 1, fault = { status = 400, error_type = "context_length_exceeded" } },
      { times = 1, text = "A long reply", stop_reason = "failed",
        error = { code = "server_error", message = "it broke" } },
      { times = 1, text = "A long enough reply", fault = { error_event = "rate_limit_exceeded",
        after_events = 6 } },
      { times = 1, text = "A long enough reply", fault = { missing_stop = true } },
      { times = 1, fault = { not_json = "<p>Log in</p>" } } } })
    local p = provider()
    for _, want in ipairs({ { "BILLING", false }, { "RATE_LIMIT", true, 1.5 },
      { "TOO_LONG", false }, { "SERVER", true }, { "RATE_LIMIT", true }, { "CUT", true },
      { "NOT_JSON", false } }) do
      local result = fail(p)
      assert.same(want, { result.code, result.details.retryable, result.details.retry_after })
    end
  end)

  it("that no further try will mend is told at once, by its own name", function()
    serve({ rules = {
      { times = 1, text = "So", stop_reason = "failed",
        error = { code = "invalid_prompt", message = "flagged" } },
      { times = 1, text = "A long enough reply", fault = { error_event = "invalid_prompt",
        after_events = 6 } } } })
    local p = provider()
    for _ = 1, 2 do
      local result = fail(p)
      assert.same({ "BAD_REQUEST", false }, { result.code, result.details.retryable })
      assert.matches("broke off its reply: invalid_prompt: ", result.message, 1, true)
    end
  end)

  it("may come nested in the stream", function()
    serve({ quirks = { "nested_errors" }, rules = { { text = "A long enough reply",
      fault = { error_event = "server_error", after_events = 6 } } } })
    assert.equal("SERVER", fail(provider()).code)
  end)
end)
