-- Notices in the session file: what the next host is to tell.
local defaults = require("agenthost.defaults")
local kept = require("agenthost.kept")

describe("kept notices", function()
  local session, appended

  before_each(function()
    appended = {}
    session = { header_written = true, append = function(_, kind, fields)
      table.insert(appended, { kind = kind, fields = fields })
    end }
  end)

  -- What is left of these entries, as a host that reads them back finds it.
  local function left(entries, told)
    local restored = { notices = {}, calls = {}, told = told or {} }
    for _, entry in ipairs(entries) do
      kept.readers[entry.kind](restored, entry.fields)
    end
    return kept.left(session, restored)
  end

  local function note(key, more)
    local notice = { kind = "plugin", key = key, text = "text " .. key }
    for name, value in pairs(more or {}) do
      notice[name] = value
    end
    kept.note(session, notice)
    return notice
  end

  local function texts(notices)
    local list = {}
    for i, notice in ipairs(notices) do
      list[i] = notice.text
    end
    return list
  end

  it("are those that no message holds and nobody has dropped, in their order", function()
    note("a")
    kept.drop(session, note("b"))
    note("c")
    note("d")
    assert.same({ "text a", "text d" }, texts(left(appended, { c = true })))
  end)

  it("name the calls in the background that have not ended, once", function()
    kept.call(session, { id = "call-1", name = "deploy" })
    kept.call(session, { id = "call-2", name = "quick" })
    note("a", { call = "call-2" })
    local first = texts(left(appended))
    assert.equal(2, #first)
    assert.matches("^call%-1 deploy did not end", first[2])
    assert.same(first, texts(left(appended))) -- and the next host knows it already
  end)

  it("are no more than the bound, and that is said", function()
    for i = 1, defaults.session.notices + 3 do
      note("n" .. i)
    end
    local found = texts(left(appended))
    assert.equal(defaults.session.notices + 1, #found)
    assert.equal("3 older notices are left out (defaults.session.notices)", found[1])
    assert.equal("text n4", found[2])
    assert.equal(defaults.session.notices, #left(appended))
  end)

  it("are not written before there is a conversation, nor where that can only be read", function()
    session.header_written = false
    note("a")
    session.header_written, session.read_only = true, "open elsewhere"
    note("b")
    assert.same({}, appended)
  end)

  it("pass over entries that are none", function()
    local odd = { {}, { notice = 1 }, { notice = { kind = "plugin" } },
      { notice = { kind = "task", key = "a", task = "00000000" } },
      { notice = { kind = "plugin", key = "b", text = { 1 } } } }
    local entries = {}
    for i, fields in ipairs(odd) do
      entries[i] = { kind = "notice", fields = fields }
    end
    table.insert(entries, { kind = "dropped", fields = {} })
    table.insert(entries, { kind = "call", fields = { call = 1 } })
    assert.same({}, left(entries))
  end)
end)
