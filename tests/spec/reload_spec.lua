-- Live reload: what changes takes effect, what is broken leaves the old version answering, and
-- nothing is left behind.
local agents = require("support.agents")
local async = require("agenthost.async")
local json = require("agenthost.json")
local places = require("agenthost.places")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call, reply = agents.call, agents.reply

describe("reload", function()
  local place, base

  before_each(function()
    place, base = agents.users_place()
  end)

  after_each(function()
    place:close()
  end)

  local function write(name, content)
    return temp.write(base .. "/" .. name, content)
  end

  local TOOL <const> = [[
return { name = "say", description = "d", permission = "none", run = function() return "%s" end }
]]

  local function new(turns, opts)
    opts = opts or {}
    opts.base_dir, opts.system = base, opts.system or "system"
    if opts.instructions == nil then
      opts.instructions = false
    end
    return place:new(turns, opts)
  end

  -- What the tool `name` says.
  local function said(made, name)
    local results = async.run(function()
      return made.tools:run({ call(name or "say") },
        function(one) return made:tool_context(one) end, made.emitter)
    end)
    return results[1].content
  end

  local function refresh(made, opts)
    return async.run(function() return made.reloader:refresh(opts) end)
  end

  local function reloads(made, kind)
    local found = {}
    for _, event in ipairs(made.events) do
      found[#found + 1] = event.type == kind and event.text or nil
    end
    return found
  end

  it("loads a plugin that has changed at the next turn, and only then", function()
    local path = write("p.lua", TOOL:format("one"))
    local made = new({ reply(call("say")), reply("a"), reply(call("say")), reply("b") },
      { plugins = { "./p.lua" } })
    assert(made:run("go"))
    assert.equal(0, #made.reloader:look())
    write("p.lua", TOOL:format("two"))
    assert(made:run("go"))
    local messages = made.conversation:messages()
    assert.equal("one", messages[3].content[1].content)
    assert.equal("two", messages[7].content[1].content)
    assert.same({ base .. "/p.lua is loaded: the plugin p" }, reloads(made, "reload"))
    assert.is_string(path)
  end)

  it("looks at the bytes: a file that was touched is no change", function()
    write("p.lua", TOOL:format("one"))
    local made = new({}, { plugins = { "./p.lua" } })
    local record = made.plugins.records[1]
    write("p.lua", TOOL:format("one"))
    assert.same({}, refresh(made))
    assert.equal(record, made.plugins.records[1])
    assert.equal(1, #refresh(made, { all = true }) - 1) -- and the prompt
    assert.not_equal(record, made.plugins.records[1])
  end)

  it("saves, swaps, restores and tears down, in this order", function()
    local log = {}
    _G.reload_log = function(what) log[#log + 1] = what end -- luacheck: ignore
    local source = [[
      local n = %d
      local count = 0
      return {
        name = "p", version = "%d",
        setup = function(ctx)
          reload_log("setup " .. n)
          ctx.tool({ name = "count", description = "d", permission = "none", run = function()
            count = count + 1
            return tostring(count)
          end })
        end,
        save = function() reload_log("save " .. n) return count end,
        restore = function(saved) reload_log("restore " .. n) count = saved end,
        teardown = function() reload_log("teardown " .. n) end,
      }]]
    write("p.lua", source:format(1, 1))
    local made = new({}, { plugins = { "./p.lua" } })
    said(made, "count")
    assert.equal("2", said(made, "count"))
    write("p.lua", source:format(2, 2))
    assert.same({ base .. "/p.lua is loaded: the plugin p 2" }, refresh(made))
    assert.equal("3", said(made, "count"))
    assert.same({ "setup 1", "save 1", "setup 2", "restore 2", "teardown 1" }, log)
    _G.reload_log = nil -- luacheck: ignore
  end)

  it("takes away all that the old version had", function()
    write("p.lua", [[return { setup = function(ctx)
      ctx.tool({ name = "old", description = "d", run = print })
      ctx.command({ name = "old", help = "h", run = print })
      ctx.on("prompt", function(event) event.system = event.system .. " old" end)
      ctx.prompt({ source = "p", text = "old part" })
      ctx.timer(0.05, function() OLD = (OLD or 0) + 1 end, { repeats = true })
      ctx.spawn(function() require("agenthost.async").sleep(1000) end)
    end }]])
    local made = new(function(_, request) return reply(request.system) end,
      { plugins = { "./p.lua" } })
    assert.equal("system\n\nold part old", made:run("go").text)
    local old = made.plugins.records[1]
    write("p.lua", "return { setup = function() end }")
    assert.equal("system", made:run("go").text)
    assert.same({ {}, {} }, { made.tools:names(), made.commands })
    assert.is_false(made.plugins.events:handled("prompt"))
    assert.same({ nil, nil }, { next(old.timers), next(old.jobs) })
    assert.is_true(old.dead)
  end)

  it("leaves a call under way its code, and an old context adds nothing", function()
    write("p.lua", [[return { setup = function(ctx)
      ctx.tool({ name = "say", description = "d", permission = "none", run = function()
        ctx.log("begun")
        require("agenthost.async").sleep(0.2)
        local ok, message = pcall(ctx.tool, { name = "more", description = "d", run = print })
        return "one " .. tostring(ok) .. message
      end })
    end }]])
    local made = new({}, { plugins = { "./p.lua" } })
    async.run(function()
      local job = async.spawn(function()
        return made.tools:run({ call("say") }, function(one) return made:tool_context(one) end,
          made.emitter)
      end)
      while #reloads(made, "log") == 0 do
        async.sleep(0)
      end
      write("p.lua", TOOL:format("two"):gsub("say", "other"))
      assert.equal(1, #made.reloader:refresh())
      assert.same({ "other" }, made.tools:names())
      assert.matches("^one false.*plugin p is unloaded", job:wait()[1].content)
    end)
    assert.equal("Error: there is no tool 'say'", said(made))
  end)

  it("lets an open request go on, with what it began with", function()
    write("p.lua", TOOL:format("one"))
    local made
    made = new({ function(_, request)
      assert.equal(1, #request.tools)
      write("p.lua", "return { setup = function() end }")
      assert.equal(1, #made.reloader:refresh())
      async.sleep(0.01)
      assert.equal(1, #request.tools)
      return reply("answered", call("say"))
    end, function(_, request)
      assert.equal(0, #request.tools)
      return reply("done")
    end }, { plugins = { "./p.lua" } })
    assert.equal("done", made:run("go").text)
    assert.equal("Error: there is no tool 'say'",
      made.conversation:messages()[3].content[1].content)
  end)

  -- what is written, what is said of it
  local broken = {
    syntax = { "return {\n  oops oops\n}", "p%.lua:2: .*near 'oops'" },
    ["error at load"] = { "\nerror('at load')", "p%.lua:2: at load" },
    ["error at setup"] = { "return { setup = function(ctx)\nerror('no luck') end }",
      "p%.lua:2: no luck" },
    ["error in a helper at setup"] = { "return { setup = function(ctx) ctx.timer(0, print) end }",
      "p%.lua:1: ctx%.timer: expected seconds" },
    ["wrong shape"] = { "return 7", "it returned 7" },
    ["nothing"] = { "", "it returned nothing" },
    ["a slip of the pen"] = { "return { setup = print, tear_down = print }",
      "unknown field 'tear_down'; did you mean 'teardown'" },
    ["another interface"] = { "return { setup = print, api = 99 }", "version 99 .* has 1" },
    ["a tool without a description"] = { "return { name = 'say', run = print }",
      "tool 'say' needs a description" },
    ["a tool whose name is taken"] = { TOOL:format("x"):gsub('"say"', '"other"'),
      "tool 'other' is already there, from .*p%.lua" },
    ["a command whose name is none"] = { [[return { setup = function(ctx)
      ctx.command({ name = "!", help = "h", run = print }) end }]], "'!' is no name" },
    ["byte code"] = { string.dump(function() end), "binary chunk" },
    ["too long"] = { ("-"):rep(1024 * 1024 + 1), "longer than 1048576 bytes" },
  }
  for what, case in pairs(broken) do
    it("leaves the old version answering: " .. what, function()
      write("p.lua", TOOL:format("one"))
      write("q.lua", TOOL:format("q"):gsub('"say"', '"other"'))
      local made = new({}, { plugins = { "./p.lua", "./q.lua" } })
      local before = json.encode(made.tools:definitions())
      write("p.lua", case[1])
      local lines = refresh(made)
      assert.equal(1, #lines)
      assert.matches("^not reloaded: .*" .. case[2] .. ".* %(the version from before goes on%)$",
        lines[1])
      assert.same(lines, reloads(made, "warning"))
      assert.equal("one", said(made))
      assert.equal(before, json.encode(made.tools:definitions()))
      assert.same({}, refresh(made)) -- said once
      assert.same(lines, refresh(made, { asked = true })) -- but for /reload
      write("p.lua", TOOL:format("mended"))
      assert.equal(1, #refresh(made))
      assert.equal("mended", said(made))
      assert.equal(0, #made.queue) -- the model has not written it
    end)
  end

  it("leaves the old version answering: the file is missing", function()
    local path = write("p.lua", TOOL:format("one"))
    local made = new({}, { plugins = { "./p.lua" } })
    os.remove(path)
    assert.matches("^not reloaded: .*plugin './p.lua' is not there", refresh(made)[1])
    assert.same({}, refresh(made))
    assert.equal("one", said(made))
  end)

  it("leaves the old version's items, timers and jobs when setup fails half way", function()
    write("p.lua", [[return { setup = function(ctx)
      ctx.on("idle", print)
      ctx.timer(100, print)
    end }]])
    local made = new({}, { plugins = { "./p.lua" } })
    local old = made.plugins.records[1]
    write("p.lua", [[TORN = 0
    return { name = "half_way", setup = function(ctx)
      ctx.state.x = 1
      ctx.tool({ name = "t", description = "d", run = print })
      ctx.on("idle", print)
      ctx.timer(0.05, error)
      ctx.spawn(function() require("agenthost.async").sleep(1000) end)
      error("late")
    end }]])
    async.run(function()
      made:start()
      async.sleep(0)
      local jobs = async.count()
      assert.matches("late", made.reloader:refresh()[1])
      async.sleep(0.2)
      assert.equal(jobs, async.count())
    end)
    assert.equal(old, made.plugins.records[1])
    assert.is_true(made.plugins.events:handled("idle"))
    assert.is_not_nil(next(old.timers))
    assert.same({}, made.tools:names())
    assert.equal(1, #reloads(made, "warning")) -- the timer of the failed one never fired
    assert.is_nil(sys.stat(sys.xdg("state") .. "/agenthost/plugins/half_way.json"))
  end)

  it("loads two plugins between which a tool has moved at once, a broken one alone not", function()
    write("p.lua", TOOL:format("p"))
    write("q.lua", "return { setup = function() end }")
    local made = new({}, { plugins = { "./p.lua", "./q.lua" } })
    write("q.lua", TOOL:format("q"))
    write("p.lua", "return { setup = function() end }")
    assert.equal(2, #refresh(made))
    assert.equal("q", said(made))
    write("q.lua", TOOL:format("q2"))
    write("p.lua", "oops")
    assert.equal(2, #refresh(made))
    assert.equal("q2", said(made))
  end)

  it("tells the model of a file that it has written itself", function()
    write("p.lua", TOOL:format("one"))
    local edit = { name = "edit", description = "d", input = { path = "string" },
      permission = "edit", run = function(input)
        return temp.write(input.path, "return {") and "done"
      end }
    local made = new({ reply(call("edit", { path = base .. "/p.lua" })), reply("seen") },
      { plugins = { "./p.lua" }, tools = { edit } })
    assert(made:run("go"))
    local last = made.provider.requests[2]
    assert.matches("%[reload%] a file that you have written was not reloaded: .*p.lua:1: .*",
      last[#last].content[2].text)
    assert.equal("one", said(made))
  end)

  it("keeps the bytes of what has not changed", function()
    write("p.lua", TOOL:format("one"))
    write("q.lua", TOOL:format("q"):gsub('"say"', '"other"'))
    local made = new({}, { plugins = { "./p.lua", "./q.lua" } })
    local before, system = json.encode(made.tools:definitions()), made.system
    write("p.lua", TOOL:format("two"))
    refresh(made)
    assert.equal("two", said(made))
    assert.equal(before, json.encode(made.tools:definitions()))
    assert.equal(system, made.system)
  end)

  it("loads a folder's files with it", function()
    write("dir/init.lua", 'local helper = require("helper")\nreturn { name = "say", '
      .. 'description = "d", permission = "none", run = function() return helper.text end }')
    write("dir/helper.lua", 'return { text = "one" }')
    local made = new({}, { plugins = { "./dir" } })
    assert.equal("one", said(made))
    write("dir/helper.lua", 'return { text = "two" }')
    assert.equal(1, #refresh(made))
    assert.equal("two", said(made))
    assert.is_nil(package.loaded.helper)
    write("dir/helper.lua", 'return {')
    assert.matches("helper.lua:1: ", refresh(made)[1])
    assert.equal("two", said(made))
  end)

  it("takes the user's copy of a built-in plugin when there is one, and ours when it is gone",
    function()
      local made = new({}, { plugins = { "shell" } })
      local path = write("config/plugins/shell.lua", TOOL:format("mine"))
      assert.equal(1, #refresh(made))
      assert.same({ "say" }, made.tools:names())
      os.remove(path)
      assert.equal(1, #refresh(made))
      assert.same({ "bash" }, made.tools:names())
    end)

  it("loads the prompt", function()
    local made = place:new({}, { instructions = false })
    local before = made.system
    write("config/prompts/system.md", "Be {model}.")
    assert.equal(1, #refresh(made))
    assert.equal("Be inline/test.", made.system)
    os.remove(base .. "/config/prompts/system.md")
    refresh(made)
    assert.equal(before, made.system)
  end)

  it("loads a module of the user's, for objects that are there, too", function()
    local made = new({ reply("x"), reply("y"), reply("z") })
    local source = assert(sys.read_file(places.share .. "/lua/agenthost/agent.lua"))
    write("config/lua/agenthost/agent.lua", (source:gsub("function Agent:turns%(%)",
      "function Agent:turns()\n  if true then return { text = 'my loop' } end")))
    assert.equal("x", made:run("go").text) -- this run began with the old one
    assert.equal("my loop", made:run("go").text)
    write("config/lua/agenthost/agent.lua", (source:gsub("function Agent:turns%(%)",
      "function Agent:turns()\n  if true then return { text = 'third' } end")))
    made:say("more")
    refresh(made)
    assert.equal("third", made:run("go").text)
    write("config/lua/agenthost/agent.lua", "return { new = 7 }")
    assert.matches("not reloaded: .*agent.new: expected a function", refresh(made)[1])
    assert.equal("third", made:run("go").text)
    os.remove(base .. "/config/lua/agenthost/agent.lua")
    assert.equal(1, #refresh(made))
    assert.equal("y", made:run("go").text)
  end)

  it("says which module counts from the next start on", function()
    local made = new({})
    local source = assert(sys.read_file(places.share .. "/lua/agenthost/async.lua"))
    local run = async.run
    write("config/lua/agenthost/async.lua", source .. "-- mine")
    assert.matches("async.lua has changed: it counts from the next start on", refresh(made)[1])
    assert.same({}, refresh(made))
    assert.equal(run, async.run)
  end)

  describe("of the agent script", function()
    local SCRIPT <const> = [[
      local n = %d
      return require("agenthost.agent").new({
        system = "system " .. n, max_turns = n, max_tokens = 100 * n, instructions = false,
        plugins = { %s },
        tools = { { name = "own", description = "d", permission = "none",
          run = function() return "own " .. n end } },
        permissions = { allow = { "rule_%d" } },
      })]]

    local function follow(made, content)
      made.made_with.base_dir, made.made_with.cwd = nil, nil -- the command line says them
      made.reloader:follow(write("agent.lua", content), {})
    end

    it("changes everything but the session", function()
      write("p.lua", TOOL:format("one"))
      local made = new({ reply("a"), reply("b") }, { plugins = { "./p.lua" } })
      local record, provider = made.plugins.records[1], made.provider
      follow(made, SCRIPT:format(1, '"./p.lua"', 1))
      write("agent.lua", SCRIPT:format(3, '"./p.lua", "shell"', 3))
      assert.same({ base .. "/agent.lua is loaded: the agent script" }, refresh(made))
      assert.equal(record, made.plugins.records[1]) -- what has not changed stays
      assert.same({ "say", "bash", "own" }, made.tools:names())
      assert.equal("own 3", said(made, "own"))
      assert.same({ "system 3", 3, 300 }, { made.system, made.max_turns, made.max_tokens })
      assert.same({ "mode: default", "allow: rule_3" }, made.permission:describe())
      assert.equal(provider, made.provider)
      made.permission:add("allow", "always_said")
      write("agent.lua", SCRIPT:format(4, "", 4))
      refresh(made)
      assert.same({ "own" }, made.tools:names())
      assert.is_true(record.dead)
      assert.same({ "mode: default", "allow: rule_4", "allow: always_said" },
        made.permission:describe())
    end)

    for what, case in pairs({
      syntax = { "return {", "agent.lua:1: " },
      ["an error"] = { "\nerror('no')", "agent.lua:2: no" },
      ["a plugin that is not there"] = { SCRIPT:format(2, '"./nowhere"', 2),
        "'./nowhere' is not there" },
      ["an unknown option"] = { "return require('agenthost.agent').new({ sistem = '' })",
        "unknown option 'sistem'; did you mean 'system'" },
      ["an option of a wrong type"] = {
        "return require('agenthost.agent').new({ permissions = { allow = 7 } })",
        "allow: expected a list" },
      ["a policy that is none"] = { "return require('agenthost.agent').new({ on_notice = 'x' })",
        "on_notice: expected" },
      ["a prompt that fails"] = {
        "return require('agenthost.agent').new({ system = function()\nerror('x') end })",
        "agent.lua:2: x" },
      ["no agent"] = { "return 7", "does not return an agent" },
      ["an agent that is not returned"] = { "require('agenthost.agent').new({})",
        "does not return an agent" },
      ["two agents"] = { "local new = require('agenthost.agent').new\nlocal helper = new({})\n"
        .. "return new({ system = 'x' })", "it makes 2 agents, and only one can be reloaded" },
      ["a second agent that is wrong"] = { "local new = require('agenthost.agent').new\nnew({})\n"
        .. "return new({ sistem = 'x' })", "it makes 2 agents" },
      ["an agent in use"] = { "local made = require('agenthost.agent').new({})\nmade:run('Hi')\n"
        .. "return made", "it uses its agent before it returns it" },
    }) do
      it("leaves the old version when it is broken: " .. what, function()
        local made = new({})
        follow(made, SCRIPT:format(1, "", 1))
        write("agent.lua", SCRIPT:format(2, "", 2))
        refresh(made)
        local before = { made.tools:names(), made.system, made.max_turns, made.permission }
        write("agent.lua", case[1])
        assert.matches("^not reloaded: .*" .. case[2]:gsub("[%.%-]", "%%%0"), refresh(made)[1])
        assert.same(before, { made.tools:names(), made.system, made.max_turns, made.permission })
        assert.equal("own 2", said(made, "own"))
        assert.equal(0, #refresh(made))
      end)
    end

    it("takes the options of the agent that it returns, whatever it is given besides", function()
      local made = new({})
      follow(made, SCRIPT:format(1, "", 1))
      write("agent.lua", [[
        local ok, made = pcall(require("agenthost.agent").new, { max_turns = 7 })
        made.ask, made.on_event = print, print
        return ok and made]])
      assert.same({ base .. "/agent.lua is loaded: the agent script" }, refresh(made))
      assert.equal(7, made.max_turns)
      assert.is_true(made.ask ~= print)
    end)

    it("lets tools make agents meanwhile", function()
      local made = new({})
      follow(made, SCRIPT:format(1, "", 1))
      write("agent.lua", [[require("agenthost.async").sleep(0.1)
        return require("agenthost.agent").new({ max_turns = 7 })]])
      async.run(function()
        local job = async.spawn(function() return made.reloader:refresh() end)
        async.sleep(0)
        local other = place:new({ reply("Hi.") })
        assert.equal("Hi.", assert(other:run("Hello")).text)
        assert.same({ base .. "/agent.lua is loaded: the agent script" }, job:wait())
      end)
      assert.equal(7, made.max_turns)
    end)

    it("says what counts from the next start on", function()
      local made = new({})
      follow(made, "")
      write("agent.lua", "return require('agenthost.agent').new({ cwd = '/' })")
      assert.same({ base .. "/agent.lua is loaded: the agent script",
        "`cwd` counts from the next start on" }, refresh(made))
      assert.equal(place.cwd, made.cwd)
    end)
  end)
end)
