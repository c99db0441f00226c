-- kill -9 at random moments of a long run with tasks, then --continue: each time the next request
-- is one that a strict server takes, and in the end every message and every notice is there once.
-- The window of the model is small, so that the conversation is compacted again and again; the user
-- says something while the agent works, runs end, and some notices wait for the next one.
local async = require("agenthost.async")
local case = require("support.case")
local json = require("agenthost.json")
local ledger = require("agenthost.ledger")
local stress = require("support.stress")
local tmux = require("support.tmux")

local TURNS <const> = 3000 -- that the model knows: more than any run takes
local WINDOW <const> = 16000 -- tokens; half of it is for the prompt

-- Ends with code 3 wait for the next run; `steer` is a user who types while the agent works.
local SCRIPT <const> = [[
return require("agenthost.agent").new{
  plugins = { "shell", "files", "background" },
  on_notice = function(one) return one.code == 3 and "hold" or "wake" end,
  tools = { { name = "steer", description = "for the test", permission = "none",
    input = { n = "integer" },
    run = function(input, ctx)
      ctx.agent:say("Steer " .. input.n .. ".")
      return "said"
    end } },
}
]]

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
    { text = "Pause." },
    { text = "Long.", tools = { { name = "bash", input = { command = "printf '%04000d' 7" } },
      { name = "steer", input = { n = k } } } },
    { text = "ünïcode \u{1F680} \\ \"" .. k, tools = { background("trap '' TERM; sleep 0.4") } },
  }
  local rule = kinds[k % #kinds + 1]
  rule.when = { turn = k }
  return rule
end

local function rules()
  local all = {
    { when = { last_user_contains = "Write the summary now." }, text = "What was." },
    { when = { any_contains = "FINISH" }, text = "Done." },
  }
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

-- The requests for a summary apart.
local function without_summaries(requests)
  local plain = {}
  for _, request in ipairs(requests) do
    if not case.last_text(request.body):find("Write the summary now.", 1, true) then
      plain[#plain + 1] = request
    end
  end
  return plain
end

-- Each request begins as the one before it, but for `compactions` of them.
local function check_prefixes(requests, compactions)
  for i = 2, #requests do
    local before, after = wire(requests[i - 1]), wire(requests[i])
    local same = after:sub(1, #before) == before
    compactions = compactions - (same and 0 or 1)
    if not same and compactions < 0 then
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

  local function new_case()
    local made = case.new()
    made.models = { { id = "claude-test-1", max_input_tokens = WINDOW, max_tokens = 8000 } }
    made.place:write("a.lua", SCRIPT)
    return made
  end

  before_each(function()
    t = new_case()
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

  -- The first life is left alone until the model is asked; how long that takes is returned.
  local function one_life(round, span)
    local running = t:start({ "a.lua", "-p", "--continue", "--max-turns", "100000",
      ("Prompt %d."):format(round) })
    local begun = case.now()
    if not span then
      t.server.wait(function() return #t.server.requests() > 0 end, stress.FAR)
    end
    local start = case.now() - begun
    async.sleep(math.random() * (span or 0.6)) -- any moment
    if not running:alive() then
      local ended = running:wait() -- its run was over, and nothing was to come
      assert(ended.code == 0, ("it ended by itself: %s %s"):format(ended.code, ended.stderr))
      return start
    end
    running:signal("KILL")
    running:wait()
    return start
  end

  -- What the messages of the session file say as the user, and how many compactions are in it.
  local function what_was_said()
    local said, compactions = {}, 0
    local path = ledger_path():gsub("tasks%.jsonl$", "session.jsonl")
    for line in io.lines(path) do
      local entry = json.decode(line) or {}
      compactions = compactions + (entry.type == "compaction" and 1 or 0)
      local message = entry.type == "message" and entry.message or {}
      for _, block in ipairs(message.role == "user" and message.content or {}) do
        said[#said + 1] = block.text
      end
    end
    return table.concat(said, "\n"), compactions
  end

  -- On a busy machine little happens in a life.
  local function much_has_happened()
    local said, compactions = what_was_said()
    return compactions > 0 and said:find("Steer %d") and case.count(said, "[bg:") > 12
  end

  -- Kills one host of a session after the other, and checks what has become of it.
  local function one_session(kills)
    t:serve(table.unpack(rules()))
    t.refusals_expected = true -- see whole_requests
    local lives, start = 1, one_life(1)
    local bound = stress.FAR + case.now()
    while lives < kills or not much_has_happened() and case.now() < bound do
      lives = lives + 1
      one_life(lives, 0.5 + start)
    end
    local last
    bound = stress.FAR + case.now()
    repeat
      last = t:run({ "a.lua", "-p", "--continue", "--output-format", "stream-json", "FINISH" })
      assert.equal(0, last.code, last.stderr)
    until unsettled() == 0 or case.now() > bound
    local said, compactions = what_was_said()
    local requests = without_summaries(whole_requests(t.server))
    check_prefixes(requests, compactions)
    for round = 1, lives do
      assert.is_true(case.count(said, ("Prompt %d."):format(round)) <= 1)
    end
    local steered = 0
    for k = 1, TURNS do
      local times = case.count(said, ("Steer %d."):format(k))
      assert.is_true(times <= 1)
      steered = steered + times
    end
    local ends = 0
    for _, one in ipairs(assert(ledger.read(ledger_path()))) do
      if one.owed then
        assert.equal(1, case.count(said, "[bg:" .. one.id .. "] "), one.id .. " " .. one.status)
        assert.is_true(case.count(said, "[bg:" .. one.id .. "] " .. one.status .. ":") == 1)
        ends = ends + 1
      end
    end
    return { requests = #requests, ends = ends, compactions = compactions, steered = steered }
  end

  it("loses and doubles no message and no notice (B1, B12)", function()
    stress.seed()
    local sums = {}
    for i = 1, stress.size(1, 9) do
      if i > 1 then
        t:finish()
        t = new_case()
      end
      local found = one_session(12)
      for name, count in pairs(found) do
        sums[name] = (sums[name] or 0) + count
      end
    end
    print(json.encode(sums))
    assert.is_true(sums.ends > 12)
    assert.is_true(sums.compactions > 0)
    assert.is_true(sums.steered > 0)
  end)
end)
