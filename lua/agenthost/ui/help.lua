--- `agenthost help`: the manual, a page a topic, and the reference of the modules.
local markdown = require("agenthost.markdown")
local options = require("agenthost.options")
local places = require("agenthost.places")
local reference = require("agenthost.reference")
local sys = require("agenthost.sys")

local M = {}

local WIDTH <const> = 100 -- columns at most: long lines are hard to read

-- In the order in which somebody new reads them.
local TOPICS <const> = {
  { "agents", "an agent.lua and its options" },
  { "tools", "tools that a model can call" },
  { "plugins", "tools and commands that belong together" },
  { "testing", "agenthost test: agents and tools without a model" },
  { "permissions", "what runs without a question" },
  { "providers", "models, keys, recording, a provider of your own" },
  { "sessions", "what is on disk, and going on with it" },
  { "settings", "files, folders and variables" },
  { "api", "the Lua modules; `agenthost help api MODULE` is one of them" },
}

-- The flags of a command: what `agenthost COMMAND --help` says.
local COMMANDS <const> = { check = true, models = true, new = true, tasks = true, test = true }

local function index()
  local lines = { "# agenthost", "",
    "`agenthost --help` lists flags and commands. The manual:", "" }
  for _, topic in ipairs(TOPICS) do
    lines[#lines + 1] = ("- `agenthost help %s`: %s"):format(topic[1], topic[2])
  end
  lines[#lines + 1] = "\nTo begin: `agenthost new tool NAME`, `agenthost test`, `agenthost check`."
  return table.concat(lines, "\n") .. "\n"
end

local function names()
  local list = {}
  for i, topic in ipairs(TOPICS) do
    list[i] = topic[1]
  end
  return list
end

local function unknown(what, name, known)
  local best = options.slip(name, known)
  error({ usage = ("help: there is no %s '%s'%s"):format(what, name,
    best and ("; did you mean '%s'?"):format(best) or "; see agenthost help") }, 0)
end

--- The page of a topic as Markdown; nil when there is none.
---@param topic string
---@return string?
function M.page(topic)
  for _, one in ipairs(TOPICS) do
    if one[1] == topic then
      local path = places.share .. "/lua/agenthost/help/" .. topic .. ".md"
      local content, message = sys.read_file(path, 1024 * 1024)
      return content or error({ message = ("cannot read %s: %s"):format(path, message) }, 0)
    end
  end
end

local function show(page)
  if sys.isatty(1) then
    local colour = (sys.getenv("NO_COLOR") or "") == "" and sys.getenv("TERM") ~= "dumb"
    local columns = sys.terminal_size(1) or 80
    page = markdown.render(page, { width = math.min(columns, WIDTH), colour = colour })
  end
  return sys.write_fd(1, page) and 0 or 1
end

--- Runs the command. Returns the exit code.
---@param words string[] what stands behind "help"
---@return integer
function M.run(words)
  local topic, module = words[1], words[2]
  if topic == nil or topic == "--help" or topic == "-h" then
    return show(index())
  elseif COMMANDS[topic] and not module then
    return require("agenthost.ui." .. topic).run({ "--help" })
  elseif module and topic ~= "api" or words[3] then
    error({ usage = "agenthost help [TOPIC], or: agenthost help api MODULE" }, 0)
  elseif module then
    local modules = {}
    for name in pairs(reference.modules()) do
      modules[#modules + 1] = name
    end
    return show(reference.page(module) or unknown("module", module, modules))
  end
  local page = M.page(topic) or unknown("topic", topic, names())
  if topic == "api" then
    page = page .. "\n" .. reference.index() .. "\n"
  end
  return show(page)
end

return M
