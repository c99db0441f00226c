-- What a supervisor costs while its tasks are quiet, and how far one that is not gets past its
-- limit: agenthost quiet.lua [TASKS] [SECONDS] [LIMIT in MiB]. See README.md.
local async = require("agenthost.async")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

local count, seconds, limit = tonumber(arg[1]) or 1000, tonumber(arg[2]) or 10,
  (tonumber(arg[3]) or 256) << 20
local dir = assert(os.getenv("BENCH_DIR"), "BENCH_DIR: a new folder for the tasks") .. "/quiet"
task.set_dir(dir)
task.set_max_running(count + 10)

-- The runner's thread has started it.
local function supervisor()
  for _, thread in ipairs(sys.list("/proc/self/task")) do
    local text = sys.read_file(("/proc/self/task/%s/children"):format(thread.name))
    local pid = text and text:match("%d+")
    if pid then
      return pid
    end
  end
end

local function read_cost()
  local pid = supervisor()
  local fields = {}
  for field in sys.read_file("/proc/" .. pid .. "/stat"):match("^.*%)(.*)$"):gmatch("%S+") do
    fields[#fields + 1] = field
  end
  local status = sys.read_file("/proc/" .. pid .. "/status")
  local wakes = status:match("\nvoluntary_ctxt_switches:%s*(%d+)")
  return (fields[12] + fields[13]) / 100, tonumber(wakes)
end

local function measure(name, command)
  local tasks = {}
  for i = 1, count do
    tasks[i] = assert(task.run(command, { notify = false }))
  end
  async.sleep(3)
  local cpu, wakes = read_cost()
  async.sleep(seconds)
  local cpu_after, wakes_after = read_cost()
  print(("%s: %.2f %% of a core, %.1f wakes a second"):format(name,
    100 * (cpu_after - cpu) / seconds, (wakes_after - wakes) / seconds))
  local begin = sys.now()
  for _, one in ipairs(tasks) do
    one:kill({ grace = 0 })
  end
  for _, one in ipairs(tasks) do
    one:wait()
  end
  print(("  killed in %.2f s"):format(sys.now() - begin))
end

-- How far past its limit: what was left out when the file was cut says how long it was.
local function overrun(name, command)
  local one = assert(task.run(command, { max_output = limit, notify = false }))
  local status, state = one:wait()
  local path = one.output_path
  local file <close> = assert(io.open(path, "rb"))
  local kept = file:seek("end")
  file:seek("set", math.max(0, limit - 66000))
  local cut = tonumber(file:read("a"):match("%[%.%.%. (%d+) bytes left out") or 0)
  print(("%s: %s, %s; %.1f MiB past the limit at its peak, %d bytes kept past it"):format(name,
    status, state.reason or "", (kept + cut - limit) / (1 << 20), kept - limit))
  os.remove(path)
end

for _ = 1, 5 do
  overrun("yes", "yes")
end
for _ = 1, 3 do
  overrun("quiet for 3 s, then yes", "sleep 3; yes")
end
overrun("a line every 10 ms for 3 s, then yes",
  "for i in $(seq 300); do echo x; sleep 0.01; done; yes")
measure(count .. " idle", { "sleep", "600" })
measure(count .. " with a line a second", "while :; do echo x; sleep 1; done")
