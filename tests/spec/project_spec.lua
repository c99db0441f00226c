-- Lua code of a project is used when the user trusts it, as it is.
local defaults = require("agenthost.defaults")
local places = require("agenthost.places")
local project = require("agenthost.project")
local temp = require("support.temp")

describe("agenthost.project", function()
  local dir, path, bounds
  local asked

  before_each(function()
    dir, path = temp.directory(), package.path
    bounds, defaults.project = defaults.project, setmetatable({}, { __index = defaults.project })
    asked = {}
  end)

  after_each(function()
    package.path, places.project, places.untrusted = path, nil, nil
    defaults.project = bounds
    temp.remove(dir)
  end)

  local function write(name, content)
    return temp.write(dir .. "/" .. name, content or "return 1")
  end

  -- Opens the project, with a user who answers so. Returns the note, and the folder that is used.
  local function open(answer, cwd)
    package.path, places.project, places.untrusted = path, nil, nil
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
    assert.equal(dir .. "/.agenthost/lua/?.lua", package.path:match("^[^;]+"))
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
    assert.equal(path, package.path)
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
end)
