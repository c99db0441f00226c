-- libuv from Lua (Debian: lua-luv, for lua5.4), output collected through a pipe. See README.md.
local uv = require("luv")

local what, count = arg[1], tonumber(arg[2]) or 1
local stamp = os.getenv("STAMP")
local ended, failed = {}, 0

-- Adds the output to `ended` when the process has exited and its pipe is closed.
local function start(command, ...)
  local out, left, text = uv.new_pipe(false), 2, {}
  local handle, err
  local function part()
    left = left - 1
    if left == 0 then
      ended[#ended + 1] = table.concat(text)
    end
  end
  handle, err = uv.spawn(command, { args = { ... }, stdio = { nil, out } }, function()
    handle:close()
    part()
  end)
  if not handle then
    out:close()
    failed = failed + 1
    return err
  end
  out:read_start(function(_, data)
    if data then
      text[#text + 1] = data
    else
      out:close()
      part()
    end
  end)
end

local function drain(n)
  while #ended + failed < n do
    uv.run("once")
  end
end

local function ask(word)
  print(word)
  io.flush()
  io.read("l")
end

local function at(ns)
  return ("%d"):format(uv.hrtime() + ns)
end

if what == "start" or what == "last" then
  for i = 1, count do
    uv.sleep(2)
    local begin = uv.hrtime()
    if what == "start" then
      start("true")
    else
      start(stamp, at(5000000))
    end
    local started = uv.hrtime()
    drain(i)
    print((what == "start" and started - begin or uv.hrtime() - tonumber(ended[i])) / 1e3)
  end
elseif what == "many" then
  local begin = uv.hrtime()
  for _ = 1, count do
    start("sh", "-c", "true")
  end
  drain(count)
  print((uv.hrtime() - begin) / 1e9, failed)
elseif what == "together" then
  local moment, first = at(1500000000), math.huge
  for _ = 1, count do
    start(stamp, moment)
  end
  drain(count)
  local now = uv.hrtime()
  for _, text in ipairs(ended) do
    first = math.min(first, tonumber(text))
  end
  print((now - first) / 1e3)
elseif what == "leave" or what == "write" then
  ask("before")
  local begin = uv.hrtime()
  if what == "leave" then
    start("sh", "-c", "sleep 30 & echo hi")
  else
    start("head", "-c", "1073741824", "/dev/zero")
  end
  drain(1)
  print((uv.hrtime() - begin) / 1e9)
  ask("after")
elseif what == "hold" then
  ask("before")
  for _ = 1, count do
    start("sleep", "20")
  end
  ask("after")
end
os.exit(0, false)
