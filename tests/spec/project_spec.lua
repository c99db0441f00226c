-- Lua code of a project is used when the user trusts it, as it is.
local defaults = require("agenthost.defaults")
local places = require("agenthost.places")
local project = require("agenthost.project")
local temp = require("support.temp")

describe("agenthost.project", function()
  local dir, bounds
  local asked

  before_each(function()
    dir = temp.directory()
    bounds, defaults.project = defaults.project, setmetatable({}, { __index = defaults.project })
    asked = {}
  end)

  after_each(function()
    places.project, places.untrusted, places.project_refused = nil, nil, nil
    defaults.project = bounds
    temp.remove(dir)
  end)

  local function write(name, content)
    return temp.write(dir .. "/" .. name, content or "return 1")
  end

  -- Opens the project, with a user who answers so. Returns the note, and the folder that is used.
  local function open(answer, cwd)
    places.project, places.untrusted, places.project_refused = nil, nil, nil
    local note = project.open(cwd or dir, answer ~= nil and { ask = function(question)
      asked[#asked + 1] = question
      return answer
    end } or {})
    return note, places.project
  end

  it("asks for nothing where there is no code", function()
    assert.is_nil((open(true)))
    write(".agenthost/skills/x/SKILL.md")
    write(".agenthost/plugins.txt")
    assert.is_nil((open(true)))
    assert.same({}, asked)
    assert.is_nil(places.untrusted)
  end)

  it("asks once, and once more when something has changed", function()
    write(".agenthost/plugins/a.lua")
    write(".agenthost/lua/agenthost/notice.lua")
    local note, used = open(true)
    assert.is_nil(note)
    assert.equal(dir .. "/.agenthost", used)
    assert.matches("lua/agenthost/notice.lua\n  plugins/a.lua\n", asked[1])
    assert.is_nil((open(false)))
    assert.equal(1, #asked)
    local changes = {
      function() write(".agenthost/plugins/a.lua", "return 2") end,
      function() write(".agenthost/plugins/b.lua") end,
      function() os.rename(dir .. "/.agenthost/plugins/b.lua",
        dir .. "/.agenthost/plugins/c.lua") end,
      function() os.remove(dir .. "/.agenthost/lua/agenthost/notice.lua") end,
      function() write(".agenthost/plugins/data/words.txt") end,
    }
    for i, change in ipairs(changes) do
      change()
      assert.matches("has changed since you trusted it", (open()))
      assert.is_nil(places.project)
      assert.is_nil((open(true)))
      assert.matches("that has changed since you were asked", asked[i + 1])
    end
    assert.equal(#changes + 1, #asked)
  end)

  it("keeps a no, too", function()
    write(".agenthost/plugins/a.lua")
    assert.matches("you do not trust it; %-%-trust%-project", (open(false)))
    assert.matches("you do not trust it", (open(true)))
    assert.equal(1, #asked)
    assert.equal(dir .. "/.agenthost", places.untrusted)
    assert.is_nil(project.open(dir, { trust = true }))
    assert.is_nil((open()))
  end)

  it("is refused where nobody can be asked, and says how", function()
    write(".agenthost/plugins/a.lua")
    local note, used = open()
    assert.equal(("the Lua code in %s/.agenthost is not used (plugins/a.lua): nobody has said that "
      .. "they trust it: look at it, then use --trust-project"):format(dir), note)
    assert.is_nil(used)
    assert.is_nil(places.project)
  end)

  it("is that of the repository in which one stands", function()
    write(".git/HEAD")
    write(".agenthost/plugins/a.lua")
    write("sub/deeper/file")
    assert.equal(dir .. "/.agenthost", select(2, open(true, dir .. "/sub/deeper")))
    write("sub/.agenthost/plugins/a.lua")
    assert.equal(dir .. "/sub/.agenthost", select(2, open(true, dir .. "/sub/deeper")))
  end)

  it("trusts a folder, not the same content elsewhere", function()
    write("one/.agenthost/plugins/a.lua")
    write("two/.agenthost/plugins/a.lua")
    assert.is_nil((open(true, dir .. "/one")))
    assert.matches("nobody has said", (open(nil, dir .. "/two")))
  end)

  it("cannot trust links, and not too much of anything", function()
    write(".agenthost/plugins/a.lua")
    os.execute(("ln -s /etc/passwd %s/.agenthost/plugins/link.lua"):format(dir))
    assert.matches("it cannot be trusted: plugins/link.lua is a link", (open(true)))
    assert.same({}, asked)
    os.remove(dir .. "/.agenthost/plugins/link.lua")
    defaults.project.max_bytes = 4
    assert.matches("cannot be trusted: there are more than", (open(true)))
    defaults.project.max_bytes = nil
    write(".agenthost/plugins/b.lua")
    defaults.project.max_files = 1
    assert.matches("holds too many files", (open(true)))
    defaults.project.max_files = nil
    write(".agenthost/plugins/1/2/3/4.lua")
    defaults.project.max_depth = 3
    assert.matches("plugins/1/2/3 holds too many", (open(true)))
    assert.same({}, asked)
  end)

  it("can be compared with what it was, but for one file", function()
    local function is_with(before, name, content)
      return project.is_with(project.find(dir), before, name, content)
    end
    assert.is_false(is_with(nil, "plugins/a.lua", "1"))
    write(".agenthost/plugins/a.lua", "1")
    assert.is_true(is_with(nil, "plugins/a.lua", "1"))
    assert.is_false(is_with(nil, "plugins/a.lua", "2"))
    local before = project.find(dir)
    assert.is_true(is_with(before, "plugins/a.lua", "1"))
    assert.is_false(is_with(before, "plugins/b.lua", "1"))
    write(".agenthost/plugins/b.lua", "1")
    assert.is_true(is_with(before, "plugins/b.lua", "1"))
    assert.is_false(is_with(before, "plugins/a.lua", "1"))
    assert.is_false(is_with(nil, "plugins/b.lua", "1"))
    write(".agenthost/plugins/a.lua", "2")
    assert.is_false(is_with(before, "plugins/b.lua", "1"))
    os.remove(dir .. "/.agenthost/plugins/a.lua")
    assert.is_false(is_with(before, "plugins/b.lua", "1"))
    write(".agenthost/plugins/a.lua", "1")
    write(".agenthost/lua/x.lua", "1")
    assert.is_false(is_with(before, "plugins/b.lua", "1"))
    os.remove(dir .. "/.agenthost/lua/x.lua")
    os.execute(("ln -s /etc/passwd %s/.agenthost/plugins/c.lua"):format(dir))
    assert.is_false(is_with(before, "plugins/b.lua", "1")) -- it cannot be trusted
  end)

  it("writes out what a terminal would obey", function()
    write(".agenthost/plugins/a\27[2J.lua")
    open(true)
    assert.falsy(asked[1]:find("\27", 1, true))
  end)

  describe("that is trusted", function()
    local answer, mine

    before_each(function()
      answer = nil
      mine = write(".agenthost/plugins/mine.lua", "return 1")
      write(".agenthost/lua/spec_part.lua", "return 'as trusted'")
      assert.is_nil((open(true)))
      asked = {}
    end)

    after_each(function()
      package.loaded.spec_part, package.loaded.spec_new = nil, nil
    end)

    local function confirm(question)
      asked[#asked + 1] = question
      return answer
    end

    local function admit(path, content, ask)
      return pcall(project.admit, path, content, ask)
    end

    it("runs as it was trusted; what has changed needs another yes", function()
      assert.is_true(admit(mine, "return 1"))
      assert.is_true(admit(dir .. "/elsewhere.lua", "anything"))
      write(".agenthost/plugins/mine.lua", "return 2")
      for _, way in ipairs({ mine, dir .. "/./.agenthost/plugins/mine.lua" }) do
        local ok, message = admit(way, "return 2")
        assert.is_false(ok)
        assert.matches("mine.lua has changed since you trusted it, and nobody can be asked",
          message, 1, true)
      end
      answer = false
      assert.matches("you have said no", select(2, admit(mine, "return 2", confirm)))
      assert.is_false(admit(mine, "return 2", confirm))
      assert.equal(1, #asked) -- not again for the same
      assert.matches("changed since you were asked:\n  plugins/mine.lua\nAgenthost", asked[1])
      assert.is_nil((open(true))) -- a no while it runs is none for ever
      write(".agenthost/plugins/mine.lua", "return 3")
      project.ask_again()
      asked, answer = {}, true
      assert.is_true(admit(mine, "return 3", confirm))
      assert.is_true(admit(mine, "return 3"))
      assert.equal(1, #asked)
      assert.is_true(project.is_trusted(project.find(dir))) -- kept for the next start
    end)

    it("counts what is in the file, not what it was when it was asked", function()
      answer = true
      write(".agenthost/plugins/mine.lua", "return 'another one meanwhile'")
      assert.matches("cannot be trusted: it changes all the time",
        select(2, admit(mine, "return 2", confirm)))
      os.remove(mine)
      assert(os.execute("ln -s /etc/hostname " .. mine))
      assert.matches("cannot be trusted: .*only plain files",
        select(2, admit(mine, "return 2", confirm)))
      assert.same({}, asked)
    end)

    it("is trusted when another one has the user's yes: remember, and --trust-project", function()
      write(".agenthost/plugins/mine.lua", "return 2")
      assert(project.remember(project.find(dir), true))
      assert.is_true(admit(mine, "return 2"))
      write(".agenthost/plugins/mine.lua", "return 3")
      assert.is_false(admit(mine, "return 3"))
      places.project = nil
      assert.is_nil((project.open(dir, { trust = true })))
      write(".agenthost/plugins/mine.lua", "return 4")
      assert.is_true(admit(mine, "return 4"))
    end)

    it("has its modules from memory: what is written later is not there", function()
      write(".agenthost/lua/spec_part.lua", "error('not trusted')")
      write(".agenthost/lua/spec_new.lua", "error('not trusted')")
      assert.equal("as trusted", require("spec_part"))
      assert.matches("module 'spec_new' not found", temp.raised(require, "spec_new"))
    end)
  end)
end)
