--- An agent in a test: the real one, in a workspace and a state directory of its own, with a model
--- that is scripted or replayed, and notes of what happens.
local agent_base = require("agenthost.agent_base")
local json = require("agenthost.json")
local options = require("agenthost.options")
local replay = require("agenthost.provider.replay")
local scripted = require("agenthost.provider.scripted")
local show = require("agenthost.testing.show")
local sys = require("agenthost.sys")
local tasks = require("agenthost.testing.tasks")
local time = require("agenthost.testing.time")

local M = {}

local MAX_RUNS <const> = 100 -- that `settle` makes before it gives up
local FILE_BYTES <const> = 64 * 1024 * 1024

---@class agenthost.testing.AgentOptions
---@field model table|function|string the model: a list of turns or a function, as in
---  agenthost.provider.scripted; "x.lua": a file that returns one; "x.jsonl": a recording
---@field lenient? boolean of a recording: requests need not be the recorded ones
---@field script? string the agent's file, in place of options for agent.new
---@field args? string[] of the script
---@field files? table<string, string> what is in the workspace: path and content
---@field tasks? agenthost.testing.FakeTask[] commands that are played; another one is an error.
---  Without it commands run for real
---@field ask? fun(question: agenthost.Question): agenthost.Answer? answers for the user
---@field permissions? table as in agent.new; without it, and without a script, all is allowed

local OWN <const> = { "model", "lenient", "script", "args", "files", "tasks", "ask", "permissions" }
local MINE = {}
for _, name in ipairs(OWN) do
  MINE[name] = true
end

---@class agenthost.testing.Call
---@field name string
---@field input table
---@field content string|table[] the result, as the model gets it
---@field is_error boolean
---@field refused boolean permissions forbade it

---@class agenthost.testing.Agent
---@field agent agenthost.Agent the real one
---@field cwd string its workspace
---@field requests agenthost.ScriptedRequest[] what the model was sent, one a call
---@field notices table[] what it was told of tasks and plugins
local Agent = {}
Agent.__index = Agent

-- ---- what happens ------------------------------------------------------------------------------

--- Says something and runs the agent until the model asks for no more tools.
---@param input? string|table[]
---@return string? text the last reply; nil, message, code as of Agent:run
---@return string? message
---@return string? code
function Agent:run(input)
  local result, message, code = self.agent:run(input)
  if not result then
    return nil, message, code
  end
  return result.text
end

--- Goes on until nothing owes a notice and none waits, as an idle agent would.
---@return string? text the last reply, nil when there was nothing to go on with; nil, message, code
---@return string? message
---@return string? code
function Agent:settle()
  local agent, text = self.agent, nil
  for _ = 1, MAX_RUNS do
    while agent.inbox:waiting() == 0 do
      if agent:owed() == 0 then
        return text
      end
      agent.queue:wait()
    end
    local message, code
    text, message, code = self:run(nil)
    if not text then
      return nil, message, code
    end
  end
  return nil, ("the agent did not come to rest in %d runs"):format(MAX_RUNS), "MAX_RUNS"
end

--- Calls one of its tools as a model would: checked input, permissions, and the result that a model
--- would get.
---@param name string
---@param input? table
---@return string|table[] content
---@return boolean is_error
function Agent:call(name, input)
  local agent = self.agent
  local call = { type = "tool_use", id = "toolu_" .. sys.random_hex(4), name = name,
    input = input or json.object({}) }
  local results = agent.tools:run({ call }, function(one) return agent:tool_context(one) end,
    agent.emitter)
  return results[1].content, results[1].is_error == true
end

-- ---- what there is to look at ------------------------------------------------------------------

--- The tool calls that have ended, in the order in which the model has made them.
---@param name? string only those of one tool
---@return agenthost.testing.Call[]
function Agent:calls(name)
  local found = {}
  for _, call in ipairs(self.started) do
    if call.seconds and (name == nil or call.name == name) then
      found[#found + 1] = { name = call.name, input = call.call.input, content = call.content,
        is_error = call.is_error, refused = call.refused == true }
    end
  end
  return found
end

--- The conversation: messages with role and content (a list of blocks).
---@return table[]
function Agent:messages()
  return self.agent.conversation:messages()
end

--- A file of the workspace.
---@param path string
---@return string? content nil when it is not there
function Agent:read(path)
  return (self.agent.root:read(path, FILE_BYTES))
end

--- Writes a file of the workspace; directories are made.
---@param path string
---@param content string
function Agent:write(path, content)
  assert(self.agent.root:write(path, content))
end

-- ---- assertions --------------------------------------------------------------------------------

-- Whether `value` has what `wanted` has; more may be there.
local function holds(wanted, value)
  if type(wanted) ~= "table" or type(value) ~= "table" then
    return wanted == value
  end
  for name, part in pairs(wanted) do
    if not holds(part, value[name]) then
      return false
    end
  end
  return true
end

local function describe(calls)
  local lines = {}
  for i, call in ipairs(calls) do
    lines[i] = ("\n  %s %s"):format(call.name, show.value(call.input))
  end
  return #lines > 0 and table.concat(lines) or " none"
end

--- Fails unless a tool was called.
---@param name string
---@param input? table fields that its input has to have, among others
---@return agenthost.testing.Call call the first one that fits
function Agent:assert_called(name, input)
  for _, call in ipairs(self:calls(name)) do
    if input == nil or holds(input, call.input) then
      return call
    end
  end
  error(("expected a call of %s%s; the calls were:%s"):format(name,
    input and " with " .. show.value(input) or "", describe(self:calls())), 2)
end

--- Fails when a tool was called.
---@param name string
function Agent:assert_not_called(name)
  if #self:calls(name) > 0 then
    error(("expected no call of %s; the calls were:%s"):format(name, describe(self:calls())), 2)
  end
end

--- Fails unless the model was sent a text, as the last message of some request.
---@param text string as it is, not a pattern
---@return agenthost.ScriptedRequest request the first one that fits
function Agent:assert_sent(text)
  local lasts = {}
  for i, request in ipairs(self.requests) do
    if request.last:find(text, 1, true) then
      return request
    end
    lasts[i] = ("\n  %d: %s"):format(i, show.value(request.last))
  end
  error(("expected the model to be sent %s; the last messages were:%s"):format(show.value(text),
    #lasts > 0 and table.concat(lasts) or " none"), 2)
end

-- ---- making one --------------------------------------------------------------------------------

local function new_provider(model, place, lenient)
  local is_text = type(model) == "string"
  if is_text and model:find("%.jsonl$") then
    return replay.from_file(place:resolve(model), { lenient = lenient })
  elseif is_text and model:find("%.lua$") then
    return scripted.from_file(place:resolve(model))
  elseif type(model) ~= "table" and type(model) ~= "function" then
    error("testing.agent: `model` has to be a list of turns, a function, or a file "
      .. "(.lua or .jsonl)", 0)
  end
  return scripted.new(model, "the test's model")
end

-- Notes what the model is sent.
local function listen(provider, requests)
  local stream = provider.stream
  function provider.stream(self, request, on_event)
    requests[#requests + 1] = scripted.view(request)
    return stream(self, request, on_event)
  end
  return provider
end

local function watch(self, agent)
  local on_event = agent.on_event
  agent.on_event = function(event)
    local call = event.call
    if event.type == "tool_start" then
      table.insert(self.started, call)
    elseif event.type == "notice" then
      table.insert(self.notices, event.notice)
    end
    if on_event then
      on_event(event)
    end
  end
end

local function run_script(path, args)
  local chunk, message = loadfile(path, "t")
  if not chunk then
    error(message, 0)
  end
  local made = chunk(table.unpack(args or {}))
  if type(made) ~= "table" or type(made.run) ~= "function" or not made.conversation then
    error(("%s has to return an agent (agent.new{...}), it returned a %s"):format(path,
      type(made)), 0)
  end
  return made
end

local function make(opts, place)
  if opts.script then
    return run_script(place:resolve(opts.script), opts.args)
  end
  local given = { base_dir = place.base_dir }
  for name, value in pairs(opts) do
    given[name] = not MINE[name] and value or given[name]
  end
  return require("agenthost.agent").new(given)
end

-- Ends its commands and closes it.
local function close(agent)
  local list = agent:list_tasks()
  time.let_all_go()
  for _, one in ipairs(list) do
    one:kill({ grace = 0 })
  end
  for _, one in ipairs(list) do
    one:wait(5)
  end
  agent:close()
end

local function check(opts)
  local names = table.move(agent_base.OPTIONS, 1, #agent_base.OPTIONS, #OWN + 1,
    table.move(OWN, 1, #OWN, 1, {}))
  options.check(opts, names, 4)
  for name in pairs(opts.script and opts or {}) do
    if not MINE[name] then
      error(("testing.agent: `%s` is for the script to say"):format(name), 4)
    end
  end
  local fakes = opts.tasks or {}
  if type(fakes) ~= "table" or #fakes == 0 and next(fakes) ~= nil then
    error("`tasks` has to be a list: { testing.fake_task{...}, ... }", 4)
  end
  for _, fake in ipairs(fakes) do
    tasks.check(fake, 4)
  end
end

local function write_files(cwd, files)
  local root <close> = assert(sys.root(cwd))
  for path, content in pairs(files) do
    if type(path) ~= "string" or type(content) ~= "string" then
      error("`files` has to hold texts: { [\"path\"] = \"content\" }", 4)
    end
    local ok, written, message = pcall(root.write, root, path, content)
    if not ok or not written then
      error("`files`: " .. (message or written), 4)
    end
  end
end

--- What every agent of a test gets that is not made by `new`.
---@param place agenthost.testing.Place
---@return table overrides for agent_base.override
function M.overrides(place)
  return { session_dir = place.dir .. "/sessions", state_dir = place.dir .. "/state",
    settings = {}, base_dir = place.base_dir,
    cwd = place:directory("workspace"),
    model = "scripted/" .. assert(package.searchpath("agenthost.testing.no_model", package.path)) }
end

--- Makes one. It is closed, and its commands are ended, when the test is over.
---@param opts agenthost.testing.AgentOptions or, without `script`, also options of agent.new
---@param place agenthost.testing.Place
---@return agenthost.testing.Agent
function M.new(opts, place)
  check(opts)
  local self = setmetatable({ requests = {}, started = {}, notices = {} }, Agent)
  local overrides = M.overrides(place)
  self.cwd = opts.cwd or overrides.cwd
  overrides.cwd, overrides.model = self.cwd, nil
  overrides.provider = listen(new_provider(opts.model, place, opts.lenient), self.requests)
  overrides.permissions = opts.permissions
    or not opts.script and { mode = "bypassPermissions" } or nil
  if opts.script then
    overrides.base_dir = place:resolve(opts.script):match("^(.*)/")
  end
  write_files(self.cwd, opts.files or {})
  agent_base.override(overrides)
  local ok, made = pcall(make, opts, place)
  agent_base.override(M.overrides(place))
  if not ok then
    error(made, 0)
  end
  self.agent, made.ask = made, opts.ask
  place:defer(function() close(made) end)
  watch(self, made)
  if opts.tasks then
    tasks.attach(made, opts.tasks, place)
  end
  return self
end

return M
