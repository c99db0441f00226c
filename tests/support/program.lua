--- The program under test as a child process, for end-to-end tests: each in a fresh home and work
--- directory that are removed afterwards.
---
---     local program = require("support.program")
---     local place = program.place()
---     local result = place:run({ "-p", "Hello", server = server })
---     assert.equal("Hello.\n", result.stdout)
---     place:close() -- raises when a process of it is still alive
---
--- The environment holds nothing but what is named here, so that no key or proxy of the machine
--- gets in.
local json = require("agenthost.json")
local sys = require("agenthost.sys")
local tmux = require("support.tmux")

local M = {}

local DEADLINE <const> = 120 -- seconds for a run, unless told otherwise
local LEFTOVERS <const> = 30 -- seconds until the last process of a place has to be gone
local MARKER <const> = "AGENTHOST_TEST_PLACE" -- in the environment of every process of a place

--- The binary under test: $AGENTHOST, or the one that runs the spec.
M.path = os.getenv("AGENTHOST")
if not M.path or M.path == "" then
  M.path = assert(sys.realpath("/proc/self/exe"))
end

local quote <const> = tmux.quote

---@param path string
---@return string? content
function M.read_file(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

---@param path string
---@param text string
function M.write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

-- ---- a running one -----------------------------------------------------------------------------

---@class support.program.Running
---@field pid integer
local Running = {}
Running.__index = Running

---@return boolean # a child that has ended stays a zombie until it is waited for
function Running:alive()
  local stat = M.read_file("/proc/" .. self.pid .. "/stat")
  return stat ~= nil and not stat:find("%) Z ")
end

---@param name string "INT", "TERM", "KILL"
function Running:signal(name)
  assert(self.pipe, "the program has been waited for")
  assert(os.execute(("kill -%s %d"):format(name, self.pid)))
end

--- What it has printed so far; also while its shell has not made the file yet.
function Running:stdout()
  return M.read_file(self.files .. "/stdout") or ""
end

function Running:stderr()
  return M.read_file(self.files .. "/stderr") or ""
end

--- Waits for its end; kills it and raises when the time is over.
---@param seconds? number
---@return { stdout: string, stderr: string, code?: integer, signal?: integer, seconds: number }
function Running:wait(seconds)
  local ended = tmux.eventually(function() return not self:alive() end, seconds or DEADLINE)
  local took = sys.now() - self.started
  if not ended then
    self:signal("KILL")
  end
  local _, how, number = self.pipe:close()
  self.pipe = nil
  if not ended then
    error(("the program did not end in %g s; stdout:\n%s\nstderr:\n%s"):format(
      took, self:stdout(), self:stderr()), 2)
  end
  return {
    stdout = self:stdout(),
    stderr = self:stderr(),
    code = how == "exit" and number or nil,
    signal = how == "signal" and number or nil,
    seconds = took,
  }
end

-- ---- a place -----------------------------------------------------------------------------------

---@class support.program.Place
---@field dir string all of it
---@field home string
---@field work string where the program runs
---@field state string XDG_STATE_HOME
---@field config string XDG_CONFIG_HOME
local Place = {}
Place.__index = Place

--- A new, empty one.
---@return support.program.Place
function M.place()
  local dir = tmux.run("mktemp -d"):gsub("%s+$", "")
  local self = setmetatable({ dir = dir, count = 0, running = {} }, Place)
  for _, name in ipairs({ "home", "work", "state", "config", "files" }) do
    self[name] = dir .. "/" .. name
    assert(sys.mkdir_private(self[name]))
  end
  self:settings('return { permissions = { mode = "bypassPermissions" } }')
  return self
end

--- Writes the settings file. That of a new place lets everything run; nil takes it away.
---@param text? string
function Place:settings(text)
  local dir = self.config .. "/agenthost"
  assert(sys.mkdir_private(dir))
  if text then
    M.write_file(dir .. "/settings.lua", text)
  else
    os.remove(dir .. "/settings.lua")
  end
end

local function absolute(self, path)
  return path:sub(1, 1) == "/" and path or self.work .. "/" .. path
end

--- Writes a file, relative to the work directory; directories are made.
function Place:write(path, text)
  path = absolute(self, path)
  assert(sys.mkdir_private((path:match("^(.*)/"))))
  M.write_file(path, text)
  return path
end

---@return string? content nil when the file is not there
function Place:read(path)
  return M.read_file(absolute(self, path))
end

---@class support.program.Options
---@field server? support.fake.Server the model: sets ANTHROPIC_BASE_URL and a key
---@field env? table<string, string|false> set in addition; false takes one out
---@field command? string[] in place of the program: its words; the arguments follow them
---@field stdin? string default: nothing, as of /dev/null
---@field cwd? string default: the work directory
---@field seconds? number the deadline of `run`

--- The words of a command line that starts the program with a clean environment: for tmux, and for
--- `start`. The list part of opts are its arguments.
---@param opts support.program.Options
---@return string[]
function Place:words(opts)
  local env = {
    PATH = "/usr/local/bin:/usr/bin:/bin",
    HOME = self.home,
    LANG = "C.UTF-8",
    XDG_STATE_HOME = self.state,
    XDG_CONFIG_HOME = self.config,
    [MARKER] = self.dir,
  }
  if opts.server then
    env.ANTHROPIC_BASE_URL = opts.server.url
    env.ANTHROPIC_API_KEY = "test-key"
    env.ANTHROPIC_MODEL = "claude-test-1"
  end
  for name, value in pairs(opts.env or {}) do
    env[name] = value or nil
  end
  local words = { "env", "-i" }
  for name, value in pairs(env) do
    words[#words + 1] = name .. "=" .. value
  end
  for _, list in ipairs({ opts.command or { M.path }, opts }) do
    table.move(list, 1, #list, #words + 1, words)
  end
  return words
end

--- Starts the program and comes back at once.
---@param opts support.program.Options
---@return support.program.Running
function Place:start(opts)
  self.count = self.count + 1
  local files = self.files .. "/" .. self.count
  assert(sys.mkdir_private(files))
  local input = "/dev/null"
  if opts.stdin then
    input = files .. "/stdin"
    M.write_file(input, opts.stdin)
  end
  local words = {}
  for i, word in ipairs(self:words(opts)) do
    words[i] = quote(word)
  end
  local line = ("cd %s && echo $$ && exec %s <%s >%s 2>%s"):format(quote(opts.cwd or self.work),
    table.concat(words, " "), quote(input), quote(files .. "/stdout"), quote(files .. "/stderr"))
  local started = sys.now()
  local pipe = assert(io.popen(line, "r"))
  local running = setmetatable({
    pid = assert(pipe:read("n"), "the shell did not start"),
    pipe = pipe,
    files = files,
    started = started,
  }, Running)
  self.running[#self.running + 1] = running
  return running
end

--- Starts the program and waits for its end.
---@param opts support.program.Options
function Place:run(opts)
  return self:start(opts):wait(opts.seconds)
end

--- The entries of the session file, each line decoded; raises when there is not exactly one file,
--- or a line in it is not JSON.
---@return table[] entries
---@return string text
function Place:session()
  local listing = tmux.run("ls " .. quote(self.state) .. "/agenthost/sessions/*/session.jsonl")
  local path, more = listing:match("^([^\n]+)\n(.*)$")
  assert(path and more == "", "expected one session: " .. listing)
  local text = assert(M.read_file(path), listing)
  local entries = {}
  for line, stop in text:gmatch("([^\n]*)(\n?)") do
    if line ~= "" or stop ~= "" then
      assert(stop == "\n", "the last line is not complete: " .. line)
      entries[#entries + 1] = assert(json.decode(line))
    end
  end
  return entries, text
end

--- The messages in the session file.
---@return table[]
function Place:messages()
  local messages = {}
  for _, entry in ipairs((self:session())) do
    if entry.type == "message" then
      messages[#messages + 1] = entry.message
    end
  end
  return messages
end

--- The processes of this place that are alive, with what they have started: "PID COMMAND" each.
--- Found by their environment, or by the path of the place in their arguments.
---@return string[]
function Place:processes()
  local found = {}
  for _, entry in ipairs(assert(sys.list("/proc"))) do
    local proc = "/proc/" .. entry.name
    local pid = tonumber(entry.name)
    if pid and pid ~= sys.pid() then
      local words = (M.read_file(proc .. "/cmdline") or ""):gsub("%z", " ")
      local environment = "\0" .. (M.read_file(proc .. "/environ") or "") .. "\0"
      local mine = environment:find("\0" .. MARKER .. "=" .. self.dir .. "\0", 1, true)
        or words:find(self.dir, 1, true) and not words:find("^tmux ")
      local stat = M.read_file(proc .. "/stat")
      if mine and stat and not stat:find("%) [ZX] ") then
        found[#found + 1] = pid .. " " .. words
      end
    end
  end
  return found
end

--- Waits until no process of this place is alive.
---@param seconds? number
---@return string[] left empty when all are gone
function Place:wait_for_no_process(seconds)
  local left
  tmux.eventually(function()
    left = self:processes()
    return #left == 0
  end, seconds or LEFTOVERS)
  return left
end

--- Removes the directories. Raises when a process of this place is still alive (and ends it).
function Place:close()
  if self.closed then
    return
  end
  self.closed = true
  for _, running in ipairs(self.running) do
    if running.pipe then
      running:signal("KILL")
      running.pipe:close()
      running.pipe = nil
    end
  end
  local left = self:wait_for_no_process()
  for _, process in ipairs(left) do
    os.execute("kill -KILL " .. process:match("^%d+"))
  end
  tmux.run("chmod -R u+rwx " .. quote(self.dir) .. "; rm -rf " .. quote(self.dir))
  if #left > 0 then
    error("still alive: " .. table.concat(left, "\n"), 2)
  end
end

Place.__close = Place.close

return M
