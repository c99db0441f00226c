--- The head of a SKILL.md: the small part of YAML that such files use.
---
---     ---
---     name: pdf-forms
---     description: Fills in forms. Use when: the user has a PDF.
---     ---
---     The body.
---
--- Values are plain (also over several indented lines), "quoted", 'quoted' or blocks (`|`, `>`).
--- What is nested below a key (`metadata:`) is passed over. The rest is an error with its line.
local defaults = require("agenthost.defaults")
local shorten = require("agenthost.words").shorten

local M = {}

local MAX_LINES <const> = 200 -- of a head

local ESCAPES <const> = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", n = "\n", t = "\t" }

local function fail(line, format, ...)
  return nil, shorten(("line %d: " .. format):format(line, ...), defaults.text.problem)
end

-- The lines of the head, without its fences, and the rest of the text.
local function split(s)
  local lines, at = {}, 1
  while at <= #s and #lines <= MAX_LINES do
    local line, after = s:match("^([^\n]*)\n?()", at)
    line = line:match("^.*%S") or "" -- a pattern like "%s+$" takes forever for many spaces
    if at == 1 and line ~= "---" then
      return fail(1, "the head is missing: the first line has to be ---")
    elseif at > 1 and line == "---" then
      return lines, s:sub(after)
    elseif at > 1 then
      lines[#lines + 1] = line
    end
    at = after
  end
  return fail(#lines + 1, "the head has no end: a line --- is missing")
end

local function double_quoted(s)
  local bad
  local value = s:gsub("\\([%z\1-\127\194-\244]?[\128-\191]*)", function(c) -- a whole character
    bad = bad or not ESCAPES[c] and c
    return ESCAPES[c]
  end)
  if bad then
    return nil, ("unknown escape \\%s in a quoted value"):format(bad)
  end
  return value
end

-- Where the quote that closes the value is, or nil.
local function closing(s, quote)
  local at = 2
  while at <= #s do
    local c = s:sub(at, at)
    if c == "\\" and quote == '"' then
      at = at + 1
    elseif c == quote and quote == "'" and s:sub(at + 1, at + 1) == "'" then
      at = at + 1
    elseif c == quote then
      return at
    end
    at = at + 1
  end
end

-- A value that stands on the line of its key.
local function inline(s)
  local first = s:sub(1, 1)
  if first == '"' or first == "'" then
    local stop = closing(s, first)
    if not stop then
      return nil, "a quoted value has no end on its line"
    elseif not s:find("^%s*$", stop + 1) and not s:find("^%s+#", stop + 1) then
      return nil, "there is something behind a quoted value"
    end
    local inside = s:sub(2, stop - 1)
    if first == '"' then
      return double_quoted(inside)
    end
    return (inside:gsub("''", "'"))
  elseif first:find("[&*!%%@`{%[]") then
    return nil, ("a value cannot begin with %s here: put it in quotes"):format(first)
  end
  local comment = s:find("%s#")
  return comment and s:sub(1, comment):match("^.*%S") or s
end

-- Indented lines as one text: their line breaks stay ("|") or become spaces (">", plain).
local function join(lines, keep)
  local indent = math.huge
  for _, line in ipairs(lines) do
    if line ~= "" then
      indent = math.min(indent, #line:match("^ *"))
    end
  end
  local out = {}
  for i, line in ipairs(lines) do
    out[i] = indent < math.huge and line:sub(indent + 1) or ""
  end
  local s = table.concat(out, "\n"):gsub("^\n+", ""):gsub("\n+$", "")
  if keep then
    return s
  end
  return (s:gsub("\n+", function(breaks) return #breaks == 1 and " " or breaks:sub(2) end))
end

-- The lines that belong to the key on line `at` (indented, empty, or of a list), and the line after
-- them.
local function below(lines, at)
  local found = {}
  while lines[at + 1] and (lines[at + 1] == "" or lines[at + 1]:find("^[ \t]")
    or lines[at + 1]:find("^%- ")) do
    at = at + 1
    found[#found + 1] = lines[at]
  end
  return found, at + 1
end

-- One value with the lines that belong to it. Returns it (false: nothing that is a text).
local function value_of(rest, nested)
  local style = rest:match("^([|>])[-+]?%s*$") or rest:match("^([|>])[-+]?%s+#.*$")
  if style then
    return join(nested, style == "|")
  elseif rest == "" or rest:find("^#") then
    return false
  end
  local quoted = rest:find("^[\"']")
  local more = join(nested)
  if more ~= "" and quoted then
    return nil, "a quoted value has to end on its line"
  end
  local value, message = inline(rest)
  if value and more ~= "" then
    value = value .. " " .. more:gsub("%s+", " ")
  end
  return value, message
end

--- Reads the head of a text.
---@param s string clean, with plain line ends
---@return table<string, string>? fields those that are texts; or nil
---@return string rest the text behind the head; or what is wrong: "line 3: ..."
function M.parse(s)
  local lines, rest = split(s)
  if not lines then
    return nil, rest
  end
  local fields, seen, at = {}, {}, 1
  while lines[at] do
    local line, number = lines[at], at + 1
    if line == "" or line:find("^#") then
      at = at + 1
    else
      local key, value_text = line:match("^([%w_-]+):%s*(.*)$")
      if not key or not line:find("^[%w_-]+:%s") and not line:find(":$") then
        return fail(number, "expected 'key: value'")
      elseif seen[key] then
        return fail(number, "'%s' stands here twice", key)
      end
      local nested, after = below(lines, at)
      for i, one in ipairs(nested) do
        if one:find("^ *\t") then
          return fail(number + i, "a tab cannot indent")
        end
      end
      local value, message = value_of(value_text, nested)
      if value == nil then
        return fail(number, "%s", message)
      end
      seen[key], fields[key], at = true, value or nil, after
    end
  end
  return fields, rest
end

return M
