-- The life of plugins when agents are made, fail to be made, and go from one session to another.
local agent = require("agenthost.agent")
local agent_base = require("agenthost.agent_base")
local agents = require("support.agents")
local async = require("agenthost.async")
local session = require("agenthost.session")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local reply = agents.reply

-- How many entries a directory has.
local function count(dir)
  return #(sys.list(dir, 100000) or {})
end

describe("an agent that cannot be made", function()
  local place, log

  before_each(function()
    place, log = agents.place(), {}
  end)

  after_each(function()
    place:close()
  end)

  -- A plugin that holds one of everything, and says when it is gone.
  local function plugin()
    return { name = "holds", setup = function(ctx)
      ctx.tool({ name = "t", description = "d", run = print })
      ctx.on("session.end", function() log[#log + 1] = "end" end)
      ctx.timer(0.05, function() log[#log + 1] = "timer" end, { repeats = true })
      ctx.spawn(function() async.sleep(1000) end)
      log.task = ctx.task("sleep 1000").id
    end, teardown = function() log[#log + 1] = "teardown" end }
  end

  -- what is wrong; what is said; whether plugins were set up by then
  local cases = {
    ["a model that is not there"] = { { model = "nobody/x" }, "nobody" },
    ["a rule that is none"] = { { permissions = { allow = { "(" } } }, "allow" },
    ["a policy that is none"] = { { on_notice = "shout" }, "on_notice: expected" },
    ["a prompt that raises"] = { { system = function() error("no prompt", 0) end }, "no prompt",
      true },
    ["a budget without prices"] = { { max_budget_usd = 1 }, "price" },
    ["a second plugin that fails"] = { { failing = true }, "no luck", true },
  }
  for what, case in pairs(cases) do
    it("leaves nothing behind: " .. what, function()
      local first = place:new({ reply("Hi.") })
      assert(first:run("Hello"))
      local id = first.session.id
      first.session:close() -- as if its host had gone
      local given = { cwd = place.cwd, session = id, instructions = false,
        provider = case[1].model == nil and agents.provider({}) or nil,
        plugins = { plugin(), case[1].failing and { name = "fails", setup = function()
          error("no luck", 0)
        end } or nil } }
      for name, value in pairs(case[1]) do
        given[name] = name ~= "failing" and value or nil
      end
      local descriptors, sessions
      async.run(function()
        local jobs = async.count()
        for i = 1, 12 do
          local ok, message = pcall(agent.new, given)
          assert.is_false(ok)
          assert.matches(case[2], message, 1, true)
          if i == 2 then -- what is made once is there by now
            descriptors, sessions = count("/proc/self/fd"), count(session.base_dir())
          end
          async.sleep(0) -- what was cancelled ends
          assert.equal(jobs, async.count())
          given.session = i % 2 == 0 and id or nil
        end
        async.sleep(0.1)
      end)
      assert.equal(case[3] and 12 or 0, #log)
      assert.equal(case[3] and "teardown" or nil, log[12])
      assert.is_true(count("/proc/self/fd") <= descriptors)
      assert.equal(sessions + (case[3] and 5 or 0), count(session.base_dir())) -- the ledgers of 5
      local opened = assert(session.open(id))
      assert.is_nil(opened.read_only)
      opened:close()
      if log.task then
        assert.equal("killed", (assert(task.get(log.task)):wait(30)))
      end
    end)
  end

  it("leaves the session that the command line wants to the next try", function()
    local first = place:new({ reply("Hi.") })
    assert(first:run("Hello"))
    local id = first.session.id
    first.session:close()
    agent_base.override({ session = id })
    finally(function() agent_base.override({}) end)
    assert.matches("no prompt", temp.raised(agent.new, { cwd = place.cwd,
      provider = agents.provider({}), system = function() error("no prompt", 0) end }))
    local second = agent.new({ cwd = place.cwd, provider = agents.provider({}) })
    assert.equal(id, second.session.id)
    second:close()
  end)
end)
