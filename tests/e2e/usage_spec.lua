-- What a run costs: in the result, in the session file, and where a budget ends it.
local case = require("support.case")
local json = require("agenthost.json")

local t

before_each(function() t = case.new() end)
after_each(function() t:finish() end)

-- The fake model has a price, from the user's copy of the table.
local function set_price()
  t.place:write(t.place.config .. "/agenthost/lua/agenthost/model_table.lua", [[
    return { ["claude-test-1"] = { price = { input = 1000, output = 5000, cache_read = 100,
      cache_write = 1250 } } }]])
end

local USED <const> = { input_tokens = 100, output_tokens = 20, cache_read_input_tokens = 1000,
  cache_creation_input_tokens = 40 } -- 0.1 + 0.1 + 0.1 + 0.05 dollars
local COST <const> = 0.35

local function turn()
  return { times = 1, tools = { { name = "bash", input = { command = "true" } } }, usage = USED }
end

local function near(expected, value)
  assert.is_true(math.abs(expected - value) < 1e-9, tostring(value))
end

describe("the result in JSON", function()
  it("has tokens, cost, models and the time of the calls", function()
    set_price()
    t:serve(turn(), { text = "Done.", usage = USED })
    local result = t:run({ "-p", "x", "--output-format", "json" })
    local object = json.decode(result.stdout)
    assert.same({ input_tokens = 200, output_tokens = 40, cache_read_input_tokens = 2000,
      cache_creation_input_tokens = 80 }, object.usage)
    near(2 * COST, object.total_cost_usd)
    local model = object.modelUsage["claude-test-1"]
    near(2 * COST, model.costUSD)
    assert.equal(200, model.inputTokens)
    assert.equal(40, model.outputTokens)
    assert.equal(2000, model.cacheReadInputTokens)
    assert.equal(80, model.cacheCreationInputTokens)
    assert.equal("integer", math.type(object.duration_api_ms))
    assert.is_true(object.duration_api_ms > 0 and object.duration_api_ms <= object.duration_ms)
    local noted = {}
    for _, entry in ipairs((t.place:session())) do
      noted[#noted + 1] = entry.type == "usage" and entry or nil
    end
    assert.equal(2, #noted)
    assert.same(USED, noted[1].usage)
    near(COST, noted[1].cost_usd)
    assert.equal("claude-test-1", noted[1].model)
  end)

  it("has no cost where no price is known", function()
    t.place:write(t.place.config .. "/agenthost/lua/agenthost/model_table.lua",
      'return { ["claude-test-1"] = {} }')
    t:serve({ text = "Done.", usage = USED })
    local object = json.decode(t:run({ "-p", "x", "--output-format", "json" }).stdout)
    assert.equal(json.null, object.total_cost_usd)
    assert.equal(100, object.usage.input_tokens)
  end)

  it("counts a call that broke off, which is charged, too", function()
    set_price()
    t:script({ text = "Half an answer", usage = USED, fault = { cut_after_events = 4 } },
      { text = "Whole.", usage = USED })
    local object = json.decode(t:run({ "-p", "x", "--output-format", "json" }).stdout)
    assert.equal("Whole.", object.result)
    assert.equal(200, object.usage.input_tokens)
  end)
end)

describe("--max-budget-usd", function()
  it("ends the run with a code and a line of its own", function()
    set_price()
    t:serve(turn(), turn(), { text = "never" })
    local result = t:run({ "-p", "x", "--max-budget-usd", "0.5" })
    assert.equal(5, result.code)
    assert.equal("", result.stdout)
    assert.equal("agenthost: the budget of $0.5 is used up: $0.7000 in 2 calls "
      .. "(--max-budget-usd)\n", result.stderr)
    assert.equal(2, #t.server.requests())
    assert.equal(5, #t.place:messages())
  end)

  it("is its own subtype in JSON", function()
    set_price()
    t:serve(turn(), { text = "never" })
    local result = t:run({ "-p", "x", "--max-budget-usd=0.1", "--output-format", "stream-json" })
    local objects = case.objects(result.stdout)
    local last = objects[#objects]
    assert.equal("error_max_budget_usd", last.subtype)
    assert.is_true(last.is_error)
    near(COST, last.total_cost_usd)
    assert.equal(5, result.code)
  end)

  it("does not end what it covers", function()
    set_price()
    t:serve(turn(), { text = "Done.", usage = USED })
    local result = t:run({ "-p", "x", "--max-budget-usd", "0.36" })
    assert.equal("Done.\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
  end)

  it("without a known price is refused before any call", function()
    t:serve({ text = "never" })
    local result = t:run({ "-p", "x", "--max-budget-usd", "1", "--model", "claude-nobody-knows" })
    assert.equal(1, result.code)
    assert.equal(1, #case.lines(result.stderr), result.stderr)
    assert.truthy(result.stderr:find("claude-nobody-knows", 1, true), result.stderr)
    assert.truthy(result.stderr:find("model_table.lua", 1, true), result.stderr)
    assert.equal(0, #t.server.requests())
  end)

  it("is a number above 0", function()
    for _, bad in ipairs({ "0", "-1", "much" }) do
      local result = t:run({ "-p", "x", "--max-budget-usd", bad })
      assert.equal(2, result.code)
      assert.truthy(result.stderr:find("--max-budget-usd", 1, true))
    end
  end)
end)
