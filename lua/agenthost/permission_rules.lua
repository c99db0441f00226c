--- Permission rules: `bash(git status:*)`, `write_file(src/**)`, `read_file`.
---
--- In front stands the name of a tool (`*` in it is any text), or of a kind of tools: `read`,
--- `edit`, or `bash`, which is every tool that runs commands, so that no rule can be got round in
--- the background. In parentheses stands a command (`:*` or ` *` at its end: and whatever words
--- follow), or a path pattern; without them the rule is about all that the tool does.
local path = require("agenthost.permission_path")
local shell_check = require("agenthost.shell_check")
local shell_commands = require("agenthost.shell_commands")
local shorten = require("agenthost.words").shorten

---@class agenthost.PermissionRule
---@field text string as it was written
---@field name string of tools; `*` in it is any text
---@field kind? "read"|"edit"|"command" when it is for a kind of tools
---@field words? agenthost.ShellWord[] of a command
---@field prefix? boolean more words may follow
---@field path? string a path pattern

--- What a tool call wants.
---@class agenthost.PermissionRequest
---@field tool string its name
---@field kind "read"|"edit"|"command"|"input"|"none"|"unknown"
---@field subject? string the path or the command
---@field absolute? string of a path: where it leads; nil when that cannot be said
---@field protected? string the part of its path for which a pattern counts only if it names it
---@field cwd string
---@field shell? agenthost.ShellText of a command

local M = {}

local SHOWN <const> = 200 -- columns of a rule in a message

-- Names of kinds; those with a capital are what other agents call them.
local KINDS <const> = { bash = "command", command = "command", read = "read", edit = "edit",
  Bash = "command", Read = "read", Edit = "edit", Write = "edit", MultiEdit = "edit" }

--- Reads a rule.
---@param text string
---@return agenthost.PermissionRule? rule
---@return string? message what is wrong with it
function M.parse(text)
  if type(text) ~= "string" then
    return nil, ("a rule is a text like \"bash(git status:*)\", got a %s"):format(type(text))
  end
  local name, inside = text:match("^%s*([%w_.*-]+)%s*$"), nil
  if not name then
    name, inside = text:match("^%s*([%w_.*-]+)%((.*)%)%s*$")
  end
  if not name then
    return nil, ("the rule '%s' is not of the form tool or tool(command or path)"):format(
      shorten(text, SHOWN))
  end
  local rule = { text = text, kind = KINDS[name], name = name }
  if inside and inside ~= "*" and inside ~= "" then
    rule.path = inside
    local command = inside:match("^(.-):%*$") or inside:match("^(.*%S)%s+%*$")
    local shell = shell_commands.parse(command or inside)
    rule.words = #shell.commands == 1 and not shell.problem and shell.commands[1].words or nil
    rule.prefix = command ~= nil
    if not rule.words and (rule.kind == "command" or inside:find(":%*$")) then
      return nil, ("the rule '%s' has to hold one plain command: %s"):format(
        shorten(text, SHOWN), shell.problem or "it holds several")
    end
  end
  return rule
end

--- Splits what stands behind --allowed-tools: rules with commas or spaces between them.
---@param text string
---@return string[]
function M.split(text)
  local rules, depth, from = {}, 0, 1
  for at, c in text:gmatch("()([%(%), \t\n])") do
    if c == "(" then
      depth = depth + 1
    elseif c == ")" then
      depth = math.max(0, depth - 1)
    elseif depth == 0 then
      rules[#rules + 1] = text:sub(from, at - 1)
      from = at + 1
    end
  end
  rules[#rules + 1] = text:sub(from)
  local kept = {}
  for _, rule in ipairs(rules) do
    if rule ~= "" then
      kept[#kept + 1] = rule
    end
  end
  return kept
end

-- ---- matching ----------------------------------------------------------------------------------

-- Whether a rule speaks of this tool at all. What is written to a running command counts as a
-- command where something is forbidden: nobody knows what reads it, so a command that is allowed
-- says nothing about it.
local function names(rule, request, forbids)
  return path.fits(request.tool, rule.name)
    or rule.kind ~= nil and request.kind == rule.kind
    or rule.kind == "command" and request.kind == "input" and forbids
end

-- Whether the words from `first` on are the rule's: true, false, or "maybe" where a word is one
-- that only the shell knows.
local function compare(rule, words, first, forbids)
  local result = true
  for i, wanted in ipairs(rule.words) do
    local word = words[first + i - 1]
    if not word then
      return result == "maybe" and result
    end
    local is_same = word.text == wanted.text
      or forbids and i == 1 and shell_check.basename(word.text) == wanted.text
    local is_known = word.literal and (not word.open or wanted.open and wanted.literal)
    if not is_known then
      result = "maybe"
    elseif not is_same then
      return false
    end
  end
  if not rule.prefix and #words - first + 1 > #rule.words then
    return result == "maybe" and result
  end
  return result
end

-- For allow: every command has to be covered by one of the rules.
local function all_covered(rules, request)
  for _, command in ipairs(request.shell.commands) do
    local covered = false
    for _, rule in ipairs(rules) do
      covered = covered or compare(rule, command.words, 1, false) == true
    end
    if not covered then
      return false
    end
  end
  return true
end

-- For deny and ask: whether any command is the rule's; true, false or "maybe".
local function any_covered(rule, request)
  local result = request.shell.unsure and "maybe"
  for _, command in ipairs(request.shell.commands) do
    for first = 1, command.starts or 1 do
      local found = compare(rule, command.words, first, true)
      if found == true then
        return true
      end
      result = result or found
    end
  end
  return result
end

local function path_covered(rule, request)
  return request.absolute ~= nil and path.matches(rule.path, request.cwd, request.absolute)
end

-- The same where something is forbidden: links on the way to what the rule names are followed, and
-- a name means what is below it, too.
local function path_forbidden(rule, request)
  return path_covered(rule, request)
    or path.leads_to(rule.path, request.cwd, request.absolute)
end

-- Whether a rule of a deny or ask list, for this tool, means this call: true, false or "maybe".
local function covers(rule, request)
  if not rule.path then
    return true
  elseif request.shell and rule.words then
    return any_covered(rule, request)
  elseif not request.shell and request.absolute then
    return path_forbidden(rule, request)
  end
  return "maybe" -- one of the two does not say what it is about
end

--- The first rule of a deny or ask list that forbids a call.
---@param rules agenthost.PermissionRule[]
---@param request agenthost.PermissionRequest
---@return agenthost.PermissionRule? rule
---@return boolean maybe it cannot be said whether the rule means this call
function M.forbids(rules, request)
  local perhaps
  for _, rule in ipairs(rules) do
    local found = names(rule, request, true) and covers(rule, request)
    if found == true then
      return rule, false
    end
    perhaps = perhaps or found and rule
  end
  return perhaps or nil, perhaps and true or false
end

--- Whether the rules of an allow list allow a call.
---@param rules agenthost.PermissionRule[]
---@param request agenthost.PermissionRequest
---@return boolean
function M.allows(rules, request)
  local of_commands = {}
  for _, rule in ipairs(rules) do
    if names(rule, request, false) then
      if not rule.path then
        return true
      elseif request.shell and rule.words then
        of_commands[#of_commands + 1] = rule
      elseif not request.shell and path_covered(rule, request)
        and (not request.protected or rule.path:find(request.protected, 1, true)) then
        return true
      end
    end
  end
  return request.shell ~= nil and not request.shell.problem and all_covered(of_commands, request)
end

--- Rules that allow just the commands of a call: for "always". A program with subcommands is
--- allowed with all that follows the subcommand.
---@param request agenthost.PermissionRequest of a command
---@param subcommands string[] programs whose second word says what they do
---@return string[]? rules nil when no rule can allow it
function M.suggest(request, subcommands)
  local shell = request.shell
  if not shell or shell.problem then
    return nil
  end
  local suggested = {}
  for i, command in ipairs(shell.commands) do
    local texts, is_plain = {}, true
    for j, word in ipairs(command.words) do
      texts[j] = word.text
      is_plain = is_plain and word.bare and not word.open and not word.text:find(":")
    end
    local whole = table.concat(texts, " ")
    local second = texts[2] and texts[2]:find("^%l[%w-]*$")
    for _, program in ipairs(subcommands) do
      if texts[1] == program and second then
        whole, is_plain = texts[1] .. " " .. texts[2] .. ":*", true
      end
    end
    if not is_plain then
      return nil -- written as a rule it might mean something else
    end
    suggested[i] = ("bash(%s)"):format(whole)
  end
  return suggested
end

return M
