local copy = require("agenthost.copy")

describe("copy", function()
  it("deep: a change within it is not one of the original, and metatables stay", function()
    local meta = { __index = { d = 4 } }
    local given = { a = { b = { 1 } }, c = setmetatable({}, meta) }
    given.again, given.me = given.a, given
    local made = copy.deep(given)
    made.a.b[1] = 2
    assert.equal(1, given.a.b[1])
    assert.equal(4, made.c.d)
    assert.is_true(rawequal(made.a, made.again) and rawequal(made, made.me))
  end)

  it("shallow: other fields, the same members, no metatable", function()
    local given = setmetatable({ a = { 1 }, b = 2 }, { __index = { d = 4 } })
    local made = copy.shallow(given)
    made.b = 3
    assert.equal(2, given.b)
    assert.is_true(rawequal(given.a, made.a))
    assert.is_nil(made.d)
  end)
end)
