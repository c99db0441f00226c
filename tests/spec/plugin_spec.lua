local agents = require("support.agents")
local places = require("agenthost.places")
local plugin = require("agenthost.plugin")
local temp = require("support.temp")

local raised = temp.raised

describe("agenthost.plugin", function()
  local base, config, share

  before_each(function()
    base = temp.directory()
    config, share = places.config, places.share
    places.config, places.share = base .. "/config", base .. "/share"
  end)

  after_each(function()
    places.config, places.share = config, share
    temp.remove(base)
  end)

  local TOOL <const> = 'return { name = "%s", description = "d", run = print }'

  local function write(path, content, ...)
    return temp.write(base .. "/" .. path, content:format(...))
  end

  -- What a plugin adds, where it came from and which options it got.
  local function load(spec)
    local added, seen = {}, {}
    local made = plugin.define(spec, base .. "/agent")
    seen.source, seen.options = made.source, made.options
    made.setup({ config = made.options, tool = function(tool) added[#added + 1] = tool.name end },
      made.options)
    return added, seen.source, seen.options
  end

  it("takes the user's folder before ours, as a file or a folder", function()
    write("share/plugins/a/init.lua", TOOL, "ours_a")
    write("share/plugins/b.lua", TOOL, "ours_b")
    assert.same({ "ours_a" }, (load("a")))
    assert.same({ "ours_b" }, (load("b")))
    write("config/plugins/a.lua", TOOL, "mine_a")
    write("config/plugins/b/init.lua", TOOL, "mine_b")
    local added, source = load("a")
    assert.same({ "mine_a" }, added)
    assert.equal(base .. "/config/plugins/a.lua", source)
    assert.same({ "mine_b" }, (load("b")))
  end)

  it("takes paths: relative to the agent's folder, and absolute", function()
    write("agent/tools.lua", TOOL, "beside")
    write("up.lua", TOOL, "above")
    write("agent/folder/init.lua", TOOL, "folder")
    assert.same({ "beside" }, (load("./tools.lua")))
    assert.same({ "beside" }, (load("./tools")))
    assert.same({ "folder" }, (load("./folder")))
    assert.same({ "above" }, (load("../up.lua")))
    assert.same({ "above" }, (load(base .. "/up.lua")))
  end)

  it("does not take a name for a file of the agent's folder", function()
    write("agent/tools.lua", TOOL, "beside")
    local message = raised(load, "tools")
    assert.equal(("plugin 'tools' is not there; looked in %s/config/plugins, "
      .. "%s/share/plugins; for the file beside the script say './tools'"):format(base, base),
      message)
  end)

  it("says which plugin may be meant", function()
    write("config/plugins/shell/init.lua", TOOL, "a")
    write("agent/todo_list.lua", TOOL, "b")
    assert.matches("; did you mean 'shell'%?$", raised(load, "shel"))
    assert.matches("^plugin './todo_lst.lua' is not there; .*; did you mean './todo_list'%?$",
      raised(load, "./todo_lst.lua"))
    assert.matches("^plugin './far' is not there; looked in [^;]*$", raised(load, "./far"))
  end)

  it("does not mind what editors put in front: a mark of UTF-8, a line with #!", function()
    write("agent/p.lua", "\xEF\xBB\xBF#!/usr/bin/env agenthost\r\n" .. TOOL, "marked")
    assert.same({ "marked" }, (load("./p.lua")))
    write("agent/p.lua", "#!/x\nreturn oops oops")
    assert.matches("p.lua:2: ", raised(load, "./p.lua"), 1, true)
  end)

  it("takes all shapes", function()
    local tool = { name = "t", description = "d", run = print }
    write("agent/list.lua", 'return { %s, %s }', (TOOL:format("a"):gsub("return ", "")),
      (TOOL:format("b"):gsub("return ", "")))
    write("agent/setup.lua",
      "return { name = 'x', setup = function(ctx, o) ctx.tool({ name = o.prefix .. 'c' }) end }")
    assert.same({ "a", "b" }, (load("./list.lua")))
    assert.same({ "my_c" }, (load({ "./setup.lua", prefix = "my_" })))
    local added, source = load(tool)
    assert.same({ "t" }, added)
    assert.equal("t", source)
    added, source = load({ tool, tool })
    assert.same({ "t", "t" }, added)
    assert.equal("(inline)", source)
    assert.same({ "s" }, (load({ setup = function(ctx) ctx.tool({ name = "s" }) end })))
  end)

  it("gives options in the context and to setup, without the name", function()
    write("agent/p.lua", "return { setup = function(ctx, o) assert(ctx.config == o) end }")
    local _, _, options = load({ "./p.lua", depth = 3, flag = false })
    assert.same({ depth = 3, flag = false }, options)
    _, _, options = load("./p.lua")
    assert.same({}, options)
  end)

  it("says what is wrong with a shape", function()
    local shapes = "has to return a tool, a list of tools, or a table with setup(ctx, options); "
    for content, got in pairs({
      [""] = "it returned nothing: is the `return` missing?", ["return 7"] = "it returned 7",
      ["return {}"] = "it returned a table without `run` and without `setup`",
      ["return { name = 'x' }"] = "the tool 'x' needs a function `run`, got nil",
      ["return { {} }"] = "it returned a table without `run` and without `setup`",
      ["return { name = 'x', execute = print }"] =
        "unknown field 'execute'; did you mean 'run'?",
      ["return { { name = 'x', execute = print } }"] =
        "unknown field 'execute'; did you mean 'run'?",
      ["return { name = 'x', steup = print }"] = "unknown field 'steup'; did you mean 'setup'?",
      ["return { name = 'x', run = 'ok' }"] = "the tool 'x' needs a function `run`, got 'ok'",
    }) do
      local path = write("agent/p.lua", "%s", content)
      local message = raised(load, path)
      assert.matches("plugin " .. path .. " " .. shapes .. got, message, 1, true)
    end
    local tool, other = TOOL:format("a"):gsub("return ", ""), "setup = function() end"
    for content, what in pairs({
      [("return { %s, %s }"):format(tool, other)] = "beside `setup` a tool counts for nothing",
      [("return { name = 'a', run = print, %s }"):format(other)] =
        "beside `setup` a tool counts for nothing",
      [("return { %s, nil, %s }"):format(tool, tool)] = "'3' in it counts for nothing",
      [("return { %s, save = print }"):format(tool)] = "'save' in it counts for nothing",
    }) do
      assert.matches(what, raised(load, write("agent/p.lua", "%s", content)), 1, true)
    end
    assert.equal("plugins: expected names, paths or tables, got a number", raised(load, 7))
    assert.matches("plugin (inline) has to return", raised(load, {}), 1, true)
  end)

  it("says where a file is broken", function()
    local path = write("agent/p.lua", "return {\n  oops oops\n}")
    assert.matches("^plugin .*" .. path:gsub("%p", "%%%0") .. ":2: ", raised(load, path))
    write("agent/p.lua", "\nerror('at load')")
    assert.matches("p.lua:2: at load", raised(load, path), 1, true)
    write("agent/p.lua", "return { setup = function() error('in setup') end }")
    assert.matches("p.lua:1: in setup", raised(load, path), 1, true)
    for code, said in pairs({ ["error()"] = "it raised an error without a message",
      ["error({ code = 1 })"] = '{"code":1}', ["error({ message = 'no key' })"] = "no key" }) do
      write("agent/p.lua", "%s", code)
      assert.equal(("plugin %s: %s"):format(path, said), raised(load, path))
    end
  end)

  it("takes no byte code", function()
    local path = base .. "/agent/p.lua"
    temp.write(path, string.dump(load))
    assert.matches("attempt to load a binary chunk", raised(load, path), 1, true)
  end)

  describe("in an agent", function()
    local place

    before_each(function()
      place = agents.place()
    end)

    after_each(function()
      place:close()
    end)

    it("may not bring a tool whose name is taken, and both owners are named", function()
      local path = write("agent/p.lua", TOOL, "twice")
      local tool = { name = "twice", description = "d", run = print }
      assert.equal(("the agent script: tool 'twice' is already there, from %s"):format(path),
        raised(place.new, place, {}, { plugins = { path }, tools = { tool } }))
      assert.equal(path .. ": tool 'twice' is already there, from twice",
        raised(place.new, place, {}, { plugins = { tool, path } }))
    end)

    it("starts relative paths at base_dir", function()
      write("agent/p.lua", TOOL, "beside")
      local made = place:new({}, { plugins = { "./p.lua" }, base_dir = base .. "/agent",
        system = "x" })
      assert.same({ "beside" }, made.tools:names())
    end)

    it("gets a context that works", function()
      local ctx
      local made = place:new({}, { system = "x",
        plugins = { { setup = function(given) ctx = given end } } })
      assert.equal(place.cwd, ctx.cwd)
      assert.equal(1, ctx.notify("it changed", { path = "x" }))
      local notices = made.queue:drain()
      assert.equal("string", type(notices[1].key))
      notices[1].key = nil
      assert.same({ { kind = "plugin", text = "it changed", path = "x", seq = 1 } }, notices)
      ctx.log("a line")
      assert.same({ { type = "log", text = "a line" } }, made.events)
      assert.matches("come from the task runner only",
        raised(ctx.notify, "forged", { kind = "task" }))
    end)
  end)
end)
