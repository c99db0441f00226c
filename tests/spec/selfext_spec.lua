-- create_tool: what the user has said yes to is written, loaded and trusted, and nothing else.
local agents = require("support.agents")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local places = require("agenthost.places")
local project = require("agenthost.project")
local protect = require("agenthost.protect")
local sys = require("agenthost.sys")
local temp = require("support.temp")
local tool_check = require("agenthost.tool_check")

local call, reply = agents.call, agents.reply

local function code_of(name, answer, more)
  return ([[return {
  name = "%s", description = "says something", permission = "none", %s
  run = function() return "%s" end,
}]]):format(name, more or "", answer)
end

describe("selfext", function()
  local place, config, bounds

  before_each(function()
    place, config = agents.place(), places.config
    places.config = place.cwd .. "/config"
    bounds, defaults.selfext = defaults.selfext, setmetatable({}, { __index = defaults.selfext })
  end)

  after_each(function()
    place:close()
    places.config, places.untrusted, defaults.selfext = config, nil, bounds
    places.project, places.project_code, places.project_refused = nil, nil, nil
  end)

  local function path(name)
    return ("%s/.agenthost/plugins/%s"):format(place.cwd, name)
  end

  local function write(name, content)
    return temp.write(path(name), content)
  end

  local function trust()
    assert(project.remember(assert(project.find(place.cwd)), true))
  end

  local function is_trusted()
    local code = project.find(place.cwd)
    return code and project.is_trusted(code)
  end

  local function new(opts, turns)
    opts = opts or {}
    opts.system, opts.instructions = "system", false
    opts.plugins = opts.plugins or { "shell", "selfext" }
    return place:new(turns or {}, opts)
  end

  -- What a call gives: its result and whether that is an error.
  local function use(made, name, input)
    local result = async.run(function()
      return made.tools:run({ call(name, input) },
        function(one) return made:tool_context(one) end, made.emitter)
    end)[1]
    return result.content, result.is_error or false
  end

  local function create(made, name, code)
    return use(made, "create_tool", { name = name, code = code or code_of(name, "one") })
  end

  it("writes a file, trusts it as it is, and the tool is there", function()
    local made = new()
    assert.same({ ("The tool 'greet' is made (%s). It is there from your next call on.")
      :format(path("greet.lua")), false }, { create(made, "greet") })
    assert.equal("--[[ made by create_tool ]] " .. code_of("greet", "one") .. "\n",
      (sys.read_file(path("greet.lua"))))
    assert.is_true(is_trusted())
    assert.same({ "bash", "create_tool", "greet" }, made.tools:names())
    assert.equal("one", (use(made, "greet")))
    assert.same({}, made.reloader:look())
  end)

  it("is there in the next turn of the run, and again in the next agent", function()
    local made = new(nil, {
      reply(call("create_tool", { name = "greet", code = code_of("greet", "one") })),
      function(_, request)
        assert.equal("greet", request.tools[3].name)
        return reply(call("greet"))
      end,
      function(messages) return reply(messages[#messages].content[1].content) end,
    })
    assert.equal("one", made:run("go").text)
    assert.same({ "bash", "create_tool", "greet" }, new().tools:names())
  end)

  it("is a plugin like any other then: reloaded when it is edited, after a yes", function()
    local made = new()
    create(made, "greet")
    write("greet.lua", "--[[ made by create_tool ]] " .. code_of("greet", "two"))
    local lines = async.run(function() return made.reloader:refresh() end)
    assert.matches("greet.lua has changed since you trusted it, and nobody can be asked", lines[1])
    assert.equal("one", (use(made, "greet")))
    made.confirm = function() return true end
    assert.equal(1, #async.run(function() return made.reloader:refresh({ asked = true }) end))
    assert.equal("two", (use(made, "greet")))
    local all = async.run(function() return made.reloader:refresh({ all = true }) end)
    assert.matches("greet.lua is loaded: the plugin greet", table.concat(all, "\n"), 1, true)
    assert.equal("two", (use(made, "greet")))
    assert.matches("is replaced", (create(made, "greet")))
  end)

  it("asks for each call of a tool that says nothing of permissions", function()
    local made = new({ permissions = { allow = { "create_tool" } } })
    create(made, "greet", code_of("greet", "one"):gsub("permission = \"none\", ", ""))
    assert.matches("^Permission denied: It needs a yes", (use(made, "greet")))
  end)

  describe("the question", function()
    local asked

    local function asking(permissions, answer)
      local made = new({ permissions = permissions })
      asked = {}
      made.ask = function(question)
        asked[#asked + 1] = question
        return answer
      end
      return made
    end

    it("is put in every mode that asks, and shows the code and the file", function()
      for i, mode in ipairs({ "default", "acceptEdits" }) do
        local made = asking({ mode = mode,
          allow = { "edit", "write_file", "edit(.agenthost/**)" } }, { allow = true })
        local name = "greet" .. i
        assert.is_false(select(2, create(made, name)))
        assert.equal(1, #asked)
        assert.equal(("code: %s\nname: %s"):format(code_of(name, "one"), name), asked[1].text)
        assert.equal(("Makes %s, which is loaded at once, and whenever agenthost starts here.\n"
          .. "The code runs with all your rights."):format(path(name .. ".lua")), asked[1].detail)
        create(made, name, code_of(name, "two"))
        assert.equal(2, #asked) -- each time
        assert.matches("^Replaces /", asked[2].detail)
      end
    end)

    it("answered by no leaves nothing", function()
      local made = asking({}, { allow = false })
      assert.matches("^Permission denied: the user said no", (create(made, "greet")))
      assert.is_nil(sys.stat(place.cwd .. "/.agenthost"))
      assert.same({ "bash", "create_tool" }, made.tools:names())
    end)

    it("is not put where the tool is allowed by name", function()
      local made = asking({ allow = { "create_tool" } }, { allow = false })
      assert.is_false(select(2, create(made, "greet")))
      assert.same({}, asked)
    end)

    it("is a no where nobody is asked", function()
      for mode, message in pairs({ plan = "this is plan mode", dontAsk = "nobody is asked" }) do
        assert.matches(message, (create(asking({ mode = mode }, { allow = true }), "greet")))
      end
      local made = new({ permissions = {} })
      assert.matches("there is nobody to ask. The user can allow it with --allowed-tools "
        .. "create_tool, or --permission-mode bypassPermissions", (create(made, "greet")), 1, true)
      assert.is_nil(sys.stat(place.cwd .. "/.agenthost"))
    end)

    it("does not let in what is put there meanwhile", function()
      local made = new({ permissions = {} })
      made.ask = function()
        write("evil.lua", "--[[ made by create_tool ]] " .. code_of("evil", "x"))
        return { allow = true }
      end
      assert.matches("^Error: the Lua code in .* is not trusted as it is now",
        (create(made, "greet")))
      assert.is_nil(sys.stat(path("greet.lua")))
      assert.is_nil(is_trusted())
    end)

    local FILE <const> = "%.agenthost/plugins/greet%.lua"
    -- code, what is said of it
    local broken = {
      syntax = { "return {\n  oops oops\n}", FILE .. ":2: .*near 'oops'" },
      ["an error"] = { "\nerror('at load')", FILE .. ":2: at load" },
      ["an error that is a table"] = { "error({})", FILE .. ": a table was raised" },
      ["an error without end"] = { "error(('x'):rep(100000), 0)", "xxxx" },
      ["byte code"] = { string.dump(function() end), FILE .. ":1: " },
      nothing = { "", "has to return one tool, .* it returned a nil" },
      ["a plugin"] = { "return { setup = function() end }", "it returned a table without run" },
      ["a list"] = { "return { " .. code_of("greet", "x"):sub(8) .. " }", "a table without run" },
      ["no run"] = { "return { name = 'greet', description = 'd' }", "a table without run" },
      ["no description"] = { "return { name = 'greet', run = function() end }",
        "tool 'greet' needs a description" },
      ["another name"] = { code_of("other", "x"),
        FILE .. ": the tool's name has to be 'greet', as the file's; it is 'other'" },
      ["an input that is none"] = { code_of("greet", "x", "input = { city = 'strin' },"),
        "input.city: expected .*strin" },
      ["an input that no request can hold"] = {
        code_of("greet", "x", "input = { city = { type = 'string', default = print } },"),
        FILE .. ": tool 'greet': .*function" },
      ["an input without end"] = {
        "local t = { type = 'object', properties = {} }\nt.properties.t = t\n"
          .. code_of("greet", "x", "input = t,"), "nested deeper than 100 levels" },
      ["a wrong permission"] = { code_of("greet", "x"):gsub('"none"', '"all"'),
        "permission: expected read, edit" },
      ["a global that is not there"] = { "return tool {}", FILE .. ":1: .*global 'tool'" },
    }
    for what, case in pairs(broken) do
      it("is not put for what is broken: " .. what, function()
        local made = asking({}, { allow = true })
        local shown, is_error = create(made, "greet", case[1])
        assert.matches("^Refused: .*" .. case[2], shown)
        assert.is_true(is_error and #shown < 4000)
        assert.same({}, asked)
        assert.is_nil(sys.stat(place.cwd .. "/.agenthost"))
        assert.same({}, made.permission.denials)
      end)
    end

    -- The code has nobody's yes yet.
    it("comes before the code can do anything", function()
      local made = asking({}, { allow = false })
      local file = place.cwd .. "/done"
      for code, message in pairs({
        ["io.open('%s', 'w'):close()"] = ":1: io.open: not while the file is loaded, only inside",
        ["os.execute('touch %s')"] = ":1: os.execute: not while",
        ["require('agenthost.sys').write_file('%s', '')"] = ":1: agenthost.sys.write_file: not",
        ["_G.require('os').execute('touch %s')"] = ":1: os.execute: not while",
        ["load('io.open(\"%s\", \"w\")')()"] = ":1: load: not while",
        ["debug.getregistry()"] = ":1: debug.getregistry: not while",
        ["package.loaded['io'] = '%s'"] = ":1: .*attempt to index",
        ["package.path = '%s'"] = ":1: package: not while",
        ["getmetatable('').__index = '%s'"] = ":1: getmetatable: not while",
        ["setmetatable({}, { __gc = function() local x = '%s' end })"] = ":1: setmetatable: not",
        ["coroutine.wrap(print)('%s')"] = ":1: coroutine.wrap: not while",
        ["print('%s')"] = ":1: print: not while",
        ["string.format = nil; math.huge = '%s'; oops()"] = "global 'oops'",
      }) do
        code = code:format(file)
        assert.matches("^Refused: .*" .. message, (create(made, "greet", code)), code)
      end
      assert.is_nil(sys.stat(file))
      assert.equal("x", ("%s"):format("x"))
      assert.is_number(math.huge)
      assert.same({}, asked)
    end)

    it("is put for code that names at its top what it uses inside", function()
      local made = asking({}, { allow = true })
      local shown = create(made, "greet", [[
        local json = require("agenthost.json")
        local getenv, time = os.getenv, require("agenthost.sys").now
        local words <const> = table.concat({ "a", ("b"):upper() }, " ")
        ]] .. code_of("greet", "x"):gsub('"x"',
          'json.encode({ words, type(time()), getenv("HOME") ~= nil })'))
      assert.matches("^The tool 'greet' is made", shown)
      assert.equal(1, #asked)
      assert.equal('["a B","number",true]', (use(made, "greet")))
    end)

    it("is not put for code that does not end, and the next one is looked at all the same",
      function()
        local seconds = defaults.guard.seconds
        defaults.guard.seconds = 0.2
        local made = asking({}, { allow = true })
        for _ = 1, defaults.guard.strikes + 1 do
          assert.matches("^Refused: .agenthost/plugins/greet.lua:1: .* has run for [%d.]+ s",
            (create(made, "greet", "while true do end")))
        end
        assert.same({}, asked)
        assert.matches("^The tool 'greet' is made", (create(made, "greet")))
        -- its time is not that of whoever looks at it
        assert.equal("went on", async.run(function()
          return select(2, protect.call("the spec", function()
            assert.matches("has run for",
              tool_check.problem("while true do end", "greet", "greet.lua"))
            for _ = 1, 100000 do end -- luacheck: ignore 542
            return "went on"
          end))
        end))
        defaults.guard.seconds = seconds
      end)
  end)

  describe("names", function()
    it("are lower-case words", function()
      local made = new()
      for _, name in ipairs({ "", "Greet", "1st", "a-b", "a.b", "../x", "a/b", "a\0b", "ä",
        ("a"):rep(41), ("x"):rep(100000) }) do
        local shown = create(made, name)
        assert.matches("^Refused: '.*' is no name for a tool: .* at most 40 "
          .. "%(defaults.selfext.max_name%)$", shown)
        assert.is_true(#shown < 400)
      end
      assert.matches("is made", (create(made, "a2_" .. ("b"):rep(37))))
    end)

    it("may not be those of plugins, which would be found no more", function()
      local made = new()
      temp.write(places.config .. "/plugins/mine.lua", "return {}")
      temp.write(places.config .. "/plugins/folder/init.lua", "return {}")
      for _, name in ipairs({ "files", "selfext", "mine", "folder" }) do
        assert.matches("^Refused: there is a plugin /.*" .. name .. ".*: take another name",
          (create(made, name)))
      end
      write("own/init.lua", "return {}")
      trust()
      assert.matches("^Refused: there is a plugin ", (create(made, "own")))
    end)

    it("may not be those of tools", function()
      local made
      made = new(nil, {
        reply(call("create_tool", { name = "bash", code = code_of("bash", "x") })),
        function(messages) return reply(messages[3].content[1].content) end,
      })
      assert.equal("Refused: there is a tool 'bash' already: take another name",
        made:run("go").text)
      assert.is_nil(sys.stat(place.cwd .. "/.agenthost"))
    end)
  end)

  describe("leaves all as it was", function()
    it("when a tool of this name is there after all", function()
      local made = new()
      create(made, "greet")
      local before = made.tools:names()
      local shown, is_error = create(made, "bash") -- no request was sent: nobody knows of it
      assert.matches("^Error: .*tool 'bash' is already there", shown)
      assert.is_true(is_error)
      assert.same(before, made.tools:names())
      assert.is_nil(sys.stat(path("bash.lua")))
      assert.is_true(is_trusted())
      assert.matches("is made", (create(made, "other")))
    end)

    it("when the new version of a tool cannot be loaded", function()
      local made = new()
      create(made, "greet")
      local before = sys.read_file(path("greet.lua"))
      local shown, is_error = create(made, "greet",
        "if pcall(os.time) then error('only when it counts') end\n" .. code_of("greet", "two"))
      assert.matches("^Error: .*greet.lua:1: only when it counts", shown)
      assert.is_true(is_error)
      assert.equal(before, (sys.read_file(path("greet.lua"))))
      assert.is_true(is_trusted())
      assert.equal("one", (use(made, "greet")))
      assert.same({}, made.reloader:look())
    end)

    it("when it cannot be written", function()
      local outside = temp.directory()
      local made = new()
      assert(os.execute(("ln -s %s %s/.agenthost"):format(outside, place.cwd)))
      assert.matches("^Error: .*is outside the workspace", (create(made, "greet")))
      os.remove(place.cwd .. "/.agenthost")
      assert(sys.mkdir_private(place.cwd .. "/.agenthost"))
      assert(os.execute(("ln -s %s %s/.agenthost/plugins"):format(outside, place.cwd)))
      assert.matches("outside", (create(made, "greet")))
      assert.same({}, sys.list(outside))
      temp.remove(outside)
    end)

    -- What somebody else puts there while the file is written would be trusted with it.
    it("when something else has changed meanwhile", function()
      local made = new()
      local find = project.find
      for _, name in ipairs({ "evil.lua", "greet.lua" }) do
        project.find = function(cwd) -- the second look is the one after the file was written
          if sys.stat(path("greet.lua")) then
            write(name, code_of("evil", "x"))
          end
          return find(cwd)
        end
        local shown, is_error = create(made, "greet")
        project.find = find
        assert.matches("^Error: .*/.agenthost was changed by somebody else meanwhile$", shown)
        assert.is_true(is_error)
        assert.equal(code_of("evil", "x"), (sys.read_file(path(name))))
        assert.equal(name == "greet.lua", sys.stat(path("greet.lua")) ~= nil)
        assert.is_nil(is_trusted())
        os.remove(path(name))
      end
      assert.same({ "bash", "create_tool" }, made.tools:names())
    end)

    it("when a reload is under way", function()
      temp.write(place.cwd .. "/slow.lua", "return { setup = function() end }")
      local made = new({ plugins = { "selfext", place.cwd .. "/slow.lua" } })
      temp.write(place.cwd .. "/slow.lua",
        "return { setup = function() require('agenthost.async').sleep(0.3) end }")
      async.run(function()
        local job = async.spawn(function() return made.reloader:refresh() end)
        async.sleep(0.02)
        local result = made.tools:run({ call("create_tool", { name = "greet",
          code = code_of("greet", "x") }) }, function(one) return made:tool_context(one) end,
          made.emitter)[1]
        assert.matches("^Error: a reload is under way", result.content)
        assert.equal(1, #job:wait())
      end)
      assert.is_nil(sys.stat(path("greet.lua")))
    end)
  end)

  it("adds nothing to code that is not trusted", function()
    local made = new()
    write("theirs.lua", code_of("theirs", "x"))
    for _ = 1, 2 do
      assert.matches(("Refused: the Lua code in %s/.agenthost is not trusted as it is now, so "
        .. "nothing is added to it: the user can look at it, and start agenthost with "
        .. "--trust-project"):format(place.cwd), (create(made, "greet")), 1, true)
      trust()
      write("theirs.lua", code_of("theirs", "y")) -- what was trusted has changed
    end
    assert(os.execute(("ln -s /etc/passwd '%s'"):format(path("link.lua"))))
    assert.matches("not trusted as it is now %(plugins/link.lua is a link", (create(made, "greet")))
    os.remove(path("link.lua"))
    trust()
    assert.matches("is made", (create(made, "greet")))
    assert.is_true(is_trusted())
  end)

  it("overwrites only what it has made", function()
    local made = new()
    local by_hand = code_of("greet", "by hand")
    write("greet.lua", by_hand)
    trust()
    assert.matches("^Refused: .*greet.lua was not made by create_tool, which overwrites only",
      (create(made, "greet")))
    assert.equal(by_hand, (sys.read_file(path("greet.lua"))))
    assert.same({ "bash", "create_tool" }, new().tools:names()) -- nor is it loaded
  end)

  it("replaces what it has made", function()
    local made = new()
    create(made, "greet")
    assert.matches("^The tool 'greet' is replaced", (create(made, "greet", code_of("greet", "2"))))
    assert.equal("2", (use(made, "greet")))
    assert.is_true(is_trusted())
    assert.same({ "bash", "create_tool", "greet" }, made.tools:names())
    local later = new()
    assert.matches("is replaced", (create(later, "greet", code_of("greet", "3"))))
    assert.equal("3", (use(later, "greet")))
  end)

  it("does not load what has changed since it was trusted, and says so", function()
    create(new(), "greet")
    write("greet.lua", "--[[ made by create_tool ]] error('must not run')")
    local made = new()
    assert.same({ "bash", "create_tool" }, made.tools:names())
    assert.same({ ("tools that create_tool has made are not loaded (plugins/greet.lua): "
      .. "%s/.agenthost has changed since you trusted it; look at it, then use --trust-project")
      :format(place.cwd) }, made.notes)
    places.untrusted = place.cwd .. "/.agenthost" -- agenthost has said it already
    assert.same({}, new().notes)
  end)

  it("keeps what has not changed when all is reloaded beside a made tool that has", function()
    local made = new()
    create(made, "greet")
    create(made, "wave")
    write("greet.lua", "--[[ made by create_tool ]] error('must not run')")
    async.run(function() made.reloader:refresh({ asked = true, all = true }) end)
    assert.same({ "bash", "create_tool", "wave" }, made.tools:names())
    assert.equal("one", (use(made, "wave")))
  end)

  it("is asked for once when all is reloaded after a change, and a file that is gone is no tool",
    function()
      local made, asked, answer = new(), {}, false
      made.confirm = function(question)
        asked[#asked + 1] = question
        return answer
      end
      for _, name in ipairs({ "greet", "wave", "nod" }) do
        create(made, name)
      end
      os.remove(path("nod.lua"))
      write("greet.lua", "--[[ made by create_tool ]] " .. code_of("greet", "two"))
      local function reload()
        async.run(function() made.reloader:refresh({ asked = true, all = true }) end)
        return made.tools:names()
      end
      assert.same({ "bash", "create_tool", "wave" }, reload())
      assert.equal(1, #asked)
      assert.matches("asked:\n  plugins/greet.lua\n  plugins/nod.lua %(gone%)\n", asked[1])
      answer = true
      assert.same({ "bash", "create_tool", "greet", "wave" }, reload())
      assert.equal("two", (use(made, "greet")))
      assert.equal(2, #asked)
      assert.is_true(is_trusted())
    end)

  it("uses the folder of the repository where there is code already", function()
    assert(sys.mkdir_private(place.cwd .. "/.git"))
    assert(sys.mkdir_private(place.cwd .. "/sub"))
    write("greet.lua", "--[[ made by create_tool ]] " .. code_of("greet", "one"))
    trust()
    local made = new({ cwd = place.cwd .. "/sub" })
    assert.equal("one", (use(made, "greet")))
    assert.matches(path("other.lua"), (create(made, "other")), 1, true)
    assert.is_true(is_trusted())
    assert.is_nil(sys.stat(place.cwd .. "/sub/.agenthost"))
  end)

  it("has bounds", function()
    local made = new()
    assert.matches("the file would have %d+ bytes, more than 16384 %(defaults.selfext.max_code%)",
      (create(made, "greet", code_of("greet", ("x"):rep(16384)))))
    assert.is_true(bounds.max_code <= defaults.permission.shown) -- a question shows all of it
    defaults.selfext.max_tools = 1
    create(made, "greet")
    assert.matches("there are 1 made tools already %(defaults.selfext.max_tools%)",
      (create(made, "other")))
    assert.matches("is replaced", (create(made, "greet")))
  end)

  it("takes no options", function()
    assert.matches("unknown option 'ask'",
      temp.raised(new, { plugins = { { "selfext", ask = 1 } } }))
  end)
end)
