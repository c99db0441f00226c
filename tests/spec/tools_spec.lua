local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local tools = require("agenthost.tools")
local raised = require("support.temp").raised

local FAR <const> = 30

describe("agenthost.tools", function()
  local registry, events, logged

  before_each(function()
    registry, events, logged = tools.new(), {}, {}
  end)

  local function add(name, run, fields)
    local tool = { name = name, description = "for the test", run = run }
    for key, value in pairs(fields or {}) do
      tool[key] = value
    end
    registry:add(tool, "the test")
  end

  local function context(call)
    return { id = call.id, log = function(line) logged[#logged + 1] = line end }
  end

  local function emit(event)
    events[#events + 1] = event.type .. " " .. event.call.name
  end

  -- Runs calls, each { name, input }; ids are 1, 2, ...
  local function run(...)
    local calls = {}
    for i, call in ipairs({ ... }) do
      calls[i] = { type = "tool_use", id = tostring(i), name = call[1], input = call[2] or {} }
    end
    return async.run(registry.run, registry, calls, context, emit)
  end

  local function content(value)
    local registered = tools.new()
    registered:add({ name = "t", description = "d", run = function() return value end }, "x")
    registry = registered
    local result = run({ "t" })[1]
    return result.content, result.is_error
  end

  describe("add", function()
    it("makes definitions, in order", function()
      add("b", print, { input = { x = "string" } })
      add("a", print)
      assert.same({ "b", "a" }, registry:names())
      assert.same({
        { name = "b", description = "for the test", input_schema = {
          type = "object", properties = { x = { type = "string" } }, required = { "x" } } },
        { name = "a", description = "for the test", input_schema = {
          type = "object", properties = {}, required = {} } },
      }, registry:definitions())
    end)

    it("says what is wrong, and whose it is", function()
      local good <const> = { name = "n", description = "d", run = print }
      for pattern, change in pairs({
        ["mine: a tool needs a name of letters, digits, '_' and '-', at most 64; got nil"] =
          { name = false },
        ["mine: a tool needs a name of letters, digits, '_' and '-', at most 64; got 'a b'"] =
          { name = "a b" },
        ["mine: tool 'n' needs a description: the model chooses by it"] = { description = "" },
        ["mine: tool 'n' needs a function run(input, ctx)"] = { run = "echo" },
        ["mine: tool 'n': input.x: expected a type, a ? if it is optional, and what it is, such as "
          .. '"integer?: how many"; the types are string, number, '] = { input = { x = "str: a" } },
        ["mine: tool 'n': timeout: expected seconds, got '30'"] = { timeout = "30" },
        ["mine: tool 'n': permission: expected read, edit, command, input, none or a function, got "
          .. "'reads'"] = { permission = "reads" },
        ["mine: tool 'n': preview: expected a function, got true"] = { preview = true },
        ["mine: tool 'n': input: expected a JSON Schema"] = { input = "string" },
      }) do
        local tool = {}
        for key, value in pairs(good) do
          tool[key] = value
        end
        for key, value in pairs(change) do
          tool[key] = value or nil
        end
        assert.matches(pattern, raised(registry.add, registry, tool, "mine"), 1, true)
      end
      assert.matches("got '" .. ("x"):rep(65),
        raised(registry.add, registry, { name = ("x"):rep(65) }, "mine"), 1, true)
      assert.matches("mine: expected a tool", raised(registry.add, registry, 7, "mine"), 1, true)
      assert.matches("mine: expected a tool", raised(registry.add, registry, "bash", "mine"), 1,
        true)
      assert.same({}, registry:names())
    end)

    it("refuses a field that nobody would read: misspelt, or another program's", function()
      for field, meant in pairs({ parameters = "input", input_schema = "input", premission =
        "permission", time_out = "timeout" }) do
        local tool = { name = "n", description = "d", run = print, [field] = {} }
        assert.equal(("mine: tool 'n': unknown field '%s'; did you mean '%s'?"):format(field,
          meant), raised(registry.add, registry, tool, "mine"))
      end
      assert.equal("mine: tool 'n': unknown field 'desciption'; did you mean 'description'?",
        raised(registry.add, registry, { name = "n", desciption = "d", run = print }, "mine"))
    end)

    it("leaves fields of the tool's own alone", function()
      registry:add({ name = "n", description = "d", run = print, tags = {}, title = "N", input = {},
        parameters = {}, [1] = 1 }, "mine")
      assert.same({ "n" }, registry:names())
    end)

    it("refuses two of one name, and names both owners", function()
      add("t", print)
      assert.equal("mine: tool 't' is already there, from the test",
        raised(registry.add, registry, { name = "t", description = "d", run = print }, "mine"))
    end)
  end)

  it("says what cannot be sent, without our own places", function()
    for pattern, value in pairs({
      ["expected a text, or a table that is sent as JSON; it returned a function"] = print,
      ["cannot be sent: f: cannot write a value of type function"] = { f = print },
      ["cannot be sent: table has both array and object keys"] = { a = 1, 2 },
    }) do
      local text, is_error = content(value)
      assert.is_true(is_error)
      assert.matches(pattern, text, 1, true)
      assert.is_nil(text:find("lua/agenthost", 1, true))
    end
  end)

  it("tells the message of a table that is raised", function()
    add("t", function() error({ message = "no such list", code = 3 }) end)
    add("empty", function() error({}) end)
    add("locked", function() error(setmetatable({}, { __metatable = true })) end)
    local results = run({ "t" }, { "empty" }, { "locked" })
    assert.equal("Error: no such list", results[1].content)
    assert.equal("Error: it raised a table without `message`", results[2].content)
    assert.equal("Error: it raised a table without `message`", results[3].content)
  end)

  describe("run", function()
    it("gives one result for each call, in the order of the calls", function()
      local release = {}
      add("waits", function()
        async.wait(release, FAR)
        return "first"
      end)
      add("quick", function()
        async.sleep(0)
        async.notify(release)
        return "second"
      end)
      assert.same({
        { type = "tool_result", tool_use_id = "1", content = "first" },
        { type = "tool_result", tool_use_id = "2", content = "second" },
      }, run({ "waits" }, { "quick" }))
      assert.same({ "tool_start waits", "tool_start quick", "tool_end quick", "tool_end waits" },
        events)
    end)

    it("runs side by side: each waits for all others", function()
      local here, all_here = 0, {}
      add("meets", function()
        here = here + 1
        if here == 5 then
          async.notify(all_here)
          return "met"
        end
        return async.wait(all_here, FAR) and "met" or "alone"
      end)
      for _, result in ipairs(run({ "meets" }, { "meets" }, { "meets" }, { "meets" },
        { "meets" })) do
        assert.equal("met", result.content)
      end
    end)

    it("gives the tool its input and its own context", function()
      add("t", function(input, ctx) return input.x .. ctx.id end)
      local results = run({ "t", { x = "a" } }, { "t", { x = "b" } })
      assert.same({ "a1", "b2" }, { results[1].content, results[2].content })
    end)

    it("tells the model what is wrong with an input, and runs nothing", function()
      local ran = false
      add("t", function() ran = true end, { input = { path = "string", n = "integer?" } })
      local results = run({ "t" }, { "t", { path = 1 } }, { "t", { path = "x", n = "1" } })
      assert.same({ "Error: path is missing (string)", "Error: path: expected string, got integer",
        "Error: n: expected integer, got string" },
        { results[1].content, results[2].content, results[3].content })
      assert.is_true(results[1].is_error)
      assert.is_false(ran)
    end)

    it("tells the model of a tool that is not there", function()
      assert.same({ type = "tool_result", tool_use_id = "1", is_error = true,
        content = "Error: there is no tool 'grep'" }, run({ "grep" })[1])
    end)

    it("does not run a call that was cut off", function()
      add("t", function() error("it ran") end)
      local results = async.run(registry.run, registry,
        { { id = "1", name = "t", input = {}, incomplete = true } }, context, emit)
      assert.matches("^Error: the reply was cut off inside this call; it was not run",
        results[1].content)
      assert.is_true(results[1].is_error)
    end)

    it("takes what a tool raises for its result, and logs where it was", function()
      add("text", function() error("it broke", 0) end)
      add("place", function() error("it broke") end)
      add("table", function() error({ code = 1 }) end)
      add("nothing", function() error() end)
      add("fine", function() return "fine" end)
      local results = run({ "text" }, { "place" }, { "table" }, { "nothing" }, { "fine" })
      assert.same({ "Error: it broke", true }, { results[1].content, results[1].is_error })
      assert.matches("^Error: .*tools_spec.lua:%d+: it broke$", results[2].content)
      assert.equal('Error: {"code":1}', results[3].content)
      assert.equal("Error: it raised an error without a message", results[4].content)
      assert.same({ "fine", nil }, { results[5].content, results[5].is_error })
      assert.equal(4, #logged)
      assert.matches("^tool text failed: it broke\nstack traceback:", logged[1])
    end)

    it("has a result also when a listener raises", function()
      add("t", function() return "x" end)
      local results = async.run(registry.run, registry, { { id = "1", name = "t", input = {} } },
        context, function() error("a broken listener") end)
      assert.same({ { type = "tool_result", tool_use_id = "1", is_error = true,
        content = "Error: the tool ended without a result" } }, results)
    end)

    it("shows the argument that matters, if that is a text", function()
      add("t", function() end, { summary = function(input) return input.x end })
      local seen = {}
      async.run(registry.run, registry, {
        { id = "1", name = "t", input = { x = "this" } },
        { id = "2", name = "t", input = { x = 7 } },
        { id = "3", name = "t", input = "no table" },
      }, context, function(event)
        if event.type == "tool_start" then
          seen[#seen + 1] = event.call.summary or false
        end
      end)
      assert.same({ "this", false, false }, seen)
    end)
  end)

  describe("cancelling a run", function()
    local function cancelled(reason, ...)
      local calls = { ... }
      return async.run(function()
        local job = async.spawn(registry.run, registry, calls, context, emit)
        async.sleep(0)
        async.sleep(0)
        job:cancel(reason)
        return job:wait()
      end)
    end

    it("leaves a result for each call", function()
      add("slow", function() async.sleep(FAR) end)
      add("quick", function() return "done" end)
      add("cleans", function()
        local reason = raised(async.sleep, FAR)
        async.sleep(0.001)
        return "so far: " .. tostring(reason)
      end)
      add("careful", function()
        local ok, reason = pcall(async.sleep, FAR)
        if not ok then
          error(reason, 0)
        end
      end)
      local results = cancelled(tools.CANCELLED, { id = "1", name = "slow", input = {} },
        { id = "2", name = "quick", input = {} }, { id = "3", name = "cleans", input = {} },
        { id = "4", name = "careful", input = {} })
      assert.same({
        { type = "tool_result", tool_use_id = "1", is_error = true,
          content = "Cancelled by the user before it was done." },
        { type = "tool_result", tool_use_id = "2", content = "done" },
        { type = "tool_result", tool_use_id = "3", content = "so far: cancelled by the user" },
        { type = "tool_result", tool_use_id = "4", is_error = true,
          content = "Cancelled by the user before it was done." },
      }, results)
      assert.same({}, logged)
    end)

    it("for another reason raises that", function()
      add("slow", function() async.sleep(FAR) end)
      assert.matches("^the end\n",
        raised(cancelled, "the end", { id = "1", name = "slow", input = {} }))
    end)
  end)

  describe("a result", function()
    it("is never empty", function()
      for _, value in ipairs({ "", "  \n\t ", {}, false }) do
        assert.is_true(#content(value) > 0)
      end
      assert.equal("(no output)", (content(nil)))
      assert.equal("(no output)", (content(" \n ")))
      assert.equal("(no output)", (content({ { type = "text", text = "" } })))
    end)

    it("may be a text, a number, a boolean, or a table, which is sent as JSON", function()
      assert.equal("7", (content(7)))
      assert.equal("false", (content(false)))
      assert.equal('{"a":[1,2]}', (content({ a = { 1, 2 } })))
      assert.equal('["x"]', (content({ "x" })))
    end)

    it("may be content blocks; their empty texts are left out", function()
      local image = { type = "image",
        source = { type = "base64", media_type = "image/png", data = "aGk=" } }
      assert.same({ { type = "text", text = "see" }, image },
        content({ { type = "text", text = "see" }, { type = "text", text = "" }, image }))
    end)

    it("that is a list of tables with another `type` is data", function()
      local listing = { { name = "a", type = "file" }, { name = "b", type = "directory" } }
      assert.same(listing, json.decode((content(listing))))
      local mixed = { { type = "text", text = "x" }, { type = "mine" } }
      assert.same(mixed, json.decode((content(mixed))))
    end)

    it("may be a picture; one that no API takes is an error that says what is right", function()
      local function picture(fields)
        return { type = "image", source = fields }
      end
      local raw = picture({ type = "base64", media_type = "image/png", data = "\x89PNG\r\n" })
      local wrapped = picture({ type = "base64", media_type = "image/png", data = "aGlo\naGk=" })
      local typeless = picture({ type = "base64", data = "aGk=" })
      for _, case in ipairs({ { raw, "Base64 on one line" }, { { wrapped }, "Base64 on one line" },
        { typeless, "source.media_type, such as" }, { picture("x.png"), "needs source = " } }) do
        local said, is_error = content(case[1])
        assert.is_true(is_error)
        assert.matches(case[2], said, 1, true)
      end
      local url = picture({ type = "url", url = "https://example.org/a.png" })
      assert.same({ url }, (content(url)))
      local named = picture(url.source)
      named.path = "a.png"
      assert.same({ url }, (content(named)))
    end)

    it("that is a list of tables with a block's `type` and nothing else of one is data", function()
      local listing = { { path = "a.png", type = "image" }, { path = "b", type = "document" } }
      assert.same(listing, json.decode((content(listing))))
    end)

    it("is bounded", function()
      local huge = ("0123456789\n"):rep(100000)
      local shown = content("first\n" .. huge .. "last")
      assert.is_true(utf8.len(shown) <= defaults.text.result + 100)
      assert.matches("^first\n", shown)
      assert.matches("\nlast$", shown)
      local _, count = shown:gsub("%[%.%.%. %d+ characters left out %.%.%.%]", "")
      assert.equal(1, count)
      local blocks = content({ { type = "text", text = huge } })
      assert.is_true(utf8.len(blocks[1].text) <= defaults.text.result + 100)
      local err = content(setmetatable({}, { __index = function() return huge end }))
      assert.is_true(#err <= defaults.text.result + 1100)
    end)

    it("of an error is bounded, too", function()
      add("t", function() error(("x"):rep(200000), 0) end)
      assert.is_true(#run({ "t" })[1].content <= defaults.text.result + 1100)
    end)

    it("is clean", function()
      assert.equal("red a\u{fffd}b", (content("\27[31mred\27[0m a\xffb")))
    end)

    it("that cannot be sent is an error", function()
      local shown, is_error = content({ f = print })
      assert.matches("^Error: the tool's result cannot be sent: ", shown)
      assert.is_true(is_error)
    end)
  end)
end)
