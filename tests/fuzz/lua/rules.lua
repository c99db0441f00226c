-- agenthost.permission_rules: what is read is a rule or a message; a rule that allows a call also
-- forbids it where it stands in a deny list; paths match as a slower matcher says.
local kit = require("kit")
local path = require("agenthost.permission_path")
local rules = require("agenthost.permission_rules")
local shell_check = require("agenthost.shell_check")

local CWD <const> = "/w"

local function command(text)
  return { tool = "bash", kind = "command", subject = text, cwd = CWD,
    shell = shell_check.read(text) }
end

local function file(tool, kind, absolute)
  return { tool = tool, kind = kind, subject = absolute, absolute = absolute, cwd = CWD }
end

local function requests()
  return { command("git status"), command("git status -s && ls 'a b'"), command("rm x"),
    command("echo $(rm x)"), file("read_file", "read", "/w/src/a.lua"),
    file("write_file", "edit", "/w/a.b/c/d/e"), file("read_file", "read", "/etc/passwd"),
    file(("a"):rep(60), "edit", "/w/" .. ("a"):rep(100)),
    { tool = "web", kind = "unknown", cwd = CWD }, { tool = "task_write", kind = "input",
      subject = "rm", cwd = CWD, shell = shell_check.read("rm") } }
end

-- Whether glob[g..] matches part[p..]; no faster than it has to be.
local function part_fits(part, glob, p, g, known)
  local key = p * 1000 + g
  if known[key] == nil then
    local c = glob:sub(g, g)
    if c == "" then
      known[key] = p > #part
    elseif c == "*" then
      known[key] = part_fits(part, glob, p, g + 1, known)
        or p <= #part and part_fits(part, glob, p + 1, g, known)
    else
      known[key] = p <= #part and (c == "?" or c == part:sub(p, p))
        and part_fits(part, glob, p + 1, g + 1, known)
    end
  end
  return known[key]
end

local function parts_fit(parts, globs, p, g)
  if not globs[g] then
    return not parts[p]
  elseif globs[g] == "**" then
    return parts_fit(parts, globs, p, g + 1)
      or parts[p] ~= nil and parts_fit(parts, globs, p + 1, g)
  end
  return parts[p] ~= nil and part_fits(parts[p], globs[g], 1, 1, {})
    and parts_fit(parts, globs, p + 1, g + 1)
end

local function split(s)
  local parts = {}
  for part in s:gmatch("[^/]+") do
    parts[#parts + 1] = part
  end
  return parts
end

local function check_path(pattern, absolute)
  local matches = path.matches(pattern, CWD, absolute)
  if #pattern > 60 or pattern:find("^~") then
    return
  end
  local globs = pattern:gsub("^%./+", ""):gsub("/+$", "/**")
  local relative = globs:sub(1, 1) ~= "/" and absolute:match("^/w/(.*)$") or nil
  local fits = (relative or globs:sub(1, 1) == "/") and
    parts_fit(split(relative or absolute), split(globs), 1, 1) or false
  kit.expect(matches == fits, "%q matches %s: %s", pattern, absolute, matches)
end

local function check_rule(rule, bytes)
  kit.expect(rule.text == bytes, "it has another text")
  kit.expect(kit.same(rules.parse(rule.text), rule), "read again it is another")
  for _, request in ipairs(requests()) do
    local allows = rules.allows({ rule }, request)
    local forbids = rules.forbids({ rule }, request)
    kit.expect(type(allows) == "boolean", "allows is a %s", type(allows))
    kit.expect(not allows or forbids, "it allows '%s', but as a deny rule it does not forbid it",
      request.subject or request.tool)
    if rule.path and request.absolute then
      check_path(rule.path, request.absolute)
    end
  end
end

return function(bytes)
  local rule, message = rules.parse(bytes)
  if rule then
    check_rule(rule, bytes)
  else
    kit.message(message)
  end
  local parts = rules.split(bytes)
  kit.expect(kit.same(rules.split(table.concat(parts, ", ")), parts), "split again they differ")
end, { base = 4000000, byte = 6000 }
