-- Command lines under permission rules: what is plain and allowed is so for a much simpler reader,
-- too; a rule made for a command allows it, and forbids it in a deny list.
local defaults = require("agenthost.defaults")
local kit = require("kit")
local oracle = require("shell_oracle")
local rules = require("agenthost.permission_rules")
local shell_check = require("agenthost.shell_check")

local function rule(text)
  local made, message = rules.parse(text)
  kit.expect(made, "no rule: %s", message)
  return made
end

local ALLOWED <const> = { echo = true, ls = true, cat = true }
local ALLOW <const> = { rule("bash(echo:*)"), rule("bash(ls:*)"), rule("bash(cat:*)") }

local function check_allowed(text)
  local names = oracle.names(text)
  kit.expect(names, "it is allowed, and there is more in it than words")
  for _, name in ipairs(names) do
    kit.expect(ALLOWED[name], "it is allowed, and runs %q", name)
  end
end

-- What is made for "always" has to say what it is for.
local function check_suggested(request)
  local suggested = rules.suggest(request, defaults.permission.subcommands)
  if not suggested then
    return
  end
  local made = {}
  for i, text in ipairs(suggested) do
    made[i] = rule(text)
  end
  kit.expect(rules.allows(made, request), "%s do not allow it", table.concat(suggested, ", "))
  kit.expect(rules.forbids(made, request), "%s do not forbid it", table.concat(suggested, ", "))
  local joined = table.concat(suggested, ", ")
  kit.expect(kit.same(rules.split(joined), suggested), "split they differ: %s", joined)
end

-- A program that stands at the beginning of a command is found by a deny rule.
local function check_denied(text, request)
  local seen, count = {}, 0
  for _, name in ipairs(oracle.names(text) or {}) do
    if name:find("^%a%w*$") and not seen[name] and count < 5 then
      seen[name], count = true, count + 1
      local denied = rules.parse(("bash(%s:*)"):format(name))
      kit.expect(not denied or rules.forbids({ denied }, request), "deny %s does not hold", name)
    end
  end
end

return function(bytes)
  local shell = shell_check.read(bytes)
  local request = { tool = "bash", kind = "command", subject = bytes, cwd = "/w", shell = shell }
  if shell.problem then
    kit.message(shell.problem)
  end
  kit.expect(#shell.commands <= defaults.permission.max_commands, "too many commands")
  for _, command in ipairs(shell.commands) do
    kit.expect(#command.words > 0, "a command without words")
  end
  if rules.allows(ALLOW, request) then
    check_allowed(bytes)
  end
  check_suggested(request)
  check_denied(bytes, request)
end, { base = 1000000, byte = 10000 }
