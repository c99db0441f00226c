-- A reviewer: it starts the tests in the background, reads the code while they run, and says what
-- it found when they are through. It changes nothing: edits and other commands are refused.
-- Run it with: agenthost examples/reviewer.lua -p "Review this." [--model ...]
local agent = require("agenthost.agent")

local TESTS = os.getenv("REVIEW_TESTS") or "make test"

return agent.new({
  model = os.getenv("REVIEW_MODEL"), -- nil: from the environment
  system = function(env)
    return ([[
You review the code in %s. First start the tests with background_run, command `%s`. While they run
read the code. When you are told how the tests ended, write the review: what is wrong, with file and
line, most important first; then whether the tests pass. Change nothing.]]):format(env.cwd, TESTS)
  end,
  plugins = { "files", "background" },
  permissions = {
    mode = "dontAsk", -- what no rule allows is refused, without a question
    allow = { ("bash(%s)"):format(TESTS) },
  },
})
