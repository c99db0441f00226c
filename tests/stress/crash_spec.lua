-- kill -9 at random moments: every end is told once all the same, and nobody is left.
local async = require("agenthost.async")
local json = require("agenthost.json")
local ledger = require("agenthost.ledger")
local program = require("support.program")
local stress = require("support.stress")
local sys = require("agenthost.sys")

local HERE <const> = stress.tests .. "/stress/"

-- What the conversation of driver.lua holds: how often each task was told, and as what.
local function read_conversation(path)
  local times, status = {}, {}
  for line in assert(program.read_file(path)):gmatch("[^\n]+") do
    local entries = line:match("^told (.*) %.$")
    assert(entries, "a torn message: " .. line)
    for id, as in entries:gmatch("(%x+)=(%a+)") do
      times[id], status[id] = (times[id] or 0) + 1, as
    end
  end
  return times, status
end

describe("kill -9", function()
  it("of the host, at any moment, loses no end and tells none twice (B1, B5)", function()
    local seed = stress.seed()
    local place <close> = program.place()
    local dir = place.state .. "/session"
    local least, round, span = stress.size(15, 200), 0, nil
    local function count_ends()
      return select(2, (program.read_file(dir .. "/tasks.jsonl") or ""):gsub('"type":"end"', ""))
    end
    -- On a busy machine little happens in a life: then there are more of them.
    local bound = sys.now() + 2 * stress.FAR
    while round < least or count_ends() <= 2 * least and sys.now() < bound do
      round = round + 1
      local running = place:start({ HERE .. "driver.lua", dir, "work", tostring(seed + round) })
      if not span then
        local begun = sys.now()
        assert(stress.eventually(function() return count_ends() > 0 end))
        span = 0.3 + sys.now() - begun
      end
      async.sleep(math.random() * span) -- any moment
      running:signal("KILL")
      assert.equal(9, running:wait().signal, running:stderr())
    end
    local last = place:run({ HERE .. "driver.lua", dir, "rest", tostring(seed) })
    assert.same({ 0, "" }, { last.code, last.stderr })

    local records = stress.records(dir)
    local starts, ends = stress.count(records, "start"), stress.count(records, "end")
    local orders = stress.count(records, "queued")
    local tasks = assert(ledger.read(dir .. "/tasks.jsonl"))
    local times, status = read_conversation(dir .. "/conversation")
    local count = 0
    for _, one in ipairs(tasks) do
      assert.equal(1, orders[one.id], one.id)
      -- One that was still queued when the host died has no end, and none is made up.
      if starts[one.id] or ends[one.id] then
        assert.equal(1, ends[one.id], one.id)
      else
        assert.equal("queued", one.status)
      end
      if one.owed and ends[one.id] then
        assert.equal(1, times[one.id], one.id .. " " .. one.command .. " " .. one.status)
        assert.equal(one.status, status[one.id])
        assert.is_true(one.delivered)
        count = count + 1
      end
      times[one.id] = nil
    end
    assert.same({}, times)
    assert.is_true(count > stress.size(15, 200))
    assert.same({}, stress.wait_for_no_process(function(id) return starts[id] end))

    -- Every id that the driver got is in the ledger, also of those that were never started.
    local never = 0
    for id in assert(program.read_file(dir .. "/started")):gmatch("%x+") do
      assert.equal(1, orders[id], id)
      never = never + (starts[id] and 0 or 1)
    end
    print(("%d ends told, %d tasks never started"):format(count, never))
  end)

  it("of the supervisor is told as lost, nobody is left, and new tasks work", function()
    local seed = stress.seed()
    local lost = 0
    for round = 1, stress.size(2, 13) do
      local place <close> = program.place()
      local dir = place.state .. "/session"
      -- At most four each: after the fifth within ten seconds a host starts no more.
      local result = place:run({ HERE .. "lost.lua", dir, round == 1 and "2" or "4",
        tostring(seed + round) })
      assert.same({ 0, "" }, { result.code, result.stderr })
      local told = assert(json.decode(result.stdout))
      local records = stress.records(dir)
      local starts, ends = stress.count(records, "start"), stress.count(records, "end")
      for _, one in ipairs(assert(ledger.read(dir .. "/tasks.jsonl"))) do
        assert.same({ one.status }, told[one.id], one.id .. " " .. one.command)
        assert.is_true(one.delivered)
        -- The supervisor may die between the ledger and the host: then the host's word counts.
        local most = one.status == "lost" and 2 or 1
        assert.is_true(one.status == "lost" or starts[one.id] == 1, one.command)
        assert.is_true(ends[one.id] >= 1 and ends[one.id] <= most, one.command)
        lost = lost + (one.status == "lost" and 1 or 0)
        told[one.id] = nil
      end
      assert.same({}, told)
    end
    assert.is_true(lost >= 4)
  end)
end)
