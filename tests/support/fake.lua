--- The strict fakes of Anthropic's API (fake_anthropic.py) and of OpenAI's two (fake_openai.py) as
--- child processes.
---
---     local fake = require("support.fake")
---     local server <close> = fake.start({ rules = { { text = "Hello." } } })
---     ... talk to server.url with the key "test-key" ...
---     assert(#server.requests() == 1)
---     local other <close> = fake.start({ rules = {} }, { api = "openai" })
---
--- Nothing outlives `stop` (which `<close>` and the collector call, too): no process, no file.
local json = require("agenthost.json")
local sys = require("agenthost.sys")

local M = {}

local START <const> = 60 -- seconds for the server to come up
local DEADLINE <const> = 30 -- seconds that `wait` waits, unless told otherwise
local POLL <const> = 0.02 -- seconds between two looks

-- The program of each API, the path of its model requests, and what its base URL ends with.
local APIS <const> = {
  anthropic = { program = "fake_anthropic.py", path = "/v1/messages", base = "" },
  openai = { program = "fake_openai.py", path = "/v1/chat/completions", base = "/v1" },
  ["openai-responses"] = { program = "fake_openai.py", path = "/v1/responses", base = "/v1" },
}

local HERE <const> = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."

local function quote(s)
  return "'" .. s:gsub("'", [['\'']]) .. "'"
end

local function read_file(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a")
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

-- Calls `look` until it gives something true, which is returned; nil when the time is over.
local function eventually(look, seconds)
  local deadline = sys.now() + seconds
  while true do
    local result = look()
    if result or sys.now() > deadline then
      return result or nil
    end
    os.execute("sleep " .. POLL)
  end
end

local function make_directory()
  local pipe <close> = assert(io.popen("mktemp -d", "r"))
  return assert(pipe:read("l"), "mktemp gives no directory")
end

---@class support.fake.Server
---@field url string "http://127.0.0.1:PORT"
---@field base_url string what a client of the API has as its base URL: with "/v1" for OpenAI's
---@field port integer
---@field pid integer
---@field log fun(): table[] the entries so far, decoded: see fake_anthropic.py
---@field requests fun(): table[] those of them that are model requests of the API
---@field wait fun(look: (fun(log: table[]): any), seconds?: number): any calls `look` with the log
---  until it gives something true, which is returned; raises when the time is over. What a client
---  does not wait for, such as "end" entries, may come later than the reply
---@field stop fun() ends it; again does nothing

local function new_server(directory, pipe, pid, path)
  local server = { pid = pid }
  function server.log()
    local entries = {}
    for line in (read_file(directory .. "/log") or ""):gmatch("([^\n]*)\n") do
      entries[#entries + 1] = assert(json.decode(line))
    end
    return entries
  end

  function server.requests()
    local found = {}
    for _, entry in ipairs(server.log()) do
      if entry.kind == "request" and entry.path == path then
        found[#found + 1] = entry
      end
    end
    return found
  end

  function server.wait(look, seconds)
    return eventually(function() return look(server.log()) end, seconds or DEADLINE)
      or error("waited in vain for the log of the fake server:\n"
        .. (read_file(directory .. "/log") or ""), 2)
  end

  function server.stop()
    if pipe then
      os.execute("kill -KILL " .. pid) -- it is ours until the close, so the number is
      pipe:close() -- waits for it
      pipe = nil
      os.execute("rm -rf " .. quote(directory))
    end
  end

  return setmetatable(server, { __close = server.stop, __gc = server.stop })
end

-- Our child that has ended stays a zombie until it is waited for.
local function has_ended(pid)
  local stat = read_file("/proc/" .. pid .. "/stat")
  return not stat or stat:find("%) Z ") ~= nil
end

--- Starts a server. It ends by itself after five minutes, should the test be killed.
---@param scenario table see fake_anthropic.py and fake_openai.py
---@param opts? { api?: "anthropic"|"openai"|"openai-responses" } default "anthropic"
---@return support.fake.Server raises when it does not start
function M.start(scenario, opts)
  local name = opts and opts.api or "anthropic"
  local api = APIS[name] or error("there is no fake of the API " .. tostring(name), 2)
  local directory = make_directory()
  write_file(directory .. "/scenario", json.encode(scenario))
  local words = { "exec python3 -S", quote(HERE .. "/" .. api.program) }
  for _, file in ipairs({ "scenario", "log", "port-file" }) do
    words[#words + 1] = "--" .. file .. " " .. quote(directory .. "/" .. file)
  end
  words[#words + 1] = ">" .. quote(directory .. "/output") .. " 2>&1 </dev/null"
  local pipe = assert(io.popen("echo $$; " .. table.concat(words, " "), "r"))
  local server = new_server(directory, pipe, assert(pipe:read("n"), "the shell did not start"),
    api.path)
  eventually(function()
    server.port = tonumber(read_file(directory .. "/port-file") or "")
    return server.port or has_ended(server.pid)
  end, START)
  if not server.port then
    local output = read_file(directory .. "/output") or ""
    server.stop()
    error("the fake server does not start: " .. output, 2)
  end
  server.url = "http://127.0.0.1:" .. server.port
  server.base_url = server.url .. api.base
  return server
end

return M
