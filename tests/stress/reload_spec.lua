-- Reloads by the thousand: of everything that can be reloaded, while tasks run and end and model
-- calls stream. Counted before and after: what is alive of older versions (by weak tables, so that
-- nothing hides in a bound), handlers, timers, jobs, descriptors, memory.
local agents = require("support.agents")
local anthropic = require("agenthost.provider.anthropic")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local fake = require("support.fake")
local guard = require("agenthost.guard")
local json = require("agenthost.json")
local lfs = require("lfs")
local places = require("agenthost.places")
local stress = require("support.stress")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call = agents.call
local TIMES <const> = stress.size(100, 1000)
local WARM_UP <const> = 20
local FLAT <const> = 64 -- bytes of Lua memory that a reload may leave, on average; and
local NOISE <const> = 256 * 1024 -- bytes that come and go

describe(("%d reloads"):format(TIMES), function()
  local place, base

  before_each(function()
    place, base = agents.users_place()
    _G.VERSIONS = setmetatable({}, { __mode = "k" }) -- luacheck: ignore
    stress.seed()
  end)

  after_each(function()
    place:close()
    _G.VERSIONS = nil -- luacheck: ignore
    os.remove(sys.xdg("state") .. "/agenthost/plugins/p.json")
  end)

  local function write(name, content)
    return temp.write(base .. "/" .. name, content)
  end

  -- ---- what there is -------------------------------------------------------------------------

  local function descriptors()
    local count, sockets = 0, 0
    for name in lfs.dir("/proc/self/fd") do
      local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
      local is_socket = target and target:find("^socket:") ~= nil
      count, sockets = count + (is_socket and 0 or 1), sockets + (is_socket and 1 or 0)
    end
    return count, sockets
  end

  local function size(set)
    local count = 0
    for _ in pairs(set) do
      count = count + 1
    end
    return count
  end

  -- How many versions something of is alive. One more than the live one may be: the dead slots of a
  -- stack that is in use are not cleared. Two would be the first two of a thousand.
  local function versions()
    local found = {}
    for _, n in pairs(VERSIONS) do -- luacheck: ignore
      found[n] = true
    end
    return size(found)
  end

  -- Everything that could be left over, when nothing is under way.
  local function count(made)
    for _ = 1, 3 do
      collectgarbage()
    end
    local found = { parked = async.count(), handlers = 0, timers = 0, jobs = 0,
      tools = #made.tools:names(), commands = #made.commands, prompts = #made.prompt_parts,
      records = #made.plugins.records, calls = size(made.tool_jobs.running) }
    for _, handlers in pairs(made.plugins.events.handlers) do
      found.handlers = found.handlers + #handlers
    end
    for _, record in ipairs(made.plugins.records) do
      found.timers = found.timers + size(record.timers)
      found.jobs = found.jobs + size(record.jobs)
    end
    local sockets
    found.descriptors, sockets = descriptors()
    return found, sockets, collectgarbage("count") * 1024
  end

  local function assert_flat(what, from, to, times)
    print(("%s: %.1f bytes a reload (%.0f KiB, then %.0f KiB)"):format(what, (to - from) / times,
      from / 1024, to / 1024))
    assert.is_true(to - from < NOISE + times * FLAT,
      ("%s: %.0f KiB more"):format(what, (to - from) / 1024))
  end

  -- ---- a plugin that has everything, while all else goes on ---------------------------------

  local EVERYTHING <const> = [[
    local n, url = %d, %q
    local async = require("agenthost.async")
    local function mark(what) VERSIONS[what] = n return what end
    return { name = "p", setup = mark(function(ctx)
      mark(ctx)
      ctx.tool({ name = "say", description = "d", permission = "none",
        run = mark(function() return "version " .. n end) })
      ctx.tool({ name = "later", description = "d", permission = "none", background = true,
        run = mark(function() async.sleep(0.02) return "later" end) })
      ctx.command({ name = "p", help = "h", run = mark(function() return n end) })
      for _, event in ipairs({ "prompt", "notice", "request", "tool.before", "tool.after",
        "message.user", "response", "idle" }) do
        ctx.on(event, mark(function() async.sleep(0) end))
      end
      ctx.timer(0.05, mark(function() async.sleep(0.01) end), { repeats = true })
      ctx.timer(1000, mark(function() end))
      ctx.spawn(mark(function() async.sleep(1000) end))
      ctx.spawn(mark(function()
        local stream <close> = mark(assert(ctx.http.stream({ url = url .. "/v1/messages",
          headers = { ["x-api-key"] = "test-key", ["anthropic-version"] = "2023-06-01",
            ["content-type"] = "application/json" },
          body = '{"model":"claude-test-1","max_tokens":1000,"stream":true,'
            .. '"messages":[{"role":"user","content":"endless"}]}' })))
        for _ in stream:events() do
          EVENTS = (EVENTS or 0) + 1
          mark({})
        end
      end))
      ctx.prompt({ source = "p", text = "part" })
      ctx.state.n = n
    end), save = mark(function() return { ("x"):rep(1000) } end), restore = mark(function() end),
    teardown = mark(function() end) }]]

  local function serve()
    return fake.start({ rules = {
      { when = { last_user_contains = "endless" }, text = ("on and on "):rep(500),
        wire = { delta = 4, event_delay = 0.05 } },
      { when = { has_tool_result = false, last_user_contains = "go" }, thinking = "Hm.",
        text = ("slowly "):rep(20), tools = { { name = "say", input = json.object() },
          { name = "later", input = json.object() },
          { name = "bash", input = { command = "sleep 0.05; echo hi" } } },
        wire = { delta = 7, event_delay = 0.02 } },
      { text = ("at last "):rep(20), wire = { delta = 7, event_delay = 0.02 } } } })
  end

  -- How often the conversation tells the end of each task.
  local function told(made)
    local times = {}
    for _, message in ipairs(made.conversation:messages()) do
      for _, block in ipairs(message.role == "user" and message.content or {}) do
        for id in (block.text or ""):gmatch("%[bg:(%x+)%] completed") do
          times[id] = (times[id] or 0) + 1
        end
      end
    end
    return times
  end

  it("of a plugin with everything, while tasks run and end and model calls stream", function()
    local server <close> = serve()
    write("p.lua", "return { setup = function() end }") -- dead slots of this stack may hold it
    local made = place:new({}, { base_dir = base, system = "system", instructions = false,
      plugins = { "./p.lua", "shell" }, provider = anthropic.new({ model = "claude-test-1",
        api_key = "test-key", base_url = server.url }) })
    local mid_stream, streaming, runs = 0, false, 0
    made.on_event = function(event)
      streaming = event.type == "text" or streaming and event.type ~= "reply"
    end

    async.run(function()
      made:start()
      local long = {}
      for i = 1, 4 do
        long[i] = made:run_task("sleep 1000", { timeout = math.huge })
      end
      local idle = async.count() -- jobs that wait for these tasks
      local ended, stop = {}, false
      -- Tasks that end, and runs of the model, one after the other.
      local function work()
        while not stop do
          for _ = 1, 3 do
            ended[#ended + 1] = made:run_task("echo done", { notify = true }).id
          end
          assert(made:run("go on"))
          runs = runs + 1
        end
      end

      local function times(from, to)
        stop = false
        local worker = async.spawn(work)
        for n = from, to do
          write("p.lua", n % 10 == 0 and "return {" or EVERYTHING:format(n, server.url))
          made.reloader:refresh()
          mid_stream = mid_stream + (streaming and 1 or 0)
          async.sleep(math.random() * 0.04)
        end
        stop = true
        worker:wait()
        write("p.lua", EVERYTHING:format(to, server.url))
        made.reloader:refresh()
        stress.eventually(function() -- its own stream runs, background calls have ended
          return made.plugins.records[1].live and not next(made.tool_jobs.running)
            and #made:pending_tasks() == 0
        end)
        while made.inbox:due() == 0 or #made.queue > 0 do
          assert(made:run())
        end
        write("p.lua", "return { setup = function() end }")
        made.reloader:refresh()
        stress.eventually(function() return async.count() <= idle end) -- what was cancelled ends
        return count(made)
      end

      local before, _, from = times(1, WARM_UP)
      local after, sockets, to = times(WARM_UP + 1, WARM_UP + TIMES)
      assert.same(before, after)
      assert.is_true(versions() <= 1)
      assert.is_true(sockets < 16, sockets .. " sockets") -- kept for reuse: a few
      local pieces = 0
      for _, piece in ipairs(made.conversation.pieces) do
        pieces = pieces + #(piece.blocks or piece.json or "")
      end
      print(("%d runs, %d reloads in the middle of a stream, %d tasks, %.0f KiB of conversation")
        :format(runs, mid_stream, #ended, pieces / 1024))
      -- The conversation grows; nothing else does.
      assert_flat("with runs", from, to - 4 * pieces, TIMES)
      assert.is_true(mid_stream > TIMES / 10)

      local found = told(made)
      for _, id in ipairs(ended) do
        assert.equal(1, found[id], "the end of " .. id)
        found[id] = nil
      end
      assert.same({}, found)
      for _, task in ipairs(long) do
        assert.equal("running", (task:status()))
      end
    end)
    assert.equal(0, (async.count()))
    for _, entry in ipairs(server.log()) do
      assert.not_equal("rejected", entry.kind, entry.message)
    end
  end)

  -- ---- each thing that can be reloaded -------------------------------------------------------

  local TOOL <const> = [[
    local function run() return "%d" end
    VERSIONS[run] = %d
    return { name = "say", description = "d", permission = "none", run = run }]]
  local NOTICE <const> = assert(sys.read_file(places.share .. "/lua/agenthost/notice.lua"))
    :gsub("%%", "%%%%"):gsub("return M%s*$", "VERSIONS[M.text] = %%d\nreturn M -- %%d\n")

  local THINGS <const> = {
    ["a plugin in one file"] = { file = "p.lua", plugins = { "./p.lua" }, source = TOOL },
    ["a folder with modules of its own"] = { file = "dir/lib/helper.lua", plugins = { "./dir" },
      source = [[local function text() return "%d" end
        VERSIONS[text] = %d
        return { text = text }]] },
    ["the agent script"] = { file = "agent.lua", script = true, source = [[
      local function run() return "%d" end
      VERSIONS[run] = %d
      return require("agenthost.agent").new({ system = "x", instructions = false,
        plugins = { "./dir" }, tools = { { name = "own", description = "d", permission = "none",
          run = run } } })]] },
    ["the prompt"] = { file = "config/prompts/system.md", source = "Version %d, {cwd} %d" },
    ["a module of agenthost's"] = { file = "config/lua/agenthost/notice.lua", source = NOTICE },
  }

  local function said(made, name)
    return made.tools:run({ call(name) }, function(one) return made:tool_context(one) end,
      made.emitter)[1].content
  end

  for what, thing in pairs(THINGS) do
    it("of " .. what, function()
      write("dir/init.lua", 'local helper = require("lib.helper")\nreturn { name = "helped", '
        .. 'description = "d", permission = "none", run = function() return helper.text() end }')
      write("dir/lib/helper.lua", 'return { text = function() return "0" end }')
      write("p.lua", TOOL:format(0, 0))
      local made = place:new({}, { base_dir = base, instructions = false, plugins = thing.plugins })
      if thing.script then
        made.made_with.base_dir, made.made_with.cwd = nil, nil
        made.reloader:follow(write(thing.file, ""), {})
      end
      async.run(function()
        made:start()
        local function times(from, to)
          for n = from, to do
            write(thing.file, n % 7 == 0 and thing.source ~= THINGS["the prompt"].source
              and "return {" or thing.source:format(n, n))
            local lines = made.reloader:refresh()
            assert.equal(1, #lines)
            made.events = {}
          end
          write(thing.file, thing.source:format(to, to))
          made.reloader:refresh()
          return count(made)
        end
        local before, _, from = times(1, WARM_UP)
        local after, _, to = times(WARM_UP + 1, WARM_UP + TIMES)
        assert.same(before, after)
        assert.is_true(versions() <= 2)
        assert_flat(what, from, to, TIMES)
      end)
      local last = tostring(WARM_UP + TIMES)
      if what == "the prompt" then
        assert.matches("Version " .. last, made.system)
      elseif what ~= "a module of agenthost's" then
        assert.equal(last, async.run(said, made, made.tools.by_name.own and "own"
          or made.tools.by_name.say and "say" or "helped"))
      end
      os.remove(base .. "/config/lua/agenthost/notice.lua")
      async.run(function() return made.reloader:refresh() end)
    end)
  end

  -- ---- whole and broken ones in turn ----------------------------------------------------------

  it("of a plugin that is whole and broken in turn, while its tool is called", function()
    local seconds = defaults.guard.seconds
    local path = write("p.lua", TOOL:format(0, 0))
    local function put(content)
      return function()
        -- by the clock, and machines may be busy
        defaults.guard.seconds = content and content:find("while true") and 0.02 or 60
        assert(os.execute("rm -rf " .. temp.quote(path)))
        return content and temp.write(path, content)
      end
    end
    local ways = {
      put("return {\n  oops oops\n}"), put("error('at load')"), put("return 7"), put(""), put(nil),
      put("return { setup = function(ctx) ctx.timer(1000, print) ctx.on('idle', print)\n"
        .. "ctx.spawn(function() require('agenthost.async').sleep(1000) end) error('late') end }"),
      put("while true do end"), put("\0\1\255"), put("\xff\xfe"), put(TOOL:sub(1, 90)),
      put("local t = {}\nfor i = 1, math.huge do t[i] = ('x'):rep(1 << 20) .. i end"),
      put("return { setup = function(ctx)\nwhile true do end end }"),
      function()
        put(nil)()
        temp.write(path .. "/x", "")
      end,
    }
    local made = place:new({}, { base_dir = base, system = "x", instructions = false,
      plugins = { "./p.lua" } })
    guard.limit_memory(((collectgarbage("count") // 1) << 10) + (32 << 20), 64 << 20)
    async.run(function()
      made:start()
      local function times(from, to)
        for n = from, to do
          local call_under_way = async.spawn(said, made, "say")
          put(TOOL:format(n, n))()
          assert.matches("is loaded", made.reloader:refresh()[1])
          ways[n % #ways + 1]()
          local lines = made.reloader:refresh()
          assert.equal(1, #lines)
          assert.matches("^not reloaded: .*p%.lua", lines[1])
          assert.equal(tostring(n), said(made, "say"))
          assert.matches("^%d+$", call_under_way:wait())
          made.events = {}
        end
        return count(made)
      end
      local before, _, from = times(1, WARM_UP)
      local after, _, to = times(WARM_UP + 1, WARM_UP + TIMES)
      assert.same(before, after)
      assert.is_true(versions() <= 2)
      assert_flat("whole and broken", from, to, TIMES)
    end)
    guard.limit_memory(8 << 30, 0)
    defaults.guard.seconds = seconds
  end)
end)
