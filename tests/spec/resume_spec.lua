-- Sessions that go on: what is on disk becomes a conversation that an API takes.
local agents = require("support.agents")
local conversation = require("agenthost.conversation")
local json = require("agenthost.json")
local resume = require("agenthost.resume")
local session = require("agenthost.session")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local call, reply, raised = agents.call, agents.reply, temp.raised

local function user(text)
  return '{"role":"user","content":[{"type":"text","text":"' .. text .. '"}]}'
end

local function assistant(text)
  return '{"role":"assistant","content":[{"type":"text","text":"' .. text .. '"}]}'
end

local function asks(...)
  local blocks = {}
  for i, id in ipairs({ ... }) do
    blocks[i] = '{"type":"tool_use","id":"' .. id .. '","name":"bash","input":{}}'
  end
  return '{"role":"assistant","content":[' .. table.concat(blocks, ",") .. "]}"
end

local function results(...)
  local blocks = {}
  for i, id in ipairs({ ... }) do
    blocks[i] = '{"type":"tool_result","tool_use_id":"' .. id .. '","content":"ok"}'
  end
  return '{"role":"user","content":[' .. table.concat(blocks, ",") .. "]}"
end

describe("a session file", function()
  local base, count

  before_each(function()
    base, count = temp.directory(), 0
  end)

  after_each(function()
    temp.remove(base)
  end)

  -- A session file of a header and these: messages as JSON, or lines as { line }.
  local function file(...)
    local lines = { '{"type":"session","version":1,"id":"s","timestamp":"t","cwd":"/w"}' }
    for i, item in ipairs({ ... }) do
      lines[#lines + 1] = type(item) == "table" and item[1]
        or ('{"id":"%08x","message":%s,"parentId":null,"timestamp":"t","type":"message"}')
          :format(i, item)
    end
    count = count + 1
    temp.write(base .. "/s" .. count .. "/session.jsonl", table.concat(lines, "\n") .. "\n")
    return "s" .. count
  end

  local function open(id)
    local opened, records, code = session.open(id, { base_dir = base })
    if not opened then
      error(records .. " " .. code)
    end
    return opened, records
  end

  -- The messages that come of it, as an API gets them, with a word of the user behind them.
  local function messages(...)
    local opened, records = open(file(...))
    opened:close()
    local restored = resume.restore(records)
    local made = conversation.new(nil, restored.pieces)
    if restored.open_results then
      made:append("user", restored.open_results)
    end
    agents.check(made:messages(), true)
    made:append("user", { { type = "text", text = "Go on." } })
    agents.check(made:messages(), true)
    return made:messages(), restored, made
  end

  it("gives the bytes of its messages back as they are", function()
    local odd = '{"role":"assistant","content":[{"type":"thinking","thinking":"\\u0041 \\/ä",'
      .. '"signature":"abc\\/=="},{"zeta":1.50,"type":"text","text":"x","alpha":1e3},'
      .. '{"type":"tool_use","id":"t1","name":"n","input":{"b":12345678901234567890,"a":0.10}}]}'
    local _, restored = messages(user("Hi"), odd, results("t1"))
    assert.equal(odd:match("^.-%[(.*)%]}$"), restored.pieces[2].blocks)
    assert.equal(user("Hi"):match("%[(.*)%]"), restored.pieces[1].blocks)
  end)

  it("passes over types of entries that it does not know", function()
    local said = messages(user("Hi"), { '{"type":"usage","id":"1","input_tokens":3}' },
      assistant("Hello"), { '{"type":"of the future"}' })
    assert.same({ "Hi", "Hello", "Go on." },
      { said[1].content[1].text, said[2].content[1].text, said[3].content[1].text })
  end)

  it("with an open tool call gets an honest result for it", function()
    local said, restored = messages(user("Hi"), asks("a", "b"))
    assert.equal(2, #restored.open_results)
    for i, id in ipairs({ "a", "b" }) do
      assert.same({ type = "tool_result", tool_use_id = id, content = resume.INTERRUPTED,
        is_error = true }, said[3].content[i])
    end
    assert.equal("Go on.", said[3].content[3].text)
  end)

  it("keeps the results that are there, and adds those that are not", function()
    local said = messages(user("Hi"), asks("a", "b", "c"), results("b"), user("and?"))
    local ids = {}
    for i, block in ipairs(said[3].content) do
      ids[i] = (block.tool_use_id or block.text) .. (block.is_error and "!" or "")
    end
    assert.same({ "a!", "c!", "b", "and?", "Go on." }, ids)
  end)

  it("that ends in the middle of an exchange is valid all the same", function()
    messages()
    messages(user("Hi"))
    messages(user("Hi"), assistant("Hello"))
    messages(user("Hi"), assistant("Hello"), user("And?"), user("[bg] notice"))
  end)

  it("of which a message was lost is valid, and says so", function()
    local torn = { '{"id":"1","message":{"role":"us' }
    local _, restored = messages(user("Hi"), assistant("one"), torn, assistant("two"))
    assert.matches("could not be read", restored.pieces[3].blocks)
    messages(torn, assistant("Hello"))
    local said = messages(user("Hi"), asks("a"), torn, user("text"))
    assert.equal("a", said[3].content[1].tool_use_id)
    said = messages(user("Hi"), asks("a"), torn, assistant("Done"))
    assert.equal("a", said[3].content[1].tool_use_id)
    said = messages(user("Hi"), torn, results("a"), assistant("Done")) -- what asked is gone
    assert.same({ "Hi" }, { said[1].content[1].text })
    assert.equal(1, #said[1].content)
    said = messages(torn, results("a"))
    assert.equal("Go on.", said[1].content[1].text)
  end)

  it("is not changed by a second repair", function()
    local torn = { "{" }
    local _, restored = messages(torn, assistant("x"), asks("a"), torn, assistant("y"), user("z"),
      results("b"), asks("c", "d"), results("d"), assistant("w"))
    local before = conversation.new(nil, restored.pieces):messages_json()
    resume.repair(restored)
    assert.equal(before, conversation.new(nil, restored.pieces):messages_json())
    assert.is_nil(restored.open_results)
  end)

  it("keeps a reply of several pieces together", function() -- pause_turn
    local said = messages(user("Hi"), assistant("one"), assistant("two"), user("x"))
    assert.equal(2, #said[2].content)
  end)

  it("drops results that answer twice, nothing, or behind other words", function()
    local said = messages(user("Hi"), asks("a"), results("a", "a", "z"), assistant("Done"))
    assert.equal(1, #said[3].content)
    said = messages(user("Hi"), asks("a"), user("words"), results("a"), assistant("Done"))
    assert.equal(resume.INTERRUPTED, said[3].content[1].content)
    assert.equal(2, #said[3].content)
  end)

  it("passes over foreign lines, and says how many", function()
    local opened = open(file({ "" }, user("Hi"), { "not json" }, { "[1]" }, { '{"no":"type"}' }))
    opened:close()
    assert.same({ "session " .. opened.id .. ": 3 lines of its file could not be read and were "
      .. "passed over (the first is line 4)" }, opened.notes)
  end)

  it("with a message that is none passes over it", function()
    messages(user("Hi"), '{"role":"system","content":[{"type":"text"}]}', '"text"',
      '{"role":"user","content":[]}', '{"role":"user","content":["x"]}', '{"role":"user"}')
  end)

  describe("with a torn last line", function()
    local function tear(id, text)
      local handle = assert(io.open(base .. "/" .. id .. "/session.jsonl", "a"))
      handle:write(text)
      handle:close()
    end

    it("goes on behind it, and does not speak of it again", function()
      local id = file(user("Hi"))
      tear(id, '{"id":"2","message":{"role":"assist')
      local opened, records = open(id)
      assert.same({ {}, 2 }, { opened.notes, #records })
      opened:append("message", { message = json.raw(assistant("Hello")) })
      opened:append("message", { message = json.raw(user("And?")) })
      opened:close()
      opened, records = open(id)
      opened:close()
      assert.same({}, opened.notes)
      local said = resume.restore(records).pieces
      assert.same({ "user", "assistant", "user" }, { said[1].role, said[2].role, said[3].role })
    end)

    it("that lacks its line break only: it counts, and the next line is one of its own", function()
      local id = file()
      tear(id, '{"id":"2","message":' .. user("Hi") .. ',"type":"message"}')
      local opened, records = open(id)
      assert.equal(1, #resume.restore(records).pieces)
      opened:append("message", { message = json.raw(assistant("Hello")) })
      opened:close()
      opened, records = open(id)
      opened:close()
      assert.same({}, opened.notes)
      assert.equal(2, #resume.restore(records).pieces)
    end)
  end)

  it("is refused when it has no header, or one of another version", function()
    for _, broken in ipairs({ "", "x\n", '{"type":"message"}\n' }) do
      temp.write(base .. "/broken/session.jsonl", broken)
      assert.matches("no header.* DAMAGED", raised(open, "broken"))
    end
    temp.write(base .. "/future/session.jsonl", '{"type":"session","version":2}\n')
    assert.matches("version 2 .*knows version 1 VERSION", raised(open, "future"))
    assert.matches("there is no session none ENOENT", raised(open, "none"))
  end)

  it("of the second host is read-only, and says so", function()
    local id = file(user("Hi"))
    local first, second = open(id), open(id)
    assert.is_nil(first.read_only)
    assert.equal("session " .. id .. " is open in another agenthost: here it can only be read",
      second.read_only)
    assert.equal(second.read_only, raised(second.append, second, "note", {}))
    first:append("note", {})
    first:close()
    local third = open(id)
    assert.is_nil(third.read_only)
    third:close()
  end)

  it("that is new is locked, too", function()
    local made = session.new({ cwd = "/w", base_dir = base })
    made:append("note", {})
    assert.is_string(open(made.id).read_only)
    made:close()
    local opened = open(made.id)
    assert.is_nil(opened.read_only)
    opened:append("note", { n = 2 })
    opened:close()
    local _, records = open(made.id)
    assert.equal(records[2].entry.id, records[3].entry.parentId)
  end)
end)

describe("an agent", function()
  local place

  before_each(function()
    place = agents.place()
  end)

  after_each(function()
    place:close()
  end)

  -- An agent that goes on with the session of another, which is closed.
  local function again(before, turns, opts)
    before:close()
    for i, made in ipairs(place.made) do
      if made == before then
        table.remove(place.made, i)
      end
    end
    opts = opts or {}
    opts.session = before.session.id
    return place:new(turns, opts)
  end

  it("goes on where the session ended: the request begins with the same bytes", function()
    local sent = {}
    local function note(text)
      return function(_, request)
        sent[#sent + 1] = request.system .. request.messages_json()
        return reply(text)
      end
    end
    local made = place:new({ note("Hello."), note("Fine.") })
    assert(made:run("Hi"))
    assert(made:run("How are you?"))
    made = again(made, { note("Bye.") })
    assert(made:run("I go."))
    assert.equal(sent[2]:sub(1, -2), sent[3]:sub(1, #sent[2] - 1))
    local text = sys.read_file(made.session.dir .. "/session.jsonl")
    assert.equal(6, select(2, text:gsub('"type":"message"', "")))
  end)

  it("closes the call that was open when its host died, once, on disk", function()
    local made = place:new({ reply(call("x")) })
    made.tools:add({ name = "x", description = "dies", run = function() error("gone", 0) end },
      "spec")
    local append_and_ack = made.append_and_ack
    made.append_and_ack = function(self, blocks)
      if blocks[1].type == "tool_result" then
        error("the host dies", 0)
      end
      return append_and_ack(self, blocks)
    end
    raised(made.run, made, "Hi")
    for _ = 1, 2 do
      made = again(made, { reply("Done.") })
      assert(made:run("Go on"))
      local messages = made.provider.requests[1]
      assert.equal(resume.INTERRUPTED, messages[3].content[1].content)
    end
    local text = sys.read_file(made.session.dir .. "/session.jsonl")
    assert.equal(1, select(2, text:gsub("interrupted; the host stopped", "")))
  end)

  it("that was compacted comes back as it was", function()
    local made = place:new(function() return reply("What was.") end)
    for i = 1, 10 do
      assert(made:run("Question " .. i .. (" x"):rep(500)))
    end
    assert(made:compact())
    local before = made.conversation:messages_json()
    assert.matches("<conversation-summary>", before, 1, true)
    made = again(made, { reply("five") })
    assert.equal(before, made.conversation:messages_json())
    assert.equal("five", assert(made:run("And now?")).text)
  end)

  it("goes on from before a compaction whose entry was cut short", function()
    local made = place:new(function() return reply("What was.") end)
    for i = 1, 10 do
      assert(made:run("Question " .. i .. (" x"):rep(500)))
    end
    local before = made.conversation:messages_json()
    assert(made:compact())
    local path = made.session.dir .. "/session.jsonl"
    local text = sys.read_file(path)
    local at = #text - #text:match("([^\n]*\n)$")
    for cut = at + 1, #text - 1, 97 do -- the entry is one line, the last one
      temp.write(path, text:sub(1, cut))
      made = again(made, { reply("Yes.") })
      assert.equal(before, made.conversation:messages_json())
    end
    assert.equal("Yes.", assert(made:run("And now?")).text)
    local later = made.conversation:messages_json()
    made = again(made, function() return reply("What was.") end)
    assert.equal(later, made.conversation:messages_json())
    assert(made:compact())
    later = made.conversation:messages_json()
    made = again(made, {})
    assert.equal(later, made.conversation:messages_json())
    assert.matches("<conversation-summary>", later, 1, true)
  end)

  it("has all that a session holds: results in files, ends, tokens, what was discarded", function()
    local function busy()
      local made = reply("Fine.")
      made.usage = { input_tokens = 10, output_tokens = 1 }
      return made
    end
    local made = place:new({ reply(call("background_run", { command = "exec sleep 0.1" })), busy,
      busy, reply(call("long", {})), busy, busy, busy, busy, busy, busy, busy, busy, busy },
      { plugins = { "background" }, permissions = { mode = "bypassPermissions" } })
    made.tools:add({ name = "long", description = "d", permission = "none",
      run = function() return ("long "):rep(2000) end }, "spec")
    assert(made:run("One"))
    assert(made.queue:wait(20))
    assert(made:run())
    made.session:append("discarded", { length = 3, reason = "r", code = "c" })
    for i = 1, 8 do
      assert(made:run("Question " .. i))
    end
    local id = made:list_tasks()[1].id
    assert(made:compact())
    local before, used = made.conversation:messages_json(), made.usage.session.input_tokens
    for _ = 1, 2 do
      made = again(made, { busy }, { permissions = { mode = "plan" } })
      assert.equal(before, made.conversation:messages_json())
      assert.equal("plan", made.permission.mode)
      assert.equal(used, made.usage.session.input_tokens)
      assert.is_nil(made.inbox:due())
      assert.equal(0, #made.inbox:take(), "an end is told again")
    end
    assert(made:run("And now?"))
    local text = sys.read_file(made.session.dir .. "/session.jsonl")
    assert.equal(1, select(2, text:gsub("%[bg:" .. id .. "%] completed", "")))
  end)

  it("switches to another session in the mode that the user has chosen", function()
    local first = place:new({})
    first.permission:set_mode("plan")
    local other = assert(first:switch_session())
    assert.equal("plan", other.permission.mode)
    other:close()
  end)

  it("switches to another session, and back to a new one", function()
    local first = place:new({ reply("one"), reply("two"), reply("three") })
    assert(first:run("Hi"))
    local other = assert(first:switch_session())
    place.made[#place.made + 1] = other
    assert.is_true(other.session.id ~= first.session.id)
    assert.same({}, other.conversation.pieces)
    assert(other:run("In another"))
    local id = first.session.id
    assert.same({ nil, "session " .. other.session.id .. " is this one" },
      { other:switch_session(other.session.id) })
    assert.matches("there is no session nowhere", select(2, other:switch_session("nowhere")))
    first:close()
    table.remove(place.made, 1)
    local back = assert(other:switch_session(id))
    place.made[#place.made + 1] = back
    assert.equal(2, #back.conversation.pieces)
    assert.equal("three", assert(back:run("And here?")).text)
  end)

  it("that is the second one of a session says so when it is to run", function()
    local first = place:new({ reply("one") })
    assert(first:run("Hi"))
    local second = place:new({ reply("never") }, { session = first.session.id })
    assert.equal(2, #second.conversation.pieces)
    assert.matches("is open in another agenthost", raised(second.run, second, "Hi"))
    assert.equal(0, second.provider.calls)
    table.remove(place.made) -- its directory is that of the first
    second:close()
  end)
end)
