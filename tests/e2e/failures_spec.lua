-- What goes wrong between agenthost and the model: each failure ends in another try with a visible
-- reason, or in one clear line and exit code 1, nothing on stdout, and the conversation on disk.
local case = require("support.case")
local program = require("support.program")
local stress = require("support.stress")

-- A user's copy of defaults.lua, changed: found before the installed one, no compiler involved.
local function override_defaults(t, changes)
  local source = assert(package.searchpath("agenthost.defaults", package.path))
  local text = assert(program.read_file(source))
  for name, value in pairs(changes) do
    local count
    text, count = text:gsub("(\n  " .. name .. " = )[^,]*,", "%1" .. value .. ",")
    assert(count == 1, name .. " is not in defaults.lua once")
  end
  t.place:write(t.place.config .. "/agenthost/lua/agenthost/defaults.lua", text)
end

describe("a failed model call", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  local function quick_retries()
    override_defaults(t, { first_delay = "0.05" })
  end

  -- The run failed: one line, nothing on stdout, the user's words on disk.
  local function assert_failed(result, requests)
    assert.equal("", result.stdout)
    assert.equal(1, result.code)
    local lines = case.lines(result.stderr)
    local last = lines[#lines]
    assert.truthy(last:find("^agenthost: "), result.stderr)
    assert.falsy(result.stderr:find("traceback", 1, true), result.stderr)
    for i = 1, #lines - 1 do
      assert.truthy(lines[i]:find("; trying again in [%d.]+ s %(%d of 4%)$"), lines[i])
    end
    assert.equal(requests, #lines, result.stderr)
    if t.server then
      assert.equal(requests, #t.server.requests())
    end
    local messages = t.place:messages()
    assert.equal(1, #messages)
    assert.same({ { type = "text", text = "Hello?" } }, messages[1].content)
    return last
  end

  -- The second try was good, and its text stands on stdout alone.
  local function assert_recovered(result, reason)
    assert.equal("The whole answer, once.\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
    local lines = case.lines(result.stderr)
    assert.equal(1, #lines, result.stderr)
    assert.truthy(lines[1]:find("trying again in ", 1, true), lines[1])
    assert.truthy(lines[1]:find(reason), lines[1])
    local requests = t.server.requests()
    assert.equal(2, #requests)
    assert.equal(requests[1].body_text, requests[2].body_text)
    local messages = t.place:messages()
    assert.equal(2, #messages)
    assert.same({ { type = "text", text = "The whole answer, once." } }, messages[2].content)
  end

  local ANSWER <const> = "The whole answer, once."

  local function fail_once(fault)
    t:script({ text = ANSWER, fault = fault }, { text = ANSWER })
    return t:run({ "-p", "Hello?" })
  end

  for status, said in pairs({
    [400] = "temperature: unexpected", [401] = "invalid x%-api%-key", [403] = "not allowed to",
    [404] = "model: claude%-test%-1", [413] = "Request exceeds",
  }) do
    it("with status " .. status .. " is told in one line", function()
      t:serve({ fault = { status = status, message = (said:gsub("%%", "")) } })
      local line = assert_failed(t:run({ "-p", "Hello?" }), 1)
      assert.truthy(line:find(said), line)
      assert.truthy(line:find("request-id req_", 1, true), line)
    end)
  end

  it("names the variable when the key is wrong", function()
    t.refusals_expected = true
    t:serve({ text = "never" })
    local key = "sk-ant-wrong-key-0123456789"
    local line = assert_failed(t:run({ "-p", "Hello?", env = { ANTHROPIC_API_KEY = key } }), 1)
    assert.truthy(line:find("ANTHROPIC_API_KEY was refused by 127.0.0.1", 1, true), line)
    assert.falsy(line:find("sk-ant", 1, true))
  end)

  it("sends a token as a bearer, and never two credentials", function()
    t:serve({ text = "Hello." })
    local result = t:run({ "-p", "Hello?", env = { ANTHROPIC_API_KEY = false,
      ANTHROPIC_AUTH_TOKEN = "test-key" } })
    assert.equal("Hello.\n", result.stdout, result.stderr)
    result = t:run({ "-p", "Hello?", env = { ANTHROPIC_AUTH_TOKEN = "test-key" } })
    assert.equal("Hello.\n", result.stdout, result.stderr)
  end)

  it("with 429 waits as long as the server asks", function()
    local result = fail_once({ status = 429, headers = { ["retry-after"] = "2" } })
    assert_recovered(result, "rate_limit_error.* trying again in 2%.0 s %(1 of 4%)")
    local requests = t.server.requests()
    assert.is_true(requests[2].t - requests[1].t >= 1.9)
  end)

  it("with 429 and a wait of an hour is told at once", function()
    t:serve({ fault = { status = 429, headers = { ["retry-after"] = "3600" } } })
    local result = t:run({ "-p", "Hello?" })
    local line = assert_failed(result, 1)
    assert.truthy(line:find("3600 s", 1, true), line)
    assert.is_true(result.seconds < 20)
  end)

  it("with 529 is tried again", function()
    assert_recovered(fail_once({ status = 529 }), "529 overloaded_error")
  end)

  it("with 500 is tried again, four times in all", function()
    quick_retries()
    t:serve({ fault = { status = 500, message = "internal\nfailure" } })
    local line = assert_failed(t:run({ "-p", "Hello?" }), 4)
    assert.truthy(line:find("500 api_error: internal failure", 1, true), line)
    assert.truthy(line:find("after 4 tries", 1, true), line)
  end)

  it("obeys x-should-retry: false", function()
    t:serve({ fault = { status = 529, headers = { ["x-should-retry"] = "false" } } })
    assert_failed(t:run({ "-p", "Hello?" }), 1)
  end)

  it("with an error event in the middle starts anew", function()
    quick_retries()
    local result = fail_once({ error_event = "overloaded_error", after_events = 4 })
    assert_recovered(result, "overloaded_error")
  end)

  for name, fault in pairs({
    ["a stream that is cut"] = { cut_after_events = 4 },
    ["a connection that is reset"] = { cut_after_events = 4, reset = true },
    ["a stream without message_stop"] = { missing_stop = true },
  }) do
    it("starts anew after " .. name, function()
      quick_retries()
      assert_recovered(fail_once(fault), "agenthost: .+; trying again")
    end)
  end

  it("starts anew after an event that is not JSON", function()
    quick_retries()
    assert_recovered(fail_once({ bad_event_json = true, after_events = 4 }), "makes no sense")
  end)

  it("is one line when a web page answers", function()
    t:serve({ fault = { not_json = "<html><head><style>p { x: y }</style></head>\n<body>"
      .. "<h1>Welcome to the \27[31mhotel</h1></body></html>" } })
    local line = assert_failed(t:run({ "-p", "Hello?" }), 1)
    assert.truthy(line:find("text/html", 1, true), line)
    assert.truthy(line:find("Welcome to the hotel", 1, true), line)
  end)

  it("shows the error page of a gateway as text, and tries again", function()
    quick_retries()
    local result = fail_once({ status = 502, body = "<html><h1>Bad gateway</h1></html>" })
    assert_recovered(result, "502: Bad gateway")
  end)

  it("is tried again when the server says nothing", function()
    override_defaults(t, { first_delay = "0.05", stall_timeout = "1" })
    local result = fail_once({ stall_after_events = -1, seconds = 60 })
    assert_recovered(result, "1 s")
    assert.is_true(result.seconds < 30)
  end)

  it("is tried again when the server stops in the middle", function()
    override_defaults(t, { first_delay = "0.05", stall_timeout = "1" })
    assert_recovered(fail_once({ stall_after_events = 4, seconds = 60 }), "1 s")
  end)

  it("is not one when the server is only slow", function()
    local result
    stress.in_time(2, function(seconds)
      override_defaults(t, { stall_timeout = ("%g"):format(seconds) })
      t:serve({ text = ANSWER, wire = { event_delay = 0.15 * seconds } })
      result = t:run({ "-p", "Hello?" })
      return result.stderr == ""
    end)
    assert.equal(ANSWER .. "\n", result.stdout, result.stderr)
    assert.equal("", result.stderr)
  end)

  it("says that nobody listens", function()
    quick_retries()
    t:serve({ text = "never" })
    local url = t.server.url
    t.server.stop()
    t.server = nil
    local result = t:run({ "-p", "Hello?", env = { ANTHROPIC_BASE_URL = url,
      ANTHROPIC_API_KEY = "test-key" } })
    local line = assert_failed(result, 4)
    assert.truthy(line:lower():find("connect", 1, true), line)
    assert.truthy(line:find(url:match("127.*$"):match(":(%d+)"), 1, true), line)
  end)

  it("says that a host is unknown", function()
    quick_retries()
    local result = t:run({ "-p", "Hello?", env = { ANTHROPIC_API_KEY = "test-key",
      ANTHROPIC_BASE_URL = "http://no-such-host.invalid" } })
    assert.equal("", result.stdout)
    assert.equal(1, result.code)
    local lines = case.lines(result.stderr)
    assert.truthy(lines[#lines]:find("no-such-host.invalid", 1, true), result.stderr)
    assert.equal(1, #t.place:messages())
  end)

  it("says that an address makes no sense", function()
    for _, url in ipairs({ "localhost:1", "ftp://localhost:1", "http://", "file:///etc/passwd" }) do
      local place <close> = program.place()
      local result = place:run({ "-p", "Hello?", env = { ANTHROPIC_API_KEY = "test-key",
        ANTHROPIC_BASE_URL = url } })
      assert.equal("", result.stdout)
      assert.equal(1, result.code)
      assert.equal(1, #case.lines(result.stderr), result.stderr)
    end
  end)

  it("in the middle of a run keeps what was done", function()
    t:script(
      { text = "Look.", tools = { { name = "bash", input = { command = "echo seen" } } } },
      { fault = { status = 400, message = "no more" } })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("", result.stdout)
    assert.equal(1, result.code)
    local messages = t.place:messages()
    assert.equal(3, #messages)
    assert.equal("seen\n", messages[3].content[1].content)
  end)
end)

describe("a reply that is not a plain answer", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  it("refusal without content: one line, no empty message in the conversation", function()
    t:serve({ stop_reason = "refusal",
      stop_details = { type = "refusal", category = "cyber",
        explanation = "I will not do that." } })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("", result.stdout)
    assert.equal(1, result.code)
    assert.equal(1, #case.lines(result.stderr), result.stderr)
    assert.truthy(result.stderr:find("refusal: I will not do that.", 1, true), result.stderr)
    assert.equal(1, #t.place:messages())
  end)

  it("refusal after some text: the text, and a word on stderr", function()
    t:serve({ text = "I would rather", stop_reason = "refusal" })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("I would rather\n", result.stdout)
    assert.truthy(result.stderr:find("refusal", 1, true), result.stderr)
  end)

  it("refusal behind tool calls: none is run, each gets a result, and the run is over", function()
    t:serve({ text = "I look.", stop_reason = "refusal", tools = {
      { name = "bash", input = { command = "touch one" } },
      { name = "bash", input = { command = "touch two" } } } })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("I look.\n", result.stdout)
    assert.truthy(result.stderr:find("stopped with refusal", 1, true), result.stderr)
    assert.falsy(t.place:read("one") or t.place:read("two"))
    local messages = t.place:messages()
    assert.equal(3, #messages)
    for i, block in ipairs(messages[3].content) do
      assert.same({ messages[2].content[i + 1].id, true }, { block.tool_use_id, block.is_error })
    end
    assert.equal(2, #messages[3].content)
  end)

  it("max_tokens inside a tool call: the call is not run, and gets a result", function()
    t:script(
      { tools = { { name = "bash", input = { command = "touch first" } },
          { name = "bash", input = { command = "touch cut" } } }, stop_reason = "max_tokens" },
      { text = "Shorter." })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("Shorter.\n", result.stdout, result.stderr)
    assert.truthy(t.place:read("first"))
    assert.is_nil(t.place:read("cut"))
    local results = case.results(t.server.requests()[2].body)
    assert.equal(2, #results)
    assert.is_true(results[2].is_error)
    assert.truthy(results[2].content:find("cut off", 1, true), results[2].content)
  end)

  it("max_tokens in a text: the text, and a word on stderr", function()
    t:serve({ text = "Once upon a", stop_reason = "max_tokens" })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("Once upon a\n", result.stdout)
    assert.truthy(result.stderr:find("max_tokens", 1, true), result.stderr)
  end)

  it("pause_turn: sent back as it is, and it goes on", function()
    local block = { type = "server_tool_use", id = "srvtoolu_1", name = "web_search",
      input = { query = "x" } }
    t:script(
      { content = { { type = "text", text = "Searching." }, block }, stop_reason = "pause_turn" },
      { text = "Found." })
    local result = t:run({ "-p", "Hello?" })
    assert.truthy(result.stdout:find("Found.\n$"), result.stderr)
    assert.equal(0, result.code)
    local messages = t.server.requests()[2].body.messages
    assert.equal(2, #messages)
    assert.equal("assistant", messages[2].role)
    assert.same(block, messages[2].content[2])
  end)

  it("pause_turn: a notice that comes meanwhile waits", function()
    t:script(
      { tools = { { name = "background_run", input = { command = "touch ended" } } } },
      { text = "Searching.", stop_reason = "pause_turn", wire = { first_delay = 1 } },
      { text = "Found." },
      { when = { last_user_contains = "<background-results>" }, text = "Noted." })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("Noted.\n", result.stdout, result.stderr)
    assert.truthy(t.place:read("ended"))
    local messages = t.server.requests()[3].body.messages
    assert.equal("assistant", messages[#messages].role)
  end)

  it("without any content: nothing is printed or kept", function()
    t:script({ tools = { { name = "bash", input = { command = "true" } } } },
      { stop_reason = "end_turn" })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("", result.stdout)
    assert.equal(0, result.code, result.stderr)
    assert.equal(3, #t.place:messages())
  end)

  it("pause_turn without an end: stops after a few", function()
    t:serve({ text = "Still searching.", stop_reason = "pause_turn" })
    local result = t:run({ "-p", "Hello?" })
    assert.truthy(result.stderr:find("pause_turn", 1, true), result.stderr)
    assert.is_true(#t.server.requests() <= 10)
  end)

  it("thinking is kept with its signature, and not shown on stdout", function()
    t:script(
      { thinking = "Hmm.", text = "Look.",
        tools = { { name = "bash", input = { command = "echo x" } } } },
      { text = "Done." })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("Done.\n", result.stdout, result.stderr)
    local content = t.server.requests()[2].body.messages[2].content
    assert.equal("thinking", content[1].type)
    assert.equal("Hmm.", content[1].thinking)
  end)

  it("a tool that does not exist, and input that does not fit, are results", function()
    t:script({ tools = { { name = "no_such_tool", input = { x = 1 } },
      { name = "bash", input = { command = 7 } }, { name = "bash", input = {} } } },
      { text = "I see." })
    local result = t:run({ "-p", "Hello?" })
    assert.equal("I see.\n", result.stdout, result.stderr)
    local results = case.results(t.server.requests()[2].body)
    assert.equal(3, #results)
    for _, one in ipairs(results) do
      assert.is_true(one.is_error)
      assert.truthy(one.content:find("^Error: "), one.content)
    end
  end)

  it("survives any way of cutting the wire", function()
    local text = "Ä€😀 日本語\u{2028}x \"quoted\" \\ end"
    t:script({ text = text, tools = { { name = "bash", input = { command = "printf '%s' '€😀'" } } },
        wire = { chunk = 1, crlf = true, comments = true, delta = 1, unknown_events = true } },
      { text = text, wire = { chunk = 3, comments = true, delta = 2, unknown_events = true } })
    local result = t:run({ "-p", "Hello?" })
    assert.equal(text .. "\n", result.stdout, result.stderr)
    assert.equal("€😀", case.results(t.server.requests()[2].body)[1].content)
  end)
end)
