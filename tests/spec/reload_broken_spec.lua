-- Every way of breaking a file that is reloaded leaves the old version answering: the user is told
-- file, line and message, and so is the model when it has written the file.
local agents = require("support.agents")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local guard = require("agenthost.guard")
local json = require("agenthost.json")
local places = require("agenthost.places")
local temp = require("support.temp")

local call, reply = agents.call, agents.reply

local LOOP <const> = "it was stopped: it has run for 0%.%d s without a wait"
local MEMORY <const> = "not enough memory: the Lua state's limit of %d+ MiB is reached"

-- What can be broken: how a version that is whole begins, and what an empty file is.
local SUBJECTS <const> = {
  plugin = { file = "p.lua", empty = "it returned nothing", gone = "plugin './p%.lua' is not there",
    whole = [[return { name = "say", description = "d", permission = "none",
      run = function() return "%s" end }]] },
  ["a plugin's module"] = { file = "dir/helper.lua", gone = "module 'helper' not found",
    whole = [[return { text = "%s" }]] },
  ["the agent script"] = { file = "agent.lua",
    empty = "it does not return an agent of agent.new any more",
    gone = "cannot open '.*agent%.lua'", whole = [[
      return require("agenthost.agent").new({ system = "x", instructions = false,
        tools = { { name = "say", description = "d", permission = "none",
          run = function() return "%s" end } } })]] },
  ["a module"] = { file = "config/lua/mine.lua", empty = "it returned a nil", gone = "is gone",
    whole = [[return { text = function() return "%s" end }]] },
}

local function fill(path)
  return ("local t = {}\nfor i = 1, math.huge do t[i] = ('x'):rep(1 << 20) .. i end -- " .. path)
end

-- Each way: what is written (or done with the path), and what is said of it.
local WAYS <const> = {
  syntax = { "return {\n  oops oops\n}", ":2: .*near 'oops'" },
  ["error at load"] = { "\nerror('at load')", ":2: at load" },
  ["error that is no text"] = { "error({})", "it raised a table without `message`" },
  ["wrong shape"] = { "return 7", "" },
  ["an endless loop at load"] = { "\nwhile true do end", ":2: " .. LOOP },
  ["an endless loop that catches errors"] = {
    "\nwhile true do pcall(function() while true do end end) end", ":2: " .. LOOP },
  ["an endless wait for nothing"] = { "\nlocal function f() return f() end f()", ":2: " .. LOOP },
  ["no end to the stack"] = { "\nlocal function f() return 1 + f() end f()", "" },
  ["out of memory"] = { fill, MEMORY },
  ["out of memory at one blow"] = { "\nreturn ('x'):rep(1 << 40)", ":2: .*too large" },
  ["half written"] = { "return { name = 'say', run = function() ret", "%.lua:1: .*<eof>" },
  ["cut inside a text"] = { "return { name = 'sa", "%.lua:1: unfinished string" },
  binary = { "\0\1\2\255\0ELF\200", "%.lua:1: unexpected symbol" },
  ["byte code"] = { string.dump(function() end), "attempt to load a binary chunk" },
  ["another encoding"] = { "\xff\xfer\0e\0t\0", "%.lua:1: .*near" },
  ["too long"] = { ("-"):rep(1024 * 1024 + 1), "longer than 1048576 bytes" },
  ["a directory"] = { function(path)
    os.remove(path)
    temp.write(path .. "/x", "")
  end },
  ["a link to itself"] = { function(path)
    os.remove(path)
    assert(os.execute(("ln -s %s %s"):format(temp.quote(path:match("[^/]*$")), temp.quote(path))))
  end },
  ["a pipe"] = { function(path)
    os.remove(path)
    assert(os.execute("mkfifo " .. temp.quote(path)))
  end },
  missing = { os.remove },
  empty = { "" },
}

local SLOW <const> = { ["no end to the stack"] = true, ["out of memory"] = true,
  ["an endless loop that catches errors"] = true, ["an endless wait for nothing"] = true,
  ["too long"] = true }

describe("a broken file", function()
  local place, base, seconds, setup, teardown

  before_each(function()
    place, base = agents.users_place()
    seconds = defaults.guard.seconds
    setup, teardown = defaults.plugin.setup, defaults.plugin.teardown
    defaults.plugin.setup, defaults.plugin.teardown = 0.3, 0.3
    guard.limit_memory((collectgarbage("count") // 1 << 10) + (32 << 20), 64 << 20)
  end)

  after_each(function()
    guard.limit_memory(8 << 30, 0)
    defaults.guard.seconds = seconds
    defaults.plugin.setup, defaults.plugin.teardown = setup, teardown
    package.loaded.mine = nil
    place:close()
  end)

  local function break_it(path, way)
    local what = way[1]
    local content = type(what) == "function" and what(path) or what
    if type(content) == "string" then
      temp.write(path, content)
    end
  end

  local function mend(path, content)
    assert(os.execute("rm -rf " .. temp.quote(path)))
    temp.write(path, content)
  end

  -- An agent with the subject in it, whose model breaks the file with a tool, then uses it.
  local function new(name, path, way)
    local subject, loops = SUBJECTS[name], (way[2] or ""):find(LOOP, 1, true)
    defaults.guard.seconds = loops and 0.2 or 60 -- by the clock, and machines may be busy
    temp.write(path, subject.whole:format("one"))
    temp.write(base .. "/dir/init.lua", 'local helper = require("helper")\nreturn { name = "say", '
      .. 'description = "d", permission = "none", run = function() return helper.text end }')
    local edit = { name = "edit", description = "d", input = { path = "string" },
      permission = "edit", run = function()
        break_it(path, way)
        return "done"
      end }
    local tools = { edit }
    local package_path = package.path
    if name == "a module" then
      package.path = places.config .. "/lua/?.lua;" .. package.path
      local mine = require("mine")
      package.path = package_path
      tools[2] = { name = "say", description = "d", permission = "none",
        run = function() return mine.text() end }
    end
    local plugins = name == "plugin" and { "./p.lua" }
      or name == "a plugin's module" and { "./dir" }
      or name == "the agent script" and { { name = "more", setup = function(ctx)
        ctx.tool(edit)
      end } } or nil
    local turns = { reply(call("edit", { path = path })), reply(call("say")), reply("seen") }
    if name == "the agent script" then
      tools = { { name = "say", description = "d", permission = "none",
        run = function() return "one" end } }
    end
    local made = place:new(turns, { base_dir = base, system = "x", instructions = false,
      plugins = plugins, tools = tools })
    if name == "the agent script" then
      made.made_with.base_dir, made.made_with.cwd = nil, nil
      made.reloader:follow(path, {})
    end
    return made
  end

  -- What is to be said of a way, for a subject.
  local function expected(name, way_name)
    local subject = SUBJECTS[name]
    if way_name == "missing" then
      return subject.gone
    elseif way_name == "empty" or way_name == "wrong shape" and name == "the agent script" then
      return subject.empty
    end
    return WAYS[way_name][2] or subject.file:match("[^/]*$")
  end

  for name, subject in pairs(SUBJECTS) do
    for way_name, way in pairs(WAYS) do
      -- Of a helper's shape nothing is known; and what takes long is tried once.
      local helper = name == "a plugin's module"
        and (way_name == "wrong shape" or way_name == "empty")
      local slow = name ~= "plugin" and SLOW[way_name]
      if not helper and not slow then
        it(("leaves the old version answering: %s, %s"):format(name, way_name), function()
          local path = base .. "/" .. subject.file
          local made = new(name, path, way)
          local before = json.encode(made.tools:definitions())
          local file = subject.file:match("[^/]*$"):gsub("%.lua$", "")
          local wanted = expected(name, way_name)
          assert.equal("seen", assert(made:run("go")).text)
          -- the user
          local told = agents.warnings(made)
          assert.equal(1, #told, table.concat(told, "\n"))
          assert.matches("^not reloaded: .*" .. wanted .. ".* %(the version from before goes on%)$",
            told[1])
          assert.truthy(told[1]:find(way_name == "error that is no text" and base or file, 1, true),
            told[1])
          -- the model, and what answers it
          local requests = made.provider.requests
          local heard = requests[2][#requests[2]].content
          if way_name ~= "a link to itself" then -- nobody knows any more what was edited
            assert.matches("%[reload%] a file that you have written was not reloaded: ",
              heard[#heard].text)
            assert.truthy(heard[#heard].text:find(told[1]:match("^not reloaded: ([^<\n]*)"), 1,
              true))
          end
          assert.equal("one", requests[3][#requests[3]].content[1].content)
          assert.equal(before, json.encode(made.tools:definitions()))
          -- once, but for /reload
          assert.same({}, async.run(function() return made.reloader:refresh() end))
          local again = async.run(function() return made.reloader:refresh({ asked = true }) end)
          assert.equal(1, #again)
          -- and a whole version is loaded as ever
          defaults.guard.seconds = 60
          mend(path, subject.whole:format("two"))
          local lines = async.run(function() return made.reloader:refresh() end)
          assert.matches("is loaded", lines[1])
          local results = async.run(function()
            return made.tools:run({ call("say") },
              function(one) return made:tool_context(one) end, made.emitter)
          end)
          assert.equal("two", results[1].content)
        end)
      end
    end
  end

  for way_name, way in pairs({
    ["an error at setup"] = { "return { setup = function(ctx)\nerror('no luck') end }",
      "p%.lua:2: no luck" },
    ["an endless loop at setup"] = { "return { setup = function(ctx)\nwhile true do end end }",
      "p%.lua:2: " .. LOOP },
    ["an endless loop in a coroutine at setup"] = { "return { setup = function(ctx)\n"
      .. "coroutine.wrap(function() while true do end end)() end }", "p%.lua:2: " .. LOOP },
    ["out of memory at setup"] = { "return { setup = function(ctx)\n" .. fill("p.lua") .. "\nend }",
      MEMORY },
    ["an endless loop in what it returns"] = { "return setmetatable({}, { __index = function()\n"
      .. "while true do end end })", "p%.lua:2: " .. LOOP },
    ["an error whose text does not end"] = { "error(setmetatable({}, { __tostring = function()\n"
      .. "while true do end end }))", "p%.lua:2: " .. LOOP },
    ["an error whose text fails"] = { "return { setup = function() error(setmetatable({},\n"
      .. "{ __tostring = function() error('no text') end })) end }",
      "a table was raised, and its __tostring fails: .*p%.lua:2: no text" },
    ["a version that is no text"] = { "return { setup = print, version = true }",
      "version: expected a text, got true" },
    ["an endless wait at setup"] = { "return { setup = function(ctx)\n"
      .. "require('agenthost.async').wait({}) end }",
      "p%.lua: its setup was stopped: it has waited for more than 0%.3 s %(defaults" },
    ["an endless wait at setup that does not end"] = { "return { setup = function(ctx)\n"
      .. "while true do pcall(require('agenthost.async').wait, {}) end end }",
      "p%.lua: its setup was stopped: it has waited" },
  }) do
    it("leaves the old version answering: " .. way_name, function()
      local path = base .. "/p.lua"
      local made = new("plugin", path, way)
      assert.equal("seen", assert(made:run("go")).text)
      local told = agents.warnings(made)
      assert.matches("^not reloaded: .*" .. way[2], told[#told])
      assert.equal("one", made.provider.requests[3][5].content[1].content)
    end)
  end

  it("whose save or restore waits for ever leaves the old version; teardown is told", function()
    local wait = "function() require('agenthost.async').wait({}) end"
    local path = temp.write(base .. "/p.lua", ("return { setup = print, save = %s }"):format(wait))
    local made = place:new({}, { base_dir = base, system = "x", plugins = { "./p.lua" } })
    local old = made.plugins.records[1]
    local function refresh(text)
      temp.write(path, text)
      return async.run(function() return made.reloader:refresh() end)[1]
    end
    assert.matches("^not reloaded: .*its save was stopped: ", refresh("return { setup = print }"))
    assert.equal(old, made.plugins.records[1])
    old.definition.save = function() return 1 end
    assert.matches("^not reloaded: .*its restore was stopped: it has waited",
      refresh(("return { setup = print, restore = %s }"):format(wait)))
    assert.equal(old, made.plugins.records[1])
    old.definition.teardown = load("return " .. wait)()
    assert.matches("is loaded", refresh("return { setup = print, restore = print }"))
    assert.matches("its teardown was stopped: it has waited", agents.warnings(made)[3])
  end)
end)
