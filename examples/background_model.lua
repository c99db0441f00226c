-- The model of background.lua, as a script: each turn sees the messages and answers depending on
-- them.
local ended = {}

local function count(t)
  local n = 0
  for _ in pairs(t) do
    n = n + 1
  end
  return n
end

return function(request, turn)
  if turn == 1 then
    return {
      text = "The build and the tests are slow, so I start both and go on.",
      tools = {
        { "background_run", { command = "sleep 1 && echo '42 files compiled'" } },
        { "background_run", { command = "sleep 2 && echo '1 test failed: parser' && exit 1" } },
      },
    }
  elseif turn == 2 then
    return {
      text = "While they run I write down what I know.",
      tools = {
        { "write_file", { path = "notes.txt", content = "Build and tests are running.\n" } },
      },
    }
  end
  for id, status in request.last:gmatch("%[bg:(%x+)%] (%a+)") do
    ended[id] = status
  end
  if count(ended) == 0 then
    return "Nothing else to do: I wait to be told."
  elseif count(ended) == 1 then
    return "The build is through. The tests still run."
  end
  return "The tests ended with a failure, in the parser. Build: fine. That is the whole picture."
end
