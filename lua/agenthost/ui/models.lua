--- `agenthost models`: what the configured providers offer, with limits and prices.
local async = require("agenthost.async")
local discover = require("agenthost.provider.discover")
local json = require("agenthost.json")
local models = require("agenthost.models")
local provider = require("agenthost.provider")
local secrets = require("agenthost.secrets")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local USAGE <const> = [[
agenthost models [--json]   list the models of all configured providers, as --model takes them
]]

local NOTHING <const> = "no provider is configured: set ANTHROPIC_API_KEY or OPENAI_API_KEY, or "
  .. "start a local model server"

-- Providers by name, and the variables of which any one configures it.
local CONFIGURED_BY <const> = {
  anthropic = { "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL" },
  openai = { "OPENAI_API_KEY", "OPENAI_BASE_URL" },
  ollama = { "OLLAMA_HOST" },
}
local ORDER <const> = { "anthropic", "openai", "ollama" }

local function say(line)
  sys.write_fd(2, "agenthost: " .. text.clean(line):gsub("%s+", " ") .. "\n")
end

-- ---- asking ------------------------------------------------------------------------------------

local function is_configured(variables)
  for _, variable in ipairs(variables) do
    local value = sys.getenv(variable)
    if value and value ~= "" then
      return true
    end
  end
  return false
end

-- A provider of some model: which one does not matter for the list.
local function any_model(name)
  return function() return provider.new(name .. "/-", sys.cwd()) end
end

-- One source is { name, make }: `make` gives the provider, and may raise.
local function sources()
  local found = {}
  local asked = is_configured(CONFIGURED_BY.ollama) and discover.ollama_url()
  for _, name in ipairs(ORDER) do
    if is_configured(CONFIGURED_BY[name]) then
      found[#found + 1] = { name = name, make = any_model(name) }
    end
  end
  for _, server in ipairs(discover.find()) do
    if server.url ~= asked then -- or it would be there twice
      found[#found + 1] = { name = server.name, make = function()
        return provider.of_server(server)
      end }
    end
  end
  return found
end

-- A list of entries, or nil and a line.
local function ask(source)
  local ok, made = pcall(source.make)
  if not ok then
    return nil, tostring(made)
  elseif not made.list_models then
    return nil, "it cannot list its models"
  end
  local list, message = made:list_models()
  if not list then
    return nil, message
  end
  local entries = {}
  for i, item in ipairs(list) do
    local known = models.find(item.id) or {}
    entries[i] = {
      provider = made.name,
      id = item.id,
      name = item.name,
      context_window = item.context_window or known.context_window,
      max_output = item.max_output or known.max_output,
      price = models.price({ name = made.name, model = item.id, url = made.url }),
    }
  end
  return entries
end

-- ---- showing -----------------------------------------------------------------------------------

local function count(n)
  local digits = n and tostring(n) or "?"
  return (digits:reverse():gsub("(%d%d%d)(%d)", "%1,%2"):gsub("(%d%d%d)(%d)", "%1,%2"):reverse())
end

local function dollars(price)
  if not price then
    return "?"
  end
  return price.input == 0 and price.output == 0 and "free"
    or ("$%.4g / $%.4g"):format(price.input, price.output)
end

local function rows_of(entries)
  local rows = { { "MODEL", "CONTEXT", "MAX OUTPUT", "PRICE PER MILLION TOKENS IN / OUT" } }
  for _, entry in ipairs(entries) do
    rows[#rows + 1] = { text.clean(entry.provider .. "/" .. entry.id):gsub("%s+", " "),
      count(entry.context_window), count(entry.max_output), dollars(entry.price) }
  end
  return rows
end

local function show_table(entries)
  local rows, width = rows_of(entries), 0
  for _, row in ipairs(rows) do
    width = math.max(width, text.width(row[1]))
  end
  for _, row in ipairs(rows) do
    local line = ("%s%s  %10s  %10s  %s\n"):format(row[1], (" "):rep(width - text.width(row[1])),
      row[2], row[3], row[4])
    if not sys.write_fd(1, line) then
      return 1
    end
  end
  return 0
end

local function show_json(entries)
  local list = json.array()
  for i, entry in ipairs(entries) do
    local price = entry.price
    list[i] = {
      provider = entry.provider,
      id = entry.id,
      name = entry.name,
      context_window = entry.context_window or json.null,
      max_output = entry.max_output or json.null,
      price = price and { input = price.input, output = price.output,
        cache_read = price.cache_read or price.input,
        cache_write = price.cache_write or price.input } or json.null,
    }
  end
  return sys.write_fd(1, json.encode(list) .. "\n") and 0 or 1
end

-- ---- the command -------------------------------------------------------------------------------

-- All sources at once. A failure of one is a line, and the others are listed.
local function collect()
  local from, questions = sources(), {}
  for i, source in ipairs(from) do
    questions[i] = function() return ask(source) end
  end
  local entries, answered = {}, #from > 0 and 0 or nil
  for i, job in ipairs(async.all(questions)) do
    local list, message
    if job.ok then
      list, message = job.results[2], job.results[3]
    else
      message = tostring(job.results[2])
    end
    if list then
      answered = answered + 1
      table.move(list, 1, #list, #entries + 1, entries)
    else
      say(from[i].name .. ": " .. tostring(message))
    end
  end
  return entries, answered
end

--- Runs the command. Returns the exit code: 1 when no provider answered.
---@param words string[] what stands behind "models"
---@return integer
function M.run(words)
  local as_json = words[1] == "--json"
  if #words > (as_json and 1 or 0) then
    local help = words[1] == "--help" or words[1] == "-h"
    sys.write_fd(help and 1 or 2, USAGE)
    return help and 0 or 2
  end
  secrets.hide()
  local entries, answered = async.run(collect)
  if not answered then
    say(NOTHING)
    return 1
  end
  local code = (as_json and show_json or show_table)(entries)
  return answered > 0 and code or 1
end

return M
