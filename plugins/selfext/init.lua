--- `create_tool`: the model writes itself a tool. It is a file of the project's,
--- .agenthost/plugins/NAME.lua, and a plugin like any other from then on.
---
--- The code is looked at before the user is asked (tool_check.lua), and every call is asked for: it
--- will run with all rights of the user, so rules for edits do not cover it. What the user has seen
--- is what is written, loaded and trusted; when any of that fails, nothing has changed.
local defaults = require("agenthost.defaults")
local options = require("agenthost.options")
local places = require("agenthost.places")
local project = require("agenthost.project")
local sys = require("agenthost.sys")
local tool_check = require("agenthost.tool_check")

-- In front of the first line: the lines keep their numbers.
local MARK <const> = "--[[ made by create_tool ]] "

local DESCRIPTION <const> = [[
Make yourself a new tool, written in Lua 5.4. The user is asked first. It is there from your next
call on, and later in this project, too. With the name of a tool that you have made: replace it.
`code` is a whole file that returns one table:
return {
  name = "word_count", -- as `name`
  description = "Count the words of a file of the workspace.",
  input = { path = "string: the file", longer_than = "integer?: only words longer than this" },
  permission = "read", -- of input.path; or "edit" of it, "command" of input.command, "none";
  -- without it the user is asked for each call
  run = function(input, ctx)
    local text = assert(ctx.root:read(input.path)) -- error("why", 0) says what went wrong
    local _, count = text:gsub("%S+", "")
    return tostring(count) -- a text, or a table, which is sent as JSON
  end,
}
Outside of functions it may only build this table, and `require` modules. Inside of run there are
ctx.root:read, :write, :list and :stat for files of the workspace, ctx.run_task(command) for
commands (then :wait() and :output()), require("agenthost.http") and require("agenthost.json").]]

local function is_made(content)
  return content:sub(1, #MARK) == MARK
end

-- The files of made tools in the project's code, and how many they are.
local function made_files(code)
  local files = {}
  for _, file in ipairs(code and code.files or {}) do
    if file:find("^plugins/%l[%l%d_]*%.lua$") and is_made(code.contents[file] or "") then
      files[#files + 1] = file
    end
  end
  return files
end

local function name_problem(name)
  local max = defaults.selfext.max_name
  if not name:find("^%l[%l%d_]*$") or #name > max then
    return ("'%s' is no name for a tool: it takes a lower-case letter, then such letters, digits "
      .. "and '_', at most %d (defaults.selfext.max_name)"):format(name:sub(1, 2 * max), max)
  end
end

-- A plugin that would not be found by this name any more. `dir`: where the new file is.
local function shadowed(name, dir)
  for _, place in ipairs({ dir, places.config .. "/plugins", places.share .. "/plugins" }) do
    for _, ending in ipairs({ "", ".lua" }) do
      local path = ("%s/%s%s"):format(place, name, ending)
      if sys.stat(path) then
        return path
      end
    end
  end
end

-- ---- what is to be done ------------------------------------------------------------------------

-- Where the file goes, in a folder that may be written to.
local function place_of(cwd)
  local code = project.find(cwd)
  if code and not project.is_trusted(code) then
    return nil, ("the Lua code in %s is not trusted as it is now%s, so nothing is added to it: the "
      .. "user can look at it, and start agenthost with --trust-project"):format(code.dir,
      code.problem and (" (%s)"):format(code.problem) or "")
  end
  return { before = code, dir = code and code.dir or (cwd == "/" and "" or cwd) .. "/.agenthost" }
end

-- Whether the place is free, or holds a tool that was made here.
local function place_problem(change, name, taken)
  local bounds = defaults.selfext
  if change.old then
    return not is_made(change.old) and change.path .. " was not made by create_tool, which "
      .. "overwrites only what it has made: take another name" or nil
  end
  local other = shadowed(name, change.dir .. "/plugins")
  if other or taken(name) then
    return ("there is a %s already: take another name"):format(
      other and "plugin " .. other or ("tool '%s'"):format(name))
  elseif #made_files(change.before) >= bounds.max_tools then
    return ("there are %d made tools already (defaults.selfext.max_tools)"):format(bounds.max_tools)
  end
end

local function code_problem(change, name)
  local max = defaults.selfext.max_code
  if #change.content > max then
    return ("the file would have %d bytes, more than %d (defaults.selfext.max_code)"):format(
      #change.content, max)
  end
  return tool_check.problem(change.content, name, ".agenthost/" .. change.file)
end

-- Looks at a call. Returns what is to be written and where; or nil, and what is wrong.
local function plan(cwd, input, taken)
  local name, change = input.name, nil
  local problem = name_problem(name)
  if not problem then
    change, problem = place_of(cwd)
  end
  if not change then
    return nil, problem
  end
  change.file = ("plugins/%s.lua"):format(name)
  change.path = ("%s/%s"):format(change.dir, change.file)
  change.content = MARK .. input.code:gsub("\n?$", "\n", 1)
  change.old = change.before and change.before.contents[change.file]
  problem = place_problem(change, name, taken) or code_problem(change, name)
  return not problem and change or nil, problem
end

-- ---- doing it ----------------------------------------------------------------------------------

-- Puts back what was there, unless somebody has changed it. Returns the reason for it, and what
-- went wrong with that.
local function undo(root, change, reason)
  local file = ".agenthost/" .. change.file
  local ok, message
  if root:read(file) ~= change.content then
    return reason
  elseif change.old then
    ok, message = root:write(file, change.old)
  else
    ok, message = os.remove(change.path)
  end
  return ok and reason or ("%s; and %s is as it was written: %s"):format(reason, change.path,
    message)
end

-- Makes the written file count: it is trusted first, for nothing else is loaded. Returns why it is
-- not trusted for later starts, if that is so.
local function take_up(ctx, change)
  local code = project.find(ctx.cwd)
  if not project.is_with(code, change.before, change.file, change.content) then
    error(code and code.problem or change.dir .. " was changed by somebody else meanwhile", 0)
  end
  local _, problem = project.remember(code, true)
  local ok, err = pcall(ctx.plugin, change.path)
  if ok then
    return problem
  elseif change.before then
    project.remember(change.before, true)
  else
    project.forget(code)
  end
  error(err, 0)
end

-- Writes the file, trusts it, and loads it.
local function carry_out(ctx, change)
  local root <close>, message = sys.root(change.dir:match("^(.+)/[^/]+$") or "/")
  local ok = root
  if root then
    ok, message = root:write(".agenthost/" .. change.file, change.content)
  end
  if not ok then
    return nil, message
  end
  local taken_up, result = pcall(take_up, ctx, change)
  if not taken_up then
    local reason = undo(root, change, tostring(result))
    return nil, type(result) == "string" and reason or error(result, 0)
  end
  return result and " But it is not trusted for later starts: " .. result or ""
end

local function preview(change)
  return ("%s %s, which is loaded at once, and whenever agenthost starts here.\n"
    .. "The code runs with all your rights."):format(change.old and "Replaces" or "Makes",
    change.path)
end

return {
  name = "selfext",
  setup = function(ctx, given)
    options.check(given, {}, -1)
    local sent, made = {}, {} -- the tools that the model knows; names of those that are made

    local function taken(name)
      for _, definition in ipairs(sent) do
        if definition.name == name and not made[name] then
          return true
        end
      end
    end

    local code = project.find(ctx.cwd)
    local trusted = code and project.is_trusted(code)
    local known, changed = code and places.project == code.dir and places.project_code or {}, {}
    for _, file in ipairs(made_files(code)) do
      if trusted or known[file] == code.contents[file] then
        made[file:match("([^/]+)%.lua$")] = true
        ctx.plugin(("%s/%s"):format(code.dir, file))
      else
        changed[#changed + 1] = file
      end
    end
    if #changed > 0 and places.untrusted ~= code.dir then
      ctx.note(("tools that create_tool has made are not loaded (%s): %s has changed since you "
        .. "trusted it; look at it, then use --trust-project"):format(table.concat(changed, ", "),
        code.dir))
    end

    ctx.on("request", function(event)
      sent = type(event.request.tools) == "table" and event.request.tools or {}
    end, { priority = -100 })

    -- What is wrong with a call is said before the user is asked.
    ctx.on("tool.before", function(event)
      local input = event.input
      if event.name == "create_tool" and type(input.name) == "string"
        and type(input.code) == "string" then
        event.refuse = select(2, plan(ctx.cwd, input, taken))
      end
    end, { priority = -100 })

    ctx.tool({
      name = "create_tool",
      description = DESCRIPTION,
      input = { name = "string: lower-case letters, digits and '_'", code = "string: Lua" },
      exclusive = true,
      summary = function(input) return input.name end,
      preview = function(input)
        local change = plan(ctx.cwd, input, taken)
        return change and preview(change)
      end,
      run = function(input)
        local change, message = plan(ctx.cwd, input, taken)
        local result
        if change then
          result, message = carry_out(ctx, change)
        end
        if not result then
          return nil, message
        end
        made[input.name] = true
        return ("The tool '%s' is %s (%s). It is there from your next call on.%s"):format(
          input.name, change.old and "replaced" or "made", change.path, result)
      end,
    })
  end,
}
