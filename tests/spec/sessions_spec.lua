local json = require("agenthost.json")
local session = require("agenthost.session")
local sessions = require("agenthost.sessions")
local temp = require("support.temp")

describe("agenthost.sessions", function()
  local base

  before_each(function()
    base = temp.directory()
  end)

  after_each(function()
    temp.remove(base)
  end)

  -- A session file whose last use is `age` seconds ago.
  local function add(id, cwd, age, ...)
    local lines = { json.encode({ type = "session", version = 1, id = id, cwd = cwd }) }
    for _, message in ipairs({ ... }) do
      lines[#lines + 1] = '{"message":' .. message .. ',"type":"message"}'
    end
    local text = table.concat(lines, "\n") .. "\n"
    local path = temp.write(base .. "/" .. id .. "/session.jsonl", text)
    assert(os.execute(("touch -d '%d seconds ago' %s"):format(age, path)))
  end

  local function user(text)
    return json.encode({ role = "user", content = { { type = "text", text = text } } })
  end

  local function ids(list)
    local found = {}
    for i, info in ipairs(list) do
      found[i] = info.id
    end
    return found
  end

  it("are listed by their last use, newest first; also those of one directory", function()
    add("20260101-000000-00000001", "/a", 10)
    add("20260102-000000-00000002", "/b", 30)
    add("20260103-000000-00000003", "/a", 20)
    local function list(opts)
      opts.base_dir = base
      local found, more = sessions.list(opts)
      return { more, table.unpack(ids(found)) }
    end
    local one, two, three = "20260101-000000-00000001", "20260102-000000-00000002",
      "20260103-000000-00000003"
    assert.same({ false, one, three, two }, list({}))
    assert.same({ true, one, three }, list({ limit = 2 }))
    assert.same({ false, one, three }, list({ cwd = "/a", limit = 2 }))
    assert.equal(one, sessions.latest("/a", base))
    assert.equal(two, sessions.latest("/b", base))
    assert.is_nil(sessions.latest("/c", base))
  end)

  it("say what the user said first", function()
    add("1", "/a", 0, '{"role":"assistant","content":[]}', user("<background-results>\nx"),
      user("\n  the question\nand more"), user("second"))
    local info = sessions.list({ base_dir = base })[1]
    assert.same({ 4, "the question" }, { info.messages, info.first })
  end)

  it("leave out what is no session", function()
    temp.write(base .. "/empty/session.jsonl", "")
    temp.write(base .. "/foreign/session.jsonl", "x\n")
    temp.write(base .. "/tasks_only/tasks.jsonl", "")
    temp.write(base .. "/file", "")
    assert.same({}, (sessions.list({ base_dir = base })))
    assert.same({}, (sessions.list({ base_dir = base .. "/none" })))
  end)

  it("are found by their id, its beginning or its end", function()
    add("20260101-000000-0000000a", "/a", 0)
    add("20260101-000000-0000000b", "/a", 0)
    assert.equal("20260101-000000-0000000a", sessions.find("20260101-000000-0000000a", base))
    assert.equal("20260101-000000-0000000b", sessions.find("0000000b", base))
    assert.equal("AMBIGUOUS", select(3, sessions.find("20260101", base)))
    for _, name in ipairs({ "", "zz", "..", "../x", "/" }) do
      assert.equal("ENOENT", select(3, sessions.find(name, base)), name)
    end
  end)

  it("have ids that are told from words", function()
    assert.is_true(sessions.is_id(session.new({ cwd = "/", base_dir = base }).id))
    assert.is_true(sessions.is_id("0a1b2c3d"))
    for _, word in ipairs({ "fix", "fix the bug", "20260101", "deadbee", "" }) do
      assert.equal(word == "20260101", sessions.is_id(word), word)
    end
  end)
end)
