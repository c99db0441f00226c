-- A version that has failed is tried again when something has changed on which it may depend, and
-- told again only when it fails in another way.
local agents = require("support.agents")
local async = require("agenthost.async")
local places = require("agenthost.places")
local temp = require("support.temp")

local call, reply = agents.call, agents.reply

describe("a version that has failed", function()
  local place, base

  before_each(function()
    place, base = agents.users_place()
  end)

  after_each(function()
    place:close()
    package.loaded.mine, package.loaded.other = nil, nil
  end)

  local TOOL <const> = 'return { name = "say", description = "d", permission = "none", '
    .. 'run = function() return "%s" end }\n'
  local NONE <const> = "return { setup = function() end }"
  local SCRIPT <const> = 'return require("agenthost.agent").new({ system = "x", '
    .. 'instructions = false, plugins = { %s } })'

  local function write(name, content)
    return temp.write(base .. "/" .. name, content)
  end

  local function new(plugins, turns)
    return place:new(turns or {}, { base_dir = base, system = "x", instructions = false,
      plugins = plugins })
  end

  local function refresh(made, opts)
    return async.run(function() return made.reloader:refresh(opts) end)
  end

  local function said(made)
    return async.run(function()
      return made.tools:run({ call("say") }, function(one) return made:tool_context(one) end,
        made.emitter)
    end)[1].content
  end

  -- Refreshes: one line, and the next time none.
  local function says(made, wanted)
    local lines = refresh(made)
    assert.equal(1, #lines, table.concat(lines, "\n"))
    assert.matches(wanted, lines[1])
    assert.same({}, refresh(made))
  end

  it("for want of a file of its folder has it when that is there, and whole", function()
    write("dir/init.lua", TOOL:format("one"))
    local made = new({ "./dir" })
    write("dir/init.lua", 'local helper = require("lib.helper") ' .. TOOL:format("two"))
    says(made, "^not reloaded: .*dir/init%.lua:1: module 'lib%.helper' not found in ")
    write("dir/lib/helper.lua", "return {")
    says(made, "^not reloaded: .*helper%.lua:1: ")
    write("dir/lib/helper.lua", "return {}\n")
    says(made, "is loaded: the plugin dir$")
    assert.equal("two", said(made))
  end)

  it("for want of a module of the user's has it when that is there, and whole", function()
    local path = package.path
    package.path = places.config .. "/lua/?.lua;" .. path
    write("config/lua/mine.lua", "return { a = 1 }")
    write("p.lua", TOOL:format("one"))
    local mine = require("mine")
    local made = new({ "./p.lua" })
    write("p.lua", 'require("other") ' .. TOOL:format("two"))
    says(made, "^not reloaded: .*module 'other' not found")
    write("config/lua/other.lua", "return {")
    says(made, "^not reloaded: .*other%.lua:1: ")
    write("config/lua/mine.lua", 'return { a = require("other").a }')
    says(made, "^not reloaded: .*mine%.lua:")
    write("config/lua/other.lua", "return { a = 2 }")
    says(made, "is loaded: the module mine$") -- and with it every plugin
    assert.same({ 2, "two" }, { mine.a, said(made) })
    package.path = path
  end)

  it("of the script is tried again when a plugin that it names is written", function()
    local made = new({})
    made.made_with.base_dir, made.made_with.cwd = nil, nil
    made.reloader:follow(write("agent.lua", SCRIPT:format("")), {})
    write("agent.lua", SCRIPT:format('"./p.lua"'))
    says(made, "^not reloaded: .*plugin '%./p%.lua' is not there")
    write("p.lua", "return {")
    says(made, "^not reloaded: .*p%.lua:1: ")
    write("p.lua", TOOL:format("one"))
    says(made, "is loaded: the agent script$")
    assert.equal("one", said(made))
  end)

  it("takes a tool over as soon as the other plugin gives it up", function()
    write("a.lua", NONE)
    write("b.lua", TOOL:format("of b"))
    local made = new({ "./a.lua", "./b.lua" })
    write("a.lua", TOOL:format("of a"))
    says(made, "^not reloaded: .*tool 'say' is already there")
    assert.equal("of b", said(made))
    write("b.lua", NONE)
    local lines = refresh(made)
    assert.matches("b%.lua is loaded: the plugin b$", lines[1])
    assert.matches("a%.lua is loaded: the plugin a$", lines[2])
    assert.equal("of a", said(made))
  end)

  it("takes a tool over though a third one of the same moment is broken", function()
    write("a.lua", NONE)
    write("b.lua", TOOL:format("of b"))
    write("c.lua", NONE)
    local made = new({ "./a.lua", "./b.lua", "./c.lua" })
    write("a.lua", TOOL:format("of a"))
    write("b.lua", NONE)
    write("c.lua", "return {")
    refresh(made)
    assert.equal("of a", said(made))
    local about_c = 0
    for _, line in ipairs(agents.warnings(made)) do
      about_c = about_c + (line:find("c.lua:1: ", 1, true) and 1 or 0)
    end
    assert.equal(1, about_c)
  end)

  it("is not told again when others are loaded, but for /reload and when it comes back", function()
    write("a.lua", NONE)
    write("b.lua", NONE)
    local made = new({ "./a.lua", "./b.lua" })
    write("a.lua", "return {")
    says(made, "^not reloaded: .*a%.lua:1: ")
    write("b.lua", TOOL:format("one"))
    says(made, "is loaded: the plugin b$")
    assert.equal(1, #agents.warnings(made))
    assert.equal(1, #refresh(made, { asked = true }))
    write("a.lua", NONE)
    assert.same({}, refresh(made)) -- as it was
    write("a.lua", "return {")
    says(made, "^not reloaded: .*a%.lua:1: ")
  end)

  it("is told to the model that has written what it lacks", function()
    write("dir/init.lua", TOOL:format("one"))
    local made = place:new({ reply(call("edit")), reply("seen") }, { base_dir = base, system = "x",
      instructions = false, plugins = { "./dir" }, tools = { { name = "edit", description = "d",
        permission = function() return "edit", base .. "/dir/helper.lua" end, run = function()
          write("dir/init.lua", 'require("helper") ' .. TOOL:format("two")) -- the user, meanwhile
          write("dir/helper.lua", "return {")
        end } } })
    assert(made:run("go"))
    local messages = made.conversation:messages()
    assert.matches("a file that you have written was not reloaded: .*helper%.lua:1: ",
      messages[3].content[2].text)
  end)
end)
