local agents = require("support.agents")
local async = require("agenthost.async")
local json = require("agenthost.json")
local scripted = require("agenthost.provider.scripted")
local temp = require("support.temp")

local raised = temp.raised
local FAR <const> = 30

local function request_of(messages)
  return { system = "s", tools = {}, messages = function() return messages end }
end

local function user(...)
  local content = {}
  for i, block in ipairs({ ... }) do
    content[i] = type(block) == "string" and { type = "text", text = block } or block
  end
  return { role = "user", content = content }
end

local function result(text)
  return { type = "tool_result", tool_use_id = "1", content = text }
end

describe("provider.scripted", function()
  -- Calls the provider; gives its results and the events.
  local function call(provider, messages)
    local events = {}
    local returned = table.pack(async.run(provider.stream, provider,
      request_of(messages or { user("hi") }), function(event) events[#events + 1] = event end))
    return returned, events
  end

  it("says which field of a turn it does not know", function()
    local returned = call(scripted.new({ { tool = {} } }, "x"))
    assert.equal("x: a turn: unknown option 'tool'; did you mean 'tools'?", returned[2])
    assert.equal("SCRIPT", returned[3])
  end)

  it("answers with a text, word by word", function()
    local provider = scripted.new({ "Hello my  friend.\nBye" }, "x")
    local returned, events = call(provider)
    assert.same({
      content = { { type = "text", text = "Hello my  friend.\nBye" } }, stop_reason = "end_turn",
      usage = { input_tokens = 0, output_tokens = 0 }, model = "scripted/x",
    }, returned[1])
    local words = {}
    for i, event in ipairs(events) do
      assert.equal("text", event.type)
      words[i] = event.text
    end
    assert.same({ "Hello", " my", "  friend.", "\nBye" }, words)
  end)

  it("answers with thinking, text and tools", function()
    local provider = scripted.new({ { thinking = "hm", text = "Look.", tools = {
      { "bash", { command = "ls" } }, { name = "list" } } } }, "x")
    local returned, events = call(provider)
    local content = returned[1].content
    assert.same({ type = "thinking", thinking = "hm", signature = "scripted" }, content[1])
    assert.same({ type = "text", text = "Look." }, content[2])
    assert.same({ "tool_use", "bash", { command = "ls" } },
      { content[3].type, content[3].name, content[3].input })
    assert.equal("{}", json.encode(content[4].input))
    assert.matches("^toolu_%x+$", content[3].id)
    assert.is_true(content[3].id ~= content[4].id)
    assert.equal("tool_use", returned[1].stop_reason)
    assert.same({ type = "tool_use", name = "bash", id = content[3].id }, events[2])
  end)

  it("takes turns from a list, and says when it is over", function()
    local provider = scripted.new({ "one", function() return "two" end }, "list.lua")
    assert.equal("one", call(provider)[1].content[1].text)
    assert.equal("two", call(provider)[1].content[1].text)
    assert.same({ n = 4, nil, "list.lua has 2 turns and was called once more", "SCRIPT",
      { retryable = false } }, (call(provider)))
  end)

  it("shows a function what was said", function()
    local seen, turns = nil, {}
    local provider = scripted.new(function(request, turn)
      seen, turns[#turns + 1] = request, turn
      return "ok"
    end, "x")
    call(provider)
    assert.equal("hi", seen.last)
    local messages = { user("a"),
      user(result("out"), result({ { type = "text", text = "deep" } }), "b") }
    call(provider, messages)
    assert.equal("out\ndeep\nb", seen.last)
    assert.equal(2, #seen.results)
    assert.same({ messages, "s", {} }, { seen.messages, seen.system, seen.tools })
    assert.same({ 1, 2 }, turns)
  end)

  it("can fail, and say whether to try again", function()
    local provider = scripted.new({
      { fail = { "busy", "OVERLOADED", retryable = true, retry_after = 2 } }, { fail = {} } }, "x")
    assert.same({ n = 4, nil, "busy", "OVERLOADED", { retryable = true, retry_after = 2 } },
      (call(provider)))
    assert.same({ n = 4, nil, "failed on purpose", "FAILED", { retryable = false } },
      (call(provider)))
  end)

  it("can stop for any reason, and say nothing", function()
    local provider = scripted.new({ { text = "half", stop_reason = "max_tokens" }, { text = " " },
      "" },
      "x")
    assert.equal("max_tokens", call(provider)[1].stop_reason)
    assert.same({}, call(provider)[1].content)
    assert.same({}, call(provider)[1].content)
  end)

  it("takes an error in the script for a failed call", function()
    local provider = scripted.new({ function() error("oops", 0) end, function() end, 7 }, "x")
    assert.same({ n = 4, nil, "oops", "SCRIPT", { retryable = false } }, (call(provider)))
    assert.equal("no quota", call(scripted.new({ function() error({ message = "no quota" }) end },
      "x"))[2])
    assert.equal("x: a turn has to be a text or a table, got a nil", call(provider)[2])
    assert.equal("x: a turn has to be a text or a table, got a number", call(provider)[2])
  end)

  it("can be cancelled while it paces, while it delays, and inside the script", function()
    for _, turn in ipairs({
      { text = "a b c", pace = FAR }, { text = "a", delay = FAR },
      function() async.sleep(FAR) return "x" end,
    }) do
      local provider = scripted.new({ turn }, "x")
      local reason = {}
      async.run(function()
        local job = async.spawn(provider.stream, provider, request_of({ user("hi") }),
          function() end)
        async.sleep(0)
        job:cancel(reason)
        assert.equal(reason, raised(job.wait, job))
      end)
    end
  end)

  it("comes from a file", function()
    local base = temp.directory()
    local path = temp.write(base .. "/m.lua", 'return { "from a file" }')
    local provider = scripted.from_file(path)
    assert.equal("scripted/" .. path, provider.model)
    assert.equal("from a file", call(provider)[1].content[1].text)
    temp.write(path, "return oops oops")
    assert.matches("^scripted model " .. path:gsub("%p", "%%%0") .. ":1: ",
      raised(scripted.from_file, path))
    temp.write(path, "return 7")
    assert.equal(path .. ": a scripted model is a function or a list of turns, got a number",
      raised(scripted.from_file, path))
    assert.matches("^scripted model cannot open ", raised(scripted.from_file, base .. "/none"))
    temp.remove(base)
  end)
end)

describe("provider.demo", function()
  local place, made

  before_each(function()
    place = agents.place()
    made = place:new({}, { provider = scripted.demo(),
      plugins = { "shell", "files", "background" } })
  end)

  after_each(function()
    place:close()
  end)

  -- The names of the tools that were called since message `from`.
  local function called(from)
    local names = {}
    for i, message in ipairs(made.conversation:messages()) do
      for _, block in ipairs(i >= (from or 1) and message.content or {}) do
        if block.type == "tool_use" then
          names[#names + 1] = block.name
        end
      end
    end
    return names
  end

  local function say(text)
    return assert(made:run(text)).text
  end

  it("says what it can do when there is nothing to do", function()
    assert.matches("I am a small script, not a language model", say("Hello"))
    assert.same({}, called())
  end)

  it("runs a command and shows what it printed", function()
    assert.equal("hi\n", say("Run `echo hi`"))
    assert.same({ "bash" }, called())
  end)

  it("runs something in the background and works meanwhile (exercise 1)", function()
    say("Run `sleep 0.1 && echo done` in the background, then create a file while it runs")
    assert.same({ "background_run", "write_file" }, called())
    assert.is_not_nil(place.cwd and io.open(place.cwd .. "/created-meanwhile.txt"):close())
    assert.is_true(made.queue:wait(FAR))
    local one = made:list_tasks()[1]
    assert.equal(one.id .. " has ended: completed.", assert(made:run()).text)
  end)

  it("starts three and checks their status (exercise 2)", function()
    local text = say("Start 3 background tasks: `sleep 20`, `sleep 40`, `sleep 60`. "
      .. "Check their status")
    assert.same({ "background_run", "background_run", "background_run", "check_background" },
      called())
    local lines = {}
    for id, status, command in text:gmatch("(%x+): %[(%a+)%] ([^\n]+)") do
      assert.equal(8, #id)
      assert.is_true(status == "running" or status == "queued")
      lines[#lines + 1] = command
    end
    assert.same({ "sleep 20", "sleep 40", "sleep 60" }, lines)
  end)

  it("takes pytest without quotes (exercise 3)", function()
    say("Run pytest in the background and keep working on other things")
    assert.same({ "background_run" }, called())
    assert.equal("pytest", made:list_tasks()[1].command)
  end)

  it("answers the last words of the user when some came before it could", function()
    made.provider.stream = (function(stream)
      return function(self)
        self.stream = stream
        return nil, "down", "SERVER"
      end
    end)(made.provider.stream)
    made:run("Hello")
    assert.equal("hi\n", say("Run `echo hi`"))
  end)
end)
