-- A scripted model that tries the tool of word_count.lua:
--   agenthost examples/agent.lua --model scripted/word_count_model.lua -p "How long is notes.txt?"
return {
  { tools = { { "write_file", { path = "notes.txt", content = "one two three, four\n" } } } },
  { tools = { { "word_count", { path = "notes.txt" } } } },
  function(request)
    return "I counted: " .. request.last
  end,
}
