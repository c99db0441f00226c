-- `agenthost new` and `agenthost check`: what is written passes both its tests and the check.
local case <const> = require("support.case")
local json <const> = require("agenthost.json")
local program <const> = require("support.program")
local sys <const> = require("agenthost.sys")

describe("agenthost new", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  for _, kind in ipairs({ "agent", "plugin", "tool" }) do
    it("writes a tested " .. kind, function()
      local result = t:run({ "new", kind, "first-1" })
      assert.equal(0, result.code, result.stderr)
      assert.matches("wrote first%-1.lua\nwrote first%-1_test.lua\nwrote .luarc.json\n",
        result.stdout)
      assert.falsy(t.place:read("first-1.lua"):find("my_" .. kind, 1, true))
      result = t:run({ "test" })
      assert.equal(0, result.code, result.stdout)
      assert.matches("%d passed, 0 failed", result.stdout)
      result = t:run({ "check", "first-1.lua" })
      assert.equal(0, result.code, result.stdout)
      assert.matches("^first%-1.lua: 0 errors, 0 warnings\n", result.stdout)
      local library = json.decode(t.place:read(".luarc.json"))["workspace.library"][1]
      assert.truthy(sys.stat(library .. "/agenthost/_meta/task.lua"))
    end)
  end

  it("never replaces a file", function()
    t.place:write("x_test.lua", "mine")
    local result = t:run({ "new", "tool", "x" })
    assert.same({ 1, "agenthost: x_test.lua is there already: nothing was written\n" },
      { result.code, result.stderr })
    assert.is_nil(t.place:read("x.lua"))
    t.place:write(".luarc.json", "{}")
    assert.equal(0, t:run({ "new", "tool", "y" }).code)
    assert.equal("{}", t.place:read(".luarc.json"))
  end)

  it("says why nothing can be written", function()
    local result = t:run({ command = { "sh", "-c", "mkdir gone && cd gone && rmdir ../gone && "
      .. program.path .. " new tool x" } })
    assert.same({ 1, "agenthost: cannot write x.lua: its directory: No such file or directory\n" },
      { result.code, result.stderr })
    assert(os.execute(("ln -s nowhere '%s/x.lua'"):format(t.place.work)))
    result = t:run({ "new", "tool", "x" })
    assert.same({ 1, "agenthost: cannot write x.lua: 'x.lua' is a link, not a file\n" },
      { result.code, result.stderr })
  end)

  it("refuses names that cannot be", function()
    for _, words in ipairs({ { "tool" }, { "tol", "x" }, { "tool", "../x" }, { "tool", "a b" },
      { "tool", "x_test" }, { "tool", ("x"):rep(65) }, { "tool", "x", "y" } }) do
      local result = t:run({ "new", table.unpack(words) })
      assert.equal(2, result.code)
      assert.matches("^agenthost: new: ", result.stderr)
    end
  end)
end)

describe("agenthost check", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  -- The findings about an agent script, each "severity message".
  local function findings(text, path)
    t.place:write("a.lua", text)
    local result = t:run({ "check", path or "a.lua", "--json" })
    local report = assert(json.decode(result.stdout), result.stderr)
    local lines, errors = {}, 0
    for i, finding in ipairs(report.findings) do
      lines[i] = finding.severity .. " " .. finding.message
      errors = errors + (finding.severity == "error" and 1 or 0)
    end
    assert.equal(errors > 0 and 1 or 0, result.code)
    return lines, report
  end

  local function of_options(text)
    return findings('return require("agenthost.agent").new({ ' .. text .. " })")
  end

  -- Options, and what is said of them (Lua patterns, all of the findings).
  local CASES <const> = {
    { 'modle = "x"', "error unknown option 'modle'; did you mean 'model'%?" },
    { 'model = "x/y"', "error unknown model 'x/y'" },
    { 'model = "anthropic/x"', "warning the model anthropic/x needs a key" },
    { 'plugins = "shell"', "error plugins: expected a list" },
    { 'plugins = { "./no" }', "error plugin './no' is not there" },
    { 'plugins = { "shell", "files", "shell" }',
      "error tool 'bash' of plugin shell is already there, from plugin shell" },
    { 'tools = { { name = "a b", description = "x", run = print } }',
      "error the agent script: a tool needs a name" },
    { 'tools = { { name = "t", run = print } }', "error .*tool 't' needs a description" },
    { 'tools = { { name = "t", description = "short", run = print } }',
      "warning tool 't': its description is so short" },
    { 'tools = { { name = "t", description = "What it is good for.", run = print, '
      .. 'permission = "read", input = { file = "string" } } }',
      "warning tool 't': its permission is 'read', but its input has no `path`" },
    { 'permissions = { allow = { "bash(" } }', "error permissions: allow: the rule 'bash%('" },
    { 'permissions = { deny = { "bahs(x)" } }, plugins = { "shell" }',
      "warning permissions: deny: 'bahs%(x%)' is for no tool of this agent; did you mean 'bash'" },
    { 'permissions = { mode = "yolo" }', "error permissions: unknown permission mode 'yolo'" },
    { 'permissions = { ask = "bash" }',
      "error permissions: ask: expected a list of rules, got 'bash'" },
    { "model = 5", "error model: expected a text such as" },
    { "system = 5", "error system: expected a text" },
    { "system = function() error('no prompt') end", "error .*a.lua:1: no prompt" },
  }
  for _, one in ipairs(CASES) do
    it("finds what is wrong in " .. one[1], function()
      local lines = of_options(one[1])
      assert.equal(1, #lines, table.concat(lines, "\n"))
      assert.matches("^" .. one[2], lines[1])
    end)
  end

  -- Schemas, and what is said of them.
  local SCHEMAS <const> = {
    { 'properties = { ["a b"] = { type = "string" } }', "error .*the name 'a b' is refused" },
    { 'properties = { a = { type = "strng" } }',
      "error .*input.a.type: expected string, number, .*got 'strng'" },
    { 'properties = { a = { typ = "string" } }',
      "warning .*input.a: 'typ' is no keyword of JSON Schema; did you mean 'type'" },
    { 'path = "string: the file"', -- the short form among keywords
      "warning .*'path' is no keyword of JSON Schema; a field of the input stands in `prop" },
    { 'required = { "b" }', "error .*'b' is required, but not among its properties" },
    { 'anyOf = { { type = "object" } }', "error .*`anyOf` at the top is refused" },
    { 'properties = { a = { enum = {} } }', "error .*input.a: `enum` has to be a list" },
    { 'properties = { a = { type = "array", items = { type = "x" } } }',
      "error .*input.a.items.type: expected string, number, .*got 'x'" },
    { 'properties = { a = { type = "array" } }', "warning .*an array without `items`" },
    { 'properties = { a = 5 }', "error .*input.a: expected a schema, got a number" },
    { 'properties = { a = { ["$ref"] = "#/$defs/b" } }',
      "error .*input.a.$ref: there is no 'b' in the schema's $defs" },
    { 'properties = { a = { ["$ref"] = "#/definitions/b" } }',
      "error .*input.a: `$ref` leads nowhere: there is no '#/definitions/b' in this schema" },
    { 'properties = { a = { anyOf = { { ["$ref"] = "other.json#/x" } } } }',
      "error .*input.a.anyOf.1: `$ref` leads nowhere" },
    { 'properties = { a = { default = print } }',
      "error .*it cannot be sent: .*properties.a.default" },
  }
  for _, one in ipairs(SCHEMAS) do
    it("finds what is wrong in the schema " .. one[1], function()
      local lines = of_options(('tools = { { name = "t", description = "What it is good for.", '
        .. 'run = print, input = { type = "object", %s } } }'):format(one[1]))
      assert.equal(1, #lines, table.concat(lines, "\n"))
      assert.matches("^" .. one[2], lines[1])
    end)
  end

  it("finds all that is wrong at once", function()
    local lines = of_options('modle = "x", plugins = { "./a1", "./a2" }, tools = { 1 }, '
      .. 'permissions = { allow = { "a(", "b(" } }')
    assert.equal(6, #lines, table.concat(lines, "\n"))
  end)

  it("finds each option that is wrong, beside everything else", function()
    local lines = of_options('max_turns = "a", cwd = 5, on_notice = "x", max_budget_usd = -1, '
      .. 'system = 5, permissions = { mod = "x", allow = "bash" }, plugins = { "./no" }')
    assert.equal(8, #lines, table.concat(lines, "\n"))
  end)

  it("finds each tool that is wrong in a list", function()
    local lines = findings('return { { name = "a", run = print }, { name = "b", run = print, '
      .. 'description = "What it is for." }, { name = "c", description = "What it is for." } }')
    assert.equal(1, #lines)
    assert.matches("a.lua: tool 'a' needs a description.*\n.*a.lua: tool 'c' needs a function",
      lines[1])
  end)

  it("takes references within a schema for what they are", function()
    assert.same({}, of_options('tools = { { name = "t", description = "What it is good for.", '
      .. 'run = print, input = { type = "object", properties = { a = { ["$ref"] = "#/$defs/b" }, '
      .. 'c = { ["$ref"] = "#" } }, ["$defs"] = { b = { type = "string" } } } } }'))
  end)

  it("says what a JSON Schema without its type is", function()
    local lines = of_options('tools = { { name = "t", description = "What it is good for.", '
      .. 'run = print, input = { properties = { a = { type = "string" } } } } }')
    assert.equal(1, #lines)
    assert.matches("error .*input: a JSON Schema needs type = \"object\" beside its prop", lines[1])
  end)

  it("takes a folder with init.lua", function()
    t.place:write("mine/init.lua", 'return { name = "t", run = print, '
      .. 'description = "What it is good for." }')
    local lines, report = findings("", "mine/")
    assert.same({}, lines)
    assert.same({ "t" }, report.tools)
    local result = t:run({ "check", t.place.work })
    assert.equal(2, result.code)
    assert.matches("is a folder without init.lua: say which file\n$", result.stderr)
  end)

  it("fails for a file that ends the program, or that holds tests", function()
    assert.matches("^error .*a.lua:1: it calls os.exit", findings("os.exit(0)")[1])
    assert.matches("^error .*a.lua:1: .*; a file of tests is run with agenthost test$",
      findings("describe('x', function() end)")[1])
  end)

  it("finds all that is wrong in one schema", function()
    local lines = of_options('tools = { { name = "t", description = "What it is good for.", '
      .. 'run = print, input = { type = "object", properties = { a = { type = "strng" }, '
      .. 'b = { minimum = "1" }, c = 5 } } } }')
    assert.equal(1, #lines)
    assert.matches("input.a.type: expected .*; input.b.minimum: expected a number, got '1'; "
      .. "input.c: expected a schema", lines[1])
  end)

  it("keeps what the files print out of its report", function()
    t.place:write("p.lua", 'print("p loads") return { name = "p", setup = function() '
      .. 'io.write("p is set up\\n") end }')
    t.place:write("a.lua", 'print("a runs") os.execute("echo a child") '
      .. 'return require("agenthost.agent").new({ plugins = { "./p.lua" } })')
    local result = t:run({ "check", "a.lua", "--json" })
    assert.equal(0, result.code)
    assert.same({}, assert(json.decode(result.stdout)).findings)
    for _, line in ipairs({ "a runs", "a child", "p loads", "p is set up" }) do
      assert.matches(line, result.stderr, 1, true)
    end
  end)

  it("ends a script that never ends", function()
    local lines = findings("while true do end")
    assert.matches("^error .*a.lua:1: .*defaults.guard.seconds", lines[1])
  end)

  it("uses the code of a project that is trusted", function()
    t.place:write(".agenthost/plugins/mine.lua", 'return { name = "mine", run = print, '
      .. 'description = "What it is good for." }')
    local script = 'return require("agenthost.agent").new({ plugins = { "mine" } })'
    assert.matches("^error plugin 'mine' is not there; [^\n]*not trusted", findings(script)[1])
    local result = t:run({ "check", "a.lua", "--trust-project" })
    assert.same({ 0, "" }, { result.code, result.stderr }, result.stdout)
    local lines, report = findings(script)
    assert.same({}, lines)
    assert.same({ "mine" }, report.tools)
  end)

  it("says how long the prompt is, and where that comes from", function()
    t.place:write("AGENTS.md", ("x"):rep(4000))
    local lines, report = of_options('system = ("y"):rep(400), plugins = { "shell" }')
    assert.same({}, lines)
    local parts, total = {}, 0
    for _, part in ipairs(report.prompt.parts) do
      parts[#parts + 1], total = part.source, total + part.tokens
    end
    assert.same({ "the agent's `system`", t.place.work .. "/AGENTS.md", "tool bash" }, parts)
    assert.equal(100, report.prompt.parts[1].tokens)
    assert.is_true(report.prompt.parts[2].tokens > 1000)
    assert.equal(total, report.prompt.tokens)
    assert.same({ "bash" }, report.tools)
  end)

  it("says what is wrong with the script itself", function()
    assert.matches("^error a.lua:1: unexpected symbol", findings("return ]")[1]:gsub(
      t.place.work .. "/", ""), nil)
    assert.matches("^error .*a.lua:1: oh$", findings("error('oh')")[1])
    assert.matches("returned nothing: is `return` missing", findings(
      'require("agenthost.agent").new({})')[1])
    assert.matches("the script runs its agent itself", findings(
      'assert(require("agenthost.agent").new({}):run("hi"))')[1])
  end)

  it("takes what a plugin has to say for what it is, and leaves its state alone", function()
    local lines = findings('return { name = "p", setup = function(ctx) ctx.note("hello") '
      .. "ctx.state.count = (ctx.state.count or 0) + 1 end }")
    assert.same({}, lines)
    assert.is_nil(sys.stat(t.place.state .. "/agenthost/plugins"))
  end)

  it("takes a plugin or a tool alone", function()
    local lines, report = findings('return { name = "t", description = "What it is good for.", '
      .. "run = print }")
    assert.same({}, lines)
    assert.same({ "t" }, report.tools)
    assert.matches("^error plugin .* has to return a tool", findings("return {}")[1])
  end)

  it("calls no model and leaves nothing", function()
    t:serve({ text = "called" })
    of_options('model = "anthropic/x", plugins = { "shell", "background" }')
    assert.equal(0, #t.server.requests())
    assert.is_nil(sys.stat(t.place.state .. "/agenthost"))
  end)

  it("wants one file", function()
    for _, words in ipairs({ {}, { "no.lua" }, { "a.lua", "b.lua" }, { "--jsn" } }) do
      assert.equal(2, t:run({ "check", table.unpack(words) }).code)
    end
  end)
end)
