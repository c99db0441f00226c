--- The reference of a module as Markdown, from the comments in its file: what is declared with
--- LuaCATS annotations, nothing else. Of the C modules the files in _meta/ are read.
local places = require("agenthost.places")
local sys = require("agenthost.sys")

local M = {}

local MAX_BYTES <const> = 1024 * 1024 -- of a module's file
local MAX_FOLDERS <const> = 4 -- levels of modules

-- Folders that hold no modules.
local NO_MODULES <const> = { help = true, prompts = true, templates = true, _meta = true }

local function root()
  return places.share .. "/lua/agenthost"
end

-- ---- which modules there are -------------------------------------------------------------------

local function walk(dir, prefix, depth, found)
  for _, entry in ipairs(sys.list(dir) or {}) do
    local name = entry.name:match("^([%w_]+)%.lua$")
    if entry.type == "directory" and not NO_MODULES[entry.name] and depth < MAX_FOLDERS then
      walk(dir .. "/" .. entry.name, prefix .. entry.name .. ".", depth + 1, found)
    elseif name then
      local module = name == "init" and prefix:sub(1, -2) or prefix .. name
      found[module] = dir .. "/" .. entry.name
    end
  end
  return found
end

--- The modules, without "agenthost." in front, and their files.
---@return table<string, string>
function M.modules()
  local found = walk(root(), "", 1, {})
  for name, path in pairs(walk(root() .. "/_meta", "", MAX_FOLDERS, {})) do
    found[name] = path
  end
  return found
end

-- ---- reading a file ----------------------------------------------------------------------------

-- The comment block above each declaration: { lines, declaration }.
local function blocks_of(content)
  local blocks, lines = {}, {}
  for line in (content .. "\n"):gmatch("([^\n]*)\n") do
    local comment = line:match("^%-%-%- ?(.*)$")
    if comment and not line:find("^%-%-%-%-") then
      lines[#lines + 1] = comment
    else
      if #lines > 0 then
        blocks[#blocks + 1] = { lines = lines, declaration = line }
      end
      lines = {}
    end
  end
  return blocks
end

-- A block's prose, and its tags with their continuation lines: { tag, text }.
local function parse_block(lines)
  local prose, tags = {}, {}
  for _, line in ipairs(lines) do
    local tag, rest = line:match("^@(%w+)%s*(.*)$")
    local more = #tags > 0 and line:match("^  ?(.*)$") or #tags > 0 and line:match("^| (.*)$")
    if tag then
      tags[#tags + 1] = { tag = tag, text = rest }
    elseif more then
      tags[#tags].text = tags[#tags].text .. " " .. more
    else
      prose[#prose + 1] = line
    end
  end
  return table.concat(prose, "\n"), tags
end

-- "fun(a: string): integer the text" -> the type, the text
local function split_type(s)
  local depth, at = 0, 1
  while at <= #s do
    local c = s:sub(at, at)
    if c:find("[%(%[{<]") then
      depth = depth + 1
    elseif c:find("[%)%]}>]") then
      depth = depth - 1
    elseif c == " " and depth == 0 and not s:sub(1, at - 1):find("[:|,]$")
      and not s:find("^ *|", at) then
      break
    end
    at = at + 1
  end
  return s:sub(1, at - 1), (s:sub(at):gsub("^%s+", ""))
end

local function item(name, type, text)
  return ("- %s `%s`%s"):format(name, type, text ~= "" and ": " .. text or "")
end

local function named_item(text)
  local name, rest = text:match("^(%S+)%s*(.*)$")
  local type, description = split_type(rest or "")
  return item("`" .. (name or "?") .. "`", type, description)
end

local function return_item(text)
  local type, rest = split_type(text)
  return ("- returns `%s` %s"):format(type, rest)
end

local ITEMS <const> = { param = named_item, field = named_item, ["return"] = return_item }

local function items_of(tags)
  local lines = {}
  for _, tag in ipairs(tags) do
    if ITEMS[tag.tag] then
      lines[#lines + 1] = ITEMS[tag.tag](tag.text)
    end
  end
  return lines
end

-- ---- writing -----------------------------------------------------------------------------------

local function add(out, ...)
  for _, part in ipairs({ ... }) do
    if part ~= "" then
      out[#out + 1] = part
    end
  end
end

-- The name under which a function of the module is called.
local function signature(declaration, module_variable, short)
  local owner, separator, rest = declaration:match("^function ([%w_]+)([.:])([%w_]+%b())")
  if not owner then
    return nil
  end
  return (owner == module_variable and short or owner) .. separator .. rest
end

local function describe_function(out, block, called)
  local prose, tags = parse_block(block.lines)
  add(out, ("### `%s`"):format(called), prose, table.concat(items_of(tags), "\n"))
end

local function describe_types(out, block)
  local prose, tags = parse_block(block.lines)
  local fields = {}
  local function flush()
    add(out, table.concat(fields, "\n"))
    fields = {}
  end
  for _, tag in ipairs(tags) do
    if tag.tag == "class" or tag.tag == "alias" then
      flush()
      local name, rest = tag.text:match("^([%w_.]+)%s*(.*)$")
      add(out, ("### %s `%s`"):format(tag.tag, name or tag.text), prose)
      add(out, tag.tag == "alias" and "`" .. rest .. "`" or rest ~= "" and rest or "")
      prose = ""
    elseif tag.tag == "field" then
      fields[#fields + 1] = named_item(tag.text)
    end
  end
  flush()
end

local function has_type(block)
  for _, line in ipairs(block.lines) do
    if line:find("^@class") or line:find("^@alias") then
      return true
    end
  end
  return false
end

-- The comment at the top of a file.
local function head_of(content)
  local lines = {}
  for line in content:gmatch("[^\n]*") do
    local comment = line:match("^%-%-%- ?(.*)$")
    if comment and not comment:find("^@class") then
      lines[#lines + 1] = not comment:find("^[@|]") and comment or nil
    elseif line ~= "" or #lines > 0 then
      break
    end
  end
  return table.concat(lines, "\n")
end

--- The reference of a module.
---@param name string with or without "agenthost." in front
---@return string? markdown nil when there is no such module
function M.page(name)
  name = name:gsub("^agenthost%.", "")
  local path = M.modules()[name]
  local content = path and sys.read_file(path, MAX_BYTES)
  if not content then
    return nil
  end
  local variable = content:match("\nreturn ([%a_][%w_]*)%s*$")
    or content:match("\nreturn setmetatable%(([%a_][%w_]*)")
  local short = name:match("([%w_]+)$")
  local functions, types = {}, {}
  for _, block in ipairs(blocks_of(content)) do
    local called = signature(block.declaration, variable, short)
    if called then
      describe_function(functions, block, called)
    elseif has_type(block) then
      describe_types(types, block)
    end
  end
  local out = { ("# `agenthost.%s`"):format(name), head_of(content) }
  add(out, #functions > 0 and "## Functions" or "", table.concat(functions, "\n\n"),
    #types > 0 and "## Types" or "", table.concat(types, "\n\n"),
    ("From %s"):format(path))
  return table.concat(out, "\n\n") .. "\n"
end

--- All modules as a Markdown list, with the first sentence about each.
---@return string
function M.index()
  local names, lines, modules = {}, {}, M.modules()
  for name in pairs(modules) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local head = head_of(sys.read_file(modules[name], MAX_BYTES) or ""):gsub("\n", " ")
    local sentence = head:match("^(.-[.:])%f[%s%z]") or head
    if sentence ~= "" then
      lines[#lines + 1] = ("- `%s` %s"):format(name, (sentence:gsub(":$", ".")))
    end
  end
  return table.concat(lines, "\n")
end

return M
