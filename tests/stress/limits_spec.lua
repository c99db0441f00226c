-- A machine that says no: the host stays alive, says what is wrong, and loses nothing in silence.
local json = require("agenthost.json")
local ledger = require("agenthost.ledger")
local program = require("support.program")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local tmux = require("support.tmux")

local FAR <const> = stress.FAR
local quote <const> = tmux.quote
local root <const> = tmux.run("id -u") == "0\n"

-- Every script starts with this. It is run with a directory for tasks as its argument, and with
-- $GO, a file that it may wait for.
local HEAD <const> = [[
package.path = ]] .. ("%q"):format(stress.tests .. "/?.lua;") .. [[ .. package.path
local json = require("agenthost.json")
local queue = require("agenthost.queue")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local dir, go = arg[1], os.getenv("GO")
local q = queue.new()
task.set_dir(dir)

local function say(value)
  assert(sys.write_fd(1, json.encode(value) .. "\n"))
end

-- The script goes on when the spec has made the file $GO with this text.
local function wait_for(text)
  assert(stress.eventually(function() return sys.read_file(go) == text end), text)
end

local function run(command, options)
  options = options or {}
  options.queue = q
  return assert(task.run(command, options))
end

-- Waits for each of these tasks. Gives how often each "STATUS REASON" was, without names of files.
local function count_ends(tasks)
  local counts = {}
  for _, one in ipairs(tasks) do
    local status, state = assert(one:wait(stress.FAR))
    local name = (status .. " " .. (state.reason or "")):gsub("/%S+:", "FILE:")
    counts[name] = (counts[name] or 0) + 1
  end
  return counts
end

-- Waits for one task and gives { status, reason }.
local function ended(one)
  local status, state = assert(one:wait(stress.FAR))
  return { status = status, reason = state.reason or "" }
end

-- How often each of these tasks was told: { told = ..., wrong = ... }.
local function count_told(tasks)
  local times = stress.by_task(stress.drain(q, #tasks))
  local counts = { told = 0, wrong = #q }
  for _, one in ipairs(tasks) do
    local name = times[one.id] == 1 and "told" or "wrong"
    counts[name] = counts[name] + 1
  end
  return counts
end
]]

describe("the host", function()
  local place, go

  before_each(function()
    place = program.place()
    go = place.dir .. "/go"
  end)

  after_each(function()
    place:close()
  end)

  local function start(script, command)
    local path = place:write("script.lua", HEAD .. script)
    return place:start({ path, place.state .. "/session", command = command, env = { GO = go } })
  end

  -- The objects that the script has printed so far.
  local function said(running)
    local list = {}
    for line in running:stdout():gmatch("([^\n]*)\n") do
      list[#list + 1] = assert(json.decode(line))
    end
    return list
  end

  local function wait_for_said(running, count)
    assert(stress.eventually(function() return #said(running) >= count or not running:alive() end))
    assert(#said(running) >= count, running:stderr())
  end

  local function finish(running)
    local result = running:wait(2 * FAR)
    assert.same({ 0, "" }, { result.code, result.stderr })
    return said(running)
  end

  -- The words before the program that give it other limits: options of prlimit.
  local function limited(...)
    local words = { "prlimit" }
    table.move({ ... }, 1, select("#", ...), 2, words)
    words[#words + 1] = program.path
    return words
  end

  -- The same as another user, whom nobody else is, with the place made over to him, and the line
  -- that makes a command his; nil when that cannot be done here.
  local function as_nobody(...)
    local uid = 200000 + sys.pid() % 100000
    local user = { "setpriv", "--reuid=" .. uid, "--regid=" .. uid, "--clear-groups" }
    local words = table.concat(user, " ") .. " "
    if not root or not select(2, tmux.run(words .. quote(program.path) .. " --version")) then
      return nil
    end
    assert(os.execute(("chown -R %d:%d %s"):format(uid, uid, quote(place.dir))))
    return table.move(limited(...), 1, select("#", ...) + 2, #user + 1, user), words
  end

  local function records(torn)
    return stress.records(place.state .. "/session", torn)
  end

  local function process_state(pid)
    return (program.read_file("/proc/" .. pid .. "/stat") or ""):match("%) (%a)")
  end

  it("that is stopped does not keep a task beyond its time", function()
    local running = start([[
      local one = run("sleep 60 & sleep 60", { timeout = 1, grace = 1 })
      local late = run("exec sleep 60", { timeout = 60 })
      wait_for("stopped")
      say(ended(one))
      say(count_told({ one }))
      late:kill({ grace = 0 })]])
    local function ends()
      local path = place.state .. "/session/tasks.jsonl"
      local text = program.read_file(path) or ""
      return text:find('"end"', 1, true) and records()
    end
    assert(stress.eventually(function()
      local text = program.read_file(place.state .. "/session/tasks.jsonl") or ""
      return select(2, text:gsub('"start"', "")) == 2
    end))
    running:signal("STOP")
    program.write_file(go, "stopped")
    local all = assert(stress.eventually(ends, 40), "the task did not end while the host stood")
    assert.equal("T", process_state(running.pid))
    assert.same({}, said(running))
    local last = all[#all]
    assert.same({ "end", "timeout" }, { last.type, last.status })
    assert.is_true(last.seconds >= 1 and last.seconds < 40)
    assert.same({}, stress.wait_for_no_process(function(id) return id == last.task end))
    running:signal("CONT")
    local told = finish(running)
    assert.same({ status = "timeout", reason = "its time was over" }, told[1])
    assert.same({ told = 1, wrong = 0 }, told[2])
  end)

  -- What has to be true of tasks while the ledger cannot be written, and after.
  local function assert_full(told, why)
    local unwritten = "the ledger could not be written: " .. why
    local noted, seen = 0, 0
    for name, count in pairs(told[1]) do
      if name:find(unwritten, 1, true) then
        seen = seen + count
      elseif name == "completed " or name == "failed " then -- `echo` has no room, either
        noted = noted + count
      else
        assert.truthy(name:find(why, 1, true), name)
      end
    end
    assert.is_true(noted > 0 and seen > 0, json.encode(told[1]))
    assert.same({ told = 60, wrong = 0 }, told[2])
    assert.truthy(told[3].message:find(unwritten, 1, true), told[3].message)
  end

  local FILL <const> = [[
    local tasks = {}
    for i = 1, 60 do
      tasks[i] = run("echo x #" .. ("y"):rep(i))
      tasks[i]:wait(stress.FAR)
    end
    say(count_ends(tasks))
    say(count_told(tasks))
    local _, message, code = q:ack()
    say({ message = tostring(message), code = code })
  ]]

  it("says that the disk is full, and goes on when there is room again", function()
    local disk = place.dir .. "/disk"
    if not root or not select(2, tmux.run(("mkdir %s && mount -t tmpfs -o size=32k none %s")
      :format(quote(disk), quote(disk)))) then
      return pending("no file system can be mounted here")
    end
    local told
    local ok, err = pcall(function()
      local running = start("dir = " .. ("%q"):format(disk .. "/session")
        .. "; task.set_dir(dir)\n" .. FILL .. [[
        local killed = run("exec sleep 60")
        killed:kill({ grace = 0 })
        say(ended(killed))
        os.execute("rm " .. dir .. "/tasks/*")
        wait_for("room")
        local one = run("echo again")
        say(ended(one))
        say({ output = one:output(), told = #stress.drain(q, 2) })
        assert(q:ack())]])
      wait_for_said(running, 4)
      assert(os.execute("mount -o remount,size=1m " .. quote(disk)))
      program.write_file(go, "room")
      told = finish(running)
      local last
      for _, one in ipairs(assert(ledger.read(disk .. "/session/tasks.jsonl"))) do
        last = one.command == "echo again" and one or last
      end
      assert.same({ "completed", true }, { last.status, last.delivered })
    end)
    assert(os.execute("umount -l " .. quote(disk)))
    assert(ok, err)
    assert_full(told, "No space left on device")
    assert.equal("killed", told[4].status)
    assert.same({ status = "completed", reason = "" }, told[5])
    assert.same({ output = "again\n", told = 2 }, told[6])
  end)

  it("says that a file may not grow (ulimit -f), and goes on", function()
    local running = start(FILL .. [[
      wait_for("room")
      local one = run("echo again")
      say(ended(one))
      say({ output = one:output(), told = #stress.drain(q, 1) })
    ]], limited("--fsize=4096:unlimited"))
    wait_for_said(running, 3)
    local room = "prlimit --fsize=unlimited --pid "
    for _, process in ipairs(place:processes()) do
      assert(os.execute(room .. process:match("^%d+")))
    end
    program.write_file(go, "room")
    local told = finish(running)
    assert_full(told, "File too large")
    assert.same({ status = "completed", reason = "" }, told[4])
    assert.same({ output = "again\n", told = 1 }, told[5])
    local all = records(true)
    assert.same({ "end", "completed" }, { all[#all].type, all[#all].status })
  end)

  it("says that the state directory cannot be written", function()
    local command = as_nobody()
    if root and not command then
      return pending("no other user can run the program")
    end
    assert(os.execute("chmod 500 " .. quote(place.state)))
    local running = start([[
      local one, message, code = task.run("true", { queue = q })
      say({ made = one ~= nil, message = message, code = code })
      wait_for("writable")
      say(ended(run("true")))
      assert(os.execute("chmod 500 " .. dir .. "/tasks"))
      say(ended(run("touch " .. dir .. "/never")))
      assert(os.execute("chmod 700 " .. dir .. "/tasks"))
      say(ended(run("true")))
      say({ told = #stress.drain(q, 3) })
      assert(q:ack())]], command)
    wait_for_said(running, 1)
    assert(os.execute("chmod 700 " .. quote(place.state)))
    program.write_file(go, "writable")
    local told = finish(running)
    assert.same({ made = false, code = "EACCES", message = told[1].message }, told[1])
    assert.truthy(told[1].message:find(place.state, 1, true), told[1].message)
    assert.equal("completed", told[2].status)
    assert.equal("error", told[3].status)
    assert.truthy(told[3].reason:find("output file .*: Permission denied"), told[3].reason)
    assert.is_nil(sys.stat(place.state .. "/session/never"))
    assert.same({ status = "completed", reason = "" }, told[4])
    assert.equal(3, told[5].told)
    records()
  end)

  -- 80 at once where far fewer fit; then, with those ended, one more.
  local CROWD <const> = [[
    task.set_max_running(200)
    local tasks, counts, reasons = {}, {}, {}
    local escaped = assert(task.run("setsid sleep 60 & echo up; exec sleep 60"))
    assert(stress.eventually(function() return escaped:output() == "up\n" end))
    for i = 1, 80 do
      tasks[i] = run("echo x >> " .. dir .. "/ran; exec sleep 60")
    end
    assert(stress.eventually(function()
      for _, one in ipairs(tasks) do
        if one:status() == "queued" then
          return false
        end
      end
      return true
    end))
    for _, one in ipairs(tasks) do
      local status, state = one:status()
      counts[status] = (counts[status] or 0) + 1
      if state.reason then
        reasons[state.reason] = true
      end
    end
    local function ran()
      return #(sys.read_file(dir .. "/ran") or "") // 2
    end
    stress.eventually(function() return ran() >= counts.running end)
    escaped:kill({ grace = 0 })
    assert(escaped:wait(stress.FAR))
    local left = stress.processes(function(id) return id == escaped.id end)
    for _, one in ipairs(tasks) do
      one:kill({ grace = 0 })
    end
    say({ counts = counts, reasons = reasons, ran = ran(), left = #left })
    say(count_told(tasks))
    assert(q:ack())
    local one = run("echo again")
    say(ended(one))
    say({ output = one:output(), told = #stress.drain(q, 1) })
    assert(q:ack())
  ]]

  local function assert_crowd(told, reason)
    local counts = told[1].counts
    assert.same({ [reason] = true }, told[1].reasons)
    assert.is_true(counts.running > 5, "too few run")
    assert.is_true(counts.error > 5, "too few do not")
    assert.equal(80, counts.running + counts.error)
    assert.equal(counts.running, told[1].ran, "what is an error must not have run")
    assert.equal(0, told[1].left, "processes that left their task's group")
    assert.same({ told = 80, wrong = 0 }, told[2])
    assert.same({ status = "completed", reason = "" }, told[3])
    assert.same({ output = "again\n", told = 1 }, told[4])
    local ends = stress.count(records(), "end")
    for id, count in pairs(ends) do
      assert.equal(1, count, id)
    end
    assert.same({}, ledger.undelivered(assert(ledger.read(
      place.state .. "/session/tasks.jsonl"))))
  end

  it("says that there are no descriptors left (ulimit -n 64)", function()
    assert_crowd(finish(start(CROWD, limited("--nofile=64"))),
      "cannot start a process: Too many open files")
  end)

  it("says that there are no processes left (ulimit -u)", function()
    local command = as_nobody("--nproc=30")
    if not command then
      return pending("this needs a user of its own")
    end
    assert_crowd(finish(start(CROWD, command)),
      "cannot start a process: Resource temporarily unavailable")
  end)

  it("says that no supervisor can be started, and goes on when it can", function()
    local command, his = as_nobody()
    if not command then
      return pending("this needs a user of its own")
    end
    local running = start([[
      say(ended(run("setsid sleep 60 & true")))
      wait_for("killed")
      say(ended(run("true")))
      wait_for("more")
      -- By itself, to end what the killed one has left.
      assert(stress.eventually(function() return stress.supervisors()[1] end), "none")
      say(ended(run("true")))
      say({ told = #stress.drain(q, 3) })
      assert(q:ack())]], command)
    wait_for_said(running, 1)
    local function limit(count)
      assert(os.execute(("%s prlimit --nproc=%d:1000 --pid %d"):format(his, count, running.pid)))
    end
    limit(#assert(sys.list(("/proc/%d/task"):format(running.pid))))
    local supervisor
    for _, process in ipairs(place:processes()) do
      supervisor = supervisor or process:match("^(%d+) %S*agenthost%-supervisor")
    end
    assert(os.execute("kill -KILL " .. supervisor))
    assert(stress.eventually(function() return not sys.stat("/proc/" .. supervisor) end))
    program.write_file(go, "killed")
    wait_for_said(running, 2)
    limit(1000)
    program.write_file(go, "more")
    local told = finish(running)
    assert.equal("completed", told[1].status)
    assert.equal("error", told[2].status, told[2].reason)
    assert.truthy(told[2].reason:find("^cannot start the supervisor /.*: Resource temporarily"),
      told[2].reason)
    assert.equal("completed", told[3].status)
    assert.equal(3, told[4].told)
  end)
end)
