local sys = require "agenthost.sys"

---The message of the error that `fn` raises.
local function raised(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  return message
end

local function shell(command, ...)
  assert(os.execute(command:format(...)))
end

local base

before_each(function()
  base = "/tmp/ah-sys-" .. sys.random_hex(8)
  assert(sys.mkdir_private(base .. "/w/sub"))
  assert(sys.write_file(base .. "/secret", "secret"))
end)

after_each(function()
  collectgarbage()
  shell("rm -rf '%s'", base)
end)

describe("sys.root", function()
  it("reads, writes, lists and looks", function()
    local root <close> = assert(sys.root(base .. "/w"))
    assert.equal(sys.realpath(base .. "/w"), root:path())
    assert.is_true(root:write("new/deep/file", "one\0two"))
    assert.same({ "one\0two", 7 }, { root:read("new/deep/file") })
    assert.same({ "one", 7 }, { root:read("new/deep/file", 3) })
    assert.same({ "one\0two", 7 }, { root:read(root:path() .. "/new/deep/file") })
    local both = { { name = "new", type = "directory" }, { name = "sub", type = "directory" } }
    assert.same({ both, false }, { root:list() })
    assert.same({ { { name = "file", type = "file" } }, false }, { root:list("new/deep") })
    assert.same({ {}, true }, { root:list(".", 0) })
    local stat = assert(root:stat("new/deep/file"))
    assert.equal("file", stat.type)
    assert.equal(7, stat.size)
    assert.equal(tonumber("600", 8), stat.mode & tonumber("700", 8))
    assert.is_true(math.abs(stat.mtime - sys.wall()) < 100)
  end)

  it("refuses what is outside", function()
    local root <close> = assert(sys.root(base .. "/w"))
    shell("ln -s ../secret '%s/w/link'", base)
    for _, path in ipairs { "../secret", base .. "/secret", "link", "/etc/passwd" } do
      for _, call in ipairs {
        { root:read(path) }, { root:write(path, "x") }, { root:list(path) }, { root:stat(path) },
      } do
        assert.is_nil(call[1])
        assert.matches("' is outside the workspace " .. root:path(), call[2], 1, true)
        assert.equal("EXDEV", call[3])
      end
    end
    assert.equal("secret", (sys.read_file(base .. "/secret")))
  end)

  it("says what is wrong with a path", function()
    local root <close> = assert(sys.root(base .. "/w"))
    assert.same({ nil, "'sub' is a directory, not a file", "EISDIR" }, { root:read("sub") })
    assert.same({ nil, "cannot open 'none': No such file or directory", "ENOENT" },
      { root:read("none") })
    assert.matches("contains a NUL byte", raised(root.read, root, "a\0b"))
    assert.matches("an empty path", raised(root.read, root, ""))
    assert.matches("string expected", raised(root.write, root, "a", nil))
    assert.matches("expected a number >= 0", raised(root.read, root, "a", -1))
    assert.equal("ENOENT", (select(3, sys.root(base .. "/none"))))
    assert.equal("ENOTDIR", (select(3, sys.root(base .. "/secret"))))
  end)

  it("is an error message when it is closed, not a crash", function()
    local root = assert(sys.root(base))
    root:close()
    root:close()
    for _, method in ipairs { "path", "read", "write", "list", "stat" } do
      assert.matches("this root is closed", raised(root[method], root, "a", "b"))
    end
    assert.matches("agenthost.sys.Root expected", raised(root.read, io.stdout, "a"))
  end)

  it("leaves no descriptor open", function()
    local function count()
      collectgarbage()
      return #sys.list("/proc/self/fd")
    end
    local before = count()
    for _ = 1, 20 do
      local root = assert(sys.root(base))
      root:read("secret")
      root:read("none")
      root:list(".")
      root:list("secret")
      root:stat("w")
      root:write("w/x/y", "z")
      root:write("w", "z")
      root:write("../x", "z")
      sys.root(base .. "/none")
      sys.append(base .. "/log"):write("x")
      sys.append(base)
      sys.list(base)
    end
    assert.equal(before, count())
  end)
end)

describe("sys.append", function()
  it("can be locked by one at a time", function()
    local first, second = assert(sys.append(base .. "/f")), assert(sys.append(base .. "/f"))
    assert.is_true(first:lock())
    assert.is_true(first:lock())
    assert.same({ nil, "another process has locked it", "LOCKED" }, { second:lock() })
    first:close()
    assert.is_true(second:lock())
    second:close()
  end)

  it("appends records to a private file", function()
    local path = base .. "/log"
    do
      local file <close> = assert(sys.append(path))
      assert.is_true(file:write("one\n"))
      assert.is_true(file:sync())
    end
    local file = assert(sys.append(path))
    assert.is_true(file:write("two\n"))
    file:close()
    file:close()
    assert.matches("this file is closed", raised(file.write, file, "x"))
    assert.matches("this file is closed", raised(file.sync, file))
    assert.equal("one\ntwo\n", (sys.read_file(path)))
    assert.equal(tonumber("600", 8), sys.stat(path).mode)
  end)

  it("refuses what is no file", function()
    assert.equal("EISDIR", (select(3, sys.append(base))))
    assert.equal("ENOENT", (select(3, sys.append(base .. "/none/log"))))
  end)
end)

describe("files of the host", function()
  it("are replaced with their mode", function()
    local path = base .. "/state"
    assert.is_true(sys.write_file(path, "one"))
    assert.equal(tonumber("600", 8), sys.stat(path).mode)
    assert.is_true(sys.write_file(path, "two", tonumber("644", 8)))
    assert.is_true(sys.write_file(path, "three"))
    assert.equal(tonumber("644", 8), sys.stat(path).mode)
    assert.same({ "three", 5 }, { sys.read_file(path) })
    assert.same({ "th", 5 }, { sys.read_file(path, 2) })
    assert.matches("expected permission bits", raised(sys.write_file, path, "x", 4096))
    assert.equal("ENOENT", (select(3, sys.write_file(base .. "/none/x", "x"))))
    assert.equal("ENOENT", (select(3, sys.read_file(base .. "/none"))))
    assert.equal("ENOENT", (select(3, sys.stat(base .. "/none"))))
    assert.equal("ENOENT", (select(3, sys.list(base .. "/none"))))
    assert.equal("ENOTDIR", (select(3, sys.mkdir_private(path .. "/x"))))
    assert.equal(tonumber("700", 8), sys.stat(base .. "/w").mode)
  end)

  it("are listed in the order of their bytes", function()
    for _, name in ipairs { "b", "B", "a", ".c", "é" } do
      assert(sys.write_file(base .. "/w/sub/" .. name, ""))
    end
    local names = {}
    for i, entry in ipairs(assert(sys.list(base .. "/w/sub"))) do
      names[i] = entry.name
    end
    assert.same({ ".c", "B", "a", "b", "é" }, names)
  end)

  it("have real paths", function()
    shell("ln -s w '%s/link'", base)
    assert.equal(base .. "/w/sub", sys.realpath(base .. "/link/../w/./sub"))
    assert.equal("ENOENT", (select(3, sys.realpath(base .. "/none"))))
    assert.equal(sys.realpath("."), sys.cwd())
    local cwd = sys.cwd()
    assert.is_true(sys.chdir(base))
    assert.equal(base, sys.cwd())
    assert.is_true(sys.chdir(cwd))
    assert.same({ nil, "cannot change to '/none': No such file or directory", "ENOENT" },
      { sys.chdir("/none") })
  end)
end)

describe("time and randomness", function()
  it("have the right shape", function()
    local now = sys.now()
    assert.is_true(sys.now() >= now)
    assert.is_true(math.abs(sys.wall() - os.time()) < 2)
    local stamp = sys.timestamp()
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", stamp)
    assert.is_true(os.date("!%Y-%m-%dT%H:%M:%S", os.time() - 2) <= stamp)
    assert.matches("^%x+$", sys.random_hex(16))
    assert.equal(32, #sys.random_hex(16))
    assert.not_equal(sys.random_hex(16), sys.random_hex(16))
    assert.matches("expected 1 to 1024 bytes", raised(sys.random_hex, 0))
    assert.matches("/%d+$", "/" .. sys.pid())
    assert.equal("/", sys.executable_dir():sub(1, 1))
  end)

  it("knows the base directories", function()
    for _, kind in ipairs { "state", "config", "data", "cache" } do
      assert.equal("/", sys.xdg(kind):sub(1, 1))
    end
    assert.matches("invalid option 'home'", raised(sys.xdg, "home"))
  end)
end)

describe("environment", function()
  it("is found, and nothing is hidden without a match", function()
    assert.equal(os.getenv("PATH"), sys.getenv("PATH"))
    assert.is_nil(sys.getenv("AH_NO_SUCH_VARIABLE"))
    assert.equal(0, sys.hide_env { "AH_NO_SUCH_*", "AH_NONE" })
    assert.equal(0, sys.hide_env("AH_NO_SUCH_*"))
    assert.equal("as it is", sys.redact("as it is"))
    assert.matches("expected patterns", raised(sys.hide_env, { 1 }))
    assert.matches("table expected", raised(sys.hide_env, nil))
  end)

  it("hides secrets from children and texts", function()
    -- Set by whoever runs the tests: AH_TEST_HIDDEN_KEY=a-very-secret-value.
    local value = sys.getenv("AH_TEST_HIDDEN_KEY")
    if value == nil then
      pending("AH_TEST_HIDDEN_KEY is not set")
      return
    end
    sys.hide_env("AH_TEST_HIDDEN_*")
    assert.equal(value, sys.getenv("AH_TEST_HIDDEN_KEY"))
    assert.equal(value, os.getenv("AH_TEST_HIDDEN_KEY")) -- the program makes it sys.getenv
    assert.equal("key: <AH_TEST_HIDDEN_KEY>.", sys.redact("key: " .. value .. "."))
    assert.is_nil(sys.read_file("/proc/self/environ"):find("AH_TEST_HIDDEN_KEY", 1, true))
    assert.is_nil(os.execute("env | grep -q AH_TEST_HIDDEN_KEY"))
  end)
end)

describe("terminal", function()
  it("is asked by descriptor", function()
    assert.is_boolean(sys.isatty(0))
    if not sys.isatty(0) then
      assert.is_nil((sys.terminal_size(0)))
    end
    assert.is_true(sys.write_fd(1, ""))
    assert.matches("expected 1 %(stdout%) or 2 %(stderr%)", raised(sys.write_fd, 3, "x"))
    assert.matches("expected 0, 1 or 2", raised(sys.isatty, 3))
  end)
end)

describe("sys.port_is_open", function()
  it("is true exactly while something listens", function()
    local flags = "/tmp/ah-sys-" .. sys.random_hex(8)
    assert(sys.mkdir_private(flags))
    local pipe <close> = assert(io.popen(("exec python3 -uc '%s' %s"):format([[
import os, socket, sys, time
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    try:
        s = socket.socket(family)
        s.bind((address, 0))
    except OSError:
        print(0)
        continue
    s.listen()
    print(s.getsockname()[1])
    while not os.path.exists(sys.argv[1] + "/" + address):
        time.sleep(0.01)
    s.close()
    print("closed")
]], flags)))
    for _, address in ipairs({ "127.0.0.1", "::1" }) do
      local port = math.tointeger(tonumber(pipe:read("l")))
      if port ~= 0 then -- 0: this machine has no such address
        assert.is_true(sys.port_is_open(port))
        assert(sys.write_file(flags .. "/" .. address, ""))
        assert.equal("closed", pipe:read("l"))
        assert.is_false(sys.port_is_open(port))
      end
    end
    os.execute("rm -r " .. flags)
  end)

  it("says what is wrong with its argument", function()
    for _, port in ipairs({ 0, 65536, -1 }) do
      assert.matches("not a port", raised(sys.port_is_open, port))
    end
    assert.matches("number expected", raised(sys.port_is_open))
  end)
end)

describe("sys.signal_group", function()
  it("signals every process of a group", function()
    local pipe = assert(io.popen("setsid sh -c 'echo $$; sleep 60 & exec sleep 60'"))
    local group = pipe:read("n")
    assert.is_true(sys.signal_group(group, "TERM"))
    assert.equal("\n", pipe:read("a")) -- both are gone
    pipe:close()
    local ok, message, code = sys.signal_group(0x7FFFFFFE, "KILL") -- beyond any pid
    assert.is_nil(ok)
    assert.matches("cannot signal the process group 2147483646", message, 1, true)
    assert.equal("ESRCH", code)
  end)

  it("refuses what is no group of a task, and other signals", function()
    for _, group in ipairs({ 1, 0, -1, -4711, 1 << 40 }) do
      assert.matches("not a process group", raised(sys.signal_group, group, "TERM"))
    end
    assert.matches("invalid option 'STOP'", raised(sys.signal_group, 4711, "STOP"))
    assert.matches("string expected", raised(sys.signal_group, 4711))
  end)
end)
