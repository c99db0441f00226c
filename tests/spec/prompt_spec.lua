local places = require("agenthost.places")
local prompt = require("agenthost.prompt")
local temp = require("support.temp")

local raised = temp.raised

describe("prompt.build", function()
  local env <const> = { cwd = "/the%1/dir", os = "An OS", model = "a/model", tools = { "bash" } }
  local config

  before_each(function()
    config = places.config
    places.config = temp.directory()
  end)

  after_each(function()
    temp.remove(places.config)
    places.config = config
  end)

  it("fills in ours", function()
    local made = prompt.build(nil, env)
    assert.matches("in the directory /the%1/dir on An OS.", made, 1, true)
    assert.is_nil(made:find("[{}]"))
    assert.is_nil(made:find("%s$"))
    assert.matches("<background-results>", made, 1, true)
  end)

  it("is the same bytes each time", function()
    assert.equal(prompt.build(nil, env), prompt.build(nil, env))
  end)

  it("takes the user's file before ours", function()
    temp.write(places.config .. "/prompts/system.md",
      "In {cwd} with {model}; {tools} {none} {}.\n\n")
    assert.equal("In /the%1/dir with a/model; {tools} {none} {}.", prompt.build(nil, env))
  end)

  it("says so when the user's file cannot be read", function()
    temp.write(places.config .. "/prompts/system.md/x", "a directory in its place")
    assert.matches("^cannot read .*/prompts/system.md: ", raised(prompt.build, nil, env))
  end)

  it("takes a text as it is", function()
    assert.equal("I am {cwd}.\n", prompt.build("I am {cwd}.\n", env))
    assert.equal("", prompt.build("", env))
  end)

  it("asks a function, once", function()
    local calls = 0
    assert.equal("for a/model with bash", prompt.build(function(given)
      calls = calls + 1
      return "for " .. given.model .. " with " .. given.tools[1]
    end, env))
    assert.equal(1, calls)
  end)

  it("says what is wrong", function()
    assert.equal("the function `system` has to return a text, got a nil",
      raised(prompt.build, function() end, env))
    assert.equal("system: expected a text or a function that returns one, got a number",
      raised(prompt.build, 42, env))
  end)

  it("names the system", function()
    assert.is_true(#prompt.os_name() > 0)
  end)
end)
