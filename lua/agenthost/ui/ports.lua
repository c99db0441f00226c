--- Which TCP ports the processes of tasks listen on, as /proc tells. For a person who looks: what
--- belongs to other users, or to another network namespace, is not seen.
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")

local M = {}

local TABLE_BYTES <const> = 1024 * 1024 -- of /proc/net/tcp: some 7,000 sockets
local LISTEN <const> = "0A"

-- inode of the socket -> port
local function listening()
  local ports, some = {}, false
  for _, name in ipairs({ "tcp", "tcp6" }) do
    local content = sys.read_file("/proc/net/" .. name, TABLE_BYTES) or ""
    for port, state, rest in content:gmatch("\n *%d+: %x+:(%x+) %x+:%x+ (%x%x) ([^\n]*)") do
      local inode = state == LISTEN and rest:match("^%S+ %S+ %S+ +%d+ +%d+ (%d+)")
      if inode then
        ports[math.tointeger(inode)], some = tonumber(port, 16), true
      end
    end
  end
  return some and ports or nil
end

-- The ports of one process, into a set.
local function add_ports(pid, ports, set)
  local dir = "/proc/" .. pid .. "/fd"
  for _, entry in ipairs(sys.list(dir, defaults.ui.descriptors) or {}) do
    local stat = sys.stat(dir .. "/" .. entry.name)
    local port = stat and stat.type == "socket" and ports[stat.inode]
    if port then
      set[port] = true
    end
  end
end

local function sorted(set)
  local list = {}
  for port in pairs(set) do
    list[#list + 1] = port
  end
  table.sort(list)
  return list
end

--- The ports of sessions of processes; each task has one.
---@param leaders integer[] process ids of their leaders
---@return table<integer, integer[]> ports by leader; none: no entry
function M.of(leaders)
  local ports = #leaders > 0 and listening()
  local sets, found = {}, {}
  for _, leader in ipairs(leaders) do
    sets[leader] = {}
  end
  for _, entry in ipairs(ports and sys.list("/proc", defaults.ui.processes) or {}) do
    local pid = entry.name:match("^%d+$")
    local stat = pid and sys.read_file("/proc/" .. pid .. "/stat", 1024)
    local session = stat and stat:match("^.*%) %a %d+ %d+ (%d+)")
    local set = sets[math.tointeger(session)]
    if set then
      add_ports(pid, ports, set)
    end
  end
  for leader, set in pairs(sets) do
    found[leader] = next(set) and sorted(set) or nil
  end
  return found
end

return M
