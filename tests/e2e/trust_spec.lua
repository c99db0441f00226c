-- Lua code of a project (.agenthost/) runs when the user trusts it.
local case = require("support.case")
local interactive = require("support.interactive")

describe("the Lua code of a project", function()
  local t, term

  before_each(function()
    t = case.new()
    t.place:write(".agenthost/plugins/mine.lua",
      [[io.open("ran", "a"):write("x"):close()
      return { name = "mine", description = "d", run = function() return "from the project" end }]])
    t.place:write("model.lua", [[return function(request, turn)
      return turn == 1 and { tools = { { "mine", {} } } } or "got: " .. request.last
    end]])
    t.place:write("agent.lua", [[
      local ok, made = pcall(require("agenthost.agent").new, { plugins = { "mine" }, system = "x" })
      return ok and made or error(made, 0)]])
  end)

  after_each(function()
    t:finish()
  end)

  local function run(...)
    return t:run({ "--model", "scripted/model.lua", "agent.lua", "-p", "go", ... })
  end

  local function start()
    term = interactive.run(t, { command = t.place:words({ "--model", "scripted/model.lua",
      "agent.lua", env = { TERM = "screen" } }) })
    return term
  end

  local QUESTION <const> = "Do you trust it as it is? [y/N]"

  it("is refused without a terminal, and the line says how it is not", function()
    local result = run()
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    assert.matches("^agenthost: the Lua code in [^\n]*/.agenthost is not used "
      .. "%(plugins/mine.lua%): [^\n]*%-%-trust%-project\n", result.stderr)
    assert.matches("plugin 'mine' is not there; [^\n]*not trusted %(%-%-trust%-project%)",
      result.stderr)
    assert.is_nil(t.place:read("ran"))
  end)

  it("is used with --trust-project, and from then on, until it changes", function()
    for _ = 1, 2 do
      local result = run(t.place:read("ran") and "--verbose" or "--trust-project")
      assert.equal("got: from the project\n", result.stdout, result.stderr)
    end
    assert.equal("xx", t.place:read("ran"))
    t.place:write(".agenthost/plugins/mine.lua", 'error("must not run")')
    local result = run()
    assert.equal(1, result.code)
    assert.matches("it has changed since you trusted it", result.stderr)
    assert.falsy(result.stderr:find("must not run", 1, true))
  end)

  it("is asked for once in a terminal", function()
    start()
    local screen = term:wait_for(function(s) return s:find(QUESTION, 1, true) and s end)
    assert.matches("plugins/mine.lua", screen)
    term:say("y")
    term:wait_for(interactive.at_prompt)
    term:say("go")
    term:wait_answer("got: from the project")
    term:close()
    start()
    term:wait_for(interactive.at_prompt)
    assert.falsy(term:screen():find("trust", 1, true))
    assert.equal("got: from the project\n", run().stdout)
  end)

  it("is not used after a no", function()
    start()
    term:wait_for(function(s) return s:find(QUESTION, 1, true) end)
    term:keys("Enter")
    term:wait_for(function(s) return s:find("not there", 1, true) end)
    assert.is_nil(t.place:read("ran"))
    assert.matches("you have said that you do not trust it", run().stderr)
  end)

  it("may be any module of agenthost's", function()
    t.place:write(".agenthost/lua/agenthost/agent.lua",
      'error("not the agent loop of this project", 0)')
    assert.equal(1, run("--trust-project").code)
    assert.matches("not the agent loop of this project", run().stderr)
    local path = assert(package.searchpath("agenthost.defaults", package.path))
    local text = assert(require("support.program").read_file(path))
    os.remove(t.place.work .. "/.agenthost/lua/agenthost/agent.lua")
    t.place:write(".agenthost/lua/agenthost/defaults.lua",
      (text:gsub("max_turns = 200", "max_turns = 1")))
    local result = run("--trust-project")
    assert.equal(1, result.code)
    assert.matches("the limit of 1 turns is reached", result.stderr)
  end)

  describe("that changes while an agent runs", function()
    local OURS <const> = [[return { name = "mine", description = "d", run = function()
      return "%s" end }]]

    before_each(function()
      t.place:write("agent.lua", [[return require("agenthost.agent").new({
        plugins = { "mine", "files" }, system = "x" })]])
      -- The model writes the plugin, then calls it.
      t.place:write("model.lua", ([[return function(request)
        if request.last:find("^write") then
          return { tools = { { "write_file", { path = ".agenthost/plugins/mine.lua",
            content = %q } } } }
        elseif request.last:find("^Wrote") or request.last:find("^call") then
          return { tools = { { "mine", {} } } }
        end
        return "got: " .. request.last end]]):format(OURS:format("from the model")))
    end)

    it("goes on as it was trusted without a terminal; --trust-project takes what comes", function()
      assert.equal(0, run("--trust-project").code)
      local words = { "--model", "scripted/model.lua", "agent.lua", "-p", "write it" }
      local result = t:run(words)
      assert.equal("got: from the project\n", result.stdout, result.stderr)
      assert.matches("^agenthost: not reloaded: [^\n]*plugins/mine.lua has changed since you "
        .. "trusted it, and nobody can be asked: [^\n]*%-%-trust%-project [^\n]*\n$", result.stderr)
      words[#words + 1] = "--trust-project"
      t.place:write(".agenthost/plugins/mine.lua", OURS:format("from the project"))
      result = t:run(words)
      assert.equal("got: from the model\n", result.stdout, result.stderr)
    end)

    it("is asked for in a terminal before it is loaded, and once", function()
      assert.equal(0, run("--trust-project").code)
      start()
      term:wait_for(interactive.at_prompt)
      term:say("write it")
      local function question(n)
        return function(s) return select(2, s:gsub("%[y/N%]", "")) == n end
      end
      local screen = term:wait_for(question(1))
      assert.matches("asked:\n +plugins/mine.lua\n", screen)
      term:say("n")
      term:wait_answer("got: from the project")
      term:say("call")
      term:wait_for("call\n[^>]*got: from the project\n> *$")
      assert.is_true(question(1)(term:screen()))
      term:say("/reload")
      term:wait_for(question(2))
      term:say("y")
      term:wait_answer("mine.lua is loaded: the plugin mine")
      term:say("call")
      term:wait_answer("got: from the model")
      term:close()
      start()
      term:wait_for(interactive.at_prompt)
      assert.falsy(term:screen():find("y/N", 1, true))
    end)
  end)

  it("does not matter to what runs no agent", function()
    local result = t:run({ "sessions" })
    assert.equal("", result.stdout .. result.stderr:gsub("no sessions\n", ""))
  end)
end)
