--- Fake commands. The task is real, with its id, output file, ledger and notice; in place of a
--- shell it runs a script that prints what the test wants and ends when the clock says so.
local async = require("agenthost.async")
local options = require("agenthost.options")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local time = require("agenthost.testing.time")

---@class agenthost.testing.FakeTask
---@field command string the command it stands for; `*` is any text
---@field output? string what it prints as soon as it runs, default nothing
---@field code? integer its exit code, default 0
---@field after? number seconds until it exits, default 0; math.huge: it runs until it is ended
---@field real? boolean the command runs as it is

local M = {}

local KNOWN <const> = { "command", "output", "code", "after", "real" }

--- Checks a fake task.
---@param fake agenthost.testing.FakeTask
---@param level integer
---@return agenthost.testing.FakeTask
function M.check(fake, level)
  options.check(fake, KNOWN, level + 1)
  if type(fake.command) ~= "string" then
    error("fake_task: `command` is missing: the command that it stands for", level + 1)
  elseif fake.code ~= nil and not (math.type(fake.code) == "integer" and fake.code >= 0
    and fake.code <= 255) then
    error("fake_task: `code` has to be an exit code, 0 to 255", level + 1)
  elseif fake.after ~= nil and not (type(fake.after) == "number" and fake.after >= 0) then
    error("fake_task: `after` has to be a number of seconds", level + 1)
  end
  return fake
end

local function matches(fake, command)
  local pattern = fake.command:gsub("[%^$()%%.%[%]+?-]", "%%%0"):gsub("%*", ".*")
  return command:find("^" .. pattern .. "$") ~= nil
end

local function find(fakes, command)
  local names = {}
  for i, fake in ipairs(fakes) do
    if matches(fake, command) then
      return fake
    end
    names[i] = "'" .. fake.command .. "'"
  end
  error(("the test has no fake task for the command '%s'; there is %s"):format(command,
    #names > 0 and table.concat(names, ", ") or "none"), 0)
end

local function quote(s)
  return "'" .. s:gsub("'", [['\'']]) .. "'"
end

-- A pipe that the script reads from: whoever writes to it lets it go on. Open for both, so that
-- neither end waits for the other.
local function new_gate(dir)
  local path = dir .. "/gate"
  assert(os.execute("mkfifo -m 600 " .. quote(path)), "mkfifo failed: fake tasks need it")
  return path, assert(io.open(path, "r+"))
end

-- The script that plays the shell, and the gate that holds its end.
local function write_script(place, fake)
  local dir = place:directory("task")
  local after = fake.after or 0
  local gate_path, gate
  if after > 0 and after < math.huge then
    gate_path, gate = new_gate(dir)
    place:defer(function() gate:close() end)
  end
  assert(sys.write_file(dir .. "/output", fake.output or ""))
  local wait = gate and "read -r line <" .. quote(gate_path)
    or after > 0 and "while :; do sleep 3600; done" or ":"
  assert(sys.write_file(dir .. "/shell", ("#!/bin/sh\ncat %s\n%s\nexit %d\n"):format(
    quote(dir .. "/output"), wait, fake.code or 0), 448)) -- octal 700
  return dir .. "/shell", gate
end

local function let_go(gate, id, after)
  async.sleep(after)
  if time.clock then
    time.clock.held[id] = nil
  end
  gate:write("\n")
  gate:flush()
end

--- Gives an agent fake commands in place of those it would run.
---@param agent agenthost.Agent
---@param fakes agenthost.testing.FakeTask[]
---@param place agenthost.testing.Place
function M.attach(agent, fakes, place)
  local run_task = agent.run_task
  function agent.run_task(self, command, opts)
    local shown = type(command) == "table" and table.concat(command, " ") or command
    local fake = find(fakes, text.clean(shown))
    if fake.real then
      return run_task(self, command, opts)
    end
    local shell, gate = write_script(place, fake)
    local all = { shell = shell }
    for name, value in pairs(opts or {}) do
      all[name] = name == "shell" and shell or value
    end
    local made = run_task(self, shown, all)
    if (fake.after or 0) > 0 and time.clock then
      time.clock.held[made.id] = #(fake.output or "")
    end
    if gate then
      async.spawn(let_go, gate, made.id, fake.after)
    end
    return made
  end
end

return M
