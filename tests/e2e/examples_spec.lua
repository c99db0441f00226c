--- Every example runs without a key and without a network.
local case <const> = require("support.case")
local fake <const> = require("support.fake")
local json <const> = require("agenthost.json")
local lfs <const> = require("lfs")

local root <const> = arg[0]:match("^(.*)/[^/]+/[^/]+$") or ".."
local examples <const> = require("agenthost.sys").realpath(root) .. "/examples"

local t

before_each(function()
  t = case.new()
end)

after_each(function()
  t:finish()
end)

local function run(...)
  local result = t:run({ ... })
  assert.equal("", result.stderr)
  assert.equal(0, result.code)
  return result.stdout
end

describe("an example", function()
  it("agent.lua and word_count.lua: a first agent and a first tool", function()
    local out = run(examples .. "/agent.lua", "--model", "scripted/word_count_model.lua", "-p",
      "How long is notes.txt?")
    assert.equal("I counted: notes.txt has 4 words\n", out)
    assert.equal("one two three, four\n", t.place:read("notes.txt"))
  end)

  it("background.lua: commands report by themselves, one after the other", function()
    local out = run(examples .. "/background.lua")
    assert.equal("Build and tests are running.\n", t.place:read("notes.txt"))
    local first = out:find("notice task %x+ completed: sleep 1")
    local second = out:find("notice task %x+ failed: sleep 2")
    assert.is_true(first and second and first < second)
    assert.matches("That is the whole picture%.\n$", out)
  end)

  it("dev_server.lua: a crashed server is started again without a model call", function()
    local result = t:run({ examples .. "/dev_server_agent.lua", "-p", "Is the server up?" })
    assert.equal(0, result.code)
    assert.equal("agenthost: the dev server has crashed; started again (1 of 2)\n"
      .. "agenthost: the dev server has crashed; started again (2 of 2)\n", result.stderr)
    assert.equal("started\nstarted\nstarted\n", t.place:read("starts.txt"))
    assert.equal("Call 2: I was told that it has crashed once more after 2 restarts.\n",
      result.stdout)
  end)

  it("provider_echo.lua: a provider of one's own", function()
    assert.equal("echo: hello\n", run(examples .. "/provider_echo.lua", "-p", "hello"))
  end)

  it("provider_command.lua: a program as the model", function()
    assert.equal("The file says so.\n", run(examples .. "/provider_command.lua", "-p", "hello"))
  end)

  it("provider_openai_compatible.lua: a server of one's own", function()
    local server <close> = fake.start({ quirks = { "no_key", "max_tokens_only", "sampling" },
      rules = { { when = { has_tool_result = false }, tools = { { name = "bash",
        input = { command = "echo seen" } } } }, { text = "Done." } } }, { api = "openai" })
    local result = t:run({ examples .. "/provider_openai_compatible.lua", "-p", "Go.",
      env = { OPENAI_BASE_URL = server.base_url } })
    assert.same({ 0, "Done.\n" }, { result.code, result.stdout }, result.stderr)
    local body = json.decode(server.requests()[1].body_text)
    assert.same({ "my-model", 4000, 0.2 }, { body.model, body.max_tokens, body.temperature })
  end)

  it("*_test.lua: all of them pass", function()
    local out = run("test", examples)
    for _, name in ipairs({ "hello", "build_watcher", "reviewer", "custom_loop",
      "fetch_json" }) do
      assert.truthy(out:find("/" .. name .. "_test.lua\n  ok", 1, true), name)
    end
    assert.matches("%d passed, 0 failed", out)
  end)

  it("fetch_json.lua: a web service", function()
    local server <close> = fake.start({ quirks = { "no_key" }, rules = {} }, { api = "openai" })
    t.place:write("model.lua", ([[return {
      { tools = { { "fetch_json", { url = %q, path = "data.1.id" } },
        { "fetch_json", { url = "http://127.0.0.1:9/" } } } },
      function(request) return request.results[1].content .. "; " .. request.results[2].content end,
    }]]):format(server.base_url .. "/models"))
    local result = t:run({ examples .. "/fetch_json.lua", "--model", "scripted/model.lua", "-p",
      "Which model?" })
    assert.matches("^[%w._-]+; Error: .*127.0.0.1", result.stdout)
  end)

  it("reviewer.lua: reads while the tests run", function()
    t.place:write("tests.sh", "sleep 0.5; echo '1 failed: parser'; exit 1")
    t.place:write("model.lua", [[return {
      { tools = { { "background_run", { command = "sh tests.sh" } } } },
      { tools = { { "read_file", { path = "tests.sh" } } } },
      "I wait for the tests.",
      function(request) return request.last:match("failed: %a+") or request.last end,
    }]])
    local result = t:run({ examples .. "/reviewer.lua", "--model", "scripted/model.lua", "-p",
      "Review this.", env = { REVIEW_TESTS = "sh tests.sh" } })
    assert.matches("failed: parser\n$", result.stdout, result.stderr)
  end)

  it("custom_loop.lua: looks once more", function()
    t.place:write("model.lua", [[return { "First.",
      function(request) return "Told: " .. request.last end }]])
    local out = run(examples .. "/custom_loop.lua", "--model", "scripted/model.lua", "-p", "Hi")
    assert.matches("Told: Look at your work once more", out)
  end)

  it("self_extending.lua: writes itself a tool, and has it again in the next run", function()
    t.place:settings(nil)
    local words <const> = { examples .. "/self_extending.lua", "--model",
      "scripted/self_extending_model.lua", "-p", "What is 2026 in Roman numerals?" }
    local result = t:run({ table.unpack(words) })
    assert.matches("^I may not make myself a tool: Permission denied", result.stdout)
    assert.equal("It is MMXXVI\n", run("--allowed-tools", "create_tool", table.unpack(words)))
    assert.matches("made by create_tool", t.place:read(".agenthost/plugins/roman.lua"))
    assert.equal("It is MMXXVI\n", run(table.unpack(words)))
  end)

  it("can be checked without a model", function()
    for _, name in ipairs({ "agent", "hello", "fetch_json", "build_watcher", "reviewer",
      "custom_loop", "word_count", "self_extending" }) do
      local result = t:run({ "check", examples .. "/" .. name .. ".lua" })
      assert.equal(0, result.code, result.stdout)
      assert.matches(": 0 errors, 0 warnings\n", result.stdout)
    end
  end)

  it("is named in the README of the folder", function()
    local file <close> = assert(io.open(examples .. "/README.md"))
    local readme = file:read("a")
    for name in lfs.dir(examples) do
      if name:find("%.lua$") or name:find("%.sh$") then
        assert.is_truthy(readme:find("`" .. name .. "`", 1, true), name .. " is missing there")
      end
    end
  end)
end)
