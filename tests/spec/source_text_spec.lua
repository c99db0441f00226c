-- Lua that was read before it is compiled begins as a file may: with a mark of UTF-8, with #!, and
-- with the ends of lines of other systems.
local agents = require("support.agents")
local async = require("agenthost.async")
local places = require("agenthost.places")
local project = require("agenthost.project")
local source_text = require("agenthost.source_text")
local temp = require("support.temp")

local HEADS <const> = { "#!/usr/bin/env agenthost\n", "\xEF\xBB\xBF", "\xEF\xBB\xBF#!/x\r\n",
  "-- as ever\r\n" }

describe("source_text", function()
  local base, config, path

  before_each(function()
    base, config, path = temp.directory(), places.config, package.path
    places.config = base .. "/config"
  end)

  after_each(function()
    places.config, package.path = config, path
    package.loaded.mine = nil
    temp.remove(base)
  end)

  it("keeps the numbers of lines, and takes nothing but text", function()
    for _, head in ipairs(HEADS) do
      local lines = select(2, head:gsub("\n", "")) + 1
      assert.equal(7, assert(source_text.load(head .. "return 7", "/x/f.lua"))())
      assert.matches(("^/x/f%%.lua:%d: "):format(lines),
        select(2, source_text.load(head .. "return {", "/x/f.lua")))
    end
    local chunk, message = source_text.load(string.dump(function() end), "/x/f.lua")
    assert.is_nil(chunk)
    assert.matches("binary chunk", message)
  end)

  for i, head in ipairs(HEADS) do
    it("is for a script, a plugin and a module that are reloaded: " .. i, function()
      local place = agents.place()
      local files = {
        ["agent.lua"] = 'return require("agenthost.agent").new({ system = "%s", '
          .. 'instructions = false, plugins = { "./p.lua" } })\r\n',
        ["p.lua"] = 'return { version = "%s", setup = function() end }\r\n',
        ["config/lua/mine.lua"] = 'return { version = "%s" }\r\n',
      }
      local function write(version)
        for name, content in pairs(files) do
          temp.write(base .. "/" .. name, head .. content:format(version))
        end
      end
      write("one")
      package.path = places.config .. "/lua/?.lua;" .. package.path
      local mine = require("mine")
      local made = place:new({}, { base_dir = base, system = "x", instructions = false,
        plugins = { "./p.lua" } })
      made.made_with.base_dir, made.made_with.cwd = nil, nil
      made.reloader:follow(base .. "/agent.lua", {})
      write("two")
      async.run(function() return made.reloader:refresh() end)
      assert.same({}, agents.warnings(made))
      assert.same({ "two", "two", "two" }, { made.system, mine.version,
        made.plugins.records[1].definition.version })
      place:close()
    end)

    it("is for the modules of a project: " .. i, function()
      local before, code = places.project, places.project_code
      temp.write(base .. "/.git/HEAD", "")
      temp.write(base .. "/.agenthost/lua/mine.lua", head .. "return { whose = 'project' }")
      assert.is_nil(project.open(base, { trust = true }))
      assert.equal("project", require("mine").whose)
      places.project, places.project_code, places.trust_project = before, code, nil
    end)
  end
end)
