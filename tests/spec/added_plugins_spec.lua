-- Plugins that a plugin adds (ctx.plugin): they are there as those in `plugins` are, and go with
-- the one that has added them.
local agents = require("support.agents")
local async = require("agenthost.async")
local temp = require("support.temp")

local raised = temp.raised

describe("a plugin that a plugin adds", function()
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

  local TOOL <const> = [[
return { name = "%s", description = "d", permission = "none", run = function() return "%s" end }
]]

  local function new(plugins, turns)
    return place:new(turns or {}, { plugins = plugins, base_dir = base, system = "system",
      instructions = false })
  end

  -- A plugin that hands its context out, and has no more than `setup` adds.
  local function owner(setup)
    local given = {}
    return { name = "owner", setup = function(ctx)
      given.ctx = ctx
      if setup then
        setup(ctx)
      end
    end }, given
  end

  local function said(made, name)
    return async.run(function()
      return made.tools:run({ agents.call(name) },
        function(one) return made:tool_context(one) end, made.emitter)
    end)[1].content
  end

  local function refresh(made, opts)
    return async.run(function() return made.reloader:refresh(opts) end)
  end

  local function only(lines)
    assert.equal(1, #lines)
    return lines[1]
  end

  it("is set up with it, behind it, with its options and its part of the prompt", function()
    write("child.lua", [[return { name = "child", setup = function(ctx, opts)
      ctx.prompt({ source = "child", text = "depth " .. opts.depth })
      ctx.plugin("./grandchild.lua")
    end }]])
    write("grandchild.lua", TOOL:format("grandchild", "one"))
    write("last.lua", TOOL:format("last", "one"))
    local made = new({ (owner(function(ctx) ctx.plugin({ "./child.lua", depth = 3 }) end)),
      "./last.lua" })
    local names = {}
    for i, loaded in ipairs(made.plugins:loaded()) do
      names[i] = loaded.name
    end
    assert.same({ "owner", "child", "grandchild", "last" }, names)
    assert.same({ "grandchild", "last" }, made.tools:names())
    assert.equal("system\n\ndepth 3", made.system)
  end)

  it("is reloaded when its file has changed, and alone", function()
    write("child.lua", TOOL:format("say", "one"))
    local made = new({ (owner(function(ctx) ctx.plugin("./child.lua") end)) })
    local first = made.plugins.records[1]
    write("child.lua", TOOL:format("say", "two"))
    assert.matches("/child.lua is loaded: the plugin child$", only(refresh(made)))
    assert.equal("two", said(made, "say"))
    assert.equal(first, made.plugins.records[1])
    write("child.lua", "return {")
    assert.matches("^not reloaded: .*child.lua:1: ", refresh(made)[1])
    assert.equal("two", said(made, "say"))
  end)

  it("stays when the one that has added it is reloaded, and goes when that adds it no more",
    function()
      write("child.lua", TOOL:format("say", "one"))
      write("other.lua", TOOL:format("other", "one"))
      local OWNER <const> = "return { name = 'owner', version = '%d', "
        .. "setup = function(ctx) %s end }"
      write("owner.lua", OWNER:format(1, "ctx.plugin('./child.lua')"))
      local made = new({ "./owner.lua", "./other.lua" })
      local child = made.plugins.records[2]
      write("owner.lua", OWNER:format(2, "ctx.plugin('./child.lua')"))
      assert.equal(1, #refresh(made))
      assert.equal(child, made.plugins.records[2])
      write("owner.lua", OWNER:format(3, ""))
      assert.matches("/owner.lua is loaded: the plugin owner 3$", only(refresh(made)))
      assert.same({ "other" }, made.tools:names())
      assert.is_true(child.dead)

      write("owner.lua", OWNER:format(4, "ctx.plugin('./child.lua')"))
      refresh(made)
      write("owner.lua", OWNER:format(5, ""))
      local lines = refresh(made, { all = true })
      assert.matches("/owner.lua is loaded: the plugin owner 5$", lines[1])
      assert.matches("/child.lua is not used any more$", lines[2])
      write("owner.lua", OWNER:format(6, "ctx.plugin('./child.lua')"))
      refresh(made)
      write("owner.lua", OWNER:format(7, ""))
      write("child.lua", TOOL:format("say", "two"))
      write("other.lua", "return {") -- so all three at once is not to be had
      assert.equal(2, #refresh(made))
      assert.same({ "other" }, made.tools:names())
    end)

  it("that does not fit leaves nothing", function()
    write("child.lua", TOOL:format("say", "one"))
    write("same.lua", TOOL:format("say", "two"))
    assert.matches("child.lua: tool 'say' is already there, from .*same.lua", raised(new,
      { "./same.lua", (owner(function(ctx) ctx.plugin("./child.lua") end)) }))
    assert.matches("plugin './none.lua' is not there", raised(new,
      { (owner(function(ctx) ctx.plugin("./none.lua") end)) }))
    assert.matches("plugins: expected names, paths or tables, got a number", raised(new,
      { (owner(function(ctx) ctx.plugin(7) end)) }))
  end)

  it("may not add itself without end", function()
    write("self.lua", "return { setup = function(ctx) ctx.plugin('./self.lua') end }")
    assert.matches("more than 200 plugins %(defaults.plugin.max_plugins%): does one of them add "
      .. "itself%?", raised(new, { "./self.lua" }))
  end)

  describe("later", function()
    it("counts at once", function()
      write("child.lua", [[return { name = "child", setup = function(ctx)
        require("agenthost.async").sleep(0.01) -- it may wait
        ctx.prompt({ source = "child", text = "child" })
        ctx.note("child is here")
        ctx.tool({ name = "say", description = "d", permission = "none",
          run = function() return "one" end })
      end }]])
      local plugin, given = owner()
      local made = new({ plugin })
      async.run(given.ctx.plugin, "./child.lua")
      assert.equal("one", said(made, "say"))
      assert.equal("system\n\nchild", made.system)
      assert.equal("child is here", made.events[1].text)
      assert.same({}, refresh(made))
      write("child.lua", TOOL:format("say", "two"))
      assert.equal(1, #refresh(made))
      assert.equal("two", said(made, "say"))
    end)

    it("is loaded anew when it is added again, and else goes on as it was", function()
      write("child.lua", TOOL:format("say", "one"))
      local plugin, given = owner()
      local made = new({ plugin })
      given.ctx.plugin("./child.lua")
      write("child.lua", TOOL:format("say", "two"))
      given.ctx.plugin("./child.lua")
      assert.equal("two", said(made, "say"))
      assert.equal(3, #made.plugins.records)
      write("child.lua", "error('no luck')")
      assert.matches("child.lua:1: no luck", raised(given.ctx.plugin, "./child.lua"))
      assert.equal("two", said(made, "say"))
      write("child.lua", TOOL:format("say", "three"))
      given.ctx.plugin("./child.lua")
      assert.equal("three", said(made, "say"))
    end)

    it("raises what is wrong with it, and nothing has changed", function()
      write("child.lua", TOOL:format("say", "one"))
      write("same.lua", TOOL:format("say", "two"))
      local plugin, given = owner()
      local made = new({ plugin, "./same.lua" })
      local before = table.pack(table.unpack(made.plugins.records))
      for spec, message in pairs({
        ["./child.lua"] = "tool 'say' is already there", -- said of the one behind it
        ["./none.lua"] = "plugin './none.lua' is not there",
      }) do
        assert.matches(message, raised(given.ctx.plugin, spec))
        assert.same({ "say" }, made.tools:names())
        assert.equal("two", said(made, "say"))
        assert.same(before, table.pack(table.unpack(made.plugins.records)))
      end
      write("same.lua", TOOL:format("other", "three")) -- what failed stands in nobody's way
      assert.equal(1, #refresh(made))
      assert.same({ "other" }, made.tools:names())
    end)

    it("is not to be had while a reload is under way, nor of one that is unloaded", function()
      write("child.lua", TOOL:format("say", "one"))
      write("slow.lua", "return { setup = function() end }")
      local plugin, given = owner()
      local made = new({ plugin, "./slow.lua" })
      async.run(function()
        write("slow.lua", [[return { setup = function(ctx)
          require("agenthost.async").sleep(0.1)
        end }]])
        local job = async.spawn(function() return made.reloader:refresh() end)
        async.sleep(0.02)
        assert.matches("a reload is under way", raised(given.ctx.plugin, "./child.lua"))
        assert.equal(1, #job:wait())
        given.ctx.plugin("./child.lua")
      end)
      assert.equal("one", said(made, "say"))
      made.plugins:close()
      assert.matches("added_plugins_spec.lua:%d+: plugin owner is unloaded",
        raised(function() given.ctx.plugin("./child.lua") end))
    end)

    it("is not to be had between setting up and going live", function()
      local plugin = owner(function(ctx)
        ctx.spawn(function()
          local ok, message = pcall(ctx.plugin, "./child.lua")
          ctx.log(tostring(ok) .. message)
        end)
      end)
      local slow = { name = "slow", setup = function() async.sleep(0.05) end }
      local logged = {}
      async.run(function()
        local own_log = plugin.setup
        plugin.setup = function(ctx)
          own_log(setmetatable({ log = function(text) logged[#logged + 1] = text end },
            { __index = ctx }))
        end
        new({ plugin, slow })
      end)
      assert.matches("^false.*plugin owner is not live yet: it can add nothing", logged[1])
    end)
  end)
end)
