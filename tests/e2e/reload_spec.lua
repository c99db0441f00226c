-- Live reload in the whole program: in a terminal and headless.
local case = require("support.case")
local interactive = require("support.interactive")

local t

before_each(function()
  t = case.new()
end)

after_each(function()
  t:finish()
end)

local AGENT <const> = [[
return require("agenthost.agent").new({
  system = %q,
  plugins = { "./mine.lua", "shell", "files" },
  permissions = { mode = "bypassPermissions" },
})]]

local PLUGIN <const> = [[
return { name = "mine", setup = function(ctx)
  ctx.tool({ name = "weather", description = "the weather", permission = "none",
    run = function() return "it is %s" end })
  ctx.command({ name = "mine", help = "mine", run = function() return "mine: %s" end })
end }]]

local function asks()
  return { tools = { { name = "weather", input = {} } } }
end

describe("live reload", function()
  local function start(...)
    t:script(...)
    t.place:write("agent.lua", AGENT:format("Be brief."))
    t.place:write("mine.lua", PLUGIN:format("sunny", "one"))
    local term = interactive.start(t, { "agent.lua", width = 100 })
    return term
  end

  local function result(n)
    return case.results(t.server.requests()[n].body)[1].content
  end

  it("takes up a plugin that was edited between two messages; with /reload at once", function()
    local term = start(asks(), { text = "First." }, asks(), { text = "Second." }, asks(),
      { text = "Third." }, { text = "Fourth." })
    term:say("The weather?")
    term:wait_answer("First.")
    t.place:write("mine.lua", PLUGIN:format("raining", "two"))
    term:say("And the weather now?")
    term:wait_answer("Second.")
    assert.equal("it is sunny", result(2))
    assert.equal("it is raining", result(4))

    t.place:write("mine.lua", PLUGIN:format("foggy", "three"))
    term:say("/reload")
    term:wait_answer("mine.lua is loaded: the plugin mine")
    term:say("/mine")
    term:wait_answer("mine: three")
    term:say("/reload")
    term:wait_answer("nothing has changed")

    t.place:write("mine.lua", "return {\n  setup = oops oops\n}")
    term:say("/reload")
    term:wait_answer("(the version from before goes on)")
    assert.matches("mine.lua:2: .*near 'oops'", (term:screen():gsub("\n", "")))
    term:say("The weather once more?")
    term:wait_answer("Third.")
    assert.equal("it is foggy", result(6))

    t.place:write("agent.lua", AGENT:format("Be long."))
    term:say("Now?")
    term:wait_answer("Fourth.")
    assert.matches("Be long", t.server.requests()[7].body.system[1].text)
    term:say("q")
    assert.equal(0, term:wait_dead())
  end)

  it("has a plugin that the model itself writes at its next turn, or tells it what is wrong",
    function()
      t:script(
        { tools = { { name = "write_file", input = { path = "mine.lua",
          content = "return {" } } } },
        { tools = { { name = "write_file", input = { path = "mine.lua",
          content = PLUGIN:format("snowing", "x") } } } },
        { tools = { { name = "weather", input = {} } } },
        { text = "Done." })
      t.place:write("agent.lua", AGENT:format("Be brief."))
      t.place:write("mine.lua", PLUGIN:format("sunny", "one"))
      local run = t:run({ "agent.lua", "-p", "Extend yourself." })
      assert.same({ 0, "Done.\n" }, { run.code, run.stdout }, run.stderr)
      local requests = t.server.requests()
      assert.matches("%[reload%] a file that you have written was not reloaded: .*mine.lua:1: ",
        case.last_text(requests[2].body))
      assert.matches("^agenthost: not reloaded: .*mine.lua:1: ", run.stderr)
      assert.equal("it is snowing", case.results(requests[4].body)[1].content)
      -- the prompt cache: no byte of the tools has changed
      for i = 2, 4 do
        assert.same(requests[1].body.tools, requests[i].body.tools)
        assert.same(requests[1].body.system, requests[i].body.system)
      end
    end)
end)
