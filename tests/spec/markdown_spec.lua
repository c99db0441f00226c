-- agenthost.markdown, and a text that comes slowly.
local markdown = require("agenthost.markdown")
local text = require("agenthost.text")
local ui_markdown = require("agenthost.ui.markdown")

---The message of the error that `fn` raises.
local function raised(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  return message
end

describe("markdown.render", function()
  it("fits the width, with styles or without", function()
    local source = "Some **bold** words, `code` and [a link](http://x.y)."
    assert.equal("Some bold words,\n`code` and a link\n(http://x.y).\n",
      markdown.render(source, { width = 20 }))
    assert.equal("Some \27[1mbold\27[0m words, \27[36mcode\27[0m and a link "
      .. "\27[2m(http://x.y)\27[0m.\n", markdown.render(source, { colour = true }))
  end)

  it("checks its arguments", function()
    assert.matches("string expected, got nil", raised(markdown.render, nil))
    assert.matches("unknown option 'color'; did you mean 'colour'",
      raised(markdown.render, "", { color = true }))
    assert.matches("option 'width'", raised(markdown.render, "", { width = 0 }))
    assert.matches("option 'piece'", raised(markdown.cut, "", { piece = 1 }))
    assert.matches("unknown option 'widht'; did you mean 'width'",
      raised(ui_markdown.new, { widht = 1 }))
  end)
end)

describe("markdown.cut", function()
  it("gives the first piece when that is certain", function()
    assert.is_nil((markdown.cut("one\n\n")))
    assert.same({ 5, true, "" }, { markdown.cut("one\n\ntwo") })
    assert.same({ 1020, false, "~~~\n" },
      { markdown.cut("~~~\n" .. ("x"):rep(1015) .. "\n" .. ("y"):rep(9), { piece = 1024 }) })
  end)
end)

local SAMPLE <const> = ([[
# Title with `code`
Intro text right below, **bold**, *italic*, ~~gone~~, a [link](https://example.com/x) and
<http://a.b>.

Setext heading
==============

1. item one is quite long so that it has to be wrapped somewhere in the terminal
2. item **two**
   - sub with `code span`

     a paragraph inside
3. third
- [ ] open task
- [x] done task

> A quote that is long enough to be wrapped. 2 * 3, snake_case, [0]
>
> > nested **quote
> > with** two lines

```lua
local x = 1


  print("a long line of code that does not get wrapped, whatever the width is")
```

| Name | Wert | 日本語 |
| :--- | ---: | :----: |
| a | 1 | こんにちは |
| long cell text | 22 | ✅ ok |

***

Line one@@
line two\
line three &amp; an *unclosed one

日本語の文章は**空白がない**ので、どこでも改行できます。👩‍💻⚠️
]]):gsub("@", " ")

describe("a stream of Markdown", function()
  -- The whole output for a source that comes in pieces of these sizes, cleaned as the program does.
  local function stream(source, size, opts)
    local filter = text.filter()
    local self = ui_markdown.new(opts)
    local out = {}
    local at = 1
    while at <= #source do
      local bytes = size()
      out[#out + 1] = self:feed(filter:feed(source:sub(at, at + bytes - 1)))
      at = at + bytes
    end
    out[#out + 1] = self:feed(filter:finish())
    out[#out + 1] = self:finish()
    return table.concat(out)
  end

  local function options(width, piece)
    return { width = function() return width end, colour = true, piece = piece }
  end

  it("looks in the end as if it had come at once, whatever the pieces", function()
    for _, width in ipairs({ 20, 40, 80, 200 }) do
      local whole = markdown.render(SAMPLE, { width = width, colour = true })
      for size = 1, 40 do
        assert.equal(whole, stream(SAMPLE, function() return size end, options(width)))
      end
      assert.equal(whole, stream(SAMPLE, function() return #SAMPLE end, options(width)))
    end
  end)

  it("does so for texts of any kind", function()
    local atoms = { "foo", "bar ", " ", "\n", "\n\n", "*", "**", "_", "~~", "`", "``", "```\n",
      "- ", "1. ", "2) ", "> ", "# ", "|", "---\n", "===\n", "[", "](http://x.y/z)", "]", "!", "<",
      "<http://a.b>", "&amp;", "\\", "  ", "    ", "\t", "日本", "。", "é", "✅", "[ ] ", "[a]: b\n",
      "another word ", "12", "-", "+ ", "=", "snake_case", "**bold** ", "*it* ", "`code` ",
      "[t](u) ", "\n- item ", "\n  more", "\n  - sub ", "\n> q ", "\n```lua\ncode\n```\n",
      "\n| x | y |\n|---|---|\n| 1 | 2 |\n", "a | b\n" }
    math.randomseed(42)
    for _ = 1, 2000 do
      local parts = {}
      for i = 1, math.random(40) do
        parts[i] = atoms[math.random(#atoms)]
      end
      local source = table.concat(parts)
      local whole = markdown.render(source, { width = 30, colour = true })
      local got = stream(source, function() return math.random(7) end, options(30))
      assert.equal(whole, got, source)
    end
  end)

  it("shows words before their paragraph is complete", function()
    local self = ui_markdown.new(options(80))
    assert.equal("A paragraph that is long", self:feed("A paragraph that is long eno"))
    assert.equal(" enough", self:feed("ugh **for"))
    assert.equal("", self:feed(" it"))
    assert.equal(" \27[1mfor\27[0m \27[1mit\27[0m", self:feed("** and"))
    assert.equal(" and\n", self:feed("\n\n- x"))
    assert.equal("\n• xx\n• y\n", self:feed("x\n- y") .. self:finish())
  end)

  it("is ready for another text", function()
    local self = ui_markdown.new(options(80))
    for _ = 1, 2 do
      assert.equal("one\n\ntwo\n", self:feed("one\n\ntwo") .. self:finish())
      assert.equal("", self:finish())
    end
  end)

  it("asks for the width once a block", function()
    local width = 20
    local self = ui_markdown.new({ width = function() return width end, colour = true })
    local out = self:feed("aaaa bbbb cccc dddd eeee ff")
    width = 40
    out = out .. self:feed("ff gggg\n\naaaa bbbb cccc dddd eeee ffff gggg") .. self:finish()
    assert.equal("aaaa bbbb cccc dddd\neeee ffff gggg\n\naaaa bbbb cccc dddd eeee ffff gggg\n", out)
  end)

  it("gives the text as it is without styles", function()
    local self = ui_markdown.new({ width = function() return 20 end, colour = false })
    assert.equal("**a** `b` ", self:feed("**a** `b` "))
    assert.equal("", self:finish())
  end)

  it("holds back no more than a piece", function()
    local self = ui_markdown.new(options(80, 1024))
    local given = 0
    local words = ("word "):rep(40)
    for _ = 1, 500 do
      given = given + #self:feed("**never closed " .. words)
      assert.is_true(#self.pending < 1024 + 1)
    end
    assert.is_true(given > 500 * #words * 0.9)
    given = 0
    for _ = 1, 5000 do
      given = given + #self:feed("nospaces")
      assert.is_true(#self.pending <= 1024)
    end
    assert.is_true(given > 5000 * 8 - 2048)
  end)
end)
