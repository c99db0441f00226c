-- Every binding, with each allocation of Lua's failing from the nth on: an error each time, never a
-- crash. That nothing leaks shows under AddressSanitizer, and in the count of descriptors.
local fake = require("support.fake")
local guard = require("agenthost.guard")
local http = require("agenthost.http")
local markdown = require("agenthost.markdown")
local program = require("support.program")
local queue = require("agenthost.queue")
local reactor = require("agenthost.reactor")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")
local text = require("agenthost.text")

local MOST <const> = 3000 -- allocations of one call

local MODULES <const> = { guard = guard, http = http, markdown = markdown,
  queue = queue, reactor = reactor, sys = sys, task = task, text = text }
-- What cannot be called again and again in here.
local LEFT_OUT <const> = {
  ["guard.starve"] = "it is what starves", ["guard.limit_memory"] = "its limit would stay",
  ["sys.stop_self"] = "it stops this process", ["sys.move_stdout"] = "it has no way back",
  ["sys.run_in_terminal"] = "there is no terminal", ["sys.chdir"] = "it is for all specs",
}
local IN_TERMINAL <const> = { ["agenthost.line.editor"] = true } -- see LINE

-- The methods of a handle type; agenthost.task has them behind its fields.
local function methods_of(metatable)
  local index = metatable.__index
  if type(index) == "function" then
    index = select(2, debug.getupvalue(index, 1))
  end
  return type(index) == "table" and index or {}
end

-- Notes in `called` what of a table of functions is called. Returns how to end that.
local function note_calls(functions, prefix, called)
  local real = {}
  for name, fn in pairs(functions) do
    local key = prefix .. "." .. name
    if type(fn) == "function" and not LEFT_OUT[key] then
      real[name], called[key] = fn, false
      functions[name] = function(...)
        called[key] = true
        return fn(...)
      end
    end
  end
  return function()
    for name, fn in pairs(real) do
      functions[name] = fn
    end
  end
end

-- The line editor, which needs a terminal: each function with ever more memory.
local EDITOR <const> = [==[
local guard, line = require("agenthost.guard"), require("agenthost.line")
local function sweep(name, fn)
  for n = 0, %d do
    local ok, result, message = guard.starve(n, fn)
    if ok and (result ~= nil or message == nil) then
      return result
    end
    local problem = tostring(ok and message or result)
    assert(problem:find("memory"), name .. ": " .. problem)
  end
  error(name .. " still fails")
end
local options = { prompt = "> ", history = ... }
local editor = sweep("open", function() return line.open(options) end)
local arguments = { insert = "text", add_history = "text", print = "a line", set_prompt = "$ " }
local names = {}
for name in pairs(debug.getregistry()["agenthost.line.editor"].__index) do
  names[#names + 1] = name ~= "close" and name or nil
end
table.sort(names)
for _, name in ipairs(names) do
  sweep(name, function() return (editor[name](editor, arguments[name])) end)
end
editor:close()
line.restore()
print("\nswept all")
]==]

describe("without memory", function()
  local dir
  local called, restores = {}, {}

  setup(function()
    for name, module in pairs(MODULES) do
      restores[#restores + 1] = note_calls(module, name, called)
    end
    for name, metatable in pairs(debug.getregistry()) do
      local short = type(name) == "string" and name:match("^agenthost%.(.+)$")
      if short and type(metatable) == "table" and not IN_TERMINAL[name] then
        restores[#restores + 1] = note_calls(methods_of(metatable), "methods of " .. short, called)
      end
    end
  end)

  teardown(function()
    for _, restore in ipairs(restores) do
      restore()
    end
  end)

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
  sweeps("text: JSON strings and widths", function()
    return text.quote_end([["a" b]], 1) + text.width("wide " .. 1)
  end)
  sweeps("markdown.render", function() return (markdown.render(HTML, { width = 40 })) end)
  sweeps("markdown.cut", function() return (markdown.cut(HTML .. "\n\nmore")) end)

  sweeps("sys.root", function()
    local root <close> = assert(sys.root("/tmp"))
    local path = root:path()
    root:close()
    return path
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
      assert(appender:lock() and appender:write("a line\n") and appender:sync())
      appender:close()
      return true
    end)
    sweep(function() return sys.mkdir_private(dir .. "/a/b") end)
  end)
  sweeps("sys: words", function()
    return sys.xdg("state") .. sys.timestamp() .. sys.random_hex(8) .. sys.redact("text " .. 1)
      .. sys.cwd() .. (sys.getenv("HOME") or "")
  end)

  it("sys: the process and its terminal", function()
    sweep(function() return sys.executable_dir() end)
    sweep(function() return sys.hide_env({ "AGENTHOST_NO_SUCH_*" }) or true end)
    sweep(function() return sys.now() + sys.wall() + sys.pid() end)
    sweep(function() return sys.port_is_open(1) ~= nil end)
    sweep(function() return sys.isatty(0) ~= nil and (sys.terminal_size(1) or 80) end)
    sweep(function() return sys.write_fd(2, "") end)
    sweep(function() return (select("#", sys.signal_group(1 << 30, "TERM"))) end)
    sweep(function()
      local news = assert(reactor.watch(0))
      local ready = #reactor.wait(0) > 0 and not sys.isatty(0)
      reactor.unwatch(news)
      return not ready or sys.read_fd(0)
    end)
  end)
  it("guard", function()
    local function handler(err)
      return err
    end
    sweep(function()
      local ok, result = guard.xpcall(5, "plugin x", handler, function()
        return { guard.owner(), guard.restart(), guard.memory() }
      end)
      return ok and result or error(result, 0)
    end)
    sweep(function()
      guard.watch(false)
      return guard.swap(guard.current()) == nil
    end)
  end)

  sweeps("queue", function()
    local q <close> = queue.new()
    assert(q:push({ kind = "plugin", text = "news", more = 1.5, flag = true }))
    local seq = assert(q:push({ kind = "plugin", text = "more" }))
    assert(q:waitable() and q:wait(1))
    q:withdraw(seq)
    assert(#q:drain() == 1 and q:in_flight())
    q:requeue()
    local notices = assert(q:drain())
    assert(q:ack())
    q:close()
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
    assert(one:waitable() ~= nil)
    assert(task.read_output(one.output_path))
    return state.code
  end)
  it("task: one that runs", function()
    local one = assert(task.run("cat", { cwd = dir, stdin = true }))
    sweep(function() return one:status().status end)
    sweep(function() return one:write("a line\n") end)
    sweep(function()
      one:set_notify(true)
      return true
    end)
    local q <close> = queue.new()
    sweep(function() return not one:set_queue(q) end) -- it has none that could be replaced
    sweep(function() return one:kill({ grace = 0 }) end)
    sweep(function() return (task.wait_any({ one }, 30)) end)
    sweep(function()
      one:acknowledge()
      return true
    end)
    sweep(function()
      task.set_max_running(8)
      return true
    end)
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
  it("http: requests that are answered", function()
    local server <close> = fake.start({ rules = { { text = "Hello.", times = -1 } } })
    local options = { url = server.url .. "/v1/messages", method = "POST", timeout = 20,
      keep = true, body = '{"model":"m","max_tokens":9,"stream":true,'
        .. '"messages":[{"role":"user","content":"hi"}]}',
      headers = { ["x-api-key"] = "test-key", ["anthropic-version"] = "2023-06-01",
        ["content-type"] = "application/json" } }
    sweep(function()
      local stream <close> = assert(http.stream(options))
      local count = 0
      for _ in stream:events({ join = { '"text_delta","text":"' } }) do
        count = count + 1
      end
      assert(not stream:error(), stream:error())
      return #stream:kept() > 0 and count > 0 and count
    end)
    sweep(function()
      local stream <close> = assert(http.stream(options))
      local first = assert(stream:read())
      local all = first .. assert(stream:rest())
      stream:close()
      return all
    end)
    options.keep, options.body = nil, "{}" -- an error answer
    sweep(function() return assert(http.request(options)).body end)
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
    reactor.catch_signal("WINCH", true)
    reactor.take_signal()
    reactor.catch_signal("WINCH", false)
    return #reactor.wait(0) + reactor.signal_id()
  end)
  it("line: in a terminal of its own", function()
    local path = dir .. "/editor.lua"
    assert(sys.write_file(path, EDITOR:format(MOST)))
    local one = assert(task.run({ program.path, path, dir .. "/history" }, { pty = true }))
    local _, state = one:wait(60)
    assert.matches("swept all\r?\n$", (one:output()))
    assert.equal(0, state.code)
  end)

  it("is tried with every binding", function()
    local missing = {}
    for name, was in pairs(called) do
      missing[#missing + 1] = not was and name or nil
    end
    table.sort(missing)
    assert.same({}, missing)
  end)
end)
