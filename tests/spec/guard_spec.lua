-- Bounds for plugin code: time between two waits, and errors that lead to the user's line.
local agents = require("support.agents")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local guard = require("agenthost.guard")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local STOPPED <const> = "guard_spec.lua:%d+: it was stopped: it has run for [%d.]+ s without a wait"

describe("guard", function()
  local seconds = defaults.guard.seconds

  before_each(function()
    defaults.guard.seconds = 0.1
  end)

  after_each(function()
    defaults.guard.seconds = seconds
    assert.is_nil(guard.current())
  end)

  -- Calls fn, which does not end by itself; it has to be over long before the deadline.
  local function stop(fn)
    local began = sys.now()
    local ok, err, traceback = protect.call("test", fn)
    assert.is_false(ok)
    assert.is_true(sys.now() - began < 20)
    assert.is_nil(guard.current())
    return err, traceback
  end

  -- Whether what `try` does is done in time. It is given more and more of that, with the factor as
  -- its argument: the machine may stand still meanwhile.
  local function in_time(try)
    for i = 0, 5 do
      defaults.guard.seconds = 0.1 * 2 ^ i
      if try(2 ^ i) then
        return true
      end
    end
    return false
  end

  local function spin(length)
    local stop_at = sys.now() + length
    while sys.now() < stop_at do end
  end

  it("stops a loop, and names its line", function()
    local err, traceback = stop(function() while true do end end)
    assert.matches(STOPPED, err)
    assert.matches("guard_spec.lua:%d+: in function", traceback)
  end)

  it("gives a call no more time than the one it is made in has", function()
    local began = sys.now()
    local err = stop(function()
      assert(guard.xpcall(600, "inner", tostring, function() while true do end end))
    end)
    assert.matches("without a wait", err)
    assert.is_true(sys.now() - began < 20)
  end)

  it("stops loops that swallow errors", function()
    assert.matches("it was stopped", stop(function() while true do pcall(error) end end))
    assert.matches("it was stopped", stop(function()
      while true do
        pcall(function() while true do end end)
      end
    end))
    assert.matches("it was stopped", stop(function()
      local function again()
        return pcall(again)
      end
      while true do
        xpcall(again, function() while true do end end)
      end
    end))
  end)

  it("stops a loop that cleans up with a loop", function()
    assert.is_string(stop(function()
      local _ <close> = setmetatable({}, { __close = function() while true do end end })
      while true do end
    end))
  end)

  it("stops the handler of an xpcall that does not end, and calls the others", function()
    assert.matches("it was stopped", stop(function()
      while true do
        xpcall(error, function() while true do end end)
      end
    end))
    local _, ok, handled, a, b = protect.call("test", function()
      local _, message = xpcall(error, function(err) return "handled " .. err end, "oops")
      return xpcall(function(...)
        return message, ...
      end, print, 1, nil)
    end)
    assert.same({ true, "handled oops", 1, nil }, { ok, handled, a, b })
    assert.is_true(async.run(protect.call, "test", function()
      assert(xpcall(async.sleep, print, 0)) -- may wait
    end))
    local traceback = select(3, protect.call("test", function()
      return xpcall(function() while true do end end, debug.traceback)
    end))
    assert.matches("it was stopped.*stack traceback:.*guard_spec", traceback)
    assert.matches("#2 to 'xpcall' %(function expected", temp.raised(xpcall, print, 7))
  end)

  it("stops coroutines that make coroutines without end", function()
    local function again()
      return pcall(coroutine.wrap(function()
        while true do
          pcall(again)
        end
      end))
    end
    assert.matches("it was stopped", stop(function()
      while true do
        again()
      end
    end))
    assert.matches("#1 to '[%w.]*wrap' %(function expected", temp.raised(coroutine.wrap, 7))
  end)

  it("stops loops in coroutines, and loops that make them", function()
    assert.matches("it was stopped", stop(coroutine.wrap(function() while true do end end)))
    assert.matches("it was stopped", stop(function()
      local co = coroutine.wrap(function() while true do pcall(error) end end)
      while true do
        pcall(co)
      end
    end))
    assert.matches("it was stopped", stop(function()
      while true do
        coroutine.wrap(function() end)()
      end
    end))
    local generator = coroutine.wrap(function()
      while true do
        coroutine.yield(1)
      end
    end)
    assert.matches("it was stopped", stop(function()
      while true do
        generator()
      end
    end))
  end)

  it("stops a coroutine of the script's, made outside any call", function()
    local co = coroutine.wrap(function() while true do pcall(error) end end)
    assert.matches("it was stopped", stop(function() co() end))
  end)

  it("stops loops inside C functions that call back", function()
    assert.matches("it was stopped", stop(function()
      ("x"):rep(100):gsub(".", function() while true do end end)
    end))
    assert.matches("it was stopped", stop(function()
      table.sort({ 3, 2, 1 }, function() while true do pcall(error) end end)
    end))
  end)

  it("stops slow C functions in a loop", function()
    local long = ("a"):rep(200000)
    local began = sys.now()
    assert.matches("it was stopped", stop(function()
      while true do
        local _ = long:reverse()
      end
    end))
    assert.is_true(sys.now() - began < 20)
  end)

  it("lets code that is done in time go on, and is off afterwards", function()
    local ok, a, b = protect.call("test", function(...) return ... end, 1, nil)
    assert.same({ true, 1, nil }, { ok, a, b })
    assert.same({ true }, { protect.call("test", function() end) })
    local until_then = sys.now() + 0.3
    while sys.now() < until_then do end -- nobody stops us
  end)

  it("does not count what waits", function()
    assert.is_true(in_time(function(factor)
      return async.run(protect.call, "test", function()
        for _ = 1, 6 do
          spin(0.04 * factor)
          async.sleep(0.01)
        end
      end)
    end))
    assert.is_true(in_time(function(factor)
      return protect.call("test", function() -- outside a job the whole thread waits
        async.sleep(0.2 * factor)
        spin(0.05 * factor)
      end)
    end))
  end)

  it("stops the jobs that plugin code has started, and theirs", function()
    async.run(function()
      local job, inner
      assert.is_true(protect.call("test", function()
        job = async.spawn(function()
          inner = async.spawn(function() while true do pcall(error) end end)
          while true do pcall(error) end
        end)
      end))
      local ok, err = pcall(job.wait, job)
      assert.is_false(ok)
      assert.matches("it was stopped", err)
      ok, err = pcall(inner.wait, inner)
      assert.is_false(ok)
      assert.matches("it was stopped", err)
    end)
  end)

  it("stops nobody but the plugin code: not the scheduler that goes on after it", function()
    defaults.guard.seconds = 0.0001
    local long, ended = ("a"):rep(300000), 0
    guard.watch(true) -- as in a script that runs its agent
    async.run(function()
      for _ = 1, 1000 do
        local job
        protect.call("test", function()
          job = async.spawn(function() -- a few instructions, and more time than it has
            return #long:reverse()
          end)
        end)
        job:wait()
        ended = ended + 1
      end
    end)
    guard.watch(false)
    assert.equal(1000, ended)
  end)

  it("counts each of two calls that run side by side for itself", function()
    assert.is_true(in_time(function(factor)
      return async.run(function()
        local function slow()
          for _ = 1, 5 do
            spin(0.03 * factor)
            async.sleep(0)
          end
          return "done"
        end
        local jobs = async.all({
          function() return protect.call("a", slow) end,
          function() return protect.call("b", function() async.sleep(0) while true do end end) end,
          function() return guard.owner() end,
        })
        assert.is_false(jobs[2].results[2])
        assert.is_nil(jobs[3].results[2])
        return jobs[1].results[2] and jobs[1].results[3] == "done"
      end)
    end))
  end)

  it("knows whose code runs", function()
    local ok, seen, inner, after = protect.call("outer", function()
      local _, name = protect.call("inner", guard.owner)
      return guard.owner(), name, guard.owner()
    end)
    assert.same({ true, "outer", "inner", "outer" }, { ok, seen, inner, after })
  end)

  it("stops the inner one of two calls first", function()
    defaults.guard.seconds = 30
    assert.is_true(protect.call("outer", function()
      defaults.guard.seconds = 0.1
      local ok, err = protect.call("inner", function() while true do end end)
      assert.is_false(ok)
      assert.matches("it was stopped", err)
    end))
  end)

  it("leaves errors that are no texts alone, and texts without a place", function()
    local err = {}
    assert.equal(err, select(2, protect.call("test", error, err)))
    assert.equal("plain", select(2, protect.call("test", error, "plain", 0)))
  end)

  it("makes the text of an error inside the bounds, once", function()
    local function err(text)
      return setmetatable({}, { __tostring = text })
    end
    local function said(text)
      return tostring(select(2, protect.call("test", error, err(text))))
    end
    local count = 0
    assert.equal("mine", said(function()
      count = count + 1
      return "mine"
    end))
    assert.equal(1, count)
    assert.matches("^a table was raised, and its __tostring fails: .*it was stopped",
      said(function() while true do end end))
    assert.matches("its __tostring fails: .*no text", said(function() error("no text") end))
    assert.matches("its __tostring fails: table$", said(function()
      error(err(function() while true do end end))
    end))
    assert.equal(err, select(2, protect.call("test", error, err))) -- one without code stays
  end)

  it("lets what cancels a job through as it is", function()
    local reason = setmetatable({}, { __tostring = function() return "mine" end })
    async.run(function()
      local job = async.spawn(function()
        local _, err = protect.call("test", async.sleep, 1000)
        return err, async.is_cancellation(err)
      end)
      async.sleep(0)
      job:cancel(reason)
      local err, is_cancellation = job:wait()
      assert.is_true(rawequal(reason, err) and is_cancellation)
    end)
  end)

  it("names the user's line when the error has one of ours", function()
    local _, err = protect.call("test", function()
      require("agenthost.json").encode(print)
    end)
    assert.matches("guard_spec.lua:%d+", err)
  end)

  it("leaves out a traceback that shows nothing of the user's", function()
    local own = "\nstack traceback:\n\t[C]: in function 'error'\n\t/x/lua/agenthost/a.lua:1: in x\n"
      .. "\t(...tail calls...)"
    assert.equal("plugin /x/p.lua:4: '}' expected", protect.fold("plugin /x/p.lua:4: '}' expected"
      .. own))
    for _, message in ipairs({ "it broke", "/x/lua/agenthost/b.lua:2: it broke" }) do
      assert.matches("stack traceback:", protect.fold(message .. own)) -- where else to look?
    end
    assert.matches("stack traceback:", protect.fold("/x/p.lua:4: oops\nstack traceback:\n"
      .. "\t/x/p.lua:4: in main chunk"))
  end)

  it("says on one line where a module was looked for", function()
    local _, err = protect.call("test", function() return require("spec.no_such") end)
    assert.matches("guard_spec.lua:%d+: module 'spec.no_such' not found in [^\n]*/lua[^\n]* %(a "
      .. "plugin that is a folder with init.lua may require the files beside it%)$", err)
    assert.is_nil(err:find("preload", 1, true))
  end)

  it("folds agenthost's own frames", function()
    local folded = protect.fold("stack traceback:\n\t/x/me.lua:3: in function 'a'\n"
      .. "\t/y/lua/agenthost/tools.lua:1: in b\n\t[C]: in function 'xpcall'\n"
      .. "\t/y/lua/agenthost/async.lua:1: in c\n\t/x/me.lua:9: in main chunk")
    assert.equal("stack traceback:\n\t/x/me.lua:3: in function 'a'\n"
      .. "\t(agenthost's own; --verbose shows it)\n\t/x/me.lua:9: in main chunk", folded)
  end)

  describe("in an agent", function()
    local place

    before_each(function()
      place = agents.place()
    end)

    after_each(function()
      place:close()
    end)

    it("answers the call of an endless tool with an error, and goes on", function()
      local made = place:new({ agents.reply(agents.call("spin")), agents.reply("done") }, {
        tools = { { name = "spin", description = "d",
          run = function() while true do pcall(error) end end } } })
      assert.equal("done", made:run("go").text)
      local messages = made.conversation:messages()
      assert.matches(STOPPED, messages[3].content[1].content)
    end)

    it("is not held up by a plugin at load, at setup or by a command", function()
      local path = place.cwd .. "/p.lua"
      temp.write(path, "while true do pcall(error) end")
      assert.matches("^" .. path:gsub("%p", "%%%0") .. ":1: it was stopped",
        temp.raised(place.new, place, {}, { plugins = { path } }))
      temp.write(path, "return { setup = function()\nwhile true do end end }")
      assert.matches("p.lua:2: it was stopped",
        temp.raised(place.new, place, {}, { plugins = { path } }))
      temp.write(path, [[return { setup = function(ctx) ctx.command({ name = "spin", help = "h",
        run = function() while true do end end }) end }]])
      local made = place:new({}, { plugins = { path } })
      assert.matches("p.lua:2: it was stopped",
        temp.raised(made.commands[1].run))
    end)

    it("is not held up by on_notice", function()
      local made = place:new({ agents.reply("told") }, {
        on_notice = function() while true do end end })
      made:notify("news")
      assert.equal("told", made:run(nil).text)
    end)
  end)
end)
