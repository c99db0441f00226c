--- One end-to-end test: a place, the strict fake server, and what is checked of every test.
---
---     local case = require("support.case")
---     local t
---     before_each(function() t = case.new() end)
---     after_each(function() t:finish() end)
---
--- `finish` raises when the server has refused a request, and when a process is left.
local fake = require("support.fake")
local json = require("agenthost.json")
local program = require("support.program")
local sys = require("agenthost.sys")
local tmux = require("support.tmux")

local M = {}

local FILE <const> = 30 -- seconds that `wait_for_file` waits

---@class support.case.Case
---@field place support.program.Place
---@field server? support.fake.Server
---@field refusals_expected? boolean
---@field models? table that the server lists, if not its usual one
---@field owned { close: fun(self) }[] what `finish` closes
local Case = {}
Case.__index = Case

---@return support.case.Case
function M.new()
  return setmetatable({ place = program.place(), owned = {} }, Case)
end

--- Takes something that is to be closed when the test ends. Returns it.
function Case:own(handle)
  table.insert(self.owned, handle)
  return handle
end

--- Starts the server. Rules with `times = 1` are used one after the other.
---@param ... table rules
function Case:serve(...)
  self.server = fake.start({ rules = { ... }, models = self.models })
  return self.server
end

--- A list of rules as `serve` wants them, each used once but for the last.
---@param ... table
function Case:script(...)
  local rules = { ... }
  for i = 1, #rules - 1 do
    rules[i].times = rules[i].times or 1
  end
  return self:serve(table.unpack(rules))
end

local function with_server(self, opts)
  if opts.server == nil then
    opts.server = self.server
  end
  return opts
end

--- Place:run with the server of this test.
function Case:run(opts)
  return self.place:run(with_server(self, opts))
end

--- Place:start with the server of this test.
function Case:start(opts)
  return self.place:start(with_server(self, opts))
end

--- The result that the model gets for one tool call, and whether it is an error: the program runs
--- `-p` with a model that makes this call.
---@param name string
---@param input table
---@param opts? support.program.Options
---@return string content, boolean is_error, table run
function Case:tool_result(name, input, opts)
  self:script({ tools = { { name = name, input = input, id = "toolu_one" } } }, { text = "Seen." })
  opts = opts or {}
  table.move({ "-p", "Go on." }, 1, 2, #opts + 1, opts)
  local result = self:run(opts)
  if result.code ~= 0 or result.stdout ~= "Seen.\n" then
    error(("code %s, stdout %s, stderr %s"):format(result.code, result.stdout, result.stderr), 2)
  end
  local found = M.results(self.server.requests()[2].body)
  assert(#found == 1)
  return found[1].content, found[1].is_error == true, result
end

--- The tool_result blocks of the last message of a request.
---@param body table
---@return table[]
function M.results(body)
  local found = {}
  for _, block in ipairs(body.messages[#body.messages].content) do
    if block.type == "tool_result" then
      found[#found + 1] = block
    end
  end
  return found
end

--- The texts of the last message of a request, joined.
---@param body table
---@return string
function M.last_text(body)
  local texts = {}
  for _, block in ipairs(body.messages[#body.messages].content) do
    texts[#texts + 1] = block.text
  end
  return table.concat(texts, "\n")
end

--- How often `piece` stands in `text`.
function M.count(text, piece)
  local count, at = 0, 1
  while true do
    local from, to = text:find(piece, at, true)
    if not from then
      return count
    end
    count, at = count + 1, to + 1
  end
end

--- The lines of a text, without the empty ones.
function M.lines(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  return lines
end

--- The JSON objects of a text, one a line.
function M.objects(text)
  local objects = {}
  for i, line in ipairs(M.lines(text)) do
    objects[i] = assert(json.decode(line))
  end
  return objects
end

--- A folder with an executable script in it, to be put on PATH.
function Case:program(name, text)
  local path = self.place:write("bin/" .. name, text)
  assert(os.execute("chmod +x '" .. path .. "'"))
  return self.place.work .. "/bin:/usr/local/bin:/usr/bin:/bin"
end

--- A command that says with a file `runs` that it has begun, and goes on when there is a file `go`.
M.WAITS = "touch runs; while [ ! -e go ]; do sleep 0.05; done; echo went"

--- Waits until there is a file in the place, and returns what is in it.
---@param path string
---@return string content
function Case:wait_for_file(path)
  return assert(tmux.eventually(function() return self.place:read(path) end, FILE), path)
end

--- Ends the test: see above.
function Case:finish()
  local refused
  for _, handle in ipairs(self.owned) do
    handle:close()
  end
  if self.server then
    for _, entry in ipairs(self.server.log()) do
      if entry.kind == "rejected" and not self.refusals_expected then
        refused = refused or entry.message
      end
    end
    self.server.stop()
  end
  self.place:close()
  if refused then
    error("the server refused a request: " .. refused, 2)
  end
end

M.now = sys.now

return M
