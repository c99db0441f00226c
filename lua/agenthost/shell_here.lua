--- Here-documents in a command line: lines that are no commands, but may hold substitutions. A part
--- of shell_commands.lua, which says what it is for.
local M = {}

-- Whether the words of a command so far are plain; each is looked at once.
local function are_plain(words)
  for i = (words.looked or 0) + 1, #words do
    words.odd = words.odd or not words[i].literal or words[i].text:find("[%[{]") ~= nil
  end
  words.looked = #words
  return not words.odd
end

-- `<<` is a shift in arithmetic, and where that stands is not told from here: only behind plain
-- words is it surely the beginning of a here-document.
local function is_surely_one(reader, target)
  return reader.depth == 0 and target.literal and not target.open
    and target.text:find("^[%a_][%w_]*$") ~= nil and are_plain(reader.words)
end

--- A here-document begins with the next line.
---@param reader agenthost.ShellReader
---@param operator string `<<` or `<<-`
---@param target agenthost.ShellWord the line that ends it
function M.note(reader, operator, target)
  if not is_surely_one(reader, target) then
    return reader:fail("it has a here-document", true)
  end
  reader:fail("it has a here-document")
  table.insert(reader.here,
    { stop = target.text, tabs = operator == "<<-", plain = not target.bare })
end

-- Where the body that starts at `from` ends, and where what follows it starts; nil without an end.
local function find_end(s, from, document)
  local at = from
  while at <= #s do
    local line, after = s:match("^([^\n]*)\n?()", at)
    if (document.tabs and line:gsub("^\t+", "") or line) == document.stop then
      return at, after
    end
    at = after
  end
end

--- Goes past the bodies that begin at this place, behind a line break.
---@param reader agenthost.ShellReader
function M.skip(reader)
  for _, document in ipairs(reader.here) do
    local stop, after
    if not reader.endless then
      stop, after = find_end(reader.s, reader.pos, document)
    end
    if not stop then
      reader:fail("a here-document has no end", true)
      reader.endless = true -- nobody knows what is a command from here on: no use in looking again
      break
    end
    local body = reader.s:sub(reader.pos, stop - 1)
    if not document.plain then
      if body:find("\\\n") then
        reader:fail("it has a here-document", true) -- its end may be part of a longer line
      end
      reader:inner_quoted(body)
    end
    reader.pos = after
  end
  reader.here = {}
end

return M
