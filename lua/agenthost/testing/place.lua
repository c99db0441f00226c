--- Where a test works: directories of its own, and what has to be undone when it is over. There is
--- one test at a time in a process, and `current` is its place.
local sys = require("agenthost.sys")

---@class agenthost.testing.Place
---@field base_dir string where relative paths in the test start: the folder of its file
---@field dir string all that it writes
local Place = {}
Place.__index = Place

local M = {}

local MAX_DEPTH <const> = 64 -- of directories that are removed

local current

local function remove(path, depth)
  for _, entry in ipairs(depth <= MAX_DEPTH and sys.list(path) or {}) do
    local child = path .. "/" .. entry.name
    if entry.type == "directory" then
      remove(child, depth + 1)
    else
      os.remove(child)
    end
  end
  os.remove(path)
end

--- Opens the place of a test; there may be only one.
---@param base_dir string
---@return agenthost.testing.Place
function M.open(base_dir)
  assert(not current, "a test is under way")
  local dir = ("%s/agenthost-test-%s"):format(sys.getenv("TMPDIR") or "/tmp", sys.random_hex(8))
  assert(sys.mkdir_private(dir))
  current = setmetatable({ base_dir = base_dir, dir = assert(sys.realpath(dir)), count = 0,
    deferred = {} }, Place)
  return current
end

--- The place of the test under way; raises at the caller of its caller outside one.
---@return agenthost.testing.Place
function M.current()
  return current or error("agenthost.testing works inside tests only: run them with agenthost test",
    3)
end

--- A new, empty directory.
---@param name string
---@return string path
function Place:directory(name)
  self.count = self.count + 1
  local path = ("%s/%d-%s"):format(self.dir, self.count, name)
  assert(sys.mkdir_private(path))
  return path
end

--- An absolute path of one that a test names.
---@param path string
---@return string
function Place:resolve(path)
  return path:sub(1, 1) == "/" and path or self.base_dir .. "/" .. path:gsub("^%./", "")
end

--- Does something when the test is over; what came last comes first.
---@param fn fun()
function Place:defer(fn)
  table.insert(self.deferred, fn)
end

--- Undoes everything. Returns the first error.
---@return string? problem
function Place:close()
  local problem
  while #self.deferred > 0 do
    local ok, err = pcall(table.remove(self.deferred))
    problem = problem or not ok and tostring(err) or nil
  end
  return problem
end

--- Removes the directories: behind `close`, when nothing works in them any more.
function Place:remove()
  current = nil
  remove(self.dir, 1)
end

return M
