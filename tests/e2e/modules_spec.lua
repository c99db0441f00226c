-- Live reload of all Lua modules of agenthost's own in a terminal: the session goes on with the new
-- code, and none of the version from before is called any more.
local case = require("support.case")
local interactive = require("support.interactive")
local marked = require("support.marked")
local module_reload = require("agenthost.module_reload")
local sys = require("agenthost.sys")

local t

before_each(function()
  t = case.new()
end)

after_each(function()
  t:finish()
end)

-- A plugin whose command writes what it has noted, and notes anew which functions are called.
local PLUGIN <const> = [[return { name = "p", setup = function(ctx)
  ctx.tool({ name = "own", description = "d", input = { a = "string" },
    run = function() return "own" end })
  ctx.command({ name = "note", help = "h", run = function()
    local counts = rawget(_G, "COUNTS") or {}
    local file <close> = assert(io.open(ctx.cwd .. "/called", "w"))
    for what, version in pairs(counts) do
      file:write(version, " ", what, "\n")
    end
    rawset(_G, "COUNTS", {})
    rawset(_G, "called_now", function(version, number, line)
      local what = number .. " " .. line
      COUNTS[what] = math.min(version, COUNTS[what] or version)
    end)
    return "noted"
  end })
end }]]

local AGENT <const> = [[return require("agenthost.agent").new({ system = "Be brief.",
  plugins = { "./p.lua", "shell", "files", "background" } })]]

it("a session in a terminal goes on with the new code of every module", function()
  t:script({ text = "First answer." },
    { text = "Go on.", tools = { { name = "bash", input = { command = "echo hi" } },
      { name = "own", input = { a = "x" } },
      { name = "write_file", input = { path = "a", content = "b" } },
      { name = "background_run", input = { command = "until [ -e go ]; do sleep 0.05; done" } } } },
    { text = "Second answer.", wire = { delta = 2, event_delay = 0.02 } },
    { text = "Third answer." },
    { text = "A **bold** list:\n\n- one\n- two\n\nFourth answer.",
      wire = { delta = 2, event_delay = 0.05 } },
    { text = "Fifth answer." }, { text = "Sixth answer." })
  t.place:write("agent.lua", AGENT)
  t.place:write("p.lua", PLUGIN)
  t.place:settings('return { permissions = { mode = "default" } }')
  local all, lua = marked.modules(), t.place.config .. "/agenthost/lua"
  marked.write(lua, all, 1)
  local term = interactive.start(t, { "agent.lua", width = 100, height = 50 })
  term:say("hello")
  term:wait_answer("First answer.")

  marked.write(lua, all, 2)
  term:say("/reload")
  term:wait_for(function(screen)
    return screen:gsub("\n", ""):find("the module agenthost.ui.repl", 1, true)
      and interactive.at_prompt(screen)
  end)
  term:say("/note")
  term:wait_answer("noted")
  term:say("go")
  for i = 1, 4 do -- tools that ask
    term:wait_for(function(screen)
      return case.count(screen, "y yes") == i and screen:find("y/n%? *$")
    end)
    term:say("y")
  end
  term:wait_answer("Second answer.")
  t.place:write("go", "")
  term:wait_answer("Third answer.") -- on the notice

  for _, line in ipairs({ "/tasks", "/sessions", "/permissions", "/model", "!echo mine", "/help" })
  do
    term:say(line)
    term:wait_answer("> " .. line)
  end
  term:say("slow")
  term:wait_for("A bold")
  term:say("and this")
  term:wait_answer("Fifth answer.")
  assert.matches("• one", term:screen())
  term:say("/clear")
  term:wait_answer("(session ")
  term:say("again")
  term:wait_answer("Sixth answer.")
  term:say("/note")
  term:wait_answer("noted")

  local stale, count = {}, 0
  for _, line in ipairs(case.lines(assert(sys.read_file(t.place.work .. "/called", 1 << 20)))) do
    local version, number, at = line:match("^(%d) (%d+) (%d+)$")
    local name = all[tonumber(number)].name
    count = count + 1
    if version == "1" and not module_reload.NEEDS_RESTART[name] then
      stale[#stale + 1] = name .. ":" .. at
    end
  end
  assert.is_true(count > 300)
  assert.same({}, stale)
  term:say("q")
  assert.equal(0, term:wait_dead())
end)
