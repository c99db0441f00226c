local agents = require("support.agents")
local json = require("agenthost.json")
local usage = require("agenthost.usage")

local HAIKU <const> = { name = "anthropic", model = "claude-haiku-4-5",
  url = "https://api.anthropic.com/v1/messages" } -- 1 in, 5 out, 0.1 cache read, 1.25 cache write
local NOBODY <const> = { name = "openai", model = "nobody-knows", url = "https://a.example/v1" }

-- One call of `provider` that used `counts`; what the server said in between in `events`.
local function call(one, provider, counts, events)
  local measured <close> = one:start(provider)
  for _, event in ipairs(events or {}) do
    measured:event(event)
  end
  if counts then
    return measured:done({ usage = counts }, "second")
  end
  return measured:done(nil, "failed", "CUT")
end

describe("usage", function()
  it("passes on what the call gave", function()
    local one = usage.new()
    local reply, second = call(one, HAIKU, { input_tokens = 1 })
    assert.same({ 1, "second" }, { reply.usage.input_tokens, second })
    assert.same({ "failed", "CUT" }, { select(2, call(one, HAIKU)) })
  end)

  it("adds up tokens and cost of calls, runs and models", function()
    local one = usage.new()
    call(one, HAIKU, { input_tokens = 1000, output_tokens = 100, cache_read_input_tokens = 500 })
    one:begin_run()
    call(one, { name = "x", model = "claude-opus-5" }, { input_tokens = 10, output_tokens = 1 })
    assert.equal(1, one.run.calls)
    assert.equal(10, one.run.input_tokens)
    assert.equal(2, one.total.calls)
    assert.equal(1010, one.session.input_tokens)
    assert.equal(500, one.session.cache_read_input_tokens)
    assert.equal(100, one.models["claude-haiku-4-5"].output_tokens)
    local expected = (1000 + 500 + 50 + 50 + 25) / 1e6
    assert.is_true(math.abs(usage.cost(one.total) - expected) < 1e-12)
    assert.equal("claude-opus-5", one.last.model)
  end)

  it("claims no cost where a price is not known", function()
    local one = usage.new()
    call(one, HAIKU, { input_tokens = 1000000 })
    call(one, NOBODY, { input_tokens = 1 })
    assert.is_nil(usage.cost(one.total))
    assert.equal("2 calls, 1,000,001 tokens in, 0 out, cost ?, at least $1.00 "
      .. "(1 of the calls without a known price)", usage.describe(one.total))
    assert.equal(json.null, one:result().total_cost_usd)
    assert.equal(json.null, one:result().modelUsage["nobody-knows"].costUSD)
  end)

  it("shows 0 for what costs nothing, and for what was not used", function()
    local one = usage.new()
    call(one, { name = "ollama", model = "llama3" }, { input_tokens = 12345, output_tokens = 6 })
    call(one, NOBODY, { input_tokens = 0 })
    assert.equal("2 calls, 12,345 tokens in, 6 out, $0", usage.describe(one.total))
  end)

  it("counts what a failed call used until then, once", function()
    local records = {}
    local one = usage.new(function(record) records[#records + 1] = record end)
    local so_far = { input_tokens = 100, output_tokens = 1 }
    call(one, HAIKU, nil, { { type = "usage", usage = so_far }, { type = "text", text = "x" },
      { type = "usage", usage = { input_tokens = 100, output_tokens = 7 } } })
    call(one, HAIKU) -- refused at once: nothing was used
    assert.equal(1, #records)
    assert.is_true(records[1].failed)
    assert.equal(7, one.total.output_tokens)
    assert.equal(100, one.total.input_tokens)
  end)

  it("counts a call that is stopped", function()
    local one = usage.new()
    local ok = pcall(function()
      local measured <close> = one:start(HAIKU)
      measured:event({ type = "usage", usage = { input_tokens = 5 } })
      error("cancelled")
    end)
    assert.is_false(ok)
    assert.equal(5, one.total.input_tokens)
  end)

  it("takes no nonsense for a count", function()
    local one = usage.new()
    call(one, HAIKU, { input_tokens = "many", output_tokens = -5, cache_read_input_tokens = 1.5,
      cache_creation_input_tokens = json.null })
    assert.equal("1 call, 0 tokens in, 0 out, $0", usage.describe(one.total))
  end)

  it("lists session, run, models and budget", function()
    local one = usage.new()
    call(one, HAIKU, { input_tokens = 1000 })
    assert.same({ "session    1 call, 1,000 tokens in, 0 out, $0.0010",
      "last run   1 call, 1,000 tokens in, 0 out, $0.0010" }, one:lines())
    call(one, NOBODY, { output_tokens = 1 })
    local lines = one:lines(2)
    assert.equal("claude-haiku-4-5: 1 call, 1,000 tokens in, 0 out, $0.0010", lines[3])
    assert.equal("nobody-knows: 1 call, 0 tokens in, 1 out, cost ? (no price is known)", lines[4])
    assert.equal("budget     $2.00, of which $0.0010 is spent since the start", lines[5])
  end)

  it("adds up an earlier life of the session again, and it alone", function()
    local entries = { { type = "session" }, { type = "message", message = {} } }
    local first = usage.new(function(record)
      record.type = "usage"
      entries[#entries + 1] = json.decode(json.encode(record)) -- as from the file
    end)
    call(first, HAIKU, { input_tokens = 1000, output_tokens = 10, cache_read_input_tokens = 7 })
    call(first, NOBODY, { input_tokens = 1 })
    table.insert(entries, { type = "usage", usage = "nonsense" })
    table.insert(entries, { type = "usage", usage = { input_tokens = {} }, cost_usd = "x" })
    local second = usage.new()
    for i = 1, #entries, 2 do
      entries[i] = { entry = entries[i], line = "" } -- as session.open gives them
    end
    second:replay(entries)
    assert.equal(first.session.input_tokens, second.session.input_tokens)
    assert.equal(first.session.cost_usd, second.session.cost_usd)
    assert.equal(1, second.session.unpriced)
    assert.equal(0, second.total.calls)
    call(second, HAIKU, { input_tokens = 1 })
    assert.equal(1002, second.session.input_tokens)
    assert.equal(1, second.total.input_tokens)
  end)
end)

describe("usage of two sessions in one program", function()
  it("is one total, and two sessions", function()
    local first, second = usage.new(), usage.new()
    call(first, HAIKU, { input_tokens = 1000 })
    second:go_on(first)
    call(second, HAIKU, { input_tokens = 10 })
    assert.equal(1010, second.total.input_tokens)
    assert.equal(10, second.session.input_tokens)
    assert.equal(1000, first.session.input_tokens)
  end)
end)

describe("a budget", function()
  local place

  before_each(function() place = agents.place() end)
  after_each(function() place:close() end)

  -- An agent whose calls cost a dollar each, and which always wants another turn.
  local function spender(budget)
    local tool = { name = "t", description = "x", run = function() return "x" end }
    local provider = agents.provider(function()
      local reply = agents.reply(agents.call("t"))
      reply.usage = { input_tokens = 1000000 }
      return reply
    end)
    provider.model = HAIKU.model
    return place:new(nil, { provider = provider, tools = { tool }, max_budget_usd = budget })
  end

  it("ends the run before the call that it does not cover", function()
    local made = spender(2.5)
    local result, message, code = made:run("go")
    assert.is_nil(result)
    assert.equal("MAX_BUDGET", code)
    assert.equal("the budget of $2.5 is used up: $3.0000 in 3 calls (--max-budget-usd)", message)
    assert.equal(3, made.provider.calls)
    agents.check(made.conversation:messages(), true)
    assert.equal("MAX_BUDGET", (select(3, made:run("again"))))
    assert.equal(3, made.provider.calls)
  end)

  it("ends it when it is reached exactly", function()
    local made = spender(2)
    made:run("go")
    assert.equal(2, made.provider.calls)
  end)

  it("is refused at once for a model without a price", function()
    local provider = agents.provider({})
    local ok, message = pcall(place.new, place, nil, { provider = provider, max_budget_usd = 1 })
    assert.is_false(ok)
    assert.truthy(message:find("needs the price of the model inline/test, which is not known: add "
      .. "it to a copy of model_table.lua", 1, true), message)
  end)

  it("has to be a number above 0", function()
    for _, bad in ipairs({ 0, -1, "5", true }) do
      local ok, message = pcall(place.new, place, {}, { max_budget_usd = bad })
      assert.is_false(ok)
      assert.truthy(message:find("max_budget_usd: expected a number of US dollars above 0", 1,
        true))
    end
  end)
end)
