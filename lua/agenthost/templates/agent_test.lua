-- Run with: agenthost test my_agent_test.lua (see `agenthost help testing`)
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("my_agent", function()
  -- The agent of the file with a model that says what the test wants: one entry is one turn.
  local function with(model, opts)
    opts = opts or {}
    opts.script, opts.model = "./my_agent.lua", model
    return testing.agent(opts)
  end

  it("knows the date", function()
    local t = with({ { tools = { { "today" } } }, "Done." })
    assert.equal("Done.", t:run("What day is it?"))
    assert.matches("^%d+%-%d%d%-%d%d$", t:assert_called("today").content)
  end)

  it("is told where it works", function()
    local t = with({ "Hello." })
    t:run("Hi")
    assert.contains(t.cwd, t.requests[1].system)
  end)

  it("runs no command that no rule allows, unless the user says yes", function()
    local calls = { { tools = { { "bash", { command = "touch made" } } } }, "Done." }
    local t = with(calls)
    t:run("Make a file.")
    assert.is_true(t:calls("bash")[1].refused)

    t = with(calls, { ask = function() return { allow = true } end })
    t:run("Make a file.")
    assert.equal("", t:read("made"))
  end)

  it("is told of the end of a slow command", function()
    local t = with({
      { tools = { { "background_run", { command = "make" } } } },
      "It runs.",
      function(request) return "I was told: " .. request.last end,
    }, {
      ask = function() return { allow = true } end,
      -- The command is played: it prints this, and fails after five minutes of the fake clock.
      tasks = { testing.fake_task({ command = "make", output = "2 errors\n", code = 2,
        after = 300 }) },
    })
    local clock = testing.fake_clock()
    assert.equal("It runs.", t:run("Build it."))
    assert.contains("2 errors", t:settle())
    assert.is_true(clock:elapsed() >= 300)
  end)
end)
