--- Copies of agenthost's own Lua modules in a user's folder, each of whose functions says when it
--- is called: to find those of an older version that are still called after a reload.
local places = require("agenthost.places")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local M = {}

-- What is no module of a running agent: declarations, what `agenthost new` writes, and what makes
-- an agent when it is loaded.
local NOT <const> = { _meta = true, templates = true, ["default_agent.lua"] = true,
  ["no_model.lua"] = true }

---@class support.marked.Module
---@field name string for require
---@field file string below a folder of Lua files
---@field path string

--- All modules of ours.
---@return support.marked.Module[]
function M.modules()
  local found, root = {}, places.share .. "/lua/"
  local function walk(folder)
    for _, entry in ipairs(assert(sys.list(root .. folder))) do
      local file = folder .. "/" .. entry.name
      if entry.type == "directory" and not NOT[entry.name] then
        walk(file)
      elseif entry.name:find("%.lua$") and not NOT[entry.name] then
        local name = file:sub(1, -5):gsub("/init$", ""):gsub("/", ".")
        found[#found + 1] = { name = name, file = file, path = root .. file }
      end
    end
  end
  walk("agenthost")
  table.sort(found, function(a, b) return a.name < b.name end)
  return found
end

-- Its source, in which every function calls the global `called_now`, if there is one, first.
-- Numbers only: it may happen inside a string. Without those that only call a function of a table:
-- they look it up each time, so that one of an older version is as good.
local function marked(module, version, number)
  local lines = {}
  for line in (assert(sys.read_file(module.path, 1 << 20)) .. "\n"):gmatch("([^\n]*)\n") do
    local plain = line:find("^%s*%-%-") or line:find("function%b() *[%w_%. ]+[:%.][%w_]+%b() end")
    lines[#lines + 1] = plain and line or line:gsub("(function%s*[%w_%.:]*%b())",
      ("%%1 if called_now then called_now(%d, %d, %d) end "):format(version, number, #lines + 1))
  end
  return table.concat(lines, "\n")
end

--- Writes copies of modules.
---@param folder string
---@param modules support.marked.Module[]
---@param version integer `called_now` is called with it, the module's place in the list, and a line
function M.write(folder, modules, version)
  for number, module in ipairs(modules) do
    temp.write(folder .. "/" .. module.file, marked(module, version, number))
  end
end

return M
