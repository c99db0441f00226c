-- Run with: agenthost test examples/hello_test.lua
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("hello", function()
  it("greets", function()
    assert.equal("Hello, Ann!", (testing.call("./hello.lua", { name = "Ann" })))
  end)

  it("tells the model what is missing", function()
    local content, is_error = testing.call("./hello.lua", {})
    assert.matches("^Error: name is missing", content)
    assert.is_true(is_error)
  end)

  it("is used by an agent", function()
    local t = testing.agent({
      model = { { tools = { { "hello", { name = "Ann" } } } }, "I greeted her." },
      plugins = { "./hello.lua" },
    })
    assert.equal("I greeted her.", t:run("Greet Ann."))
    t:assert_sent("Hello, Ann!")
  end)
end)
