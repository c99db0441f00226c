-- The declarations in lua/agenthost/_meta say what the C modules are: both directions.
local places = require("agenthost.places")
local queue = require("agenthost.queue")
local sys = require("agenthost.sys")
local task = require("agenthost.task")
local temp = require("support.temp")

local META <const> = places.share .. "/lua/agenthost/_meta"
local C_MODULES <const> = { "guard", "http", "line", "markdown", "queue", "reactor", "sys", "task",
  "text" }

-- What a file declares: functions of the module, and methods of each class, as sets of names.
local function declared(name)
  local functions, classes = {}, {}
  local class, class_of = nil, {} -- local name -> class
  for line in io.lines(META .. "/" .. name .. ".lua") do
    class = line:match("^%-%-%-@class ([%w_.]+)") or class
    local variable = line:match("^local (%w+) = {}")
    if variable and variable ~= name then
      class_of[variable] = assert(class, variable .. " has no class")
      classes[class] = {}
    end
    local owner, separator, method = line:match("^function (%w+)([.:])([%w_]+)%(")
    if owner and separator == "." then
      assert.equal(name, owner, line)
      functions[method] = true
    elseif owner then
      classes[assert(class_of[owner], line)][method] = true
    end
  end
  return functions, classes
end

local function names_of(functions)
  local names = {}
  for name, value in pairs(functions) do
    if type(value) == "function" then
      names[name] = true
    end
  end
  return names
end

-- The methods of a handle type; nil when there are none.
local function methods_of(metatable)
  local index = metatable.__index
  if type(index) == "function" then -- agenthost.task: fields and methods
    index = select(2, debug.getupvalue(index, 1))
  end
  if type(index) == "table" and next(index) then
    return names_of(index)
  end
end

-- Lower-case name -> methods, for the handle types of one module that the registry holds.
local function real_classes(module)
  local found = {}
  for key, value in pairs(debug.getregistry()) do
    if type(key) == "string" and type(value) == "table" and key:find("^agenthost%." .. module) then
      found[key:lower()] = methods_of(value)
    end
  end
  return found
end

describe("_meta", function()
  for _, name in ipairs(C_MODULES) do
    it("declares the functions of agenthost." .. name, function()
      assert.same(names_of(require("agenthost." .. name)), (declared(name)))
    end)

    it("declares the handles of agenthost." .. name, function()
      require("agenthost." .. name)
      local _, classes = declared(name)
      local lower = {}
      for class, methods in pairs(classes) do
        lower[class:lower()] = methods
      end
      assert.same(real_classes(name), lower)
    end)
  end

  it("declares every C module, and nothing else", function()
    local expected = { ["places.lua"] = true }
    for _, name in ipairs(C_MODULES) do
      expected[name .. ".lua"] = true
    end
    local found = {}
    for _, entry in ipairs(assert(sys.list(META))) do
      found[entry.name] = true
    end
    assert.same(expected, found)
    for name in pairs(package.preload) do
      local module = name:match("^agenthost%.(.+)$")
      assert.is_true(module == nil or expected[module .. ".lua"], name)
    end
  end)

  it("is Lua that returns the module", function()
    for _, entry in ipairs(assert(sys.list(META))) do
      local chunk = assert(loadfile(META .. "/" .. entry.name))
      assert.equal("table", type(chunk()), entry.name)
    end
  end)

  -- The fields of a class, "?" included: name -> whether it is optional.
  local function fields(file, class)
    local found, inside = {}, false
    for line in io.lines(META .. "/" .. file .. ".lua") do
      if line:find("^%-%-%-@class ") then
        inside = line:match("^%-%-%-@class ([%w_.]+)") == class
      end
      local name, mark = line:match("^%-%-%-@field ([%w_]+)(%??)")
      if inside and name then
        found[name] = mark == "?"
      end
    end
    assert(next(found), class)
    return found
  end

  local function assert_shape(shape, value)
    for name in pairs(value) do
      assert.is_not_nil(shape[name], "not declared: " .. name)
    end
    for name, optional in pairs(shape) do
      assert.is_true(optional or value[name] ~= nil, "not there: " .. name)
    end
  end

  it("declares the fields of places, tasks, states and notices", function()
    assert_shape(fields("places", "agenthost.places"), places)
    local directory = temp.directory()
    task.set_dir(directory)
    local q <close> = queue.new()
    local one = assert(task.run("exit 3", { queue = q, label = "a label" }))
    local _, state = one:wait()
    for name in pairs(fields("task", "agenthost.Task")) do
      assert.equal("string", type(one[name]), name)
    end
    assert_shape(fields("task", "agenthost.TaskState"), state)
    local shape = fields("queue", "agenthost.TaskNotice")
    shape.seq = false
    assert_shape(shape, q:drain()[1])
    temp.remove(directory)
  end)
end)
