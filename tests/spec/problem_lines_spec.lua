-- What is wrong with an input is one clean line that is not too long, whatever the input is. It is
-- for the model or a terminal. In each case a fuzzer (tests/fuzz) found it to be otherwise.
local defaults = require("agenthost.defaults")
local front_matter = require("agenthost.front_matter")
local rules = require("agenthost.permission_rules")
local schema = require("agenthost.schema")
local shell_check = require("agenthost.shell_check")
local skills = require("agenthost.skills")
local text = require("agenthost.text")

local LONG <const> = ("x"):rep(100000)

local function assert_line(message)
  assert.is_string(message)
  assert.is_true(#message <= 4 * defaults.text.problem, #message .. " bytes")
  assert.is_nil(message:find("[%c]"))
  assert.equal(message, (text.clean(message)))
end

local function refused(input)
  local ok, message = pcall(schema.from_input, input)
  assert.is_false(ok)
  return message
end

describe("a problem is one line", function()
  it("with forms inside forms: each level repeated those of the next", function()
    local form = { type = "object", required = { "a" } }
    for _ = 1, 14 do
      form = { anyOf = { form, form } }
    end
    local message = schema.check({}, schema.from_input({ type = "object", anyOf = { form } }))
    assert_line(message)
    assert.matches("^input fits none of its forms: input fits none of its forms: ", message)
  end)

  it("with the names of fields that a model made up", function()
    local closed = schema.from_input({ a = "string?" })
    closed.additionalProperties = false
    local nested = { type = "object", additionalProperties = { type = "string" } }
    for _, name in ipairs({ "b\nc", "\27[31m\xFF", LONG }) do
      assert_line(schema.check({ [name] = 1 }, closed))
      assert_line(schema.check({ [name] = 1 }, nested))
    end
    assert.equal("b c is not known; there are a", schema.check({ ["b\nc"] = 1 }, closed))
  end)

  it("with what stands in a schema", function()
    for _, word in ipairs({ "b\nc", "\27[31m\xFF", LONG }) do
      assert_line(refused({ a = word }))
      assert_line(refused({ [word] = 1 }))
      assert_line(refused({ a = { type = word } }))
      assert_line(refused({ type = "object", properties = { [word] = 1 } }))
    end
  end)

  it("with an escape before a character of several bytes: half of it was told", function()
    assert.same({ nil, "line 2: unknown escape \\é in a quoted value" },
      { front_matter.parse("---\na: \"\\é\"\n---\n") })
  end)

  it("with long keys and names of a SKILL.md", function()
    assert_line(select(2, front_matter.parse(("---\n%s: a\n%s: a\n---\n"):format(LONG, LONG))))
    assert_line(select(2, skills.parse(("---\nname: %s\ndescription: a\n---\n"):format(LONG))))
  end)

  it("with a rule that is none", function()
    for _, word in ipairs({ "b\nc", "\27[31m\xFF", LONG }) do
      assert_line(select(2, rules.parse("(" .. word)))
      assert_line(select(2, rules.parse("bash($(" .. word .. "))")))
    end
  end)

  it("with words of a command", function()
    for _, word in ipairs({ "b\nc", "b\xFF", ("x"):rep(60000) }) do
      assert_line(shell_check.read("find '-exec " .. word .. "'").problem)
      assert_line(shell_check.read("cd a; './" .. word .. "'").problem)
    end
  end)
end)
