--- The tools of an agent: the registry, and running the calls of a reply side by side.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local protect = require("agenthost.protect")
local schema = require("agenthost.schema")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

---@class agenthost.Tool
---@field name string letters, digits, _ and -; at most 64
---@field description string what it does and when to use it; the model reads it
---@field input? table a JSON Schema, or the short form (see agenthost.schema)
---@field run fun(input: table, ctx: agenthost.ToolContext): string|table|nil returns text, a table
---  (sent as JSON) or content blocks (a list of tables that have a `type`); on failure it raises,
---  or returns nil and a message
---@field summary? fun(input: table): string the argument that matters, for one line on a terminal
---@field permission? agenthost.ToolKind|fun(input: table): agenthost.ToolKind, string? what it
---  does, for permission rules: "read" and "edit" (of `input.path`), "command" (`input.command`,
---  run by a shell), "input" (text for a command that runs already), "none" (nothing that needs a
---  word). A function gives the kind and the path or command. Without it every call is asked for
---@field preview? fun(input: table, ctx: agenthost.ToolContext): string? what a call would change,
---  shown with the question whether it may

---@alias agenthost.ToolKind "read"|"edit"|"command"|"input"|"none"

---@class agenthost.Tools
---@field permission? agenthost.Permission asked before a tool runs
local Tools = {}
Tools.__index = Tools

local M = {}

---@return agenthost.Tools
function M.new()
  return setmetatable({ by_name = {}, list = {} }, Tools)
end

local KINDS <const> = { read = true, edit = true, command = true, input = true, none = true }

--- Adds a tool. Raises when its shape is wrong or the name is taken.
---@param tool agenthost.Tool
---@param owner string where it comes from, for messages
function Tools:add(tool, owner)
  local function refuse(format, ...)
    error(("%s: " .. format):format(owner, ...), 0)
  end
  if type(tool) ~= "table" then
    refuse("expected a tool, a table with name, description and run; got a %s", type(tool))
  elseif type(tool.name) ~= "string" or not tool.name:find("^[%w_-]+$") or #tool.name > 64 then
    refuse("a tool needs a name of letters, digits, '_' and '-', got %s", tostring(tool.name))
  elseif type(tool.description) ~= "string" or tool.description == "" then
    refuse("tool '%s' needs a description: the model chooses by it", tool.name)
  elseif type(tool.run) ~= "function" then
    refuse("tool '%s' needs a function run(input, ctx)", tool.name)
  elseif tool.permission ~= nil and type(tool.permission) ~= "function"
    and not KINDS[tool.permission] then
    refuse("tool '%s': permission: expected read, edit, command, input, none or a function, got %s",
      tool.name, tostring(tool.permission))
  end
  local other = self.by_name[tool.name]
  if other then
    refuse("tool '%s' is already there, from %s", tool.name, other.owner)
  end
  local ok, input_schema = pcall(schema.from_input, tool.input)
  if not ok then
    refuse("tool '%s': %s", tool.name, input_schema)
  end
  local entry = { tool = tool, owner = owner, schema = input_schema,
    label = ("tool '%s' (%s)"):format(tool.name, owner) }
  self.by_name[tool.name] = entry
  self.list[#self.list + 1] = {
    name = tool.name,
    description = tool.description,
    input_schema = input_schema,
  }
end

--- What a provider sends: name, description and input_schema of each, in the order they were added.
---@return table[]
function Tools:definitions()
  return self.list
end

---@return string[]
function Tools:names()
  local names = {}
  for i, definition in ipairs(self.list) do
    names[i] = definition.name
  end
  return names
end

-- Characters that a tool may say around an output of full length: cutting that once more would take
-- away the line that says where the whole of it is.
local MARGIN <const> = 1000

local function bounded(s)
  local clean = text.clean(s)
  if utf8.len(clean) > defaults.text.result + MARGIN then
    clean = text.preview(clean, { max = defaults.text.result })
  end
  return clean
end

-- What a tool_result may hold; a list of tables with another `type` is data.
local BLOCKS <const> = { text = true, image = true, document = true, search_result = true }

local function are_blocks(value)
  for _, block in ipairs(value) do
    if type(block) ~= "table" or not BLOCKS[block.type] then
      return false
    end
  end
  return #value > 0
end

-- Blocks whose texts are bounded and not empty: an API refuses the whole conversation otherwise.
local function result_blocks(blocks)
  local kept = {}
  for _, block in ipairs(blocks) do
    if block.type == "text" then
      block = { type = "text", text = bounded(tostring(block.text or "")) }
    end
    if block.type ~= "text" or block.text:find("%S") then
      kept[#kept + 1] = block
    end
  end
  return #kept > 0 and kept or "(no output)"
end

-- What a tool returned, as the content of a tool_result: a text that is not empty, or blocks.
local function result_content(value)
  if type(value) == "table" then
    if are_blocks(value) then
      return result_blocks(value)
    end
    value = json.encode(value)
  end
  local shown = bounded(value == nil and "" or tostring(value))
  return shown:find("%S") and shown or "(no output)"
end

-- Why a call is not run, in words for the model, and whether permissions forbid it; nil when it may
-- run. Waits where the user is asked.
local function refusal(permission, entry, call, context)
  if not entry then
    return ("Error: there is no tool '%s'"):format(call.name)
  elseif call.incomplete then
    return "Error: " .. (call.problem and call.problem .. "; it was not run."
      or "the reply was cut off inside this call; it was not run. Make it shorter.")
  end
  local problem = schema.check(call.input, entry.schema)
  if problem then
    return "Error: " .. problem
  elseif not permission then
    return nil
  end
  local ok, allowed, why = pcall(permission.check, permission, entry.tool, call.input, context)
  if ok then
    return not allowed and why or nil, not allowed
  end
  return allowed == M.CANCELLED and "Cancelled by the user; it was not run."
    or "Error: it was not run: the check of permissions failed: " .. tostring(allowed)
end

-- Runs one call. Returns content, is_error; never raises.
local function run_call(entry, call, context)
  local ok, value, message = protect.call(entry.label, entry.tool.run, call.input, context)
  if ok and value == nil and type(message) == "string" then
    return result_content("Error: " .. message), true -- `return nil, message`, as elsewhere
  elseif ok then
    ok, value = pcall(result_content, value)
    return ok and value or "Error: the tool's result cannot be sent: " .. tostring(value), not ok
  elseif value == M.CANCELLED then
    return "Cancelled by the user before it was done.", true
  end
  context.log(("tool %s failed: %s%s"):format(call.name, tostring(value), message))
  return result_content("Error: " .. tostring(value)), true
end

--- What cancelling the wait of a running tool raises inside it. A tool that cleans up catches it
--- with `<close>` or pcall and raises it again, or returns what is known so far.
M.CANCELLED = setmetatable({}, { __tostring = function() return "cancelled by the user" end })

local function summary(entry, call)
  if entry and entry.tool.summary and type(call.input) == "table" then
    local ok, line = protect.call(entry.label, entry.tool.summary, call.input)
    return ok and type(line) == "string" and line or nil
  end
end

--- Runs the calls of one reply side by side. Every call gets exactly one result, in the order of
--- the calls, whatever happens to it.
---@param calls table[] tool_use blocks with id, name and input
---@param new_context fun(call: table): agenthost.ToolContext
---@param emit fun(event: table) told when each starts and ends
---@return table[] results tool_result blocks
function Tools:run(calls, new_context, emit)
  local results, functions = {}, {}
  for i, call in ipairs(calls) do
    functions[i] = function()
      local entry = self.by_name[call.name]
      local event = { call = call, name = call.name, summary = summary(entry, call) }
      emit({ type = "tool_start", call = event })
      local context = new_context(call)
      local content, forbidden = refusal(self.permission, entry, call, context)
      local is_error = content ~= nil
      event.refused = forbidden or nil
      local started = sys.now() -- the time for a question does not count
      if not content then
        content, is_error = run_call(entry, call, context)
      end
      results[i] = {
        type = "tool_result",
        tool_use_id = call.id,
        content = content,
        is_error = is_error or nil,
      }
      event.seconds, event.is_error, event.content = sys.now() - started, is_error, content
      emit({ type = "tool_end", call = event })
    end
  end
  -- Cancelling whoever waits here cancels the tools, which end with a result each.
  local ok, reason = pcall(async.all, functions)
  for i, call in ipairs(calls) do
    results[i] = results[i] or {
      type = "tool_result",
      tool_use_id = call.id,
      content = ok and "Error: the tool ended without a result" or "Cancelled before it was run.",
      is_error = true,
    }
  end
  if not ok and reason ~= M.CANCELLED then
    error(reason, 0)
  end
  return results
end

return M
