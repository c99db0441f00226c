--- For tests of agents, tools and plugins, which `agenthost test` runs. See `agenthost help
--- testing`.
---
---     local testing = require("agenthost.testing")
---     local assert <const> = testing.assert
---
---     describe("the agent", function()
---       it("counts the words", function()
---         local t = testing.agent({
---           model = { { tools = { { "word_count", { path = "a.txt" } } } }, "It has two words." },
---           plugins = { "./word_count.lua" },
---           files = { ["a.txt"] = "one two" },
---         })
---         assert.equal("It has two words.", t:run("How long is a.txt?"))
---         t:assert_called("word_count", { path = "a.txt" })
---       end)
---     end)
---
--- Paths start at the folder of the test's file. Everything that a test makes is gone behind it.
local agents = require("agenthost.testing.agent")
local options = require("agenthost.options")
local place = require("agenthost.testing.place")
local tasks = require("agenthost.testing.tasks")
local time = require("agenthost.testing.time")

local M = {}

--- Assertions: `assert.equal(expected, actual)` and others; also Lua's own `assert`.
---@type agenthost.testing.Assert
M.assert = require("agenthost.testing.assertions")

--- An agent with a scripted or recorded model, in an empty workspace. With `script` it is the one
--- that this file returns; else the options of agent.new may be given, too.
---@param opts agenthost.testing.AgentOptions
---@return agenthost.testing.Agent
function M.agent(opts)
  local t = agents.new(opts, place.current()) -- no tail call: an error names the caller's line
  return t
end

---@class agenthost.testing.CallOptions
---@field files? table<string, string> what is in the workspace: path and content
---@field name? string which tool of a plugin that has several
---@field options? table of a plugin
---@field tasks? agenthost.testing.FakeTask[]

-- The one tool that is meant.
local function tool_name(t, opts)
  local names = t.agent.tools:names()
  if opts.name == nil and #names ~= 1 or opts.name and not t.agent.tools.by_name[opts.name] then
    error(("testing.call: say which tool, with the option `name`: %s"):format(
      table.concat(names, ", ")), 3)
  end
  return opts.name or names[1]
end

--- Calls one tool as a model would: its input is checked, and the result is what a model gets.
---@param tool agenthost.Tool|string a tool, or the path or name of a plugin
---@param input? table
---@param opts? agenthost.testing.CallOptions
---@return string|table[] content a text, or content blocks
---@return boolean is_error
---@return agenthost.testing.Agent t to look at its workspace
function M.call(tool, input, opts)
  opts = opts or {}
  options.check(opts, { "files", "name", "options", "tasks" }, 2)
  local spec = { tool }
  for name, value in pairs(opts.options or {}) do
    spec[name] = value
  end
  local is_tool = type(tool) == "table"
  local t = agents.new({ model = {}, files = opts.files, tasks = opts.tasks, system = "A test.",
    instructions = false, tools = is_tool and { tool } or nil,
    plugins = not is_tool and { spec } or nil }, place.current())
  local content, is_error = t:call(is_tool and tool.name or tool_name(t, opts), input)
  return content, is_error, t
end

--- A command that is played, for the option `tasks`.
---@param fake agenthost.testing.FakeTask
---@return agenthost.testing.FakeTask
function M.fake_task(fake)
  local checked = tasks.check(fake, 2)
  return checked
end

--- From now on to the end of the test time passes only where something waits for it, and at once:
--- `async.sleep(3600)` returns immediately. It stands still while a real command runs. What waits
--- outside Lua, such as a request over the network or the timeout of a command, takes real time.
---@return agenthost.testing.Clock clock `clock:elapsed()` gives the seconds that have passed
function M.fake_clock()
  place.current()
  return time.fake()
end

--- A new, empty directory.
---@return string path
function M.directory()
  return place.current():directory("directory")
end

return M
