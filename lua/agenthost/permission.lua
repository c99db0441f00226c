--- What a tool call may do: rules and modes, and the question where they leave it open.
---
--- Every call goes through `check` before it runs. A deny rule comes before an ask rule, that
--- before an allow rule; the mode decides what none of them names:
---
--- | mode                | reads | edits inside the workspace | commands, everything else |
--- | ------------------- | ----- | -------------------------- | ------------------------- |
--- | `default`           | run   | one question a session     | a question                |
--- | `acceptEdits`       | run   | run                        | a question                |
--- | `plan`              | run   | refused                    | refused                   |
--- | `dontAsk`           | run   | refused                    | refused                   |
--- | `bypassPermissions` | run   | run                        | run; deny rules hold      |
---
--- This decides what is started, not what it can do once it runs: it is no sandbox.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local options = require("agenthost.options")
local path = require("agenthost.permission_path")
local protect = require("agenthost.protect")
local rules = require("agenthost.permission_rules")
local shell_check = require("agenthost.shell_check")

local M = {}

--- Names of the modes, as the command line takes them.
M.MODES = { "default", "acceptEdits", "plan", "dontAsk", "bypassPermissions" }

local LISTS <const> = { "deny", "ask", "allow" }
local KINDS <const> = { read = true, edit = true, command = true, input = true, none = true }

--- What is asked of the user.
---@class agenthost.Question
---@field tool string the tool's name
---@field kind "read"|"edit"|"command"|"input"|"unknown"
---@field text string exactly what will run or be changed: a command, a path, or the whole input;
---  not cleaned
---@field detail? string what an edit changes, for a look at it; not cleaned
---@field why? string why it is asked although rules are there
---@field always? string[] the rules that "always" adds; nil where no rule can allow this
---@field all_edits? boolean a yes is for all edits inside the workspace in this session

--- What the user said.
---@class agenthost.Answer
---@field allow boolean
---@field always? boolean from now on without a question
---@field reason? string for the model, with a no

---@class agenthost.Permission
---@field mode string
---@field denials table[] refused calls: tool_name, tool_use_id, tool_input
local Permission = {}
Permission.__index = Permission

---@param mode string
---@return string mode raises when there is no such mode
local function checked_mode(mode)
  for _, known in ipairs(M.MODES) do
    if mode == known then
      return mode
    end
  end
  error(("unknown permission mode '%s': expected %s"):format(tostring(mode),
    table.concat(M.MODES, ", ")), 0)
end

--- Checks permissions as an agent script or the settings file gives them.
---@param given { mode?: string, allow?: string[], deny?: string[], ask?: string[] }
---@return table<string, agenthost.PermissionRule[]> lists raises when something in it is wrong
function M.read(given)
  options.check(given, { "mode", "allow", "deny", "ask" }, -1)
  if given.mode ~= nil then
    checked_mode(given.mode)
  end
  local lists = {}
  for _, list in ipairs(LISTS) do
    local texts = given[list] or {}
    if type(texts) ~= "table" then
      error(("%s: expected a list of rules, got a %s"):format(list, type(texts)), 0)
    end
    for name in pairs(texts) do
      if math.type(name) ~= "integer" then
        error(("%s: expected a list of rules, got a field '%s'"):format(list, tostring(name)), 0)
      end
    end
    lists[list] = {}
    for i, text in ipairs(texts) do
      local rule, message = rules.parse(text)
      lists[list][i] = rule or error(("%s: %s"):format(list, message), 0)
    end
  end
  return lists
end

--- Permissions of one agent.
---@param opts { cwd: string, sources?: table[] } cwd: the workspace, without links in its path;
---  sources: as for `read`, the one that counts most first: its mode is taken, all rules add up
---@return agenthost.Permission raises when something in it is wrong
function M.new(opts)
  local self = setmetatable({ cwd = opts.cwd, denials = {}, deny = {}, ask = {}, allow = {} },
    Permission)
  for _, source in ipairs(opts.sources or {}) do
    for list, read in pairs(M.read(source)) do
      table.move(read, 1, #read, #self[list] + 1, self[list])
    end
    self.mode = self.mode or source.mode
  end
  self.mode = self.mode or "default"
  self.given = { mode = self.mode, deny = #self.deny, ask = #self.ask, allow = #self.allow }
  return self
end

--- Takes over from the permissions that held so far what has become of them in this session: rules
--- that were added, a mode that was chosen, what was refused.
---@param other agenthost.Permission
function Permission:take_over(other)
  for _, list in ipairs(LISTS) do
    table.move(other[list], other.given[list] + 1, #other[list], #self[list] + 1, self[list])
  end
  if other.mode ~= other.given.mode then
    self.mode = other.mode
  end
  self.edits_granted, self.denials = other.edits_granted, other.denials
end

--- Changes the mode; questions that are open stay open.
---@param mode string raises when there is no such mode
function Permission:set_mode(mode)
  self.mode = checked_mode(mode)
end

--- Adds a rule for the rest of the session.
---@param list "deny"|"ask"|"allow"
---@param text string raises when it is no rule
function Permission:add(list, text)
  local rule, message = rules.parse(text)
  table.insert(self[list], rule or error(message, 0))
end

--- The mode and the rules, a line each.
---@return string[]
function Permission:describe()
  local lines = { "mode: " .. self.mode }
  for _, list in ipairs(LISTS) do
    for _, rule in ipairs(self[list]) do
      lines[#lines + 1] = ("%s: %s"):format(list, rule.text)
    end
  end
  if self.edits_granted then
    lines[#lines + 1] = "edits inside the workspace: allowed in this session"
  end
  return lines
end

-- ---- deciding ----------------------------------------------------------------------------------

-- Asks a tool what a call wants: a kind and what it is about, or nil, nil and what went wrong.
local function ask_tool(tool, input)
  local ok, kind, subject = protect.call("tool '" .. tool.name .. "'", tool.permission, input)
  if not ok and async.is_cancellation(kind) then
    error(kind, 0)
  elseif not ok then
    return nil, nil, "the tool's `permission` failed: " .. protect.error_text(kind)
  elseif not KINDS[kind] then
    return nil, nil, ("the tool's `permission` gave %s, not read, edit, command, input or none")
      :format(options.show(kind))
  end
  return kind, subject
end

-- What a call wants. A tool says what it is by `permission`; one that does not, or that fails to,
-- is unknown.
function Permission:request(tool, input)
  local kind, subject, problem = tool.permission, nil, nil
  if type(kind) == "function" then
    kind, subject, problem = ask_tool(tool, input)
  elseif kind == "command" then
    subject = input.command
  elseif kind == "read" or kind == "edit" then
    subject = input.path
  end
  local request = { tool = tool.name, kind = KINDS[kind] and kind or "unknown", cwd = self.cwd,
    problem = problem }
  subject = type(subject) == "string" and subject or nil
  if (kind == "command" or kind == "input") and not subject then
    request.kind = "unknown"
  end
  request.subject = subject
  if request.kind == "command" or request.kind == "input" then
    request.shell = shell_check.read(subject)
  elseif subject then
    request.absolute = path.resolve(self.cwd, subject)
    request.protected = request.kind == "edit" and request.absolute
      and path.has_part(request.absolute, defaults.permission.protected)
  end
  return request
end

local function is_inside(request)
  return request.absolute and path.below(request.cwd, request.absolute)
end

-- What the mode says to a call that no rule names. Returns "allow", or "ask" and why, if that is
-- worth a word.
function Permission:by_mode(request)
  if request.kind == "none" then
    return "allow"
  elseif request.kind == "read" then
    -- a tool that reads nothing in particular names no path
    if is_inside(request) or request.subject == nil then
      return "allow"
    end
    return "ask", "it is outside the workspace"
  elseif request.kind == "edit" then
    if not is_inside(request) then
      return "ask", "it is outside the workspace"
    elseif request.protected then
      return "ask", ("what stands in %s is run by other programs"):format(request.protected)
    elseif self.mode == "acceptEdits" or self.edits_granted then
      return "allow"
    end
    return "ask", nil, true
  end
  local problem = request.shell and #self.allow > 0 and request.shell.problem
  return "ask", problem and "no allow rule covers it: " .. problem or request.problem
end

-- "allow"; "deny" and why; or "ask", why (or nil), and whether a yes is for all edits.
function Permission:decide(request)
  local rule, maybe = rules.forbids(self.deny, request)
  if rule and not maybe then
    return "deny", ("the rule deny %s forbids it."):format(rule.text)
  elseif self.mode == "plan" and request.kind ~= "read" and request.kind ~= "none" then
    return "deny", "this is plan mode: nothing may be changed or run. Look around with tools that "
      .. "only read, then present your plan to the user and wait for their word."
  elseif self.mode == "bypassPermissions" then
    return "allow"
  elseif rule then
    return "ask", ("it may be what the rule deny %s is about"):format(rule.text)
  end
  rule = rules.forbids(self.ask, request)
  if rule then
    return "ask", ("the rule ask %s"):format(rule.text)
  elseif rules.allows(self.allow, request) then
    return "allow"
  end
  return self:by_mode(request)
end

-- ---- asking ------------------------------------------------------------------------------------

-- The whole input of a tool that says nothing about itself, as `name: value` lines.
local function input_text(input)
  local lines = {}
  for name, value in pairs(input) do
    local ok, shown = pcall(require("agenthost.json").encode, value)
    lines[#lines + 1] = ("%s: %s"):format(tostring(name),
      type(value) == "string" and value or ok and shown or tostring(value))
  end
  table.sort(lines)
  return #lines > 0 and table.concat(lines, "\n") or "(without input)"
end

local function question_of(request, tool, input, ctx, why, all_edits)
  local detail
  if tool.preview then
    local ok, shown = protect.call("tool '" .. tool.name .. "'", tool.preview, input, ctx)
    detail = ok and type(shown) == "string" and shown or nil
  end
  local always
  if request.kind == "command" then
    always = rules.suggest(request, defaults.permission.subcommands)
  elseif request.kind == "unknown" then
    always = { request.tool }
  end
  return {
    tool = request.tool,
    kind = request.kind,
    text = request.kind ~= "unknown" and request.subject or input_text(input),
    detail = detail,
    why = why,
    always = always,
    all_edits = all_edits,
  }
end

-- How to allow it, for a person who reads what the model was told.
local function how_to_allow(request)
  local flags = {}
  local suggested = request.kind == "command"
    and rules.suggest(request, defaults.permission.subcommands)
  if suggested then
    flags[1] = ("--allowed-tools '%s'"):format(table.concat(suggested, ", "))
  elseif request.kind == "command" then
    flags[1] = ("--allowed-tools bash (all commands; no rule for this one: %s)"):format(
      request.shell.problem or "it cannot be written as one")
  elseif request.kind == "edit" then
    local relative = is_inside(request)
    flags[1] = "--permission-mode acceptEdits"
    flags[2] = relative and not relative:find("[*?(),%s]")
      and ("--allowed-tools 'edit(%s)'"):format(relative) or nil
  else
    flags[1] = "--allowed-tools " .. request.tool
  end
  flags[#flags + 1] = "--permission-mode bypassPermissions"
  return table.concat(flags, ", or ")
end

local AFTER_NO <const> = " Do not try to do the same in another way; go on without it, or say what "
  .. "is needed."

-- Waits for its turn: one question at a time.
function Permission:wait_for_turn()
  while self.asking do
    async.wait_any({ self })
  end
end

function Permission:ask_user(ask, question)
  self.asking = true
  local ok, answer = pcall(ask, question)
  self.asking = false
  async.notify(self)
  if not ok then
    error(answer, 0)
  end
  return answer
end

-- What a yes means for later calls.
function Permission:remember(question, answer)
  if question.all_edits then
    self.edits_granted = true
  elseif answer.always then
    for _, text in ipairs(question.always or {}) do
      self:add("allow", text)
    end
  end
end

-- Nobody was asked, or nobody can be.
function Permission:unasked(request, why)
  local reason = why and ("It needs a yes (%s), and "):format(why) or "It needs a yes, and "
  local nobody = self.mode == "dontAsk" and "in the mode dontAsk nobody is asked."
    or "there is nobody to ask."
  return ("%s%s The user can allow it with %s.%s"):format(reason, nobody, how_to_allow(request),
    AFTER_NO)
end

function Permission:settle(tool, input, ctx)
  self:wait_for_turn()
  local request = self:request(tool, input)
  local verdict, why, all_edits = self:decide(request) -- anew: an answer may have changed it
  if verdict == "allow" then
    return true
  elseif verdict == "deny" then
    return false, why .. AFTER_NO
  end
  local ask = ctx.agent and ctx.agent.ask
  if not ask or self.mode == "dontAsk" then
    return false, self:unasked(request, why)
  elseif request.shell and #request.subject > defaults.permission.shown then
    return false, ("it needs a yes, and is longer than the %d bytes that a question shows "
      .. "(defaults.permission.shown): write it into a file, and run that."):format(
      defaults.permission.shown)
  end
  local question = question_of(request, tool, input, ctx, why, all_edits)
  local answer = self:ask_user(ask, question)
  if not answer then
    return false, self:unasked(request, why)
  elseif type(answer) ~= "table" then
    error("`ask` has to return nothing, or a table such as { allow = true }; it returned "
      .. options.show(answer), 0)
  elseif answer.allow then
    self:remember(question, answer)
    return true
  end
  local reason = answer.reason and answer.reason:find("%S") and answer.reason
  return false, reason and "the user said no: " .. reason or "the user said no." .. AFTER_NO
end

--- Whether a call may run. Waits where the user is asked, one question after the other.
---@param tool agenthost.Tool
---@param input table checked against the tool's schema
---@param ctx agenthost.ToolContext
---@return boolean allowed
---@return string? message for the model, when it is not
function Permission:check(tool, input, ctx)
  local allowed, why = true, nil
  if self:decide(self:request(tool, input)) ~= "allow" then
    allowed, why = self:settle(tool, input, ctx)
  end
  if allowed then
    return true
  end
  if #self.denials < defaults.permission.denials then
    table.insert(self.denials, { tool_name = tool.name, tool_use_id = ctx.id, tool_input = input })
  end
  return false, "Permission denied: " .. why
end

return M
