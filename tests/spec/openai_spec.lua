--- Chat Completions against the strict fake server (support/fake_openai.py), over real HTTP.
local json = require("agenthost.json")
local openai = require("agenthost.provider.openai")
local support = require("support.openai").new("openai")

local serve, provider, succeed, join = support.serve, support.provider, support.succeed, support.join

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
    assert.equal("max_completion_tokens", openai.new({ model = "m", api_key = "k" }).max_tokens_field)
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
