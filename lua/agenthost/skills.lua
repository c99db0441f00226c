--- Agent Skills: folders with a SKILL.md, whose head (front_matter.lua) has a name and a
--- description.
---
--- The model sees the names and descriptions; the text of a skill and its files are read when it
--- asks for them. Looked for in .agenthost/skills, .agents/skills and .claude/skills of the working
--- directory and up to its git root, then in the user's ~/.config/agenthost/skills and
--- ~/.agents/skills; of two with the same name the first one counts.
local defaults = require("agenthost.defaults")
local front_matter = require("agenthost.front_matter")
local instructions = require("agenthost.instructions")
local places = require("agenthost.places")
local sys = require("agenthost.sys")
local text = require("agenthost.text")
local shorten = require("agenthost.words").shorten

local M = {}

local IN_PROJECT <const> = { ".agenthost/skills", ".agents/skills", ".claude/skills" }

---@class agenthost.Skill
---@field name string
---@field description string one line
---@field dir string its folder, without links

local function one_line(s)
  return (text.clean(s):gsub("%s+", " "):match("^ ?(.-) ?$"))
end

--- Whether a text can be the name of a skill: a-z, 0-9 and single hyphens between them, at most 64.
---@param name any
---@return boolean
function M.is_name(name)
  return type(name) == "string" and #name <= 64 and name:find("^[a-z0-9][a-z0-9-]*$") ~= nil
    and not name:find("--", 1, true) and name:sub(-1) ~= "-"
end

--- The fields and the body of a SKILL.md.
---@param content string
---@return { name: string, description: string, body: string }? skill; or nil
---@return string? message what is wrong, with the line where there is one
function M.parse(content)
  local clean, info = text.clean(content)
  if info.binary then
    return nil, "it is no text"
  end
  local fields, rest = front_matter.parse(clean)
  if not fields then
    return nil, rest
  elseif not M.is_name(fields.name) then
    return nil, ("its name has to be of a-z, 0-9 and single hyphens, at most 64; it is %s"):format(
      fields.name and "'" .. shorten(fields.name, 100) .. "'" or "missing")
  end
  local description = one_line(fields.description or "")
  if description == "" then
    return nil, "its description is missing: the model chooses by it"
  end
  return { name = fields.name, description = description, body = rest }
end

-- ---- finding them ------------------------------------------------------------------------------

-- Opens the folder of a skill, which has to be below `within` when that is given.
local function open(dir, within)
  local root, message, code = sys.root(dir)
  if root and within and (root:path() .. "/"):sub(1, #within + 1) ~= within .. "/" then
    root:close()
    return nil, "a link on the way leads out of " .. within, "EXDEV"
  end
  return root, message, code
end

local function read_skill(dir, folder, within)
  local path = dir .. "/SKILL.md"
  local root <close>, message, code = open(dir, within)
  if not root then
    return nil, code ~= "ENOENT" and code ~= "ENOTDIR" and path .. ": " .. message or nil
  end
  local content, size, read_code = root:read("SKILL.md", defaults.skills.max_file)
  if not content then
    return nil, read_code ~= "ENOENT" and path .. ": " .. size or nil
  end
  local skill, problem = M.parse(content)
  if not skill then
    return nil, path .. ": " .. problem
  end
  local note = skill.name ~= folder
    and ("%s: its name is '%s', its folder '%s'"):format(path, skill.name, folder) or nil
  return { name = skill.name, description = skill.description, dir = root:path() }, note
end

-- Adds the skills in the folders of `dir`. Notes tell of those that are left out.
local function add_from(dir, within, found, notes)
  local entries, message, code = sys.list(dir, defaults.skills.max_folders)
  if not entries and code ~= "ENOENT" and code ~= "ENOTDIR" then
    notes[#notes + 1] = ("no skills from %s: %s"):format(dir, message)
  end
  for _, entry in ipairs(entries or {}) do
    if entry.type == "directory" or entry.type == "link" then
      local skill, note = read_skill(dir .. "/" .. entry.name, entry.name, within)
      notes[#notes + 1] = note and one_line(note)
      if skill and not found[skill.name] and #found == defaults.skills.max then
        notes[#notes + 1] = ("skill '%s' is left out: there are more than %d "
          .. "(defaults.skills.max)"):format(skill.name, #found)
        return
      elseif skill and not found[skill.name] then
        found[#found + 1], found[skill.name] = skill, skill
      end
    end
  end
end

--- The skills for an agent that works in `cwd`, as a list and by their names.
---@param cwd string absolute, without links
---@return table<integer|string, agenthost.Skill> skills
---@return string[] notes lines about folders that were left out, with file and line
function M.find(cwd)
  local found, notes = {}, {}
  local dirs = instructions.project_dirs(cwd)
  for i = #dirs, 1, -1 do
    for _, below in ipairs(IN_PROJECT) do
      add_from(dirs[i] .. "/" .. below, dirs[1], found, notes)
    end
  end
  add_from(places.config .. "/skills", nil, found, notes)
  local home = sys.getenv("HOME")
  if home and home:sub(1, 1) == "/" then
    add_from(home .. "/.agents/skills", nil, found, notes)
  end
  return found, notes
end

--- What the prompt says of them: a line each; of those that do not fit any more only the names.
---@param skills agenthost.Skill[]
---@return string
function M.catalogue(skills)
  local lines, names, size = {}, {}, 0
  for _, skill in ipairs(skills) do
    local line = ("- %s: %s"):format(skill.name,
      text.preview(skill.description, { max = defaults.skills.description, head = 1 }))
    line = line:gsub("\n", " ")
    size = size + #line
    if size <= defaults.skills.catalogue then
      lines[#lines + 1] = line
    else
      names[#names + 1] = skill.name
    end
  end
  if #names > 0 then
    lines[#lines + 1] = "- and, without a description here: " .. table.concat(names, ", ")
  end
  return [[
# Skills

A skill is a text with instructions for one kind of work. When one of these fits what you are asked
to do, read it with the tool `skill` before you begin.

]] .. table.concat(lines, "\n")
end

-- ---- reading one -------------------------------------------------------------------------------

-- The paths of the files of a skill, the folders' after those beside SKILL.md.
local function list_files(root)
  local files, folders, more = {}, { { path = "", depth = 1 } }, false
  local at = 1
  while folders[at] do
    local folder = folders[at]
    local entries, rest = root:list(folder.path == "" and "." or folder.path, 1000)
    more = more or entries ~= nil and rest == true
    for _, entry in ipairs(entries or {}) do
      local path = folder.path .. entry.name
      if entry.type == "directory" and folder.depth < defaults.skills.depth then
        folders[#folders + 1] = { path = path .. "/", depth = folder.depth + 1 }
      elseif #files == defaults.skills.files or #folders > 1000 then
        return files, true
      elseif entry.type ~= "directory" and path ~= "SKILL.md" then
        files[#files + 1] = one_line(path)
      end
    end
    at = at + 1
  end
  return files, more
end

-- Reads a file beneath the folder of a skill; raises.
local function read_file(root, skill, path)
  local content, size = root:read(path, defaults.skills.max_file)
  if not content then
    error(("skill '%s': %s"):format(skill.name, size), 0)
  end
  if size > #content then
    content = ("%s\n[... only the first %d bytes of the file were read ...]"):format(content,
      #content)
  end
  return content
end

--- The text of a skill and the list of its files, or one of these files.
---@param skill agenthost.Skill
---@param path? string of a file of the skill, relative to its folder
---@return string raises when it cannot be read
function M.read(skill, path)
  local root <close>, message = open(skill.dir, skill.dir)
  if not root then
    error(("skill '%s' cannot be read any more: %s"):format(skill.name, message), 0)
  end
  if path then
    return read_file(root, skill, path)
  end
  local parsed, problem = M.parse(read_file(root, skill, "SKILL.md"))
  if not parsed then
    error(("%s/SKILL.md: %s"):format(skill.dir, problem), 0)
  end
  local files, more = list_files(root)
  files[#files + 1] = more and "(and more)" or nil
  return ("<skill name=\"%s\" folder=\"%s\">\n%s\n</skill>\n\n%s"):format(skill.name, skill.dir,
    parsed.body:match("^%s*(.-)%s*$"),
    #files > 0 and "Its files:\n" .. table.concat(files, "\n") or "It has no other files.")
end

return M
