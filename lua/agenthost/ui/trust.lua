--- Asks whether the user trusts the Lua code of the project they are in: see project.lua.
local project = require("agenthost.project")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

local function ask(question)
  sys.write_fd(2, question)
  local answer = io.read("l")
  return answer ~= nil and answer:lower():find("^%s*y") ~= nil
end

--- Puts the project's code first in the search order, if the user trusts it. Otherwise a line on
--- standard error says why it is not used.
---@param opts { trust?: boolean, headless?: boolean } trust: without a question; headless: there is
---  nobody to ask, as when standard input or output is no terminal
function M.open(opts)
  local can_ask = not opts.headless and sys.isatty(0) and sys.isatty(1)
  local dir, message = sys.realpath(".")
  if not dir then
    error({ message = "the working directory is gone: " .. message }, 0)
  end
  local note = project.open(dir, {
    trust = opts.trust,
    ask = can_ask and ask or nil,
  })
  if note then
    sys.write_fd(2, "agenthost: " .. text.clean(note) .. "\n")
  end
end

return M
