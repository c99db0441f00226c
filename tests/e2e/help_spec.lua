-- The manual says what is there: names are looked up, and its examples are run.
local agent_base <const> = require("agenthost.agent_base")
local case <const> = require("support.case")
local defaults <const> = require("agenthost.defaults")
local places <const> = require("agenthost.places")
local program <const> = require("support.program")
local reference <const> = require("agenthost.reference")
local sys <const> = require("agenthost.sys")
local tmux <const> = require("support.tmux")

local LUA <const> = places.share .. "/lua/agenthost"
local TOPICS <const> = { "agents", "tools", "plugins", "testing", "permissions", "providers",
  "sessions", "settings", "api" }

local function read(path)
  return assert(program.read_file(path), path)
end

local function page(topic)
  return read(LUA .. "/help/" .. topic .. ".md")
end

-- The names at the start of the items below a heading.
local function items(topic, heading)
  local section = (page(topic) .. "\n## "):match("\n## " .. heading .. "\n(.-)\n## ")
  local names = {}
  for line in assert(section, heading):gmatch("[^\n]+") do
    for name in (line:match("^%- (.-):") or ""):gmatch("`([%w_]+)`") do
      names[name] = true
    end
  end
  assert(next(names), heading)
  return names
end

-- The fields of a class.
local function fields(file, class)
  local found, inside = {}, false
  for line in io.lines(LUA .. "/" .. file) do
    inside = line:match("^%-%-%-@class ([%w_.]+)") == class
      or inside and line:find("^%-%-%-") ~= nil
    local name = inside and line:match("^%-%-%-@field ([%w_]+)")
    if name then
      found[name] = true
    end
  end
  assert(next(found), class)
  return found
end

local function blocks(topic)
  local found = {}
  for text in page(topic):gmatch("\n```lua\n(.-)\n```") do
    found[#found + 1] = text
  end
  return found
end

-- Everything between backquotes, outside of code blocks.
local function spans(topic)
  local found = {}
  for span in page(topic):gsub("\n```.-\n```", ""):gmatch("`([^`]+)`") do
    found[#found + 1] = span
  end
  return found
end

local function all_sources()
  local texts = { read(LUA .. "/_meta/task.lua") }
  for _, path in pairs(reference.modules()) do
    texts[#texts + 1] = read(path)
  end
  return table.concat(texts, "\n")
end

local function module_of(name)
  local ok, module = pcall(require, "agenthost." .. name)
  return ok and type(module) == "table" and module or nil
end

describe("the manual", function()
  local sources = all_sources()

  it("has all options and fields, and no others", function()
    local options = {}
    for _, name in ipairs(agent_base.OPTIONS) do
      options[name] = true
    end
    local lists = {
      { items("agents", "Options"), options },
      { items("tools", "Fields"), fields("tools.lua", "agenthost.Tool") },
      { items("tools", "Context"), fields("agent_tasks.lua", "agenthost.ToolContext") },
      { items("plugins", "Context"), fields("plugin_record.lua", "agenthost.PluginContext") },
    }
    for _, list in ipairs(lists) do
      assert.same(list[2], list[1])
    end
  end)

  it("has all that agenthost.testing has", function()
    assert.same(fields("testing/agent.lua", "agenthost.testing.AgentOptions"),
      items("testing", "Options of testing.agent"))
    assert.same(fields("testing/tasks.lua", "agenthost.testing.FakeTask"),
      items("testing", "Fields of a fake task"))
    local text = page("testing")
    for name, value in pairs(require("agenthost.testing")) do
      assert.is_true(type(value) ~= "function" or text:find("`testing." .. name, 1, true) ~= nil,
        name)
    end
    for name in pairs(require("agenthost.testing.assertions")) do
      assert.truthy(text:find("`assert." .. name .. "(", 1, true), name)
    end
    for name in read(LUA .. "/testing/agent.lua"):gmatch("\nfunction Agent:([%w_]+)") do
      assert.truthy(text:find("`t:" .. name .. "(", 1, true), name)
    end
  end)

  for _, topic in ipairs(TOPICS) do
    it("names only what exists: " .. topic, function()
      for _, span in ipairs(spans(topic)) do
        local module, name = span:match("^([%l_]+)%.([%l_]+)%f[^%w_]")
        if module == "defaults" then
          local value = defaults
          for part in span:gmatch("%.([%l_]+)") do
            value = assert(value[part], span)
          end
        elseif module == "agenthost" then
          assert(name == "X" or module_of(name), span)
        elseif module == "testing" or module == "assert" then
          local of = module == "testing" and require("agenthost.testing")
            or require("agenthost.testing.assertions")
          assert.is_not_nil(rawget(of, name), span)
        elseif span:find("^[%l_.]+%(") and module and module_of(module) then
          assert.is_function(module_of(module)[name], span)
        end
        local method = span:match("^t:([%w_]+)%(")
        assert(not method or sources:find("\nfunction Agent:" .. method .. "(", 1, true), span)
        method = span:match("^made:([%w_]+)%(")
        assert(not method or require("agenthost.agent_base").methods[method]
          or sources:find("\nfunction Agent:" .. method .. "(", 1, true), span)
        for flag in span:gmatch("%-%-[%l-]+") do
          assert(sources:find(flag:gsub("%-", "%%-") .. "%f[^%l-]"), flag)
        end
        for variable in span:gmatch("%f[%w_]%u[%u_]+_[%u_]+") do
          assert(sources:find(variable, 1, true) or variable:find("^HTTPS_")
            or variable:find("^NO_PROXY") or variable:find("^SSL_CERT") or variable:find("^XDG_"),
            variable)
        end
        local example = span:match("^examples/[%w_.]+")
        assert(not example or sys.stat(places.share .. "/" .. example), span)
        local other = span:match("^agenthost help (%l+)$")
        assert(not other or sys.stat(LUA .. "/help/" .. other .. ".md"), span)
      end
      for example in page(topic):gmatch("examples/[%w_]+%.lua") do
        assert(sys.stat(places.share .. "/" .. example), example)
      end
      for _, text in ipairs(blocks(topic)) do
        assert(load(text), text)
      end
    end)
  end

  describe("runs:", function()
    local t

    before_each(function()
      t = case.new()
    end)

    after_each(function()
      t:finish()
    end)

    it("tools and testing", function()
      t.place:write("word_count.lua", blocks("tools")[1])
      t.place:write("word_count_test.lua", blocks("testing")[1])
      local result = t:run({ "test" })
      assert.equal(0, result.code, result.stdout)
      assert.matches("\n2 passed, 0 failed", result.stdout)
      t.place:write("changed_files.lua", blocks("tools")[2])
      t.place:write("changed_files_test.lua", [[
        local testing = require("agenthost.testing")
        local function call(fake)
          return testing.call("./changed_files.lua", {}, { tasks = { testing.fake_task(fake) } })
        end
        it("lists", function()
          assert.equal("a.c\n", (call({ command = "git diff*", output = "a.c\n" })))
          assert.equal("Error: git ended with code 128: no",
            (call({ command = "git diff*", output = "no", code = 128 })))
        end)
      ]])
      result = t:run({ "test", "changed_files_test.lua" })
      assert.equal(0, result.code, result.stdout)
      t.place:write("my_tool.lua", blocks("tools")[1])
      t.place:write("agent.lua", blocks("agents")[1])
      result = t:run({ "check", "agent.lua" })
      assert.same({ 0, "agent.lua: 0 errors, 0 warnings" }, { result.code,
        result.stdout:match("^[^\n]+") })
    end)

    it("plugins", function()
      t.place:write("greeter.lua", blocks("plugins")[1])
      t.place:write("greeter_test.lua", [[
        local testing = require("agenthost.testing")
        it("greets", function()
          assert.equal("Hi, Ann", (testing.call("./greeter.lua", { name = "Ann" },
            { options = { greeting = "Hi" } })))
        end)
      ]])
      local result = t:run({ "test" })
      assert.equal(0, result.code, result.stdout)
    end)

    it("permissions", function()
      t.place:settings(blocks("permissions")[1])
      t.place:write("model.lua", [[return {
        { tools = { { "bash", { command = "git diff" } }, { "bash", { command = "sudo ls" } } } },
        function(request) return request.results[2].content end }]])
      local result = t:run({ "--model", "scripted/model.lua", "-p", "go" })
      assert.matches("sudo", result.stdout)
      assert.matches("not run: bash sudo ls", result.stderr)
      assert.falsy(result.stderr:find("git diff", 1, true))
    end)

    it("providers", function()
      t.place:write("model.lua", blocks("providers")[1])
      local result = t:run({ "--model", "scripted/model.lua", "-p", "go" })
      assert.matches("^I saw: .*model.lua", result.stdout)
      t.place:write("echo.lua", blocks("providers")[2])
      assert.equal("echo: hello\n", t:run({ "echo.lua", "-p", "hello" }).stdout)
    end)

    it("help for each topic, and what there is", function()
      local result = t:run({ "help" })
      for _, topic in ipairs(TOPICS) do
        assert.truthy(result.stdout:find("`agenthost help " .. topic .. "`", 1, true), topic)
        local one = t:run({ "help", topic })
        assert.equal(0, one.code)
        assert.equal(page(topic), one.stdout:sub(1, #page(topic)))
      end
      for _, command in ipairs({ "check", "models", "new", "tasks", "test" }) do
        local one = t:run({ "help", command })
        assert.equal(0, one.code)
        assert.equal(t:run({ command, "--help" }).stdout, one.stdout)
      end
      assert.equal(0, t:run({ "sessions", "--help" }).code)
      result = t:run({ "help", "tool" })
      assert.same({ 2, "agenthost: help: there is no topic 'tool'; did you mean 'tools'?\n" },
        { result.code, result.stderr })
      result = t:run({ "help", "nope" }) -- no slip of any topic's name
      assert.same({ 2, "agenthost: help: there is no topic 'nope'; see agenthost help\n" },
        { result.code, result.stderr })
      assert.equal(2, t:run({ "help", "tools", "x" }).code)
    end)

    it("help rendered on a terminal", function()
      local term <close> = tmux.start({ cwd = t.place.work, command = t.place:words({
        command = { "sh", "-c", program.path .. " help testing; sleep 60" },
        env = { TERM = "screen" } }) })
      local shown = term:wait_for("Recorded runs", 30)
      assert.falsy((shown or ""):find("```", 1, true))
    end)
  end)
end)

describe("agenthost help api", function()
  it("has a page for every module", function()
    for name in pairs(reference.modules()) do
      local text = assert(reference.page(name), name)
      assert.equal(text, reference.page("agenthost." .. name))
      assert.truthy(text:find("# `agenthost." .. name .. "`", 1, true), name)
    end
    assert.is_nil(reference.page("nothing"))
    assert.is_nil(reference.page("../help"))
  end)

  it("describes each public function that has a comment", function()
    for _, name in ipairs({ "task", "http", "sys", "text", "async", "json", "testing" }) do
      local text = reference.page(name)
      for called, value in pairs(require("agenthost." .. name)) do
        if type(value) == "function" then
          assert.truthy(text:find(("### `%s.%s("):format(name, called), 1, true), called)
        end
      end
    end
  end)

  it("names the parameters that the functions have, in their order", function()
    for module, path in pairs(reference.modules()) do
      local named = {}
      for line in io.lines(path) do
        local name, words = line:match("^function ([%w_.:]+)%(([^)]*)")
        local at = 0
        for _, param in ipairs(name and named or {}) do
          at = words:find(param, at + 1, true)
          assert(at, ("%s: %s has no parameter %s there"):format(module, name, param))
        end
        local param = line:match("^%-%-%-@param ([%w_.]+)")
        if param then
          named[#named + 1] = param
        elseif not line:find("^%-%-%-") then
          named = {}
        end
      end
    end
  end)

  it("tells types from what is said of them", function()
    local text = reference.page("tools")
    assert.truthy(text:find("- `run` `fun(input: table, ctx: agenthost.ToolContext): "
      .. "string|table|nil`: returns text", 1, true), text)
    text = reference.page("task")
    assert.truthy(text:find("- `limits?` `agenthost.TaskLimits`\n", 1, true))
    assert.truthy(text:find('### alias `agenthost.TaskStatus`', 1, true))
  end)
end)
