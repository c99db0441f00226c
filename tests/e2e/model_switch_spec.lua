-- /model in the middle of a conversation with tool calls and thinking: each direction between the
-- three APIs, against strict servers.
local case = require("support.case")
local fake = require("support.fake")
local interactive = require("support.interactive")

describe("/model", function()
  local t, term, other

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    local refused
    for _, entry in ipairs(other.log()) do
      refused = refused or entry.kind == "rejected" and entry.message
    end
    other.stop()
    t:finish()
    assert.is_falsy(refused)
  end)

  -- The replies of one run: it thinks, calls a tool, and says something.
  local function replies(rules, says)
    rules[#rules + 1] = { times = 1, thinking = "Hm.", text = "Looking.",
      tools = { { name = "bash", input = { command = "echo seen by " .. says } } } }
    rules[#rules + 1] = { times = 1, thinking = "Well.", text = says }
  end

  it("goes on with another provider, and back", function()
    local order = { "anthropic", "openai", "openai-responses", "anthropic", "openai-responses",
      "openai", "anthropic" }
    local rules = { anthropic = {}, openai = {} }
    for i, name in ipairs(order) do
      replies(rules[name == "anthropic" and name or "openai"], ("Answer %d."):format(i))
    end
    t.server = fake.start({ quirks = { "elsewhere" }, rules = rules.anthropic })
    other = fake.start({ quirks = { "elsewhere", "max_tokens_only" }, rules = rules.openai },
      { api = "openai" })
    term = interactive.start(t, { env = { OPENAI_API_KEY = "test-key",
      OPENAI_BASE_URL = other.base_url } })
    for i, name in ipairs(order) do
      local model = name == "anthropic" and "claude-test-1" or "gpt-test-1"
      term:say(("/model %s/%s"):format(name, model))
      term:wait_answer(model)
      term:say("Question " .. i)
      term:wait_answer(("Answer %d."):format(i))
    end
    term:say("/quit")
    assert.equal(0, term:wait_dead())
  end)
end)
