--- Chat Completions against the strict fake server (support/fake_openai.py), over real HTTP.
local json = require("agenthost.json")
local openai = require("agenthost.provider.openai")
local support = require("support.openai").new("openai")

local serve, provider, succeed, fail, join =
  support.serve, support.provider, support.succeed, support.fail, support.join

after_each(support.stop)

local TEXT <const> = "Grüße, 日本語, 😀👩‍👩‍👧, \"quoted\" \\ / \t tab,\nline"

describe("a reply", function()
  it("is told as it comes and given whole", function()
    serve({ rules = { { thinking = "Let me see.", text = "Hello, wörld.", usage = {
      prompt_tokens = 10, completion_tokens = 5, prompt_tokens_details = { cached_tokens = 3 },
      completion_tokens_details = { reasoning_tokens = 2 } } } } })
    local reply, events = succeed(provider())
    assert.equal("Let me see.", join(events, "thinking"))
    assert.equal("Hello, wörld.", join(events, "text"))
    assert.same({ "thinking", "text" }, support.types_of(reply.content))
    assert.equal('{"text":"Hello, wörld.","type":"text"}', reply.content[2].json)
    assert.equal("end_turn", reply.stop_reason)
    assert.equal("gpt-test-1", reply.model)
    assert.matches("^chatcmpl%-", reply.id)
    assert.is_string(reply.request_id)
    assert.same({ input_tokens = 7, cache_read_input_tokens = 3, output_tokens = 5,
      output_tokens_details = { thinking_tokens = 2 } }, reply.usage)
  end)

  local WIRES <const> = {
    { "byte by byte", { chunk = 1 } },
    { "in pieces of 7 bytes", { chunk = 7 } },
    { "with CRLF", { crlf = true, chunk = 1 } },
    { "with comments", { comments = true } },
    { "with unknown fields", { unknown_events = true } },
    { "with deltas of one character", { delta = 1 } },
    { "with deltas of everything", { delta = 100000 } },
    { "without a space behind data:", { no_space = true } },
    { "packed", { gzip = true } },
    { "with CR alone, and a byte order mark", { cr = true, bom = true } },
    { "with \\u escapes", { ascii = true, delta = 1 } },
    { "as text/plain", { content_type = "text/plain; charset=utf-8" } },
  }
  local QUIRKS <const> = {
    "whole_tool_calls", "object_arguments", "empty_arguments", "null_content", "empty_content",
    "role_in_each_delta", "finish_reason_stop_with_tools", "usage_in_last_chunk", "no_done",
    "reasoning_field", "both_reasoning", "timings", "empty_first_chunk", "ignores_stream",
    "no_tool_id", "empty_tool_id", "no_tool_index", "no_usage",
  }
  local function check(rule, quirks)
    local input = { path = "ü/😀", list = json.array(), deep = { empty = json.object() }, n = 1 }
    rule.thinking, rule.text = "Hm, 思考…", TEXT
    rule.when = { has_tool_result = false }
    rule.tools = { { name = "read", input = input, id = "call_1" },
      { name = "write", id = "call_2" }, { name = "read", input = { a = 1 }, id = "call_3" } }
    serve({ quirks = quirks, rules = { rule, { text = "Done." } } })
    local p = provider()
    local reply, events = succeed(p)
    assert.equal("Hm, 思考…", join(events, "thinking"))
    assert.equal(TEXT, join(events, "text"))
    assert.same({ "thinking", "text", "tool_use", "tool_use", "tool_use" },
      support.types_of(reply.content))
    assert.equal(TEXT, reply.content[2].text)
    local first, second, third = table.unpack(reply.content, 3)
    assert.same({ "read", "write", "read" }, { first.name, second.name, third.name })
    assert.equal(json.encode(input), json.encode(first.input))
    assert.equal("{}", json.encode(second.input))
    assert.same({ a = 1 }, third.input)
    assert.is_nil(first.incomplete or second.incomplete or third.incomplete)
    assert.equal("tool_use", reply.stop_reason)
    assert.is_true(first.id ~= second.id and second.id ~= third.id)
    local again = succeed(p, { turns = { "Hello", reply.content, support.results(reply.content) } })
    assert.equal("Done.", again.content[1].text)
    support.check()
    return reply
  end
  for _, wire in ipairs(WIRES) do
    it("is the same " .. wire[1], function()
      check({ wire = wire[2] }, {})
    end)
  end
  for _, quirk in ipairs(QUIRKS) do
    it("is the same with " .. quirk, function()
      local reply = check({}, { quirk })
      if quirk == "timings" or quirk ~= "no_usage" then
        assert.is_true(reply.usage.output_tokens > 0)
      end
    end)
  end
  it("is the same with all that can come together", function()
    check({ wire = { chunk = 1, crlf = true, delta = 1 } }, { "null_content", "role_in_each_delta",
      "no_done", "both_reasoning", "no_tool_id", "no_tool_index", "whole_tool_calls",
      "finish_reason_stop_with_tools", "empty_first_chunk", "usage_in_last_chunk" })
  end)
end)

describe("a request", function()
  it("is what the API wants", function()
    serve({ rules = { { text = "Hi." } } })
    succeed(provider({ organization = "org", project = "proj" }), { system = "Be brief.",
      tool_choice = { type = "tool", name = "read", disable_parallel_tool_use = true } })
    local body, text, headers = support.sent()
    assert.equal('{"model":"gpt-test-1","messages":[{"role":"system","content":"Be brief."},'
      .. '{"role":"user","content":"Hello"}],"tools":[{"function":{"description":"reads","name":'
      .. '"read","parameters":{"type":"object"}},"type":"function"},{"function":{"description":'
      .. '"writes","name":"write","parameters":{"properties":{"path":{"type":"string"}},"type":'
      .. '"object"}},"type":"function"}],"tool_choice":{"function":{"name":"read"},"type":'
      .. '"function"},"parallel_tool_calls":false,"stream":true,'
      .. '"stream_options":{"include_usage":true},"max_completion_tokens":1000}', text)
    assert.is_nil(body.temperature)
    assert.same({ "org", "proj" }, { headers["openai-organization"], headers["openai-project"] })
    assert.is_nil(headers["x-api-key"])
  end)

  it("has max_tokens for other servers than OpenAI's, and what was asked for", function()
    serve({ quirks = { "max_tokens_only", "sampling" }, rules = { { text = "Hi." } } })
    local p = openai.new({ model = "m", base_url = support.server.url, api_key = "test-key" })
    succeed(p, { extra = { temperature = 0.5 } })
    local body = support.sent()
    assert.same({ 1000, 0.5 }, { body.max_tokens, body.temperature })
    assert.equal("max_completion_tokens",
      openai.new({ model = "m", api_key = "k" }).max_tokens_field)
    succeed(p, { extra = { max_tokens = 7 } })
    assert.equal(7, support.sent().max_tokens)
  end)

  it("has no key where none is needed", function()
    serve({ quirks = { "no_key" }, rules = { { text = "Hi." } } })
    succeed(provider({ api_key = false }))
    local _, _, headers = support.sent()
    assert.is_nil(headers.authorization)
    assert.error_matches(function() openai.new({ model = "m" }) end, "no key: set OPENAI_API_KEY")
  end)
end)

describe("a failure", function()
  -- The codes of these failures, one after the other, and the failures themselves.
  local function failures(scenario, count)
    for i = 1, count do
      scenario.rules[i].times = 1
    end
    serve(scenario)
    local p, codes, results = provider(), {}, {}
    for i = 1, count do
      results[i] = fail(p)
      codes[i] = results[i].code .. (results[i].details.retryable and "+" or "")
    end
    return codes, results
  end

  it("has a code by its own code, else by its status", function()
    local function status(number, code, headers, body)
      return { fault = { status = number, error_type = code, headers = headers, body = body } }
    end
    local codes, results = failures({ rules = {
      status(400), status(401, "invalid_api_key"), status(404, "model_not_found"),
      status(429, "insufficient_quota", { ["x-should-retry"] = "true", ["retry-after"] = "1" }),
      status(429, "rate_limit_exceeded", { ["retry-after"] = "2" }), status(500, "server_error"),
      status(503, "slow_down"), status(400, "context_length_exceeded"),
      status(502, nil, nil, "<html><h1>Bad gateway</h1></html>"),
      status(400, nil, nil, '{"error":"no such model"}'), status(422, nil, nil, '{"detail":"no"}'),
      status(400, nil, nil, '[{"error":{"code":400,"message":"wrapped"}}]'),
    } }, 12)
    assert.same({ "BAD_REQUEST", "AUTH", "NOT_FOUND", "BILLING", "RATE_LIMIT+", "SERVER+",
      "OVERLOADED+", "TOO_LONG", "SERVER+", "BAD_REQUEST", "BAD_REQUEST", "BAD_REQUEST" }, codes)
    assert.matches("^OPENAI_API_KEY was refused by 127", results[2].message)
    assert.equal(2, results[5].details.retry_after)
    assert.is_string(results[6].details.request_id)
    assert.matches("502: Bad gateway", results[9].message, 1, true)
    assert.matches("400: no such model", results[10].message, 1, true)
    assert.matches("wrapped", results[12].message)
  end)

  it("that the prompt is too long is known of every server, with the window", function()
    local rows = {
      { "This model's maximum context length is 8192 tokens. However, your messages have 9000",
        8192, '{"error":{"message":"%s","type":"invalid_request_error","param":"messages","code":'
          .. '"context_length_exceeded"}}' },
      { "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        2048, '{"error":{"code":400,"message":"%s","type":"exceed_context_size_error",'
          .. '"n_prompt_tokens":9000,"n_ctx":2048}}' },
      { "request (9000 tokens) exceeds the available context size (4096 tokens)", 4096,
        '{"error":"%s"}' },
      { "This model's maximum context length is 4096 tokens.", 4096,
        '{"object":"error","message":"%s","type":"BadRequestError","param":null,"code":400}' },
    }
    local rules = {}
    for i, row in ipairs(rows) do
      rules[i] = { fault = { status = 400, body = row[3]:format(row[1]) } }
    end
    rules[5] = { fault = { status = 400, body = [[{"object":"error","message":"'max_tokens' or ]]
      .. [['max_completion_tokens' is too large: 5000. This model's maximum context length is ]]
      .. [[4096 tokens","type":"BadRequestError","code":400}]] } }
    rules[6] = { fault = { status = 400, body = [[{"object":"error","message":"'max_tokens' or ]]
      .. [['max_completion_tokens' is too large: 5000. This model's maximum context length is ]]
      .. [[4096 tokens and your request has 1000 input tokens","type":"BadRequestError",]]
      .. [["code":400}]] } }
    local codes, results = failures({ rules = rules }, 6)
    assert.same({ "TOO_LONG", "TOO_LONG", "TOO_LONG", "TOO_LONG", "BAD_REQUEST", "TOO_LONG" },
      codes)
    assert.same({ 4096, 1000 },
      { results[6].details.context_window, results[6].details.prompt_tokens })
    for i, row in ipairs(rows) do
      assert.equal(row[2], results[i].details.context_window)
    end
  end)

  local EVENT <const> = { error_event = "rate_limit_exceeded", after_events = 4 }
  for quirk, code in pairs({ none = "RATE_LIMIT+", llamacpp_errors = "SERVER+",
    vllm_errors = "RATE_LIMIT+", openrouter_errors = "RATE_LIMIT+", bare_errors = "CUT+" }) do
    it("comes inside the stream: " .. quirk, function()
      local codes, results = failures({ quirks = { quirk ~= "none" and quirk or nil }, rules = {
        { text = "A long enough reply", fault = EVENT } } }, 1)
      assert.same({ code }, codes)
      assert.is_true(results[1].details.partial)
      assert.matches("broke off its reply", results[1].message)
    end)
  end

  it("of llama.cpp that still loads is worth another try", function()
    local codes = failures({ rules = { { fault = { status = 503, body = '{"error":{"code":503,'
      .. '"message":"Loading model","type":"unavailable_error"}}' } } } }, 1)
    assert.same({ "SERVER+" }, codes)
  end)

  it("is CUT without finish_reason, however the stream ends", function()
    local codes, results = failures({ rules = {
      { text = "A long enough reply", fault = { missing_stop = true } },
      { text = "A long enough reply", fault = { cut_after_events = 4 } },
      support.raw('data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n'),
      support.raw('data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n', "text/plain"),
    } }, 4)
    assert.same({ "CUT+", "CUT+", "CUT+", "CUT+" }, codes)
    assert.matches("ended its reply without finish_reason", results[1].message)
  end)

  it("is not what comes under a wrong content type, nor an end without [DONE]", function()
    local body = 'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    serve({ rules = { { times = 1, fault = support.raw(body, "text/plain").fault },
      support.raw(": a comment\r\n\r\n" .. body) } })
    assert.equal("Hi", succeed(provider()).content[1].text)
    assert.equal("Hi", succeed(provider()).content[1].text)
  end)

  it("is PROTOCOL or NOT_JSON when something else answers", function()
    local codes = failures({ rules = {
      { text = "A long enough reply", fault = { bad_event_json = true } },
      { fault = { not_json = "<p>Please log in</p>" } },
      support.raw('{"hello":1}', "application/json"), support.raw("", "application/json"),
      support.raw("error: no", "text/plain") } }, 5)
    assert.same({ "PROTOCOL+", "NOT_JSON", "NOT_JSON", "NOT_JSON", "NOT_JSON" }, codes)
  end)
end)

describe("a stop reason", function()
  it("is said in Anthropic's words", function()
    serve({ rules = {
      { times = 1, text = "So", stop_reason = "length" },
      { times = 1, text = "So", stop_reason = "content_filter" },
      { times = 1, refusal = "No." },
      { times = 1, text = "So", stop_reason = "strange" },
      { times = 1, stop_reason = "length",
        tools = { { name = "read", arguments = '{"path":"/et' } } },
      { times = 1, text = "", stop_reason = "stop" },
      { times = 1, stop_reason = "content_filter",
        tools = { { name = "read", arguments = '{"path":"/etc"}' } } } } })
    local p, reasons, replies = provider(), {}, {}
    for i = 1, 7 do
      replies[i] = succeed(p)
      reasons[i] = replies[i].stop_reason
    end
    assert.same({ "max_tokens", "refusal", "refusal", "strange", "max_tokens", "end_turn",
      "refusal" }, reasons)
    assert.equal("No.", replies[3].content[1].text)
    assert.is_true(replies[5].content[1].incomplete)
    assert.matches("not the JSON text of an object", replies[5].content[1].problem)
    assert.same({}, replies[6].content)
  end)
end)
