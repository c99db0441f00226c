-- Every task has an owner, and is known by its id for as long as anybody may ask.
local agents = require("support.agents")
local async = require("agenthost.async")
local ledger = require("agenthost.ledger")
local temp = require("support.temp")

local FAR <const> = 30

describe("a task", function()
  local place, one, other

  before_each(function()
    place = agents.place()
    one = place:new({}, { plugins = { "background" } })
    other = place:new({}, { plugins = { "background" } })
  end)

  after_each(function()
    place:close()
  end)

  local function tool(made, name, input)
    local result = async.run(function()
      return made.tools:run({ { id = "1", name = name, input = input or {} } },
        function(call) return made:tool_context(call) end, made.emitter)
    end)[1]
    return result.content
  end

  local function close(made)
    for i, known in ipairs(place.made) do
      if known == made then
        table.remove(place.made, i)
      end
    end
    made:close()
  end

  it("reports to the agent that started it, and to nobody else (B24)", function()
    local shown = tool(one, "background_run", { command = "true" })
    local id = shown:match("task (%x+) started")
    assert.is_true(one.queue:wait(FAR))
    assert.equal(id, one.queue:drain()[1].task)
    assert.equal(0, #other.queue)
    assert.matches(id, (tool(one, "check_background")))
    assert.equal("No background tasks.", tool(other, "check_background"))
    assert.equal("Error: Unknown task " .. id, tool(other, "background_kill", { task_id = id }))
  end)

  it("of an agent that is closed reports to its parent, in whose hands it is then (B24)", function()
    local helper = place:new({}, { plugins = {}, parent = one })
    local ended = helper:run_task("echo early", { notify = true })
    local running = helper:run_task("sleep 0.2; echo late", { notify = true })
    local foreground = helper:run_task("true")
    ended:wait(FAR)
    foreground:wait(FAR)
    close(helper)
    assert.equal(1, one:owed())
    running:wait(FAR)
    local told = {}
    for i, notice in ipairs(one.queue:drain()) do
      told[i] = notice.task
    end
    assert.same({ ended.id, running.id }, told)
    assert.is_true(one:find_task(running.id) == running)
    assert.is_nil(one:find_task(foreground.id))
    one.queue:ack()
    assert.same({}, ledger.undelivered(assert(ledger.read(helper.session.dir .. "/tasks.jsonl"))))
    temp.remove(helper.session.dir)
  end)

  it("of an agent whose parent is closed already is simply the host's", function()
    local helper = place:new({}, { plugins = {}, parent = other })
    local running = helper:run_task("exec sleep 60", { notify = true })
    close(other)
    close(helper)
    assert.is_false(select(2, running:status()).ended)
    running:kill({ grace = 0 })
    running:wait(FAR)
    temp.remove(helper.session.dir)
    temp.remove(other.session.dir)
  end)

  it("is written into the session of the agent that started it (B24)", function()
    local mine = one:run_task("echo mine")
    local theirs = other:run_task("echo theirs")
    assert.equal("completed", (mine:wait(FAR)))
    assert.equal("completed", (theirs:wait(FAR)))
    for made, task in pairs({ [one] = mine, [other] = theirs }) do
      local known = assert(ledger.read(made.session.dir .. "/tasks.jsonl"))
      assert.equal(1, #known)
      assert.equal(task.id, known[1].id)
      assert.equal(made.session.dir .. "/tasks/" .. task.id .. ".log", task.output_path)
    end
  end)

  it("is known by id, command and state to whoever reads the ledger later (B12)", function()
    local ended = one:run_task("exit 3", { notify = true })
    assert.equal("failed", (ended:wait(FAR)))
    local running = one:run_task("exec sleep 60", { notify = true })
    async.run(function()
      while running:status() == "queued" do
        async.wait_any({ running:waitable() }, FAR)
      end
    end)
    local known = assert(ledger.read(one.session.dir .. "/tasks.jsonl"))
    assert.same({ ended.id, "exit 3", "failed", 3 },
      { known[1].id, known[1].command, known[1].status, known[1].code })
    assert.same({ running.id, "exec sleep 60", "running", true },
      { known[2].id, known[2].command, known[2].status, ledger.is_alive(known[2]) })
    running:kill({ grace = 0 })
    running:wait(FAR)
  end)
end)
