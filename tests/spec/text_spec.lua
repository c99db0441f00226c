local text = require "agenthost.text"

local FFFD <const> = "\u{FFFD}"

---The message of the error that `fn` raises.
local function raised(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  return message
end

describe("text.clean", function()
  it("gives the clean text and what it found", function()
    local clean, info = text.clean("\27[31mred\27[0m\r\n10%\r100%\ncaf\xe9\n")
    assert.equal("red\n100%\ncaf" .. FFFD .. "\n", clean)
    assert.same({ binary = false, replaced = 1, bytes = 28 }, info)
  end)

  it("tells binary data", function()
    assert.is_true(select(2, text.clean("\x89PNG\r\n\x1a\n\0\0\0\rIHDR")).binary)
    assert.is_true(select(2, text.clean("\xff\xfeh\0i\0")).binary)
    assert.is_false(select(2, text.clean("")).binary)
  end)

  it("is quick and complete with long input", function()
    local line = "a line with \27[1mcolour\27[0m and \xe6\x97\xa5\r\n"
    local clean = text.clean(line:rep(100000))
    assert.equal(("a line with colour and \xe6\x97\xa5\n"):rep(100000), clean)
  end)

  it("refuses what is no string, at the caller's line", function()
    assert.matches("text_spec.lua:%d+: bad argument #1 to 'clean' %(string expected, got nil%)",
      raised(function()
        local clean = text.clean(nil)
        return clean
      end))
    assert.matches("string expected, got number", raised(text.clean, 12))
  end)
end)

describe("text.filter", function()
  it("gives the same whatever the chunks", function()
    local input = "a\27]0;title\7b\xe2\x82\xacc\r\nd\27[1;31me\u{202e}f\xff"
    local expected = "ab\u{20ac}c\ndef" .. FFFD
    for split = 0, #input do
      local filter = text.filter()
      local clean = filter:feed(input:sub(1, split)) .. filter:feed(input:sub(split + 1))
      assert.equal(expected, clean .. filter:finish())
    end
  end)

  it("holds back what is not certain and is ready for another text", function()
    local filter = text.filter { cr = "newline" }
    assert.equal("a", filter:feed("a\r"))
    assert.equal("\nb", filter:feed("b\xe2\x82"))
    assert.equal(FFFD, filter:finish())
    assert.equal("c", filter:feed("c\27["))
    assert.equal("", filter:finish())
    assert.equal("31m", filter:feed("31m"))
  end)

  it("rejects unknown options and foreign objects", function()
    assert.matches("unknown option 'rc'", raised(text.filter, { rc = "drop" }))
    assert.matches("option 'cr': expected 'drop' or 'newline'", raised(text.filter, { cr = "x" }))
    assert.matches("agenthost.text.Filter expected", raised(text.filter().feed, io.stdout, "x"))
  end)
end)

describe("text.preview", function()
  it("leaves a short text alone", function()
    assert.equal("short", text.preview("short"))
    assert.equal(("x"):rep(50000), text.preview(("x"):rep(50000)))
  end)

  it("keeps head and tail", function()
    assert.equal("01\n[... 6 characters left out ...]\n89", text.preview("0123456789", { max = 4 }))
    assert.equal("012\n[... 6 characters left out ...]\n9",
      text.preview("0123456789", { max = 4, head = 0.75 }))
    assert.matches("%[%.%.%. 1 characters left out", text.preview(("x"):rep(50001)))
  end)

  it("checks its options", function()
    assert.matches("unknown option 'maxx'; did you mean 'max'",
      raised(text.preview, "", { maxx = 1 }))
    assert.matches("option 'head': expected a number from 0 to 1, got 2",
      raised(text.preview, "", { head = 2 }))
    assert.matches("option 'head': expected a number", raised(text.preview, "", { head = 0 / 0 }))
    assert.matches("option 'max'", raised(text.preview, "", { max = -1 }))
  end)
end)

describe("text.escape and text.width", function()
  it("escapes markup", function()
    assert.equal("&lt;/notice&gt; &amp;amp;", text.escape("</notice> &amp;"))
    assert.equal("a\0b", text.escape("a\0b"))
  end)

  it("counts columns", function()
    assert.equal(5, text.width("hello"))
    assert.equal(4, text.width("\u{65e5}\u{672c}"))
    assert.equal(1, text.width("e\u{301}"))
    assert.equal(2, text.width("\u{1f600}"))
  end)
end)
