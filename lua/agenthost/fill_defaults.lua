--- A user's own defaults.lua may hold only what differs, or be a copy from an older agenthost: what
--- it lacks is taken from the installed file, and what is of another kind there is an error.
local options = require("agenthost.options")
local places = require("agenthost.places")

local M = {}

local FILE <const> = "lua/agenthost/defaults.lua"

-- Groups and what is in them; what these values hold (task.env) is the user's.
local DEPTH <const> = 2

local function fill(mine, theirs, prefix, depth)
  for name, value in pairs(theirs) do
    local own = mine[name]
    if own == nil then
      mine[name] = value
    elseif type(own) ~= type(value) then
      error(("%s%s: expected a %s, got %s"):format(prefix, name, type(value), options.show(own)), 0)
    elseif depth < DEPTH and type(value) == "table" and #value == 0 then
      fill(own, value, prefix .. name .. ".", depth + 1)
    end
  end
end

--- Fills a table of defaults, unless it is the installed one.
---@param defaults table of agenthost.defaults, changed in place
---@param path? string its file; nil: the one that require finds
function M.fill(defaults, path)
  local installed = places.share .. "/" .. FILE
  path = path or places.project and places.project_code[FILE] and places.project .. "/" .. FILE
    or package.searchpath("agenthost.defaults", package.path)
  if path == installed then
    return
  elseif type(defaults) ~= "table" then
    error(("%s: it has to return a table, it returned %s"):format(path, options.show(defaults)), 0)
  end
  local ok, problem = pcall(fill, defaults, assert(loadfile(installed, "t"))(), "", 1)
  if not ok then
    error(path .. ": " .. problem, 0)
  end
end

return M
