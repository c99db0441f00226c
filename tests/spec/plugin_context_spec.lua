-- What a plugin gets in hand, and that its record owns it.
local agents = require("support.agents")
local async = require("agenthost.async")
local places = require("agenthost.places")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call, reply, events_of = agents.call, agents.reply, agents.events_of
local raised = temp.raised

describe("a plugin's context", function()
  local place, name

  before_each(function()
    place = agents.place()
    name = "spec-" .. sys.random_hex(8)
  end)

  after_each(function()
    place:close()
    os.remove(("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name))
  end)

  local function with(setup, turns, opts)
    opts = opts or {}
    opts.system = "s"
    opts.plugins = { { name = name, setup = setup } }
    return place:new(turns or {}, opts)
  end

  -- Waits inside async.run until something holds.
  local function eventually(holds)
    local deadline = sys.now() + 30
    while not holds() do
      assert(sys.now() < deadline, "it does not come to hold")
      async.sleep(0.01)
    end
  end

  it("says what is wrong with what it is given, at the caller's line", function()
    for pattern, setup in pairs({
      ["spec.lua:%d+: ctx:tool%(...%): write ctx.tool%(...%), with a dot"] =
        function(ctx) ctx:tool({ name = "x" }) end,
      ["spec.lua:%d+: ctx:on%(...%): write ctx.on%("] =
        function(ctx) ctx:on("idle", print) end,
      ["spec.lua:%d+: ctx.prompt: expected { source = "] = function(ctx) ctx.prompt("hi") end,
      ["spec.lua:%d+: ctx.timer: expected seconds from 0.05 on .*, got '1'"] =
        function(ctx) ctx.timer("1", print) end,
      ["ctx.command: expected { name = .*, got 'x'"] =
        function(ctx) ctx.command("x", print) end,
      ["'/x' is no name for a command: .* without the /"] =
        function(ctx) ctx.command({ name = "/x", help = "x", run = print }) end,
      ["there is a command /help already, agenthost's own"] =
        function(ctx) ctx.command({ name = "help", help = "x", run = print }) end,
      ["notify: expected a text for the model, got nil .*spec.lua:%d+"] =
        function(ctx) ctx.notify() end,
      ["notify: expected a table of the notice's fields, got 5"] =
        function(ctx) ctx.notify("x", 5) end,
      ["plugin .*: no key$"] = function() error({ message = "no key" }) end,
    }) do
      assert.matches(pattern, raised(with, setup))
    end
  end)

  it("knows the names that agenthost's own commands have", function()
    local names = {}
    for _, command in ipairs(require("agenthost.ui.commands").names({ commands = {} })) do
      names[command] = true
    end
    assert.same(names, require("agenthost.own_commands"))
  end)

  it("has what a command raises told in words", function()
    local made = with(function(ctx)
      ctx.command({ name = "c", help = "h", run = function() error({ message = "no key" }) end })
    end)
    assert.equal("no key", raised(made.commands[1].run))
  end)

  it("logs and notes whatever it is given", function()
    local made = with(function(ctx)
      ctx.note(7)
      ctx.on("idle", function()
        ctx.log(nil)
        ctx.log({})
      end)
    end, { reply("x") })
    assert.same({ "7" }, made.notes)
    assert(made:run("go"))
    local logged = events_of(made, "log")
    assert.equal("nil", logged[#logged - 1].text)
    assert.matches("^table: ", logged[#logged].text)
  end)

  it("says what a handler has raised, whatever that is", function()
    local made = with(function(ctx)
      ctx.on("idle", function() error() end)
      ctx.on("idle", function() error({ code = 5 }) end)
      ctx.on("idle", function()
        error(setmetatable({}, { __tostring = function() error("no") end }))
      end)
    end, { reply("x") })
    assert(made:run("go"))
    local failed = ("plugin %s: handler of 'idle' failed: "):format(name)
    local first, second, third = table.unpack(agents.warnings(made))
    assert.equal(failed .. "it raised an error without a message", first)
    assert.equal(failed .. '{"code":5}', second)
    assert.matches(failed .. "a table was raised, and its __tostring fails: ", third, 1, true)
  end)

  describe("state", function()
    it("is kept from run to run, and written when it has changed", function()
      local state
      local function setup(ctx)
        state = ctx.state
        ctx.tool({ name = "count", description = "d", permission = "none", run = function()
          ctx.state.n = (ctx.state.n or 0) + 1
          return tostring(ctx.state.n)
        end })
      end
      local path = ("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name)
      local made = with(setup, { reply(call("count")), reply("x") })
      assert.is_nil(sys.stat(path)) -- nothing to remember yet
      assert(made:run("go"))
      assert.equal('{"n":1}', sys.read_file(path))
      assert.equal(tonumber("600", 8), sys.stat(path).mode & 511)
      with(setup)
      assert.same({ n = 1 }, state)
    end)

    it("is written by handlers, timers and commands as well", function()
      local made = with(function(ctx)
        ctx.on("idle", function() ctx.state.idle = true end)
        ctx.command({ name = "c", help = "h", run = function() ctx.state.command = true end })
        ctx.timer(0.05, function() ctx.state.timer = true end)
      end, { reply("x") })
      made.commands[1].run()
      async.run(function()
        assert(made:run("go"))
        eventually(function() return next(made.plugins.records[1].timers) == nil end)
      end)
      assert.equal('{"command":true,"idle":true,"timer":true}',
        sys.read_file(("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name)))
    end)

    it("has a bound, and has to be JSON; what was written stays", function()
      local value
      local made = with(function(ctx)
        ctx.state.n = 1
        ctx.on("idle", function() ctx.state.big = value end)
      end, function() return reply("x") end)
      value = ("x"):rep(256 * 1024)
      assert(made:run("go"))
      assert(made:run("go"))
      value = print
      assert(made:run("go"))
      local said = events_of(made, "warning")
      assert.equal(2, #said) -- each once
      assert.matches("ctx.state takes 262%d+ bytes, more than 262144 %(defaults.plugin.max_state%)",
        said[1].text)
      assert.matches("ctx.state cannot be written as JSON", said[2].text)
      assert.equal('{"n":1}',
        sys.read_file(("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name)))
    end)

    it("is not overwritten when it cannot be read", function()
      local path = ("%s/agenthost/plugins/%s.json"):format(sys.xdg("state"), name)
      sys.mkdir_private(path:match("^(.*)/"))
      sys.write_file(path, "{ half")
      assert.matches("holds no JSON object.*mend it",
        raised(with, function(ctx) return ctx.state end))
      assert.equal("{ half", sys.read_file(path))
    end)

    it("is not to be replaced, and needs a name fit for a file", function()
      assert.matches("plugin_context_spec.lua:%d+: ctx.state: set its fields",
        raised(with, function(ctx) ctx.state = {} end))
      name = "../x"
      assert.matches("needs a name of letters", raised(with, function(ctx) return ctx.state end))
      name = "spec"
    end)
  end)

  describe("timer", function()
    it("calls once, or again and again until it is stopped", function()
      local once, often = 0, 0
      local made = with(function(ctx)
        ctx.timer(0.05, function() once = once + 1 end)
        local timer
        timer = ctx.timer(0.05, function()
          often = often + 1
          if often == 3 then
            timer:stop()
          end
        end, { repeats = true })
      end)
      async.run(function()
        made:start()
        eventually(function() return next(made.plugins.records[1].timers) == nil end)
        async.sleep(0.12)
      end)
      assert.same({ 1, 3 }, { once, often })
    end)

    it("goes on after a failure, which is told", function()
      local calls = 0
      local made = with(function(ctx)
        ctx.timer(0.05, function()
          calls = calls + 1
          error("oops")
        end, { repeats = true })
      end)
      async.run(function()
        made:start()
        eventually(function() return calls == 2 end)
      end)
      assert.matches("timer failed: .*plugin_context_spec.lua:%d+: oops",
        events_of(made, "warning")[1].text)
    end)

    it("goes on in the next run", function()
      local calls = 0
      local made = with(function(ctx)
        ctx.timer(0.05, function() calls = calls + 1 end, { repeats = true })
      end, function()
        async.sleep(0.12)
        return reply("x")
      end)
      assert(made:run("go"))
      local so_far = calls
      assert.is_true(so_far >= 1)
      assert(made:run("go"))
      assert.is_true(calls > so_far)
      assert.same({}, events_of(made, "warning"))
    end)

    it("has bounds", function()
      assert.matches("spec.lua:%d+: ctx.timer: expected seconds from 0.05 on",
        raised(with, function(ctx) ctx.timer(0.01, print) end))
      assert.matches("expected a function", raised(with, function(ctx) ctx.timer(1) end))
      assert.matches("may have 100 timers %(defaults.plugin.max_timers%)",
        raised(with, function(ctx)
          for _ = 1, 101 do
            ctx.timer(1, print)
          end
        end))
      assert.matches("unknown option 'repeat'; did you mean 'repeats'",
        raised(with, function(ctx) ctx.timer(1, print, { ["repeat"] = true }) end))
    end)
  end)

  it("adds tools, commands and handlers later, too; in vain what does not fit", function()
    local ctx
    local made = with(function(given) ctx = given end, { reply("x") })
    ctx.tool({ name = "late", description = "d", run = print })
    ctx.command({ name = "late", help = "h", run = print })
    local idle = 0
    ctx.on("idle", function() idle = idle + 1 end)
    assert.same({ { "late" }, "late" }, { made.tools:names(), made.commands[1].name })
    assert.matches("tool 'late' is already there, from " .. name:gsub("%-", "%%-"),
      raised(ctx.tool, { name = "late", description = "d", run = print }))
    assert.matches("there is a command /late already",
      raised(ctx.command, { name = "late", help = "h", run = print }))
    ctx.tool({ name = "later", description = "d", run = print }) -- what failed left nothing
    assert(made:run("go"))
    assert.equal(1, idle)
    assert.matches("ctx.prompt: only while the plugin is set up",
      raised(ctx.prompt, { source = "s", text = "t" }))
  end)

  it("runs tasks of the agent, and finds them", function()
    local ctx
    local made = with(function(given) ctx = given end)
    local task = ctx.task("echo $PWD; exit 3", { notify = true })
    assert.equal("failed", (task:wait(30)))
    assert.equal(task.id, ctx.find_task(task.id).id)
    assert.equal(1, #ctx.list_tasks())
    assert.equal(place.cwd .. "\n", (task:output()))
    assert.equal(0, made.inbox:due())
  end)

  it("spawns jobs that go with it, and reports their failures", function()
    local ctx
    local made = with(function(given) ctx = given end)
    local closed = false
    async.run(function()
      ctx.spawn(function() error("oops") end)
      local job = ctx.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() closed = true end })
        async.sleep(1000)
      end)
      async.sleep(0)
      made.plugins:close()
      assert.is_true(job.done)
    end)
    assert.is_true(closed)
    assert.equal(1, #events_of(made, "warning"))
    assert.matches("job failed: .*oops", events_of(made, "warning")[1].text)
  end)

  it("has its configuration, its name and its folder", function()
    local dir = temp.directory()
    temp.write(dir .. "/it/init.lua", [[return { setup = function(ctx, opts)
      assert(ctx.config == opts and opts.depth == 3 and ctx.name == "it")
      ctx.note(ctx.dir)
    end }]])
    local made = place:new({}, { system = "s", plugins = { { dir .. "/it", depth = 3 } } })
    assert.same({ dir .. "/it" }, made.notes)
    temp.remove(dir)
  end)

  it("keeps a plugin's globals to itself", function()
    local dir = temp.directory()
    temp.write(dir .. "/p.lua", "leaked = 1\nreturn { setup = function() assert(leaked == 1) end }")
    place:new({}, { system = "s", plugins = { dir .. "/p.lua" } })
    assert.is_nil(rawget(_G, "leaked"))
    temp.remove(dir)
  end)

  -- B22: what is built in has nothing that a user's plugin has not.
  it("is all that the built-in plugins use", function()
    for _, plugin in ipairs({ "shell", "files", "background", "skills", "selfext" }) do
      local source = assert(sys.read_file(("%s/plugins/%s/init.lua"):format(places.share, plugin)))
      assert.is_nil(source:find("ctx%.agent"), plugin)
      for module in source:gmatch('require%("([^"]+)"%)') do
        assert.is_nil(module:find("agent_") or module:find("plugin") or module:find("tools")
          or module:find("%.ui") or module:find("inbox"), plugin .. " uses " .. module)
      end
    end
  end)
end)
