local async = require("agenthost.async")
local ledger = require("agenthost.ledger")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local raised = temp.raised
local FAR <const> = 30 -- seconds: a bound that no passing test reaches

local function texts(notices)
  local found = {}
  for i, notice in ipairs(notices) do
    found[i] = notice.text
  end
  return found
end

describe("agenthost.queue", function()
  local q

  before_each(function()
    q = queue.new()
  end)

  after_each(function()
    q:close()
  end)

  local function push(...)
    for _, text in ipairs({ ... }) do
      assert(q:push({ kind = "test", text = text }))
    end
  end

  it("keeps order and counts from 1", function()
    assert.equal(1, q:push({ kind = "test", text = "a" }))
    assert.equal(2, q:push({ kind = "test", text = "b" }))
    assert.equal(2, #q)
    assert.same({ { kind = "test", text = "a", seq = 1 }, { kind = "test", text = "b", seq = 2 } },
      q:drain())
    assert.equal(0, #q)
    assert.same({}, q:drain())
  end)

  it("keeps types and bytes of fields, and gives seq itself", function()
    assert(q:push({ kind = "k", text = "a\0\xff", n = 7, x = 0.5, yes = true, no = false,
      seq = 99 }))
    local notice = q:drain()[1]
    assert.same({ kind = "k", text = "a\0\xff", n = 7, x = 0.5, yes = true, no = false, seq = 1 },
      notice)
    assert.equal("integer", math.type(notice.n))
  end)

  it("says what is in flight, and takes one that waits there", function()
    push("a", "b", "c")
    assert.same({}, q:in_flight())
    assert.is_true(q:withdraw(2))
    assert.is_false(q:withdraw(2))
    assert.is_false(q:withdraw(99))
    assert.same({ "b" }, texts(q:in_flight()))
    assert.same({ "a", "c" }, texts(q:drain()))
    assert.same({ "a", "b", "c" }, texts(q:in_flight()))
    assert.equal(2, q:ack(2))
    assert.same({ "c" }, texts(q:in_flight()))
    q:requeue()
    assert.same({}, q:in_flight())
    assert.same({ "c" }, texts(q:drain()))
  end)

  it("says all that is in flight, also when that is much", function()
    for i = 1, 200 do
      assert(q:push({ kind = "test", n = i }))
    end
    q:drain()
    local found = q:in_flight()
    assert.same({ 200, 1, 200 }, { #found, found[1].n, found[200].n })
  end)

  it("drains more than one batch at once", function()
    for i = 1, 1000 do
      assert(q:push({ kind = "test", n = i }))
    end
    local notices = q:drain()
    assert.equal(1000, #notices)
    for i, notice in ipairs(notices) do
      assert.equal(i, notice.n)
    end
    assert.equal(1000, q:ack(1000))
  end)

  it("puts back what was not acknowledged, before what came later", function()
    push("a", "b", "c")
    local notices = q:drain()
    assert.equal(1, q:ack(notices[1].seq))
    assert.equal(0, q:ack(notices[1].seq))
    push("d")
    assert.equal(2, q:requeue())
    assert.equal(0, q:requeue())
    assert.same({ "b", "c", "d" }, texts(q:drain()))
    assert.equal(3, q:ack(4))
    assert.equal(0, q:requeue())
  end)

  it("acknowledges all that is in flight when it is not said up to where", function()
    push("a", "b", "c")
    q:drain()
    push("d")
    assert.equal(3, q:ack())
    assert.equal(0, q:ack())
    assert.equal(0, q:requeue())
    assert.same({ "d" }, texts(q:drain()))
  end)

  it("acknowledges only what is in flight", function()
    push("a")
    assert.equal(0, q:ack(1))
    assert.equal(0, q:ack(-1))
    assert.equal(1, #q)
  end)

  it("waits outside a job", function()
    assert.is_false(q:wait(0.01))
    push("a")
    assert.is_true(q:wait(0))
    assert.is_true(q:wait())
    assert.equal(1, #q) -- waiting takes nothing
  end)

  it("waits inside a job for what another pushes", function()
    async.run(function()
      local waiter = async.spawn(function() return q:wait(10) end)
      async.spawn(function() push("a") end)
      assert.is_true(waiter:wait())
      assert.is_true(q:wait(0))
    end)
  end)

  -- The news of a push may come after the notice was drained: the time is not over then.
  it("does not end early for news of what was drained already", function()
    local started = sys.now()
    push("a")
    q:drain()
    assert.is_false(q:wait(0.05))
    assert.is_true(sys.now() - started >= 0.05)
    push("b")
    q:drain()
    assert.is_false(async.run(function() return q:wait(0.05) end))
    assert.is_true(sys.now() - started >= 0.1)
  end)

  it("gives its id to async.wait_any", function()
    async.run(function()
      async.spawn(function() push("a") end)
      assert.equal(q:waitable(), async.wait_any({ q:waitable(), {} }, 10))
    end)
  end)

  it("says what is wrong with a notice", function()
    for pattern, notice in pairs({
      ["a notice needs a field 'kind' that says what it is"] = {},
      ["notice field 'x': expected a string, number or boolean, got a table"] = { kind = "k",
        x = {} },
      ["the fields of a notice have names"] = { "positional", kind = "k" },
    }) do
      assert.matches(pattern, raised(q.push, q, notice), 1, true)
    end
    assert.matches("needs a field 'kind'", raised(q.push, q, { kind = 7 }))
    assert.matches("table expected", raised(q.push, q, "text"))
    assert.matches("number expected", raised(q.ack, q, "x"))
    local many = { kind = "k" }
    for i = 1, 64 do
      many["f" .. i] = i
    end
    assert.matches("notice field 'f?%w+': ", raised(q.push, q, many))
    assert.equal(0, #q)
  end)

  it("refuses the kind that belongs to the task runner", function()
    assert.matches("notices of kind 'task' come from the task runner only",
      raised(q.push, q, { kind = "task", task = "00000000", status = "completed" }), 1, true)
    assert.matches("task runner only", raised(q.push, q, { kind = "task\0x" }))
  end)

  it("is an error message when it is closed, not a crash", function()
    q:close()
    q:close()
    for _, method in ipairs({ "push", "drain", "ack", "requeue", "wait", "waitable" }) do
      assert.matches("the queue is closed", raised(q[method], q, { kind = "k" }))
    end
    assert.matches("the queue is closed", raised(function() return #q end))
  end)

  it("refuses other handles", function()
    assert.matches("agenthost.queue expected", raised(q.drain, io.stdout))
    assert.matches("agenthost.queue expected", raised(q.drain))
  end)

  it("closes with the block that declares it", function()
    local outer
    do
      local inner <close> = queue.new()
      outer = inner
    end
    assert.matches("the queue is closed", raised(outer.drain, outer))
  end)
end)

-- What the ledger says of ends: owed until the message that tells them is on disk.
describe("q:ack", function()
  local base, q

  before_each(function()
    base = temp.directory()
    task.set_dir(base)
    q = queue.new()
  end)

  after_each(function()
    q:close()
    temp.remove(base)
  end)

  local function ended(options)
    options = options or {}
    options.queue = q
    local one = assert(task.run("exit 3", options))
    assert.equal("failed", (one:wait(FAR)))
    return one
  end

  local function undelivered()
    local ids = {}
    for i, one in ipairs(ledger.undelivered(assert(ledger.read(base .. "/tasks.jsonl")))) do
      ids[i] = one.id
    end
    return ids
  end

  it("notes that an end is delivered", function()
    local a, b = ended(), ended()
    assert.same({ a.id, b.id }, undelivered())
    local notices = q:drain()
    assert.same({ a.id, b.id }, undelivered()) -- drained is not yet on disk
    assert.equal(1, q:ack(notices[1].seq))
    assert.same({ b.id }, undelivered())
    assert.equal(1, q:ack())
    assert.same({}, undelivered())
  end)

  it("notes nothing for what was put back", function()
    local a = ended()
    q:drain()
    q:requeue()
    assert.equal(0, q:ack())
    assert.same({ a.id }, undelivered())
  end)

  it("notes what a tool has told: acknowledged first", function()
    local a = ended()
    assert.is_true(a:acknowledge())
    assert.equal(0, #q)
    assert.same({ a.id }, undelivered()) -- the message of the tool is not on disk
    assert.equal(1, q:ack())
    assert.same({}, undelivered())
    assert.equal(0, q:ack())
    assert.is_true(a:acknowledge())
  end)

  -- The tool's message did not come to be, and the tool tells it again.
  it("notes what was acknowledged, put back, and acknowledged again", function()
    local a, b = ended(), ended()
    assert.is_true(b:acknowledge())
    assert.equal(1, #q)
    assert.equal(1, q:requeue())
    assert.equal(2, #q)
    assert.is_true(b:acknowledge())
    assert.equal(1, #q)
    q:drain()
    q:requeue()
    local order = {}
    for i, notice in ipairs(q:drain()) do
      order[i] = notice.task
    end
    assert.same({ a.id, b.id }, order)
    assert.equal(2, q:ack())
    assert.same({}, undelivered())
  end)

  it("leaves other kinds of notices and ends that nobody asked for alone", function()
    q:push({ kind = "test", task = "00000000" })
    ended({ notify = false })
    q:drain()
    assert.equal(1, q:ack())
    assert.same({}, undelivered())
    assert.is_nil(sys.read_file(base .. "/tasks.jsonl"):find("delivered", 1, true))
  end)

  it("says so when the ledger cannot be written, and forgets them all the same", function()
    ended()
    q:drain()
    temp.remove(base)
    temp.write(base, "in the way")
    local other = queue.new() -- another ledger in between, so that this one is opened anew
    task.set_dir(base .. "-other")
    local one = assert(task.run("true", { queue = other }))
    one:wait(FAR)
    other:drain()
    assert.equal(1, other:ack())
    other:close()
    temp.remove(base .. "-other")
    local count, message, code = q:ack()
    assert.is_nil(count)
    assert.matches("^the ledger could not be written: ", message)
    assert.equal("ENOTDIR", code)
    assert.equal(0, q:requeue())
  end)
end)
