--- What servers are asked beside the calls: models, limits and counts; and finding local ones.
local anthropic = require("agenthost.provider.anthropic")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local discover = require("agenthost.provider.discover")
local fake = require("support.fake")
local openai = require("agenthost.provider.openai")
local support = require("support.anthropic")
local sys = require("agenthost.sys")

-- A server that has these pages, and no others.
local function serve(pages)
  return fake.start({ quirks = { "no_key" }, rules = {}, pages = pages }, { api = "openai" })
end

-- What it was asked for.
local function seen(server)
  local lines = {}
  for _, entry in ipairs(server.log()) do
    if entry.kind == "request" then
      lines[#lines + 1] = entry.method .. " " .. entry.path
    end
  end
  return lines
end

local function model_of(server, fields)
  local opts = { model = "m", base_url = server.url }
  for name, value in pairs(fields or {}) do
    opts[name] = value
  end
  return openai.new(opts)
end

describe("model_info", function()
  it("of vLLM, OpenRouter and Groq is in their list", function()
    local server <close> = serve({ ["GET /v1/models"] = { data = {
      { id = "m", max_model_len = 8192 },
      { id = "r", context_length = 9000, top_provider = { max_completion_tokens = 700 } },
      { id = "g", context_window = 9001, max_completion_tokens = 701 } } } })
    assert.same({ context_window = 8192 }, model_of(server):model_info())
    assert.same({ context_window = 9000, max_output = 700 },
      model_of(server, { model = "r" }):model_info())
    assert.same({ context_window = 9001, max_output = 701 },
      model_of(server, { model = "g" }):model_info())
    assert.same({ { id = "m", context_window = 8192 },
      { id = "r", context_window = 9000, max_output = 700 },
      { id = "g", context_window = 9001, max_output = 701 } }, model_of(server):list_models())
  end)

  it("of llama.cpp is what a slot has, whatever the model could take", function()
    local server <close> = serve({
      ["GET /v1/models"] = { data = { { id = "x.gguf", owned_by = "llamacpp",
        meta = { n_ctx_train = 131072 } } } },
      ["GET /props"] = { default_generation_settings = { n_ctx = 4096 } } })
    local p = model_of(server)
    assert.same({ context_window = 4096 }, p:model_info())
    assert.same({ context_window = 4096 }, p:model_info())
    assert.equal(2, #seen(server)) -- asked once
  end)

  it("of Ollama is num_ctx, from the model or from what is loaded", function()
    local list = { data = { { id = "m", owned_by = "library" } } }
    local shown = { model_info = { ["qwen.context_length"] = 40960, x = 1 } }
    local server <close> = serve({ ["GET /v1/models"] = list, ["POST /api/show"] = shown,
      ["GET /api/ps"] = { models = { { name = "m", context_length = 8192 } } } })
    assert.same({ context_window = 8192, cuts = true }, model_of(server):model_info())
    shown.parameters = "stop  \"x\"\nnum_ctx     2048"
    local second <close> = serve({ ["GET /v1/models"] = list, ["POST /api/show"] = shown })
    assert.same({ context_window = 2048, cuts = true }, model_of(second):model_info())
    assert.same({ "GET /v1/models", "POST /api/show" }, seen(second))
    shown.parameters = nil
    local third <close> = serve({ ["GET /v1/models"] = list, ["POST /api/show"] = shown })
    local p = model_of(third)
    assert.same({ context_window = defaults.ollama_context, cuts = true }, p:model_info())
    assert.is_nil(p.info) -- not certain: asked again when the model is loaded
  end)

  it("is nil when nobody answers, and OpenAI itself is not asked", function()
    assert.is_nil(openai.new({ model = "m", api_key = "k" }):model_info())
    local nowhere = openai.new({ model = "m", base_url = "http://127.0.0.1:1" })
    assert.is_nil(nowhere:model_info())
    local list, message, code = nowhere:list_models()
    assert.same({ "nil", "string", "CONNECT" }, { type(list), type(message), code })
    local server <close> = fake.start({ rules = {} }, { api = "openai" }) -- which wants a key
    list, message, code = model_of(server):list_models()
    assert.same({ "nil", "AUTH" }, { type(list), code })
    assert.matches("wants a key, set OPENAI_API_KEY", message)
    assert.is_nil(model_of(server):model_info())
  end)
end)

describe("Anthropic's provider", function()
  after_each(support.stop)

  it("lists its models and knows the limits of its own", function()
    support.serve({ models = { "claude-test-1", { id = "claude-test-2", max_input_tokens = 7,
      display_name = "Two" } }, rules = {} })
    local list = assert(support.provider():list_models())
    assert.same({ id = "claude-test-2", name = "Two", context_window = 7, max_output = 64000 },
      list[2])
    local p = support.provider()
    assert.same({ context_window = 200000, max_output = 64000 }, p:model_info())
    p:model_info()
    assert.is_nil(support.provider({ model = "a/b c" }):model_info())
    local asked = {}
    for _, entry in ipairs(support.server.log()) do
      asked[#asked + 1] = entry.path
    end
    assert.same({ "/v1/models?limit=1000", "/v1/models/claude-test-1", "/v1/models/a%2Fb%20c" },
      table.move(asked, 1, 3, 1, {}))
  end)

  it("counts the tokens of a request", function()
    support.serve({ rules = {} })
    local count = support.provider():count_tokens(support.request({ system = "s",
      extra = { max_tokens = 5, thinking = { type = "adaptive" } } }))
    assert.is_true(count > 0)
    local result, message, code, details =
      support.provider({ api_key = "wrong-key" }):count_tokens(support.request())
    assert.same({ "nil", "AUTH", false }, { type(result), code, details.retryable })
    assert.matches("ANTHROPIC_API_KEY was refused", message)
  end)

  it("says so where a server cannot count", function()
    local server <close> = serve({})
    local p = anthropic.new({ model = "m", base_url = server.url })
    assert.equal("UNSUPPORTED", select(3, p:count_tokens(support.request())))
    assert.equal("UNSUPPORTED", select(3, model_of(server):count_tokens(support.request())))
  end)
end)

describe("discovery", function()
  local saved

  before_each(function()
    saved = defaults.local_servers
  end)

  after_each(function()
    defaults.local_servers = saved
  end)

  it("decides per server how to speak with it", function()
    local ollama <close> = fake.start({ quirks = { "no_key" }, rules = {}, models = {
      { id = "nomic-embed-text", owned_by = "library" }, { id = "q", owned_by = "library" } } },
      { api = "openai" })
    local other <close> = serve({ ["GET /v1/models"] = { data = {
      { type = "model", id = "claude-x", display_name = "X" } } } })
    local silent <close> = fake.start({ rules = {} }) -- it wants a key
    defaults.local_servers = { ollama.url, other.url, silent.url, "http://127.0.0.1:1" }
    local found
    for _ = 1, 20 do -- a busy machine may take longer than the tenth of a second that it has
      found = discover.find()
      if #found == 2 then
        break
      end
    end
    assert.same({ { url = ollama.url, model = "q", name = "ollama", api = "openai" },
      { url = other.url, model = "claude-x", name = "llamacpp", api = "anthropic" } }, found)
  end)

  it("does not wait for a server that does not answer", function()
    local slow <close> = fake.start({ rules = {} }) -- stopped below, so that it accepts and is mute
    os.execute("kill -STOP " .. slow.pid)
    defaults.local_servers = { slow.url }
    local started = sys.now()
    assert.same({}, async.run(discover.find))
    assert.is_true(sys.now() - started < 20)
  end)
end)
