-- The smallest tool. Its tests are hello_test.lua: agenthost test examples/hello_test.lua
return {
  name = "hello",
  description = "Say hello to somebody by name. Use it when the user wants a greeting.",
  input = { name = "string: who is greeted" },
  permission = "none", -- it touches nothing: nobody is asked
  run = function(input)
    return "Hello, " .. input.name .. "!"
  end,
}
