--- Failed calls of the Anthropic provider, over real HTTP.
local anthropic = require("agenthost.provider.anthropic")
local json = require("agenthost.json")
local support = require("support.anthropic")

local serve, provider, fail, join =
  support.serve, support.provider, support.fail, support.join
local sse, raw =
  support.sse, support.raw

after_each(support.stop)

describe("a failure", function()
  local STATUSES <const> = {
    { 400, "BAD_REQUEST", false }, { 401, "AUTH", false }, { 402, "BILLING", false },
    { 403, "PERMISSION", false }, { 404, "NOT_FOUND", false }, { 408, "SERVER", true },
    { 409, "SERVER", true }, { 413, "TOO_LARGE", false }, { 418, "BAD_REQUEST", false },
    { 429, "RATE_LIMIT", true }, { 500, "SERVER", true }, { 502, "SERVER", true },
    { 504, "SERVER", true }, { 529, "OVERLOADED", true },
  }
  it("has code, status, request id and whether to try again", function()
    local rules = {}
    for i, row in ipairs(STATUSES) do
      rules[i] = { times = 1, fault = { status = row[1], message = "two\nlines" } }
    end
    serve({ rules = rules })
    local p = provider()
    for _, row in ipairs(STATUSES) do
      local result = fail(p)
      assert.same({ row[1], row[3], false }, { result.details.status, result.details.retryable,
        result.details.partial })
      assert.equal(row[2], result.code, row[1])
      assert.matches("^req_", result.details.request_id)
      local ending = "two lines (request-id " .. result.details.request_id .. ")"
      assert.equal(ending, result.message:sub(-#ending))
      if row[1] ~= 401 then
        assert.matches("^127%.0%.0%.1:%d+: " .. row[1] .. " [%l_]+: ", result.message)
      end
    end
  end)

  it("takes a status without a proper body by its number", function()
    serve({ rules = {
      { times = 1, fault = { status = 502, body = "<html><head><style>a{}</style><title>502 Bad "
        .. "Gateway</title></head>\n<body><h1>nginx</h1></body></html>" } },
      { times = 1, fault = { status = 503, body = "" } },
      { times = 1, fault = { status = 409, body = "no", content_type = "text/plain" } },
      { times = 1, fault = { status = 408, body = '{"error":"slow"}' } },
      { times = 1, fault = { status = 500, body = ("\27[31mx "):rep(5000) } },
      { times = 1, fault = { status = 307, body = "", headers = { location = "http://x/y" } } } } })
    local p = provider()
    local gateway = fail(p)
    assert.matches(": 502: 502 Bad Gateway nginx %(request", gateway.message)
    assert.equal("SERVER", gateway.code)
    assert.matches(":%d+: 503 %(request", fail(p).message)
    local conflict = fail(p)
    assert.same({ "SERVER", true }, { conflict.code, conflict.details.retryable })
    assert.matches("408: slow", fail(p).message)
    local long = fail(p)
    assert.is_nil(long.message:find("\27"))
    assert.is_true(#long.message < 300)
    local redirect = fail(p)
    assert.same({ "PROTOCOL", false }, { redirect.code, redirect.details.retryable })
    assert.matches("it redirects to http://x/y", redirect.message, 1, true)
  end)

  it("is TOO_LONG when the prompt is", function()
    serve({ rules = {
      { times = 1, fault = { status = 400, message = "prompt is too long: 9 tokens > 8 maximum" } },
      { times = 1, fault = { status = 400, message =
        "input length and `max_tokens` exceed context limit: 9 + 8 > 10" } },
      { times = 1, fault = { status = 400, body = '{"error":{"code":400,"type":'
        .. '"exceed_context_size_error","message":"request (9 tokens) is too much","n_ctx":8}}' } },
      { times = 1, fault = { error_event = "invalid_request_error",
        message = "prompt is too long" } } } })
    local p = provider()
    for _ = 1, 4 do
      local result = fail(p)
      assert.equal("TOO_LONG", result.code)
      assert.is_false(result.details.retryable)
    end
  end)

  it("does what x-should-retry says", function()
    serve({ rules = {
      { times = 1, fault = { status = 400, headers = { ["x-should-retry"] = "true" } } },
      { times = 1, fault = { status = 529, headers = { ["x-should-retry"] = "false" } } },
      { times = 1, fault = { status = 529, headers = { ["x-should-retry"] = "maybe" } } } } })
    local p = provider()
    assert.is_true(fail(p).details.retryable)
    assert.is_false(fail(p).details.retryable)
    assert.is_true(fail(p).details.retryable)
  end)

  it("says how long the server asks to wait", function()
    local soon = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 100)
    local rows = {
      { { ["retry-after"] = "7" }, 7 }, { { ["retry-after"] = "1.5" }, 1.5 },
      { { ["retry-after-ms"] = "250", ["retry-after"] = "7" }, 0.25 },
      { { ["retry-after"] = "Sun, 06 Nov 1994 08:49:37 GMT" }, 0 },
      { { ["retry-after"] = "soon" }, nil }, { { ["retry-after"] = "-1" }, nil }, { {}, nil },
    }
    local rules = { { times = 1, fault = { status = 429, headers = { ["retry-after"] = soon } } } }
    for _, row in ipairs(rows) do
      rules[#rules + 1] = { times = 1, fault = { status = 429, headers = row[1] } }
    end
    serve({ rules = rules })
    local p = provider()
    local seconds = fail(p).details.retry_after
    assert.is_true(seconds > 60 and seconds <= 101, "waits " .. seconds)
    for _, row in ipairs(rows) do
      assert.equal(row[2], fail(p).details.retry_after)
    end
  end)

  it("may come inside the stream", function()
    local rows = { { "overloaded_error", "OVERLOADED", true }, { "api_error", "SERVER", true },
      { "rate_limit_error", "RATE_LIMIT", true }, { "authentication_error", "AUTH", false },
      { "invalid_request_error", "BAD_REQUEST", false }, { "strange_error", "CUT", true } }
    local rules = {}
    for i, row in ipairs(rows) do
      rules[i] = { times = 1, text = "A long enough reply.",
        fault = { error_event = row[1], after_events = 4 } }
    end
    serve({ rules = rules })
    for _, row in ipairs(rows) do
      local result, events = fail(provider())
      assert.same({ row[2], row[3], true, 200 }, { result.code, result.details.retryable,
        result.details.partial, result.details.status })
      assert.equal("A long enough ", join(events, "text"))
      assert.matches("broke off its reply: " .. row[1] .. ": fake: ", result.message, 1, true)
      assert.matches("request-id req_", result.message, 1, true)
    end
  end)

  it("is CUT when the stream ends early", function()
    serve({ rules = {
      { times = 1, text = "A long enough reply.", fault = { missing_stop = true } },
      { times = 1, text = "A long enough reply.", fault = { cut_after_events = 4 } },
      { times = 1, text = "A long enough reply.", fault = { cut_after_events = 4, reset = true } },
      { times = 1, text = "A long enough reply.", fault = { cut_after_events = 0 } },
      raw("") } })
    local p = provider()
    for i = 1, 5 do
      local result = fail(p)
      assert.same({ "CUT", true, i <= 3, 200 }, { result.code, result.details.retryable,
        result.details.partial, result.details.status }, i)
      assert.matches("request-id req_", result.message, 1, true)
    end
  end)

  it("is TIMEOUT_STALL when nothing more comes", function()
    serve({ rules = {
      { times = 1, text = "A long enough reply.", fault = { stall_after_events = 4 } },
      { times = 1, text = "A long enough reply.", fault = { stall_after_events = -1 } } } })
    local p = provider({ http = { stall_timeout = 0.2 } })
    local result = fail(p)
    assert.same({ "TIMEOUT_STALL", true, true }, { result.code, result.details.retryable,
      result.details.partial })
    result = fail(p)
    assert.same({ "TIMEOUT_STALL", true, false }, { result.code, result.details.retryable,
      result.details.partial })
  end)

  it("is PROTOCOL when an event is broken", function()
    serve({ rules = { { text = "A long enough reply.", fault = { bad_event_json = true } } } })
    local result = fail(provider())
    assert.same({ "PROTOCOL", true, false }, { result.code, result.details.retryable,
      result.details.partial })
  end)

  it("is NOT_JSON when something else answers", function()
    serve({ rules = {
      { times = 1, fault = { not_json = "<!doctype html>\n<html><body>\n<p>Please log\n in</p>" } },
      { times = 1, fault = { not_json = ("word "):rep(1000) } },
      { times = 1, fault = { not_json = ("日本語"):rep(1000) } },
      { times = 1, fault = { not_json = "" } },
      raw('{"hello":1}', "application/json") } })
    local p = provider()
    local result = fail(p)
    assert.same({ "NOT_JSON", false }, { result.code, result.details.retryable })
    assert.matches("answered with text/html; charset=utf-8, not with a reply of the Messages API: "
      .. "Please log in (request-id", result.message, 1, true)
    for _ = 1, 2 do
      result = fail(p)
      assert.equal("NOT_JSON", result.code)
      local excerpt = result.message:match("API: (.*) %(request")
      assert.is_true(utf8.len(excerpt) <= 200)
      assert.matches("%.%.%.$", excerpt)
    end
    assert.matches("%(nothing%)", fail(p).message)
    result = fail(p)
    assert.same({ "NOT_JSON", '{"hello":1}' },
      { result.code, result.message:match("API: (.*) %(request") })
  end)

  it("may come as JSON with status 200", function()
    serve({ rules = { raw('{"type":"error","error":{"type":"overloaded_error","message":"busy"}}',
      "application/json") } })
    local result = fail(provider())
    assert.same({ "OVERLOADED", true }, { result.code, result.details.retryable })
  end)

  it("keeps the code of the connection", function()
    serve({ rules = {} })
    local p = provider()
    support.stop()
    local result = fail(p)
    assert.same({ "CONNECT", true, false }, { result.code, result.details.retryable,
      result.details.partial })
    assert.is_nil(result.details.status)
    p = anthropic.new({ model = "m", base_url = "ftp://127.0.0.1", api_key = "test-key" })
    assert.is_false(fail(p).details.retryable)
  end)

  it("of TLS is final", function()
    serve({ rules = {} })
    local p = provider({ base_url = support.server.url:gsub("^http", "https") })
    local result = fail(p)
    assert.same({ "TLS", false }, { result.code, result.details.retryable })
  end)

  it("never shows a key, even if the server does", function()
    local keys = { "first-key", "token-long", "custom-secret" }
    local rules = {}
    for i = 1, 6 do
      rules[i] = raw(json.encode({ type = "error", error = { type = "authentication_error",
        message = "bad: " .. table.concat(keys, ", ") .. ", " .. keys[1] } }),
        "application/json", 401)
    end
    rules[7] = raw("your key is " .. keys[1], "text/html")
    rules[8] = raw(sse({ { type = "error", error = { type = "api_error", message = keys[1] } } }))
    for i = 1, 8 do
      rules[i].times = 1
    end
    -- The rules answer only who gets in, so the key of the server is one of them each time.
    local function refused(fields, api_key, at)
      serve({ api_key = api_key, rules = { rules[at] } })
      local message = fail(provider(fields)).message
      support.stop()
      return message
    end
    local message = refused({ api_key = keys[1] }, keys[1], 1)
    assert.matches("^ANTHROPIC_API_KEY was refused by 127%.0%.0%.1:%d+: bad: <key>, token%-long, "
      .. "custom%-secret, <key> %(", message)
    message = refused({ api_key = false, auth_token = keys[2] }, keys[2], 2)
    assert.matches("^ANTHROPIC_AUTH_TOKEN was refused by .*: bad: first%-key, <key>,", message)
    message = refused({ headers = { Authorization = "Bearer " .. keys[3] } }, keys[3], 3)
    assert.matches("^the key in the extra headers", message)
    assert.is_nil(message:find(keys[3], 1, true))
    assert.matches(": <key>$", refused({ api_key = keys[1] }, keys[1], 8):gsub(" %(req.*$", ""))
    message = refused({ api_key = keys[1] }, keys[1], 7)
    assert.matches("your key is <key>", message, 1, true)
  end)
end)
