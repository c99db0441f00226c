local defaults = require("agenthost.defaults")
local model_table = require("agenthost.model_table")
local models = require("agenthost.models")

describe("model_table", function()
  local function check_price(price)
    for _, field in ipairs({ "input", "output" }) do
      assert.equal("number", type(price[field]))
    end
    for field, value in pairs(price) do
      if field == "above" then
        assert.equal("integer", math.type(value.tokens))
        check_price(value.price)
      else
        assert.is_true(value >= 0 and value < 1000, field)
      end
    end
    assert.is_true((price.cache_read or price.input) <= price.input)
  end

  it("has entries of the declared shape only", function()
    local known <const> = { context_window = true, max_output = true, price = true }
    for id, entry in pairs(model_table) do
      for field in pairs(entry) do
        assert.is_true(known[field], id .. "." .. field)
      end
      if entry.context_window and entry.max_output then
        assert.is_true(entry.max_output <= entry.context_window, id)
      end
      if entry.price then
        check_price(entry.price)
      end
    end
  end)

  it("knows the default model, with a price", function()
    assert.truthy(models.price(defaults.model))
  end)
end)

describe("models.find", function()
  local rows <const> = {
    ["claude-opus-5"] = { n = 1 }, ["claude-opus-5-5"] = { n = 2 }, ["claude-*"] = { n = 3 },
    ["gpt-5"] = { n = 4 }, ["*"] = { n = 5 }, ["gpt-5.5*"] = { n = 6 },
    ["claude-opus-*-x"] = { n = 7 },
  }
  local expected <const> = {
    ["claude-opus-5"] = 1,
    ["claude-opus-5-5"] = 2,
    ["claude-opus-5-20260724"] = 1,
    ["claude-opus-5@20260724"] = 1,
    ["claude-opus-5-latest"] = 1,
    ["claude-opus-5-5-20260901"] = 2,
    ["claude-opus-5-6"] = 3,
    ["claude-opus-7-x"] = 7,
    ["gpt-5-2025-08-07"] = 4,
    ["gpt-5-mini"] = 5,
    ["gpt-5.5"] = 6,
    ["gpt-595"] = 5, -- the dot is a dot
    ["llama3.1:8b"] = 5,
  }

  for id, n in pairs(expected) do
    it("knows " .. id, function()
      assert.equal(n, models.find(id, rows).n)
    end)
  end

  it("gives nil for what is not there", function()
    assert.is_nil(models.find("llama", { ["claude-*"] = {} }))
  end)
end)

describe("models.limits", function()
  local function provider(model, info)
    return { name = "x", model = model, model_info = info and function() return info end }
  end

  it("takes the server's word first", function()
    assert.same({ context_window = 5000, max_output = 1000, source = "server" },
      models.limits(provider("claude-haiku-4-5", { context_window = 5000, max_output = 1000 })))
  end)

  it("fills up from the table", function()
    assert.same({ context_window = 5000, max_output = 64000, source = "server" },
      models.limits(provider("claude-haiku-4-5", { context_window = 5000 })))
    assert.same({ context_window = 200000, max_output = 64000, source = "table" },
      models.limits(provider("claude-haiku-4-5-20251001")))
  end)

  it("falls back on defaults.limits, also when the server does not answer", function()
    local one = { name = "x", model = "nobody-knows", model_info = function() return nil, "no" end }
    assert.same({ context_window = defaults.limits.context_window,
      max_output = defaults.limits.max_output, source = "default" }, models.limits(one))
  end)
end)

describe("models.price", function()
  it("is of the table", function()
    assert.equal(5, models.price("claude-opus-5").input)
    assert.equal(5, models.price({ name = "anthropic", model = "claude-opus-5",
      url = "https://api.anthropic.com/v1/messages" }).input)
  end)

  it("is nil for what nobody knows, never 0", function()
    assert.is_nil(models.price("nobody-knows"))
    assert.is_nil(models.price({ name = "openai", model = "nobody-knows",
      url = "https://127.0.0.1.example.org/v1" }))
    assert.is_nil(models.price({ name = "openai", model = "x", url = "https://a.org/localhost" }))
  end)

  it("is nothing for scripts and local servers", function()
    for _, one in ipairs({
      { name = "scripted", model = "scripted/x.lua" },
      { name = "ollama", model = "llama3.1:8b", url = "http://gpu.local:11434/v1" },
      { name = "openai", model = "qwen", url = "http://localhost:8080/v1" },
      { name = "openai", model = "qwen", url = "http://user:pw@127.0.0.2:8080/v1" },
      { name = "openai", model = "qwen", url = "http://[::1]:8080/v1" },
    }) do
      assert.equal(0, models.cost({ input_tokens = 1000 }, models.price(one)))
    end
  end)

  it("is that of the table for a gateway on this machine", function()
    local price = models.price({ name = "openai", model = "gpt-4o",
      url = "http://localhost:4000/v1" })
    assert.equal(2.5, price.input)
  end)
end)

describe("models.cost", function()
  local price <const> = { input = 1, output = 5, cache_read = 0.1, cache_write = 1.25,
    cache_write_1h = 2 }

  local function near(expected, cost)
    assert.is_true(math.abs(expected - cost) < 1e-12, ("%.15g is not %.15g"):format(cost, expected))
  end

  it("adds up what each kind of token costs", function()
    near(1 + 5 + 0.1 + 1.25, models.cost({ input_tokens = 1000000, output_tokens = 1000000,
      cache_read_input_tokens = 1000000, cache_creation_input_tokens = 1000000 }, price))
  end)

  it("knows what is written to the cache for an hour", function()
    near(0.25 * 2 + 0.75 * 1.25, models.cost({ cache_creation_input_tokens = 1000000,
      cache_creation = { ephemeral_1h_input_tokens = 250000 } }, price))
  end)

  it("takes the input's price where the cache has none", function()
    near(3, models.cost({ input_tokens = 1000000, cache_read_input_tokens = 1000000,
      cache_creation_input_tokens = 1000000 }, { input = 1, output = 5 }))
  end)

  it("changes the price of the whole call with the length of its prompt", function()
    local haiku = models.price("claude-haiku-5-5")
    near(0.01 + 0.0005, models.cost({ input_tokens = 100000, output_tokens = 1000 }, haiku))
    near(0.5 * 0.05 + 0.05 * 0.050001 + 2.5e-3, models.cost({ input_tokens = 50000,
      cache_read_input_tokens = 50001, output_tokens = 1000 }, haiku))
  end)

  it("is nil without a price", function()
    assert.is_nil(models.cost({ input_tokens = 1 }, nil))
  end)
end)
