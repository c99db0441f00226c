-- The life of plugins when agents are made, fail to be made, and go from one session to another.
local agent = require("agenthost.agent")
local agent_base = require("agenthost.agent_base")
local agents = require("support.agents")
local async = require("agenthost.async")
local session = require("agenthost.session")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local reply = agents.reply

-- How many entries a directory has.
local function count(dir)
  return #(sys.list(dir, 100000) or {})
end

describe("an agent that cannot be made", function()
  local place, log

  before_each(function()
    place, log = agents.place(), {}
  end)

  after_each(function()
    place:close()
  end)

  -- A plugin that holds one of everything, and says when it is gone.
  local function plugin()
    return { name = "holds", setup = function(ctx)
      ctx.tool({ name = "t", description = "d", run = print })
      ctx.on("session.end", function() log[#log + 1] = "end" end)
      ctx.timer(0.05, function() log[#log + 1] = "timer" end, { repeats = true })
      ctx.spawn(function() async.sleep(1000) end)
      log.task = ctx.task("sleep 1000").id
    end, teardown = function() log[#log + 1] = "teardown" end }
  end

  -- what is wrong; what is said; whether plugins were set up by then
  local cases = {
    ["a model that is not there"] = { { model = "nobody/x" }, "nobody" },
    ["a rule that is none"] = { { permissions = { allow = { "(" } } }, "allow" },
    ["a policy that is none"] = { { on_notice = "shout" }, "on_notice: expected" },
    ["a prompt that raises"] = { { system = function() error("no prompt", 0) end }, "no prompt",
      true },
    ["a budget without prices"] = { { max_budget_usd = 1 }, "price" },
    ["a second plugin that fails"] = { { failing = true }, "no luck", true },
  }
  for what, case in pairs(cases) do
    it("leaves nothing behind: " .. what, function()
      local first = place:new({ reply("Hi.") })
      assert(first:run("Hello"))
      local id = first.session.id
      first.session:close() -- as if its host had gone
      local given = { cwd = place.cwd, session = id, instructions = false,
        provider = case[1].model == nil and agents.provider({}) or nil,
        plugins = { plugin(), case[1].failing and { name = "fails", setup = function()
          error("no luck", 0)
        end } or nil } }
      for name, value in pairs(case[1]) do
        given[name] = name ~= "failing" and value or nil
      end
      assert(assert(task.run("true")):wait(30)) -- the supervisor's socket stays from now on
      local descriptors, sessions
      async.run(function()
        local jobs = async.count()
        for i = 1, 12 do
          local ok, message = pcall(agent.new, given)
          assert.is_false(ok)
          assert.matches(case[2], message, 1, true)
          if i == 2 then -- what is made once is there by now
            descriptors, sessions = count("/proc/self/fd"), count(session.base_dir())
          end
          -- What was cancelled ends, and what follows tasks that were killed.
          stress.eventually(function() return async.count() <= jobs end)
          assert.equal(jobs, async.count())
          given.session = i % 2 == 0 and id or nil
        end
        -- The ledger is open for a moment more while it is written to the disk.
        stress.eventually(function() return count("/proc/self/fd") <= descriptors end)
      end)
      assert.equal(case[3] and 12 or 0, #log)
      assert.equal(case[3] and "teardown" or nil, log[12])
      assert.is_true(count("/proc/self/fd") <= descriptors)
      assert.equal(sessions + (case[3] and 5 or 0), count(session.base_dir())) -- the ledgers of 5
      local opened = assert(session.open(id))
      assert.is_nil(opened.read_only)
      opened:close()
      if log.task then
        assert.equal("killed", (assert(task.get(log.task)):wait(30)))
      end
    end)
  end

  it("leaves the session that the command line wants to the next try", function()
    local first = place:new({ reply("Hi.") })
    assert(first:run("Hello"))
    local id = first.session.id
    first.session:close()
    agent_base.override({ session = id })
    finally(function() agent_base.override({}) end)
    assert.matches("no prompt", temp.raised(agent.new, { cwd = place.cwd,
      provider = agents.provider({}), system = function() error("no prompt", 0) end }))
    local second = agent.new({ cwd = place.cwd, provider = agents.provider({}) })
    assert.equal(id, second.session.id)
    second:close()
  end)
end)

describe("another session", function()
  local place, log, name, begun

  before_each(function()
    place, log, name = agents.place(), {}, "spec-" .. sys.random_hex(8)
  end)

  after_each(function()
    place:close()
    os.remove(("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name))
  end)

  local function note(what)
    log[#log + 1] = what
  end

  -- Goes on with another session, as the interactive program does.
  local function switch(made, id)
    local other, message = made:switch_session(id)
    if not other then
      return nil, message
    end
    other.events, other.on_event = made.events, made.on_event
    made:close()
    for i, one in ipairs(place.made) do
      place.made[i] = one == made and other or one
    end
    other:start()
    return other
  end

  -- A plugin that counts in its state and says what happens to it.
  local function plugin()
    local ctx
    local one = { name = name, setup = function(given)
      ctx = given
      note("setup")
      ctx.tool({ name = "t", description = "d", permission = "none", run = function()
        return "called in " .. begun
      end })
      ctx.on("session.start", function(event)
        begun = event.id
        note("start " .. (ctx.state.text or ""))
      end)
      ctx.on("session.end", function()
        ctx.state.text = (ctx.state.text or "") .. "x"
        note("end")
      end)
    end, teardown = function() note("teardown") end }
    return one, function() return ctx end
  end

  it("has the plugins as they are: they hear the end of one and the start of the other", function()
    local one, context = plugin()
    local made = place:new({ reply(agents.call("t")), reply("one"), reply(agents.call("t")),
      reply("two") }, { plugins = { one } })
    async.run(function()
      assert(made:run("go"))
      local first = made.session.id
      local other = assert(switch(made))
      assert.same({ "setup", "start ", "end", "start x" }, log)
      assert.is_true(made.session.dir ~= other.session.dir)
      assert(other:run("go"))
      assert.equal("called in " .. other.session.id,
        other.conversation:messages()[3].content[1].content)
      assert(context().notify("hello"))
      assert.equal(1, #other.queue) -- a context speaks to the agent of today
      assert.same({ {}, {} }, { made.tools:names(), made.plugins.records })
      local back = assert(switch(other, first))
      assert.same({ "end", "start xx" }, { log[5], log[6] })
      assert.equal(4, #back.conversation.pieces)
      assert.equal('{"text":"xx"}',
        sys.read_file(("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name)))
    end)
  end)

  it("that cannot be opened leaves the old one as it was", function()
    local rules = { allow = { "x" } }
    local made = place:new(function() return reply("Hi.") end, { plugins = { (plugin()) },
      permissions = rules })
    async.run(function()
      assert(made:run("go"))
      local descriptors = count("/proc/self/fd")
      assert.matches("there is no session", select(2, switch(made, "nowhere")))
      local bad = session.base_dir() .. "/bad"
      temp.write(bad .. "/session.jsonl", "oops\n")
      assert.matches("has no header", select(2, switch(made, "bad")))
      temp.remove(bad)
      rules.allow[1] = "("
      assert.matches("allow", select(2, switch(made)))
      rules.allow[1] = "x"
      made.reloader.busy = true
      assert.equal("a reload is under way", select(2, switch(made)))
      made.reloader.busy = false
      assert.equal(descriptors, count("/proc/self/fd"))
      assert.same({ "setup", "start " }, log)
      assert.same({ "t" }, made.tools:names())
      assert(made:run("go on"))
      assert.is_true(made.plugins.events:handled("session.end"))
    end)
  end)

  it("shows what fails in handlers of the end, and begins all the same", function()
    local made = place:new({}, { plugins = { { name = name, setup = function(ctx)
      ctx.on("session.end", function() error("no end", 0) end)
    end } } })
    async.run(function()
      made:start()
      assert(switch(made))
    end)
    assert.matches("handler of 'session.end' failed: no end", made.events[1].text)
  end)

  it("leaves the session of before as it was when the switch is cancelled", function()
    local wait = true
    local made = place:new({ reply("Hi.") }, { plugins = { { name = name, setup = function(ctx)
      ctx.on("session.start", function() note("start") end)
      ctx.on("session.end", function()
        note("end")
        if wait then
          async.sleep(1000)
        end
      end)
    end } } })
    async.run(function()
      made:start()
      local job = async.spawn(function() return made:switch_session() end)
      while #log < 2 do
        async.sleep(0)
      end
      job:cancel("the user")
      assert.is_false((pcall(job.wait, job)))
      wait = false
      assert(made:run("go"))
      assert.same({ "start", "end", "start" }, log)
      assert(switch(made))
      assert.same({ "start", "end", "start", "end", "start" }, log)
    end)
  end)

  it("stops background calls and says so, to the user and to the session that was left", function()
    local made = place:new({ reply(agents.call("slow")), reply("Started."), reply("Seen.") }, {
      tools = { { name = "slow", description = "d", permission = "none", background = true,
        run = function() async.sleep(1000) end } } })
    async.run(function()
      assert(made:run("go"))
      local id = made.session.id
      local other = assert(switch(made))
      local last = made.events[#made.events]
      assert.matches("^stopped: call%-%x+ slow", last.text)
      assert.equal("note", last.type)
      local back = assert(switch(other, id))
      assert(back:run("And?"))
      local sent = back.provider.requests[3]
      assert.matches("%[call%] call%-%x+ slow was stopped: its session was left",
        sent[#sent].content[2].text)
    end)
  end)

  it("keeps what waited in the session that was left, and tells it once", function()
    local made = place:new({ reply("Hi."), reply("Seen."), reply("Well.") },
      { on_notice = "hold" })
    async.run(function()
      assert(made:run("go"))
      local id = made.session.id
      made:notify("the held one")
      local other = assert(switch(made))
      local back = assert(switch(other, id))
      assert(back:run("And?"))
      local sent = back.provider.requests[2]
      assert.matches("the held one", sent[#sent].content[2].text)
      other = assert(switch(back))
      back = assert(switch(other, id))
      assert(back:run("Again?"))
      local _, times = require("agenthost.json").encode(back.provider.requests[3])
        :gsub("the held one", "")
      assert.equal(1, times)
    end)
  end)

  it("is not told of files that the model has written in the one before", function()
    local path = temp.write(place.cwd .. "/p.lua", "return { setup = function() end }")
    local edit = { name = "edit", description = "d", input = { path = "string" },
      permission = "edit", run = function() return "done" end }
    local made = place:new({ reply(agents.call("edit", { path = path })), reply("Done.") },
      { plugins = { path }, tools = { edit } })
    async.run(function()
      assert(made:run("go"))
      local other = assert(switch(made))
      temp.write(path, "oops")
      assert.equal(1, #other.reloader:refresh())
      assert.equal(0, other.inbox:waiting())
    end)
  end)

  it("says what was not kept when there is no session to keep it in", function()
    local made = place:new({}, { on_notice = "hold" })
    async.run(function()
      made:notify("too early")
      assert(switch(made))
    end)
    assert.matches("nothing was said in this session: 1 notices", made.events[1].text)
  end)
end)

describe("a version of a plugin", function()
  local place, base, name, path, log

  before_each(function()
    place, base, name = agents.place(), temp.directory(), "spec-" .. sys.random_hex(8)
    path = ("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name)
    log = {}
    _G.lifecycle_log = function(what) log[#log + 1] = what end -- luacheck: ignore
  end)

  after_each(function()
    _G.lifecycle_log = nil -- luacheck: ignore
    place:close()
    temp.remove(base)
    os.execute("rm -rf " .. temp.quote(path))
  end)

  -- The plugin: `fields` are the fields of its table, `setup` the body of its setup.
  local function write(setup, fields, file)
    temp.write(base .. "/" .. (file or "p.lua"), ([[
      local ctx
      return { name = %q, setup = function(given)
        ctx = given
        %s
      end, %s }]]):format(name, setup, fields or ""))
  end

  local function new(specs)
    return place:new(function() return reply("Hi.") end, { plugins = specs or { "./p.lua" },
      base_dir = base, system = "s", instructions = false })
  end

  local function refresh(made, opts)
    return async.run(function() return made.reloader:refresh(opts) end)
  end

  it("has what the one before it wrote last", function()
    write('ctx.state.a = 1', 'teardown = function() ctx.state.last = "words" end')
    local made = new()
    write('ctx.state.b = 2 ctx.on("idle", function() lifecycle_log(ctx.state.last) end)')
    refresh(made)
    assert(made:run("go"))
    assert.same({ "words" }, log)
    assert.equal('{"a":1,"b":2,"last":"words"}', sys.read_file(path))
  end)

  it("that fails takes back what it has put into the state", function()
    write('ctx.state.n = { 1 } ctx.on("idle", function() lifecycle_log(ctx.state.n[1]) end)')
    local made = new()
    write('ctx.state.n = nil ctx.state.new = true error("no luck")')
    assert.matches("no luck", refresh(made)[1])
    assert(made:run("go"))
    assert.same({ 1 }, log)
    assert.equal('{"n":[1]}', sys.read_file(path))
  end)

  it("whose `restore` fails gives way to the one before it, and that is told once", function()
    write('ctx.tool({ name = "one", description = "d", run = print })',
      'save = function() return 7 end, teardown = function() lifecycle_log("teardown 1") end')
    local made = new()
    write('ctx.state.x = 1 ctx.tool({ name = "two", description = "d", run = print })', [[
      restore = function() ctx.state.y = 1 error("what is this", 0) end,
      teardown = function() lifecycle_log("teardown 2") end]])
    local lines = refresh(made)
    assert.equal(1, #lines)
    assert.matches("not reloaded: .*p.lua: restore failed: what is this .the version from before",
      lines[1])
    assert.same(lines, agents.warnings(made))
    assert.same({ "one" }, made.tools:names())
    assert.same({ "teardown 2" }, log)
    assert.same({}, made.plugins.records[1].state or {})
    write('ctx.tool({ name = "three", description = "d", run = print })',
      "restore = function(saved) lifecycle_log(saved) end")
    refresh(made)
    assert.same({ "teardown 2", 7, "teardown 1" }, log)
    assert.same({ "three" }, made.tools:names())
  end)

  it("whose `save` fails goes on, and that is told once", function()
    write("", 'save = function() error({ message = "not now" }) end')
    write("", nil, "q.lua")
    local made = new({ "./p.lua", "./q.lua" })
    local before = made.plugins.records[1]
    write('ctx.log("2")')
    write('ctx.log("2")', nil, "q.lua")
    local lines = refresh(made)
    assert.equal(2, #lines) -- q is loaded
    assert.equal(1, #agents.warnings(made))
    assert.matches("save failed: not now", agents.warnings(made)[1])
    assert.equal(before, made.plugins.records[1])
  end)

  it("whose `teardown` fails is gone all the same, and that is told once", function()
    write('ctx.tool({ name = "t", description = "d", run = print })',
      'teardown = function() error("stuck", 0) end')
    local made = new()
    write("")
    refresh(made)
    assert.same({ "plugin " .. name .. ": teardown failed: stuck" }, agents.warnings(made))
    assert.same({}, made.tools:names())
  end)

  -- Reloads in a run what `change` writes; the user stops that while the old version is torn down.
  local function interrupt_reload(made, change)
    return async.run(function()
      made:start()
      async.sleep(0)
      change()
      local job = async.spawn(function() return select(3, made:run("once more")) end)
      repeat
        async.sleep(0.01)
      until #log > 0
      assert.is_true(made:interrupt())
      return job:wait()
    end)
  end

  it("is there as a whole when the user stops what the one before it has spawned", function()
    write([[ctx.spawn(function()
      pcall(require("agenthost.async").sleep, 1000)
      lifecycle_log("cancelled")
      pcall(require("agenthost.async").sleep, 1000)
    end)]])
    write("", nil, "q.lua")
    local made = new({ "./p.lua", "./q.lua" })
    assert.equal("INTERRUPTED", interrupt_reload(made, function()
      write('ctx.tool({ name = "new", description = "d", run = print })')
      write('ctx.tool({ name = "q_new", description = "d", run = print })', nil, "q.lua")
    end))
    assert.equal(0, made.provider.calls)
    assert.same({ "new", "q_new" }, made.tools:names())
    for _, record in ipairs(made.plugins.records) do
      assert.is_true(record.live and not record.dead)
    end
    assert.matches("does not end; it was left behind %(cancelled by the user%)$",
      agents.warnings(made)[1])
  end)

  it("is there when the user stops the teardown of the one before it, and no call is made",
    function()
      write("", [[teardown = function()
        lifecycle_log("teardown")
        require("agenthost.async").sleep(1000)
      end]])
      local made = new()
      assert.equal("INTERRUPTED", interrupt_reload(made, function()
        write('ctx.tool({ name = "new", description = "d", run = print })')
      end))
      assert.equal(0, made.provider.calls)
      assert.same({ "new" }, made.tools:names())
      assert.same({ ("plugin %s/p.lua: its teardown was stopped: cancelled by the user"):format(
        base) }, agents.warnings(made))
    end)

  it("keeps what could not be written until it can, and says so once", function()
    write('ctx.on("idle", function() ctx.state.n = (ctx.state.n or 0) + 1 end)')
    local made = new()
    assert(made:run("go"))
    os.remove(path)
    assert(sys.mkdir_private(path .. "/in the way"))
    assert(made:run("go"))
    assert(made:run("go"))
    write('ctx.on("idle", function() ctx.state.n = (ctx.state.n or 0) + 10 end)')
    refresh(made)
    assert(made:run("go"))
    assert.equal(1, #agents.warnings(made))
    assert.matches("ctx.state: cannot write .*; it is tried again", agents.warnings(made)[1])
    os.execute("rm -r " .. temp.quote(path))
    assert(made:run("go"))
    assert.equal('{"n":23}', sys.read_file(path))
  end)

  it("that cannot be kept from the start on is told of at the start", function()
    write('ctx.state.f = print ctx.note("ready")')
    local made = new()
    assert.equal(2, #made.notes)
    assert.matches("ctx.state cannot be written as JSON", made.notes[1])
    assert.equal("ready", made.notes[2])
    assert(made:run("go"))
    assert.same({}, agents.warnings(made))
  end)

  it("reads its file anew when somebody else has written it", function()
    write('ctx.state.a = ctx.state.a or 1')
    local made = new()
    assert(sys.write_file(path, '{"a":"by hand"}'))
    refresh(made, { all = true })
    write('ctx.state.b = 2')
    refresh(made)
    assert.equal('{"a":"by hand","b":2}', sys.read_file(path))
  end)

  it("remembers what it does in another agent of the host, too", function()
    write([[ctx.command({ name = "set", help = "h", run = function(_, key)
      ctx.state[key] = true
      return ""
    end })
    ctx.command({ name = "get", help = "h", run = function(_, key)
      return tostring(ctx.state[key])
    end })]])
    local one, helper = new(), new()
    assert.equal("nil", helper.commands[2].run(nil, "one"))
    one.commands[1].run(nil, "one")
    helper.commands[1].run(nil, "helper")
    assert.equal("true", helper.commands[2].run(nil, "one"))
    assert.equal("true", one.commands[2].run(nil, "helper"))
    assert.equal('{"helper":true,"one":true}', sys.read_file(path))
  end)

  it("with the name of another plugin shares what that remembers, and that is told once", function()
    write('ctx.on("idle", function() ctx.state.p = true end)')
    write('ctx.on("idle", function() ctx.state.q = true end)', nil, "q.lua")
    local made = new({ "./p.lua", "./q.lua" })
    assert(made:run("go"))
    assert(made:run("go"))
    refresh(made, { all = true })
    assert(made:run("go"))
    assert.equal('{"p":true,"q":true}', sys.read_file(path))
    assert.equal(1, #agents.warnings(made))
    assert.matches("two plugins are named '" .. name:gsub("%-", "%%-") .. "' and share what they "
      .. "remember .*p.lua, .*q.lua", agents.warnings(made)[1])
  end)

  it("whose file is too long says so, and leaves it", function()
    write('ctx.state.a = 1')
    temp.write(path, '{"a":"' .. ("x"):rep(300 * 1024) .. '"}')
    assert.matches("is longer than 262144 bytes %(defaults.plugin.max_state%)",
      temp.raised(new))
    assert.equal(300 * 1024 + 8, sys.stat(path).size)
  end)
end)
