--- Paths in permission rules: where a path leads, and whether a pattern covers it.
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")

local M = {}

local STAR <const>, ANY <const> = ("*?"):byte(1, 2)

-- Whether `name` in the directory is a link. Links whose target exists never get here; nil when
-- nobody can tell.
local function is_dangling_link(directory, name)
  local entries, more = sys.list(directory)
  if not entries then
    return nil
  end
  for _, entry in ipairs(entries) do
    if entry.name == name then
      return entry.type == "link"
    end
  end
  if more then
    return nil
  end
  return false
end

--- Where a path leads, links and `..` resolved; its last parts need not exist yet.
---@param cwd string what a relative path starts from
---@param path string
---@return string? absolute nil when that cannot be said
function M.resolve(cwd, path)
  if path == "" or path:find("%z") or #path > defaults.permission.max_path then
    return nil
  end
  local absolute = (path:sub(1, 1) == "/" and path or cwd .. "/" .. path):gsub("/+", "/")
  local missing = {}
  while true do
    local real = sys.realpath(absolute)
    if real then
      local last = missing[1]
      if last and is_dangling_link(real, last) ~= false then
        return nil
      end
      return ((real == "/" and "" or real) .. "/" .. table.concat(missing, "/")):gsub("/$", "")
    end
    local parent, name = absolute:match("^(.*)/([^/]+)/?$")
    if not parent or name == "." or name == ".." then
      return nil
    end
    table.insert(missing, 1, name)
    absolute = parent == "" and "/" or parent
  end
end

--- The path below a directory; nil when it is outside.
---@param cwd string
---@param absolute string
---@return string? relative "." for the directory itself
function M.below(cwd, absolute)
  if absolute == cwd then
    return "."
  end
  local prefix = cwd == "/" and "/" or cwd .. "/"
  return absolute:sub(1, #prefix) == prefix and absolute:sub(#prefix + 1) or nil
end

local function parts_of(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    parts[#parts + 1] = part
  end
  return parts
end

-- The usual matching of globs: at a mismatch the last star takes in one more. Not by a Lua pattern:
-- that tries each of several stars with each of the others.
local function sequence_fits(length, star_at, one_fits, count)
  local p, g, star, back = 1, 1, nil, nil
  while p <= length do
    if star_at(g) then
      star, back = g, p
      g = g + 1
    elseif g <= count and one_fits(p, g) then
      p, g = p + 1, g + 1
    elseif star then
      back = back + 1
      p, g = back, star + 1
    else
      return false
    end
  end
  while star_at(g) do
    g = g + 1
  end
  return g > count
end

--- Whether a text is one that a glob means: `*` is any text, and `?` (in a path) any byte.
---@param s string
---@param glob string
---@return boolean
function M.fits(s, glob)
  return sequence_fits(#s, function(g)
    return glob:byte(g) == STAR
  end, function(p, g)
    local wanted = glob:byte(g)
    return wanted == s:byte(p) or wanted == ANY
  end, #glob)
end

local function parts_match(parts, globs)
  return sequence_fits(#parts, function(g)
    return globs[g] == "**"
  end, function(p, g)
    return M.fits(parts[p], globs[g])
  end, #globs)
end

-- A pattern without `~`, and with what a `/` at its end stands for: all that is below.
local function expand(pattern)
  local home = pattern:find("^~/") and sys.getenv("HOME")
  pattern = home and home .. pattern:sub(2) or pattern
  pattern = pattern:gsub("^%./+", "")
  return pattern:sub(-1) == "/" and (pattern:match("^.*[^/]") or "") .. "/**" or pattern
end

--- Whether a pattern covers a path. `*` and `?` stay inside one part of a path, `**` stands for any
--- number of parts, so does a `/` at the end. A pattern is relative to `cwd`, or starts with `/` or
--- `~/`.
---@param pattern string
---@param cwd string
---@param absolute string as `resolve` gives it
---@return boolean
function M.matches(pattern, cwd, absolute)
  pattern = expand(pattern)
  if pattern:sub(1, 1) == "/" then
    return parts_match(parts_of(absolute), parts_of(pattern))
  end
  local relative = M.below(cwd, absolute)
  return relative ~= nil and parts_match(parts_of(relative), parts_of(pattern))
end

--- Whether a path is what a pattern names, or below that, when links are followed on the way there,
--- too.
---@param pattern string
---@param cwd string
---@param absolute string as `resolve` gives it
---@return boolean
function M.leads_to(pattern, cwd, absolute)
  pattern = expand(pattern)
  local named, globs = pattern, ""
  local star = pattern:find("[*?]")
  if star then
    named = pattern:sub(1, star - 1):match("^.*/") or ""
    globs = pattern:sub(#named + 1)
  end
  local real = M.resolve(cwd, named ~= "" and named or ".")
  if not real then
    return false
  elseif globs == "" then
    return M.below(real, absolute) ~= nil
  end
  local relative = M.below(real, absolute)
  return relative ~= nil and parts_match(parts_of(relative), parts_of(globs))
end

--- Whether one of `names` is a part of the path, however it is written: there are file systems that
--- take `.GIT` for `.git`.
---@param path string
---@param names string[]
---@return string? name
function M.has_part(path, names)
  for _, part in ipairs(parts_of(path)) do
    for _, name in ipairs(names) do
      if part:lower() == name then
        return name
      end
    end
  end
end

return M
