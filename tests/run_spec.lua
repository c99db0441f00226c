-- Runs busted inside agenthost, so that the C modules are real:
--   agenthost tests/run_spec.lua [busted's options] FILE...
-- Lua's own search path has busted for 5.4 (Debian: lua-busted).
local sys = require("agenthost.sys")

local tests = sys.realpath(arg[0]):match("^(.*)/[^/]+$")
package.path = tests .. "/?.lua;" .. package.path
AGENTHOST_ROOT = tests:match("^(.*)/[^/]+$") -- luacheck: ignore 111

require("agenthost.guard").limit_memory(8 << 30, 0) -- specs read long outputs in one piece

local ok, runner = pcall(require, "busted.runner")
if not ok then
  io.stderr:write("busted for Lua 5.4 is missing: apt-get install lua-busted\n")
  os.exit(1)
end
table.insert(arg, 1, "--helper=" .. tests .. "/support/leaks.lua")
runner({ standalone = false })
