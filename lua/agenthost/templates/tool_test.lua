-- Run with: agenthost test my_tool_test.lua (see `agenthost help testing`)
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("my_tool", function()
  -- As a model would call it: the input is checked, and the result is what a model gets.
  local function call(input)
    return testing.call("./my_tool.lua", input, { files = { ["notes.txt"] = "one\n\ntwo\n" } })
  end

  it("counts lines", function()
    assert.equal("notes.txt has 3 lines", (call({ path = "notes.txt" })))
  end)

  it("leaves out empty lines when it is asked to", function()
    assert.equal("notes.txt has 2 lines", (call({ path = "notes.txt", skip_empty = true })))
  end)

  it("says what is wrong", function()
    local content, is_error = call({ path = "missing.txt" })
    assert.is_true(is_error)
    assert.contains("missing.txt", content)
    assert.matches("^Error: path is missing", (call({})))
  end)

  it("is used in a run", function()
    local t = testing.agent({
      -- Each line is one turn of the model: tool calls, or a text, which ends the run.
      model = {
        { tools = { { "my_tool", { path = "notes.txt" } } } },
        "Three lines.",
      },
      plugins = { "./my_tool.lua" },
      files = { ["notes.txt"] = "one\n\ntwo\n" },
    })
    assert.equal("Three lines.", t:run("How long is notes.txt?"))
    t:assert_sent("notes.txt has 3 lines")
  end)
end)
