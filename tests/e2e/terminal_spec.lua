-- Living with the interactive program: steering, stopping, commands, files, long messages.
local case = require("support.case")
local interactive = require("support.interactive")

describe("in the terminal", function()
  local t, term

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  local function start(opts)
    term = interactive.start(t, opts)
    return term
  end

  describe("a line that is typed while the agent works", function()
    it("reaches the model with its next call, behind the tool's result", function()
      t:script({ tools = { { name = "bash", input = { command = case.WAITS } } } },
        { when = { last_user_contains = "more salt" }, text = "With salt." })
      start():say("Cook")
      t:wait_for_file("runs")
      term:say("more salt")
      term:wait_for("» more salt")
      t.place:write("go", "")
      term:wait_answer("With salt.")
      local content = t.server.requests()[2].body.messages[3].content
      assert.same({ "tool_result", "text" }, { content[1].type, content[2].type })
      assert.equal("more salt", content[2].text)
    end)

    it("starts the next run when the model asks for nothing more", function()
      t:script({ text = ("word "):rep(40), wire = { event_delay = 0.05, delta = 5 } },
        { text = "Second." })
      start():say("One")
      term:wait_for("word word")
      term:say("Two")
      term:wait_answer("Second.")
      assert.equal("Two", case.last_text(t.server.requests()[2].body))
    end)

    it("shows while it is typed, and the text that streams goes on above it", function()
      local text = {}
      for i = 1, 60 do
        text[i] = ("- line %d"):format(i)
      end
      t:script({ text = table.concat(text, "\n") .. "\n\nthe end.",
        wire = { event_delay = 0.02, delta = 8 } }, { text = "Unused." })
      start():say("Go")
      term:wait_for("line 3\n")
      term:type("half a thought")
      term:wait_for("line %d+\n[^\n]*> half a thought$")
      local screen = term:wait_for("the end%.\n> half a thought$")
      assert.equal(1, case.count(screen, "half a thought"))
      local whole = term:screen(true)
      for i = 1, 60 do
        assert.truthy(whole:find(("line %d\n"):format(i), 1, true), whole)
      end
      assert.equal(1, #t.server.requests())
    end)
  end)

  it("shows what runs, for how long, and how many tasks", function()
    t:script({ tools = { { name = "background_run", input = { command = case.WAITS } } } },
      { tools = { { name = "bash",
        input = { command = "until [ -e two ]; do sleep 0.05; done" } } } },
      { text = "Done." })
    start():say("Go")
    term:wait_for("bash until.* · %d+%.?%d* s · .* · 1 task running >$")
    t.place:write("two", "")
    term:wait_answer("Done.")
    t.place:write("go", "")
  end)

  it("Escape stops a reply and keeps what was shown of it (B8)", function()
    t:script({ text = ("word "):rep(400), wire = { event_delay = 0.05, delta = 5 } },
      { text = "Again." })
    start():say("One")
    term:wait_for("word word")
    term:keys("Escape")
    term:wait_answer("(stopped)")
    term:say("Two")
    term:wait_answer("Again.")
    local messages = t.server.requests()[2].body.messages
    assert.matches("^word word", messages[2].content[1].text)
  end)

  it("Ctrl-C twice leaves", function()
    t:serve({ text = "unused" })
    start():keys("C-c")
    term:wait_for("Ctrl%-C once more")
    term:keys("C-c")
    assert.equal(0, term:wait_dead())
  end)

  it("a backslash at the end of a line goes on with the next", function()
    t:serve({ text = "Read." })
    start():say("first\\")
    term:wait_for("\n… *$")
    term:say("second \\\\")
    term:wait_answer("Read.")
    assert.equal("first\nsecond \\\\", case.last_text(t.server.requests()[1].body))
  end)

  it("sends a paste of 2,000 lines as one message", function()
    t:serve({ text = "Read." })
    local lines = {}
    for i = 1, 2000 do
      lines[i] = "line " .. i
    end
    start():paste(table.concat(lines, "\n") .. "\n", true)
    term:wait_for("paste 1: 2000 lines")
    term:keys("Enter")
    term:wait_answer("Read.")
    assert.equal(table.concat(lines, "\n"), case.last_text(t.server.requests()[1].body))
  end)

  it("@path sends a file along, and Tab completes it", function()
    t:serve({ text = "Read." })
    t.place:write("notes-of-today.txt", "remember <this>\n")
    start():type("see @notes-o")
    term:keys("Tab")
    term:wait_for("@notes%-of%-today.txt")
    term:keys("Enter")
    local screen = term:wait_answer("Read.")
    assert.truthy(screen:find("(attached notes-of-today.txt)", 1, true), screen)
    local content = t.server.requests()[1].body.messages[1].content
    assert.equal('<file path="notes-of-today.txt">\nremember <this>\n\n</file>', content[2].text)
  end)

  it("@path sends an image as an image", function()
    t:serve({ text = "Seen." })
    t.place:write("dot.png", "\137PNG\r\n\26\n\0\1")
    start():say("look at @dot.png, please")
    term:wait_answer("Seen.")
    local image = t.server.requests()[1].body.messages[1].content[2]
    assert.same({ type = "base64", media_type = "image/png", data = "iVBORw0KGgoAAQ==" },
      image.source)
  end)

  it("!command runs a command, and the model sees it with the next line", function()
    t:serve({ text = "I see." })
    start():say("!echo by hand; exit 3")
    term:wait_answer("by hand")
    assert.equal(0, #t.server.requests())
    term:say("What was that?")
    term:wait_answer("I see.")
    local content = t.server.requests()[1].body.messages[1].content
    assert.matches("%$ echo by hand; exit 3\nby hand\n+%[exit code 3", content[1].text)
    assert.equal("What was that?", content[2].text)
  end)

  it("knows its commands", function()
    t:script({ tools = { { name = "background_run", input = { command = case.WAITS } } } },
      { text = "Started." })
    start():say("/help")
    local screen = term:wait_answer("/quit")
    assert.truthy(screen:find("/tasks ", 1, true), screen)
    term:say("Go")
    term:wait_answer("Started.")
    term:say("/tasks")
    local id = term:wait_answer("▶"):match("● (%x+) ")
    term:say("/kill " .. id:sub(1, 6))
    term:wait_answer("ending task " .. id)
    term:wait_answer("killed (by the user")
    term:say("/output " .. id)
    term:wait_answer("(no output)")
    term:say("/last")
    term:wait_answer("Background task " .. id .. " started")
    term:say("/model")
    term:wait_answer("claude-test-1")
    term:say("/tols")
    term:wait_answer("did you mean /tools?")
    term:type("/too")
    term:keys("Tab")
    term:wait_for("> /tools$")
    term:keys("Enter")
    term:wait_answer("background_run")
    term:say("/quit")
    assert.equal(0, term:wait_dead())
  end)

  it("a plugin adds a command", function()
    t:serve({ text = "unused" })
    t.place:write("greet.lua", [[return { name = "greet", setup = function(ctx)
      ctx.command({ name = "greet", help = "say hello", run = function(_, whom)
        if whom == "" then return nil, "greet whom?" end
        return "Hello, \27[2J" .. whom .. "!"
      end })
    end }]])
    t.place:write("a.lua", [[return require("agenthost.agent").new({ plugins = { "./greet" } })]])
    start({ "a.lua" }):say("/greet you")
    term:wait_answer("Hello, you!")
    term:say("/greet")
    term:wait_answer("greet whom?")
  end)

  it("/edit writes the message in $EDITOR", function()
    t:serve({ text = "Read." })
    t:program("ed-it", "#!/bin/sh\nprintf 'from the\\neditor\\n' >> \"$1\"\n")
    start({ env = { EDITOR = t.place.work .. "/bin/ed-it", VISUAL = "" } }):say("/edit draft ")
    term:wait_answer("Read.")
    assert.equal("draftfrom the\neditor", case.last_text(t.server.requests()[1].body))
  end)

  it("notices that wait for the next line do not wake it", function()
    t.place:write("a.lua", [[return require("agenthost.agent").new({
      plugins = { "background" }, on_notice = "hold" })]])
    t:script({ tools = { { name = "background_run", input = { command = case.WAITS } } } },
      { text = "Started." }, { when = { last_user_contains = "completed: went" }, text = "Told." })
    start({ "a.lua" }):say("Go")
    term:wait_answer("Started.")
    t:wait_for_file("runs")
    t.place:write("go", "")
    term:wait_for("\n> *$") -- no task runs
    assert.equal(2, #t.server.requests())
    term:say("And?")
    term:wait_answer("Told.")
  end)

  it("works on 40 columns, resized while it works, with wide characters", function()
    t:script({ tools = { { name = "bash", input = { command = case.WAITS } } } },
      { text = "完了しました。すべてのテストが成功しました。おめでとうございます。" })
    start({ width = 100 }):say("テスト")
    t:wait_for_file("runs")
    term:wait_for("bash touch")
    term:resize(40, 20)
    term:type("次の")
    term:wait_for("> 次の$")
    t.place:write("go", "")
    local screen = term:wait_for("ございます。\n> 次の$")
    assert.equal(1, case.count(screen, "次の"), screen)
  end)
end)
