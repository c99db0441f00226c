-- `agenthost models`: what the configured providers offer.
local case = require("support.case")
local fake = require("support.fake")
local json = require("agenthost.json")

local t, other

before_each(function() t = case.new() end)

after_each(function()
  if other then
    other.stop()
    other = nil
  end
  t:finish()
end)

local function serve_two()
  t.server = fake.start({ rules = { { text = "never" } }, models = {
    { id = "claude-haiku-4-5", max_input_tokens = 123456, max_tokens = 7890 },
    "claude-nobody-knows",
  } })
end

local function list(opts)
  local result = t:run(opts)
  return json.decode(result.stdout), result
end

describe("agenthost models", function()
  it("shows a table: the server's limits, the prices of the table, ? for the rest", function()
    serve_two()
    local result = t:run({ "models" })
    assert.equal(0, result.code, result.stderr)
    assert.equal("", result.stderr)
    assert.same({
      "MODEL                             CONTEXT  MAX OUTPUT  PRICE PER MILLION TOKENS IN / OUT",
      "anthropic/claude-haiku-4-5        123,456       7,890  $1 / $5",
      "anthropic/claude-nobody-knows     200,000      64,000  ?",
    }, case.lines(result.stdout))
  end)

  it("gives the same as JSON", function()
    serve_two()
    local models, result = list({ "models", "--json" })
    assert.equal(0, result.code)
    assert.equal(2, #models)
    assert.same({ provider = "anthropic", id = "claude-haiku-4-5", name = "claude-haiku-4-5",
      context_window = 123456, max_output = 7890,
      price = { input = 1, output = 5, cache_read = 0.1, cache_write = 1.25 } }, models[1])
    assert.equal(json.null, models[2].price)
  end)

  it("shows each configured provider; one that fails is a line, the others are listed", function()
    serve_two()
    local models, result = list({ "models", "--json", env = { OPENAI_API_KEY = "sk-secret-0123456",
      OPENAI_BASE_URL = "http://127.0.0.1:9/v1" } })
    assert.equal(0, result.code)
    assert.equal(2, #models)
    assert.equal(1, #case.lines(result.stderr), result.stderr)
    assert.truthy(result.stderr:find("^agenthost: openai: .*127%.0%.0%.1"), result.stderr)
    assert.falsy(result.stderr:find("sk-secret", 1, true))
  end)

  it("shows OpenAI's models and those of a local server, which cost nothing", function()
    t.server = fake.start({ rules = { { text = "never" } }, models = { "gpt-4o" } },
      { api = "openai" })
    other = fake.start({ rules = { { text = "never" } }, models = { "llama3.1:8b" },
      quirks = { "no_key" } }, { api = "openai" })
    local models, result = list({ "models", "--json", server = false, env = {
      OPENAI_API_KEY = "test-key", OPENAI_BASE_URL = t.server.base_url, OLLAMA_HOST = other.url } })
    assert.equal("", result.stderr)
    assert.equal(2, #models)
    assert.same({ "openai", "gpt-4o", 128000, 2.5 }, { models[1].provider, models[1].id,
      models[1].context_window, models[1].price.input })
    assert.same({ "ollama", "llama3.1:8b", json.null, 0 }, { models[2].provider, models[2].id,
      models[2].context_window, models[2].price.input })
    local text = t:run({ "models", server = false, env = { OLLAMA_HOST = other.url } }).stdout
    assert.matches("ollama/llama3.1:8b +%? +%?  free\n", text)
  end)

  it("fails when no provider answers", function()
    t.refusals_expected = true
    serve_two()
    local result = t:run({ "models", env = { ANTHROPIC_API_KEY = "wrong-key-0123" } })
    assert.equal(1, result.code)
    assert.equal(1, #case.lines(result.stderr), result.stderr)
    assert.truthy(result.stderr:find("ANTHROPIC_API_KEY was refused", 1, true), result.stderr)
    assert.falsy(result.stderr:find("wrong-key", 1, true))
  end)

  it("says what to do when nothing is configured", function()
    local result = t:run({ "models" })
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    assert.equal("agenthost: no provider is configured: set ANTHROPIC_API_KEY or OPENAI_API_KEY, "
      .. "or start a local model server\n", result.stderr)
  end)

  it("shows what a server says cleaned", function()
    t.server = fake.start({ rules = { { text = "never" } },
      models = { { id = "evil\27[2J\nmodel" } } })
    local result = t:run({ "models" })
    assert.falsy(result.stdout:find("\27", 1, true))
    assert.equal(2, #case.lines(result.stdout), result.stdout)
  end)

  it("knows no other words", function()
    for _, words in ipairs({ { "models", "x" }, { "models", "--json", "x" } }) do
      local result = t:run(words)
      assert.equal(2, result.code)
      assert.truthy(result.stderr:find("agenthost models [--json]", 1, true))
    end
    assert.equal(0, t:run({ "models", "--help" }).code)
  end)
end)
