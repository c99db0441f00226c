-- AGENTHOST_RECORD keeps every model call; a replay of it is the same run, without a server.
local case = require("support.case")
local fake = require("support.fake")
local json = require("agenthost.json")
local program = require("support.program")
local sys = require("agenthost.sys")

local KEY <const> = "test-key" -- of the fake server; what the recording must not hold

local t

before_each(function() t = case.new() end)
after_each(function() t:finish() end)

local function record(opts)
  opts = opts or { "-p", "What is it?" }
  opts.env = opts.env or {}
  opts.env.AGENTHOST_RECORD = "run.jsonl"
  return t:run(opts)
end

-- The run again, in a new place with no server and no key.
local function replay(opts)
  opts = opts or { "-p", "What is it?" }
  local place = program.place()
  place:write("run.jsonl", t.place:read("run.jsonl"))
  table.insert(opts, 1, "--model")
  table.insert(opts, 2, opts.as or "scripted/run.jsonl")
  local result = place:run(opts)
  local messages = place:messages()
  place:close()
  return result, messages
end

local function lines()
  return case.objects(t.place:read("run.jsonl"))
end

-- Standard error without the line that tells of the replay.
local function errors(result)
  return (result.stderr:gsub("^agenthost: replaying [^\n]*\n", ""))
end

local function assert_same_run(recorded, opts)
  local again, messages = replay(opts)
  assert.equal(recorded.stdout, again.stdout, again.stderr)
  assert.equal(recorded.code, again.code)
  assert.same(t.place:messages(), messages)
  return again
end

describe("a recording", function()
  it("is for its owner alone, a line a call, without the key", function()
    t:script({ text = "Look.", tools = { { name = "bash", input = { command = "echo x" } } } },
      { text = "It is x." })
    local result = record()
    assert.equal("It is x.\n", result.stdout, result.stderr)
    assert.equal(tonumber("600", 8), sys.stat(t.place.work .. "/run.jsonl").mode)
    local text = t.place:read("run.jsonl")
    assert.falsy(text:find(KEY, 1, true))
    local calls = lines()
    assert.equal(2, #calls)
    assert.equal("anthropic", calls[1].provider)
    assert.equal("claude-test-1", calls[1].model)
    assert.equal(t.server.url .. "/v1/messages", calls[1].url)
    assert.equal(200, calls[1].status)
    assert.equal("2023-06-01", calls[1].headers["anthropic-version"])
    assert.truthy(calls[1].response_headers["request-id"]:find("^req_"))
    assert.truthy(calls[1].response:find("event: message_stop", 1, true))
    assert.equal(t.server.requests()[2].body_text, calls[2].request)
  end)

  it("has no key where one stands in a text", function()
    t:serve({ text = "Your key is sk-ant-0123456789, is it not?" })
    local result = record({ "-p", "My key is sk-ant-0123456789.",
      env = { OTHER_API_KEY = "sk-ant-0123456789" } })
    assert.equal(0, result.code, result.stderr)
    local text = t.place:read("run.jsonl")
    assert.falsy(text:find("sk-ant-", 1, true), text)
    assert.truthy(text:find("My key is <OTHER_API_KEY>.", 1, true), text)
  end)

  it("is made of the calls of a provider that a script has made, too", function()
    t:script({ text = "Hello." })
    t.place:write("a.lua", ([[return require("agenthost.agent").new({
      provider = require("agenthost.provider.anthropic").new({ model = "claude-test-1",
        base_url = %q, api_key = %q }) })]]):format(t.server.url, KEY))
    local result = record({ "a.lua", "-p", "Hi" })
    assert.same({ "Hello.\n", "" }, { result.stdout, result.stderr })
    assert.equal(1, #lines())
  end)

  it("is not begun for a model that is not called over HTTP, and that is said", function()
    t.place:write("model.lua", 'return { "Scripted." }')
    t.place:write("own.lua", [[return require("agenthost.agent").new({ provider = { model = "own/1",
      stream = function() return { content = { { type = "text", text = "Own." } } } end } })]])
    for model, words in pairs({ ["own/1"] = { "own.lua", "-p", "Hi" },
      ["scripted/.*model.lua"] = { "--model", "scripted/model.lua", "-p", "Hi" } }) do
      local result = record(words)
      assert.equal(0, result.code, result.stderr)
      assert.matches("^agenthost: AGENTHOST_RECORD: nothing is recorded: the model " .. model
        .. " is not called over HTTP\n$", result.stderr)
      assert.is_nil(sys.stat(t.place.work .. "/run.jsonl"))
    end
  end)

  it("that others could read, or that cannot be written, is refused before any call", function()
    t:serve({ text = "never" })
    t.place:write("run.jsonl", "")
    os.execute("chmod 644 '" .. t.place.work .. "/run.jsonl'")
    local result = record()
    assert.equal(1, result.code)
    assert.equal("agenthost: AGENTHOST_RECORD: run.jsonl is open to others: chmod 600 it, or name "
      .. "a new file\n", result.stderr)
    result = t:run({ "-p", "x", env = { AGENTHOST_RECORD = "no/such/dir" } })
    assert.equal(1, result.code)
    assert.equal(1, #case.lines(result.stderr), result.stderr)
    assert.truthy(result.stderr:find("AGENTHOST_RECORD: .*no/such/dir"), result.stderr)
    assert.equal(0, #t.server.requests())
  end)
end)

describe("a replay", function()
  it("is the same run: output, conversation, usage", function()
    t:script(
      { thinking = "Hm. \u{1F600}", text = "Let me look.", usage = { input_tokens = 7 },
        tools = { { name = "bash", input = { command = "printf 'a\\n\\342\\200\\250b'" } } },
        wire = { chunk = 1, crlf = true } },
      { text = "It is ä\u{2028}ö.", usage = { input_tokens = 9, output_tokens = 3 } })
    local recorded = record({ "-p", "What is it?", "--output-format", "stream-json" })
    t.server.stop()
    local again, messages = replay({ "-p", "What is it?", "--output-format", "stream-json" })
    assert.equal(0, again.code, again.stderr)
    assert.same(t.place:messages(), messages)
    local old, new = case.objects(recorded.stdout), case.objects(again.stdout)
    assert.equal(#old, #new)
    for i = 1, #old do
      for _, name in ipairs({ "session_id", "cwd", "duration_ms", "duration_api_ms", "uuid" }) do
        old[i][name], new[i][name] = nil, nil
      end
      for _, one in ipairs({ old[i].message or {}, new[i].message or {} }) do
        one.id = nil -- made for each line
      end
      assert.same(old[i], new[i])
    end
  end)

  it("says what it is, and takes its file by either name", function()
    t:serve({ text = "Hello." })
    local recorded = record()
    for _, name in ipairs({ "scripted/run.jsonl", "replay/run.jsonl" }) do
      local again = assert_same_run(recorded, { "-p", "What is it?", as = name })
      assert.truthy(again.stderr:find(
        "^agenthost: replaying 1 call of claude%-test%-1 from [^\n]*/run.jsonl\n$"), again.stderr)
    end
  end)

  for _, api in ipairs({ "openai", "openai-responses" }) do
    it("is the same run over " .. api .. ", too", function()
      t.server = fake.start({ quirks = { "max_tokens_only" }, rules = {
        { times = 1, tools = { { name = "bash", input = { command = "echo x" } } },
          wire = { chunk = 1 } },
        { text = "It is x." } } }, { api = api })
      local function run_with(key)
        return record({ "-p", "What is it?", "--model", api .. "/gpt-test-1", server = false,
          env = { OPENAI_API_KEY = key, OPENAI_BASE_URL = t.server.base_url } })
      end
      assert.equal(1, run_with("sk-secret-0123").code) -- the fake knows another key
      local recorded = run_with(KEY)
      assert.equal("It is x.\n", recorded.stdout, recorded.stderr)
      t.refusals_expected = true
      local text = t.place:read("run.jsonl")
      assert.falsy(text:find(KEY, 1, true))
      assert.falsy(text:find("sk-secret", 1, true))
      local again = replay()
      assert.equal(recorded.stdout, again.stdout, again.stderr)
      assert.truthy(again.stderr:find("the last of its 2 runs", 1, true))
    end)
  end

  for name, fault in pairs({
    ["an error status"] = { status = 400, message = "something is wrong" },
    ["a wrong key"] = { status = 401, message = "invalid x-api-key" },
    ["a web page"] = { not_json = "<html><h1>Hotel</h1></html>" },
    ["an answer that is too late"] = { status = 529, headers = { ["x-should-retry"] = "false" } },
  }) do
    it("fails as the run did with " .. name, function()
      t:serve({ fault = fault })
      local recorded = record()
      assert.equal(1, recorded.code)
      local again = assert_same_run(recorded)
      assert.equal(recorded.stderr, errors(again))
    end)
  end

  for name, fault in pairs({
    ["a stream that was cut"] = { cut_after_events = 4 },
    ["a connection that was reset"] = { cut_after_events = 4, reset = true },
    ["a stream without its end"] = { missing_stop = true },
    ["an error in the stream"] = { error_event = "overloaded_error", after_events = 4 },
    ["an event that is no JSON"] = { bad_event_json = true, after_events = 4 },
  }) do
    it("fails and is tried again as the run was with " .. name, function()
      t:script({ text = "Half.", fault = fault }, { text = "Whole." })
      local recorded = record()
      assert.equal("Whole.\n", recorded.stdout, recorded.stderr)
      local again = assert_same_run(recorded)
      local function without_delay(s) return (s:gsub("in [%d.]+ s", "in N s")) end
      assert.equal(without_delay(recorded.stderr), without_delay(errors(again)))
    end)
  end

  it("fails where nobody listened", function()
    t:serve({ text = "never" })
    local url = t.server.url
    t.server.stop()
    t.server = nil
    local recorded = record({ "-p", "What is it?", env = { ANTHROPIC_BASE_URL = url } })
    assert.equal(1, recorded.code)
    local again = assert_same_run(recorded)
    assert.equal(case.lines(recorded.stderr)[4], case.lines(errors(again))[4])
  end)

  it("says what differs", function()
    t:serve({ text = "Hello." })
    record()
    local again = replay({ "-p", "What is \27[31mthat?" })
    assert.equal(1, again.code)
    assert.truthy(again.stderr:find("replay: call 1 differs from the one in [^\n]*run.jsonl: the "
      .. "user said 'What is that%?', not 'What is it%?' %(AGENTHOST_REPLAY=lenient, or `lenient` "
      .. "in a test, takes it all the same%)\n$"), again.stderr)
    again = replay({ "-p", "What is that?", env = { AGENTHOST_REPLAY = "lenient" } })
    assert.equal("Hello.\n", again.stdout, again.stderr)
  end)

  it("says when there are more calls than were recorded", function()
    t:script({ tools = { { name = "bash", input = { command = "true" } } } }, { text = "Done." })
    record()
    local first = t.place:read("run.jsonl"):match("^[^\n]*\n")
    t.place:write("run.jsonl", first)
    local again = replay()
    assert.equal(1, again.code)
    assert.truthy(again.stderr:find("has 1 call, and this is one more", 1, true), again.stderr)
  end)

  it("plays the last of several runs, and passes over a torn line", function()
    t:script({ text = "First." }, { text = "Second." })
    record()
    record({ "-p", "And now?" })
    t.place:write("run.jsonl", t.place:read("run.jsonl") .. '{"type":"call","ru')
    local again = replay({ "-p", "And now?" })
    assert.equal("Second.\n", again.stdout, again.stderr)
    assert.truthy(again.stderr:find("the last of its 2 runs", 1, true), again.stderr)
  end)

  it("of something else is one line", function()
    t.place:write("other.jsonl", '{"type":"session"}\nnonsense\n')
    for _, name in ipairs({ "replay/other.jsonl", "scripted/other.jsonl", "replay/nothing" }) do
      local result = t:run({ "-p", "x", "--model", name })
      assert.equal(1, result.code)
      assert.equal(1, #case.lines(result.stderr), result.stderr)
      assert.truthy(result.stderr:find(name:match("/(.*)$"), 1, true), result.stderr)
    end
  end)

  it("can be recorded again, with the same responses", function()
    t:serve({ text = "Hello." })
    record()
    local first = lines()[1]
    local again = t:run({ "-p", "What is it?", "--model", "replay/run.jsonl",
      env = { AGENTHOST_RECORD = "again.jsonl" } })
    assert.equal("Hello.\n", again.stdout, again.stderr)
    local second = json.decode(t.place:read("again.jsonl"))
    assert.equal(first.response, second.response)
    assert.equal(first.request, second.request)
  end)
end)
