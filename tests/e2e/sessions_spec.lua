-- Sessions from the outside: going on with one, listing, showing, two hosts on one.
local case = require("support.case")
local json = require("agenthost.json")
local tmux = require("support.tmux")

local t

before_each(function()
  t = case.new()
end)

after_each(function()
  t:finish()
end)

-- The ids of the sessions on disk, sorted: by time, at least to the second.
local function ids()
  return case.lines(tmux.run("ls " .. t.place.state .. "/agenthost/sessions"))
end

local function run(...)
  local result = t:run({ ... })
  assert.equal(0, result.code, result.stderr)
  return result
end

-- The texts that the user said in the last request.
local function said()
  local requests = t.server.requests()
  local texts = {}
  for _, message in ipairs(requests[#requests].body.messages) do
    for _, block in ipairs(message.content) do
      texts[#texts + 1] = block.text
    end
  end
  return table.concat(texts, "|")
end

describe("--continue", function()
  it("goes on with the last session of this directory, in the same file", function()
    t:serve({ text = "Aha.", thinking = "hm" })
    run("-p", "first")
    run("-c", "-p", "second")
    run("--continue", "-p", "third")
    assert.equal("first|Aha.|second|Aha.|third", said())
    assert.equal(1, #ids())
    assert.equal(6, #t.place:messages())
    run("-p", "a new one")
    assert.equal("a new one", said())
    run("-p", "--continue", "its second")
    assert.equal("a new one|Aha.|its second", said())
  end)

  it("starts a new one where there is none, and says so", function()
    t:serve({ text = "Aha." })
    run("-p", "elsewhere")
    local result = t:run({ "-c", "-p", "here", cwd = t.place.home })
    assert.equal("Aha.\n", result.stdout)
    assert.equal("agenthost: there is no session of this directory yet; this is a new one\n",
      result.stderr)
    assert.equal("here", said())
  end)

  it("sends the same bytes again, system prompt and tools included", function()
    t:serve({ text = "Aha.", thinking = "hm" })
    run("-p", "first")
    run("-c", "-p", "second")
    local requests = t.server.requests()
    for _, name in ipairs({ "system", "tools", "model", "max_tokens" }) do
      assert.equal(json.slice(requests[1].body_text, name),
        json.slice(requests[2].body_text, name))
    end
    local before = json.slice(requests[1].body_text, "messages"):sub(1, -2)
    assert.equal(before, json.slice(requests[2].body_text, "messages"):sub(1, #before))
  end)

  it("tells what became of the tasks when the host was killed, once", function()
    t:serve(
      { when = { turn = 1 }, tools = {
        { name = "background_run", input = { command = "echo precious; exec sleep 600" } },
        { name = "background_run", input = { command = "touch up; exec sleep 600", detached = true,
        } },
        { name = "bash", input = { command = "exec sleep 600" } },
      } },
      { text = "Aha." })
    local running = t:start({ "-p", "Go" })
    assert(tmux.eventually(function() return t.place:read("up") end))
    running:signal("KILL")
    running:wait()
    run("-c", "-p", "What happened?")
    local text = said()
    assert.matches("%[bg:%x+%] killed: precious\n", text)
    assert.matches("by the end of agenthost", text, 1, true)
    assert.matches("Its background tasks:\n  %x+: %[running%] touch up; exec sleep 600\n"
      .. "  %x+: %[killed%] echo precious", text)
    local results = t.server.requests()[2].body.messages[3].content
    assert.matches("interrupted; the host stopped before the result was known", results[3].content)
    run("-c", "-p", "And now?")
    assert.equal(1, case.count(said(), "] killed: precious"))
    local list = run("tasks").stdout
    local id = list:match("(%x+)  running")
    run("tasks", "kill", id)
    run("-c", "-p", "And at last?")
    assert.matches("%[bg:" .. id .. "%] killed: .*by `agenthost tasks kill`", said())
  end)

  it("lets the model look at a detached task of an earlier host, and end it", function()
    t.place:write("model.lua", [[
      return function(request)
        local id = request.last:match("(%x+): %[running%] echo")
        if request.last == "Go" then
          return { tools = { { "background_run", {
            command = "echo one; touch up; exec sleep 600", detached = true } } } }
        elseif id and #request.results == 0 then
          return { tools = { { "check_background", { task_id = id } },
            { "background_kill", { task_id = id } } } }
        end
        return request.last
      end]])
    local running = t:start({ "-p", "Go", "--model", "scripted/model.lua" })
    assert(tmux.eventually(function() return t.place:read("up") end))
    running:signal("KILL")
    running:wait()
    local result = run("-c", "-p", "End it", "--model", "scripted/model.lua")
    assert.matches("^agenthost: still running: task %x+ echo one", result.stderr)
    assert.matches("^%x+: %[running%] echo one.*\none\n", result.stdout)
    assert.matches("Task %x+: killed %(by the model, ended by signal 15, ", result.stdout)
    result = run("-c", "-p", "And now?", "--model", "scripted/model.lua")
    assert.same({ "And now?\n", "" }, { result.stdout, result.stderr }) -- it was told
  end)
end)

describe("--resume", function()
  it("goes on with the session of that id, in its directory", function()
    t:serve({ text = "Aha." })
    run("-p", "first")
    run("-p", "other")
    local first = ids()[1]
    if t.place:read(t.place.state .. "/agenthost/sessions/" .. first .. "/session.jsonl")
      :find("other", 1, true) then
      first = ids()[2]
    end
    local result = t:run({ "-p", "--resume", first, "second", cwd = t.place.home })
    assert.equal("agenthost: working in " .. t.place.work .. ", as this session did\n",
      result.stderr)
    assert.equal("first|Aha.|second", said())
    run("-r", first:sub(-8), "-p", "third")
    assert.equal("first|Aha.|second|Aha.|third", said())
  end)

  it("says what is wrong with an id, and how to find one", function()
    t:serve({ text = "Aha." })
    local result = t:run({ "-p", "x", "--resume=nothing" })
    assert.same({ 2, "agenthost: --resume: there is no session 'nothing' "
      .. "(agenthost sessions lists them)\n" }, { result.code, result.stderr })
    result = t:run({ "-p", "x", "--resume" })
    assert.same({ 2, "agenthost: --resume needs the id of a session here "
      .. "(agenthost sessions lists them)\n" }, { result.code, result.stderr })
    result = t:run({ "-p", "x", "-c", "--resume" })
    assert.equal(2, result.code)
  end)

  it("without an id lets the user choose on a terminal, and shows where he is", function()
    t:serve({ text = "Aha." })
    run("-p", "the first question")
    local words = t.place:words({ "--resume", server = t.server })
    local terminal <close> = tmux.start({ command = words, cwd = t.place.work, width = 100 })
    terminal:wait_for("1 .*2 messages .*the first question")
    terminal:type("7")
    terminal:keys("Enter")
    terminal:type("1")
    terminal:keys("Enter")
    local screen = terminal:wait_for("\n>")
    assert.matches("> the first question\n  Aha%.", screen)
    terminal:type("go on")
    terminal:keys("Enter")
    assert(tmux.eventually(function() return #t.server.requests() == 2 end))
    assert.equal("the first question|Aha.|go on", said())
    -- A second host meanwhile: it can be looked at, and says so.
    local result = t:run({ "-c", "-p", "x" })
    assert.equal(1, result.code)
    assert.matches("^agenthost: session %S+ is open in another agenthost: here it can only be read"
      .. "\n$", result.stderr)
    assert.equal(2, #t.server.requests())
    terminal:wait_for("Aha.*Aha")
    terminal:type("exit")
    terminal:keys("Enter")
    assert(tmux.eventually(function() return not terminal:alive() end))
    run("-c", "-p", "x")
    assert.equal("the first question|Aha.|go on|Aha.|x", said())
  end)
end)

describe("agenthost sessions", function()
  it("lists them, the last used first", function()
    t:serve({ text = "Aha." })
    assert.same({ 0, "", "no sessions\n" }, (function()
      local result = t:run({ "sessions" })
      return { result.code, result.stdout, result.stderr }
    end)())
    run("-p", "older\nsecond line")
    t:run({ "-p", "\27[31mred", cwd = t.place.home })
    run("-c", "-p", "again")
    local lines = case.lines(run("sessions").stdout)
    assert.equal(2, #lines)
    assert.matches("^%d+%-%d+%-%x+  %d+%-%d+%-%d+ %d+:%d+     4 messages  .*/work  older$",
      lines[1])
    assert.matches("  2 messages  .*/home  red$", lines[2])
    local list = assert(json.decode(run("sessions", "--json").stdout))
    assert.same({ "older", 4, t.place.work }, { list[1].first, list[1].messages, list[1].cwd })
  end)

  it("shows one, and exports it", function()
    t:script({ text = "Let me see.", tools = { { name = "bash", input = { command = "echo '```'" },
      id = "toolu_one" } } }, { text = "\27[1mDone." })
    run("-p", "Look")
    local id = ids()[1]
    local shown = run("sessions", "show", id:sub(-8)).stdout
    assert.equal(shown, run("sessions", "export", id, "--format", "markdown").stdout)
    local body = shown:match("^# Session " .. id:gsub("%-", "%%-") .. "\n\n[^\n]* · "
      .. t.place.work:gsub("%p", "%%%0") .. "\n(.*)$")
    assert.equal("\n## User\n\nLook\n\n## Agent\n\nLet me see.\n\nCalls `bash`:\n\n````\n"
      .. [[{"command":"echo '```'"}]] .. "\n````\n\n## User\n\nResult:\n\n````\n```\n````\n"
      .. "\n## Agent\n\nDone.\n", body)
    local exported = assert(json.decode(run("sessions", "export", id, "--format=json").stdout))
    assert.same({ id, 4, "assistant" }, { exported.id, #exported.messages,
      exported.messages[4].role })
    assert.equal(2, t:run({ "sessions", "export", id, "--format", "xml" }).code)
    assert.equal(2, t:run({ "sessions", "show", "nothing" }).code)
    assert.equal(2, t:run({ "sessions", "drop", id }).code)
  end)
end)

-- What somebody else has written, or a disk has made of it.
describe("a session file with anything in it", function()
  local ID <const> = "20251101-101010-0a0b0c0d"
  local ESC <const> = "\\u001b[31m"

  local function write(...)
    local lines = { ('{"cwd":"/tmp/%sx","id":"%s%s","timestamp":"%s\\u0007now","type":"session",'
      .. '"version":1}'):format(ESC, ID, ESC, ESC) }
    for i, message in ipairs({ ... }) do
      lines[i + 1] = ('{"id":"%08x","message":%s,"parentId":null,"timestamp":"x","type":"message"}')
        :format(i, message)
    end
    t.place:write(t.place.state .. "/agenthost/sessions/" .. ID .. "/session.jsonl",
      table.concat(lines, "\n") .. "\n")
  end

  before_each(function()
    write('{"role":"user","content":[{"type":"text","text":"one\\u0000 ' .. ESC .. 'red"},'
      .. '{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}',
      '{"role":"assistant","content":[{"type":"text","text":"two"},'
      .. '{"type":"new' .. ESC .. '","x":1},'
      .. '{"type":"tool_use","id":"toolu_1","name":"x`' .. ESC .. '",'
      .. '"input":{"a":"' .. ESC .. '"}}]}',
      '{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":['
      .. '{"type":"image","source":{}},{"type":"text","text":"' .. ESC .. 'out"}]}]}',
      '{"role":"system","content":[{"type":"text","text":"other role"}]}',
      '{"role":"user","content":"no list"}',
      '{"role":"user","content":[{"type":"text","text":7}]}',
      '{"role":"assistant","content":[{"type":"tool_use","name":"x"}]}',
      '{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[7]}]}',
      '{"role":"assistant","content":[{"type":"thinking"},{"type":"text","text":"last"}]}')
  end)

  it("is shown without a control character", function()
    local shown = run("sessions", "show", ID).stdout
    assert.falsy(shown:find("[%z\1-\9\11-\31\127]"), ("%q"):format(shown))
    for _, text in ipairs({ "one", "[image]", "two", "[new]", "Calls `x``", "out", "last" }) do
      assert.truthy(shown:find(text, 1, true), text .. ": " .. shown)
    end
    local listed = run("sessions").stdout
    assert.falsy(listed:find("[%z\1-\9\11-\31\127]"), listed)
    local exported = assert(json.decode(run("sessions", "export", ID, "--format", "json").stdout))
    assert.equal(4, #exported.messages)
    assert.equal("two", exported.messages[2].content[1].text)
  end)

  it("goes on with what can be read, and says what cannot", function()
    local script = "return function(request) return #request.messages .. ' messages' end"
    t.place:write("m.lua", script)
    local result = t:run({ "-p", "--resume", ID, "--model", "scripted/m.lua", "And?" })
    assert.equal(0, result.code, result.stderr)
    assert.equal("5 messages\n", result.stdout)
    assert.matches("5 messages of its file are none that can be sent", result.stderr, 1, true)
    assert.falsy(result.stderr:find("[%z\1-\9\11-\31\127]"), result.stderr)
  end)
end)

-- As agenthost 0.1 wrote it: no field that came later.
it("a session file of the first version goes on", function()
  local dir = t.place.state .. "/agenthost/sessions/20251101-101010-0a0b0c0d"
  t.place:write(dir .. "/session.jsonl", table.concat({
    ('{"cwd":"%s","id":"20251101-101010-0a0b0c0d","timestamp":"2025-11-01T10:10:10.000Z",'
      .. '"type":"session","version":1}'):format(t.place.work),
    '{"id":"00000001","message":{"role":"user","content":[{"text":"Hi","type":"text"}]},'
      .. '"parentId":null,"timestamp":"2025-11-01T10:10:11.000Z","type":"message"}',
    '{"id":"00000002","message":{"role":"assistant","content":[{"text":"Hello.","type":"text"}]},'
      .. '"parentId":"00000001","timestamp":"2025-11-01T10:10:12.000Z","type":"message"}',
    "" }, "\n"))
  t.place:write(dir .. "/tasks.jsonl", table.concat({
    '{"type":"start","task":"5f0c2a91","time":1762000000.1,"pid":99999,"born":1,"owed":true,'
      .. '"detached":false,"command":"pytest","cwd":"/w","output":"/none"}',
    '{"type":"end","task":"5f0c2a91","time":1762000001.0,"status":"failed","code":1,"seconds":0.9}',
    "" }, "\n"))
  t:serve({ text = "Aha." })
  run("-c", "-p", "And?")
  assert.matches("^Hi|Hello.|And%?|<background%-results>\n%[bg:5f0c2a91%] failed: ", said())
end)
