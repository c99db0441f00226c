-- The tasks of a session whose host has ended: what ended is told once, what runs is adopted.
local agents = require("support.agents")
local async = require("agenthost.async")
local earlier = require("agenthost.earlier")
local inbox = require("agenthost.inbox")
local json = require("agenthost.json")
local ledger = require("agenthost.ledger")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call, reply = agents.call, agents.reply
local FAR <const> = 30 -- seconds: a bound that no passing test reaches

-- The start time of a process, as a ledger has it.
local function born(pid)
  local stat = assert(sys.read_file("/proc/" .. pid .. "/stat", 4096))
  local values = {}
  for value in stat:match("^.*%)(.*)$"):gmatch("%S+") do
    values[#values + 1] = value
  end
  return tonumber(values[20])
end

describe("the tasks of an earlier host", function()
  local dir, q, pipes

  before_each(function()
    dir, q, pipes = temp.directory(), queue.new(), {}
  end)

  after_each(function()
    for pid, pipe in pairs(pipes) do
      os.execute("kill -KILL -" .. pid .. " 2>/dev/null")
      pipe:close()
    end
    q:close()
    temp.remove(dir)
  end)

  local function note(...)
    local file <close> = assert(sys.append(dir .. "/tasks.jsonl"))
    for _, record in ipairs({ ... }) do
      record.time = record.time or sys.wall()
      assert(file:write(json.encode(record) .. "\n"))
    end
  end

  local function start(id, more)
    local record = { type = "start", task = id, pid = 1, born = 0, owed = true, detached = false,
      command = "run " .. id, cwd = dir, output = dir .. "/" .. id .. ".log" }
    for name, value in pairs(more or {}) do
      record[name] = value
    end
    return record
  end

  local function stop(id, more)
    local record = { type = "end", task = id, status = "failed", code = 3, seconds = 3.5 }
    for name, value in pairs(more or {}) do
      record[name] = value
    end
    return record
  end

  -- A process in a session of its own, as the supervisor starts them.
  local function process(command)
    local pipe = assert(io.popen("exec setsid -w sh -c 'echo $$; " .. command .. "'", "r"))
    local pid = assert(pipe:read("n"))
    pipes[pid] = pipe
    return pid
  end

  local function statuses(notices)
    local found = {}
    for i, notice in ipairs(notices) do
      found[i] = (notice.task or notice.kind) .. " " .. (notice.status or "")
    end
    return found
  end

  it("are told when they have ended and no message says so", function()
    note(start("a"), stop("a"), start("b"), stop("b"), { type = "delivered", task = "b" },
      start("c", { owed = false }), stop("c"), start("d"), stop("d", { status = "completed" }))
    temp.write(dir .. "/a.log", "some output\n")
    local all = earlier.new(dir, q, { d = true })
    assert.equal(0, #q) -- not before there is something to say to the model
    all:introduce()
    local notices = all:fill(q:drain())
    assert.same({ "a failed", "session " }, statuses(notices))
    assert.equal("some output\n", (notices[1].source:output()))
    assert.equal("a: [failed] run a\nb: [failed] run b\nd: [completed] run d",
      notices[2].text:match("tasks:\n(.*)$"))
    q:requeue()
    all:introduce()
    assert.same({ "a failed", "session " }, statuses(all:fill(q:drain())))
    q:ack()
    assert(all:delivered({ "a", "foreign" }))
    local tasks = ledger.read(dir .. "/tasks.jsonl")
    assert.same({}, ledger.undelivered(tasks)) -- that of d was written when it was found
    assert.equal(4, #tasks)
    local again = earlier.new(dir, q, {})
    again:introduce()
    assert.equal(0, #q) -- nothing new: no table
  end)

  it("are forgotten when a policy drops their ends, whatever comes with them", function()
    note(start("a"), stop("a"), start("b"), stop("b", { code = 0, status = "completed" }))
    local all = earlier.new(dir, q, {})
    local box = inbox.new(q, function(one) return one.code == 3 and "drop" or "hold" end, error)
    box.earlier = all
    all:introduce()
    assert.is_nil(box:due())
    q:close() -- the host dies, with b in flight
    q = queue.new()
    local found = ledger.undelivered(ledger.read(dir .. "/tasks.jsonl"))
    assert.same({ "b" }, { found[1].id, found[2] and found[2].id })
  end)

  it("are lost when they are gone and nobody noted their end; once for all", function()
    note(start("a", { time = 1 }), start("b", { pid = sys.pid(), time = 1 }),
      start("q", { type = "queued", time = 1 }))
    earlier.new(dir, q, {})
    local found = {}
    for i, one in ipairs(ledger.read(dir .. "/tasks.jsonl")) do
      found[i] = one.id .. " " .. one.status .. " " .. one.reason
    end
    assert.same({ "a lost its agenthost and the supervisor are gone",
      "b lost its agenthost and the supervisor are gone",
      "q error agenthost stopped before it was started" }, found)
  end)

  it("whose end their supervisor is about to note are waited for", function()
    note(start("a"))
    async.run(function()
      async.spawn(function()
        async.sleep(0.2)
        note(stop("a", { status = "killed", reason = "by the end of agenthost" }))
      end)
      local all = earlier.new(dir, q, {})
      assert.equal("killed", (all:find("a"):status()))
    end)
  end)

  it("that run are adopted, found, watched and told at their end", function()
    local pid = process("sleep 60")
    note(start("a", { pid = pid, born = born(pid), detached = true }))
    temp.write(dir .. "/a.log", "so far")
    async.run(function()
      local all = earlier.new(dir, q, {})
      all:introduce()
      assert.equal("a: [running] run a", all:fill(q:drain())[1].text:match("tasks:\n(.*)$"))
      q:ack()
      local one = all:find("a")
      local status, state = one:status()
      assert.same({ "running", pid, false, true }, { status, state.pid, state.ended, state.notify })
      assert.equal("far", (one:output({ since = 3 })))
      assert.same({ "EPIPE" }, { select(3, one:write("x")) })
      assert.is_false(one:acknowledge())
      assert.equal("TIMEOUT", select(3, one:wait(0.05)))
      note(stop("a", { status = "completed", code = 0 }))
      assert.is_true(q:wait(FAR))
      assert.same({ "a completed" }, statuses(all:fill(q:drain())))
      assert.equal("completed", (one:wait()))
      assert.is_false(one:acknowledge()) -- in flight
      q:requeue()
      assert.is_true(one:acknowledge())
      assert.equal(0, #q)
      all:close()
    end)
    assert.is_true(ledger.read(dir .. "/tasks.jsonl")[1].adopted)
  end)

  it("are killed with all that they have started, hard if need be", function()
    local pid = process('trap "" TERM; sleep 60 & wait; sleep 60')
    note(start("a", { pid = pid, born = born(pid), detached = true }))
    async.run(function()
      local all = earlier.new(dir, q, {})
      all:introduce()
      local one = all:find("a")
      assert.is_true(one:kill({ grace = 0.1, by = "the model" }))
      local deadline = sys.now() + FAR
      repeat
        async.sleep(0.02)
      until not ledger.is_alive(one.record) or sys.now() > deadline
      note(stop("a", { code = nil, signal = 9 }))
      local status, state = one:wait(FAR)
      assert.same({ "killed", "by the model" }, { status, state.reason })
      assert.is_false(one:kill())
      all:close()
    end)
  end)

  it("never include another process that has got their number", function()
    note(start("a", { pid = sys.pid(), detached = true, time = 1 }))
    local all = earlier.new(dir, q, {})
    assert.is_false(all:find("a"):kill())
    assert.equal("lost", (all:find("a"):status()))
  end)

  it("are a short table, those that run first", function()
    local pid = process("sleep 60")
    note(start("0", { pid = pid, born = born(pid), detached = true }))
    for i = 1, 30 do
      note(start("t" .. i), stop("t" .. i))
    end
    local lines = {}
    for line in earlier.table(earlier.new(dir, q, {}):tasks()):gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    assert.equal(21, #lines)
    assert.same({ "0: [running] run 0", "t12: [failed] run t12", "t30: [failed] run t30",
      "[... 11 older tasks left out ...]" }, { lines[1], lines[2], lines[20], lines[21] })
  end)
end)

describe("an agent that goes on", function()
  local place

  before_each(function()
    place = agents.place()
  end)

  after_each(function()
    place:close()
  end)

  -- As if the host of `made` had died: its session is let go, and nothing is told any more.
  local function resume(made, turns)
    made:close()
    table.remove(place.made)
    return place:new(turns, { plugins = { "background", "shell" }, session = made.session.id })
  end

  it("works with the tasks of the session by the usual tools", function()
    local made = place:new({ reply(call("background_run", { command = "echo one; exit 4" })),
      reply("Started.") }, { plugins = { "background", "shell" } })
    assert(made:run("Start it"))
    local task = made:list_tasks()[1]
    assert(task:wait(FAR))
    if #made.queue == 0 then -- it ended before the last request: told already
      assert.matches("failed", json.encode(made.provider.requests[2]))
    end
    local told_before = #made.queue == 0
    made = resume(made, {
      reply(call("check_background"), call("background_output", { task_id = task.id })),
      reply(call("check_background", { task_id = task.id })),
      reply("Seen."),
      reply("Well."),
    })
    assert(made:run("And?"))
    local requests = made.provider.requests
    local results = requests[2][#requests[2]].content
    assert.equal(task.id .. ": [failed] echo one; exit 4", results[1].content)
    assert.matches("^one\n\n%[output up to byte 4; status: failed%]", results[2].content)
    assert.matches("exit code 4", requests[3][#requests[3]].content[1].content)
    local text = json.encode(requests[3])
    assert.equal(1, select(2, text:gsub("%[bg:" .. task.id .. "%]", "")))
    assert.equal(told_before, json.encode(requests[1]):find("Its background tasks", 1, true) == nil)
    assert.same({}, ledger.undelivered(ledger.read(made.session.dir .. "/tasks.jsonl")))
  end)

  it("is not told an end again that the line of a message names", function()
    local made = place:new({ reply(call("background_run", { command = "true" })),
      reply("Started."), reply("Good.") }, { plugins = { "background", "shell" } })
    assert(made:run("Start it"))
    assert(made:list_tasks()[1]:wait(FAR))
    if #made.queue > 0 then
      assert(made:run())
    end
    local path = made.session.dir .. "/tasks.jsonl"
    local text = sys.read_file(path):gsub('{"type":"delivered"[^\n]*\n', "")
    assert(sys.write_file(path, text)) -- it died before the mark
    made = resume(made, { reply("Fine.") })
    assert(made:run("And?"))
    local sent = json.encode(made.provider.requests[1])
    assert.equal(1, select(2, sent:gsub("<background%-results", "")))
    assert.is_true(ledger.read(path)[1].delivered)
  end)
end)
