local agents = require("support.agents")
local defaults = require("agenthost.defaults")
local instructions = require("agenthost.instructions")
local places = require("agenthost.places")
local prompt = require("agenthost.prompt")
local sys = require("agenthost.sys")
local temp = require("support.temp")

describe("agenthost.instructions", function()
  local config, dir, limits

  before_each(function()
    config, limits = places.config, defaults.instructions
    places.config = temp.directory()
    dir = temp.directory()
  end)

  after_each(function()
    temp.remove(places.config)
    temp.remove(dir)
    places.config, defaults.instructions = config, limits
  end)

  local function link(target, name)
    assert(os.execute(("ln -s %s %s"):format(temp.quote(target), temp.quote(dir .. "/" .. name))))
  end

  local function short(path)
    local function plain(s)
      return (s:gsub("%-", "%%-"))
    end
    return (path:gsub(plain(dir) .. "/", ""):gsub(plain(places.config), "CONFIG"))
  end

  -- The parts as lines "path below dir: (note)text".
  local function load(cwd)
    local lines = {}
    for i, part in ipairs(instructions.load(cwd or dir)) do
      local note = part.note and "(" .. part.note .. ")" or ""
      lines[i] = short(part.source .. ": " .. note .. part.text)
    end
    return lines
  end

  it("are none where there are none", function()
    assert.same({}, load())
    temp.write(dir .. "/AGENTS.md", " \n\n")
    assert.same({}, load())
  end)

  it("come from the user, the git root and down to the working directory, in this order", function()
    temp.write(places.config .. "/AGENTS.md", "mine\n")
    temp.write(dir .. "/AGENTS.md", "above the root")
    temp.write(dir .. "/r/.git/HEAD", "")
    temp.write(dir .. "/r/AGENTS.md", "root\r\nline")
    temp.write(dir .. "/r/a/CLAUDE.md", "a")
    temp.write(dir .. "/r/a/b/AGENTS.md", "b")
    temp.write(dir .. "/r/a/b/c/AGENTS.md", "too deep")
    temp.write(dir .. "/r/other/AGENTS.md", "beside")
    assert.same({ "CONFIG/AGENTS.md: mine", "r/AGENTS.md: root\nline", "r/a/CLAUDE.md: a",
      "r/a/b/AGENTS.md: b" }, load(dir .. "/r/a/b"))
  end)

  it("know the root of a git worktree, where .git is a file", function()
    temp.write(dir .. "/.git", "gitdir: /elsewhere")
    temp.write(dir .. "/AGENTS.md", "root")
    assert(sys.mkdir_private(dir .. "/a"))
    assert.same({ "AGENTS.md: root" }, load(dir .. "/a"))
  end)

  it("outside of git are those of the working directory alone", function()
    temp.write(dir .. "/AGENTS.md", "above")
    temp.write(dir .. "/a/AGENTS.md", "here")
    assert.same({ "a/AGENTS.md: here" }, load(dir .. "/a"))
    assert.same({ "/" }, instructions.project_dirs("/"))
  end)

  it("take AGENTS.md before CLAUDE.md of the same directory", function()
    temp.write(dir .. "/AGENTS.md", "agents")
    temp.write(dir .. "/CLAUDE.md", "claude")
    assert.same({ "AGENTS.md: agents" }, load())
  end)

  it("follow links within the project, and take a file once", function()
    temp.write(dir .. "/.git/HEAD", "")
    temp.write(dir .. "/docs/agents.md", "text")
    link("docs/agents.md", "AGENTS.md")
    assert(sys.mkdir_private(dir .. "/a"))
    link("../AGENTS.md", "a/CLAUDE.md")
    assert.same({ "AGENTS.md: text" }, load(dir .. "/a"))
  end)

  it("never follow a link out of the project", function()
    temp.write(places.config .. "/secret", "a private key")
    link(places.config .. "/secret", "AGENTS.md")
    local lines = load()
    assert.equal(1, #lines)
    assert.matches("^AGENTS.md: %(.*AGENTS.md is not read: .*outside the workspace", lines[1])
    assert.is_nil(lines[1]:find("private", 1, true))
  end)

  it("that cannot be read are a line, not the end", function()
    assert(sys.mkdir_private(dir .. "/AGENTS.md"))
    assert.matches("AGENTS.md is not read: .*is a directory", load()[1])
    temp.write(dir .. "/.git/HEAD", "")
    assert(sys.mkdir_private(dir .. "/a"))
    assert(os.execute("mkfifo " .. temp.quote(dir .. "/a/AGENTS.md")))
    assert(sys.mkdir_private(dir .. "/a/b"))
    link("AGENTS.md", "a/b/AGENTS.md")
    temp.write(dir .. "/a/b/c/AGENTS.md", "\x7fELF\0\0\0\0\0\0\0\0")
    local lines = load(dir .. "/a/b/c")
    assert.equal(4, #lines)
    assert.matches("a/AGENTS.md is not read: .*fifo", lines[2])
    assert.matches("a/b/AGENTS.md is not read: .*symbolic links", lines[3])
    assert.matches("a/b/c/AGENTS.md is no text", lines[4])
  end)

  it("are bounded each, and say what was cut", function()
    defaults.instructions = { max_file = 11, max_total = 1000 }
    temp.write(dir .. "/AGENTS.md", "0123456789é and more")
    assert.same({ "AGENTS.md: (AGENTS.md is too long: its last 11 bytes are left out "
      .. "(defaults.instructions.max_file, 11 bytes))0123456789\n"
      .. "[... 11 bytes left out: too long ...]" }, load())
  end)

  it("are bounded together: the nearest keep the most", function()
    defaults.instructions = { max_file = 100, max_total = 15 }
    temp.write(places.config .. "/AGENTS.md", "mine")
    temp.write(dir .. "/.git/HEAD", "")
    temp.write(dir .. "/AGENTS.md", "0123456789")
    temp.write(dir .. "/a/AGENTS.md", "nearest..")
    local lines = load(dir .. "/a")
    assert.matches("last 4 bytes are left out %(defaults.instructions.max_total, 15 bytes%)%)\n",
      lines[1])
    assert.matches("its last 4 bytes .*%)012345\n", lines[2])
    assert.equal("a/AGENTS.md: nearest..", lines[3])
  end)

  it("cannot hide text or break the prompt", function()
    temp.write(dir .. "/AGENTS.md", "a\27[31m\u{202e}b\xff\u{e0041}")
    assert.same({ "AGENTS.md: ab\u{fffd}" }, load())
  end)

  describe("in the prompt of an agent", function()
    local place

    before_each(function()
      place = agents.place()
      temp.write(places.config .. "/AGENTS.md", "Be nice.")
      temp.write(place.cwd .. "/AGENTS.md", "Use tabs.")
    end)

    after_each(function()
      place:close()
    end)

    it("stand behind its beginning, under their paths", function()
      local made = place:new({}, { system = "You are one." })
      assert.matches("^You are one%.\n\n# Instructions\n\nWhat ", made.system)
      local tail = ("\n\n## %s/AGENTS.md\n\nBe nice.\n\n## %s/AGENTS.md\n\nUse tabs."):format(
        places.config, place.cwd)
      assert.equal(tail, made.system:sub(-#tail))
      assert.equal(made.system, place:new({}, { system = "You are one." }).system)
    end)

    it("are left out on demand", function()
      assert.equal("You are one.",
        place:new({}, { system = "You are one.", instructions = false }).system)
    end)
  end)

  it("are shown with where they come from, and what is wrong", function()
    local place = agents.place()
    temp.write(places.config .. "/AGENTS.md", "Be nice.")
    assert(sys.mkdir_private(place.cwd .. "/AGENTS.md"))
    local made = place:new({}, { system = function() return "Hello." end })
    local shown = prompt.show(made)
    assert.matches("^── the agent's function `system` %(6 bytes%)\nHello.\n\n── ", shown)
    assert.matches(places.config .. "/AGENTS.md (", shown, 1, true)
    assert.matches("\n\nBe nice.\n\n── " .. place.cwd, shown, 1, true)
    assert.matches("AGENTS.md (0 bytes)\n(" .. made.notes[1] .. ")\n", shown, 1, true)
    assert.matches("is a directory", made.notes[1])
    place:close()
  end)
end)
