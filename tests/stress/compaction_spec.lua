-- A conversation of thousands of turns: one compaction after another. Memory stays bounded, each
-- request is valid, and the task that runs is never forgotten.
local agents = require("support.agents")
local async = require("agenthost.async")
local compaction = require("agenthost.compaction")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local stress = require("support.stress")

local TURNS <const> = stress.size(300, 5000)
local RUNS <const> = stress.size(6, 50)

-- The bytes of the conversation as a loader makes it of the session file.
local function replayed(made)
  local pieces = {}
  for line in io.lines(made.session.dir .. "/session.jsonl") do
    local entry = json.decode(line)
    if entry.type == "message" then
      pieces[#pieces + 1] = { role = entry.message.role,
        blocks = json.slice(line, "message", "content"):sub(2, -2) }
    elseif entry.type == "compaction" then
      pieces = assert(compaction.apply(pieces, entry))
    end
  end
  return pieces
end

describe("a conversation of many turns", function()
  local place, limits

  before_each(function()
    limits = defaults.limits
    defaults.limits = { context_window = 20000, max_output = limits.max_output }
    place = agents.place()
  end)

  after_each(function()
    defaults.limits = limits
    place:close()
  end)

  it("is compacted again and again", function()
    local turns, sums, task = 0, 0, nil
    local provider = { name = "inline", model = "inline/test" }
    local function usage_of(request)
      return { input_tokens = (#request.messages_json() + #request.system) // 4 }
    end
    function provider.stream(_, request)
      local messages = json.decode(request.messages_json())
      agents.check(messages, true)
      local usage = usage_of(request)
      assert(usage.input_tokens < 20000, "the prompt has outgrown the window")
      if request.system:find("You sum up", 1, true) then
        sums = sums + 1
        local made = agents.reply(("Summary %d. "):format(sums) .. ("s"):rep(1000))
        made.usage = usage
        return made
      end
      turns = turns + 1
      if sums > 0 then
        assert(messages[1].content[1].text:find(task.id, 1, true), "the task is forgotten")
      end
      local last_of_run = turns % (TURNS // RUNS) == 0
      local made = last_of_run and agents.reply("Done.")
        or agents.reply({ type = "thinking", thinking = "t" .. turns, signature = "s" },
          "Turn " .. turns, agents.call("look", { n = turns }))
      made.usage = usage
      return made
    end
    local made = place:new({}, { provider = provider, max_turns = TURNS, max_tokens = 1000,
      tools = { { name = "look", description = "for the test", run = function(input)
        return ("%d "):format(input.n):rep(input.n % 10 == 0 and 1000 or 100)
      end } } })
    made.on_event = nil -- the place keeps all events otherwise
    task = made:run_task("exec sleep 3600", { notify = true })

    local memory, pieces = {}, 0
    async.run(function()
      for run = 1, RUNS do
        assert(made:run("Go on with part " .. run .. "."))
        pieces = math.max(pieces, #made.conversation.pieces)
        collectgarbage()
        memory[run] = collectgarbage("count")
      end
    end)
    assert.equal(TURNS, turns)
    assert.is_true(sums >= TURNS // 100, "compacted only " .. sums .. " times")
    assert.is_true(pieces < 200, "the conversation has grown to " .. pieces)
    -- KiB. What one conversation takes at most is the slack.
    local early = math.max(table.unpack(memory, 1, RUNS // 2))
    local late = math.max(table.unpack(memory, RUNS // 2 + 1))
    assert.is_true(late < early + 200, ("memory grew from %.0f to %.0f KiB"):format(early, late))
    assert.same(replayed(made), made.conversation.pieces)
  end)
end)
