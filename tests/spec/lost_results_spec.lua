-- When a message cannot be kept: nothing is told to be lost, and the next run is valid.
local agents = require("support.agents")
local sys = require("agenthost.sys")

local call, reply = agents.call, agents.reply
local FAR <const> = 30

local function fails(fn)
  local ok, message = pcall(fn)
  assert.is_false(ok)
  assert.matches("no space left on device", message, 1, true)
end

describe("a message that cannot be written", function()
  local place

  before_each(function()
    place = agents.place()
  end)

  after_each(function()
    place:close()
  end)

  -- Makes the next append of a piece that `matches` fail, once.
  local function fail_once(made, matches)
    local keep = made.conversation.on_append
    made.conversation.on_append = function(piece, message)
      if matches and piece.blocks:find(matches, 1, true) then
        matches = nil
        error("no space left on device", 0)
      end
      return keep(piece, message)
    end
  end

  it("with tool results: every call has a result in the next request all the same", function()
    local made = place:new({ reply(call("bash", { command = "echo x" })), reply("Later.") },
      { plugins = { "shell" } })
    fail_once(made, "tool_result")
    fails(function() made:run("Go") end)
    assert.equal("Later.", assert(made:run("And now?")).text) -- the provider checks the request
    local messages = made.provider.requests[2]
    assert.matches("broke off before the result was kept", messages[3].content[1].content)
    assert.equal("And now?", messages[3].content[2].text)
  end)

  it("with a notice: it comes with the next message (B1)", function()
    local made = place:new({ reply("Seen.") })
    made.queue:push({ kind = "note", text = "the build is through" })
    fail_once(made, "the build is through")
    fails(function() made:run() end)
    assert.equal(1, #made.queue)
    assert.equal("Seen.", assert(made:run()).text)
    assert.equal(0, #made.queue)
    assert.matches("the build is through", made.provider.requests[1][1].content[1].text)
  end)

  it("with the end of a task that a tool told: it is told by its notice (B1)", function()
    local made
    made = place:new({
      reply(call("background_run", { command = "until test -e gate; do sleep 0.01; done" })),
      function() -- not before: its notice would come with this request
        assert(made.root:write("gate", ""))
        assert(made.queue:wait(FAR))
        return reply(call("check_background", { task_id = made:list_tasks()[1].id }))
      end,
      reply("Done."),
    }, { plugins = { "background" } })
    fail_once(made, "[completed]")
    fails(function() made:run("Go") end)
    assert.equal(1, #made.queue)
    assert.equal("Done.", assert(made:run()).text)
    local last = made.provider.requests[3]
    assert.matches("%[bg:%x+%] completed", last[#last].content[2].text)
  end)

  it("starts on a line of its own behind one that was cut short", function()
    local made = place:new({ reply("One."), reply("Two.") })
    assert(made:run("1"))
    local file = assert(io.open(made.session.dir .. "/session.jsonl", "a"))
    file:write('{"type":"mess') -- what a full disk leaves
    file:close()
    made.session.torn = true
    assert(made:run("2"))
    local text = sys.read_file(made.session.dir .. "/session.jsonl")
    assert.matches('\n{"type":"mess\n{"id"', text)
  end)
end)
