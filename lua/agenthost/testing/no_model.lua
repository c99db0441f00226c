-- The model of an agent that a test makes without testing.agent: no test calls a real one.
return function()
  error("this agent has no model: make it with testing.agent{ model = ... }", 0)
end
