--- The tools of an agent: the registry. Running the calls of a reply: tool_run.lua.
local options = require("agenthost.options")
local schema = require("agenthost.schema")
local strikes = require("agenthost.strikes")
local tool_run = require("agenthost.tool_run")

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
---@field background? boolean a call returns at once with an id; it goes on beside the conversation,
---  and a notice tells what it returned. For anything that waits and needs no answer at once
---@field timeout? number seconds after which a call is stopped: what it waits for raises, and its
---  `<close>` variables are closed; default defaults.tool.timeout
---@field exclusive? boolean it runs alone: calls before it in a reply end first, those behind it
---  wait
---@field preview? fun(input: table, ctx: agenthost.ToolContext): string? what a call would change,
---  shown with the question whether it may

---@alias agenthost.ToolKind "read"|"edit"|"command"|"input"|"none"

---@class agenthost.Tools
---@field permission? agenthost.Permission asked before a tool runs
---@field events? agenthost.Events told of every call
---@field jobs? agenthost.ToolJobs the calls that go on in the background
local Tools = {}
Tools.__index = Tools

local M = {}

---@return agenthost.Tools
function M.new()
  return setmetatable({ by_name = {}, list = {} }, Tools)
end

local KINDS <const> = { read = true, edit = true, command = true, input = true, none = true }

local FIELDS <const> = { "name", "description", "input", "run", "summary", "permission",
  "background", "timeout", "exclusive", "preview" }

-- What other programs call the fields.
local FOREIGN <const> = { desc = "description", parameters = "input", input_schema = "input",
  inputSchema = "input", schema = "input", arguments = "input", execute = "run", handler = "run",
  func = "run", fn = "run", call = "run", callback = "run" }

--- A field of a tool that nobody would ever read, because its name is a slip of the pen or another
--- program's: the name, and the one that is meant.
---@param tool table
---@return string? field
---@return string? meant
function M.misnamed(tool)
  local found, found_meant
  for field in pairs(tool) do
    local meant = FOREIGN[field] or options.slip(field, FIELDS)
    if meant and tool[meant] == nil and (not found or field < found) then
      found, found_meant = field, meant
    end
  end
  return found, found_meant
end

-- How a tool is to be run.
local function check_fields(refuse, tool)
  local timeout = tool.timeout
  if timeout ~= nil and (type(timeout) ~= "number" or timeout ~= timeout or timeout <= 0) then
    refuse("tool '%s': timeout: expected seconds, got %s", tool.name,
      options.show(timeout))
  end
  for _, field in ipairs({ "background", "exclusive" }) do
    if tool[field] ~= nil and type(tool[field]) ~= "boolean" then
      refuse("tool '%s': %s: expected true or false, got %s", tool.name, field,
        options.show(tool[field]))
    end
  end
  for _, field in ipairs({ "summary", "preview" }) do
    if tool[field] ~= nil and type(tool[field]) ~= "function" then
      refuse("tool '%s': %s: expected a function, got %s", tool.name, field,
        options.show(tool[field]))
    end
  end
end

--- Checks a tool and makes an entry of the registry of it. Raises when its shape is wrong.
---@param tool agenthost.Tool
---@param owner string where it comes from, for messages
---@return table
function M.entry(tool, owner)
  local function refuse(format, ...)
    error(("%s: " .. format):format(owner, ...), 0)
  end
  if type(tool) ~= "table" then
    refuse("expected a tool, a table with name, description and run; got %s", options.show(tool))
  end
  local field, meant = M.misnamed(tool)
  if field then
    refuse("tool %s: unknown field '%s'; did you mean '%s'?", options.show(tool.name), field, meant)
  elseif type(tool.name) ~= "string" or not tool.name:find("^[%w_-]+$") or #tool.name > 64 then
    refuse("a tool needs a name of letters, digits, '_' and '-', at most 64; got %s",
      options.show(tool.name))
  elseif type(tool.description) ~= "string" or tool.description == "" then
    refuse("tool '%s' needs a description: the model chooses by it", tool.name)
  elseif type(tool.run) ~= "function" then
    refuse("tool '%s' needs a function run(input, ctx)", tool.name)
  elseif tool.permission ~= nil and type(tool.permission) ~= "function"
    and not KINDS[tool.permission] then
    refuse("tool '%s': permission: expected read, edit, command, input, none or a function, got %s",
      tool.name, options.show(tool.permission))
  end
  check_fields(refuse, tool)
  local ok, input_schema = pcall(schema.from_input, tool.input)
  if not ok then
    refuse("tool '%s': %s", tool.name, input_schema)
  end
  return {
    tool = tool,
    owner = owner,
    label = ("tool '%s' (%s)"):format(tool.name, owner),
    strikes = strikes.new(("tool '%s'"):format(tool.name)),
    schema = input_schema,
    definition = {
      name = tool.name,
      description = tool.description,
      input_schema = input_schema,
    },
  }
end

--- Puts a checked tool in. Raises when the name is taken.
---@param entry table of `entry`
function Tools:put(entry)
  local name = entry.tool.name
  local other = self.by_name[name]
  if other then
    error(("%s: tool '%s' is already there, from %s"):format(entry.owner, name, other.owner), 0)
  end
  self.by_name[name] = entry
  self.list[#self.list + 1] = entry.definition
end

--- Adds a tool. Raises when its shape is wrong or the name is taken.
---@param tool agenthost.Tool
---@param owner string where it comes from, for messages
function Tools:add(tool, owner)
  self:put(M.entry(tool, owner))
end

--- Puts the tools of another registry in place of its own, in one step. Calls under way go on.
---@param other agenthost.Tools
function Tools:replace(other)
  self.by_name, self.list = other.by_name, other.list
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

--- What cancelling the wait of a running tool raises inside it. A tool that cleans up catches it
--- with `<close>` or pcall and raises it again, or returns what is known so far.
M.CANCELLED = tool_run.CANCELLED

--- Runs the calls of one reply. Every call gets exactly one result, in the order of the calls,
--- whatever happens to it.
---@param calls table[] tool_use blocks with id, name and input
---@param new_context fun(call: table): agenthost.ToolContext
---@param emit fun(event: table) told when each starts and ends
---@return table[] results tool_result blocks
function Tools:run(calls, new_context, emit)
  return tool_run.run(self, calls, new_context, emit)
end

return M
