-- Kills its own supervisor again and again, for crash_spec.lua:
--   agenthost lost.lua DIR TIMES SEED
-- Prints what it was told, as one JSON object: task id -> list of statuses. Raises when a process
-- is left, or when there is no new supervisor.
local async = require("agenthost.async")
local json = require("agenthost.json")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

package.path = arg[0]:match("^(.*)/[^/]*/[^/]*$") .. "/?.lua;" .. package.path
local stress = require("support.stress")

math.randomseed(assert(tonumber(arg[3])))
task.set_dir(arg[1])
local q <close> = queue.new()

local LEAVER <const> = "setsid sleep 60 & true"

local commands = {
  "exec sleep 60",
  "sleep 60 & sleep 60",
  "trap '' TERM; sleep 60 & wait; sleep 60",
  "setsid sleep 60 & exec sleep 60",
  "true",
  LEAVER,
  "sleep 0.02",
}

local function run_all()
  local tasks = {}
  for i, command in ipairs(commands) do
    local lifetime = i % 2 == 0 and command ~= LEAVER and "detached" or "session"
    tasks[i] = assert(task.run(command, { queue = q, lifetime = lifetime }))
  end
  return tasks
end

-- Those that nothing may be left of: all but the leaver, when it gets to the next supervisor.
local function of_this_supervisor(tasks)
  local ids = {}
  for _, one in ipairs(tasks) do
    ids[one.id] = one.command ~= LEAVER or one:status() ~= "queued"
  end
  return ids
end

local told = {}

for _ = 1, tonumber(arg[2]) do
  local tasks = run_all()
  local supervisor = assert(stress.eventually(function() return stress.supervisors()[1] end))
  async.sleep(math.random() * 0.05) -- any moment
  local ids = of_this_supervisor(tasks)
  assert(os.execute("kill -KILL " .. supervisor))
  assert(stress.eventually(function()
    local next_one = stress.supervisors()[1]
    return next_one and next_one ~= supervisor
  end), "there is no new supervisor")
  local after = assert(task.run("echo works", { queue = q }))
  assert(after:wait(stress.FAR) == "completed", "no new task works")
  assert((after:output()) == "works\n")
  for _, one in ipairs(tasks) do
    one:kill({ grace = 0, by = "the test" }) -- those that the next supervisor got
    assert(one:wait(stress.FAR), "a task does not end")
  end
  for _, notice in ipairs(stress.drain(q, #tasks + 1)) do
    told[notice.task] = told[notice.task] or {}
    table.insert(told[notice.task], notice.status)
  end
  assert(q:ack())
  local left = stress.wait_for_no_process(function(id) return ids[id] end)
  assert(#left == 0, "left: " .. table.concat(left, "\n"))
end
assert(#q == 0)
assert(sys.write_fd(1, json.encode(told) .. "\n"))
