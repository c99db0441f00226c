-- A conversation that does not fit any more, against the strict server: it takes no request in
-- which a tool_use has lost its result, or what was thought has changed.
local case = require("support.case")
local tmux = require("support.tmux")

local SUMMING_UP <const> = { last_user_contains = "Write the summary now." }

describe("a conversation that becomes too long", function()
  local t

  before_each(function()
    t = case.new()
    t.models = { { id = "claude-test-1", max_input_tokens = 112000, max_tokens = 16000 } }
  end)

  after_each(function()
    t:finish()
  end)

  -- A turn that prints 1,500 bytes; two calls, and a thought that has to come back unchanged.
  local function turn(usage)
    local input = { command = "printf '%01500d' 7" }
    return { thinking = "Let me see.", times = 1, usage = usage,
      tools = { { name = "bash", input = input }, { name = "bash", input = input } } }
  end

  -- The model requests, those for a summary apart.
  local function requests()
    local plain, summing_up = {}, {}
    for _, request in ipairs(t.server.requests()) do
      local list = case.last_text(request.body):find("Write the summary now.", 1, true)
        and summing_up or plain
      list[#list + 1] = request.body
    end
    return plain, summing_up
  end

  local function assert_compacted(body)
    local first = body.messages[1].content
    assert.matches("^<conversation%-summary>\n.*\n\nWhat was.\n</conversation%-summary>$",
      first[1].text)
    assert.equal("Look around.", first[2].text)
    assert.equal("thinking", body.messages[2].content[1].type)
    assert.is_true(#body.messages < 8)
  end

  it("goes on with a summary when the server refuses it", function()
    t:serve({ when = SUMMING_UP, text = "What was." }, turn(), turn(), turn(), turn(),
      { fault = { status = 400, message = "prompt is too long: 200001 tokens > 200000 maximum" },
        times = 1 }, turn(), { text = "Done." })
    local result = t:run({ "-p", "Look around.", "--verbose" })
    assert.equal("Done.\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
    local plain, summing_up = requests()
    assert.is_true(#summing_up >= 1) -- how large the window is was not said, so it is thought small
    assert.is_nil(summing_up[1].tools)
    assert.equal(7, #plain)
    assert_compacted(plain[6])
    assert.matches("agenthost: compacted: about [%d,]+ → [%d,]+ tokens %(%d+ messages summed up%)",
      result.stderr)
  end)

  it("becomes a summary before that, by what the server counts", function()
    t:serve({ when = SUMMING_UP, text = "What was." }, turn(), turn(), turn(),
      turn({ input_tokens = 90000 }), { text = "Done." })
    local result = t:run({ "-p", "Look around." })
    assert.equal("Done.\n", result.stdout, result.stderr)
    assert.equal("", result.stderr)
    local plain, summing_up = requests()
    assert.same({ 5, 1 }, { #plain, #summing_up })
    assert_compacted(plain[5])
  end)

  it("says so on a terminal", function()
    t:serve({ when = SUMMING_UP, text = "What was." }, turn(), turn(), turn(),
      turn({ input_tokens = 90000 }), { text = "Done." })
    local words = t.place:words({ server = t.server, env = { TERM = "screen" } })
    local term = tmux.start({ command = words, cwd = t.place.work, width = 100 })
    term:wait_for("\n> *$", 30)
    term:type("Look around.")
    term:keys("Enter")
    local shown = term:wait_for("Done%..*\n> *$", 30)
    term:keys("C-d")
    term:close()
    assert.matches("\nsumming up the older part of the conversation %.%.%.\n"
      .. "compacted: about 9[%d,]+ → [%d,]+ tokens %(%d+ messages summed up%)\nDone", shown)
  end)

  it("goes on without one when that fails, and says so", function()
    t:serve({ when = SUMMING_UP, fault = { status = 403, message = "no summaries today" } },
      turn(), turn(), turn(), turn({ input_tokens = 90000 }), { text = "Done." })
    local result = t:run({ "-p", "Look around." })
    assert.equal("Done.\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
    assert.matches("^agenthost: compacted: .*summing up failed: .*no summaries today.*%)\n$",
      result.stderr)
  end)

  it("ends with what to do when there is nothing to make shorter", function()
    t:serve({ fault = { status = 400, message = "prompt is too long: 9 tokens > 8 maximum" } })
    local result = t:run({ "-p", "Look around." })
    assert.equal(1, result.code)
    assert.matches("^agenthost: .*prompt is too long: 9 tokens > 8 maximum.*begin a new one, with "
      .. "less input at once, or take a model with a larger context window\n$", result.stderr)
    assert.equal(1, #t.server.requests())
  end)
end)
