local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")
local watch = require("agenthost.watch")

local FAR <const> = 30 -- seconds: a bound that no passing test reaches

local base, started
local before = {}

setup(function()
  base = temp.directory()
  task.set_dir(base)
  for name, value in pairs(defaults.watch) do
    before[name] = value
  end
end)

teardown(function()
  temp.remove(base)
end)

before_each(function()
  started = {}
  defaults.watch.batch, defaults.watch.interval = 0.02, 0.01
end)

after_each(function()
  for _, one in ipairs(started) do
    one:kill({ grace = 0 })
    one:wait(FAR)
  end
  for name, value in pairs(before) do
    defaults.watch[name] = value
  end
end)

local function run(command, options)
  local one = assert(task.run(command, options))
  started[#started + 1] = one
  return one
end

-- A command that goes on when the file `name` is there.
local function waits_for(name)
  return ("until test -e %s/%s; do sleep 0.01; done; "):format(base, name)
end

local function touch(name)
  temp.write(base .. "/" .. name, "")
end

describe("watch.wait_ready", function()
  it("waits for a port", function()
    local port_file = base .. "/port"
    local one = run({ "python3", "-uc", ([[
import os, socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
open("%s.new", "w").write(str(s.getsockname()[1]))
os.rename("%s.new", "%s")
while not os.path.exists("%s/listen"):
    time.sleep(0.01)
s.listen()
time.sleep(60)
]]):format(port_file, port_file, port_file, base) })
    local deadline = sys.now() + FAR
    local port
    repeat
      assert(sys.now() < deadline)
      port = math.tointeger(tonumber((sys.read_file(port_file))))
    until port
    async.run(function()
      local _, message, code = watch.wait_ready(one, { port = port }, 0.05)
      assert.same({ "it was not ready after 0.05 s; it still runs", "TIMEOUT" }, { message, code })
      local waiter = async.spawn(function()
        return watch.wait_ready(one, { port = port }, FAR)
      end)
      async.sleep(0.03)
      touch("listen")
      assert.is_true(waiter:wait())
      assert.is_true(watch.wait_ready(one, { port = port }, 0)) -- it is ready already
    end)
  end)

  it("waits for a pattern in the output", function()
    local one = run("echo starting; " .. waits_for("pattern")
      .. "echo 'Listening on :80'; exec sleep 60")
    async.run(function()
      assert.equal("TIMEOUT", select(3, watch.wait_ready(one, { pattern = "on :%d+" }, 0.05)))
      local waiter = async.spawn(function()
        return watch.wait_ready(one, { pattern = "on :%d+" }, FAR)
      end)
      async.sleep(0.03)
      touch("pattern")
      assert.is_true(waiter:wait())
    end)
    assert.is_false(select(2, one:status()).ended)
  end)

  it("works outside a job", function()
    assert.is_true(watch.wait_ready(run("echo up; sleep 60"), { pattern = "^up\n" }, FAR))
  end)

  it("gives up when the task ends before it is ready", function()
    local ready, message, code = watch.wait_ready(run("echo no; exit 3"), { pattern = "yes" }, FAR)
    assert.is_nil(ready)
    assert.matches("^it ended before it was ready: failed %(.*3.*%)$", message)
    assert.equal("ENDED", code)
    local one = run({ "no-such-program-anywhere" })
    ready, message, code = watch.wait_ready(one, { port = 1 }, FAR)
    assert.is_nil(ready)
    assert.matches("command not found", message)
    assert.equal("ENDED", code)
  end)

  it("waits for one that is queued", function()
    task.set_max_running(1)
    local first = run("exec sleep 60")
    local second = run("echo up; exec sleep 60")
    async.run(function()
      assert.equal("TIMEOUT", select(3, watch.wait_ready(second, { pattern = "up" }, 0.05)))
      local waiter = async.spawn(function()
        return watch.wait_ready(second, { pattern = "up" }, FAR)
      end)
      first:kill({ grace = 0 })
      assert.is_true(waiter:wait())
    end)
    task.set_max_running(64)
  end)
end)

describe("watch.follow", function()
  -- Follows to the end; the batches, and what follow gives.
  local function follow(one, pattern)
    local batches = {}
    local result = table.pack(async.run(function()
      return watch.follow(one, pattern, function(lines)
        batches[#batches + 1] = lines
      end)
    end))
    return batches, table.unpack(result, 1, result.n)
  end

  local function all(batches)
    local lines = {}
    for _, batch in ipairs(batches) do
      table.move(batch, 1, #batch, #lines + 1, lines)
    end
    return lines
  end

  it("hands over every line, the last one without an end, too", function()
    local batches, done = follow(run("printf 'one\\ntwo\\n\\nthree'"))
    assert.same({ "one", "two", "three" }, all(batches))
    assert.is_true(done)
  end)

  it("hands over nothing of an empty output", function()
    assert.same({ {}, true }, { follow(run("true")) })
    assert.same({ {}, true }, { follow(run({ "no-such-program-anywhere" })) })
  end)

  it("hands over lines that match", function()
    local batches = follow(run("printf 'INFO a\\nERROR b\\nINFO c\\nERROR d'"), "^ERROR (%a)")
    assert.same({ "ERROR b", "ERROR d" }, all(batches))
  end)

  it("cleans lines", function()
    local batches = follow(run("printf '\\033[31mred\\033[0m\\n\\377\\n\\033[0m\\n'"))
    assert.same({ "red", "\u{fffd}" }, all(batches))
  end)

  it("puts lines that come together into one batch, and hands over while it runs", function()
    local one = run("echo a; echo b; echo c; " .. waits_for("more") .. "echo d; echo e")
    async.run(function()
      while (one:output()) ~= "a\nb\nc\n" do
        async.wait_any({ one:waitable() }, 0.01)
      end
      local batches = {}
      local follower = async.spawn(function()
        return watch.follow(one, nil, function(lines)
          batches[#batches + 1] = lines
        end)
      end)
      async.sleep(0.05)
      assert.same({ { "a", "b", "c" } }, batches)
      touch("more")
      assert.is_true(follower:wait())
      table.remove(batches, 1)
      assert.same({ "d", "e" }, all(batches))
    end)
  end)

  it("waits for the rest of a line", function()
    local one = run("printf 'first half, '; " .. waits_for("half") .. "echo second half; exit 0")
    async.run(function()
      while one:output() == "" do
        async.wait_any({ one:waitable() }, 0.01)
      end
      local got = {}
      local follower = async.spawn(function()
        return watch.follow(one, nil, function(lines)
          table.move(lines, 1, #lines, #got + 1, got)
        end)
      end)
      async.sleep(0.05)
      assert.same({}, got)
      touch("half")
      follower:wait()
      assert.same({ "first half, second half" }, got)
    end)
  end)

  it("stops at a flood and says so; the task goes on", function()
    local one = run("seq 1 5000; exec sleep 60")
    local batches, done, message, code = follow(one)
    assert.is_nil(done)
    assert.same({ "more than 100 lines a second", "FLOOD" }, { message, code })
    assert.is_true(#all(batches) <= defaults.watch.flood)
    assert.is_false(select(2, one:status()).ended)
  end)

  it("counts only lines that match as a flood", function()
    local batches, done = follow(run("seq 1 5000"), "^%d?500$")
    assert.same({ "500", "1500", "2500", "3500", "4500" }, all(batches))
    assert.is_true(done)
  end)

  it("reads much output in pieces and loses no line between them", function()
    defaults.watch.bytes = 1000
    defaults.watch.flood = 1 << 30
    local lines = all((follow(run("seq 1 20000"))))
    assert.equal(20000, #lines)
    for i, line in ipairs(lines) do
      assert.equal(tostring(i), line)
    end
  end)

  it("hands over the beginning of a line without end, once, and goes on behind it", function()
    defaults.watch.bytes, defaults.watch.line = 1000, 10
    local lines = all((follow(run("echo first; head -c 3500 /dev/zero | tr "
      .. "'\\0' x; echo; echo next; "
      .. "head -c 2000 /dev/zero | tr '\\0' y"))))
    assert.same({ "first", "xxxxxxxxxx [... the line goes on ...]", "next",
      "yyyyyyyyyy [... the line goes on ...]" }, lines)
  end)

  it("cuts long lines between characters, and names what is binary (B18)", function()
    defaults.watch.line = 4
    local one = run("printf 'ääää\\näääää\\n'; printf 'a\\0\\0\\0\\1\\n'; echo end")
    assert.same({ "ääää", "ääää [... the line goes on ...]", "[binary line: 5 bytes]", "end" },
      all((follow(one))))
  end)

  it("ends with a job that is cancelled; the task goes on", function()
    local one = run("echo x; exec sleep 60")
    async.run(function()
      local follower = async.spawn(function()
        return watch.follow(one, nil, function() end)
      end)
      async.sleep(0.05)
      follower:cancel("enough")
      assert.equal("enough", temp.raised(follower.wait, follower))
    end)
    assert.is_false(select(2, one:status()).ended)
  end)
end)
