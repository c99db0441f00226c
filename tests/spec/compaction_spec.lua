local agents = require("support.agents")
local async = require("agenthost.async")
local compaction = require("agenthost.compaction")
local cut = require("agenthost.compaction.cut")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call, reply, raised = agents.call, agents.reply, temp.raised
local events_of <const> = agents.events_of
local FAR <const> = 30

local function text(s)
  return { type = "text", text = s }
end

local function result(id, content)
  return { type = "tool_result", tool_use_id = id, content = content }
end

local function is_summing_up(request)
  return request.system:find("You sum up", 1, true) ~= nil
end

-- The conversation as a loader makes it of the session file.
local function replayed(made)
  local pieces = {}
  for line in io.lines(made.session.dir .. "/session.jsonl") do
    local entry = json.decode(line)
    if entry.type == "message" then
      local content = json.slice(line, "message", "content")
      pieces[#pieces + 1] = { role = entry.message.role, blocks = content:sub(2, -2) }
    elseif entry.type == "compaction" then
      pieces = assert(compaction.apply(pieces, entry))
    end
  end
  return pieces
end

local function same_as_on_disk(made)
  assert.same(replayed(made), made.conversation.pieces)
end

describe("compaction", function()
  local place, options, limits

  before_each(function()
    options, limits = defaults.compaction, defaults.limits
    place = agents.place()
  end)

  after_each(function()
    defaults.compaction, defaults.limits = options, limits
    place:close()
  end)

  -- Other bounds until the end of the test.
  local function with(changes)
    defaults.compaction = setmetatable(changes, { __index = options })
    defaults.limits = { context_window = changes.context_window or limits.context_window,
      max_output = limits.max_output }
  end

  local function tool(name, run)
    return { name = name, description = "for the test", run = run }
  end

  -- A model that sums up with `summary` (a text, or a function as a turn) and otherwise takes its
  -- turns from the list.
  local function model(summary, turns)
    local n = 0
    return function(messages, request, on_event)
      local turn = summary
      if not is_summing_up(request) then
        n = n + 1
        turn = turns[n] or reply("Turn " .. n .. ".")
      end
      if type(turn) == "function" then
        return turn(messages, request, on_event)
      end
      return type(turn) == "string" and reply(turn) or turn
    end
  end

  local function used(tokens, one)
    one.usage = { input_tokens = tokens - 15, cache_read_input_tokens = 10,
      cache_creation_input_tokens = 5, output_tokens = 1 }
    return one
  end

  describe("cut", function()
    local function piece(role, ...)
      local blocks = {}
      for i, block in ipairs({ ... }) do
        blocks[i] = json.encode(block)
      end
      return { role = role, blocks = table.concat(blocks, ",") }
    end

    local pieces <const> = {
      piece("user", text("one")), -- 1
      piece("assistant", text("a")), -- 2
      piece("user", text("two")), -- 3
      piece("assistant", call("t")), -- 4
      piece("user", result("x", "y")), -- 5
      piece("user", text("<background-results>\nx")), -- 6
      piece("assistant", text("paused")), -- 7
      piece("assistant", call("t")), -- 8
      piece("user", result("x", 'has "type":"text"')), -- 9
    }

    it("keeps whole turns, at least one", function()
      assert.equal(6, cut.find(pieces, 1, math.huge)) -- with what the reply is for
      assert.equal(3, cut.find(pieces, 2, math.huge))
      assert.equal(2, cut.find(pieces, 3, math.huge))
      assert.equal(7, cut.find(pieces, 3, 0))
      assert.equal(4, cut.find(pieces, 9, #pieces[9].blocks + #pieces[8].blocks
        + #pieces[7].blocks + #pieces[6].blocks + #pieces[5].blocks + #pieces[4].blocks))
    end)

    it("takes the newest message where there is no reply behind it", function()
      assert.equal(3, cut.find({ pieces[1], pieces[1], pieces[3] }, 0, 0))
      assert.is_nil(cut.find({ pieces[1] }, 9, math.huge))
      assert.is_nil(cut.find({}, 9, math.huge))
    end)

    it("knows what the user has said", function()
      assert.equal(3, cut.last_request(pieces, 1, 9))
      assert.equal(1, cut.last_request(pieces, 1, 2))
      assert.is_nil(cut.last_request(pieces, 4, 9))
    end)

    it("is not fooled by what stands inside a text", function()
      assert.is_false(cut.has_results(piece("user", text('"type":"tool_result"'))))
      assert.is_true(cut.has_results(pieces[9]))
    end)
  end)

  describe("apply", function()
    local pieces <const> = { { role = "user", blocks = '{"a":1}' },
      { role = "assistant", blocks = '{"b": 2}' }, { role = "user", blocks = '{"c":3}' } }

    it("puts messages in place of the older part and of single ones", function()
      local lead, other = { role = "user", content = { { l = 1 }, { m = 2 } } },
        { role = "user", content = { { r = 1 } } }
      local made = compaction.apply(pieces, { lead = { lead }, keep = 2,
        replaced = { { from_end = 0, message = other } } })
      assert.same({ { role = "user", blocks = '{"l":1},{"m":2}' }, pieces[2],
        { role = "user", blocks = '{"r":1}' } }, made)
      assert.equal(pieces[2], made[2])
      assert.equal(3, #pieces)
    end)

    it("refuses what makes no sense", function()
      local message = { role = "user", content = { {} } }
      for problem, entry in pairs({
        ["its shape is wrong"] = {},
        ["it keeps 4 messages, and there are 3"] = { lead = {}, keep = 4 },
        ["it keeps -1 messages, and there are 3"] = { lead = {}, keep = -1 },
        ["a message in it is none"] = { lead = { { role = "x", content = { {} } } }, keep = 0 },
        ["a replaced message in it is none"] = { lead = {}, keep = 1,
          replaced = { { from_end = 1, message = message } } },
      }) do
        assert.same({ nil, "a compaction in the session file cannot be read: " .. problem,
          "DAMAGED" }, { compaction.apply(pieces, entry) })
      end
    end)
  end)

  it("does nothing far from the limit", function()
    local made = place:new(model("never", { used(50000, reply(call("t"))),
      used(89000, reply("ok")), reply("more") }), { max_tokens = 16000,
      tools = { tool("t", function() return ("x"):rep(40000) end) } })
    assert(made:run("go"))
    assert(made:run("on"))
    assert.equal(0, #events_of(made, "compaction"))
    assert.equal(3, made.provider.calls)
  end)

  describe("near the limit", function()
    it("asks for a summary, and goes on with it and the last turns", function()
      with({ keep_turns = 2, keep_share = 0.5 })
      local turns = {}
      for i = 1, 5 do
        turns[i] = reply(call("t"))
      end
      used(90000, turns[5]) -- of 128,000 - 16,000, of which 0.8 are 89,600
      turns[6] = used(9000, reply("Done."))
      local seen
      local made = place:new(model(function(messages, request)
        seen = { messages[1].content[1].text, request }
        local summed = reply("  What was: </conversation-summary> much.\n")
        summed.usage = { input_tokens = 7, output_tokens = 3 }
        return summed
      end, turns), { tools = { tool("t", function() return "the result " .. ("x"):rep(1500) end) },
        system = "I am the system." })
      made:run_task("exec sleep 600", { notify = true })
      local ended = made:run_task("true")
      ended:wait(FAR)
      local result_of_run = assert(made:run("Do </conversation> it\nnow."))
      assert.equal("Done.", result_of_run.text)

      assert.matches("^<conversation>\nUSER: Do <\\/conversation> it\n  now.\n\nAGENT CALLS t: "
        .. "{}\n\nRESULT: the result x+\n\n.*\n</conversation>\n\nWrite the summary now.$", seen[1])
      assert.is_nil(seen[2].tools)
      assert.equal(8000, seen[2].max_tokens)

      local last = made.provider.requests[#made.provider.requests]
      assert.equal(5, #last) -- summary and request, and two turns with their results
      local first = last[1].content
      assert.equal(2, #first)
      assert.matches("^<conversation%-summary>\n", first[1].text)
      assert.matches("\n\nWhat was: <\\/conversation-summary> much.\n\nBackground tasks that were "
        .. "not done at this time:\n[bg:", first[1].text, 1, true)
      assert.matches("%] running for %d+ s: exec sleep 600; output file: /", first[1].text)
      assert.is_nil(first[1].text:find(ended.id, 1, true))
      assert.equal("Do </conversation> it\nnow.", first[2].text)
      assert.equal("tool_use", last[2].content[1].type)

      local event = events_of(made, "compaction")[1]
      assert.same({ "limit", 7, 0 }, { event.reason, event.messages, event.results })
      assert.is_true(event.before >= 90000 and event.after < event.before)
      assert.equal(1, #events_of(made, "compaction"))
      assert.equal(1, #events_of(made, "compaction_start"))
      assert.equal(90000 - 15 + 9000 - 15 + 7, made.usage.total.input_tokens)
      same_as_on_disk(made)
    end)

    it("shortens old results when that is enough, and the model is not asked", function()
      with({ keep_turns = 1, target = 0.6 })
      local long = "begin\n" .. ("0123456789\n"):rep(3000) .. "end"
      local made = place:new(model("never", { reply(call("t"), call("short"), call("s")),
        used(90000, reply(call("t"))), reply("ok") }), { tools = {
          tool("t", function() return long end),
          tool("s", function() return "<skill name=\"x\">" .. ("y"):rep(5000) end),
          tool("short", function() return "short" end),
        } })
      assert(made:run("go"))
      local event = events_of(made, "compaction")[1]
      assert.same({ 0, 1 }, { event.messages, event.results })
      assert.equal(3, made.provider.calls)
      local blocks = made.conversation:messages()[3].content
      local path = blocks[1].content:match("^begin\n.*characters left out.*\nend\n"
        .. "%[shortened later, to save room; the whole result is in (/[^\n]+)%]$")
      assert.is_true(#blocks[1].content < 1000)
      assert.equal(long, (sys.read_file(path)))
      assert.equal(384, sys.stat(path).mode) -- 0600
      assert.equal("short", blocks[2].content)
      assert.matches("^<skill", blocks[3].content)
      assert.equal(long, made.conversation:messages()[5].content[1].content)
      same_as_on_disk(made)
    end)

    it("shortens results of several blocks and keeps all of them in the file", function()
      with({ keep_turns = 1 })
      local image = { type = "image", source = { type = "base64", media_type = "image/png",
        data = ("A"):rep(30000) } }
      local made = place:new(model("never", { reply(call("t")), used(90000, reply(call("u"))),
        reply("ok") }), { tools = {
          tool("t", function() return { text("seen"), image } end),
          tool("u", function() return "x" end),
        } })
      assert(made:run("go"))
      local content = made.conversation:messages()[3].content[1].content
      assert.matches("^seen\n%[image%]\n%[shortened later", content)
      assert.same({ text("seen"), image },
        json.decode((sys.read_file(content:match("(/[^\n]+%.json)%]$")))))
    end)

    it("does not try again before the conversation has grown", function()
      local turns = {}
      for i = 1, 8 do
        turns[i] = used(90000 + 1500 * i, reply(call("t")))
      end
      turns[9] = reply("ok")
      with({ keep_turns = 1, growth = 0.05 }) -- of 112,000: 5,600
      local made = place:new(model(function() return nil, "no", "BAD_REQUEST" end, turns),
        { tools = { tool("t", function() return ("x"):rep(1500) end) } })
      assert(made:run(("a"):rep(1500)))
      assert.equal(2, #events_of(made, "compaction_start"))
    end)

    it("goes on the cheap way when summing up fails, and says so", function()
      with({ keep_turns = 1, growth = 0.001, target = 0.01 })
      local made = place:new(model(function()
        return nil, "the server is gone", "SERVER", { retryable = false }
      end, { reply(call("t")), used(90000, reply(call("u"))), reply("ok") }), { tools = {
        tool("t", function() return ("x"):rep(9000) end), tool("u", function() return "y" end) } })
      assert.equal("ok", assert(made:run("go")).text)
      local event = events_of(made, "compaction")[1]
      assert.same({ 0, 1, "the server is gone" }, { event.messages, event.results, event.problem })
      assert.matches("; summing up failed: the server is gone)", compaction.describe(event), 1,
        true)
      same_as_on_disk(made)
    end)

    for name, summary in pairs({
      empty = " \n",
      ["longer than what it sums up"] = ("z"):rep(60000),
    }) do
      it("does not take a summary that is " .. name, function()
        with({ keep_turns = 1, growth = 0.001, target = 0.01 })
        local made = place:new(model(summary, { reply(call("t")), used(90000, reply(call("u"))),
          reply("ok") }), { tools = { tool("t", function() return ("x"):rep(9000) end),
          tool("u", function() return "y" end) } })
        assert.equal("ok", assert(made:run("go")).text)
        local event = events_of(made, "compaction")[1]
        assert.same({ 0, 1 }, { event.messages, event.results })
        assert.matches("summary is", event.problem)
      end)
    end

    it("drops to a smaller input when the conversation is too long to be summed up", function()
      with({ keep_turns = 1, growth = 0.001, target = 0.01 })
      local sizes = {}
      local made = place:new(model(function(messages)
        sizes[#sizes + 1] = #messages[1].content[1].text
        if #sizes < 3 then
          return nil, "too long", "TOO_LONG"
        end
        return reply("short")
      end, { reply(("w"):rep(20000)), reply("b"), used(90000, reply("c")), reply("d") }))
      for _ = 1, 4 do
        assert(made:run("go"))
      end
      assert.equal(3, #sizes)
      assert.is_true(sizes[2] < sizes[1] * 0.6 and sizes[3] < sizes[2] * 0.6)
      assert.is_true(events_of(made, "compaction")[1].messages > 0)
    end)

    it("can be interrupted: the conversation stays as it was", function()
      with({ keep_turns = 1, growth = 0.001, target = 0.01 })
      local made
      made = place:new(model(function()
        async.spawn(function() made:interrupt() end)
        async.sleep(FAR)
      end, { reply(call("t")), used(90000, reply(call("t"))), reply("ok") }),
        { tools = { tool("t", function() return ("x"):rep(9000) end) } })
      assert.same({ nil, "interrupted by the user", "INTERRUPTED" }, { made:run("go") })
      assert.equal(5, #made.conversation.pieces)
      assert.equal(0, #events_of(made, "compaction"))
      same_as_on_disk(made)
    end)
  end)

  describe("after a prompt that was too long", function()
    local function too_long(details)
      return function()
        return nil, "prompt is too long", "TOO_LONG", details
      end
    end

    it("makes room and calls again, with the window that it has learned", function()
      with({ keep_turns = 1 })
      local made = place:new(model("What was.", { reply(("a"):rep(20000)), reply("b"),
        too_long({ retryable = false, context_window = 8000 }), reply("here") }),
        { max_tokens = 1000 })
      for _, input in ipairs({ "one", "two" }) do
        assert(made:run(input))
      end
      assert.equal("here", assert(made:run("three")).text)
      assert.equal(8000, made.compaction.size.limits.window)
      local event = events_of(made, "compaction")[1]
      assert.equal("too_long", event.reason)
      local last = made.provider.requests[#made.provider.requests]
      assert.matches("What was.", last[1].content[1].text, 1, true)
      assert.equal("three", last[#last].content[1].text)
      same_as_on_disk(made)
    end)

    it("shortens even the newest results when nothing else is left", function()
      local made = place:new(model("never", { reply(call("t")), too_long(), reply("ok") }),
        { tools = { tool("t", function() return ("x"):rep(40000) end) } })
      assert.equal("ok", assert(made:run("go")).text)
      assert.same({ 0, 1 }, { events_of(made, "compaction")[1].messages,
        events_of(made, "compaction")[1].results })
    end)

    it("says what to do when there is nothing to make shorter", function()
      local made = place:new({ too_long(), reply("now") })
      local _, message, code = made:run(("long "):rep(1000))
      assert.equal("prompt is too long. The conversation could not be made shorter (there is "
        .. "nothing older than the last turns): begin a new one, with less input at once, or take "
        .. "a model with a larger context window", message)
      assert.equal("TOO_LONG", code)
    end)

    it("gives up after some tries, and the next run may try again", function()
      with({ tries = 2, growth = 0, keep_turns = 1 })
      local calls = 0
      local made = place:new(function(_, request)
        if is_summing_up(request) then
          return reply("s")
        end
        calls = calls + 1
        return nil, "too long", "TOO_LONG"
      end)
      for i = 1, 20 do
        made:append("user", { text(("u"):rep(3000)) })
        made:append("assistant", { text(("a"):rep(3000) .. i) })
      end
      assert.equal("TOO_LONG", (select(3, made:run("go"))))
      assert.is_true(calls >= 2 and calls <= 3)
      assert.equal(0, made.compaction.failed)
    end)
  end)

  describe("the length of a reply", function()
    -- An agent whose server tells these limits, and the max_tokens of its calls.
    local function asking(info, turns, opts)
      local asked = {}
      local made = place:new(function(_, request)
        if is_summing_up(request) then
          return reply("s")
        end
        asked[#asked + 1] = request.max_tokens
        local turn = turns[#asked] or reply("Turn " .. #asked)
        if turn.fails then
          return table.unpack(turn, 1, 4)
        end
        return turn
      end, opts)
      function made.provider.model_info()
        return info
      end
      return made, asked
    end

    local function fails(code, details)
      return { fails = true, nil, "no", code, details }
    end

    it("is no more than the model gives, and than fits", function()
      local made, asked = asking({ context_window = 8000, max_output = 5000 },
        { used(4000, reply("a")) }, { max_tokens = 16000 })
      for _ = 1, 2 do
        assert(made:run("go"))
      end
      made.compaction.size.last.tokens = 7900
      made.compaction.next_at = math.huge
      assert(made:run("go"))
      assert.equal(5000, asked[1])
      assert.is_true(asked[2] < 8000 - 4000 and asked[2] > 3000, asked[2])
      assert.equal(defaults.reply.smallest, asked[3])
      local small, few = asking({ max_output = 64000 }, {}, { max_tokens = 500 })
      assert(small:run("go"))
      assert.same({ 500 }, few)
    end)

    it("leaves room for the budget of thinking, which the API wants to be less", function()
      local made, asked = asking({ context_window = 20000 }, {}, { max_tokens = 16000,
        extra = { thinking = { type = "enabled", budget_tokens = 4000 } } })
      assert(made:run("go"))
      made.compaction.size.last = { tokens = 18900, bytes = made.compaction.size:bytes() }
      made.compaction.next_at = math.huge
      assert(made:run("go"))
      assert.equal(4000 + defaults.reply.smallest, asked[2])
    end)

    it("is what was asked for when nobody knows the model", function()
      local made, asked = asking(nil, { used(127000, reply("a")) }, { max_tokens = 64000 })
      assert(made:run("go"))
      assert.same({ 64000 }, asked)
    end)

    it("becomes less when the server says that prompt and reply do not fit together", function()
      local made, asked = asking(nil, { fails("TOO_LONG", { retryable = false,
        context_window = 8192, prompt_tokens = 3000 }) }, { max_tokens = 16000 })
      assert.equal("Turn 2", assert(made:run("go")).text)
      assert.equal(16000, asked[1])
      assert.is_true(asked[2] < 8192 - 3000 and asked[2] > 4000, asked[2])
      assert.equal(0, #events_of(made, "compaction"))
    end)

    it("is no reason to go on for ever", function()
      local made, asked = asking(nil, setmetatable({}, { __index = function()
        return fails("TOO_LONG", { retryable = false, context_window = 8192, prompt_tokens = 30 })
      end }))
      assert.equal("TOO_LONG", (select(3, made:run("go"))))
      assert.is_true(#asked <= 4)
    end)
  end)

  it("makes room when the body is too large for the server", function()
    local big = { { type = "image", source = { type = "base64", media_type = "image/png",
      data = ("A"):rep(40000) } } }
    local made = place:new({ reply(call("t")),
      function() return nil, "413: too large", "TOO_LARGE", { status = 413, retryable = false } end,
      reply("ok") }, { tools = { tool("t", function() return big end) } })
    assert.equal("ok", assert(made:run("go")).text)
    assert.equal(1, events_of(made, "compaction")[1].results)
    same_as_on_disk(made)
  end)

  it("warns once of a server that cuts prompts without a word", function()
    local made = place:new(function() return reply("ok") end)
    function made.provider.model_info()
      return { context_window = 1000, cuts = true }
    end
    assert(made:run("go"))
    assert.equal(0, #events_of(made, "warning"))
    assert(made:run(("long "):rep(2000)))
    assert(made:run("go"))
    local warnings = events_of(made, "warning")
    assert.equal(1, #warnings)
    assert.matches("takes 1,000 tokens of a prompt", warnings[1].text, 1, true)
  end)

  describe("on request", function()
    it("sums up with what the user wants to be kept", function()
      with({ keep_turns = 1 })
      local asked
      local made = place:new(model(function(messages)
        asked = messages[1].content[1].text
        return reply("Short.")
      end, { reply(("a"):rep(2000)), reply("b") }))
      assert(made:run("one"))
      assert(made:run("two"))
      local event = assert(made:compact("the colours"))
      assert.same({ "asked", 2 }, { event.reason, event.messages })
      assert.matches("\nThe user asks that this above all is kept: the colours\nWrite", asked, 1,
        true)
      assert.matches("^compacted: about %d[%d,]* → %d+ tokens %(2 messages summed up%)$",
        compaction.describe(event))
      assert.equal("b", made.conversation:messages()[2].content[1].text)
      same_as_on_disk(made)
      assert.same({ nil, "there is nothing older than the last turns", "NOTHING" },
        { made:compact() })
    end)

    it("has nothing to do at first", function()
      assert.same({ nil, "there is nothing older than the last turns", "NOTHING" },
        { place:new({}):compact() })
    end)

    it("is refused while the agent works", function()
      local made
      made = place:new({ function()
        assert.matches("the agent is working", raised(made.compact, made))
        return reply("ok")
      end })
      assert(made:run("go"))
    end)

    it("takes the user's copy of the prompt", function()
      local places = require("agenthost.places")
      local config = places.config
      places.config = temp.directory()
      temp.write(places.config .. "/prompts/compact.md", "You sum up MY way.")
      local system
      local made = place:new(model(function(_, request)
        system = request.system
        return reply("s")
      end, { reply(("a"):rep(2000)), reply("b") }))
      with({ keep_turns = 1 })
      assert(made:run("one"))
      assert(made:run("two"))
      assert(made:compact())
      temp.remove(places.config)
      places.config = config
      assert.equal("You sum up MY way.", system)
    end)
  end)

  it("writes numbers so that people can read them", function()
    assert.equal("compacted: about 1,182,000 → 999 tokens (1 message summed up; 2 long results "
      .. "moved to files)", compaction.describe({ before = 1182000, after = 999, messages = 1,
        results = 2 }))
  end)

  -- A conversation as it may come about, one turn longer.
  local function grow(made)
    local function random_text()
      return ("x"):rep(math.random(3, 400))
    end
    if math.random(3) > 1 or #made.conversation.pieces == 0 then
      made:append("user", { text(random_text()) })
    end
    if math.random(4) == 1 then
      made:append("user", { text("<background-results>\n" .. random_text()) })
    end
    if math.random(8) == 1 then
      made:append("assistant", { { type = "server_tool_use", id = "s", name = "n",
        input = json.object() } }) -- paused
    end
    local kind = math.random(4)
    if kind == 1 then
      made:append("assistant", { text(random_text()) })
      return
    end
    local raw = '{"type": "thinking", "thinking":"' .. random_text() .. '", "signature":"s"}'
    local blocks, results = { { type = "thinking", json = raw } }, {}
    for i = 1, math.random(3) do
      blocks[i + 1] = call("t", { n = i })
      local content = math.random(3) == 1 and ("y"):rep(math.random(2000, 9000)) or random_text()
      results[i] = result(blocks[i + 1].id, math.random(5) == 1 and { text(content) } or content)
    end
    made:append("assistant", blocks)
    made:append("user", results)
  end

  -- What is kept of a list of pieces: those at the end that are the same objects.
  local function kept_of(old, new)
    local count = 0
    while new[#new - count] and new[#new - count] == old[#old - count] do
      count = count + 1
    end
    return count
  end

  it("leaves a valid conversation at every place, the same as on disk", function()
    local seed = os.time()
    math.randomseed(seed)
    for round = 1, 60 do
      local made = place:new(function()
        local kind = math.random(5)
        if kind == 1 then
          return nil, "no", math.random(2) == 1 and "TOO_LONG" or "SERVER"
        end
        return reply(kind == 2 and ("s"):rep(5000) or "Sum.")
      end, { max_tokens = 100 })
      local compacted = 0
      for _ = 1, math.random(60) do
        grow(made)
        if math.random(3) == 1 then
          with({ keep_turns = math.random(0, 4), keep_share = math.random(),
            context_window = math.random(500, 6000), growth = math.random() / 10 })
          made.compaction.size.limits = {}
          local before = made.conversation.pieces
          local reasons = { "limit", "too_long", "asked" }
          local event = async.run(function()
            return made.compaction:compact(reasons[math.random(3)])
          end)
          compacted = compacted + (event and 1 or 0)
          if event and event.messages > 0 and event.results == 0 then
            assert(kept_of(before, made.conversation.pieces) >= 1)
          end
          local messages = made.conversation:messages()
          local last = messages[#messages]
          assert(pcall(agents.check, messages, last.role == "user"),
            ("seed %d, round %d"):format(seed, round))
        end
      end
      same_as_on_disk(made)
    end
  end)

  it("keeps what the user asked for last, time after time", function()
    with({ context_window = 3000, keep_turns = 2, smallest = 100 })
    local turns, sums = 0, 0
    local made = place:new(function(messages, request)
      if is_summing_up(request) then
        sums = sums + 1
        return reply("Summary " .. sums)
      end
      turns = turns + 1
      assert.matches("The one rule.", json.encode(messages[1]), 1, true)
      return turns < 120 and reply(call("t")) or reply("done")
    end, { max_tokens = 500, tools = { tool("t", function() return ("x"):rep(700) end) } })
    made:run_task("exec sleep 600")
    assert(made:run("The one rule."))
    assert.is_true(sums > 5)
    local lead = made.conversation:messages()[1].content
    assert.matches("\nSummary " .. sums .. "\n", lead[1].text, 1, true)
    assert.matches("exec sleep 600", lead[1].text, 1, true)
    assert.equal("The one rule.", lead[2].text)
    same_as_on_disk(made)
  end)
end)
