--- Lua code of the project: `.agenthost/plugins/` and `.agenthost/lua/` of the folder in which the
--- agent works, or of one above it in the same repository.
---
--- It runs with all the rights of the user, so it is used only when the user has said that they
--- trust it: in a terminal they are asked once; a headless run refuses it, unless it has
--- --trust-project. The answer is kept in the state directory, by the path of the folder and by the
--- content of these files: when a file changes, it is asked again, also while an agent runs. What
--- runs is what was trusted, byte for byte: modules are taken from memory, and the file of a plugin
--- that is not as it was trusted is asked for before it is loaded (`admit`).
local defaults = require("agenthost.defaults")
local instructions = require("agenthost.instructions")
local json = require("agenthost.json")
local places = require("agenthost.places")
local sha256 = require("agenthost.sha256")
local source_text = require("agenthost.source_text")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local FOLDERS <const> = { "lua", "plugins" } -- in the order in which they are looked at

---@class agenthost.ProjectCode
---@field dir string the folder .agenthost, absolute
---@field files string[] relative to it, sorted
---@field contents table<string, string> of these files
---@field hash? string of their names and contents; nil: they cannot be trusted
---@field problem? string why

-- Reads the files below `path` into `code`; `parts` is what is hashed. Returns what is wrong.
local function read_folder(root, path, code, parts, depth)
  local bounds = defaults.project
  local entries, more = root:list(path, bounds.max_files)
  if not entries then
    return more
  elseif more or depth > bounds.max_depth then
    return path .. " holds too many files or folders (defaults.project)"
  end
  for _, entry in ipairs(entries) do
    local name = path .. "/" .. entry.name
    local problem
    if entry.type == "directory" then
      problem = read_folder(root, name, code, parts, depth + 1)
    elseif entry.type ~= "file" then
      problem = ("%s is a %s: only plain files can be trusted"):format(name, entry.type)
    else
      local content, size = root:read(name, bounds.max_bytes)
      code.files[#code.files + 1] = name
      code.bytes = code.bytes + (content and size or 0)
      if not content then
        problem = size
      elseif code.bytes > bounds.max_bytes or #code.files > bounds.max_files then
        problem = ("there are more than %d files or %d bytes (defaults.project)"):format(
          bounds.max_files, bounds.max_bytes)
      else
        code.contents[name] = content
        parts[#parts + 1] = string.pack("s8s8", name, content)
      end
    end
    if problem then
      return problem
    end
  end
end

local function is_directory(path)
  local stat = sys.stat(path)
  return stat ~= nil and stat.type == "directory"
end

-- The code in a folder .agenthost; nil when there is none.
local function read_code(dir)
  local code, parts = { dir = dir, files = {}, contents = {}, bytes = 0 }, {}
  for _, folder in ipairs(FOLDERS) do
    if is_directory(dir .. "/" .. folder) then
      local root <close>, message = sys.root(dir)
      code.problem = code.problem or (not root and message)
        or read_folder(root, folder, code, parts, 1)
    end
  end
  if #code.files > 0 or code.problem then
    code.hash = not code.problem and sha256.hex(table.concat(parts)) or nil
    return code
  end
end

--- The code of the project, whether it is trusted or not.
---@param cwd string absolute, without links
---@return agenthost.ProjectCode? code nil when there is none
function M.find(cwd)
  local dirs = instructions.project_dirs(cwd)
  for i = #dirs, 1, -1 do
    local code = read_code((dirs[i] == "/" and "" or dirs[i]) .. "/.agenthost")
    if code then
      return code
    end
  end
end

-- ---- what the user has said --------------------------------------------------------------------

local function record_path(dir)
  return sys.xdg("state") .. "/agenthost/trust/" .. sha256.hex(dir):sub(1, 32) .. ".json"
end

-- What was said of this folder: the record, or nil.
local function recall(code)
  local content = sys.read_file(record_path(code.dir), defaults.project.max_bytes)
  local record = content and json.decode(content)
  return type(record) == "table" and record.path == code.dir and record or nil
end

-- A searcher of require: the project's modules, as they were trusted.
local function search(name)
  local file = "lua/" .. name:gsub("%.", "/")
  for _, ending in ipairs({ ".lua", "/init.lua" }) do
    local content = places.project and places.project_code[file .. ending]
    if content then
      local path = places.project .. "/" .. file .. ending
      local chunk, message = source_text.load(content, path)
      return chunk or error(("error loading module '%s' from file '%s':\n\t%s"):format(name, path,
        message), 0), path
    end
  end
  return nil
end

-- It is the project's code from now on: in the search order, and nothing else of it is run.
local function adopt(code)
  places.project, places.project_code = code.dir, code.contents
  if not places.project_searcher then
    places.project_searcher = search
    table.insert(package.searchers, 2, search) -- behind package.preload
  end
end

--- Keeps what the user has said about the code as it is now. For what writes into the folder with
--- the user's yes: call it afterwards, before the file is loaded, with what `find` gives then.
---@param code agenthost.ProjectCode
---@param trusted boolean
---@return true? ok
---@return string? message
function M.remember(code, trusted)
  if not code.hash then
    return nil, code.problem
  elseif trusted and (places.project or code.dir) == code.dir then
    adopt(code)
  end
  local path = record_path(code.dir)
  local ok, message = sys.mkdir_private((path:match("^(.*)/")))
  if ok then
    ok, message = sys.write_file(path,
      json.encode({ path = code.dir, hash = code.hash, trusted = trusted }) .. "\n")
  end
  return ok, message
end

--- Takes back the first yes to a folder: there was no code before it.
---@param code agenthost.ProjectCode
function M.forget(code)
  os.remove(record_path(code.dir))
  if places.project == code.dir then
    places.project, places.project_code = nil, nil
  end
end

--- Whether the user has said yes (true) or no (false) to exactly this, or with --trust-project yes
--- to whatever comes; nil: neither.
---@param code agenthost.ProjectCode
---@return boolean? trusted
---@return boolean? changed they have said something about other contents
function M.is_trusted(code)
  if places.trust_project and code.hash then
    return true
  end
  local record = recall(code)
  if record and code.hash and record.hash == code.hash then
    return record.trusted == true
  end
  return nil, record ~= nil
end

--- Whether it is what was there before, with one file more or with other content of that: for
--- `remember`, so that nothing is trusted that has got in meanwhile.
---@param code? agenthost.ProjectCode
---@param before? agenthost.ProjectCode nil: nothing was there
---@param name string of the file, relative to the folder
---@param content string
---@return boolean
function M.is_with(code, before, name, content)
  local expected, count = { [name] = content }, 0
  for other, its_content in pairs(before and before.contents or {}) do
    expected[other] = expected[other] or its_content
  end
  for _ in pairs(expected) do
    count = count + 1
  end
  for other, its_content in pairs(code and code.contents or {}) do
    if expected[other] ~= its_content then
      return false
    end
    count = count - 1
  end
  return code ~= nil and code.hash ~= nil and count == 0
end

-- ---- at the start ------------------------------------------------------------------------------

local function listing(files)
  local shown = {}
  for i = 1, math.min(#files, defaults.project.shown) do
    shown[i] = (text.clean(files[i]):gsub("%c", "?"))
  end
  if #files > #shown then
    shown[#shown + 1] = ("and %d more"):format(#files - #shown)
  end
  return shown
end

--- The question, as lines for a terminal.
---@param code agenthost.ProjectCode
---@param changed? boolean
---@param files? string[] those to be named, when not all
---@return string
function M.question(code, changed, files)
  return ("%s holds Lua code%s:\n  %s\nAgenthost would run it with all your rights. Do you trust "
    .. "it as it is? [y/N] "):format((text.clean(code.dir)),
    changed and " that has changed since you were asked" or "",
    table.concat(listing(files or code.files), "\n  "))
end

local function refusal(code, trusted, changed)
  local why = code.problem and "it cannot be trusted: " .. code.problem
    or trusted == false and "you have said that you do not trust it; --trust-project does"
    or changed and "it has changed since you trusted it: look at it, then use --trust-project"
    or "nobody has said that they trust it: look at it, then use --trust-project"
  local files = #code.files > 0 and (" (%s)"):format(table.concat(listing(code.files), ", ")) or ""
  return ("the Lua code in %s is not used%s: %s"):format(code.dir, files, why)
end

--- Decides about the code of the project, and puts it first in the search order when it is trusted:
--- `places.project` is its folder then, `places.project_code` what its files hold, and `require`
--- finds its modules.
---@param cwd string
---@param opts { trust?: boolean, ask?: fun(question: string): boolean } trust: without a question,
---  from now on; ask: nil when there is nobody to ask
---@return string? note for the user, when it is there and not used
function M.open(cwd, opts)
  local code = M.find(cwd)
  if not code then
    places.trust_project = opts.trust -- what comes later, too
    return nil
  end
  local trusted, changed = M.is_trusted(code)
  if code.hash and not trusted and (opts.trust or opts.ask and trusted == nil) then
    trusted = opts.trust or opts.ask(M.question(code, changed))
    local ok, message = M.remember(code, trusted)
    if not ok then
      return "the answer cannot be kept: " .. message
    end
  end
  if not trusted then
    places.untrusted = code.dir
    return refusal(code, trusted, changed)
  end
  adopt(code)
  places.trust_project = opts.trust
  return nil
end

-- ---- later -------------------------------------------------------------------------------------

-- The name of a file in the project's code, whichever way leads there; nil: it is none of it.
local function name_of(path)
  local start = places.project .. "/"
  for _, one in ipairs({ path, sys.realpath(path) }) do
    local name = one:sub(1, #start) == start and one:sub(#start + 1)
    if name and (name:find("^plugins/") or name:find("^lua/")) then
      return name
    end
  end
end

-- The files that are not as they were trusted.
local function changed_files(code)
  local files = {}
  for _, name in ipairs(code.files) do
    if code.contents[name] ~= places.project_code[name] then
      files[#files + 1] = name
    end
  end
  for name in pairs(places.project_code) do
    if not code.contents[name] then
      files[#files + 1] = name .. " (gone)"
    end
  end
  return files
end

-- Whether the user trusts the code as it is now.
local function ask_anew(code, confirm)
  if M.is_trusted(code) then
    return true
  end
  return confirm ~= nil and confirm(M.question(code, true, changed_files(code)))
end

--- Called with each file of Lua before it is run. Raises when it belongs to the trusted project and
--- is not as it was trusted, unless the user says that they trust it as it is now.
---@param path string
---@param content string what would run
---@param confirm? fun(question: string): boolean asks the user; nil: there is nobody to ask
function M.admit(path, content, confirm)
  local name = places.project and name_of(path)
  if not name or places.project_code[name] == content then
    return
  end
  local refused = places.project_refused or {} -- name -> content to which the user has said no
  places.project_refused = refused
  local code = refused[name] ~= content and read_code(places.project)
  if code and (not code.hash or code.contents[name] ~= content) then
    error(("%s cannot be trusted: %s"):format(path, code.problem or "it changes all the time"), 0)
  elseif code and ask_anew(code, confirm) then
    M.remember(code, true) -- should that fail it is asked at the next start
    return
  end
  refused[name] = confirm and content
  error(("%s has changed since you trusted it, and %s"):format(path, confirm
    and "you have said no to that" or "nobody can be asked: look at it, then start with "
    .. "--trust-project"), 0)
end

--- Asks once for all that has changed, also for what is new or gone. After a no `admit` refuses it.
---@param confirm? fun(question: string): boolean as for `admit`
function M.review(confirm)
  local code = places.project and read_code(places.project)
  local files = code and code.hash and changed_files(code) or {}
  if #files == 0 then
    return
  elseif ask_anew(code, confirm) then
    M.remember(code, true)
    return
  end
  places.project_refused = places.project_refused or {}
  for _, name in ipairs(confirm and files or {}) do
    places.project_refused[name] = code.contents[name]
  end
end

--- The user wants to be asked once more what they have said no to.
function M.ask_again()
  places.project_refused = nil
end

--- Forgets the modules of agenthost's own that are loaded, if the project brings some: they are
--- looked for anew.
---@return boolean forgotten
function M.forget_modules()
  if not (places.project and is_directory(places.project .. "/lua/agenthost")) then
    return false
  end
  for name in pairs(package.loaded) do
    if name:find("^agenthost%.") and not package.preload[name] and name ~= "agenthost.places" then
      package.loaded[name] = nil
    end
  end
  return true
end

return M
