---@meta agenthost.places

---Where this agenthost is. Filled in by src/vm.c; all paths are absolute.
---@class agenthost.places
---@field share string  the installed files: lua, plugins, examples below it
---@field config string  the user's: $XDG_CONFIG_HOME/agenthost; need not exist
---@field project? string  the project's folder .agenthost, when its code is trusted; comes before config
---@field untrusted? string  the same, when it is not
---@field version string  "1.2.3"
local places = {}

return places
