-- What becomes of notices in a headless run: agent.on_notice, and the bounds.
local case = require("support.case")
local stress = require("support.stress")

local t

before_each(function()
  t = case.new()
end)

after_each(function()
  t:finish()
end)

local ENDED <const> = "<background-results>"

local function background(command)
  return { name = "background_run", input = { command = command } }
end

-- An agent script with a policy; `more` is Lua in front of it.
local function script(policy, more)
  t.place:write("a.lua", ([[
%s
return require("agenthost.agent").new{ plugins = { "shell", "background" }, on_notice = %s }
]]):format(more or "", policy))
end

-- How often anything that was said holds a text.
local function said(request, text)
  local count = 0
  for _, message in ipairs(request.body.messages) do
    for _, block in ipairs(message.content) do
      count = count + case.count(block.text or "", text)
    end
  end
  return count
end

local function run(...)
  return t:run({ "a.lua", "-p", ... })
end

describe("a notice in a headless run", function()
  it("that is held waits for the next message, also for that of the next host", function()
    t:script({ tools = { background("sleep 0.3; echo out") } }, { text = "Started." },
      { text = "Next." }, { text = "More." })
    script('"hold"')
    local result = run("One")
    assert.equal("Started.\n", result.stdout)
    assert.equal(0, result.code, result.stderr)
    assert.equal(2, #t.server.requests())
    run("Two", "--continue")
    run("Three", "--continue")
    local requests = t.server.requests()
    assert.equal(4, #requests)
    assert.equal(1, said(requests[3], "completed: out"))
    assert.equal(1, said(requests[4], "completed: out"))
  end)

  it("that is held comes with the next message on standard input", function()
    t:script({ tools = { background("sleep 0.3; echo out") } }, { text = "Started." },
      { when = { last_user_contains = "completed: out" }, text = "Next." })
    script('"hold"')
    local function user(text)
      return ('{"type":"user","message":{"role":"user","content":"%s"}}\n'):format(text)
    end
    local result = t:run({ "a.lua", "-p", "--input-format", "stream-json", "--output-format",
      "stream-json", stdin = user("One") .. user("Two") })
    assert.equal(0, result.code, result.stderr)
    assert.equal(3, #t.server.requests())
  end)

  it("that is dropped is told to nobody", function()
    t:script({ tools = { background("sleep 0.3; echo out") } }, { text = "Started." },
      { text = "Next." })
    script('"drop"')
    assert.equal("Started.\n", run("One").stdout)
    script('"wake"')
    assert.equal("Next.\n", run("Two", "--continue").stdout)
    assert.equal(3, #t.server.requests())
    assert.equal(0, said(t.server.requests()[3], ENDED))
  end)

  it("that is merged comes with those that come close to it", function()
    local result
    stress.in_time(2, function(seconds)
      t:script({ tools = { background("sleep 0.2; echo a"), background("sleep 0.6; echo b") } },
        { text = "Started." }, { when = { last_user_contains = "completed: b" }, text = "Both." })
      script('"merge"', 'require("agenthost.defaults").wake.merge = ' .. seconds)
      result = run("x")
      return result.stdout == "Both.\n"
    end)
    assert.equal("Both.\n", result.stdout, result.stderr)
    assert.equal(3, #t.server.requests())
    assert.equal(1, said(t.server.requests()[3], "completed: a"))
  end)

  it("is judged by a function, one by one", function()
    t:script({ tools = { background("sleep 0.2; echo quiet"), background("sleep 0.6; exit 3") } },
      { text = "Started." }, { when = { last_user_contains = "failed" }, text = "Failed." })
    script('function(one) return one.code == 0 and "hold" or "wake" end')
    assert.equal("Failed.\n", run("x").stdout)
    assert.equal(3, #t.server.requests())
    assert.equal(1, said(t.server.requests()[3], "completed: quiet"))
  end)

  it("cannot make the agent run for ever, and that is said", function()
    t:serve({ when = { last_user_contains = "Background task" }, text = "Once more." },
      { tools = { background("sleep 0.1; exit 3"), background("sleep 600") } })
    script("nil", 'require("agenthost.defaults").wake.max_runs = 3')
    local result = run("x", "--wait-tasks", "30")
    assert.equal(4, result.code)
    assert.matches("3 runs in a row were started by notices alone", result.stderr, 1, true)
    assert.matches("(defaults.wake.max_runs)", result.stderr, 1, true)
    assert.matches("ended task %x+ at the limit of 3 runs", result.stderr)
    assert.equal(2 * 4, #t.server.requests())
    assert.equal("Once more.\n", result.stdout)
  end)

  it("that is to be merged is not waited for beyond the bound", function()
    t:script({ tools = { background("sleep 0.1; echo a") } }, { text = "Started." },
      { when = { last_user_contains = "completed: a" }, text = "Told." })
    script('"merge"', 'require("agenthost.defaults").wake.merge = 30')
    local result = run("x", "--wait-tasks", "1")
    assert.equal("Told.\n", result.stdout)
    assert.equal(0, result.code)
  end)

  describe("of a plugin", function()
    local PLUGIN <const> = [[
local async = require("agenthost.async")
local function tool(name, run, background)
  return { name = name, description = "d", permission = "none", background = background, run = run }
end
return {
  tool("tell", function(_, ctx) ctx.notify("news of a plugin") return "ok" end),
  tool("deploy", function() async.sleep(600) end, true),
  tool("quick", function() return "quickly done" end, true),
} ]]
    local CALLS <const> = { { name = "tell", input = {} }, { name = "deploy", input = {} },
      { name = "quick", input = {} } }

    local function start(policy, more)
      t.place:write("told.lua", PLUGIN)
      t.place:write("a.lua", ([[
return require("agenthost.agent").new{ plugins = { "shell", "./told.lua" }, on_notice = %s }
]]):format(policy))
      local calls = table.move(CALLS, 1, #CALLS, 1, {})
      calls[#calls + 1] = more
      t:script({ tools = calls }, { text = "Next." })
    end

    local function assert_told(request, times)
      assert.equal(times, said(request, "news of a plugin"))
      assert.equal(times, said(request, "quick is done: quickly done"))
      assert.equal(times, said(request, "deploy did not end: agenthost stopped while it ran"))
    end

    it("outlives a host that is killed, and is told once", function()
      start('"wake"', { name = "bash", input = { command = "touch runs; exec sleep 600" } })
      local running = t:start({ "a.lua", "-p", "One" })
      t:wait_for_file("runs")
      running:signal("KILL")
      running:wait()
      run("Two", "--continue")
      run("Three", "--continue")
      local requests = t.server.requests()
      assert.equal(3, #requests)
      assert_told(requests[2], 1)
      assert_told(requests[3], 1)
    end)

    it("that waits at the end is told when the session goes on", function()
      start('"hold"')
      run("One", "--wait-tasks", "0")
      run("Two", "--continue")
      local requests = t.server.requests()
      assert.equal(1, said(requests[#requests], "deploy failed: Cancelled"))
    end)

    it("that is dropped is told to nobody, also by the next host", function()
      start('"drop"')
      run("One", "--wait-tasks", "0")
      run("Two", "--continue")
      local requests = t.server.requests()
      assert.equal(0, said(requests[#requests], "news of a plugin"))
    end)
  end)
end)
