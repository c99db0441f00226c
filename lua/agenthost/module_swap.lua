--- Putting a new version of a Lua module in place of the one that runs: module_reload.lua.
---
--- What others hold of a module stays what it is, and gets the new contents: its table, the tables
--- in it, its classes. Functions of it that other modules have taken are replaced there. Marks and
--- caches, local tables that are born empty with a metatable, stay with what is in them; whatever
--- else a module keeps in its local variables begins anew.
local M = {}

local DEPTH <const> = 4 -- levels of tables in a module that keep their identity

-- The file that most functions of a module come from: what it has taken from others is not its own.
local function source_of(module)
  local counts, best = {}, nil
  local function count(table, depth)
    for _, value in next, table do
      if type(value) == "function" then
        local source = debug.getinfo(value, "S").source
        counts[source] = (counts[source] or 0) + 1
        best = counts[source] > (counts[best] or 0) and source or best
      elseif type(value) == "table" and depth > 1 then
        count(value, depth - 1)
      end
    end
  end
  count(module, 2)
  return best
end

local function all_modules()
  local set = {}
  for _, module in pairs(package.loaded) do
    set[module] = true
  end
  return set
end

-- What a module is made of, from the outer things in: its own tables by name (that of the local
-- variable, or ".field.field." in the module), and its own functions. `like`: the tables of another
-- version; only what has the same name there is looked into.
local function parts(module, like)
  local names, functions, seen, queue = {}, {}, { [module] = true }, {}
  local source, modules = source_of(module), all_modules()
  local function see(value, name, depth)
    if seen[value] then
      return
    elseif type(value) == "function" and debug.getinfo(value, "S").source == source then
      seen[value] = true
      functions[#functions + 1], queue[#queue + 1] = value, { value }
    elseif type(value) == "table" and name and not modules[value]
      and not (like and not like[name]) then
      seen[value] = true
      names[name] = names[name] or value
      queue[#queue + 1] = { value, name, depth }
    end
  end
  local function look_into(table, name, depth)
    for key, value in next, table do
      local is_field = depth > 0 and name:sub(1, 1) == "." and type(key) ~= "table"
      see(value, is_field and (name .. tostring(key) .. ".") or nil, depth - 1)
    end
  end
  local function look_at(fn)
    local index = 1
    local name, value = debug.getupvalue(fn, index)
    while name do
      if name ~= "_ENV" then
        see(value, name, 0)
      end
      index = index + 1
      name, value = debug.getupvalue(fn, index)
    end
  end
  look_into(module, ".", DEPTH)
  local at = 1
  while queue[at] do
    if type(queue[at][1]) == "function" then
      look_at(queue[at][1])
    else
      look_into(table.unpack(queue[at], 1, 3))
    end
    at = at + 1
  end
  return names, functions
end

-- Whether a table of the old version stays, and with which contents. Classes and the tables in the
-- module itself get the new ones, since others hold them; marks and caches keep theirs.
local function fate(name, old, new)
  local is_class = rawget(new, "__index") == new and rawget(old, "__index") == old
  if rawequal(old, new) then
    return nil
  elseif is_class or name:sub(1, 1) == "." then
    return "filled"
  end
  return next(new) == nil and debug.getmetatable(new) and "kept" or nil
end

local function fill(old, new, stays)
  for key in next, old do
    old[key] = nil
  end
  for key, value in next, new do
    rawset(old, key, stays[value] or value)
  end
  debug.setmetatable(old, debug.getmetatable(new))
end

-- Puts change[value] in the place of each value that functions and tables hold.
local function replace(functions, tables, change)
  for _, fn in ipairs(functions) do
    local index = 1
    local name, value = debug.getupvalue(fn, index)
    while name do
      if value ~= nil and change[value] then
        debug.setupvalue(fn, index, change[value])
      end
      index = index + 1
      name, value = debug.getupvalue(fn, index)
    end
  end
  for _, table in pairs(tables) do
    for key, value in next, table do
      if change[value] then
        rawset(table, key, change[value])
      end
    end
  end
end

-- Which functions take the place of which.
local function note_functions(moved, old, new)
  for key, value in next, old do
    local other = rawget(new, key)
    if type(value) == "function" and type(other) == "function" and other ~= value then
      moved[value] = other
    end
  end
end

--- Puts the contents of one module into the tables of the other. Cannot fail.
---@param old table the module that runs
---@param new table a new version of it, just loaded
---@param moved table<function, function> gets which functions of it have taken the place of which
function M.adopt(old, new, moved)
  local names, functions = parts(new)
  local old_names = parts(old, names)
  local stays, filled = { [new] = old }, { [new] = true }
  for name, value in pairs(names) do
    local place = old_names[name]
    local what = place and not stays[value] and fate(name, place, value)
    if what then
      stays[value], filled[value] = place, what == "filled" or nil
    end
  end
  replace(functions, {}, stays)
  for from in pairs(filled) do
    note_functions(moved, stays[from], from)
    fill(stays[from], from, stays)
  end
end

--- Replaces the functions that a module has taken from others, in its local variables and tables.
---@param module table
---@param moved table<function, function> of `adopt`
function M.follow(module, moved)
  local names, functions = parts(module)
  names[1] = module
  replace(functions, names, moved)
end

return M
