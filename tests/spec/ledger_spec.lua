local json = require("agenthost.json")
local ledger = require("agenthost.ledger")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local FAR <const> = 30 -- seconds: a bound that no passing test reaches

local function lines(...)
  local encoded = {}
  for i, record in ipairs({ ... }) do
    encoded[i] = (type(record) == "string" and record or json.encode(record)) .. "\n"
  end
  return table.concat(encoded)
end

local function start(id, more)
  local record = { type = "start", task = id, time = 100.5, pid = 4711, born = 7, owed = true,
    detached = false, command = "run " .. id, cwd = "/w", output = "/s/" .. id .. ".log" }
  for name, value in pairs(more or {}) do
    record[name] = value
  end
  return record
end

local function stop(id, more)
  local record = { type = "end", task = id, time = 104, status = "failed", code = 3, seconds = 3.5 }
  for name, value in pairs(more or {}) do
    record[name] = value
  end
  return record
end

local function ids(tasks)
  local found = {}
  for i, one in ipairs(tasks) do
    found[i] = one.id
  end
  return found
end

describe("ledger.replay", function()
  it("gives the tasks in the order of their start, with what is known", function()
    local tasks = ledger.replay(lines(start("a", { label = "the a" }), start("b"), stop("b"),
      { type = "delivered", task = "b", time = 105 }))
    assert.same({
      { id = "a", status = "running", owed = true, delivered = false, detached = false,
        command = "run a", label = "the a", cwd = "/w", output = "/s/a.log", pid = 4711, born = 7,
        started = 100.5 },
      { id = "b", status = "failed", owed = true, delivered = true, detached = false,
        command = "run b", cwd = "/w", output = "/s/b.log", pid = 4711, born = 7, started = 100.5,
        ended = 104, code = 3, seconds = 3.5 },
    }, tasks)
  end)

  it("knows an order that nobody has begun, and what was said of it since", function()
    local order = start("a", { type = "queued", owed = false })
    order.pid, order.born = nil, nil
    local one = ledger.replay(lines(order))[1]
    assert.same({ "queued", "run a", false }, { one.status, one.command, one.owed })
    local owed = { type = "owed", task = "a" }
    one = ledger.replay(lines(order, owed, start("a", { owed = false })))[1]
    assert.same({ "running", true, 4711 }, { one.status, one.owed, one.pid })
    one = ledger.replay(lines(start("a"), { type = "waived", task = "a" }, stop("a")))[1]
    assert.same({}, ledger.undelivered({ one }))
  end)

  it("believes the last end: it is the one that was told", function()
    local lost = { type = "end", task = "a", time = 105, status = "lost", reason = "it died" }
    local one = ledger.replay(lines(start("a"), stop("a"), lost))[1]
    assert.same({ "lost", nil, "it died" }, { one.status, one.code, one.reason })
  end)

  it("of nothing is nothing", function()
    assert.same({}, ledger.replay(""))
    assert.same({}, ledger.replay("\n\n"))
  end)

  it("passes over a torn line, at the end and further up", function()
    local whole = lines(start("a"), stop("a"))
    for cut = 1, #whole do -- whatever was cut off, the rest is there
      local tasks = ledger.replay(whole:sub(1, cut))
      assert.is_true(#tasks <= 1)
      if tasks[1] then
        assert.equal(cut >= #whole - 1 and "failed" or "running", tasks[1].status)
      end
    end
    local tasks = ledger.replay(lines(start("a"), [[{"type":"end","task":"a","sta]], start("b"),
      stop("b")))
    assert.same({ "running", "failed" }, { tasks[1].status, tasks[2].status })
  end)

  it("passes over foreign lines and types", function()
    local tasks = ledger.replay(lines("hello", "[]", "7", "null", '"start"', "{}", "{", "\xff\0",
      { type = "start" }, { type = "start", task = 7 }, { type = 7, task = "x" },
      { type = { "start" }, task = "x" }, { type = "no such type", task = "x" }, { task = "x" },
      start("a"), { type = "adopted", task = "a", time = 1 }, stop("a", { added = "later" })))
    assert.same({ "a" }, ids(tasks))
    assert.equal("failed", tasks[1].status)
  end)

  it("takes records in any order", function()
    local tasks = ledger.replay(lines({ type = "owed", task = "a", time = 1 },
      start("a", { owed = false })))
    assert.same({ true, "running" }, { tasks[1].owed, tasks[1].status })
    tasks = ledger.replay(lines(start("a", { owed = false })))
    assert.is_false(tasks[1].owed)
    tasks = ledger.replay(lines(start("a", { owed = false }), stop("a"),
      { type = "owed", task = "a", time = 1 }))
    assert.same({ "a" }, ids(ledger.undelivered(tasks)))
  end)
end)

describe("ledger.undelivered", function()
  it("gives what is owed, has ended, and is on no disk", function()
    local tasks = ledger.replay(lines(
      start("running"),
      start("told"), stop("told"), { type = "delivered", task = "told" },
      start("foreground", { owed = false }), stop("foreground"),
      start("ended"), stop("ended", { status = "killed" }),
      { type = "owed", task = "queued" },
      start("lost"), stop("lost", { status = "lost" })))
    assert.same({ "ended", "lost" }, ids(ledger.undelivered(tasks)))
    assert.same({}, ledger.undelivered({}))
  end)
end)

describe("ledger.read", function()
  local base

  before_each(function()
    base = temp.directory()
  end)

  after_each(function()
    temp.remove(base)
  end)

  it("of a missing file is empty", function()
    assert.same({}, ledger.read(base .. "/none.jsonl"))
  end)

  it("of what is no file is a failure", function()
    local tasks, message, code = ledger.read(base)
    assert.is_nil(tasks)
    assert.is_string(message)
    assert.is_string(code)
  end)

  it("reads what the task runner writes, whatever the command looks like", function()
    task.set_dir(base)
    local q <close> = queue.new()
    local command = ": '\"\\\n\t\x01\xff\xc3( gr\u{fc}\u{df}e'; exit 3"
    local one = assert(task.run(command, { queue = q, label = "l\x7f\xe2\x82" }))
    one:wait(FAR)
    local found = assert(ledger.read(base .. "/tasks.jsonl"))
    assert.equal(1, #found)
    assert.same({ one.id, ": '\"\\\n\t\x01\u{fffd}\u{fffd}( gr\u{fc}\u{df}e'; exit 3",
      "l\x7f\u{fffd}\u{fffd}", "failed", 3, true, false },
      { found[1].id, found[1].command, found[1].label, found[1].status, found[1].code,
        found[1].owed, found[1].delivered })
    assert.is_true(found[1].ended >= found[1].started and found[1].seconds >= 0)
  end)

  it("gives the notice that the queue carried", function()
    task.set_dir(base)
    local q <close> = queue.new()
    for _, command in ipairs({ "echo out; exit 3", "kill -9 $$", "exec sleep 60" }) do
      local one = assert(task.run(command, { queue = q, label = "label", timeout = 0.3 }))
      one:wait(FAR)
      local notice = q:drain()[1]
      local tasks = assert(ledger.read(base .. "/tasks.jsonl"))
      local again = ledger.notice(tasks[#tasks])
      assert.is_true(math.abs(notice.seconds - again.seconds) < 0.5)
      notice.seq, notice.seconds, again.seconds = nil, nil, nil
      assert.same(notice, again)
    end
  end)

  it("gives a notice without the output file, too", function()
    local one = ledger.replay(lines(start("a"), stop("a")))[1]
    assert.same({ kind = "task", task = "a", status = "failed", command = "run a", code = 3,
      seconds = 3.5, output = "/s/a.log", bytes = 0 }, ledger.notice(one))
  end)
end)

describe("ledger.mark_delivered", function()
  it("is not needed for an end that was waived in time", function()
    local base = temp.directory()
    task.set_dir(base)
    local q <close> = queue.new()
    local one = assert(task.run("sleep 0.1", { queue = q }))
    one:set_notify(false)
    assert.equal("completed", (one:wait(FAR)))
    assert.equal(0, #q)
    local told = assert(ledger.read(base .. "/tasks.jsonl"))[1]
    assert.same({ "completed", false }, { told.status, told.owed })
    temp.remove(base)
  end)

  it("makes ends of an earlier run told", function()
    local base = temp.directory()
    local path = base .. "/tasks.jsonl"
    sys.write_file(path, lines(start("a"), stop("a"), start("b"), stop("b")), 384)
    assert.same({ "a", "b" }, ids(ledger.undelivered(ledger.read(path))))
    assert.is_true(ledger.mark_delivered(path, { "a" }))
    assert.same({ "b" }, ids(ledger.undelivered(ledger.read(path))))
    assert.same({ nil, "ENOENT" }, { (ledger.mark_delivered(base .. "/no/such", { "b" })),
      (select(3, ledger.mark_delivered(base .. "/no/such", { "b" }))) })
    temp.remove(base)
  end)
end)

describe("ledger.follow", function()
  it("reads what is new, whole lines only, into the same tables", function()
    local dir = temp.directory()
    local path = dir .. "/tasks.jsonl"
    local update = ledger.follow(path)
    assert.same({}, update()) -- there is no file yet
    local function add(text)
      local file <close> = assert(sys.append(path))
      assert(file:write(text))
    end
    local begun, stopped = lines(start("a")), lines(stop("a"))
    add(begun)
    local tasks = update()
    assert.equal("running", tasks[1].status)
    add(stopped:sub(1, 20))
    assert.equal("running", update()[1].status)
    add(stopped:sub(21) .. lines(start("b")))
    assert.equal(tasks[1], update()[1])
    assert.same({ "failed", "running" }, { tasks[1].status, tasks[2].status })
    assert(ledger.mark(path, "end", { "b" }, { status = "lost" }))
    assert.equal("lost", update()[2].status)
    temp.remove(dir)
  end)
end)

describe("ledger.is_alive", function()
  local base, one, entry

  setup(function()
    base = temp.directory()
    task.set_dir(base)
    one = assert(task.run("exec sleep 60"))
    repeat
      entry = ledger.read(base .. "/tasks.jsonl")[1]
    until entry and entry.pid
  end)

  teardown(function()
    one:kill({ grace = 0 })
    one:wait(FAR)
    temp.remove(base)
  end)

  local function with(more)
    local copy = {}
    for name, value in pairs(entry) do
      copy[name] = value
    end
    for name, value in pairs(more) do
      copy[name] = value
    end
    return copy
  end

  it("is true for the process that was started", function()
    assert.is_true(ledger.is_alive(entry))
  end)

  it("is false for another one that has its pid by now", function()
    assert.is_false(ledger.is_alive(with({ born = entry.born - 1 })))
    assert.is_false(ledger.is_alive(with({ pid = sys.pid() })))
    assert.is_false(ledger.is_alive(with({ pid = 1 })))
  end)

  it("is false without a process", function()
    assert.is_false(ledger.is_alive(with({ pid = 0 })))
    assert.is_false(ledger.is_alive(with({ pid = 0x7fffffff })))
    local bare = with({})
    bare.pid = nil
    assert.is_false(ledger.is_alive(bare))
  end)

  it("is false for one that has ended, also while nobody has reaped it", function()
    local shell = assert(io.popen("sh -c 'echo $$; exit 0'"))
    local pid = shell:read("n")
    shell:read("a")
    assert.is_false(ledger.is_alive({ pid = pid, born = 1 }))
    shell:close()
    one:kill({ grace = 0 })
    one:wait(FAR)
    assert.is_false(ledger.is_alive(entry))
  end)
end)
