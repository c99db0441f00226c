-- A first tool: a table with a name, a description, an input and a function.
return {
  name = "word_count",
  description = "Count the words of a file of the workspace.",
  input = { path = "string: the file", longer_than = "integer?: only words longer than this" },
  permission = "read", -- of input.path; without this line each call would be asked for
  run = function(input, ctx)
    local content = assert(ctx.root:read(input.path)) -- what a tool raises, the model is told
    local count = 0
    for word in content:gmatch("%S+") do
      if utf8.len(word) > (input.longer_than or 0) then
        count = count + 1
      end
    end
    return ("%s has %d words"):format(input.path, count)
  end,
}
