-- The small pieces of the user interface.
local attach = require("agenthost.ui.attach")
local complete = require("agenthost.ui.complete")
local statuses = require("agenthost.ui.status")
local sys = require("agenthost.sys")
local temp = require("support.temp")
local text = require("agenthost.text")
local timeline = require("agenthost.ui.timeline")
local words = require("agenthost.words")

describe("words", function()
  it("shorten to columns, not to characters", function()
    assert.equal("short", words.shorten("short", 5))
    assert.equal("shor…", words.shorten("shorter", 5))
    assert.equal("完了…", words.shorten("完了しました", 5))
    assert.equal("one line", words.shorten("one\n\27[31mline\27[0m", 10))
    assert.equal("…", words.shorten("anything", 1))
    assert.equal("", words.shorten("anything", 0))
    assert.equal("", words.shorten(("x"):rep(1000000), -20))
    assert.equal("xxxx…", words.shorten(("x"):rep(1000000), 5))
    assert.equal("完了…", words.shorten(("完了"):rep(100000), 5))
    assert.equal("rm -rf x ls", words.shorten("rm -rf x\rls", 20))
  end)

  it("say durations and counts", function()
    local said = {}
    for i, seconds in ipairs({ 0.44, 12.9, 60, 185, 7625 }) do
      said[i] = words.duration(seconds)
    end
    assert.same({ "0.4 s", "12 s", "1 min 0 s", "3 min 5 s", "2 h 7 min" }, said)
    assert.same({ "950", "3.2k", "1.5M" },
      { words.count(950), words.count(3210), words.count(1500000) })
    assert.same({ "1 task", "0 tasks" }, { words.number(1, "task"), words.number(0, "task") })
  end)
end)

describe("completion", function()
  local dir

  before_each(function()
    dir = temp.directory()
  end)

  after_each(function()
    temp.remove(dir)
  end)

  local function file(name)
    assert(sys.write_file(dir .. "/" .. name, "x"))
  end

  it("knows commands at the start of the line only", function()
    local names = { "tasks", "tools", "kill" }
    assert.same({ "ill ", { "kill" } }, { complete.complete("/k", names, dir) })
    assert.same({ "", { "tasks", "tools" } }, { complete.complete("/t", names, dir) })
    assert.same({ "", {} }, { complete.complete("see /k", names, dir) })
    assert.same({ "", {} }, { complete.complete("/kill x", names, dir) })
  end)

  it("knows paths behind @", function()
    file("alpha-one.txt")
    file("alpha-two.txt")
    file(".hidden")
    file("with space")
    assert(sys.mkdir_private(dir .. "/sub"))
    file("sub/über.txt")
    assert.same({ "ha-", { "alpha-one.txt", "alpha-two.txt" } },
      { complete.complete("see @alp", {}, dir) })
    assert.same({ "ub/", { "sub/" } }, { complete.complete("@s", {}, dir) })
    assert.same({ "über.txt ", { "sub/über.txt" } }, { complete.complete("@sub/", {}, dir) })
    assert.same({ "idden ", { ".hidden" } }, { complete.complete("@.h", {}, dir) })
    assert.same({ "", {} }, { complete.complete("@nothing", {}, dir) })
    assert.same({ "", {} }, { complete.complete("a@b", {}, dir) })
  end)
end)

describe("attachments", function()
  local dir

  before_each(function()
    dir = temp.directory()
  end)

  after_each(function()
    temp.remove(dir)
  end)

  it("are files that are there; everything else is text", function()
    assert(sys.write_file(dir .. "/a.txt", "A"))
    local blocks, notes = attach.blocks("@a.txt, (@a.txt) me@a.txt @decorator @b.txt @.", dir)
    assert.equal(2, #blocks)
    assert.same({ "attached a.txt" }, notes)
    assert.equal('<file path="a.txt">\nA\n</file>', blocks[2].text)
  end)

  it("say why a file cannot go along", function()
    assert(sys.write_file(dir .. "/bin", ("\0\1"):rep(2000)))
    local blocks, notes = attach.blocks("@bin", dir)
    assert.equal(1, #blocks)
    assert.same({ "bin is not attached: it is binary" }, notes)
  end)

  it("go along whole or not at all", function()
    local max = require("agenthost.defaults").attach.max_bytes
    assert(sys.write_file(dir .. "/large.png", ("x"):rep(max + 1)))
    local blocks, notes = attach.blocks("@large.png", dir)
    assert.equal(1, #blocks)
    assert.matches("^large.png is not attached: it is larger than 5242880 bytes", notes[1])
  end)
end)

describe("the timeline", function()
  local function task(id, status, state)
    return { id = id, command = "cmd " .. id, status = function() return status, state end }
  end

  it("is one row a task, on one scale", function()
    local now = sys.wall()
    local rows = timeline.rows({
      task("aaaaaaaa", "completed", { started = now - 10, seconds = 5, ended = true, code = 0,
        notify = true }),
      task("bbbbbbbb", "failed", { started = now - 5, seconds = 1, ended = true, code = 3 }),
      task("cccccccc", "running", { started = now - 5, notify = true }),
    }, 100)
    assert.equal(4, #rows)
    local plain = {} -- patterns know bytes, not characters
    for i, row in ipairs(rows) do
      plain[i] = row:gsub("━", "="):gsub("│", "|"):gsub("▶", ">")
    end
    assert.matches("^✓ aaaaaaaa   |====+ +| completed, 5.0 s cmd aaaaaaaa$", plain[1])
    assert.matches("^✗ bbbbbbbb · | +==+ +| failed 3, 1.0 s cmd bbbbbbbb$", plain[2])
    assert.matches("^● cccccccc   | +===+>| running, 5%.%d s cmd cccccccc$", plain[3])
    for i = 2, 3 do
      assert.equal(#plain[1]:match("|.*|"), #plain[i]:match("|.*|"))
    end
    assert.matches("the bars span 10 s", rows[4])
  end)

  it("of nothing is nothing", function()
    assert.same({}, timeline.rows({}, 80))
  end)
end)

describe("the status line", function()
  local function line_at(columns, cost)
    local shown
    local screen = {
      width = function() return columns end,
      style = function(_, _, s) return s end,
      set_prompt = function(_, s) shown = s end,
      editor = { is_plain = function() return true end },
    }
    local one = statuses.new(screen, {
      usage = { session = { input_tokens = 12345, output_tokens = 1, cache_read_input_tokens = 0,
        cache_creation_input_tokens = 0, unpriced = 0, cost_usd = cost or 0 } },
      pending_tasks = function() return { 1, 2 } end,
      tool_jobs = { list = function() return {} end },
    })
    one:start(function() return false end)
    one:on_event({ type = "tool_start", call = { name = "bash",
      summary = "完了 a very long command \27[2J" .. ("x"):rep(100000) } })
    one:update()
    return shown
  end

  it("fits, and leaves room for what is typed", function()
    for columns = 1, 130 do
      local shown = line_at(columns, 0.5)
      local bound = columns < 9 and 7 or columns - math.min(20, columns // 3)
      assert.is_true(text.width(shown) <= bound, columns .. ": " .. shown)
    end
    assert.equal("⠋ bash 完了 a v… · 0.0 s · 12.3k tokens · $0.5000 · 2 tasks running > ",
      line_at(90, 0.5))
    assert.equal("⠋ bash … · 0.0 s > ", line_at(30))
  end)
end)
