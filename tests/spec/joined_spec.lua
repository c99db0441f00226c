local joined = require("agenthost.joined")
local json = require("agenthost.json")

local function piece(role, text)
  return { role = role, blocks = json.encode({ type = "text", text = text }) }
end

-- What the parts have to say, made anew.
local function expected(pieces, changed)
  local messages = {}
  for i, one in ipairs(pieces) do
    local last = messages[#messages]
    if not last or last.role ~= one.role then
      last = { role = one.role, content = json.array() }
      messages[#messages + 1] = last
    end
    last.content[#last.content + 1] = json.decode((changed and changed[i] or one).blocks)
  end
  return messages
end

local function check(one, pieces, changed)
  local text = table.concat(one:parts(pieces, changed))
  assert.same(#pieces == 0 and {} or expected(pieces, changed), json.decode(text))
  return text
end

describe("agenthost.joined", function()
  it("joins what is there, and what comes", function()
    local one, pieces = joined.new(), {}
    check(one, pieces)
    math.randomseed(1)
    for i = 1, 200 do
      local role = math.random() < 0.5 and "user" or "assistant"
      pieces[i] = piece(role, ("x"):rep(math.random(3000)))
      if i % 3 == 0 then
        local text = check(one, pieces)
        assert.equal(text, table.concat(one:parts(pieces)))
        assert.equal(text, table.concat(joined.new():parts(pieces)))
      end
    end
  end)

  it("keeps long texts, and few of them", function()
    local one, pieces = joined.new(), {}
    for i = 1, 1000 do
      pieces[i] = piece(i % 2 == 0 and "user" or "assistant", ("x"):rep(1000))
      one:parts(pieces)
    end
    local parts = one:parts(pieces)
    assert.is_true(#parts < 70, #parts .. " parts")
    assert.is_true(rawequal(parts[2], one:parts(pieces)[2]))
  end)

  it("sends other pieces in place of some, once", function()
    local one, pieces = joined.new(), {}
    for i = 1, 10 do
      pieces[i] = piece(i % 2 == 0 and "assistant" or "user", "text " .. i)
    end
    local plain = check(one, pieces)
    check(one, pieces, { [9] = piece("user", "other"), [10] = piece("assistant", "last") })
    check(one, pieces, { [2] = piece("assistant", "other") })
    assert.equal(plain, check(one, pieces))
  end)

  it("begins anew with another list, or other pieces in it", function()
    local one = joined.new()
    local pieces = { piece("user", "a"), piece("assistant", "b"), piece("user", "c") }
    check(one, pieces)
    check(one, { piece("user", "d"), piece("assistant", "e"), piece("user", "f") })
    check(one, pieces)
    pieces[2] = piece("user", "g")
    check(one, pieces)
    pieces[3], pieces[2] = nil, nil
    check(one, pieces)
    pieces[1] = nil
    check(one, pieces)
  end)
end)
