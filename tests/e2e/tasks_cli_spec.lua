-- `agenthost tasks`: from another terminal, while agenthost runs and after it.
local case = require("support.case")
local json = require("agenthost.json")
local sys = require("agenthost.sys")
local tmux = require("support.tmux")

local DEADLINE <const> = 60
local BY <const> = "by `agenthost tasks kill`"

describe("agenthost tasks", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    for i = #t.place.running, 1, -1 do -- ends its tasks in good order
      local running = t.place.running[i]
      if running.pipe then
        running:signal("TERM")
        running:wait(DEADLINE)
      end
    end
    t:finish()
  end)

  local function tasks(...)
    return t:run({ "tasks", ... })
  end

  local function listed(...)
    local result = tasks("--json", ...)
    assert.equal(0, result.code, result.stderr)
    return assert(json.decode(result.stdout)), result.stdout
  end

  -- A run of agenthost with these commands in the background; comes back when all are in the
  -- ledger as running or ended. Their tasks by command.
  local function start(...)
    local calls, wanted = {}, select("#", ...)
    for i, command in ipairs({ ... }) do
      calls[i] = { name = "background_run", input = { command = command } }
    end
    if t.server then
      t.server.stop()
    end
    t:script({ tools = calls }, { text = "Started." },
      { when = { last_user_contains = "<background-results>" }, text = "Noted." })
    local before = #listed()
    local running = t:start({ "-p", "x" })
    local by_command = {}
    assert(tmux.eventually(function()
      local found, begun = listed(), true
      for _, one in ipairs(found) do
        by_command[one.command] = one
        begun = begun and one.status ~= "queued"
      end
      return begun and #found == before + wanted
    end, DEADLINE))
    return by_command, running
  end

  it("says that there are none", function()
    local result = tasks()
    assert.same({ 0, "", "no tasks\n" }, { result.code, result.stdout, result.stderr })
    assert.same("[]\n", select(2, listed()))
    assert.equal(0, tasks("--session", "no-such-session").code)
  end)

  it("lists what runs and what has ended, of a run that goes on", function()
    local started = start("exit 3", "echo up; touch up; exec sleep 600")
    assert(tmux.eventually(function() return t.place:read("up") end, DEADLINE))
    assert(tmux.eventually(function() return listed()[1].status == "failed" end, DEADLINE))
    local result = tasks()
    assert.equal(0, result.code, result.stderr)
    local first, second = table.unpack(case.lines(result.stdout))
    assert.matches("^" .. started["exit 3"].id .. "  failed 3 +%d+%.%d s  exit 3$", first)
    local sleeper = started["echo up; touch up; exec sleep 600"]
    assert.matches("^" .. sleeper.id .. "  running +%d+%.%d s  echo up; touch up; exec sleep 600$",
      second)
    assert.equal(2, #case.lines(result.stdout))
  end)

  it("gives all that is known as JSON", function()
    local command = "printf 'a \"b\"\\n'; exec sleep 600"
    local one = start(command)[command]
    assert.matches("^%x%x%x%x%x%x%x%x$", one.id)
    assert.same({ "running", command, t.place.work, true, false, false },
      { one.status, one.command, one.cwd, one.owed, one.delivered, one.detached })
    assert.matches("/tasks/" .. one.id .. "%.log$", one.output)
    assert.truthy(one.output:find("/" .. one.session .. "/", 1, true))
    assert.is_true(one.pid > 1 and math.abs(one.started - sys.wall()) < 100)
    assert.is_nil(one.ended)
  end)

  it("--session lists those of one session", function()
    local a = start("exec sleep 601")["exec sleep 601"]
    local b = start("exec sleep 602")["exec sleep 602"]
    assert.not_equal(a.session, b.session)
    local found = listed("--session", b.session)
    assert.same({ 1, b.id }, { #found, found[1].id })
    assert.equal(2, #listed())
    assert.matches("^" .. a.id .. "[^\n]*\n$", tasks("--session", a.session).stdout)
    assert.same({}, (listed("--session", "no-such-session")))
  end)

  it("kill ends a task of another process, which hears of it", function()
    local started, running = start("exec sleep 600")
    local one = started["exec sleep 600"]
    local result = tasks("kill", one.id)
    assert.equal(0, result.code, result.stderr)
    assert.equal(("ended task %s: exec sleep 600\n"):format(one.id), result.stdout)
    local found = listed()[1]
    assert.same({ "killed", 15, BY }, { found.status, found.signal, found.reason })
    assert.equal("Noted.\n", running:wait(DEADLINE).stdout)
    local told = json.encode(t.server.requests()[#t.server.requests()].body)
    assert.truthy(told:find("killed", 1, true) and told:find(BY, 1, true), told)
    result = tasks("kill", one.id)
    assert.same({ 1, "" }, { result.code, result.stdout })
    assert.matches("task " .. one.id .. " has ended: %a+", result.stderr)
  end)

  it("kill ends what ignores TERM, and what it has started", function()
    local command = "trap '' TERM; touch up; while :; do sleep 0.1; done"
    local one = start(command)[command]
    assert(tmux.eventually(function() return t.place:read("up") end, DEADLINE))
    local result = tasks("kill", one.id)
    assert.equal(0, result.code, result.stderr)
    assert.is_true(result.seconds >= 4)
    local found = listed()[1]
    assert.same({ "killed", 9, BY }, { found.status, found.signal, found.reason })
  end)

  -- What still runs of these commands; `sleep` with a number of seconds that nobody else has.
  local function left(seconds)
    local found = {}
    for _, process in ipairs(t.place:processes()) do
      if process:find("sleep " .. seconds, 1, true) then
        found[#found + 1] = process
      end
    end
    return found
  end

  it("kill ends what has left the session of the task, too", function()
    local command = "setsid sleep 6071 & setsid sh -c 'trap \"\" TERM; touch up; sleep 6072' & "
      .. "exec sleep 6074"
    local one = start(command)[command]
    assert(tmux.eventually(function()
      return t.place:read("up") and #left("607") >= 3
    end, DEADLINE))
    local result = tasks("kill", one.id)
    assert.equal(0, result.code, result.stderr)
    assert.same({}, left("607"))
    local found = listed()[1]
    assert.same({ "killed", 15, BY }, { found.status, found.signal, found.reason })
  end)

  -- A detached task that sleeps for so many seconds, when its agenthost has gone.
  local function start_detached(seconds)
    local path = t.place:write("detach.lua", ([[
      local task = require("agenthost.task")
      task.set_dir(require("agenthost.session").base_dir() .. "/by-hand")
      local one = assert(task.run("setsid sleep %d & exec sleep %d", { lifetime = "detached" }))
      while one:status() == "queued" do
        require("agenthost.async").sleep(0.01)
      end]]):format(seconds, seconds))
    assert(t:run({ path }).code == 0)
    assert(tmux.eventually(function() return #left(seconds) == 2 end, DEADLINE))
    local one = listed()[1]
    assert.same({ "running", true }, { one.status, one.detached })
    return one
  end

  it("kill ends a detached task whose agenthost has gone", function()
    local one = start_detached(6081)
    local result = tasks("kill", one.id)
    assert.same({ 0, "" }, { result.code, result.stderr })
    local found = listed()
    assert.same({ 1, "killed", 15, BY },
      { #found, found[1].status, found[1].signal, found[1].reason })
    assert(tmux.eventually(function() return #t.place:processes() == 0 end, DEADLINE))
  end)

  it("kill ends a detached task whose supervisor is dead, of which nobody knows the end", function()
    local one = start_detached(6082)
    for _, process in ipairs(t.place:processes()) do
      local pid = process:match("^(%d+) %S*agenthost%-supervisor")
      assert(not pid or os.execute("kill -KILL " .. pid))
    end
    local result = tasks("kill", one.id)
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.is_false(require("agenthost.ledger").is_alive(one))
    assert.same({ "lost", nil }, { listed()[1].status, listed()[1].signal })
    assert.is_nil(t.place:read(one.output:gsub("log$", "kill")))
    for _, process in ipairs(left(6082)) do -- it had left the session: nobody could know of it
      assert(os.execute("kill -KILL " .. process:match("^%d+")))
    end
  end)

  it("tail prints what a task has printed", function()
    local command = "echo one; printf '\\033[31mtwo\\033[0m\\n'; touch up; exec sleep 600"
    local one = start(command)[command]
    assert(tmux.eventually(function() return t.place:read("up") end, DEADLINE))
    local result = tasks("tail", one.id)
    assert.same({ 0, "one\ntwo\n", "" }, { result.code, result.stdout, result.stderr })
  end)

  it("tail -f follows until the task ends", function()
    local command = "echo first; touch up; until test -e go; do sleep 0.05; done; seq 1 20000; "
      .. "printf last"
    local one = start(command)[command]
    assert(tmux.eventually(function() return t.place:read("up") end, DEADLINE))
    local follower = t:start({ "tasks", "tail", "-f", one.id })
    assert(tmux.eventually(function() return follower:stdout() == "first\n" end, DEADLINE))
    assert.is_true(follower:alive())
    t.place:write("go", "")
    local result = follower:wait(DEADLINE)
    assert.equal(0, result.code, result.stderr)
    local lines = case.lines(result.stdout)
    assert.same({ "first", "1", "20000", "last", 20002 },
      { lines[1], lines[2], lines[20001], lines[20002], #lines })
    -- and of one that has ended it is the same as without -f
    assert.equal(result.stdout, tasks("tail", "-f", one.id).stdout)
  end)

  it("tail -f of a task ends when its agenthost is killed", function()
    local command = "echo first; exec sleep 600"
    local started, running = start(command)
    local follower = t:start({ "tasks", "tail", "-f", started[command].id })
    assert(tmux.eventually(function() return follower:stdout() == "first\n" end, DEADLINE))
    running:signal("KILL")
    running:wait(DEADLINE)
    local result = follower:wait(DEADLINE)
    assert.same({ 0, "first\n" }, { result.code, result.stdout })
    assert.equal("killed", listed()[1].status)
    assert.equal("by the end of agenthost", listed()[1].reason)
  end)

  it("tail -f stops when nobody reads it any more", function()
    local command = "yes | head -n 100000; exec sleep 600"
    local one = start(command)[command]
    local output = tmux.run(("cd / && env -i PATH=$PATH HOME=%s XDG_STATE_HOME=%s %s tasks tail "
      .. "-f %s | head -n 2"):format(t.place.home, t.place.state,
      require("support.program").path, one.id))
    assert.equal("y\ny\n", output)
  end)

  -- The supervisor was killed with its host, so that nobody could note the end.
  it("says lost of what nobody could note", function()
    local started, running = start("exec sleep 600")
    local one = started["exec sleep 600"]
    local supervisor
    for _, process in ipairs(t.place:processes()) do
      supervisor = supervisor or process:match("^(%d+) %S*agenthost%-supervisor")
    end
    -- Both at once: neither may see the other die.
    assert(os.execute(("kill -STOP %d %d"):format(running.pid, supervisor)))
    assert(tmux.eventually(function()
      local states = tmux.run(("cat /proc/%d/task/*/stat /proc/%d/task/*/stat"):format(running.pid,
        supervisor))
      return not states:find("%) [^T]")
    end, DEADLINE))
    assert(os.execute(("kill -KILL %d %d"):format(supervisor, running.pid)))
    running:wait(DEADLINE)
    assert(tmux.eventually(function() -- the kernel ends the command when its parent has died
      return listed()[1].status == "lost"
    end, DEADLINE))
    assert.equal("its process is gone, and nobody noted its end", listed()[1].reason)
    assert.matches("has ended: lost", tasks("kill", one.id).stderr)
  end)

  it("passes over a ledger that is broken", function()
    start("exec sleep 600")
    t.place:write(t.place.state .. "/agenthost/sessions/broken/tasks.jsonl",
      '{"type":"start","task":"00000001","time":1,"command":"x"\n\xff\n7\n'
      .. '{"type":"owed","task":"00000002","time":1}\n{"type":"e')
    assert(sys.mkdir_private(t.place.state .. "/agenthost/sessions/empty"))
    local result = tasks()
    assert.equal(0, result.code, result.stderr)
    assert.truthy(result.stdout:find("exec sleep 600", 1, true))
    for _, verb in ipairs({ "kill", "tail" }) do
      result = tasks(verb, "00000002")
      assert.equal("", result.stdout)
      assert.is_nil(result.stderr:find("traceback", 1, true), result.stderr)
    end
  end)

  it("refuses what it does not know", function()
    for _, words in ipairs({ { "list" }, { "--sesion", "x" }, { "--session" }, { "kill" },
      { "kill", "a", "b" }, { "tail" }, { "tail", "-f" }, { "tail", "-x", "y" } }) do
      local result = tasks(table.unpack(words))
      assert.equal(2, result.code, table.concat(words, " ") .. ": " .. result.stderr)
      assert.matches("^agenthost tasks %[%-%-session ID%]", result.stderr)
      assert.equal("", result.stdout)
    end
    for _, verb in ipairs({ "kill", "tail" }) do
      local result = tasks(verb, "deadbeef")
      assert.same({ 1, "agenthost: there is no task deadbeef\n" }, { result.code, result.stderr })
    end
  end)
end)
