-- Nothing outlives agenthost, however it ends (B5).
local case = require("support.case")
local tmux = require("support.tmux")

local DEADLINE <const> = 60 -- seconds until all are gone: 2 s of grace, and a busy machine

-- Each says that it is up by a file of the given name, and then stays. What clears its environment
-- is found by the path of the place in its arguments.
local function stubborn(dir)
  return {
    plain = "touch plain; exec sleep 600",
    grandchild = "(sh -c 'touch grandchild; sleep 600; :' &) ; sleep 600",
    ignores = "trap '' TERM INT HUP; touch ignores; while :; do sleep 0.2; done",
    setsid = "setsid sh -c 'touch setsid; sleep 600; :' & sleep 600",
    daemon = "setsid -f sh -c 'trap \"\" TERM; touch daemon; while :; do sleep 0.2; done'; "
      .. "sleep 600",
    no_environment = "setsid -f env -i PATH=\"$PATH\" sh -c 'touch no_environment; "
      .. "while :; do sleep 0.2; done' " .. dir .. "; sleep 600",
    stopped = "sh -c 'touch stopped; kill -STOP $$; sleep 600'; sleep 600",
    left_behind = "setsid -f sh -c 'touch left_behind; sleep 600; :'; sleep 0.1",
  }
end

describe("tasks", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  -- Starts the program with all of them in the background, and waits until they are up.
  local function start_all(commands)
    local calls, names = {}, {}
    for name, command in pairs(commands) do
      names[#names + 1] = name
      calls[#calls + 1] = { name = "background_run", input = { command = command } }
    end
    t:script({ tools = calls }, { text = "Started all." })
    local running = t:start({ "-p", "x" })
    for _, name in ipairs(names) do
      assert(tmux.eventually(function() return t.place:read(name) end, DEADLINE), name)
    end
    assert.is_true(#t.place:processes() > #names)
    return running
  end

  for _, signal in ipairs({ "KILL", "SEGV", "TERM" }) do
    it("are all gone after SIG" .. signal, function()
      local running = start_all(stubborn(t.place.dir))
      running:signal(signal)
      running:wait(DEADLINE)
      assert.same({}, t.place:wait_for_no_process(DEADLINE))
    end)
  end

  it("are told as lost when the supervisor was killed, and are gone, too", function()
    local commands = stubborn(t.place.dir)
    commands.no_environment = nil -- without its parent and its marker nobody can know it
    commands.left_behind = nil -- its task has ended
    local running = start_all(commands)
    local supervisor
    for _, process in ipairs(t.place:processes()) do
      supervisor = supervisor or process:match("^(%d+) %S*agenthost%-supervisor")
    end
    assert(os.execute("kill -KILL " .. supervisor))
    local result = running:wait(DEADLINE)
    assert.equal("Started all.\n", result.stdout)
    local requests = t.server.requests()
    local told = requests[#requests].body_text
    assert.equal(6, case.count(told, "] lost: "), told:match("<background.*"))
    assert.same({}, t.place:wait_for_no_process(DEADLINE))
  end)

  it("of a command that ends the supervisor are told as lost, and work goes on", function()
    local server = t:script(
      { tools = { { name = "bash", input = { command = "kill -KILL $PPID; sleep 600" } } } },
      { tools = { { name = "bash", input = { command = "echo it works again" } } } },
      { text = "Well." })
    local result = t:run({ "-p", "x" })
    assert.equal("Well.\n", result.stdout, result.stderr)
    local requests = server.requests()
    local lost = case.results(requests[2].body)[1].content
    assert.truthy(lost:find("lost", 1, true), lost)
    assert.equal("it works again\n", case.results(requests[3].body)[1].content)
    assert.same({}, t.place:wait_for_no_process(DEADLINE))
  end)

  it("keep their output on disk", function()
    t:script({ tools = { { name = "background_run",
      input = { command = "echo precious; touch up; exec sleep 600" } } } }, { text = "Started." })
    local running = t:start({ "-p", "x" })
    assert(tmux.eventually(function() return t.place:read("up") end, DEADLINE))
    running:signal("KILL")
    running:wait(DEADLINE)
    assert.same({}, t.place:wait_for_no_process(DEADLINE))
    local found = tmux.run("grep -rl precious " .. t.place.state .. " --include='*.log'")
    assert.truthy(found:find("/tasks/", 1, true), found)
    t.place:session()
  end)
end)
