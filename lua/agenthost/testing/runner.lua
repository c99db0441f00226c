--- Runs files of tests: `describe`, `it`, `before_each` and `after_each`, with the meaning that
--- they have in busted.
---
--- Why not busted itself: it is ten packages with C modules for one version of Lua, which a user of
--- an installed agenthost has no other need of; and its tests run outside the scheduler, where
--- nothing can end one that waits for ever.
local agent_base = require("agenthost.agent_base")
local agents = require("agenthost.testing.agent")
local assertions = require("agenthost.testing.assertions")
local defaults = require("agenthost.defaults")
local options = require("agenthost.options")
local place = require("agenthost.testing.place")
local protect = require("agenthost.protect")
local show = require("agenthost.testing.show")
local sys = require("agenthost.sys")
local time = require("agenthost.testing.time")

local M = {}

---@class agenthost.testing.Test
---@field name string with the names of the groups it is in
---@field file string as it was given
---@field fn fun()
---@field groups table[] outermost first
---@field timeout number seconds

---@class agenthost.testing.Result
---@field name string
---@field file string
---@field ok boolean
---@field seconds number
---@field message? string what went wrong, with file and line
---@field trace? string[] the way there, a line each, where the message alone does not say it

-- ---- reading a file ----------------------------------------------------------------------------

local function check_function(fn, name, what)
  if type(fn) ~= "function" then
    error(("%s: expected a function%s, got a %s"):format(name, what or "", type(fn)), 3)
  end
end

-- What busted has and is not here: what to write in its place.
local BUSTED <const> = {
  setup = "before_each(fn)", lazy_setup = "before_each(fn)", strict_setup = "before_each(fn)",
  teardown = "after_each(fn)", lazy_teardown = "after_each(fn)", strict_teardown = "after_each(fn)",
  finally = "after_each(fn), or a <close> variable",
  context = "describe(name, fn)", insulate = "describe(name, fn)", expose = "describe(name, fn)",
  spec = "it(name, fn)", test = "it(name, fn)",
  pending = "a comment: a test is run, or it is not there",
  spy = "a function of your own that notes its calls; calls of tools are in t:calls()",
  stub = "testing.fake_task for commands, or a function of your own",
  mock = "testing.fake_task for commands, or a table of your own",
}

-- The globals that a file of tests finds behind its own.
local function global(_, name)
  local value = _G[name]
  if value == nil and BUSTED[name] then
    error(("there is no '%s' here; write %s"):format(name, BUSTED[name]), 2)
  end
  return value
end

-- The functions that a file of tests has, and the list into which they put its tests.
local function new_dsl(file)
  local tests, groups = {}, { { before = {}, after = {} } }
  local dsl = { assert = assertions }
  local loading = true
  local function check_loading(name)
    if not loading then
      error(name .. " inside a test: it belongs outside", 3)
    end
  end
  function dsl.describe(name, fn)
    check_loading("describe")
    check_function(fn, "describe", " behind its name")
    groups[#groups + 1] = { name = tostring(name), before = {}, after = {} }
    fn()
    groups[#groups] = nil
  end
  function dsl.it(name, fn, opts)
    check_loading("it")
    check_function(fn, "it", " behind its name")
    options.check(opts or {}, { "timeout" }, 2)
    local names = {}
    for _, group in ipairs(groups) do
      names[#names + 1] = group.name
    end
    names[#names + 1] = tostring(name)
    tests[#tests + 1] = { name = table.concat(names, " "), file = file, fn = fn,
      groups = table.move(groups, 1, #groups, 1, {}),
      timeout = opts and opts.timeout or defaults.testing.timeout }
  end
  function dsl.before_each(fn)
    check_function(fn, "before_each")
    table.insert(groups[#groups].before, fn)
  end
  function dsl.after_each(fn)
    check_function(fn, "after_each")
    table.insert(groups[#groups].after, 1, fn)
  end
  return dsl, tests, function() loading = false end
end

-- ---- saying what went wrong --------------------------------------------------------------------

-- The lines of a traceback that are in files of the user's.
local function own_lines(traceback, own)
  local lines = {}
  for line in (traceback or ""):gmatch("\n%s+([^\n]+)") do
    local at = line:match("^([^\n]-:%d+): in ")
    if at and at:find(own, 1, true) == 1 then
      lines[#lines + 1] = "at " .. at
    end
  end
  return lines
end

-- The message of an outcome, and the way there when the message is not from the test's own lines.
local function explain(outcome, file)
  local err = outcome.err
  local message = err == nil and "error() was called without a message" or tostring(err)
  if type(err) == "table" and err.message then
    message = tostring(err.message)
  elseif type(err) == "table" and not (getmetatable(err) or {}).__tostring then
    message = "a table was raised: " .. show.value(err)
  end
  if message:find(file .. ":", 1, true) == 1 then
    return message
  end
  return message, own_lines(outcome.traceback, file)
end

-- ---- running -----------------------------------------------------------------------------------

local function test_steps(test, here)
  local function before_and_test()
    for _, group in ipairs(test.groups) do
      for _, fn in ipairs(group.before) do
        fn()
      end
    end
    test.fn()
  end
  local function after()
    local problem
    for i = #test.groups, 1, -1 do
      for _, fn in ipairs(test.groups[i].after) do
        local ok, err = pcall(fn)
        problem = problem or not ok and err or nil
      end
    end
    problem = problem or here:close()
    if problem then
      error(problem, 0)
    end
  end
  return { { fn = before_and_test, bound = test.timeout },
    { fn = after, bound = test.timeout + defaults.testing.grace } }
end

---@return agenthost.testing.Result
local function run_test(test, base_dir)
  local started = sys.now()
  local here = place.open(base_dir)
  agent_base.override(agents.overrides(here))
  local outcomes = time.run(test_steps(test, here))
  here:remove()
  agent_base.override({})
  local failed = not outcomes[1].ok and outcomes[1] or not outcomes[2].ok and outcomes[2]
  local result = { name = test.name, file = test.file, ok = not failed,
    seconds = sys.now() - started }
  if failed then
    result.message, result.trace = explain(failed, test.file)
  end
  return result
end

-- The tests of a file, or nil and a failed result.
local function load_file(file)
  local dsl, tests, loaded = new_dsl(file)
  local content, problem = sys.read_file(file, 16 * 1024 * 1024)
  local chunk
  if content then
    chunk, problem = load(content, "@" .. file, "t", setmetatable(dsl, { __index = global,
      __newindex = function(_, name)
        error(("'%s' is global: say local, tests do not share variables"):format(tostring(name)), 2)
      end }))
  end
  local ok, err, traceback = protect.call(file, chunk or function() error(problem, 0) end)
  loaded()
  if ok then
    return tests
  end
  local message, trace = explain({ err = err, traceback = traceback }, file)
  return nil, { name = "(the file itself)", file = file, ok = false, seconds = 0,
    message = message, trace = trace }
end

--- Runs the tests of some files.
---@param files string[]
---@param opts { filter?: string, on_result: fun(result: agenthost.testing.Result) } filter: only
---  tests with this text in their name
function M.run(files, opts)
  for _, file in ipairs(files) do
    local tests, failure = load_file(file)
    if failure then
      opts.on_result(failure)
    end
    local base_dir = sys.realpath(file:match("^(.*)/[^/]*$") or ".") or sys.cwd()
    for _, test in ipairs(tests or {}) do
      if not opts.filter or test.name:find(opts.filter, 1, true) then
        opts.on_result(run_test(test, base_dir))
      end
    end
  end
end

-- ---- finding files -----------------------------------------------------------------------------

local function walk(dir, depth, found)
  local entries = sys.list(dir) or {}
  found.entries = found.entries + #entries
  for _, entry in ipairs(entries) do
    local path = dir == "." and entry.name or dir .. "/" .. entry.name
    local hidden = entry.name:sub(1, 1) == "." or entry.name == "node_modules"
    if found.entries > defaults.testing.max_entries then
      found.bound = "max_entries"
    elseif entry.type == "directory" and not hidden then
      if depth < defaults.testing.max_depth then
        walk(path, depth + 1, found)
      else
        found.bound = "max_depth"
      end
    elseif entry.type == "file" and not hidden and entry.name:find("_test%.lua$") then
      found[#found + 1] = path
    end
  end
end

--- The files of tests: those that are named, and all `*_test.lua` below folders that are; hidden
--- folders and node_modules are left out.
---@param paths string[] none: the working directory
---@return string[] files
---@return string? note which bound left something out
function M.find(paths)
  local found = { entries = 0 }
  for _, path in ipairs(#paths > 0 and paths or { "." }) do
    local stat = sys.stat(path)
    if not stat then
      error(("there is no file or folder %s"):format(path), 0)
    elseif stat.type == "directory" then
      walk((path:gsub("(.)/+$", "%1")), 1, found)
    else
      found[#found + 1] = path
    end
  end
  local max = defaults.testing.max_files
  if #found > max then
    found.bound = "max_files"
  end
  local files = table.move(found, 1, math.min(#found, max), 1, {})
  return files, found.bound
    and ("not all folders were searched to their end: defaults.testing.%s"):format(found.bound)
end

return M
