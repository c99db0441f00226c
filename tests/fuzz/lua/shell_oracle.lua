-- A second reader of command lines, which knows far less than agenthost.shell_commands: quotes,
-- separators, and which signs are too much for it.
local M = {}

-- Where what is quoted at `at` ends; nil without an end, or with an expansion inside.
local function quoted_end(s, at)
  if s:sub(at, at) == "'" then
    local stop = s:find("'", at + 1, true)
    return stop and stop + 1
  end
  at = at + 1
  while at <= #s do
    local c = s:sub(at, at)
    if c == '"' then
      return at + 1
    elseif c == "$" or c == "`" then
      return nil
    end
    at = at + (c == "\\" and 2 or 1)
  end
end

-- Where the redirection at `at` ends; nil unless it is between descriptors or with /dev/null.
local function redirection_end(s, at)
  local operator, stop = s:match("^(&>>?)()", at)
  if not operator then
    operator, stop = s:match("^([<>][>|&]?)()", at)
  end
  local first = s:match("^[ \t]*()", stop)
  while s:find("^\\\n", first) do -- a line that goes on
    first = s:match("^[ \t]*()", first + 2)
  end
  local behind = first
  while behind and s:find("^[^ \t\n;&|()<>]", behind) do
    local c = s:sub(behind, behind)
    if c == "'" or c == '"' then
      behind = quoted_end(s, behind)
    else
      behind = behind + (c == "\\" and 2 or 1)
    end
  end
  local target = s:sub(first, (behind or first) - 1):gsub("\\\n", ""):gsub("['\"\\]", "")
  if target == "/dev/null" or operator:find("^[<>]&$") and target:find("^%d*%-?$") then
    return behind
  end
end

-- One step outside quotes: the place behind it (nil: too much for this reader), and "word", "blank"
-- or "end" (of a command).
local function step(s, at, in_word)
  local c = s:sub(at, at)
  local operator = not in_word and s:match("^%d+()[<>]", at) -- behind the number of a descriptor
  if operator then
    return redirection_end(s, operator), "blank"
  elseif c == "'" or c == '"' then
    return quoted_end(s, at), "word"
  elseif c == "\\" then
    return at < #s and at + 2 or nil, s:sub(at + 1, at + 1) == "\n" and "nothing" or "word"
  elseif c == "<" or c == ">" or s:find("^&>", at) then
    return redirection_end(s, at), "blank"
  elseif c:find("[;&|\n]") then
    return at + 1, "end"
  elseif c:find("[ \t]") then
    return at + 1, "blank"
  elseif c:find("[$`()%z\1-\31\127]") then
    return nil
  elseif c == "#" and not in_word then
    return s:find("\n", at, true) or #s + 1, "blank"
  end
  return at + 1, "word"
end

--- The first words of all commands of a text, as they are written; nil for a text with anything in
--- it that is not a plain word, a separator or a harmless redirection.
---@param s string
---@return string[]? names
function M.names(s)
  local names, at, word, done = {}, 1, {}, false
  while at <= #s + 1 do
    local stop, kind = at + 1, "end"
    if at <= #s then
      stop, kind = step(s, at, #word > 0)
    end
    if not stop then
      return nil
    elseif kind == "word" then
      word[#word + 1] = s:sub(at, stop - 1)
    elseif kind ~= "nothing" then
      names[#names + 1] = #word > 0 and not done and table.concat(word) or nil
      done = kind ~= "end" and (done or #word > 0)
      word = {}
    end
    at = stop
  end
  return names
end

return M
