--- Compiling Lua that was read already, as loadfile does with a file: text only, and some editors
--- put a mark in front of UTF-8; the same line may begin with #!.
local M = {}

--- Lines keep their numbers.
---@param content string
---@param path string for messages
---@param env? table default: the globals
---@return function? chunk nil and a message with file and line when it does not compile
---@return string? message
function M.load(content, path, env)
  local code = content:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  return load(code, "@" .. path, "t", env or _G)
end

return M
