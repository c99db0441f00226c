local options = require("agenthost.options")
local raised = require("support.temp").raised

describe("options.check", function()
  local known <const> = { "timeout", "cwd" }

  local function configure(opts)
    options.check(opts, known, 2)
  end

  it("takes known names", function()
    configure({})
    configure({ timeout = 1, cwd = false })
  end)

  it("names what it does not know, and what may be meant, at the caller's line", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local message = raised(function() configure({ time_out = 1 }) end)
    local expected <const> = "tests/spec/options_spec.lua:%d: unknown option 'time_out'; "
      .. "did you mean 'timeout'?"
    local wanted = expected:format(line) -- the path is as the file was named on the command line
    assert.equal(wanted, message:sub(-#wanted))
    assert.matches("unknown option 'colour'$", raised(configure, { colour = 1 }))
    assert.matches("unknown option '1'$", raised(configure, { "positional" }))
  end)

  it("wants a table", function()
    assert.matches("expected a table of options, got a string", raised(configure, "x"))
    assert.matches("expected a table of options, got a nil", raised(configure))
  end)
end)

describe("options.closest", function()
  it("finds what is close enough to be meant", function()
    local known <const> = { "--model", "--print", "--max-turns" }
    assert.equal("--model", options.closest("--modle", known))
    assert.equal("--max-turns", options.closest("--maxturns", known))
    assert.is_nil(options.closest("--something-else", known))
    assert.is_nil(options.closest("x", { "y" })) -- one letter is never close to another
    assert.is_nil(options.closest("", known))
    assert.is_nil(options.closest("abc", {}))
  end)
end)
