local agent = require("agenthost.agent")
local agents = require("support.agents")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call, reply, raised = agents.call, agents.reply, temp.raised
local events_of <const> = agents.events_of
local FAR <const> = 30

describe("agent", function()
  local place

  before_each(function()
    place = agents.place()
  end)

  after_each(function()
    place:close()
  end)

  local function tool(name, run)
    return { name = name, description = "for the test", run = run }
  end

  local function last_message(made)
    local messages = made.conversation:messages()
    return messages[#messages]
  end

  -- Calls fn as soon as an event of this type has come.
  local function on(made, type, fn)
    local before = made.on_event
    made.on_event = function(event)
      before(event)
      if event.type == type and fn then
        local once = fn
        fn = nil
        async.spawn(once, event)
      end
    end
  end

  describe("run", function()
    it("answers", function()
      local made = place:new({ reply("Hello", " you.") })
      local result = assert(made:run("Hi"))
      assert.same({ "Hello you.", "end_turn", 1 },
        { result.text, result.stop_reason, result.turns })
      assert.same({
        { role = "user", content = { { type = "text", text = "Hi" } } },
        { role = "assistant", content = {
          { type = "text", text = "Hello" }, { type = "text", text = " you." } } },
      }, made.conversation:messages())
    end)

    it("runs tools until the model asks for none", function()
      local made = place:new({
        reply("Looking.", call("twice", { n = 2 }), call("twice", { n = 3 })),
        reply(call("twice", { n = 4 })),
        function(messages)
          return reply(messages[#messages].content[1].content)
        end,
      }, { tools = { tool("twice", function(input) return tostring(2 * input.n) end) } })
      local result = assert(made:run("go"))
      assert.same({ "8", 3 }, { result.text, result.turns })
      local results = made.provider.requests[2][3].content
      assert.same({ "4", "6" }, { results[1].content, results[2].content })
    end)

    it("gives the provider what a request needs", function()
      local made
      made = place:new({ function(_, request)
        assert.equal("Be a test.", request.system)
        assert.equal("t", request.tools[1].name)
        assert.same({ temperature = 0 }, request.extra)
        assert.equal(77, request.max_tokens)
        assert.same({ type = "none" }, request.tool_choice)
        assert.equal(made.conversation.pieces, request.pieces)
        assert.same(json.decode(request.messages_json()), request.messages())
        return reply("ok")
      end }, { system = "Be a test.", tools = { tool("t", print) }, extra = { temperature = 0 },
        max_tokens = 77, tool_choice = { type = "none" } })
      assert(made:run("x"))
    end)

    it("takes no ready JSON from whoever speaks for the user", function()
      local made = place:new({ reply("x") })
      assert(made:run({ { type = "text", text = "hi", json = "gar}bage" } }))
      assert.same({ { type = "text", text = "hi" } }, made.provider.requests[1][1].content)
    end)

    it("goes on with the conversation", function()
      local made = place:new({ reply("1"), reply("2") })
      assert(made:run("a"))
      assert(made:run("b"))
      assert.equal(4, #made.conversation:messages())
    end)

    it("works inside a job, too", function()
      local made = place:new({ reply("ok") })
      assert.equal("ok", async.run(function() return made:run("x") end).text)
    end)

    it("tells what happens, in order", function()
      local made = place:new({
        function(_, _, on_event)
          on_event({ type = "text", text = "Run" })
          return reply("Run", call("t"))
        end,
        reply("Done."),
      }, { tools = { tool("t", function() return "x" end) } })
      assert(made:run("go"))
      local types = {}
      for i, event in ipairs(made.events) do
        types[i] = event.type
      end
      assert.same({ "message", "model_start", "text", "reply", "message", "tool_start", "tool_end",
        "message", "model_start", "reply", "message" }, types)
      local ended = events_of(made, "tool_end")[1].call
      assert.same({ "t", "x" }, { ended.name, ended.content })
      assert.is_number(ended.seconds)
    end)

    it("adds up what the calls used", function()
      local first, second = reply(call("t")), reply("ok")
      first.usage = { input_tokens = 10, output_tokens = 1, server_tool_use = {} }
      second.usage = { input_tokens = 20, cache_read_input_tokens = 5 }
      local made = place:new({ first, second }, { tools = { tool("t", function() end) } })
      assert(made:run("x"))
      local total = made.usage.total
      assert.same({ 2, 30, 1, 5, 0 }, { total.calls, total.input_tokens, total.output_tokens,
        total.cache_read_input_tokens, total.cache_creation_input_tokens })
    end)

    it("without input and notices has nothing to say", function()
      local made = place:new({})
      assert.same({ nil, "there is nothing to say to the model", "NOTHING" }, { made:run() })
    end)

    it("stops at the limit of turns, with results for every call", function()
      local made = place:new(function() return reply(call("t")) end,
        { max_turns = 3, tools = { tool("t", function() return "x" end) } })
      local _, message, code = made:run("go")
      assert.same({ "the limit of 3 turns is reached (--max-turns)", "MAX_TURNS" },
        { message, code })
      assert.equal(3, made.provider.calls)
      agents.check(made.conversation:messages(), true)
    end)

    it("goes through 200 turns", function()
      local made = place:new(function(messages)
        return #messages < 399 and reply("t", call("t")) or reply("the end")
      end, { tools = { tool("t", function() return "x" end) } })
      local result = assert(made:run("go"))
      assert.same({ "the end", 200 }, { result.text, result.turns })
      assert.equal(400, #made.conversation:messages())
    end)
  end)

  describe("a failed call", function()
    it("keeps the conversation: the next run goes on from there", function()
      local made = place:new({
        function() return nil, "no such model", "NOT_FOUND", { retryable = false } end,
        reply("now"),
      })
      assert.same({ nil, "no such model", "NOT_FOUND" }, { made:run("a") })
      assert.equal("now", assert(made:run("b")).text)
      assert.same({ { role = "user", content = {
        { type = "text", text = "a" }, { type = "text", text = "b" } } } },
          made.provider.requests[2])
    end)

    it("can be tried again without a word", function()
      local made = place:new({ function() return nil, "down", "SERVER" end, reply("now") })
      made:run("a")
      assert.equal("now", assert(made:run()).text)
    end)

    it("is tried again when it may pass, and that is told", function()
      local made = place:new({
        function() return nil, "busy", "OVERLOADED", { retryable = true, retry_after = 0.01 } end,
        reply("now"),
      })
      assert.equal("now", assert(made:run("a")).text)
      local waits = events_of(made, "retry")
      assert.equal(1, #waits)
      assert.same({ "busy", 0.01 }, { waits[1].wait.message, waits[1].wait.delay })
    end)

    it("says in the session, and to who listens, that what it showed does not count", function()
      local function cut(retryable)
        return function(_, _, on_event)
          on_event({ type = "text", text = "Hälf" })
          on_event({ type = "text", text = " an answer" })
          return nil, "cut", "CUT", { retryable = retryable, partial = true, retry_after = 0.01 }
        end
      end
      local made = place:new({ cut(true), cut(false), reply("now") })
      assert.equal("CUT", (select(3, made:run("a"))))
      local told = events_of(made, "discarded")
      assert.equal(2, #told)
      assert.same({ length = 14, reason = "cut", code = "CUT" }, told[1].discarded)
      local file <close> = io.open(made.session.dir .. "/session.jsonl")
      local kept = {}
      for line in file:lines() do
        local entry = json.decode(line)
        kept[#kept + 1] = entry.type == "discarded" and entry.length or nil
      end
      assert.same({ 14, 14 }, kept)
      assert.equal(1, #made.conversation:messages())
      assert.equal("now", assert(made:run()).text)
      assert.equal(2, #events_of(made, "discarded"))
    end)

    it("that raises ends the run with its place; the way there is logged", function()
      local made = place:new({ function() error("a broken provider") end, reply("now") })
      local result, message, code = made:run("a")
      assert.same({ nil, "PROVIDER" }, { result, code })
      assert.matches("^the provider .* failed: .*agent_spec.lua:%d+: a broken provider$", message)
      assert.matches("stack traceback:", events_of(made, "log")[1].text)
      assert.is_nil(made.activity)
      assert.equal("now", assert(made:run("b")).text)
    end)
  end)

  describe("a provider of the script's", function()
    local function own(stream)
      return place:new({}, { provider = { name = "mine", model = "mine/1", stream = stream } })
    end

    it("is told what is wrong with its reply", function()
      for problem, returned in pairs({
        ["expected { content = { blocks }, stop_reason = ... }, or nil and a message; got nil"] =
          {},
        ["got a table without `content`"] = { {} },
        ["got 'text'"] = { "text" },
        ["content[1]: a text block needs `text`, got nil"] =
          { { content = { { type = "text" } } } },
        ["content[1]: expected a table with `type`, got 'hi'"] = { { content = { "hi" } } },
        ["content[1]: a tool_use block needs `id`, a text, got nil"] =
          { { content = { { type = "tool_use", name = "bash" } } } },
      }) do
        local made = own(function() return table.unpack(returned) end)
        local result, message, code = made:run("a")
        assert.same({ nil, "PROVIDER" }, { result, code })
        assert.matches("the provider mine: what `stream` returned is no reply: ", message, 1, true)
        assert.matches(problem, message, 1, true)
      end
    end)

    it("that raises a table is told by its message", function()
      local made = own(function() error({ message = "no quota", code = 7 }) end)
      local result, message, code = made:run("a")
      assert.same({ nil, "the provider mine failed: no quota", "PROVIDER" },
        { result, message, code })
    end)

    it("may leave out stop_reason and usage", function()
      local made = own(function() return { content = { { type = "text", text = "hi" } } } end)
      local result = assert(made:run("a"))
      assert.same({ "hi", "end_turn" }, { result.text, result.stop_reason })
    end)

    it("is stopped when it does not end", function()
      local seconds = defaults.guard.seconds
      local _ <close> = setmetatable({}, { __close = function()
        defaults.guard.seconds = seconds
      end })
      defaults.guard.seconds = 0.2
      local made = own(function() while true do end end) -- luacheck: ignore 542
      local _, message, code = made:run("a")
      assert.equal("PROVIDER", code)
      assert.matches("agent_spec.lua:%d+: it was stopped: it has run for ", message)
    end)
  end)

  it("refuses options of the wrong shape, and says which", function()
    for expected, opts in pairs({
      ["model: expected a text such as"] = { model = 3 },
      ["max_turns: expected a number from 1 on, got '3'"] = { max_turns = "3" },
      ["max_tokens: expected a number from 1 on, got 0"] = { max_tokens = 0 },
      ["parent: expected an agent (in a tool: ctx.agent), got 'me'"] = { parent = "me" },
      ["extra: expected a table of fields for the request, got 3"] = { extra = 3 },
      ["tool_choice: expected { type ="] = { tool_choice = "bash" },
      ["instructions: expected true or false, got 'x'"] = { instructions = "x" },
      ["permissions: expected a table with mode, allow, deny, ask, got 'plan'"] =
        { permissions = "plan" },
      ["permissions: unknown option 'alow'; did you mean 'allow'?"] =
        { permissions = { alow = {} } },
      ["provider: expected a table with a text `model` and a function `stream`"] =
        { provider = { name = "x" } },
      ["provider: expected a function `model_info`, got a table"] =
        { provider = { model = "x", stream = print, model_info = {} } },
    }) do
      assert.matches(expected, raised(agent.new, opts), 1, true)
    end
  end)

  describe("a reply", function()
    local function stopped(reason, ...)
      local made = reply(...)
      made.stop_reason = reason
      return made
    end

    it("that is empty leaves no empty message", function()
      local made = place:new({ reply(), reply("now") })
      local result = assert(made:run("a"))
      assert.same({ "", "end_turn" }, { result.text, result.stop_reason })
      assert.equal("now", assert(made:run("b")).text)
    end)

    it("that refuses is a failure that says why", function()
      local refusal = stopped("refusal")
      refusal.stop_details = { explanation = "not this" }
      local made = place:new({ refusal, stopped("refusal", "I will not."), reply("now") })
      assert.same({ nil, "the model stopped with refusal: not this", "REFUSAL" }, { made:run("a") })
      assert.equal("refusal", assert(made:run("b")).stop_reason)
      assert.equal("now", assert(made:run("c")).text)
    end)

    it("that pauses goes back as it is, with nothing behind it", function()
      local made
      made = place:new({
        stopped("pause_turn", "part one"),
        reply("part two"),
      })
      made.provider.stream = function(self, request)
        self.calls = self.calls + 1
        local messages = json.decode(request.messages_json())
        if self.calls == 1 then
          made.queue:push({ kind = "test", text = "meanwhile" })
          return stopped("pause_turn", "part one")
        end
        assert.equal("assistant", messages[#messages].role)
        return reply("part two")
      end
      local result = assert(made:run("go"))
      assert.same({ "part two", 2 }, { result.text, result.turns })
      assert.equal(1, #made.queue)
    end)

    it("that pauses without end is taken as it is at some point", function()
      local made = place:new({})
      made.provider.stream = function(self)
        self.calls = self.calls + 1
        return stopped("pause_turn", "more")
      end
      local result = assert(made:run("go"))
      assert.equal("pause_turn", result.stop_reason)
      assert.equal(defaults.run.max_pauses + 1, made.provider.calls)
    end)

    it("that was cut off inside a call: the call is not run", function()
      for _, reason in ipairs({ "max_tokens", "model_context_window_exceeded" }) do
        local ran = {}
        local made = place:new({
          stopped(reason, call("t", { n = 1 }), call("t", { n = 2 })),
          reply("now"),
        }, { tools = { tool("t", function(input) ran[#ran + 1] = input.n end) } })
        assert.equal("now", assert(made:run("go")).text)
        assert.same({ 1 }, ran)
        local results = made.provider.requests[2][3].content
        assert.is_nil(results[1].is_error)
        assert.is_true(results[2].is_error)
        assert.matches("cut off inside this call; it was not run", results[2].content)
      end
    end)

    it("that was cut off behind its calls: they are run", function()
      local ran = 0
      local made = place:new({ stopped("max_tokens", call("t"), "and then"), reply("now") },
        { tools = { tool("t", function() ran = ran + 1 end) } })
      assert(made:run("go"))
      assert.equal(1, ran)
    end)

    it("that was cut off in its text is a result that says so", function()
      local made = place:new({ stopped("max_tokens", "half a sent") })
      assert.equal("max_tokens", assert(made:run("go")).stop_reason)
    end)
  end)

  describe("notices", function()
    it("become part of the last user message", function()
      local made = place:new({ reply("ok") })
      made.queue:push({ kind = "test", text = "first" })
      made.queue:push({ kind = "test", text = "second" })
      assert(made:run("hi"))
      assert.same({ { role = "user", content = {
        { type = "text", text = "hi" },
        { type = "text", text = "<background-results>\n[test] first\n[test] second\n"
          .. "(An automated event of the task runner, not a message from the user.)\n"
          .. "</background-results>" },
      } } }, made.provider.requests[1])
      assert.equal(0, #made.queue)
      assert.equal(0, made.queue:requeue()) -- acknowledged
      assert.equal(2, #events_of(made, "notice"))
    end)

    it("stand behind the results of tools", function()
      local made
      made = place:new({ reply(call("t")), reply("ok") }, { tools = { tool("t", function()
        made.queue:push({ kind = "test", text = "meanwhile" })
        return "result"
      end) } })
      assert(made:run("hi"))
      local content = made.provider.requests[2][3].content
      assert.same({ "tool_result", "text" }, { content[1].type, content[2].type })
      assert.matches("[test] meanwhile", content[2].text, 1, true)
    end)

    it("are told once, also when the call fails", function()
      local made = place:new({ function() return nil, "down", "SERVER" end, reply("ok") })
      made.queue:push({ kind = "test", text = "once" })
      made:run()
      assert(made:run())
      local _, count = json.encode(made.provider.requests[2]):gsub("%[test%] once", "")
      assert.equal(1, count)
    end)

    it("go back when their message could not be kept", function()
      local made = place:new({ reply("first"), reply("ok") })
      assert(made:run("hi")) -- the session file is open now
      made.queue:push({ kind = "test", text = "kept" })
      local write = made.session.write
      made.session.write = function() error("the disk is full", 0) end
      assert.matches("the disk is full", raised(made.run, made))
      assert.equal(1, #made.queue)
      made.session.write = write
      assert(made:run())
      assert.matches("[test] kept", json.encode(made.provider.requests[2]), 1, true)
    end)

    it("are not told twice when a listener raises", function()
      local made = place:new({ reply("ok") })
      made.queue:push({ kind = "test", text = "once" })
      made.on_event = function() error("a broken listener", 0) end
      assert.matches("a broken listener", raised(made.run, made))
      made.on_event = nil
      assert(made:run())
      local _, count = json.encode(made.provider.requests[1]):gsub("%[test%] once", "")
      assert.equal(1, count)
    end)

    it("that are of no use as text do not stop the agent", function()
      local made = place:new({ reply("ok") })
      made.queue:push({ kind = "test", text = 7 })
      made.queue:push({ kind = "test" })
      assert(made:run())
      assert.equal(0, #made.queue)
    end)

    it("of a background task wake an idle agent", function()
      local made = place:new({
        reply(call("background_run", { command = "echo out; exit 3" })),
        reply("started"),
        reply("seen"),
      }, { plugins = { "background" } })
      async.run(function()
        assert.equal("started", assert(made:run("go")).text)
        if #made.queue == 0 then
          assert.is_true(made.queue:wait(FAR))
        end
        assert.equal("seen", assert(made:run()).text)
      end)
      local id = made:list_tasks()[1].id
      assert.matches("^<background%-results>\n%[bg:" .. id .. "%] failed: out\n",
        made.provider.requests[3][5].content[1].text)
      assert.equal(0, #made:pending_tasks())
    end)
  end)

  describe("interrupting", function()
    it("has nothing to stop when the agent is idle", function()
      assert.is_false(place:new({}):interrupt())
    end)

    it("stops a model call and keeps what was shown of it", function()
      local made = place:new({
        function(_, _, on_event)
          on_event({ type = "text", text = "I was sa" })
          async.sleep(FAR)
        end,
        reply("now"),
      })
      on(made, "text", function() assert.is_true(made:interrupt()) end)
      assert.same({ nil, "interrupted by the user", "INTERRUPTED" }, { made:run("go") })
      assert.is_nil(made.activity)
      local messages = made.conversation:messages()
      assert.equal("I was sa", messages[2].content[1].text)
      assert.equal("[The user stopped this reply.]", messages[3].content[1].text)
      assert.equal("now", assert(made:run("again")).text)
    end)

    it("before anything was shown leaves only the question", function()
      local made = place:new({ function() async.sleep(FAR) end, reply("now") })
      on(made, "model_start", function()
        async.sleep(0)
        made:interrupt()
      end)
      assert.equal("INTERRUPTED", (select(3, made:run("go"))))
      assert.equal(1, #made.conversation:messages())
      assert.equal("now", assert(made:run("again")).text)
    end)

    it("while it waits to try again keeps nothing of the failed try", function()
      local made = place:new({ function(_, _, on_event)
        on_event({ type = "text", text = "cut off" })
        return nil, "cut", "CUT", { retryable = true, partial = true, retry_after = FAR }
      end, reply("now") })
      on(made, "retry", function() made:interrupt() end)
      assert.equal("INTERRUPTED", (select(3, made:run("go"))))
      assert.equal(1, #made.conversation:messages())
    end)

    it("just before a call fails is no reason to try again", function()
      local made
      made = place:new({ function()
        made:interrupt()
        return nil, "cut", "CUT", { retryable = true, retry_after = 0.001 }
      end, reply("now") })
      assert.equal("INTERRUPTED", (select(3, made:run("go"))))
      assert.equal(1, made.provider.calls)
    end)

    it("stops tools: each call has one result, and the run ends", function()
      local made = place:new({
        reply(call("quick"), call("slow"), call("cleans"), call("slow")),
        reply("now"),
      }, { tools = {
        tool("quick", function() return "done" end),
        tool("slow", function() async.sleep(FAR) end),
        tool("cleans", function()
          pcall(async.sleep, FAR)
          async.sleep(0.001)
          return "so far"
        end),
      } })
      on(made, "tool_end", function()
        async.sleep(0)
        assert.is_true(made:interrupt())
      end)
      assert.equal("INTERRUPTED", (select(3, made:run("go"))))
      local contents = {}
      for i, result in ipairs(last_message(made).content) do
        contents[i] = result.content
      end
      assert.same({ "done", "Cancelled by the user before it was done.", "so far",
        "Cancelled by the user before it was done." }, contents)
      assert.equal(1, made.provider.calls)
      assert.equal("now", assert(made:run("again")).text)
    end)

    it("leaves a foreground command running, and says so", function()
      local made = place:new({ reply(call("bash", { command = "echo begun; exec sleep 60" })) },
        { plugins = { "shell" } })
      on(made, "tool_start", function()
        local one
        repeat
          async.sleep(0.005)
          one = made:list_tasks()[1]
        until one and one:output() == "begun\n"
        assert.is_true(made:interrupt())
      end)
      assert.equal("INTERRUPTED", (select(3, made:run("go"))))
      local one = made:list_tasks()[1]
      assert.equal("The user stopped waiting for this command. It still runs, now as background "
        .. "task " .. one.id .. ": you are told when it ends, there is no need to poll. Output so "
        .. "far:\nbegun\n", last_message(made).content[1].content)
      assert.same({ one.id }, { made:pending_tasks()[1].id })
    end)

    it("of a run inside a tool reaches the inner model call", function()
      local inner_ended = false
      local inner = place:new({ function()
        local _ <close> = setmetatable({}, { __close = function() inner_ended = true end })
        async.sleep(FAR)
      end })
      local outer = place:new({ reply(call("delegate")) }, { tools = { tool("delegate", function()
        local _, message, code = inner:run("go")
        return message .. " " .. code
      end) } })
      on(inner, "model_start", function()
        async.sleep(0)
        async.sleep(0)
        outer:interrupt()
      end)
      async.run(function()
        assert.equal("INTERRUPTED", (select(3, outer:run("go"))))
        assert.is_true(inner_ended)
      end)
      assert.equal("interrupted by the user INTERRUPTED", last_message(outer).content[1].content)
    end)
  end)

  describe("new", function()
    it("says what is wrong with its options", function()
      assert.matches("agent_spec.lua:%d+: unknown option 'modell'; did you mean 'model'?",
        raised(function() agent.new({ modell = "x" }) end))
      assert.matches("agent_spec.lua:%d+: expected a table of options, got a nil",
        raised(function() agent.new() end))
      assert.matches("cannot work in /no/such/place: .*No such file",
        raised(agent.new, { cwd = "/no/such/place" }))
      assert.matches("unknown model 'gpt': expected anthropic/<id>, openai/<id>, ",
        raised(agent.new, { model = "gpt" }), 1, true)
      for name, value in pairs({ plugins = "shell", tools = tool("t", print) }) do
        assert.matches(name .. ": expected a list", raised(agent.new, { [name] = value }), 1, true)
      end
    end)

    it("adds the script's own tools behind those of the plugins", function()
      local made = place:new({}, { plugins = { "shell" }, tools = { tool("mine", print) } })
      assert.same({ "bash", "mine" }, made.tools:names())
    end)
  end)

  it("keeps every message on disk before the model gets it", function()
    local made
    made = place:new({ function(messages)
      local lines = {}
      for line in io.lines(made.session.dir .. "/session.jsonl") do
        lines[#lines + 1] = json.decode(line)
      end
      assert.same({ "session", "message" }, { lines[1].type, lines[2].type })
      assert.same(messages[1], lines[2].message)
      return reply("ok")
    end })
    assert(made:run("hi"))
  end)

  it("runs commands in its directory, with its environment", function()
    local made = place:new({})
    assert(sys.mkdir_private(place.cwd .. "/sub"))
    local function printed(command, opts)
      local one = made:run_task(command, opts)
      one:wait(FAR)
      return (one:output())
    end
    assert.equal(place.cwd .. "\n", printed("pwd"))
    assert.equal(place.cwd .. "/sub\n", printed("pwd", { cwd = "sub" }))
    assert.equal("dumb cat unset\n", printed('echo "$TERM $PAGER ${GIT_PAGER-unset}"',
      { env = { GIT_PAGER = false } }))
    assert.matches("unknown option 'time'", raised(made.run_task, made, "true", { time = 1 }))
  end)

  it("knows its own tasks only", function()
    local one, other = place:new({}), place:new({})
    local mine = one:run_task("true", { notify = true })
    assert.equal(1, #one:list_tasks())
    assert.equal(mine, one:list_tasks()[1])
    assert.same({}, other:list_tasks())
    assert.is_true(one.queue:wait(FAR))
    assert.equal(0, #other.queue)
  end)
end)
