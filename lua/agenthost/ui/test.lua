--- `agenthost test`: runs the tests of users' agents, tools and plugins.
local options = require("agenthost.options")
local project = require("agenthost.project")
local secrets = require("agenthost.secrets")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local trust = require("agenthost.ui.trust")

local M = {}

local USAGE <const> = [[
agenthost test [PATHS] [--tap] [--filter TEXT] [--trust-project]

Runs the tests in *_test.lua, found below the working directory or the PATHS. What they print goes
to standard error.
  --tap            results as TAP
  --filter TEXT    only tests with TEXT in their name
  --trust-project  use the Lua code in .agenthost/ of this project, and remember that
Exit codes: 0 all passed, 1 a test failed or there was none, 2 wrong usage.
See `agenthost help testing`.
]]

local function indented(message, indent)
  return indent .. text.clean(message):gsub("\n", "\n" .. indent)
end

local function details(result)
  local lines = { result.message }
  for _, line in ipairs(result.trace or {}) do
    lines[#lines + 1] = "  " .. line
  end
  return table.concat(lines, "\n")
end

-- ---- the two reports ---------------------------------------------------------------------------

local function plain_report(put)
  local file
  return {
    result = function(result)
      if result.file ~= file then
        file = result.file
        put(text.clean(file))
      end
      local took = result.seconds >= 1 and (" (%.1f s)"):format(result.seconds) or ""
      put(("  %s  %s%s"):format(result.ok and "ok  " or "FAIL", text.clean(result.name), took))
      if not result.ok then
        put(indented(details(result), "        "))
      end
    end,
    finish = function(counts)
      put(("%d passed, %d failed (%.1f s)"):format(counts.passed, counts.failed, counts.seconds))
    end,
  }
end

local function tap_report(put)
  put("TAP version 13")
  local count = 0
  return {
    result = function(result)
      count = count + 1
      local name = text.clean(result.file .. ": " .. result.name):gsub("%s+", " "):gsub("#", "\\#")
      put(("%s %d - %s"):format(result.ok and "ok" or "not ok", count, name))
      if not result.ok then
        put(indented(details(result), "# "))
      end
    end,
    finish = function()
      put("1.." .. count)
    end,
  }
end

-- ---- the command -------------------------------------------------------------------------------

local function usage(format, ...)
  error({ usage = format:format(...) .. "\n" .. USAGE:gsub("\n$", "") }, 0)
end

local function parse(words)
  local opts, i = { paths = {} }, 1
  while i <= #words do
    local word = words[i]
    if word == "--tap" then
      opts.tap = true
    elseif word == "--help" or word == "-h" then
      opts.help = true
    elseif word == "--filter" then
      i = i + 1
      opts.filter = words[i] or usage("--filter needs a text")
    elseif word:sub(1, 9) == "--filter=" then
      opts.filter = word:sub(10)
    elseif word == "--trust-project" then
      opts.trust = true
    elseif word:sub(1, 1) == "-" then
      local best = options.closest(word, { "--tap", "--filter", "--trust-project", "--help" })
      usage("unknown flag '%s'%s", word, best and ("; did you mean '%s'?"):format(best) or "")
    else
      opts.paths[#opts.paths + 1] = word
    end
    i = i + 1
  end
  return opts
end

local function say(line)
  sys.write_fd(2, "agenthost: " .. text.clean(line) .. "\n")
end

--- Runs the command. Returns the exit code.
---@param words string[] what stands behind "test"
---@return integer
function M.run(words)
  local opts = parse(words)
  if opts.help then
    sys.write_fd(1, USAGE)
    return 0
  end
  trust.open({ trust = opts.trust, headless = opts.tap })
  project.forget_modules()
  secrets.hide()
  local runner = require("agenthost.testing.runner")
  local found, files, note = pcall(runner.find, opts.paths)
  if not found then
    usage("%s", files)
  elseif note then
    say(note)
  end
  local stdout = sys.move_stdout() or 1 -- what tests print is no result
  io.stdout:setvbuf("line")
  os.exit = function() -- luacheck: ignore 122
    error("os.exit would end all tests, with nothing reported", 2)
  end
  local report = (opts.tap and tap_report or plain_report)(function(line)
    sys.write_fd(stdout, line .. "\n")
  end)
  local counts, started = { passed = 0, failed = 0 }, sys.now()
  runner.run(files, { filter = opts.filter, on_result = function(result)
    local name = result.ok and "passed" or "failed"
    counts[name] = counts[name] + 1
    report.result(result)
  end })
  counts.seconds = sys.now() - started
  report.finish(counts)
  if counts.passed + counts.failed == 0 then
    say(#files == 0 and "there are no tests: their files are called *_test.lua"
      or opts.filter and ("no test was run: none has '%s' in its name"):format(opts.filter)
      or "these files hold no tests: it(name, function() ... end) is one")
    return 1
  end
  return counts.failed > 0 and 1 or 0
end

return M
