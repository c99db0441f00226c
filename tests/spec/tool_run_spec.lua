-- Calls of tools: in their time, alone or side by side, in the background, with their progress.
local agents = require("support.agents")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local raised = require("support.temp").raised
local sys = require("agenthost.sys")

local call = agents.call

describe("a tool", function()
  local place, grace

  before_each(function()
    place, grace = agents.place(), defaults.tool.grace
  end)

  after_each(function()
    place:close()
    defaults.tool.grace = grace
  end)

  local function tool(name, run, fields)
    local made = { name = name, description = "d", permission = "none", run = run }
    for field, value in pairs(fields or {}) do
      made[field] = value
    end
    return made
  end

  -- The results of calls, and the agent.
  local function results_of(made, ...)
    local calls = { ... }
    return made.tools:run(calls, function(one) return made:tool_context(one) end, made.emitter)
  end

  local function new(...)
    return place:new({}, { system = "s", tools = { ... } })
  end

  it("is stopped when its time is over; what it holds is closed", function()
    local closed = false
    local made = new(tool("slow", function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      async.sleep(1000)
    end, { timeout = 0.05 }))
    async.run(function()
      local result = results_of(made, call("slow"))[1]
      assert.equal("Error: it was not done after 0.05 s and was stopped.", result.content)
      assert.is_true(result.is_error)
    end)
    assert.is_true(closed)
  end)

  it("may say what it knows when its time is over", function()
    local made = new(tool("slow", function()
      local ok = pcall(async.sleep, 1000)
      return ok and "slept" or "half of it"
    end, { timeout = 0.05 }))
    async.run(function()
      assert.equal("half of it", results_of(made, call("slow"))[1].content)
    end)
  end)

  it("that does not listen is left alone after the grace", function()
    defaults.tool.grace = 0.05
    local over = false
    local made = new(tool("deaf", function()
      while not over do
        pcall(async.sleep, 0.01)
      end
    end, { timeout = 0.05 }))
    async.run(function()
      assert.matches("was stopped", results_of(made, call("deaf"))[1].content)
      over = true
      async.sleep(0.05)
    end)
  end)

  it("runs alone when it is exclusive; the others side by side, in order", function()
    local log, running = {}, 0
    local function run(input)
      running = running + 1
      log[#log + 1] = input.name .. running
      async.sleep(0.05)
      running = running - 1
    end
    local made = new(tool("a", run, { input = { name = "string" } }),
      tool("x", run, { input = { name = "string" }, exclusive = true }))
    async.run(function()
      assert.equal(5, #results_of(made, call("a", { name = "a" }), call("a", { name = "b" }),
        call("x", { name = "x" }), call("a", { name = "c" }), call("a", { name = "d" })))
    end)
    assert.same({ "a1", "b2", "x1", "c1", "d2" }, log)
  end)

  it("tells how far it is", function()
    local made = new(tool("p", function(_, ctx)
      ctx.progress("half way", 0.5)
      ctx.progress(nil, 7)
      assert.matches("spec.lua:%d+: ctx.progress: fraction: expected a number from 0 to 1, got "
        .. "much", raised(function() ctx.progress("x", "much") end))
    end))
    async.run(function() results_of(made, call("p")) end)
    local seen = {}
    for _, event in ipairs(made.events) do
      if event.type == "tool_progress" then
        seen[#seen + 1] = { event.call.name, event.text or "", event.fraction }
      end
    end
    assert.same({ { "p", "half way", 0.5 }, { "p", "", 1.0 } }, seen)
  end)

  it("gives a picture as a block", function()
    local image = { type = "image", source = { type = "base64", media_type = "image/png",
      data = "AAAA" } }
    local made = new(tool("one", function() return image end),
      tool("list", function() return { { type = "text", text = "a" }, image } end),
      tool("data", function() return { type = "text" } end))
    async.run(function()
      local results = results_of(made, call("one"), call("list"), call("data"))
      assert.same({ image }, results[1].content)
      assert.same({ { type = "text", text = "a" }, image }, results[2].content)
      assert.equal('{"type":"text"}', results[3].content)
    end)
  end)

  it("may return a table whose own code does not end: that is an error of its", function()
    local seconds = defaults.guard.seconds
    local made = new(tool("bad", function()
      return setmetatable({}, { __index = function() while true do end end })
    end))
    defaults.guard.seconds = 0.1
    local content = async.run(results_of, made, call("bad"))[1].content
    defaults.guard.seconds = seconds
    assert.matches("^Error: the tool's result cannot be sent: .*tool_run_spec.*it was stopped",
      content)
  end)

  it("says which of its fields is wrong", function()
    assert.equal("the agent script: tool 't': timeout: expected seconds, got 0",
      raised(new, tool("t", print, { timeout = 0 })))
    assert.equal("the agent script: tool 't': background: expected true or false, got 'yes'",
      raised(new, tool("t", print, { background = "yes" })))
  end)

  describe("in the background", function()
    local function background(run, fields)
      fields = fields or {}
      fields.background = true
      return tool("slow", run, fields)
    end

    -- The text of what waits for the model.
    local function told(made)
      assert(made.queue:wait(30))
      local blocks = made.inbox:take()
      made.inbox:kept()
      assert(made.queue:ack())
      return blocks[1].text
    end

    it("returns at once; its end is a notice", function()
      local go = {}
      local made = new(background(function(input)
        async.wait_any({ go })
        return { echo = input.x }
      end, { input = { x = "integer" } }))
      async.run(function()
        local result = results_of(made, call("slow", { x = 7 }))[1]
        local id = result.content:match("^Started in the background as (call%-%x+)%. You are told")
        assert.is_string(id)
        async.sleep(0)
        assert.same({ 1, id, "slow" },
          { made:owed(), made.tool_jobs:list()[1].id, made.tool_jobs:list()[1].name })
        assert.is_nil(made.inbox:due())
        async.notify(go)
        assert.matches(("[call] %s slow is done: {\"echo\":7}"):format(id), told(made), 1, true)
        assert.equal(0, made:owed())
      end)
    end)

    it("still has its input checked first", function()
      local made = new(background(print, { input = { x = "integer" } }))
      async.run(function()
        assert.equal("Error: x is missing (integer)", results_of(made, call("slow"))[1].content)
        assert.equal(0, made:owed())
      end)
    end)

    it("tells of a failure, and of its time", function()
      local made = new(background(function() error("no luck") end),
        tool("late", function() async.sleep(1000) end, { background = true, timeout = 0.05 }))
      async.run(function()
        results_of(made, call("slow"))
        assert.matches("slow failed: Error: .*no luck", told(made))
        results_of(made, call("late"))
        assert.matches("late failed: Error: it was not done after 0.05 s", told(made))
      end)
    end)

    it("goes on when the user interrupts, and can be stopped", function()
      local made = place:new({}, { system = "s", plugins = { "background" },
        tools = { background(function(_, ctx)
          ctx.progress("3 of 20", 0.15)
          async.sleep(1000)
        end) } })
      async.run(function()
        local id = results_of(made, call("slow"))[1].content:match("call%-%x+")
        async.sleep(0)
        assert.matches(id .. ": [running] slow: 3 of 20 (15 %)",
          results_of(made, call("check_background"))[1].content, 1, true)
        results_of(made, call("background_kill", { task_id = id }))
        assert.matches(id .. " slow failed: Cancelled", told(made), 1, true)
      end)
    end)

    it("has a bound", function()
      local most = defaults.tool.max_background
      defaults.tool.max_background = 2
      local made = new(background(function() async.sleep(1000) end))
      async.run(function()
        local results = results_of(made, call("slow"), call("slow"), call("slow"))
        assert.matches("2 background calls run already %(defaults.tool.max_background%)",
          results[3].content)
        local stopped = made.tool_jobs:close("time is up")
        assert.same({ "slow", "slow" }, { stopped[1].name, stopped[2].name })
        local deadline = sys.now() + 30
        while made:owed() > 0 and sys.now() < deadline do
          async.sleep(0.01)
        end
        assert.same({ 0, 2 }, { made:owed(), #made.queue })
        assert.matches("^call%-%x+ slow was stopped: time is up$", made.queue:drain()[1].text)
      end)
      defaults.tool.max_background = most
    end)
  end)
end)
