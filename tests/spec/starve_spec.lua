-- Every binding, with each allocation of Lua's failing from the nth on: an error each time, never a
-- crash. That nothing leaks shows under AddressSanitizer, and in the count of descriptors.
local guard = require("agenthost.guard")
local http = require("agenthost.http")
local line = require("agenthost.line")
local markdown = require("agenthost.markdown")
local queue = require("agenthost.queue")
local reactor = require("agenthost.reactor")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")
local text = require("agenthost.text")

local MOST <const> = 3000 -- allocations of one call

describe("without memory", function()
  local dir

  before_each(function()
    dir = temp.directory()
    task.set_dir(dir)
  end)

  after_each(function()
    for _, one in ipairs(task.list()) do
      one:kill({ grace = 0 })
      one:wait(30)
    end
    temp.remove(dir)
  end)

  -- Calls fn with ever more memory, until it succeeds; it has to fail first.
  local function sweep(fn)
    local failed = 0
    for n = 0, MOST do
      local ok, result, message = guard.starve(n, fn)
      if ok and (result ~= nil or message == nil) then
        return failed
      end
      local problem = ok and message or result
      assert.equal("string", type(problem))
      assert.matches("memory", problem)
      failed = failed + 1
    end
    error(("it still fails after %d allocations"):format(MOST))
  end

  local function sweeps(name, fn)
    it(name, function()
      assert.is_true(sweep(fn) > 0, "it never failed")
      collectgarbage()
    end)
  end

  local HTML <const> = ("# Title\n\n- *one*\n- `two`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"):rep(3)

  sweeps("text.clean", function() return (text.clean("a\27[1mb\xff\n")) end)
  sweeps("text.preview", function() return (text.preview(("line\n"):rep(100), { max = 50 })) end)
  sweeps("text.escape", function() return (text.escape("<a> & b")) end)
  sweeps("text.quote", function() return (text.quote("a\"b\n\1")) end)
  sweeps("text.unquote", function() return (text.unquote([["a\"bé"]], 1)) end)
  sweeps("text.filter", function()
    local filter = text.filter()
    return filter:feed("a\27[") .. filter:feed("1mb") .. filter:finish()
  end)
  sweeps("markdown.render", function() return (markdown.render(HTML, { width = 40 })) end)

  sweeps("sys.root", function()
    local root <close> = assert(sys.root("/tmp"))
    return root:path()
  end)
  it("sys: files", function()
    local root <close> = assert(sys.root(dir))
    sweep(function() return root:write("file", "text") end)
    sweep(function() return (root:read("file")) end)
    sweep(function() return (root:list()) end)
    sweep(function() return root:stat("file") end)
    sweep(function() return sys.write_file(dir .. "/other", "text") end)
    sweep(function() return (sys.read_file(dir .. "/other")) end)
    sweep(function() return (sys.list(dir)) end)
    sweep(function() return (sys.stat(dir)) end)
    sweep(function() return (sys.realpath(dir)) end)
    sweep(function()
      local appender <close> = assert(sys.append(dir .. "/log"))
      return appender:write("a line\n")
    end)
  end)
  sweeps("sys: words", function()
    return sys.xdg("state") .. sys.timestamp() .. sys.random_hex(8) .. sys.redact("text " .. 1)
      .. sys.cwd() .. (sys.getenv("HOME") or "")
  end)

  sweeps("queue", function()
    local q <close> = queue.new()
    assert(q:push({ kind = "plugin", text = "news", more = 1.5, flag = true }))
    local notices = assert(q:drain())
    assert(q:in_flight())
    assert(q:ack())
    return #notices
  end)
  it("queue: a notice is not lost when there is no memory to hand it over", function()
    local q <close> = queue.new()
    assert(q:push({ kind = "plugin", text = ("x"):rep(100) }))
    local notices
    for n = 0, MOST do
      local ok, got = guard.starve(n, function() return q:drain() end)
      if ok and #got > 0 then
        notices = got
        break
      end
      q:requeue()
    end
    assert.equal(("x"):rep(100), notices[1].text)
  end)

  sweeps("task", function()
    local one = assert(task.run("exit 3", { cwd = dir, env = { A = "b" }, label = "x" }))
    local _, state = one:wait()
    assert(one:output())
    assert(task.get(one.id))
    return state.code
  end)
  sweeps("task.list", function() return #task.list() end)
  it("task: a command that was started is known, whatever comes of the call", function()
    local before = #task.list()
    for n = 0, 60 do
      guard.starve(n, function() return task.run("sleep 60", { cwd = dir }) end)
    end
    for _, one in ipairs(task.list()) do
      one:kill({ grace = 0 })
      local _, state = one:wait(30)
      assert.is_true(state.ended)
    end
    assert.is_true(#task.list() >= before)
  end)

  sweeps("http: a request that cannot connect", function()
    local response, message = http.request({ url = "http://127.0.0.1:1/", timeout = 5,
      method = "POST", headers = { ["X-A"] = "b" }, body = "text" })
    return response == nil and (message:find("memory") and error(message, 0) or message)
  end)
  sweeps("http.replay", function()
    local stream <close> = http.replay({ status = 200, headers = { ["content-type"] = "x" },
      body = "event: a\ndata: {}\n\ndata: b\n\n" })
    local count = 0
    while stream:event() do
      count = count + 1
    end
    return count
  end)

  sweeps("reactor", function()
    local id = assert(reactor.watch(0))
    reactor.unwatch(id)
    return #reactor.wait(0) + reactor.signal_id()
  end)
  it("line", function()
    local function open()
      local editor <close> = assert(line.open({ prompt = "> ", history = dir .. "/history" }))
      editor:insert("text")
      return editor:text()
    end
    local ok = pcall(open)
    if ok then
      sweep(open)
    end
  end)
end)
