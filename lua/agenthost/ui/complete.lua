--- What Tab does: completes a command's name, or a path behind `@`.
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")

local M = {}

local function common_prefix(words)
  local prefix = words[1] or ""
  for _, word in ipairs(words) do
    while word:sub(1, #prefix) ~= prefix do
      prefix = prefix:sub(1, utf8.offset(prefix, -1) - 1)
    end
  end
  return prefix
end

-- The paths that begin with `path`; directories end with "/".
local function paths(path, cwd)
  local dir, start = path:match("^(.*/)([^/]*)$")
  dir, start = dir or "", start or path
  local full = dir:sub(1, 1) == "/" and dir or cwd .. "/" .. dir
  local found = {}
  for _, entry in ipairs(sys.list(full) or {}) do
    local hidden = entry.name:sub(1, 1) == "." and start:sub(1, 1) ~= "."
    local clean = not entry.name:find("[%s%c]") and utf8.len(entry.name)
    if entry.name:sub(1, #start) == start and not hidden and clean then
      found[#found + 1] = dir .. entry.name .. (entry.type == "directory" and "/" or "")
    end
    if #found >= defaults.attach.candidates then
      break
    end
  end
  table.sort(found)
  return found
end

--- What may follow the half-typed line.
---@param line string
---@param names string[] of commands, without "/"
---@param cwd string
---@return string insertion the text that is certain; "" when there is none
---@return string[] candidates
function M.complete(line, names, cwd)
  local start = line:match("^/(%S*)$")
  local candidates, typed = {}, start
  if start then
    for _, name in ipairs(names) do
      if name:sub(1, #start) == start then
        candidates[#candidates + 1] = name
      end
    end
    table.sort(candidates)
  else
    typed = line:match("^@(%S*)$") or line:match("%s@(%S*)$")
    candidates = typed and paths(typed, cwd) or {}
  end
  if #candidates == 0 then
    return "", {}
  end
  local insertion = common_prefix(candidates):sub(#typed + 1)
  if #candidates == 1 and candidates[1]:sub(-1) ~= "/" then
    insertion = insertion .. " "
  end
  return insertion, candidates
end

return M
