-- kill -9 at random moments of a long run with tasks, then --continue: each time the next request
-- is one that a strict server takes, and in the end every message and every notice is there once.
local async = require("agenthost.async")
local case = require("support.case")
local json = require("agenthost.json")
local ledger = require("agenthost.ledger")
local stress = require("support.stress")
local tmux = require("support.tmux")

local TURNS <const> = 3000 -- that the model knows: more than any run takes

-- What the model does in turn k: always something to do, most of it in the background.
local function turn(k)
  local function background(command, more)
    local input = { command = command }
    for name, value in pairs(more or {}) do
      input[name] = value
    end
    return { name = "background_run", input = input }
  end
  local bash = { name = "bash", input = { command = "echo now-" .. k } }
  local kinds = {
    { text = "Step " .. k, tools = { background("echo out-" .. k) } },
    { thinking = "Hm, " .. k, tools = { bash, background("sleep 0.05; exit 3"), bash } },
    { tools = { { name = "bash", input = { command = "sleep 0.04; echo x" } } } },
    { thinking = "so", text = "On.", tools = { background("sleep 0.2; echo d", { detached = true }),
      { name = "check_background", input = json.object() } } },
    { tools = { background("exec sleep 60"), background("sleep 0.01") } },
    { text = "ünïcode \u{1F680} \\ \"" .. k, tools = { background("trap '' TERM; sleep 0.4") } },
  }
  local rule = kinds[k % #kinds + 1]
  rule.when = { turn = k }
  return rule
end

local function rules()
  local all = { { when = { any_contains = "FINISH" }, text = "Done." } }
  for k = 1, TURNS do
    all[#all + 1] = turn(k)
  end
  return all
end

-- The requests that came whole; those that a kill cut off are no JSON, and refused for that alone.
local function whole_requests(server)
  local found, whole = {}, {}
  for _, request in ipairs(server.requests()) do
    if type(request.body) == "table" then
      found[#found + 1] = request
      whole[request.n] = true
    end
  end
  for _, entry in ipairs(server.log()) do
    assert(entry.kind ~= "rejected" or not whole[entry.n], entry.message)
  end
  return found
end

-- The messages of a request as they stood on the wire, without what closes the last of them.
local function wire(request)
  return (json.slice(request.body_text, "messages"):gsub("%]}%]$", ""))
end

local function check_prefixes(requests)
  for i = 2, #requests do
    local before, after = wire(requests[i - 1]), wire(requests[i])
    if after:sub(1, #before) ~= before then
      local at = 1
      while before:byte(at) == after:byte(at) do
        at = at + 1
      end
      error(("request %d does not begin as the one before: %q, then %q"):format(i,
        before:sub(at - 200, at + 100), after:sub(at - 200, at + 100)))
    end
  end
end

describe("kill -9, then --continue", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  local function ledger_path()
    local found = tmux.run("ls " .. t.place.state .. "/agenthost/sessions/*/tasks.jsonl")
    return assert(found:match("^([^\n]+)\n$"), found)
  end

  local function unsettled()
    local count = 0
    for _, one in ipairs(assert(ledger.read(ledger_path()))) do
      if one.owed and not one.delivered then
        count = count + 1
      end
    end
    return count
  end

  local function one_life(round, first)
    local running = t:start({ "-p", "--continue", "--max-turns", "100000",
      ("Prompt %d."):format(round) })
    if first then
      t.server.wait(function() return #t.server.requests() > 0 end)
    end
    async.sleep(math.random() * 0.6) -- any moment
    if not running:alive() then
      local ended = running:wait()
      error(("it ended by itself: %s %s"):format(ended.code, ended.stderr))
    end
    running:signal("KILL")
    running:wait()
  end

  -- Kills one host of a session after the other, and checks what has become of it.
  local function one_session(kills)
    t:serve(table.unpack(rules()))
    t.refusals_expected = true -- see whole_requests
    for round = 1, kills do
      one_life(round, round == 1)
    end
    local last
    local bound = stress.FAR + case.now()
    repeat
      last = t:run({ "-p", "--continue", "--output-format", "stream-json", "FINISH" })
      assert.equal(0, last.code, last.stderr)
    until unsettled() == 0 or case.now() > bound
    local requests = whole_requests(t.server)
    check_prefixes(requests)

    local messages = requests[#requests].body.messages
    local said = {}
    for _, message in ipairs(messages) do
      for _, block in ipairs(message.role == "user" and message.content or {}) do
        said[#said + 1] = block.text
      end
    end
    local text = table.concat(said, "\n")
    for round = 1, kills do
      assert.is_true(case.count(text, ("Prompt %d."):format(round)) <= 1)
    end
    local ends = 0
    for _, one in ipairs(assert(ledger.read(ledger_path()))) do
      if one.owed then
        assert.equal(1, case.count(text, "[bg:" .. one.id .. "] "), one.id .. " " .. one.status)
        assert.is_true(case.count(text, "[bg:" .. one.id .. "] " .. one.status .. ":") == 1)
        ends = ends + 1
      end
    end
    return #requests, ends
  end

  it("loses and doubles no message and no notice (B1, B12)", function()
    stress.seed()
    local turns, ends = 0, 0
    for i = 1, stress.size(1, 9) do
      if i > 1 then
        t:finish()
        t = case.new()
      end
      local more_turns, more_ends = one_session(12)
      turns, ends = turns + more_turns, ends + more_ends
    end
    print(("%d requests, %d ends told"):format(turns, ends))
    assert.is_true(ends > 12)
  end)
end)
