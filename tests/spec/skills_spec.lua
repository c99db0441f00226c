local agents = require("support.agents")
local defaults = require("agenthost.defaults")
local front_matter = require("agenthost.front_matter")
local places = require("agenthost.places")
local skills = require("agenthost.skills")
local sys = require("agenthost.sys")
local temp = require("support.temp")

describe("agenthost.front_matter", function()
  local function parse(...)
    return front_matter.parse(table.concat({ ... }, "\n"))
  end

  it("takes plain, quoted and block values", function()
    local fields, rest = parse("---", "# a comment", "name: pdf-forms   # and why", "",
      'quoted: "a: \\"b\\" \\\\ \\n# c" # x', "single: 'it''s # fine'", "plain: use: when a: b",
      "folded: >-", "  one", "  two", "", "  three", "literal: |", "  one", "    two", "",
      "long: begins", "  here and", "    ends there", "empty:", "metadata:", "  name: other",
      "list:", "- a", "- b", "---", "", "# Body", "--- no end", "")
    assert.same({ name = "pdf-forms", quoted = 'a: "b" \\ \n# c', single = "it's # fine",
      plain = "use: when a: b", folded = "one two\nthree", literal = "one\n  two",
      long = "begins here and ends there" }, fields)
    assert.equal("\n# Body\n--- no end\n", rest)
  end)

  it("takes a head without fields, and a text without a body", function()
    assert.same({}, (parse("---", "---")))
    assert.same({ { a = "b" }, "" }, { parse("---", "a: b", "---") })
  end)

  for text, message in pairs({
    [""] = "line 1: the head has no end: a line --- is missing",
    ["# Title\n---\n"] = "line 1: the head is missing: the first line has to be ---",
    ["---\na: b\n"] = "line 2: the head has no end: a line --- is missing",
    ["---\na: b\nc\n---\n"] = "line 3: expected 'key: value'",
    ["---\na:b\n---\n"] = "line 2: expected 'key: value'",
    ["---\n  a: b\n---\n"] = "line 2: expected 'key: value'",
    ["---\na: b\n\tc: d\n---\n"] = "line 3: a tab cannot indent",
    ["---\na: b\n\na: c\n---\n"] = "line 4: 'a' stands here twice",
    ["---\na: \"b\n  c\"\n---\n"] = "line 2: a quoted value has to end on its line",
    ["---\na: 'b\n---\n"] = "line 2: a quoted value has no end on its line",
    ["---\na: 'b' c\n---\n"] = "line 2: there is something behind a quoted value",
    ["---\na: \"\\x\"\n---\n"] = "line 2: unknown escape \\x in a quoted value",
    ["---\na: [b]\n---\n"] = "line 2: a value cannot begin with [ here: put it in quotes",
    ["---\na: *b\n---\n"] = "line 2: a value cannot begin with * here: put it in quotes",
  }) do
    it("says what is wrong with " .. ("%q"):format(text), function()
      assert.same({ nil, message }, { front_matter.parse(text) })
    end)
  end

  -- One of a small alphabet, so that what means something comes often.
  local function random_text(max)
    local parts <const> = { "---", "\n", "\n", "name", ":", ": ", " ", "  ", '"', "'", "\\", "|",
      ">", "-", "- ", "#", " #", "é", "\t", "a", "b: c", "[", "\u{2028}" }
    local out = {}
    for i = 1, math.random(0, max) do
      out[i] = parts[math.random(#parts)]
    end
    return table.concat(out)
  end

  it("never raises, and always says what it made of a text", function()
    math.randomseed(5)
    for _ = 1, 20000 do
      local text = (math.random(3) == 1 and "" or "---\n") .. random_text(30)
        .. (math.random(3) == 1 and "" or "\n---\n")
      local fields, rest = front_matter.parse(text)
      assert(type(rest) == "string", text)
      if fields then
        assert(text:sub(-#rest) == rest or rest == "", text)
        for key, value in pairs(fields) do
          assert(type(key) == "string" and type(value) == "string", text)
        end
      else
        assert(rest:find("^line %d+: %C+$"), rest)
      end
    end
  end)

  it("gives back what was quoted", function()
    math.randomseed(6)
    for _ = 1, 5000 do
      local value = random_text(10):gsub("\t", " ")
      local double = value:gsub('["\\]', "\\%0"):gsub("\n", "\\n")
      local single = value:gsub("'", "''"):gsub("\n", " ")
      local fields = assert(front_matter.parse(
        ('---\nd: "%s"\ns: \'%s\' # x\n---\n'):format(double, single)))
      assert.same({ d = value, s = (value:gsub("\n", " ")) }, fields)
    end
  end)
end)

describe("agenthost.skills", function()
  local config, home, dir, limits

  before_each(function()
    config, limits = places.config, defaults.skills
    places.config, dir, home = temp.directory(), temp.directory(), sys.getenv("HOME")
    temp.write(dir .. "/.git/HEAD", "")
  end)

  after_each(function()
    temp.remove(places.config)
    temp.remove(dir)
    temp.remove(home .. "/.agents")
    places.config, defaults.skills = config, limits
  end)

  local function write(base, name, description, body)
    return temp.write(("%s/%s/SKILL.md"):format(base, name),
      ("---\nname: %s\ndescription: %s\n---\n%s"):format(name, description or "Does " .. name,
        body or "Do it."))
  end

  local function names(found)
    local list = {}
    for i, skill in ipairs(found) do
      list[i] = skill.name
      assert.equal(skill, found[skill.name])
    end
    return table.concat(list, " ")
  end

  it("know a name when they see one", function()
    for _, name in ipairs({ "a", "0", "pdf-forms", "a-b-c", ("x"):rep(64) }) do
      assert.is_true(skills.is_name(name))
    end
    for _, name in ipairs({ "", "-a", "a-", "a--b", "A", "a_b", "a/b", "..", ".", "a\n", "é",
      ("x"):rep(65) }) do
      assert.is_false(skills.is_name(name))
    end
    assert.is_false(skills.is_name(7))
  end)

  it("are found near and far, the nearest first", function()
    write(dir .. "/.agents/skills", "root-agents")
    write(dir .. "/.agenthost/skills", "root")
    write(dir .. "/.agenthost/skills", "both", "the far one")
    write(dir .. "/a/.claude/skills", "claude")
    write(dir .. "/a/.agenthost/skills", "both", "the near one")
    write(places.config .. "/skills", "mine")
    write(home .. "/.agents/skills", "mine-too")
    write(dir .. "/a/b/.agenthost/skills", "too-deep")
    local found, notes = skills.find(dir .. "/a")
    assert.equal("both claude root root-agents mine mine-too", names(found))
    assert.equal("the near one", found.both.description)
    assert.same({}, notes)
  end)

  it("that are wrong are left out, with file and line", function()
    local base = dir .. "/.agenthost/skills"
    temp.write(base .. "/a/SKILL.md", "---\nname: a\ndescription: [x]\n---\n")
    temp.write(base .. "/b/SKILL.md", "---\nname: b\n---\n")
    temp.write(base .. "/c/SKILL.md", "---\nname: ../c\ndescription: x\n---\n")
    temp.write(base .. "/d/SKILL.md", "---\nname: other\ndescription: x\n---\n")
    temp.write(base .. "/e/SKILL.md/x", "")
    temp.write(base .. "/f/README.md", "no skill")
    temp.write(base .. "/g/SKILL.md", "\x7fELF\0\0\0\0\0\0\0\0")
    temp.write(base .. "/file", "no folder")
    local found, notes = skills.find(dir)
    assert.equal("other", names(found))
    for i, note in ipairs({
      "a/SKILL.md: line 3: a value cannot begin with [ here: put it in quotes",
      "b/SKILL.md: its description is missing: the model chooses by it",
      "c/SKILL.md: its name has to be of a-z, 0-9 and single hyphens, at most 64; it is '../c'",
      "d/SKILL.md: its name is 'other', its folder 'd'",
      "e/SKILL.md: 'SKILL.md' is a directory, not a file",
      "g/SKILL.md: it is no text",
    }) do
      assert.equal(base .. "/" .. note, notes[i])
    end
    assert.equal(6, #notes)
  end)

  it("of a project are never those that a link leads out to; the user's may be", function()
    write(places.config .. "/elsewhere", "linked")
    write(dir .. "/inside", "within")
    assert(sys.mkdir_private(dir .. "/.agenthost/skills"))
    assert(sys.mkdir_private(places.config .. "/skills"))
    local function link(target, name)
      assert(os.execute("ln -s " .. temp.quote(target) .. " " .. temp.quote(name)))
    end
    link(places.config .. "/elsewhere/linked", dir .. "/.agenthost/skills/linked")
    link(dir .. "/inside/within", dir .. "/.agenthost/skills/within")
    local found, notes = skills.find(dir)
    assert.equal("within", names(found))
    assert.matches("linked/SKILL.md: a link on the way leads out of " .. dir, notes[1], 1, true)
    link(places.config .. "/elsewhere/linked", places.config .. "/skills/linked")
    assert.equal("within linked", names((skills.find(dir))))
  end)

  it("are bounded in number", function()
    defaults.skills = setmetatable({ max = 2 }, { __index = limits })
    for _, name in ipairs({ "a", "b", "c", "d" }) do
      write(dir .. "/.agenthost/skills", name)
    end
    local found, notes = skills.find(dir)
    assert.equal("a b", names(found))
    assert.same({ "skill 'c' is left out: there are more than 2 (defaults.skills.max)" }, notes)
  end)

  it("have a catalogue that is bounded, too", function()
    defaults.skills = setmetatable({ catalogue = 70, description = 10 }, { __index = limits })
    local shown = skills.catalogue({
      { name = "a", description = ("x"):rep(11) .. " and more" },
      { name = "b", description = "more than fit" },
      { name = "c", description = "three" },
    })
    assert.matches("\n\n%- a: x+ ?%[%.%.%. %d+ characters left out %.%.%.%]", shown)
    assert.matches("\n- and, without a description here: b, c$", shown)
    local _, lines = shown:gsub("\n%- ", "")
    assert.equal(2, lines)
  end)

  describe("as a plugin", function()
    local place

    before_each(function()
      place = agents.place()
    end)

    after_each(function()
      place:close()
    end)

    local function call(made, input)
      local async = require("agenthost.async")
      return async.run(function()
        local result = made.tools:run({ { id = "1", name = "skill", input = input } },
          function(c) return made:tool_context(c) end, made.emitter)[1]
        return result.content, result.is_error or false
      end)
    end

    local function with_skill()
      local base = place.cwd .. "/.agenthost/skills"
      write(base, "pdf", "Fills in forms.", "\nRun `fill.py`.\n")
      temp.write(base .. "/pdf/fill.py", "print(1)")
      temp.write(base .. "/pdf/docs/more.md", "More.")
      temp.write(base .. "/pdf/a/b/c/d/e", "too deep")
      return place:new({}, { system = "Base.", plugins = { "skills" } }), base
    end

    it("are neither in the prompt nor a tool where there are none", function()
      local made = place:new({}, { system = "Base.", plugins = { "skills" } })
      assert.equal("Base.", made.system)
      assert.same({}, made.tools:names())
    end)

    it("are in the prompt, and read on demand", function()
      local made, base = with_skill()
      assert.matches("^Base.\n\n# Skills\n\n", made.system)
      assert.matches("\n\n- pdf: Fills in forms.", made.system, 1, true)
      assert.is_nil(made.system:find("fill.py", 1, true))
      assert.same({ ('<skill name="pdf" folder="%s/pdf">\nRun `fill.py`.\n</skill>\n\n'
        .. "Its files:\nfill.py\ndocs/more.md"):format(base), false },
        { call(made, { name = "pdf" }) })
      assert.same({ "More.", false }, { call(made, { name = "pdf", file = "docs/more.md" }) })
    end)

    it("never leave their folder", function()
      local made, base = with_skill()
      temp.write(place.cwd .. "/secret", "a key")
      assert(os.execute("ln -s ../../../secret " .. temp.quote(base .. "/pdf/link")))
      for _, file in ipairs({ "../../../secret", place.cwd .. "/secret", "link", "/etc/passwd",
        "docs/../../../../secret" }) do
        local shown, is_error = call(made, { name = "pdf", file = file })
        assert.is_true(is_error)
        assert.matches("Error: skill 'pdf': .*outside the workspace", shown)
      end
      for _, name in ipairs({ "..", "pdf/..", "../skills/pdf", "PDF", "", 1 }) do
        local shown, is_error = call(made, { name = name })
        assert.is_true(is_error)
        assert.is_nil(shown:find("Run", 1, true))
      end
      assert.equal("Error: there is no such skill; there are: pdf", (call(made, { name = "x" })))
    end)

    it("say so when one was exchanged for a link meanwhile", function()
      local made, base = with_skill()
      write(place.cwd, "other", nil, "a key")
      assert(os.execute(("cd %s && mv pdf gone && ln -s ../../other pdf"):format(
        temp.quote(base))))
      local shown, is_error = call(made, { name = "pdf" })
      assert.is_true(is_error)
      assert.matches("skill 'pdf' cannot be read any more: a link on the way", shown)
    end)

    it("tell the user what was left out", function()
      temp.write(place.cwd .. "/.agenthost/skills/x/SKILL.md", "no head")
      local made = place:new({}, { plugins = { "skills" } })
      assert.matches("x/SKILL.md: line 1: the head is missing", made.notes[1])
    end)
  end)
end)
