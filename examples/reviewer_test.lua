-- Run with: agenthost test examples/reviewer_test.lua
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("the reviewer", function()
  local function review(turns)
    return testing.agent({
      script = "./reviewer.lua",
      model = turns,
      files = { ["parser.lua"] = "return 1 / 0\n" },
      tasks = { testing.fake_task({ command = "make test", output = "1 failed: parser\n", code = 1,
        after = 120 }) },
    })
  end

  it("reads while the tests run, and is told how they end", function()
    local clock = testing.fake_clock()
    local t = review({
      { tools = { { "background_run", { command = "make test" } } } },
      { tools = { { "read_file", { path = "parser.lua" } } } },
      "parser.lua:1 divides by zero. I wait for the tests.",
      "The tests fail: parser.",
    })
    t:run("Review this.")
    assert.equal(0, clock:elapsed()) -- nobody has waited
    t:assert_sent("return 1 / 0")
    assert.equal("The tests fail: parser.", t:settle())
    t:assert_sent("1 failed: parser")
    assert.is_true(clock:elapsed() >= 120)
  end)

  it("changes nothing", function()
    local t = review({
      { tools = { { "write_file", { path = "parser.lua", content = "" } },
        { "background_run", { command = "rm parser.lua" } } } },
      "I may not.",
    })
    t:run("Mend it.")
    for _, call in ipairs(t:calls()) do
      assert.is_true(call.refused, call.name)
    end
    assert.equal("return 1 / 0\n", t:read("parser.lua"))
  end)
end)
