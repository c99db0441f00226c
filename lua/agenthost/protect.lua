--- Calls into code of plugins and scripts: bounded, and with errors that point at the user's line.
---
--- Between two waits such code may run for defaults.guard.seconds; the memory of the Lua state is
--- bounded. This keeps a mistake from taking the host along. It is no sandbox: plugins are code
--- that the user trusts, and they have all the rights of the user.
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local guard = require("agenthost.guard")
local json = require("agenthost.json")
local places = require("agenthost.places")

local M = {}

local OURS <const> = "^" .. (places.share .. "/lua/agenthost/"):gsub("%p", "%%%0")
local NO_MEMORY <const> = "not enough memory"

-- The place of the innermost frame of user code, from `level` on: "file:line".
local function users_frame(level)
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return nil
    elseif info.what ~= "C" and info.source:sub(1, 1) == "@"
      and not info.source:sub(2):find(OURS) then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
    level = level + 1
  end
end

-- Whether a folded traceback has a frame of the user's.
local function has_users_frame(frames)
  for line in frames:gmatch("[^\n]+") do
    if not line:find("^\t%(") and not line:find("^\t%[C%]") and line ~= "stack traceback:" then
      return true
    end
  end
  return false
end

--- A traceback in which neighbouring frames of agenthost's own are one line; without the traceback
--- when no other frame is in it and the message says already where in the user's files it was.
---@param traceback string
---@return string
function M.fold(traceback)
  local out, folded = {}, 0
  for line in (traceback .. "\n\0"):gmatch("([^\n]*)\n") do
    local own = line:find("^\t[^:]*lua/agenthost/") or folded > 0 and line:find("^\t%[C%]: ")
    folded = own and folded + 1 or 0
    if not own then
      out[#out + 1] = line
    elseif folded == 1 then
      out[#out + 1] = "\t(agenthost's own; --verbose shows it)"
    end
  end
  local all = table.concat(out, "\n")
  local head, frames = all:match("^(.-)\nstack traceback:\n(.*)$")
  local placed = head and head:find(":%d+: ") and not head:find("lua/agenthost/[^\n]*:%d+: ")
  if placed and not has_users_frame(frames) then
    return head
  end
  return all
end

-- What `require` says, which is a line for each file it has tried: the folders, on one line.
local function shorten(err)
  local head, name, tried = err:match("^(.-module '([^'\n]+)' not found):(\n.*)$")
  if not head then
    return err
  end
  local called = err:match(" %(called at ([^\n]*)%)$") -- our `require` of a folder is in between
  head = called and head:gsub("^[^\n:]*lua/agenthost/[^\n:]*:%d+:", called .. ":") or head
  local ending, folders = "/" .. name:gsub("%.", "/") .. ".lua", {}
  for path in tried:gmatch("no file '([^'\n]*)'") do
    if path:sub(-#ending) == ending then
      folders[#folders + 1] = path:sub(1, -#ending - 1)
    end
  end
  return ("%s in %s (a plugin that is a folder with init.lua may require the files beside it)")
    :format(head, table.concat(folders, ", "))
end

local function handler(err)
  if type(err) ~= "string" then
    return { err = err, traceback = debug.traceback("", 2) }
  end
  -- Without a place it is meant for people as it is; a place of ours says little to the user.
  local frame = err:find("^[^\n:]*lua/agenthost/[^\n:]*:%d+: ") and users_frame(3)
  if frame then
    err = ("%s (called at %s)"):format(err, frame)
  end
  return { err = err, traceback = debug.traceback("", 2) }
end

--- What to say when memory runs out.
---@return string
function M.no_memory()
  local _, limit = guard.memory()
  return ("not enough memory: the Lua state's limit of %d MiB is reached "
    .. "(defaults.guard.memory, or AGENTHOST_MEMORY in MiB)"):format((limit or 0) >> 20)
end

--- The same error, in more words where it is about memory.
---@param err any
---@return any
function M.explain(err)
  return err == NO_MEMORY and M.no_memory() or type(err) == "string" and shorten(err) or err
end

-- What stands for an error whose text is made by code of the user's.
local Said = { __tostring = function(said) return said.message end }

-- An error that can be shown without running code of the user's: that is done here, bounded.
local function shown(err)
  local meta = debug.getmetatable(err)
  local show = type(err) ~= "string" and type(meta) == "table" and rawget(meta, "__tostring")
  local place = type(show) == "function" and debug.getinfo(show, "S")
  if not show or async.is_cancellation(err) -- known by what it is
    or place and (place.what == "C" or place.source:find("lua/agenthost/", 1, true)) then
    return err
  end
  local ok, text = guard.xpcall(defaults.guard.seconds, "the text of an error",
    function(other) return other end, tostring, err)
  return setmetatable({ message = ok and text or ("a %s was raised, and its __tostring fails: %s")
    :format(type(err), type(text) == "string" and text or type(text)) }, Said)
end

local function results(ok, first, ...)
  if ok then
    return true, first, ...
  elseif type(first) == "table" and first.traceback then
    return false, M.explain(shown(first.err)), first.traceback
  end
  return false, M.explain(first), "" -- memory ran out: there is no way to say where
end

--- Calls code of a plugin's. Its time begins here, and anew after each wait.
---@param owner string whose code it is, for messages
---@param fn function
---@return boolean ok
---@return any ... what fn returned; or the error, which names the user's file and line, and a
---  traceback
function M.call(owner, fn, ...)
  return results(guard.xpcall(defaults.guard.seconds, owner, handler, fn, ...))
end

--- What was raised, in words. Of a table its `message` counts, or all of it.
---@param err any as `call` returns it
---@return string
function M.error_text(err)
  if err == nil then
    return "it raised an error without a message"
  elseif type(err) ~= "table" or (debug.getmetatable(err) or {}).__tostring then
    return tostring(err)
  elseif type(rawget(err, "message")) == "string" then
    return rawget(err, "message")
  end
  local ok, encoded = pcall(json.encode, err)
  return ok and next(err) ~= nil and encoded or "it raised a table without `message`"
end

local function raise(owner, ok, err, ...)
  if ok then
    return err, ...
  elseif type(err) ~= "string" and not async.is_cancellation(err) then
    err = owner .. ": " .. M.error_text(err)
  elseif type(err) == "string" and not err:find(owner:match("([^ ()]+)%)?$"), 1, true) then
    err = owner .. ": " .. err
  end
  error(err, 0)
end

--- Like `call`, and raises the error, with the owner before it unless it names the same place.
---@param owner string whose code it is; its last word is a file, where there is one
---@param fn function
function M.run(owner, fn, ...)
  return raise(owner, M.call(owner, fn, ...))
end

--- Bounds the memory of the Lua state, as the defaults and the environment say.
---@param mebibytes? string of AGENTHOST_MEMORY
---@return string? message what is wrong with it
function M.limit_memory(mebibytes)
  local limit = defaults.guard.memory
  if mebibytes and mebibytes ~= "" then
    local number = math.tointeger(tonumber(mebibytes))
    if not number or number < 16 or number > 1 << 20 then
      return ("AGENTHOST_MEMORY: expected MiB, a whole number from 16 to %d, got '%s'"):format(
        1 << 20, mebibytes)
    end
    limit = number << 20
  end
  guard.limit_memory(limit, defaults.guard.reserve)
end

return M
