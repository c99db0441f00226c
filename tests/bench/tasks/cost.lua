-- What a supervisor costs while COUNT tasks run, in % of a core: agenthost cost.lua COUNT SECONDS
-- COMMAND. Or how many MiB `yes` gets past its limit: agenthost cost.lua yes LIMIT. See README.md.
local async = require("agenthost.async")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

task.set_dir(assert(os.getenv("BENCH_DIR"), "BENCH_DIR: a new folder") .. "/out/cost")

-- How far past its limit: what was left out when the file was cut says how long it was.
local function overrun(limit)
  local one = assert(task.run("yes", { max_output = limit, notify = false }))
  one:wait()
  local file <close> = assert(io.open(one.output_path, "rb"))
  local kept = file:seek("end")
  file:seek("set", math.max(0, limit - 66000))
  local cut = tonumber(file:read("a"):match("%[%.%.%. (%d+) bytes left out") or 0)
  return (kept + cut - limit) / (1 << 20)
end

-- The runner's thread has started it; the kernel counts its time in nanoseconds.
local function supervisor_seconds()
  for _, thread in ipairs(sys.list("/proc/self/task")) do
    local text = sys.read_file(("/proc/self/task/%s/children"):format(thread.name))
    local pid = text and text:match("%d+")
    if pid then
      return tonumber(sys.read_file(("/proc/%s/schedstat"):format(pid)):match("%d+")) / 1e9
    end
  end
end

local function cost(count, seconds, command)
  task.set_max_running(count)
  for _ = 1, count do
    assert(task.run(command, { notify = false }))
  end
  async.sleep(4)
  local before = supervisor_seconds()
  async.sleep(seconds)
  return 100 * (supervisor_seconds() - before) / seconds
end

if arg[1] == "yes" then
  print(overrun(assert(tonumber(arg[2])) << 20))
else
  print(cost(assert(tonumber(arg[1])), assert(tonumber(arg[2])), assert(arg[3])))
end
