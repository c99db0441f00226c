local json = require("agenthost.json")
local session = require("agenthost.session")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local raised = temp.raised

describe("agenthost.session", function()
  local base

  before_each(function()
    base = temp.directory()
  end)

  after_each(function()
    temp.remove(base)
  end)

  local function entries(one)
    local found = {}
    for line in io.lines(one.dir .. "/session.jsonl") do
      found[#found + 1] = assert(json.decode(line))
    end
    return found
  end

  it("is nothing on disk before the first entry", function()
    local one = session.new({ cwd = "/w", base_dir = base })
    assert.is_nil(sys.stat(one.dir))
    one:close()
    assert.same({}, (sys.list(base)))
  end)

  it("has a name that sorts by time, and no other has", function()
    local seen = {}
    for _ = 1, 100 do
      local id = session.new({ cwd = "/w", base_dir = base }).id
      assert.matches("^20%d%d%d%d%d%d%-%d%d%d%d%d%d%-%x%x%x%x%x%x%x%x$", id)
      assert.is_nil(seen[id])
      seen[id] = true
    end
  end)

  it("starts with a header, then one entry a line, each with its parent", function()
    local one = session.new({ cwd = "/w", base_dir = base })
    one:append("message", { message = json.raw('{"role":"user","content":[]}') })
    one:append("note", { text = "two\nlines" })
    one:close()
    local header, first, second = table.unpack(entries(one))
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z$", header.timestamp)
    assert.same({ type = "session", version = 1, id = one.id, cwd = "/w",
      timestamp = header.timestamp }, header)
    assert.same({ type = "message", id = first.id, parentId = json.null,
      timestamp = first.timestamp, message = { role = "user", content = {} } }, first)
    assert.same({ "note", first.id, "two\nlines" }, { second.type, second.parentId, second.text })
    assert.is_true(first.id ~= second.id)
    assert.equal(3, #entries(one))
  end)

  it("only ever appends", function()
    local one = session.new({ cwd = "/w", base_dir = base })
    local before = ""
    for i = 1, 5 do
      one:append("note", { n = i })
      local now = assert(sys.read_file(one.dir .. "/session.jsonl"))
      assert.equal(before, now:sub(1, #before))
      assert.equal("\n", now:sub(-1))
      before = now
    end
    one:close()
  end)

  it("can be read by its user only", function()
    local one = session.new({ cwd = "/w", base_dir = base .. "/deep/er" })
    one:append("note", {})
    assert.equal(tonumber("700", 8), sys.stat(one.dir).mode)
    assert.equal(tonumber("700", 8), sys.stat(base .. "/deep").mode)
    assert.equal(tonumber("600", 8), sys.stat(one.dir .. "/session.jsonl").mode)
    one:close()
  end)

  it("is below the user's state directory", function()
    assert.equal(sys.xdg("state") .. "/agenthost/sessions", session.base_dir())
    local one = session.new({ cwd = "/w" })
    assert.equal(session.base_dir() .. "/" .. one.id, one.dir)
  end)

  it("says so when it cannot be kept", function()
    local file = temp.write(base .. "/file", "")
    local one = session.new({ cwd = "/w", base_dir = file .. "/sessions" })
    local message = raised(one.append, one, "note", {})
    assert.matches("^cannot keep the session: ", message)
    assert.matches(file, message, 1, true)
    assert.matches("%(XDG_STATE_HOME says where%)$", message)
  end)

  it("can be kept when the place has been mended", function()
    local file = temp.write(base .. "/file", "")
    local one = session.new({ cwd = "/w", base_dir = file .. "/sessions" })
    raised(one.append, one, "note", {})
    assert(os.remove(file))
    one:append("note", { n = 1 })
    one:close()
    assert.same({ "session", "note" }, { entries(one)[1].type, entries(one)[2].type })
  end)

  it("raises when an entry cannot be written", function()
    local one = session.new({ cwd = "/w", base_dir = base })
    one:append("note", {})
    one.file:close()
    one.file = assert(sys.append("/dev/full") or { write = function() return nil, "no space" end })
    assert.matches("^cannot write " .. one.dir:gsub("%-", "%%-") .. "/session.jsonl: ",
      raised(one.append, one, "note", {}))
    assert.equal(2, #entries(one))
  end)
end)
