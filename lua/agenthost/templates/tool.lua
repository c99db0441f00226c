-- A tool: what it is called, when a model should use it, what it takes, and what it does.
--   agenthost test: runs my_tool_test.lua
--   agenthost check my_tool.lua: says what a provider would refuse
-- To use it name the file in the agent's `plugins`: "./my_tool.lua". See `agenthost help tools`.

---@type agenthost.Tool
return {
  name = "my_tool",
  -- The model chooses by this text alone: what it does, when to use it, when not.
  description = "Count the lines of a text file of the workspace. Use it in place of reading a "
    .. "file whose length is all you want to know.",
  -- name = "type: what it is"; a ? behind the type makes it optional. A JSON Schema may stand here.
  input = {
    path = "string: the file, relative to the working directory",
    skip_empty = "boolean?: do not count empty lines",
  },
  -- What it does, for permissions: "read" or "edit" (of input.path), "command" (input.command),
  -- "none". Without this line the user is asked each time.
  permission = "read",
  -- The input has been checked before. A text, or a table (sent as JSON), is the result. What is
  -- raised, the model is told; so is `return nil, "what went wrong"`.
  run = function(input, ctx)
    local content = assert(ctx.root:read(input.path)) -- ctx.root cannot leave the workspace
    local count = 0
    for line in content:gmatch("[^\n]+") do
      if not input.skip_empty or line:find("%S") then
        count = count + 1
      end
    end
    if not input.skip_empty then
      count = select(2, content:gsub("\n", "")) + (content:find("[^\n]$") and 1 or 0)
    end
    return ("%s has %d lines"):format(input.path, count)
  end,
}
