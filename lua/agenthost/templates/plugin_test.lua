-- Run with: agenthost test my_plugin_test.lua (see `agenthost help testing`)
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("my_plugin", function()
  local t -- an agent with a workspace of its own

  before_each(function()
    t = testing.agent({ model = {}, plugins = { { "./my_plugin.lua", max = 2 } } })
  end)

  it("remembers", function()
    assert.equal("Nothing was remembered.", (t:call("recall")))
    assert.equal("Remembered; 1 so far.", (t:call("remember", { fact = "Tabs, not spaces." })))
    assert.equal("Tabs, not spaces.", (t:call("recall")))
  end)

  it("keeps no more than its option says", function()
    t:call("remember", { fact = "one" })
    t:call("remember", { fact = "two" })
    local content, is_error = t:call("remember", { fact = "three" })
    assert.equal("Error: there is room for 2 facts only", content)
    assert.is_true(is_error)
  end)

  it("is spoken of in the prompt", function()
    assert.contains("Use `remember`", t.agent.system)
  end)
end)
