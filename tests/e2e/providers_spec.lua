--- Which provider the program takes, and whole runs over OpenAI's APIs.
local case <const> = require("support.case")
local fake <const> = require("support.fake")
local json <const> = require("agenthost.json")

local t, servers

before_each(function()
  t, servers = case.new(), {}
end)

after_each(function()
  local rejected
  for _, server in ipairs(servers) do
    for _, entry in ipairs(server.log()) do
      local is_ollama = entry.message and entry.message:find(" /api/%l+%)$") -- for limits
      rejected = rejected or entry.kind == "rejected" and not is_ollama and entry.message
    end
    server.stop()
  end
  t:finish()
  assert.is_falsy(rejected)
end)

local function serve(api, scenario)
  local server = fake.start(scenario, { api = api })
  servers[#servers + 1] = server
  return server
end

local function run(env, ...)
  return t:run({ server = false, env = env, ... })
end

local function openai_env(server, more)
  local env = { OPENAI_API_KEY = "test-key", OPENAI_BASE_URL = server.base_url,
    OPENAI_MODEL = "gpt-test-1" }
  for name, value in pairs(more or {}) do
    env[name] = value
  end
  return env
end

describe("the model", function()
  for _, api in ipairs({ "openai", "openai-responses" }) do
    it("of " .. api .. " runs tools in parallel and goes on", function()
      local server = serve(api, { quirks = { "max_tokens_only" }, rules = {
        { when = { has_tool_result = false }, thinking = "Hm.", text = "Looking.", tools = {
          { name = "bash", input = { command = "echo one" } },
          { name = "bash", arguments = '{"command":\n"echo two"}' } } },
        { text = "Done." } } })
      local result = run(openai_env(server), "-p", "Go.", "--model", api .. "/gpt-test-1")
      assert.equal("Done.\n", result.stdout:gsub("^Looking%.\n?", ""), result.stderr)
      assert.equal(0, result.code)
      local sent = server.requests()[2].body_text
      assert.matches("one", sent)
      assert.matches("two", sent)
    end)
  end

  it("is OpenAI's when only OPENAI_ variables are set, with any form of the URL", function()
    local server = serve("openai", { quirks = { "max_tokens_only" }, rules = { { text = "Hi." } } })
    for _, tail in ipairs({ "", "/", "/v1", "/v1/" }) do
      local result = run(openai_env(server, { OPENAI_BASE_URL = server.url .. tail }), "-p", "x")
      assert.equal("Hi.\n", result.stdout, result.stderr)
    end
  end)

  it("is Anthropic's when both keys are set", function()
    local server = serve("anthropic", { rules = { { text = "Hi from A." } } })
    local result = run({ OPENAI_API_KEY = "other", ANTHROPIC_API_KEY = "test-key",
      ANTHROPIC_BASE_URL = server.url, ANTHROPIC_MODEL = "claude-test-1" }, "-p", "x")
    assert.equal("Hi from A.\n", result.stdout, result.stderr)
  end)

  it("of ollama/ is asked at OLLAMA_HOST, and gets no key of others", function()
    local server = serve("openai", { quirks = { "no_key", "max_tokens_only" },
      rules = { { text = "Hi." } } })
    local result = run({ OPENAI_API_KEY = "not-for-you", OLLAMA_HOST = "0.0.0.0:" .. server.port },
      "-p", "x", "--model", "ollama/qwen:8b")
    assert.equal("Hi.\n", result.stdout, result.stderr)
    local request = server.requests()[1]
    assert.is_nil(request.headers.authorization)
    assert.equal("qwen:8b", json.decode(request.body_text).model)
  end)

  it("is a local server's when nothing else is there", function()
    local server = serve("openai", { quirks = { "no_key", "max_tokens_only" },
      models = { { id = "nomic-embed-text", owned_by = "library" },
        { id = "qwen:8b", owned_by = "library" } }, rules = { { text = "Hi." } } })
    local result = run({ OLLAMA_HOST = "http://127.0.0.1:" .. server.port }, "-p", "x")
    assert.equal("Hi.\n", result.stdout, result.stderr)
    assert.matches("using qwen:8b from the local server", result.stderr, 1, true)
  end)

  it("of a base URL without a name is the only one there is, else the user is asked", function()
    local server = serve("openai", { quirks = { "max_tokens_only" }, models = { "only-one" },
      rules = { { when = { model = "only-one" }, text = "Hi." } } })
    local result = run(openai_env(server, { OPENAI_MODEL = "" }), "-p", "x")
    assert.equal("Hi.\n", result.stdout, result.stderr)
    server = serve("openai", { models = { "a", "b" }, rules = {} })
    result = run(openai_env(server, { OPENAI_MODEL = "" }), "-p", "x")
    assert.matches("set OPENAI_MODEL, or say --model openai/<id> (there are a, b)",
      result.stderr, 1, true)
    assert.not_equal(0, result.code)
  end)

  it("that nobody knows gives a list of names; one without a key says which", function()
    local result = run({}, "-p", "x", "--model", "gpt")
    assert.matches("unknown model 'gpt': expected anthropic/<id>, openai/<id>, "
      .. "openai-responses/<id>, ollama/<id>, llamacpp, llamacpp/<id>, scripted/<file.lua> or "
      .. "replay/<file.jsonl>",
      result.stderr, 1, true)
    result = run({}, "-p", "x", "--model", "openai/gpt-x")
    assert.matches("the model openai/gpt-x needs a key: set OPENAI_API_KEY", result.stderr, 1, true)
  end)
end)
