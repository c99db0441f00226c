--- agenthost.line in a real terminal (tmux). The program under test is the script below, run by the
--- agenthost binary; it prints every finished line as "got N <text>" above the prompt, and does
--- what it finds in a control file.

local here <const> = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
package.path = here .. "/../?.lua;" .. package.path
local tmux <const> = require("support.tmux")

-- The binary that runs this, unless told otherwise.
local agenthost <const> = os.getenv("AGENTHOST")
  or tmux.run('readlink "/proc/$PPID/exe"'):gsub("%s+$", "")

local SCRIPT <const> = [==[
local line = require("agenthost.line")
local reactor = require("agenthost.reactor")

local control, history = ...
reactor.catch_signal("INT")
reactor.catch_signal("WINCH")
local options = { prompt = os.getenv("LINE_PROMPT"), history = history }
local editor, message, code = line.open(options)
if not editor then
  print("cannot open: " .. code)
  os.exit(3)
end
local env = setmetatable({ editor = editor, line = line, tabs = 0, escapes = 0 }, { __index = _G })
reactor.watch(editor:fd())
editor:show()
local count, quit = 0, false
while not quit do
  reactor.wait(0.02)
  local signal = reactor.take_signal()
  if signal == "INT" then
    editor:print("interrupted with <" .. editor:discard() .. ">")
  elseif signal == "WINCH" then
    editor:resize()
  end
  local lines, ended, tab = editor:feed()
  env.tabs = env.tabs + (tab and 1 or 0)
  env.escapes = env.escapes + (editor:take_escape() and 1 or 0)
  for _, text in ipairs(lines) do
    count, env.last = count + 1, text
    editor:add_history(text)
    editor:print(("got %d <%s>"):format(count, text))
    quit = quit or text == "/quit"
  end
  quit = quit or ended
  local file = io.open(control)
  if file then
    local chunk = file:read("a")
    file:close()
    os.remove(control)
    local result = assert(load(chunk, "=control", "t", env))()
    local done = assert(io.open(control .. ".new", "w"))
    done:write(tostring(result))
    done:close()
    os.rename(control .. ".new", control .. ".done")
  end
end
editor:close()
print("bye")
]==]

local function write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

local function read_file(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

describe("agenthost.line", function()
  local directory, script, control, history, terminal

  before_each(function()
    directory = tmux.run("mktemp -d"):gsub("%s+$", "")
    script = directory .. "/app.lua"
    control = directory .. "/control"
    history = directory .. "/history"
    write_file(script, SCRIPT)
  end)

  after_each(function()
    if terminal then
      terminal:close()
      terminal = nil
    end
    tmux.run("rm -rf " .. tmux.quote(directory))
  end)

  local function start(opts)
    opts = opts or {}
    opts.command = opts.command or { agenthost, script, control, history }
    terminal = tmux.start(opts)
    if not opts.no_wait then
      terminal:wait_for("^>")
    end
    return terminal
  end

  --- Runs Lua in the program, where `editor` is the editor; returns the result as text.
  local function run(chunk)
    write_file(control .. ".tmp", chunk)
    os.rename(control .. ".tmp", control)
    local result = tmux.eventually(function()
      return read_file(control .. ".done")
    end)
    assert(result, "the program did not answer; the screen:\n" .. terminal:screen())
    os.remove(control .. ".done")
    return result
  end

  local function half_typed(text)
    local seen
    assert(tmux.eventually(function()
      seen = run("return editor:text()")
      return seen == text
    end), ("half-typed is <%s>, not <%s>"):format(seen, text))
  end

  it("gives a line when Enter is pressed", function()
    local t = start()
    t:type("hello world")
    t:wait_for("^> hello world$")
    t:keys("Enter")
    t:wait_for("got 1 <hello world>\n>$")
    t:keys("Enter")
    t:wait_for("got 2 <>\n>$")
  end)

  it("edits in the middle", function()
    local t = start()
    t:type("hllo wrld")
    t:keys("C-a", "Right")
    t:type("e")
    t:keys("M-f", "Left", "Left", "Left", "End", "Left", "Left", "Left")
    t:type("o")
    t:keys("C-e")
    t:type("!")
    t:keys("BSpace", "Enter")
    t:wait_for("got 1 <hello world>")
    t:type("one two three")
    t:keys("C-w", "M-b", "C-k", "C-y", "C-y", "Home", "DC", "Enter")
    t:wait_for("got 2 <ne two two >")
  end)

  it("keeps the half-typed line and its cursor over hide, print and show", function()
    local t = start()
    t:type("half-typed line")
    t:keys("Left", "Left", "Left", "Left", "Left")
    half_typed("half-typed line")
    run("editor:hide()")
    t:wait_for("^$")
    assert.are.same({ 0, 0 }, { t:cursor() })
    run("io.write('a notice\\nof two lines\\n') editor:show()")
    t:wait_for("^a notice\nof two lines\n> half%-typed line$")
    assert.are.same({ 12, 2 }, { t:cursor() })
    run("editor:print('without a newline')")
    t:wait_for("of two lines\nwithout a newline\n> half%-typed line$")
    t:type("X")
    t:wait_for("half%-typedX line$")
    t:keys("Enter")
    t:wait_for("got 1 <half%-typedX line>\n>$")
  end)

  it("takes keys while it is hidden", function()
    local t = start()
    t:type("abc")
    half_typed("abc")
    run("editor:hide()")
    t:wait_for("^$")
    t:type("def")
    t:keys("Left")
    half_typed("abcdef")
    assert.are.equal("", t:screen())
    run("editor:show()")
    t:wait_for("^> abcdef$")
    assert.are.same({ 7, 0 }, { t:cursor() })
    run("editor:hide()")
    t:keys("Enter")
    t:wait_for("^got 1 <abcdef>$")
    assert.are.equal("got 1 <abcdef>", t:screen())
    run("editor:show()")
    t:wait_for("\n>$")
  end)

  it("draws a line that is longer than the terminal is wide, and after a resize", function()
    local t = start({ width = 80, height = 20 })
    local text = ""
    for i = 1, 30 do
      text = text .. ("word%02d "):format(i)
    end
    text = text .. "end"
    t:type(text)
    half_typed(text)
    t:keys("C-a")
    for _ = 1, 12 do
      t:keys("M-f")
    end
    -- The end of the screen: when it lays out a narrower screen tmux moves rows off its top, and
    -- what is up there no program can erase.
    local function wait_for_layout(width, above)
      local rows, all = { above }, "> " .. text
      for at = 1, #all, width do
        rows[#rows + 1] = all:sub(at, at + width - 1):gsub("%s+$", "")
      end
      local expected, seen = table.concat(rows, "\n"), nil
      assert(tmux.eventually(function()
        seen = t:screen()
        return seen:sub(-#expected) == expected
          and t:cursor() == 85 % width -- behind word12: 2 + 12 * 7 - 1
      end), seen)
    end
    wait_for_layout(80)
    run("editor:print('notice one')")
    wait_for_layout(80, "notice one")
    t:resize(40, 20)
    wait_for_layout(40)
    run("editor:print('notice two')")
    wait_for_layout(40, "notice two")
    t:resize(100, 20)
    wait_for_layout(100, "notice two")
    local _, notices = t:screen(true):gsub("notice", "")
    assert.are.equal(2, notices)
    t:keys("Enter")
    t:wait_for(function(screen)
      return (screen:gsub("\n", "")):find("got 1 <" .. text .. ">", 1, true)
    end)
  end)

  it("draws a line that fills the row exactly", function()
    local t = start({ width = 40 })
    t:type(("x"):rep(38))
    half_typed(("x"):rep(38))
    run("editor:print('notice')")
    t:wait_for("^notice\n> " .. ("x"):rep(38) .. "$")
    t:type("y")
    t:wait_for("^notice\n> " .. ("x"):rep(38) .. "\ny$")
    t:keys("BSpace", "BSpace")
    run("editor:print('notice')")
    t:wait_for("^notice\nnotice\n> " .. ("x"):rep(37) .. "$")
  end)

  it("brings back earlier lines, and keeps the half-typed one", function()
    local t = start()
    for i, text in ipairs({ "first ", "second", "second" }) do
      t:type(text)
      t:keys("Enter")
      t:wait_for(("got %d <%s>"):format(i, text))
    end
    local long <const> = ("0123456789"):rep(150) -- libedit's own history cuts it at 1024
    t:type(long)
    half_typed(long)
    t:keys("Up")
    half_typed("second")
    t:keys("Up")
    half_typed("first ")
    t:keys("Up", "Down", "Down")
    half_typed(long)
    t:keys("C-u")
    t:type("irs")
    t:keys("C-r")
    half_typed("first ")
    t:keys("Enter")
    t:wait_for("got 4 <first >")
    assert.are.equal("first \nsecond\nfirst \n", read_file(history))
    assert.are.equal("600\n", (tmux.run("stat -c %a " .. tmux.quote(history))))
  end)

  it("reads the history file, with a torn last line, and keeps it bounded", function()
    local old = {}
    for i = 1, 2500 do
      old[i] = "old " .. i
    end
    write_file(history, table.concat(old, "\n") .. "\ntorn")
    tmux.run("chmod 644 " .. tmux.quote(history))
    local t = start()
    t:keys("Up")
    half_typed("torn")
    t:keys("Up")
    half_typed("old 2500")
    t:keys("C-u")
    t:type("new")
    t:keys("Enter")
    t:wait_for("got 1 <new>")
    local text = read_file(history)
    assert.are.equal(1001, select(2, text:gsub("\n", "")))
    assert.truthy(text:find("\nold 2500\ntorn\nnew\n$"))
    assert.are.equal("600\n", (tmux.run("stat -c %a " .. tmux.quote(history))))
  end)

  it("says why a history file cannot be used", function()
    tmux.run("mkdir " .. tmux.quote(history))
    local t = start({ no_wait = true })
    t:wait_for("cannot open: EISDIR")
  end)

  it("ends at Ctrl-D on an empty line only, and leaves no prompt behind", function()
    local t = start()
    t:type("ab")
    t:keys("Left", "C-d")
    half_typed("a")
    t:keys("C-d", "BSpace")
    half_typed("")
    t:keys("C-d")
    t:wait_for("^bye")
  end)

  it("turns Ctrl-C into SIGINT and leaves the half-typed line to the program", function()
    local t = start()
    t:type("almost done")
    half_typed("almost done")
    t:keys("C-c")
    t:wait_for("^interrupted with <almost done>\n>$")
    t:type("next")
    t:keys("Enter")
    t:wait_for("got 1 <next>")
  end)

  it("is not held up by half a key", function()
    local t = start()
    t:type("a")
    t:keys("Escape")
    half_typed("a")
    run("editor:print('still here')")
    t:wait_for("still here\n> a$")
    t:keys("C-r", "C-v", "C-q", "M-x", "M-5")
    run("editor:print('and here')")
    t:wait_for("and here\n> a$")
    t:keys("C-u")
    t:type("fine")
    t:keys("Enter")
    t:wait_for("got 1 <fine>")
  end)

  it("drops sequences that it does not know", function()
    local t = start()
    t:paste("\27[200~pasted\27[201~\27[I\27[15~\27[1;2P")
    half_typed("pasted")
    t:keys("Enter")
    t:wait_for("got 1 <pasted>")
  end)

  for _, case in ipairs({
    { "C.UTF-8", { LANG = "C.UTF-8" } },
    { "no LANG", { LANG = false } },
    { "LC_ALL=POSIX", { LC_ALL = "POSIX" } },
  }) do
    it("takes UTF-8 and wide characters with " .. case[1], function()
      local t = start({ env = case[2], width = 40 })
      t:type("é日本語ß€😀x")
      t:wait_for("^> é日本語ß€😀x$")
      assert.are.same({ 14, 0 }, { t:cursor() })
      t:keys("Left", "Left", "BSpace")
      t:wait_for("^> é日本語ß😀x$")
      t:keys("Left", "Left")
      t:type("ö")
      run("editor:print('Grüße')")
      t:wait_for("^Grüße\n> é日本ö語ß😀x$")
      assert.are.same({ 8, 1 }, { t:cursor() })
      t:keys("C-e")
      t:type("y" .. ("漢"):rep(20)) -- over the edge of the row, where a wide one does not fit
      half_typed("é日本ö語ß😀xy" .. ("漢"):rep(20))
      run("editor:print('x')")
      t:wait_for(function(screen)
        return screen:gsub(" *\n", "\n")
          == "Grüße\nx\n> é日本ö語ß😀xy" .. ("漢"):rep(12) .. "\n" .. ("漢"):rep(8)
      end)
      t:keys("Enter")
      t:wait_for("got 1 <é日本ö語ß😀xy漢+")
      t:paste("a\xff\xc3z")
      half_typed("a\u{FFFD}\u{FFFD}z")
    end)
  end

  it("shows a coloured prompt that does not leak and takes no columns", function()
    local t = start({ env = { LINE_PROMPT = "\27[1m\27[32m>\27[0m " } })
    t:type("plain text")
    t:wait_for("^> plain text$")
    assert.are.same({ 12, 0 }, { t:cursor() })
    local raw = tmux.run("tmux -L " .. t.socket .. " capture-pane -e -p -t main")
    assert.truthy(raw:find("32m>", 1, true), raw)
    assert.truthy(raw:find("\27%[[0-9;]*m plain text") or raw:find("\27%[[0-9;]*m plain"), raw)
    run("editor:set_prompt('\27[31mnew> ')")
    t:wait_for("^new> plain text$")
    run("editor:set_prompt('new>\27[0m')")
    t:wait_for("^new> plain text$")
    t:keys("Enter")
    t:wait_for("got 1 <plain text>\nnew>$")
  end)

  it("loses none of 200 pasted lines", function()
    local t = start()
    local lines = {}
    for i = 1, 200 do
      lines[i] = ("line %d of the paste, äöü %s"):format(i, ("."):rep(i))
    end
    t:paste(table.concat(lines, "\n") .. "\n")
    t:wait_for("got 200 <line 200")
    local screen = t:screen(true):gsub("\n", "")
    for i = 1, 200 do
      local wanted = ("got %d <%s>"):format(i, lines[i])
      assert.truthy(screen:find(wanted, 1, true), "missing: " .. wanted)
    end
    assert.are.equal(table.concat(lines, "\n") .. "\n", read_file(history))
  end)

  it("keeps a marked paste of 2,000 lines together, with a label in the line", function()
    local t = start()
    local lines = {}
    for i = 1, 2000 do
      lines[i] = ("%d\tof the paste, äöü [x] %s"):format(i, ("."):rep(i % 100))
    end
    t:type("see ")
    t:paste(table.concat(lines, "\n") .. "\n", true)
    t:wait_for("^> see %[paste 1: 2000 lines%]$")
    t:type(" and ")
    t:paste("one\nmore", true)
    t:wait_for("and %[paste 2: 2 lines%]$")
    t:keys("Enter")
    local expected = "see " .. table.concat(lines, "\n") .. " and one\nmore"
    t:wait_for("more>\n>$")
    assert.equal(expected, run("return last"))
  end)

  it("types a marked paste of one line, and takes what tells of keys in one as text", function()
    local t = start()
    t:paste("plain\27[Atext\n", true)
    t:wait_for("^> plain %[Atext$")
    t:keys("Enter")
    t:wait_for("got 1 <plain %[Atext>")
  end)

  it("gives a marked paste back whole when the line is discarded", function()
    local t = start()
    t:paste("a\nb", true)
    t:wait_for("paste 1: 2 lines")
    t:keys("C-c")
    t:wait_for("interrupted with <a\nb>")
  end)

  it("asks the terminal to mark pastes only while it has it", function()
    local t = start()
    local raw = directory .. "/raw"
    t:_tmux("pipe-pane", "-t", "main", "-O", "cat >" .. tmux.quote(raw))
    local function wait_for(marks)
      assert(tmux.eventually(function()
        local seen = ""
        for mark in (read_file(raw) or ""):gmatch("\27%[%?2004([hl])") do
          seen = seen .. mark
        end
        return seen == marks
      end))
    end
    run("editor:suspend()")
    wait_for("l")
    run("editor:resume()")
    wait_for("lh")
    t:type("/quit")
    t:keys("Enter")
    t:wait_for("bye")
    wait_for("lhl")
  end)

  it("tells Escape alone from the start of a key, and Tab", function()
    local t = start()
    t:keys("Escape")
    assert(tmux.eventually(function() return run("return escapes") == "1" end))
    t:type("ab")
    t:keys("Left")
    t:keys("Tab")
    assert(tmux.eventually(function() return run("return tabs") == "1" end))
    t:type("x")
    t:wait_for("^> axb")
    assert.equal("1", run("return escapes"))
  end)

  it("takes a very long pasted line, up to its bound", function()
    local t = start()
    t:paste(("0123456789"):rep(10000))
    assert(tmux.eventually(function()
      return run("return #editor:text()") == "100000"
    end, 60))
    t:keys("C-u")
    half_typed("")
    t:type("ok")
    t:keys("Enter")
    t:wait_for("got 1 <ok>")
  end)

  describe("terminal modes", function()
    local before

    -- A shell starts the program, so that the terminal outlives it.
    local function start_in_shell(chunk)
      local command = ("ulimit -c 0; echo ready; read x; %s %s %s %s; echo; echo status=; exec cat")
        :format(tmux.quote(agenthost), tmux.quote(script), tmux.quote(control),
          tmux.quote(history))
      local t = start({ command = command, no_wait = true })
      t:wait_for("ready")
      before = t:modes()
      t:keys("Enter")
      t:wait_for("\n>$")
      assert.are_not.equal(before, t:modes())
      if chunk then
        write_file(control .. ".tmp", chunk)
        os.rename(control .. ".tmp", control)
      end
      return t
    end

    it("are restored by close", function()
      local t = start_in_shell()
      t:type("/quit")
      t:keys("Enter")
      t:wait_for("bye\n\nstatus=")
      assert.are.equal(before, t:modes())
    end)

    for name, chunk in pairs({
      ["os.exit"] = "os.exit(1)",
      ["an error"] = "error('oops')",
      ["the collector"] = "editor = nil os.exit(0, true)",
      ["line.restore"] = "line.restore() os.execute('kill -KILL $PPID')",
    }) do
      it("are restored on the way out by " .. name, function()
        local t = start_in_shell(chunk)
        t:wait_for("status=")
        assert.are.equal(before, t:modes())
      end)
    end

    for _, signal in ipairs({ "TERM", "HUP", "QUIT", "ABRT" }) do
      it("are restored on the way out by SIG" .. signal, function()
        local t = start_in_shell()
        local pid = run("return (io.open('/proc/self/stat'):read('n'))")
        tmux.run("kill -" .. signal .. " " .. pid)
        t:wait_for("status=")
        assert.are.equal(before, t:modes())
      end)
    end

    it("are restored on the way out by a signal that was caught for a while", function()
      local t = start_in_shell()
      local pid = run("local reactor = require('agenthost.reactor') "
        .. "reactor.catch_signal('TERM') reactor.catch_signal('TERM', false) "
        .. "return (io.open('/proc/self/stat'):read('n'))")
      tmux.run("kill -TERM " .. pid)
      t:wait_for("status=")
      assert.are.equal(before, t:modes())
    end)

    it("are restored while suspended, and the half-typed line comes back", function()
      local t = start_in_shell()
      local raw = t:modes()
      t:type("half")
      half_typed("half")
      run("editor:suspend()")
      assert.are.equal(before, t:modes())
      t:wait_for("ready[^>]*$")
      t:keys("x", "Enter") -- not ours: the kernel keeps it for whoever reads
      run("editor:print('the program in between')")
      run("editor:resume()")
      assert.are.equal(raw, t:modes())
      t:wait_for("the program in between\n")
      t:keys("C-u")
      t:type("/quit")
      t:keys("Enter")
      t:wait_for("bye\n\nstatus=")
      assert.are.equal(before, t:modes())
    end)
  end)

  it("leaves line editing to the terminal driver when TERM is dumb", function()
    local t = start({ env = { TERM = "dumb" } })
    assert.are.equal("true", run("return editor:is_plain()"))
    t:type("hello")
    t:wait_for("^> hello$")
    run("editor:print('a notice')")
    t:wait_for("^> hello\na notice\n>$")
    t:keys("Enter")
    t:wait_for("got 1 <hello>")
    t:keys("C-d")
    t:wait_for("bye$")
  end)

  it("refuses what is not a terminal, a second editor, and the use of a closed one", function()
    local output = tmux.run(("%s %s x"):format(tmux.quote(agenthost), tmux.quote(script)))
    assert.are.equal("cannot open: ENOTTY\n", output)
    local t = start()
    assert.are.equal("EBUSY", run("return select(3, line.open({}))"))
    local raised = run("return select(2, pcall(line.open, { promt = '' }))")
    assert.truthy(raised:find("did you mean 'prompt'"), raised)
    local text = run("editor:close() editor:close() local ok, e = pcall(editor.feed, editor) "
      .. "editor = line.open({}) line.again = editor return e")
    assert.truthy(text:find("the line editor is closed"), text)
    t:close()
  end)
end)
