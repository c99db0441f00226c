-- Replies in Markdown, streamed in small pieces, in a real terminal.
local case = require("support.case")
local interactive = require("support.interactive")
local tmux = require("support.tmux")

local REPLY <const> = [[
# What I *found*

The **build** fails in `src/main.c`, because a header is missing; see [the log](http://x.y/log).

1. Install it
2. Run `make` again, and look at what it prints this time
   - nested

```sh
apt-get install libmd4c-dev # a line of code that is longer than forty columns
```

| Name | Größe | 日本語 |
| --- | ---: | --- |
| a.c | 12 | こんにちは |
| b.c | 1234 | ✅ |

> Quoted words that do not fit on one line of forty columns.
]]

local SCREENS <const> = {
  [40] = [[
What I found

The build fails in src/main.c, because a
header is missing; see the log
(http://x.y/log).

1. Install it
2. Run make again, and look at what it
   prints this time
   • nested

  apt-get install libmd4c-dev # a line o
f code that is longer than forty columns

┌──────┬───────┬────────────┐
│ Name │ Größe │ 日本語     │
├──────┼───────┼────────────┤
│ a.c  │    12 │ こんにちは │
│ b.c  │  1234 │ ✅         │
└──────┴───────┴────────────┘

│ Quoted words that do not fit on one
│ line of forty columns.
]],
  [100] = [[
What I found

The build fails in src/main.c, because a header is missing; see the log (http://x.y/log).

1. Install it
2. Run make again, and look at what it prints this time
   • nested

  apt-get install libmd4c-dev # a line of code that is longer than forty columns

┌──────┬───────┬────────────┐
│ Name │ Größe │ 日本語     │
├──────┼───────┼────────────┤
│ a.c  │    12 │ こんにちは │
│ b.c  │  1234 │ ✅         │
└──────┴───────┴────────────┘

│ Quoted words that do not fit on one line of forty columns.
]],
}

describe("a reply in Markdown", function()
  local t, term

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  local function ask(width, env)
    env = env or {}
    env.TERM = env.TERM or "screen"
    term = interactive.run(t, { command = t.place:words({ server = t.server, env = env }),
      width = width, height = 40 })
    term:wait_for("\n> *$")
    term:say("Go")
  end

  -- What stands between the question and the prompt.
  local function answer(screen)
    return screen:match("\n> Go\n(.*\n)> *$")
  end

  for width, expected in pairs(SCREENS) do
    it("is rendered as it comes, at " .. width .. " columns", function()
      t:serve({ text = REPLY, wire = { delta = 3, event_delay = 0.002 } })
      ask(width)
      local screen = term:wait_answer("forty columns.")
      assert.equal(expected, answer(screen))
      local raw = tmux.run(("tmux -L %s capture-pane -p -e -t main"):format(term.socket))
      assert.truthy(raw:find("\27[1mbuild", 1, true), raw)
      assert.falsy(raw:find("`", 1, true), raw)
    end)
  end

  it("shows the words of a paragraph before it ends", function()
    t:serve({ text = "The first words of a long paragraph come " .. ("soon "):rep(300),
      wire = { delta = 5, event_delay = 0.1 } })
    ask(80)
    term:wait_for("\nThe first words of a long paragraph come soon")
    local screen = term:screen()
    assert.is_true(case.count(screen, "soon") < 200, screen)
    term:keys("C-c")
    term:wait_answer("(stopped)")
  end)

  it("shows all that came when it is stopped, what was held back included", function()
    t:script({ text = "The first words come and then **something that is never closed "
      .. ("soon "):rep(300), wire = { delta = 5, event_delay = 0.03 } }, { text = "Next answer." })
    ask(80)
    term:wait_for("\nThe first words come and then")
    for _ = 1, 60 do -- some more comes, of which nothing shows
      assert.falsy(term:screen():find("something", 1, true))
    end
    term:keys("C-c")
    local shown = term:wait_answer("(stopped)"):match("\n> Go\n(.-)%s*%(stopped%)"):gsub("%s+", " ")
    term:type("Go on")
    term:keys("Enter")
    term:wait_answer("Next answer.")
    local came = t.server.requests()[2].body.messages[2].content[1].text
    assert.equal(came:gsub("%s+$", ""), shown)
    assert.truthy(shown:find("and then **some", 1, true), shown)
  end)

  it("is shown as it is with NO_COLOR", function()
    t:serve({ text = REPLY, wire = { delta = 50 } })
    ask(100, { NO_COLOR = "1" })
    local screen = term:wait_answer("forty columns.")
    assert.truthy(screen:find("# What I *found*\n\nThe **build** fails", 1, true), screen)
    assert.truthy(screen:find("| --- | ---: | --- |", 1, true), screen)
  end)
end)
