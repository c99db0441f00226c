-- A scripted model that makes itself a tool, unless it has it from an earlier run, and uses it.
local ROMAN <const> = [[
local SIGNS <const> = { { 1000, "M" }, { 900, "CM" }, { 500, "D" }, { 400, "CD" }, { 100, "C" },
  { 90, "XC" }, { 50, "L" }, { 40, "XL" }, { 10, "X" }, { 9, "IX" }, { 5, "V" }, { 4, "IV" },
  { 1, "I" } }

return {
  name = "roman",
  description = "Write a number in Roman numerals.",
  input = { number = { type = "integer", minimum = 1, maximum = 3999 } },
  permission = "none",
  run = function(input)
    local left, out = input.number, {}
    for _, sign in ipairs(SIGNS) do
      while left >= sign[1] do
        left, out[#out + 1] = left - sign[1], sign[2]
      end
    end
    return table.concat(out)
  end,
}
]]

return function(request)
  if request.last:find("^M+[CDXLVI]*$") then
    return "It is " .. request.last
  end
  for _, tool in ipairs(request.tools) do
    if tool.name == "roman" then
      return { tools = { { "roman", { number = 2026 } } } }
    end
  end
  if #request.results > 0 then
    return "I may not make myself a tool: " .. request.last
  end
  return { tools = { { "create_tool", { name = "roman", code = ROMAN } } } }
end
