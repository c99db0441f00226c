--- The names of agenthost's own commands, which no plugin can take: name -> true. What they do is
--- ui/commands.lua, which checks that these are its names.
local M = {}

for name in ([[help tasks usage kill output last model tools plugins prompt compact permissions
  reload clear sessions resume edit quit]]):gmatch("%a+") do
  M[name] = true
end

return M
