--- The script that plays the model on a first run, without a key. It understands requests that
--- quote commands in backticks and really runs them; else it answers with what it can do.
local HELP = [[
I am a small script, not a language model: no key is set. I can still show you how agenthost works.
Put a command in backticks, for example:

- Run `sleep 3 && echo done` in the background, then create a file while it runs
- Start 3 background tasks: `sleep 2`, `sleep 4`, `sleep 6`. Check their status
- Run `uname -a`

For a real model set ANTHROPIC_API_KEY (and ANTHROPIC_MODEL), or say --model.]]

local function commands_in(text)
  local found = {}
  for command in text:gmatch("`([^`]+)`") do
    found[#found + 1] = command
  end
  if #found == 0 and text:lower():find("run pytest") then
    found[1] = "pytest"
  end
  return found
end

-- The last words of the user in a message, without what the host has put there.
local function request_of(message)
  local request
  for _, block in ipairs(message.content) do
    if block.type == "text" and not block.text:find("^<background%-results>") then
      request = block.text
    end
  end
  return request
end

-- What follows up on results: wishes that stood in the request behind the commands.
local function follow_up(messages, done)
  local request
  for i = #messages, 1, -1 do
    if messages[i].role == "user" then
      request = request_of(messages[i])
      if request then
        break
      end
    end
  end
  request = (request or ""):lower()
  if request:find("create a file") and not done.write_file then
    local content = "written while a command runs\n"
    return { "write_file", { path = "created-meanwhile.txt", content = content } }
  elseif request:find("status") and not done.check_background then
    return { "check_background", {} }
  end
end

-- The tools that were called since the user last spoke.
local function calls_since(messages)
  local done = {}
  for i = #messages, 1, -1 do
    for _, block in ipairs(messages[i].content) do
      if block.type == "tool_use" then
        done[block.name] = true
      end
    end
    if messages[i].role == "user" and request_of(messages[i]) then
      break
    end
  end
  return done
end

local function answer_request(text)
  local commands = commands_in(text)
  if #commands == 0 then
    return HELP
  end
  local lower = text:lower()
  local tool = (lower:find("background") or lower:find("pytest")) and "background_run" or "bash"
  local tools = {}
  for i, command in ipairs(commands) do
    tools[i] = { tool, { command = command } }
  end
  local say = tool == "bash" and "Running it." or "Starting it in the background."
  return { text = say, tools = tools }
end

return function(request)
  local messages = request.messages
  local last = messages[#messages]
  local text = request_of(last)
  if text then
    return answer_request(text)
  end
  if #request.results > 0 then
    local tool = follow_up(messages, calls_since(messages))
    if tool then
      return { text = "Meanwhile:", tools = { tool } }
    end
    local parts = {}
    for _, result in ipairs(request.results) do
      parts[#parts + 1] = result.content
    end
    return table.concat(parts, "\n")
  end
  local ended = {}
  for id, status in request.last:gmatch("%[bg:(%x+)%] (%a+)") do
    ended[#ended + 1] = id .. " has ended: " .. status
  end
  return #ended > 0 and table.concat(ended, "; ") .. "." or HELP
end
