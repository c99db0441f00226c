--- Instruction files for the system prompt: AGENTS.md (or CLAUDE.md, in a directory without one) of
--- the user and of every directory from the git root down to the working directory.
---
--- What belongs to the project is read beneath its git root: a symbolic link that leads out of it
--- is not followed, so that no repository can make its users send their keys to a model.
local defaults = require("agenthost.defaults")
local places = require("agenthost.places")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local NAMES <const> = { "AGENTS.md", "CLAUDE.md" } -- the first one that is there counts

---@class agenthost.PromptPart a part of the system prompt
---@field source string where it comes from
---@field text string "" when there is nothing but a note
---@field note? string what the user should know: it was cut, or cannot be read

--- The directories of a project: from its git root (the nearest directory that has `.git`) down to
--- `cwd`; `cwd` alone when there is none.
---@param cwd string absolute
---@return string[]
function M.project_dirs(cwd)
  local dirs, dir = {}, cwd
  while true do
    table.insert(dirs, 1, dir)
    if sys.stat((dir == "/" and "" or dir) .. "/.git") then
      return dirs
    elseif dir == "/" then
      return { cwd }
    end
    dir = dir:match("^(.*)/[^/]*$")
    dir = dir == "" and "/" or dir
  end
end

-- How files are read: `read(dir, name)` as sys.read_file, for those of the user and of a project.
local function read_users(dir, name)
  return sys.read_file(dir .. "/" .. name, defaults.instructions.max_file)
end

local function project_reader(root)
  return function(dir, name)
    local path = (dir == "/" and "" or dir) .. "/" .. name
    return root:read(path, defaults.instructions.max_file)
  end
end

-- The file of one directory as a part, or nil when it has none. `size` is that of the whole file.
local function read_dir(dir, read)
  for _, name in ipairs(NAMES) do
    local path = (dir == "/" and "" or dir) .. "/" .. name
    local content, size, code = read(dir, name)
    if content then
      if size > #content then
        content = content:gsub("[\xC2-\xF4][\x80-\xBF]*$", "") -- it may be half of a character
      end
      local clean, info = text.clean(content)
      if info.binary then
        return { source = path, text = "", note = path .. " is no text: not read" }
      end
      return { source = path, text = clean:match("^%s*(.-)%s*$"), size = size, read = #content }
    elseif code ~= "ENOENT" and code ~= "ENOTDIR" then
      return { source = path, text = "", note = ("%s is not read: %s"):format(path, size) }
    end
  end
end

-- At most `max` bytes of a text, whole characters.
local function first_bytes(s, max)
  if #s <= max then
    return s
  end
  return s:sub(1, utf8.offset(s, 0, max + 1) - 1)
end

-- Takes from a part what is beyond `left`, the bytes that all files together may still have, and
-- says what was cut.
local function bound(part, left)
  local limits = defaults.instructions
  local kept = first_bytes(part.text, left)
  local cut = (part.size or 0) - (part.read or 0) + #part.text - #kept
  if cut > 0 then
    local which = #kept < #part.text and ("max_total, %d"):format(limits.max_total)
      or ("max_file, %d"):format(limits.max_file)
    part.note = ("%s is too long: its last %d bytes are left out (defaults.instructions.%s bytes)")
      :format(part.source, cut, which)
    part.text = ("%s\n[... %d bytes left out: too long ...]"):format(kept, cut)
  end
  part.size, part.read = nil, nil
  return left - #kept
end

-- The parts of a project's directories. The same file is taken once, whatever links lead to it.
local function read_project(cwd, parts, seen)
  local dirs = M.project_dirs(cwd)
  local root <close>, message = sys.root(dirs[1])
  if not root then
    parts[#parts + 1] = { source = dirs[1], text = "", note = message }
    return
  end
  local read = project_reader(root)
  for _, dir in ipairs(dirs) do
    local part = read_dir(dir, read)
    local real = part and (sys.realpath(part.source) or part.source)
    if part and not seen[real] then
      seen[real] = true
      parts[#parts + 1] = part
    end
  end
end

--- The instruction files for an agent that works in `cwd`: the user's first, then the project's,
--- the nearest last. Each is bounded, and all together; then the nearest ones keep the most.
---@param cwd string absolute, without links
---@return agenthost.PromptPart[]
function M.load(cwd)
  local parts, seen = {}, {}
  local users = read_dir(places.config, read_users)
  if users then
    seen[sys.realpath(users.source) or users.source] = true
    parts[1] = users
  end
  read_project(cwd, parts, seen)
  local left = defaults.instructions.max_total
  for i = #parts, 1, -1 do
    left = bound(parts[i], left)
    if parts[i].text == "" and not parts[i].note then
      table.remove(parts, i)
    end
  end
  return parts
end

return M
