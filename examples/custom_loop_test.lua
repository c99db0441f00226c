-- Run with: agenthost test examples/custom_loop_test.lua
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("the careful loop", function()
  it("asks once more before it ends", function()
    local t = testing.agent({ script = "./custom_loop.lua", permissions = { mode = "acceptEdits" },
      model = {
        { tools = { { "write_file", { path = "a.txt", content = "teh" } } } },
        "Done.",
        { tools = { { "write_file", { path = "a.txt", content = "the" } } } },
        "Now it is right.",
      } })
    assert.equal("Now it is right.", t:run("Write an article."))
    assert.equal("the", t:read("a.txt"))
    t:assert_sent("Look at your work once more")
  end)

  it("ends with the failure of a call", function()
    local t = testing.agent({ script = "./custom_loop.lua",
      model = { { fail = { "no more", "GONE" } } } })
    local text, message, code = t:run("Hi")
    assert.same({ nil, "no more", "GONE" }, { text, message, code })
  end)
end)
