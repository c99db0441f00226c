-- A busted helper: what a file of specs has opened is closed when it ends. Counted are descriptors
-- (but sockets: connections are kept for reuse) and children (but the supervisor).
local busted = require("busted")
local lfs = require("lfs")

local function descriptors()
  local found = {}
  for name in lfs.dir("/proc/self/fd") do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
    -- The listing's own descriptor is gone by now; eventfds and a ledger are the host's.
    if target and not target:find("^socket:") and not target:find("eventfd")
      and not target:find("/proc/") and not target:find("/tasks%.jsonl") then
      found[#found + 1] = name .. " -> " .. target
    end
  end
  return found
end

local function children()
  local pid = lfs.symlinkattributes("/proc/self", "target")
  local file = assert(io.open(("/proc/%s/task/%s/children"):format(pid, pid)))
  local found = {}
  for child in file:read("a"):gmatch("%d+") do
    local comm = io.open("/proc/" .. child .. "/comm")
    local name = comm and comm:read("l") or "?"
    if comm then
      comm:close()
    end
    if not name:find("^agenthost%-supe") then
      found[#found + 1] = child .. " " .. name
    end
  end
  file:close()
  return found
end

local before

busted.subscribe({ "suite", "start" }, function()
  before = #descriptors()
end)

busted.subscribe({ "suite", "end" }, function()
  collectgarbage()
  collectgarbage()
  local after, left = descriptors(), children()
  if #after > before or #left > 0 then
    io.stderr:write(("left open: %d descriptors at first, now %s; children: %s\n"):format(
      before, table.concat(after, ", "), table.concat(left, ", ")))
    os.exit(1)
  end
end)
