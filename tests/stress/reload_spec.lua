-- A thousand reloads while tasks run: nothing is left over of the versions from before.
local agents = require("support.agents")
local async = require("agenthost.async")
local lfs = require("lfs")
local sys = require("agenthost.sys")
local temp = require("support.temp")

describe("reload", function()
  local place, base

  before_each(function()
    place, base = agents.place(), temp.directory()
  end)

  after_each(function()
    place:close()
    temp.remove(base)
  end)

  local function write(name, content)
    return temp.write(base .. "/" .. name, content)
  end

  local function descriptors()
    local count = 0
    for _ in lfs.dir("/proc/self/fd") do
      count = count + 1
    end
    return count
  end

  it("a thousand times while tasks run leaves nothing behind", function()
    local source = [[return { name = "p", setup = function(ctx)
      ctx.tool({ name = "say", description = "d", permission = "none",
        run = function() return "%d" end })
      ctx.command({ name = "p", help = "h", run = print })
      for _, event in ipairs({ "prompt", "notice", "tool.before", "idle" }) do
        ctx.on(event, function() end)
      end
      ctx.timer(0.05, function() end, { repeats = true })
      ctx.spawn(function() require("agenthost.async").sleep(1000) end)
      ctx.prompt({ source = "p", text = "part" })
      ctx.state.n = %d
    end, save = function() return { ("x"):rep(1000) } end, restore = function() end }]]
    write("p.lua", source:format(0, 0))
    local made = place:new({}, { base_dir = base, system = "system", instructions = false,
      plugins = { "./p.lua" } })
    async.run(function()
      made:start()
      local tasks = {}
      for i = 1, 4 do
        tasks[i] = made:run_task("sleep 1000")
      end
      local function times(from, to)
        for n = from, to do
          write("p.lua", n % 10 == 0 and "return {" or source:format(n, n))
          made.reloader:refresh()
          made.events = {}
        end
        write("p.lua", source:format(to, to))
        made.reloader:refresh()
        collectgarbage()
        collectgarbage()
        local parked = async.count()
        return { descriptors(), parked, collectgarbage("count") }
      end
      local before = times(1, 100)
      local after = times(101, 1100)
      assert.equal(before[1], after[1])
      assert.equal(before[2], after[2])
      assert.is_true(after[3] - before[3] < 64, ("%.0f KiB more"):format(after[3] - before[3]))
      assert.same({ "say" }, made.tools:names())
      for _, handlers in pairs(made.plugins.events.handlers) do
        assert.equal(1, #handlers)
      end
      for _, task in ipairs(tasks) do
        assert.equal("running", (task:status()))
      end
    end)
    assert.equal("1100", made.tools.by_name.say.tool.run())
    os.remove(sys.xdg("state") .. "/agenthost/plugins/p.json")
  end)
end)
