-- What fails three times in a row is switched off, and says so once.
local agents = require("support.agents")
local strikes = require("agenthost.strikes")

describe("agenthost.strikes", function()
  it("switches off after three failures in a row", function()
    local mine = strikes.new("the thing")
    assert.is_nil(mine:miss("a"))
    assert.is_nil(mine:miss("b"))
    mine:hit()
    assert.is_nil(mine:miss("a"))
    assert.is_nil(mine:miss("b"))
    assert.is_nil(mine:off())
    local message = mine:miss("x.lua:3: broke\nstack traceback: ...")
    assert.equal("the thing is switched off: it failed 3 times in a row, the last time with: "
      .. "x.lua:3: broke; mend that and /reload", message)
    assert.equal(message, mine:off())
    assert.is_nil(mine:miss("again"))
    assert.equal(message, mine:off())
  end)

  describe("in an agent", function()
    local place

    before_each(function()
      place = agents.place()
    end)

    after_each(function()
      place:close()
    end)

    -- The results of that many calls of a tool, one turn after the other, and the warnings.
    local function results_of(run, count)
      local turns, runs = {}, 0
      for i = 1, count do
        turns[i] = agents.reply(agents.call("x"))
      end
      turns[count + 1] = agents.reply("done")
      local made = place:new(turns, { tools = { { name = "x", description = "d",
        run = function()
          runs = runs + 1
          return run(runs)
        end } } })
      assert.equal("done", made:run("go").text)
      local results, warnings = {}, {}
      for _, message in ipairs(made.conversation:messages()) do
        if message.content[1].type == "tool_result" then
          results[#results + 1] = message.content[1].content
        end
      end
      for _, event in ipairs(made.events) do
        warnings[#warnings + 1] = event.type == "warning" and event.text or nil
      end
      return results, warnings, runs
    end

    it("a tool that raises again and again is not called any more", function()
      local results, warnings, runs = results_of(function() error("a slip") end, 5)
      assert.equal(3, runs)
      for i = 1, 3 do
        assert.matches("^Error: .*strikes_spec.lua:%d+: a slip$", results[i])
      end
      assert.matches("^Error: tool 'x' is switched off: it failed 3 times in a row, the last time "
        .. "with: .*strikes_spec.lua:%d+: a slip; mend that and /reload$", results[4])
      assert.equal(results[4], results[5])
      assert.equal(1, #warnings)
      assert.matches("tool 'x' is switched off", warnings[1])
    end)

    it("failures that a tool reports do not count", function()
      local _, warnings, runs = results_of(function(n)
        if n % 2 == 0 then
          error("there is no such file", 0)
        end
        return nil, "not found"
      end, 8)
      assert.equal(8, runs)
      assert.same({}, warnings)
    end)

    it("a success begins anew", function()
      local _, _, runs = results_of(function(n)
        return n % 3 == 0 and "well" or error("a slip")
      end, 9)
      assert.equal(9, runs)
    end)

    it("a handler that fails again and again is not called any more", function()
      local calls = 0
      local turns = {}
      for i = 1, 5 do
        turns[i] = agents.reply("answer")
      end
      local made = place:new(turns, { plugins = { { name = "mine", setup = function(ctx)
        ctx.on("message.user", function()
          calls = calls + 1
          error("a slip")
        end)
      end } } })
      for _ = 1, 5 do
        made:run("go")
      end
      assert.equal(3, calls)
      local off = 0
      for _, event in ipairs(made.events) do
        if event.type == "warning" and event.text:find("is switched off", 1, true) then
          assert.matches("^plugin mine: the handler of 'message.user' at .*strikes_spec.lua:%d+ is "
            .. "switched off", event.text)
          off = off + 1
        end
      end
      assert.equal(1, off)
    end)
  end)
end)
