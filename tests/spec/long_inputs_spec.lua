-- Inputs that took far longer than their length, found by the fuzzers (tests/fuzz) and by reading
-- with them in mind. They held the host for many seconds. None of them takes one now; the guard
-- stops what takes 10.
local defaults = require("agenthost.defaults")
local front_matter = require("agenthost.front_matter")
local path = require("agenthost.permission_path")
local protect = require("agenthost.protect")
local rules = require("agenthost.permission_rules")
local schema = require("agenthost.schema")
local shell_check = require("agenthost.shell_check")

local SPACES <const> = (" "):rep(200000)
local LONG <const> = ("x"):rep(1000000)

local function head(line)
  return function()
    return front_matter.parse("---\n" .. line .. "\n---\n")
  end
end

local function command(text)
  return function()
    assert(#text <= defaults.permission.max_command)
    return shell_check.read(text)
  end
end

-- Whether a rule is for a tool whose name its stars can be laid over in very many ways.
local function stars()
  local rule = rules.parse(("*a"):rep(20) .. "b")
  return rules.allows({ rule }, { tool = ("a"):rep(64), kind = "none", cwd = "/w" })
end

local CASES <const> = {
  ["spaces in front of the last word of a line of a SKILL.md"] = head("a: b" .. SPACES .. "c"),
  ["a script of sed with spaces"] = command("sed 'p" .. SPACES:sub(1, 60000) .. "x'"),
  ["a long name of a program that ends in a slash"] = command(("a"):rep(60000) .. "/ b"),
  ["many unclosed ${"] = command(("${"):rep(32000)),
  ["many here-documents without an end"] = command(("a <<E\n"):rep(10000)),
  ["many here-documents of one command"] = command("`" .. ("/ a<<m "):rep(9000) .. "`"),
  ["wrappers inside one another around many words"] = command(("env $("):rep(15)
    .. ("a "):rep(30000) .. (")"):rep(15)),
  ["many words in front of a command"] = command(("if "):rep(21000)),
  ["a rule with spaces"] = function()
    return rules.parse("bash(a" .. SPACES .. "b)")
  end,
  ["a rule with many stars"] = stars,
  ["a path of a model's with many folders that are missing"] = function()
    return path.resolve("/w", ("a/"):rep(100000))
  end,
  ["a rule with a long name of a folder"] = function()
    local slashes = ("/"):rep(200000)
    return path.leads_to(("a"):rep(200000) .. "/**", "/w", "/w/b"),
      path.matches(slashes .. "a", "/w", "/w/b")
  end,
  ["an unknown field with a long name"] = function()
    local known = {}
    for i = 1, 50 do
      known["field_" .. i] = "string?"
    end
    local made = schema.from_input(known)
    made.additionalProperties = false
    return schema.check({ [LONG] = 1 }, made)
  end,
  ["a description of a field with spaces"] = function()
    return schema.from_input({ a = "string: b" .. SPACES .. "c" })
  end,
}

describe("an input that once took very long:", function()
  local seconds

  before_each(function()
    seconds, defaults.guard.seconds = defaults.guard.seconds, 10
  end)

  after_each(function()
    defaults.guard.seconds = seconds
  end)

  for name, case in pairs(CASES) do
    it(name, function()
      assert(protect.call("the parser", function()
        case()
        for _ = 1, 10000 do
          math.abs(1) -- the guard looks at the clock every so many instructions only
        end
      end))
    end)
  end
end)

describe("commands inside commands", function()
  it("are read up to a bound, and then nobody knows what runs", function()
    local shell = shell_check.read(("env $("):rep(15) .. ("a "):rep(30000) .. "rm" .. (")"):rep(15))
    assert.is_true(shell.unsure)
    local request = { tool = "bash", kind = "command", cwd = "/w", shell = shell }
    local _, maybe = rules.forbids({ rules.parse("bash(curl:*)") }, request)
    assert.is_true(maybe)
  end)
end)
