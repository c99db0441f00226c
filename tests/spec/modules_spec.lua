-- Live reload of every Lua module of agenthost's own: the agent goes on, and no code of the version
-- from before is left.
local agents = require("support.agents")
local anthropic = require("agenthost.provider.anthropic")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local fake = require("support.fake")
local marked = require("support.marked")
local module_reload = require("agenthost.module_reload")
local places = require("agenthost.places")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call, reply = agents.call, agents.reply
local NEEDS_RESTART <const> = module_reload.NEEDS_RESTART
local ALL <const> = marked.modules()

for _, module in ipairs(ALL) do
  require(module.name)
end

describe("a copy of ours in the user's folder", function()
  local place, base, lua

  before_each(function()
    place, base = agents.users_place()
    lua = places.config .. "/lua"
  end)

  after_each(function()
    place:close()
  end)

  local PLUGIN <const> = [[return { name = "p", setup = function(ctx)
    ctx.tool({ name = "own", description = "d", input = { a = "string?" },
      run = function() return "own" end })
    ctx.tool({ name = "later", description = "d", background = true, permission = "none",
      run = function() return "later" end })
    ctx.timer(0.05, function() end, { repeats = true })
    ctx.spawn(function() require("agenthost.async").sleep(1000) end)
    for _, event in ipairs({ "prompt", "notice", "tool.before", "tool.after", "idle" }) do
      ctx.on(event, function() end)
    end
    ctx.state.n = 1
  end, save = function() return 1 end, restore = function() end, teardown = function() end }]]

  local function new(turns, opts)
    temp.write(base .. "/p.lua", PLUGIN)
    opts = opts or {}
    opts.base_dir, opts.plugins = base, { "shell", "files", "background", "skills", "./p.lua" }
    opts.permissions = { mode = "default" }
    local made = place:new(turns, opts)
    made.asked = 0
    made.ask = function()
      made.asked = made.asked + 1
      return { allow = true }
    end
    return made
  end

  local function refresh(made)
    return made.reloader:refresh()
  end

  -- Back to what is installed; the next spec begins with that.
  local function take_away(made)
    temp.remove(lua)
    refresh(made)
  end

  local function ask_for_tools()
    return reply("Go.", call("bash", { command = "echo hi" }), call("own"),
      call("write_file", { path = "a", content = "b\n" }), call("read_file", { path = "a" }),
      call("background_run", { command = "echo ended" }))
  end

  -- All that was said in a conversation.
  local function said(made)
    local texts = {}
    for _, message in ipairs(made.conversation:messages()) do
      for _, block in ipairs(message.content) do
        texts[#texts + 1] = type(block.content) == "string" and block.content or block.text
      end
    end
    return table.concat(texts, "\n")
  end

  -- A run with tools and a background task, and another one if its notice comes later.
  local function work(made)
    local asked, from = made.asked, #said(made)
    assert(made:run("go"))
    assert.equal(asked == 0 and 4 or asked + 3, made.asked) -- one yes is for all edits
    while not said(made):find("%] completed: [^\n]*ended", from) do
      if made.inbox:due() ~= 0 then -- else it was taken in already
        assert(made.queue:wait(30))
      end
      assert(made:run())
    end
    for _, wanted in ipairs({ "hi\n", "own\n", "Wrote 2 bytes to a", "b\n" }) do
      assert.truthy(said(made):find(wanted, from, true), wanted)
    end
  end

  it("takes its place, one after the other, while the agent works on", function()
    local made = new(function(messages)
      local last = messages[#messages].content[1]
      return last.type == "text" and last.text:find("^go") and ask_for_tools() or reply("Done.")
    end)
    async.run(function()
      made:start()
      for i, module in ipairs(ALL) do
        local path = lua .. "/" .. module.file
        temp.write(path, sys.read_file(module.path, 1 << 20) .. "-- mine\n")
        local lines = refresh(made)
        local wanted = (NEEDS_RESTART[module.name] or type(package.loaded[module.name]) ~= "table")
          and "counts from the next start on" or "is loaded: the module " .. module.name
        assert.equal(1, #lines, table.concat(lines, "\n"))
        assert.truthy(lines[1]:find(wanted, 1, true), lines[1])
        if i % 8 == 0 or i == #ALL then
          work(made)
        end
      end
      for _, event in ipairs(made.events) do
        assert.not_equal("warning", event.type, event.text)
      end
      take_away(made)
      work(made)
    end)
  end)

  it("leaves no function of the version from before that is called any more", function()
    local server <close> = fake.start({ rules = {
      { when = { last_user_lacks = { "[notice]" }, has_tool_result = false }, thinking = "Hm.",
        text = "Go.", tools = {
          { name = "bash", input = { command = "echo hi" } }, { name = "own", input = {} },
          { name = "later", input = {} },
          { name = "write_file", input = { path = "a", content = "b\n" } },
          { name = "read_file", input = { path = "a" } },
          { name = "background_run", input = { command = "echo ended", ready_pattern = "ended" } },
          { name = "check_background", input = {} } } },
      { text = "Done." } } })
    local made
    local function provider()
      return anthropic.new({ model = "claude-test-1", api_key = "test-key",
        base_url = server.url })
    end
    local stale = {}
    local function run()
      _G.called_now = function(version, number, line) -- luacheck: ignore
        local name = ALL[number].name
        if version < made.version and not NEEDS_RESTART[name] then
          stale[name .. ":" .. line] = true
        end
      end
      assert(made:run("go"))
      made:compact("everything")
      _G.called_now = nil -- luacheck: ignore
    end
    made = new({}, { provider = provider() })
    async.run(function()
      marked.write(lua, ALL, 1)
      refresh(made)
      made = new({}, { provider = provider() }) -- all of it is of the first version
      made.version = 1
      run()
      for version = 2, 3 do
        marked.write(lua, ALL, version)
        assert(#refresh(made) > 100)
        made.version = version
        run()
        assert.same({}, stale)
      end
      take_away(made)
    end)
  end)

  it("that is one of C's is left alone: its file is never looked for", function()
    local made = new({})
    temp.write(lua .. "/agenthost/sys.lua", "return { broken")
    assert.same({}, async.run(refresh, made))
  end)

  describe("of the defaults", function()
    local source = assert(sys.read_file(places.share .. "/lua/agenthost/defaults.lua"))

    local function with(...)
      local text = source
      for _, change in ipairs({ ... }) do
        local count
        text, count = text:gsub(change[1], change[2])
        assert.equal(1, count)
      end
      return temp.write(lua .. "/agenthost/defaults.lua", text)
    end

    it("counts from the next turn on, wherever its values were taken from", function()
      local made
      made = new({ function(_, request)
        local held = defaults.bash -- as plugins may hold it
        with({ "timeout = 600", "timeout = 77" }, { "max_turns = 200", "max_turns = 7" },
          { "max_running = 64", "max_running = 1" }, { '\n    PAGER = "cat"', ' PAGER = "mine"' })
        made.held = held
        assert.equal(16000, request.max_tokens)
        return reply(call("bash", { command = "echo $PAGER" }))
      end, function(_, request)
        for _, tool in ipairs(request.tools) do
          if tool.name == "bash" then
            made.said = tool.description .. require("agenthost.json").encode(tool.input_schema)
          end
        end
        return reply("done", call("bash", { command = "echo $PAGER" }))
      end, reply("end") })
      assert(made:run("go"))
      assert.equal(77, made.held.timeout)
      assert.equal(7, made.max_turns)
      assert.matches("77", made.said)
      assert.matches("cat", made.conversation:messages()[3].content[1].content)
      assert.matches("mine", made.conversation:messages()[5].content[1].content)
      async.run(function()
        local first, second = made:run_task("sleep 1000"), made:run_task("true")
        assert.equal("queued", (second:status())) -- one at a time
        first:kill({ grace = 0 })
        second:wait(30)
        take_away(made)
      end)
      assert.equal(600, made.held.timeout)
      assert.equal(200, made.max_turns)
    end)

    it("may hold only what differs", function()
      local made = new({})
      temp.write(lua .. "/agenthost/defaults.lua", "return { run = { max_turns = 3 } }")
      async.run(refresh, made)
      assert.same({ 3, 600 }, { made.max_turns, defaults.bash.timeout })
      async.run(take_away, made)
      assert.equal(200, made.max_turns)
    end)

    it("is refused when a value is of another kind; the old ones go on", function()
      local made = new({})
      for _, case in ipairs({
        { "timeout = 600,", "timeout = {},", "bash%.timeout: expected a number, got a table" },
        { "max_turns = 200", "max_turns = 'x'", "run%.max_turns: expected a number, got 'x'" },
        { "return defaults", "return 5", "has to return a table, it returned 5" },
      }) do
        with(case)
        assert.matches("^not reloaded: .*" .. case[3], async.run(refresh, made)[1])
        assert.equal(600, defaults.bash.timeout)
        assert.equal(200, made.max_turns)
      end
      async.run(take_away, made)
    end)

    it("keeps the bounds that the core refuses to take", function()
      local made = new({})
      with({ "max_running = 64", "max_running = -1" })
      async.run(refresh, made)
      local told
      for _, event in ipairs(made.events) do
        told = told or event.type == "warning" and event.text
      end
      assert.matches("the bounds of tasks and memory stay as before: .*max_running", told)
      async.run(take_away, made)
    end)
  end)

  describe("of the user's own", function()
    it("comes with what it requires, and with what others have taken from it", function()
      temp.write(lua .. "/mine/a.lua", [[local f = require("mine.b").f
        return { say = function() return "a " .. f() end }]])
      temp.write(lua .. "/mine/b.lua", [[return { f = function() return "one" end }]])
      local path = package.path
      package.path = lua .. "/?.lua;" .. path
      local a, b = require("mine.a"), require("mine.b")
      local inline = { name = "inline", setup = function(ctx)
        local f, other = b.f, b.other
        ctx.tool({ name = "said", description = "d", permission = "none",
          run = function() return f() .. (other and other() or "") end })
      end }
      local made = place:new({}, { base_dir = base, plugins = { inline } })
      assert.equal("a one", a.say())
      temp.write(lua .. "/mine/b.lua", [[return { f = function() return "two" end,
        other = function() return " more" end }]])
      assert.equal(1, #async.run(refresh, made))
      assert.equal("a two", a.say()) -- a has not changed, and has taken the function
      assert.equal("two more", made.tools.by_name.said.tool.run())
      temp.write(lua .. "/mine/a.lua", [[local third = require("mine.b").third
        return { say = function() return "a " .. third() end }]])
      temp.write(lua .. "/mine/b.lua", [[return { f = function() end, other = function() end,
        third = function() return "third" end }]])
      assert.equal(2, #async.run(refresh, made))
      assert.equal("a third", a.say())
      os.remove(lua .. "/mine/b.lua")
      assert.matches("mine/b.lua is gone", async.run(refresh, made)[1])
      assert.equal("a third", a.say())
      package.loaded["mine.a"], package.loaded["mine.b"], package.path = nil, nil, path
    end)

    it("keeps its marks and caches, its classes, and what it has protected", function()
      local source = [[
        local MARK = setmetatable({}, { __tostring = function() return "%d" end })
        local cache = setmetatable({}, { __mode = "k" })
        local Class, Inner = {}, {}
        Class.__index, Inner.__index = Class, Inner
        function Class:inner() return setmetatable({}, Inner) end
        function Class:say() return "%d" end
        function Inner:say() return "inner %d" end
        local M = { list = { 1, %d } }
        function M.new() return setmetatable({}, Class) end
        function M.mark() return MARK end
        function M.cached(key) cache[key] = cache[key] or %d return cache[key] end
        return setmetatable(M, { __metatable = "hands off", __newindex = error })]]
      local path = package.path
      package.path = lua .. "/?.lua;" .. path
      temp.write(lua .. "/kept.lua", source:format(1, 1, 1, 1, 1))
      local kept = require("kept")
      local made = new({})
      local object, list, mark, key = kept.new(), kept.list, kept.mark(), {}
      local inner = object:inner()
      assert.equal(1, kept.cached(key))
      for n = 2, 3 do
        temp.write(lua .. "/kept.lua", source:format(n, n, n, n, n))
        assert.equal(1, #async.run(refresh, made))
        assert.same({ tostring(n), "inner " .. n, { 1, n } }, { object:say(), inner:say(), list })
        assert.equal(mark, kept.mark())
        assert.equal(1, kept.cached(key))
        inner = object:inner()
      end
      package.loaded.kept, package.path = nil, path
    end)
  end)

  it("that comes between two looks is loaded, though another session begins meanwhile", function()
    local made = new({ reply("a") })
    local source = assert(sys.read_file(places.share .. "/lua/agenthost/agent.lua"))
    temp.write(lua .. "/agenthost/agent.lua", (source:gsub("function Agent:turns%(%)",
      "function Agent:turns()\n  if true then return { text = 'mine' } end")))
    local other = assert(made:switch_session())
    other.on_event = made.on_event
    assert.equal(1, #async.run(refresh, other))
    async.run(take_away, other)
    other:close()
    temp.remove(other.session.dir)
  end)
end)
