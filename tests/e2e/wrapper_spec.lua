-- stream-json both ways, as a strict wrapper in Python reads it.
local case = require("support.case")
local json = require("agenthost.json")
local program = require("support.program")
local stress = require("support.stress")

local t

before_each(function()
  t = case.new()
end)

after_each(function()
  t:finish()
end)

-- What the wrapper has read: see support/wrapper.py.
local function wrapped(prompts, ...)
  local result = t:run({ command = { "python3", "-S", stress.tests .. "/support/wrapper.py",
    json.encode(json.array(prompts)), program.path }, "-p", "--verbose",
    "--input-format", "stream-json", "--output-format", "stream-json", ... })
  assert.equal(0, result.code, result.stderr)
  return assert(json.decode(result.stdout))
end

local function bash(command)
  return { name = "bash", input = { command = command } }
end

describe("a wrapper that reads strictly", function()
  for name, flags in pairs({ ["whole messages"] = {},
    ["messages while they come"] = { "--include-partial-messages" } }) do
    it("takes several prompts, tools and thoughts, as " .. name, function()
      t:script({ thinking = "Hm.", text = "Look.", tools = { bash("printf '\\342\\200\\250\\n'"),
        bash("exit 3"), { name = "none", input = {} } } }, { text = "One." }, { text = "Two." })
      local read = wrapped({ "First", { { type = "text", text = "Second" }, { type = "image",
        source = { type = "base64", media_type = "image/png", data = "AAAA" } } } },
        table.unpack(flags))
      assert.same({ { "success", "One.", 2 }, { "success", "Two.", 1 } }, read.results)
      assert.same({ "tool_use", "end_turn", "end_turn" }, read.replies)
      assert.same(#flags > 0 and { "Look.", "One.", "Two." } or {}, read.streamed)
      assert.equal("image", t.server.requests()[3].body.messages[5].content[2].type)
    end)
  end

  it("is told of an error in the middle, and goes on", function()
    t:script({ text = "One." }, { fault = { status = 400, message = "no\nmore" } },
      { text = "Three." })
    local read = wrapped({ "1", "2", "3" }, "--include-partial-messages")
    assert.equal(1, read.code)
    assert.same({ "success", "error_during_execution", "success" },
      { read.results[1][1], read.results[2][1], read.results[3][1] })
    assert.matches("more", read.results[2][2], 1, true)
  end)

  it("gets a reply that broke off once more, from its beginning", function()
    t:script({ text = "One two three.", fault = { error_event = { after_events = 4 } } },
      { text = "One two three." })
    local read = wrapped({ "1" }, "--include-partial-messages")
    assert.same({ "One two three." }, read.streamed)
    assert.same({ { "success", "One two three.", 1 } }, read.results)
  end)

  it("is told of limits and of what was not allowed", function()
    t.place:settings(nil)
    t:serve({ tools = { bash("true") } })
    local read = wrapped({ "1" }, "--max-turns", "2")
    assert.equal("error_max_turns", read.results[1][1])
    assert.equal(2, read.denials)
  end)

  it("sees notices and their runs as messages", function()
    local background = { name = "background_run", input = { command = "sleep 0.3; echo out" } }
    t:script({ tools = { background } },
      { text = "Started." }, { when = { last_user_contains = "completed: out" }, text = "Ended." })
    assert.same({ { "success", "Ended.", 3 } }, wrapped({ "1" }).results)
  end)
end)
