-- The measurements for agenthost itself: agenthost host.lua WHAT [COUNT] [WIDTH]. See README.md.
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")

local what, count, width = ...
count, width = tonumber(count) or 1, tonumber(width)
local stamp = os.getenv("STAMP")
local q = queue.new()
task.set_dir(os.getenv("BENCH_DIR") .. "/out/agenthost")
local options = { queue = q, notify = true, max_output = 4 << 30 }

local function drain()
  while #q == 0 do
    q:wait()
  end
  local notices = q:drain()
  q:ack(notices[#notices].seq)
  return notices
end

local function read_stamp(notice)
  local file <close> = assert(io.open(notice.output))
  return file:read("n") / 1e9
end

local function ask(word)
  print(word)
  io.flush()
  io.read("l")
end

local function at(seconds)
  return { stamp, ("%d"):format((sys.now() + seconds) * 1e9 // 1) }
end

local measure = {}

function measure.start()
  task.run({ "true" }, options) -- the first starts the supervisor
  drain()
  for _ = 1, count do
    require("agenthost.async").sleep(0.002)
    local begin = sys.now()
    task.run({ "true" }, options)
    print((sys.now() - begin) * 1e6)
    drain()
  end
end

function measure.last()
  task.run({ "true" }, options)
  drain()
  for _ = 1, count do
    require("agenthost.async").sleep(0.002)
    task.run(at(0.005), options)
    local notice = drain()[1]
    local now = sys.now()
    print((now - read_stamp(notice)) * 1e6)
  end
end

function measure.many()
  local failed, ended = 0, 0
  if width and width < count then
    task.set_max_running(width)
  end
  local begin = sys.now()
  for _ = 1, count do
    task.run("true", options)
  end
  while ended < count do
    for _, notice in ipairs(drain()) do
      ended = ended + 1
      failed = failed + (notice.code == 0 and 0 or 1)
    end
  end
  print(sys.now() - begin, failed)
end

function measure.together()
  local notices, first = {}, math.huge
  task.set_max_running(count)
  local command = at(1.5)
  for _ = 1, count do
    task.run(command, options)
  end
  while #notices < count do
    table.move(drain(), 1, count, #notices + 1, notices)
  end
  local now = sys.now()
  for _, notice in ipairs(notices) do
    first = math.min(first, read_stamp(notice))
  end
  print((now - first) * 1e6)
end

local function one(command)
  task.run({ "true" }, options)
  drain()
  ask("before")
  local begin = sys.now()
  task.run(command, options)
  drain()
  print(sys.now() - begin)
  ask("after")
end

function measure.leave()
  one("sleep 30 & echo hi")
end

function measure.write()
  one({ "head", "-c", "1073741824", "/dev/zero" })
end

-- COUNT running, and WIDTH more that wait for their turn.
function measure.hold()
  task.run({ "true" }, options)
  drain()
  task.set_max_running(count)
  ask("before")
  local last
  for i = 1, count + (width or 0) do
    local made = assert(task.run({ "sleep", "20" }, options))
    last = i == count and made or last
  end
  while select(2, last:status()).pid == nil do
    require("agenthost.async").sleep(0.05)
  end
  ask("after")
end

-- Descriptors that are kept for finished tasks.
function measure.kept()
  task.run({ "true" }, options)
  drain()
  ask("before")
  measure.many()
  ask("after")
end

measure[what]()
