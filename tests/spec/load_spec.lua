-- Lua code is loaded as text only, and from absolute paths.
local temp = require("support.temp")

describe("loading Lua code", function()
  local dir, path
  local CODE <const> = string.dump(function() return "ran" end)

  before_each(function()
    dir, path = temp.directory(), package.path
  end)

  after_each(function()
    package.path = path
    temp.remove(dir)
  end)

  local REFUSED <const> = "attempt to load a binary chunk"

  it("refuses byte code, whatever the mode", function()
    local file = temp.write(dir .. "/code.lua", CODE)
    for _, mode in ipairs({ "b", "bt", "t" }) do
      assert.matches(REFUSED, select(2, load(CODE, "x", mode)))
      assert.matches(REFUSED, select(2, loadfile(file, mode)))
    end
    assert.matches(REFUSED, select(2, load(CODE)))
    assert.matches(REFUSED, select(2, load(coroutine.wrap(function()
      coroutine.yield(CODE)
    end))))
    assert.matches(REFUSED, select(2, loadfile(file)))
    assert.matches(REFUSED, temp.raised(dofile, file))
  end)

  it("refuses it in require", function()
    temp.write(dir .. "/byte_code.lua", CODE)
    temp.write(dir .. "/plain_text.lua", "return { ... }")
    temp.write(dir .. "/broken_text.lua", "return +")
    package.path = dir .. "/?.lua"
    local message = temp.raised(require, "byte_code")
    assert.matches("error loading module 'byte_code' from file", message)
    assert.matches(REFUSED, message)
    assert.same({ "plain_text", dir .. "/plain_text.lua" }, require("plain_text"))
    assert.matches("broken_text.lua:1: ", temp.raised(require, "broken_text"))
    assert.matches("no file '" .. dir:gsub("%p", "%%%0") .. "/not_there.lua'",
      temp.raised(require, "not_there"))
    package.loaded.plain_text = nil
  end)

  it("goes on as Lua does for text", function()
    assert.equal(3, load("return ...")(3))
    assert.equal(7, load("return x", "name", nil, { x = 7 })())
    assert.equal(7, load("return x", "name", "t", { x = 7 })())
    assert.has_error(function() load("return x.y", "name", "t", nil)() end)
    assert.matches('^%[string "chunk"%]:1:', select(2, load("+", "chunk")))
    local file = temp.write(dir .. "/a.lua", "return x, 2")
    assert.same({ 5, 2 }, { loadfile(file, nil, { x = 5 })() })
    assert.same({ nil, 2 }, { dofile(file) })
    assert.equal(1, coroutine.wrap(function()
      dofile(temp.write(dir .. "/b.lua", "coroutine.yield(1)"))
    end)())
  end)
end)
