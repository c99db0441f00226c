-- The model writes itself a tool, in the whole program: headless and on a terminal.
local case = require("support.case")
local interactive = require("support.interactive")

describe("create_tool", function()
  local t, term

  before_each(function()
    t = case.new()
    t.place:settings(nil) -- as it is for everybody
    t.place:write("agent.lua", [[return require("agenthost.agent").new({ system = "x",
      plugins = { "shell", "selfext" } })]])
  end)

  after_each(function()
    t:finish()
  end)

  local FILE <const> = ".agenthost/plugins/greet.lua"

  local function code_of(answer)
    return ([[return { name = "greet", description = "greets somebody",
  input = { who = "string: a name" },
  run = function(input) return "%s, " .. input.who end }]]):format(answer)
  end

  local function create(code)
    return { tools = { { name = "create_tool", input = { name = "greet", code = code } } } }
  end

  local GREET <const> = { tools = { { name = "greet", input = { who = "Ada" } } } }

  local function run_allowed()
    return t:run({ "agent.lua", "-p", "Go.", "--allowed-tools", "create_tool, greet" })
  end

  local function result(n)
    return case.results(t.server.requests()[n].body)[1].content
  end

  local function tools(n)
    local names = {}
    for i, tool in ipairs(t.server.requests()[n].body.tools) do
      names[i] = tool.name
    end
    return table.concat(names, " ")
  end

  local function start()
    term = interactive.start(t, { "agent.lua", width = 100 })
    term:say("Go.")
  end

  local function wait_question()
    return term:wait_for(function(screen)
      return screen:find("May create_tool be called", 1, true) and screen:find("\ny/n%?[^\n]*$")
    end)
  end

  it("makes a tool that is there in the next turn, after a restart, and replaced at once",
    function()
      t:script(create("return {\n  oops oops\n}"), create(code_of("Hello")), GREET,
        create(code_of("Good evening")), GREET, { text = "Done." })
      local run = run_allowed()
      assert.same({ 0, "Done.\n" }, { run.code, run.stdout }, run.stderr)
      assert.equal("agenthost: not run: create_tool greet: Refused: .agenthost/plugins/greet.lua:2:"
        .. " '}' expected (to close '{' at line 1) near 'oops'\n", run.stderr)
      assert.same({ "bash create_tool", "bash create_tool", "bash create_tool greet" },
        { tools(1), tools(2), tools(3) })
      assert.matches("greet.lua:2: '}' expected", result(2), 1, true)
      assert.matches("^The tool 'greet' is made %(/.*/work/.agenthost/plugins/greet.lua%)",
        result(3))
      assert.equal("Hello, Ada", result(4))
      assert.equal("Good evening, Ada", result(6))
      t.server.stop()

      t:script(GREET, { text = "Done." })
      run = run_allowed()
      assert.same({ "Done.\n", "" }, { run.stdout, run.stderr })
      assert.equal("Good evening, Ada", result(2))
    end)

  it("needs a word of the user's, and adds nothing to what is not trusted", function()
    t:script(create(code_of("Hello")), { text = "No." })
    local run = t:run({ "agent.lua", "-p", "Go.", "--permission-mode", "acceptEdits" })
    assert.equal("No.\n", run.stdout)
    assert.matches("not run: create_tool greet: Permission denied: It needs a yes, and there is "
      .. "nobody to ask. The user can allow it with --allowed-tools create_tool, or "
      .. "--permission-mode bypassPermissions.", run.stderr, 1, true)
    assert.is_nil(t.place:read(FILE))
    t.server.stop()

    t.place:write(".agenthost/plugins/theirs.lua", "error('must not run')")
    t:script(create(code_of("Hello")), { text = "No." })
    run = t:run({ "agent.lua", "-p", "Go.", "--permission-mode", "bypassPermissions" })
    assert.matches("is not used (plugins/theirs.lua): nobody has said that they trust it",
      run.stderr, 1, true)
    assert.matches("^Refused: the Lua code in /.*/work/.agenthost is not trusted as it is now",
      result(2))
    assert.is_nil(t.place:read(FILE))
  end)

  it("with --trust-project is made beside whatever comes meanwhile", function()
    t:script({ tools = { { name = "bash", input = { command = "mkdir -p .agenthost/plugins; "
      .. "echo 'return 1' > .agenthost/plugins/theirs.lua" } } } },
      create(code_of("Hello")), GREET, { text = "Done." })
    local run = t:run({ "agent.lua", "-p", "Go.", "--trust-project", "--permission-mode",
      "bypassPermissions" })
    assert.same({ "Done.\n", "" }, { run.stdout, run.stderr })
    assert.equal("Hello, Ada", result(4))
  end)

  it("is asked for on a terminal, with the code; and no question comes at the next start",
    function()
      t:script(create(code_of("Hell\27[2Jo")), create(code_of("Hello")), GREET,
        { text = "First." }, GREET, { text = "Second." })
      start()
      local screen = wait_question()
      assert.matches("│ code: return { name = \"greet\", description", screen, 1, true)
      assert.matches("return \"Hell\\x1b[2Jo, \" .. input.who end }", screen, 1, true)
      assert.matches("│ The code runs with all your rights.\n", screen, 1, true)
      term:say("n")
      term:wait_for(function(s) return s:find("return \"Hello, ", 1, true) end)
      wait_question()
      assert.matches("the user said no", result(2))
      assert.is_nil(t.place:read(FILE))
      term:say("y")
      term:wait_for(function(s) return s:find("May greet be called with this input?", 1, true) end)
      term:say("y")
      term:wait_answer("First.")
      assert.equal("Hello, Ada", result(4))
      term:say("/plugins")
      term:wait_answer("greet.lua")
      term:close()

      start()
      term:wait_for(function(s) return s:find("May greet be called with this input?", 1, true) end)
      assert.falsy(term:screen():find("trust", 1, true))
      term:say("y")
      term:wait_answer("Second.")
      assert.equal("Hello, Ada", result(6))
    end)

  it("is not asked for again after /clear", function()
    t:script(create(code_of("Hello")), { text = "First." }, GREET, { text = "Second." })
    start()
    wait_question()
    term:say("y")
    term:wait_answer("First.")
    term:say("/clear")
    term:wait_for(interactive.at_prompt)
    term:say("Go on.")
    term:wait_for(function(s) return s:find("May greet be called with this input?", 1, true) end)
    term:say("y")
    term:wait_answer("Second.")
    assert.equal("Hello, Ada", result(4))
  end)
end)
