-- Run with: agenthost test examples/build_watcher_test.lua
local async = require("agenthost.async")
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("build_watcher", function()
  it("tells of the first failure, and then only of changes", function()
    testing.fake_clock()
    local broken = testing.fake_task({ command = "make", output = "main.c:1: oh no\n", code = 2,
      after = 30 })
    local t = testing.agent({
      model = {
        { tools = { { "watch_build", { command = "make", folder = "src" } } } },
        "I watch it.",
        "It is broken.",
        "It works.",
      },
      plugins = { "./build_watcher.lua" },
      files = { ["src/main.c"] = "oh no" },
      tasks = { broken },
    })
    assert.equal("I watch it.", t:run("Watch the build."))
    async.sleep(60) -- the build takes half a minute of the fake clock
    assert.equal("It is broken.", t:settle())
    t:assert_sent("The build is broken (failed):")
    t:assert_sent("main.c:1: oh no")

    async.sleep(600) -- nothing changes: nobody is told
    assert.equal(3, #t.requests)

    broken.code = 0 -- from the next run on
    t:write("src/main.c", "fine")
    async.sleep(60)
    assert.equal("It works.", t:settle())
    t:assert_sent("The build works again.")
  end)
end)
