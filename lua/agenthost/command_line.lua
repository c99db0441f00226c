--- Reading the command line: flags, and the words between them. What they do: cli.lua.
local defaults = require("agenthost.defaults")
local options = require("agenthost.options")
local permission = require("agenthost.permission")
local permission_rules = require("agenthost.permission_rules")
local sys = require("agenthost.sys")

local M = {}

--- Raises { usage = message }: a usage error, told in one line.
---@param format string
function M.usage(format, ...)
  error({ usage = format:format(...) }, 0)
end

local usage <const> = M.usage

local function number_of(name, value, least)
  local number = tonumber(value)
  if not number or number < least then
    usage("%s: expected a number from %g on, got '%s'", name, least, value)
  end
  return number
end

-- Adds the rules of a flag that may be given several times.
local function add_rules(o, list, name, value)
  local rules = permission_rules.split(value)
  for _, word in ipairs(rules) do
    local rule, message = permission_rules.parse(word)
    if not rule then
      usage("%s: %s", name, message)
    end
  end
  o[list] = table.move(rules, 1, #rules, #(o[list] or {}) + 1, o[list] or {})
end

local FORMATS = { text = true, json = true, ["stream-json"] = true }

-- name -> whether it takes a value, and what to do with it
local flags = {
  ["--print"] = { optional = true, set = function(o, v)
    o.print, o.prompt = true, v or o.prompt
  end },
  ["--continue"] = { set = function(o) o.continue = true end },
  ["--resume"] = {
    optional = true,
    fits = function(word) return require("agenthost.sessions").is_id(word) end,
    set = function(o, v) o.resume = v or true end,
  },
  ["--model"] = { value = true, set = function(o, v) o.model = v end },
  ["--output-format"] = { value = true, set = function(o, v)
    if not FORMATS[v] then
      usage("--output-format: expected text, json or stream-json, got '%s'", v)
    end
    o.format = v
  end },
  ["--max-turns"] = { value = true, set = function(o, v)
    o.max_turns = math.tointeger(number_of("--max-turns", v, 1))
      or usage("--max-turns: expected a whole number, got '%s'", v)
  end },
  ["--max-budget-usd"] = { value = true, set = function(o, v)
    o.max_budget_usd = number_of("--max-budget-usd", v, 0)
    if o.max_budget_usd == 0 then
      usage("--max-budget-usd: expected more than 0, got '%s'", v)
    end
  end },
  ["--wait-tasks"] = { value = true, set = function(o, v)
    o.wait_tasks = number_of("--wait-tasks", v, 0)
  end },
  ["--input-format"] = { value = true, set = function(o, v)
    if v ~= "text" and v ~= "stream-json" then
      usage("--input-format: expected text or stream-json, got '%s'", v)
    end
    o.input_format = v
  end },
  ["--include-partial-messages"] = { set = function(o) o.partial = true end },
  ["--permission-mode"] = { value = true, set = function(o, v)
    local ok, message = pcall(permission.read, { mode = v })
    o.permission_mode = ok and v or usage("--permission-mode: %s", message)
  end },
  ["--allowed-tools"] = { value = true, set = function(o, v)
    add_rules(o, "allow", "--allowed-tools", v)
  end },
  ["--disallowed-tools"] = { value = true, set = function(o, v)
    add_rules(o, "deny", "--disallowed-tools", v)
  end },
  ["--system-prompt"] = { value = true, set = function(o, v) o.system = v end },
  ["--append-system-prompt"] = { value = true, set = function(o, v) o.append_system = v end },
  ["--cwd"] = { value = true, set = function(o, v) o.cwd = v end },
  ["--trust-project"] = { set = function(o) o.trust_project = true end },
  ["--verbose"] = { set = function(o) o.verbose = true end },
  ["--version"] = { set = function(o) o.version = true end },
  ["--help"] = { set = function(o) o.help = true end },
}
flags["--allowedTools"] = flags["--allowed-tools"]
flags["--disallowedTools"] = flags["--disallowed-tools"]
local short = {
  ["-p"] = "--print",
  ["-c"] = "--continue",
  ["-r"] = "--resume",
  ["-h"] = "--help",
}

-- A path to a script, not a prompt that happens to end with one ("explain src/main.lua").
local function looks_like_script(word)
  local is_path = word:find("%.lua$") or word:find("/", 1, true)
  return is_path and (not word:find("%s") or sys.stat(word) ~= nil)
end

local function unknown(name)
  local names = {}
  for flag in pairs(flags) do
    names[#names + 1] = flag
  end
  table.sort(names)
  local best = options.closest(name, names)
  usage("unknown flag '%s'%s", name, best and ("; did you mean '%s'?"):format(best) or "")
end

--- Reads the flags; what is none is in `words`.
---@param args string[]
---@return table parsed raises as `usage`
function M.parse(args)
  local parsed = { format = "text", wait_tasks = defaults.wait_tasks, words = {} }
  local i = 1
  while i <= #args do
    local word = args[i]
    local name, value = word:match("^(%-%-[%w-]+)=(.*)$")
    name = name or short[word] or word
    if word == "--" then
      table.move(args, i + 1, #args, #parsed.words + 1, parsed.words)
      break
    elseif name:sub(1, 1) ~= "-" or name == "-" then
      parsed.words[#parsed.words + 1] = word
    else
      local flag = flags[name] or unknown(name)
      if (flag.value or flag.optional) and value == nil then
        local next_word = args[i + 1]
        local is_value = next_word and (flag.value or next_word:sub(1, 1) ~= "-")
          and (not flag.fits or flag.fits(next_word))
          and not (flag.optional and next_word:find("%.lua$") and looks_like_script(next_word))
        if is_value then
          value, i = next_word, i + 1
        elseif flag.value then
          usage("%s needs a value", name)
        end
      elseif value and not (flag.value or flag.optional) then
        usage("%s takes no value", name)
      end
      flag.set(parsed, value)
    end
    i = i + 1
  end
  return parsed
end

--- Sorts the words into script, prompt and the script's own arguments.
---@param parsed table of `parse`
function M.sort_words(parsed)
  local words = parsed.words
  if words[1] and looks_like_script(words[1]) then
    parsed.script = table.remove(words, 1)
  end
  parsed.script_args = words
  if #words > 0 and (not parsed.prompt or not parsed.script) then
    -- -p fix the bug, without quotes: all of it is meant
    parsed.prompt = (parsed.prompt and parsed.prompt .. " " or "") .. table.concat(words, " ")
  end
end

return M
