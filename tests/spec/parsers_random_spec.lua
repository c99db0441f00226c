-- Random inputs for what parses texts of users and models: the rules of permissions, the head of a
-- SKILL.md, and JSON Schemas of tools. Nothing raises, everything comes back in time.
local defaults = require("agenthost.defaults")
local front_matter = require("agenthost.front_matter")
local json = require("agenthost.json")
local protect = require("agenthost.protect")
local rules = require("agenthost.permission_rules")
local schema = require("agenthost.schema")
local shell_commands = require("agenthost.shell_commands")
local sys = require("agenthost.sys")

local ROUNDS <const> = 3000
local SECONDS <const> = 5 -- of one input; the guard stops what takes longer

describe("random inputs", function()
  local seconds, seed = defaults.guard.seconds, nil

  before_each(function()
    defaults.guard.seconds = SECONDS
    seed = tonumber(sys.random_hex(4), 16)
    math.randomseed(seed)
  end)

  after_each(function()
    defaults.guard.seconds = seconds
  end)

  local function pick(list)
    return list[math.random(#list)]
  end

  -- A text of pieces that mean something to the parser, and some that mean nothing.
  local function text_of(pieces, most)
    local parts = {}
    for i = 1, math.random(0, most) do
      parts[i] = math.random(8) == 1 and string.char(math.random(0, 255)) or pick(pieces)
    end
    return table.concat(parts)
  end

  -- Calls fn, which may refuse the input, but not raise.
  local function try(input, fn, ...)
    local results = table.pack(protect.call("the parser", fn, ...))
    if not results[1] then
      error(("seed %d: %s\ninput: %q"):format(seed, results[2], input), 0)
    end
    return table.unpack(results, 2, results.n)
  end

  it("as rules", function()
    local pieces = { "bash", "read", "edit", "*", "(", ")", ":*", "git status", " ", ",", "**", "/",
      "../", "~", "'", '"', "\\", "$(", "`", "&&", ";", "|", "<<E", "\n", "[a-z]", "!", "-", "é" }
    for _ = 1, ROUNDS do
      local input = text_of(pieces, 12)
      local rule, message = try(input, rules.parse, input)
      assert.is_true(rule == nil and type(message) == "string" or type(rule.name) == "string")
      for _, one in ipairs(try(input, rules.split, input)) do
        try(one, rules.parse, one)
      end
      try(input, shell_commands.parse, input)
    end
  end)

  it("as rules that are long", function()
    local pieces = { "(", ")", "*", "'", "$(", "a ", "\\", "{a,", "<<E\n", "((", "`", '"' }
    for _, piece in ipairs(pieces) do
      local input = "bash(" .. piece:rep(20000) .. ")"
      try(piece .. " 20000 times", rules.parse, input)
      try(piece .. " 20000 times", rules.split, input)
    end
  end)

  it("as heads of a SKILL.md", function()
    local pieces = { "---", "\n", "---\n", "name", ":", ": ", "description: ", "|", ">", "-", "  ",
      "\t", "'", '"', "\\", "#", " #", "[", "{", "&", "a", "long text ", "key: value\n", "- x\n" }
    for _ = 1, ROUNDS do
      local input = (math.random(2) == 1 and "---\n" or "") .. text_of(pieces, 25)
      local fields, rest = try(input, front_matter.parse, input)
      assert.equal("string", type(rest))
      for name, value in pairs(fields or {}) do
        assert.equal("stringstring", type(name) .. type(value))
      end
    end
    for _, piece in ipairs({ "a: b\n", "'", " ", "\n", "---\n", "a: '", "\\", "k:\n  |\n" }) do
      local input = "---\n" .. piece:rep(50000)
      try(piece .. " 50000 times", front_matter.parse, input)
      try(piece .. " 50000 times", front_matter.parse, "---\na: " .. piece:rep(50000) .. "\n---\n")
    end
  end)

  local random_value

  local function random_table(depth)
    local made = math.random(2) == 1 and json.array({}) or json.object({})
    for i = 1, math.random(0, 4) do
      if json.is_array(made) then
        made[i] = random_value(depth - 1)
      else
        made[pick({ "a", "b", "type", "properties", "é" })] = random_value(depth - 1)
      end
    end
    return made
  end

  function random_value(depth)
    local kind = math.random(depth > 0 and 9 or 7)
    return ({ 1, -0.5, "text", "", true, json.null, math.maxinteger })[kind] or random_table(depth)
  end

  local KEYWORDS <const> = { "type", "enum", "required", "properties", "additionalProperties",
    "items", "minimum", "maximum", "minLength", "maxLength", "description", "anyOf", "$ref" }

  -- A schema that is mostly right; a keyword may have any value.
  local function random_schema(depth)
    local made = { type = pick({ "object", "array", "string", "integer", "number", "boolean" }) }
    if made.type == "object" and depth > 0 then
      made.properties = json.object({ a = random_schema(depth - 1), b = random_schema(depth - 1) })
      made.required = math.random(2) == 1 and json.array({ "a" }) or nil
      made.additionalProperties = pick({ true, false })
    elseif made.type == "array" and depth > 0 then
      made.items = random_schema(depth - 1)
    end
    if math.random(3) == 1 then
      made[pick(KEYWORDS)] = random_value(2)
    end
    return made
  end

  it("as inputs of tools", function()
    local checked = 0
    for _ = 1, ROUNDS do
      local made = random_schema(3)
      local value = { a = random_value(3), b = random_value(2), c = random_value(0) }
      local shown = json.encode({ schema = made, input = value })
      local ok, usable = pcall(schema.from_input, { type = "object",
        properties = { a = made, b = made } })
      if ok then
        checked = checked + 1
        local problem = try(shown, schema.check, value, usable)
        assert.is_true(problem == nil or type(problem) == "string", shown)
      end
    end
    assert.is_true(checked > ROUNDS / 3)
  end)
end)
