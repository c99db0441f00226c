--- What a reload has failed with, and when that is worth another try: reload.lua.
---
--- A version that has failed is tried again when something has changed on which it may depend: a
--- file that was read for it or was not there, or whatever else was loaded since. It is told again
--- only when it fails in another way.
local M = {}

---@class agenthost.Refusals
---@field loaded integer how often something was loaded, or has become there to be loaded
---@field seen table<string, string|false> path -> content, of what the try under way looks at;
---  false: it cannot be read
local Refusals = {}
Refusals.__index = Refusals

---@param read fun(path: string): string raises when a file cannot be read
---@return agenthost.Refusals
function M.new(read)
  return setmetatable({ by_path = {}, loaded = 0, seen = {}, read = read }, Refusals)
end

--- A try begins.
---@return table<string, string|false> seen to be filled
function Refusals:begin()
  self.seen = {}
  return self.seen
end

local function has_changed(self, seen)
  for path, before in pairs(seen) do
    local ok, content = pcall(self.read, path)
    if (ok and content) ~= before then
      return true
    end
  end
  return false
end

--- Those of these changes that are to be tried. Forgets what has not changed any more.
---@param changes table[] of Reload:look
---@param asked? boolean the user wants all of them
---@return table[]
function Refusals:due(changes, asked)
  local due, kept = {}, {}
  for _, change in ipairs(changes) do
    local one = self.by_path[change.path]
    kept[change.path] = one
    if asked or not one or one.version ~= change.version or one.loaded ~= self.loaded
      or has_changed(self, one.seen) then
      due[#due + 1] = change
    end
  end
  self.by_path = kept
  return due
end

--- The try has failed.
---@param change table
---@param text string what is to be told
---@param asked? boolean by the user
---@return boolean tell false when it was told of this version already
function Refusals:add(change, text, asked)
  local before = self.by_path[change.path]
  self.by_path[change.path] = { version = change.version, text = text, seen = self.seen,
    loaded = self.loaded }
  return asked or not before or before.version ~= change.version or before.text ~= text
end

--- Something was loaded.
---@param change? table what
function Refusals:clear(change)
  self.loaded = self.loaded + 1
  if change then
    self.by_path[change.path] = nil
  end
end

return M
