--- JSON text to Lua values and back: strict (RFC 8259), byte-stable, whole numbers stay integers.
---
--- Lua, but for the strings, in which most of the bytes are (agenthost.text). What lua-cjson 2.1.0
--- gets wrong (floats only, `[]` as `{}`, raw control characters, "1.", text after a NUL) can only
--- be put right by reading the text again, and that measured slower than this. It lends its `null`.

local cjson = require("cjson")
local text_module = require("agenthost.text")

local byte, find, format, gsub = string.byte, string.find, string.format, string.gsub
local match, sub = string.match, string.sub
local math_type, tointeger = math.type, math.tointeger
local quote, string_end, unquote = text_module.quote, text_module.quote_end, text_module.unquote

local M = {}

---Stands for `null`, which a Lua table cannot hold. True in a condition, so compare with it.
M.null = cjson.null

local MAX_DEPTH <const> = 512
local MAX_EXACT <const> = 1 << 53 -- up to here every whole number has a double of its own

local ARRAY <const> = { __name = "json.array" }
local OBJECT <const> = { __name = "json.object" }
local RAW <const> = { __name = "json.raw", __tostring = function(raw) return raw.text end }

local LITERALS <const> = { ["true"] = true, ["false"] = false, null = M.null }

---The next byte that is not white space (nil at the end of the text), and its place.
local function token(text, pos)
  local c = byte(text, pos)
  if c == 32 or c == 10 or c == 13 or c == 9 then
    pos = match(text, "^[ \n\r\t]+()", pos)
    c = byte(text, pos)
  end
  return c, pos
end

local function first_token(text)
  return token(text, byte(text) == 0xEF and match(text, "^\xEF\xBB\xBF()") or 1)
end

---The integer equal to the float `n`, where that loses nothing.
local function as_integer(n)
  local i = tointeger(n)
  return i and i >= -MAX_EXACT and i <= MAX_EXACT and i or nil
end

-- The decode_* functions return the value and the place after it; or nil, nil and what is wrong.
-- Not by error() and pcall(): an error that a hook raises in here, to cancel, has to get through.

local function fail(pos, what)
  return nil, nil, format("byte %d: %s", pos, what)
end

local function expected(text, pos, what)
  local c = byte(text, pos)
  local found = not c and "the end of the text"
    or format(c > 32 and c < 127 and "'%c'" or "byte 0x%02X", c)
  return fail(pos, "expected " .. what .. ", found " .. found)
end

local function decode_string(text, pos)
  local value, after, why = unquote(text, pos)
  if value then return value, after end
  return fail(after, why)
end

local function decode_number(text, pos)
  local stop = match(text, "^-?[1-9]%d*()", pos) or match(text, "^-?0()", pos)
  if not stop then return expected(text, pos + 1, "a digit") end
  local c = byte(text, stop)
  if c == 46 or c == 69 or c == 101 then
    stop = match(text, "^%.%d+()", stop) or stop
    stop = match(text, "^[eE][+-]?%d+()", stop) or stop
  end
  local n = tonumber(sub(text, pos, stop - 1)) -- digits beyond 64 bits give a float
  if math_type(n) == "integer" then return n, stop end
  if not n or n - n ~= 0 then return fail(pos, "number out of range") end
  return as_integer(n) or n, stop
end

local decode_array, decode_object

local function decode_value(text, pos, c, depth)
  if c == 34 then return decode_string(text, pos) end
  if c == 123 then return decode_object(text, pos, depth + 1) end
  if c == 91 then return decode_array(text, pos, depth + 1) end
  if c == 45 or c and c >= 48 and c <= 57 then return decode_number(text, pos) end
  local word = match(text, "^%a*", pos)
  if LITERALS[word] == nil then return expected(text, pos, "a value") end
  return LITERALS[word], pos + #word
end

function decode_array(text, pos, depth)
  if depth > MAX_DEPTH then return fail(pos, "nested deeper than 512 levels") end
  local t, n = setmetatable({}, ARRAY), 0
  local c, at = token(text, pos + 1)
  if c == 93 then return t, at + 1 end
  while true do
    local value, stop, why = decode_value(text, at, c, depth)
    if not stop then return nil, nil, why end
    n = n + 1
    t[n] = value
    c, at = token(text, stop)
    if c == 93 then return t, at + 1 end
    if c ~= 44 then return expected(text, at, "',' or ']'") end
    c, at = token(text, at + 1)
  end
end

function decode_object(text, pos, depth)
  if depth > MAX_DEPTH then return fail(pos, "nested deeper than 512 levels") end
  local t = {}
  local c, at = token(text, pos + 1)
  if c == 125 then return t, at + 1 end
  while true do
    if c ~= 34 then return expected(text, at, "a key in quotes") end
    local key, stop, why = decode_string(text, at)
    if not stop then return nil, nil, why end
    c, at = token(text, stop)
    if c ~= 58 then return expected(text, at, "':'") end
    c, at = token(text, at + 1)
    local value
    value, stop, why = decode_value(text, at, c, depth)
    if not stop then return nil, nil, why end
    t[key] = value
    c, at = token(text, stop)
    if c == 125 then return t, at + 1 end
    if c ~= 44 then return expected(text, at, "',' or '}'") end
    c, at = token(text, at + 1)
  end
end

---Decode one JSON text. A byte order mark before it is skipped; of equal keys the last one wins.
---Whole numbers become integers (`1.0` too), others and those beyond 64 bits floats; beyond the
---range of a double is an error. `[...]` gives a table marked as array, `{...}` a plain one, `null`
---gives `json.null`. Broken UTF-8 and escaped lone surrogates in strings become U+FFFD. Nesting
---deeper than 512 is an error.
---@param text string anything but a string raises
---@return any value never nil, unless it failed
---@return string? message where (byte offset, counted from 1) and what
---@return "JSON"? code
function M.decode(text)
  if type(text) ~= "string" then error("json.decode: expected a string, got " .. type(text), 2) end
  local c, pos = first_token(text)
  local value, stop, why = decode_value(text, pos, c, 0)
  if stop then
    c, pos = token(text, stop)
    if not c then return value end
    why = select(3, expected(text, pos, "the end of the text"))
  end
  return nil, "invalid JSON at " .. why, "JSON"
end

---The text of a float: a whole one as integer, others with the digits it takes to get it back.
local function float_text(n)
  if n - n ~= 0 then return nil, "cannot write " .. (n ~= n and "NaN" or "infinity") end
  local whole = as_integer(n)
  if whole then return whole end
  local text = format("%.15g", n)
  if tonumber(text) ~= n then text = format("%.16g", n) end
  if tonumber(text) ~= n then text = format("%.17g", n) end
  return (gsub(text, "[^%de+-]+", ".")) -- whatever the decimal point of the locale is
end

local function bytewise(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function is_array(t)
  local mt = getmetatable(t)
  return mt == ARRAY or mt ~= OBJECT and rawget(t, 1) ~= nil
end

---How many members a table has and, for an object, their keys in order; or nil, nil and why not.
local function layout(t)
  local keys, count, integers = {}, 0, 0
  for key in next, t do
    if type(key) == "string" then
      count = count + 1
      keys[count] = key
    elseif math_type(key) == "integer" then
      integers = integers + 1
    else
      return nil, nil, "table has a key of type " .. (math_type(key) or type(key))
    end
  end
  if count > 0 and integers > 0 then return nil, nil, "table has both array and object keys" end
  if is_array(t) then
    if count > 0 then return nil, nil, "array has object keys" end
    return integers -- put() notices holes
  end
  if integers > 0 then
    return nil, nil, getmetatable(t) == OBJECT and "object has integer keys" or "array has no [1]"
  end
  -- `<` follows the locale; only where that means comparing bytes does Z come before a.
  if "Z" < "a" then table.sort(keys) else table.sort(keys, bytewise) end
  return count, keys
end

---Raise for the value at path[1..depth]. Each level of nesting is one call of put().
local function refuse(path, depth, why)
  local where = ""
  for i = 1, math.min(depth, 10) do
    local key = path[i]
    local plain = type(key) == "string" and find(key, "^[%a_][%w_]*$")
    where = where .. (plain and (i > 1 and "." or "") .. key
      or "[" .. (type(key) == "string" and quote(key) or key) .. "]")
  end
  if depth > 10 then where = where .. "..." end
  error("json.encode: " .. where .. (depth > 0 and ": " or "") .. why, depth + 4)
end

---Append the text of `value`, found at path[1..depth], after buf[n]; returns the new n.
local function put(buf, n, value, depth, path)
  local kind, text, why = type(value), nil, nil
  if kind == "string" then
    text = quote(value)
  elseif kind == "number" then
    if math_type(value) == "integer" then text = value else text, why = float_text(value) end
  elseif kind == "boolean" then
    text = value and "true" or "false"
  elseif value == M.null then
    text = "null"
  elseif kind ~= "table" then
    local hole = kind == "nil" and depth > 0
    why = hole and "hole in an array" or "cannot write a value of type " .. kind
  elseif getmetatable(value) == RAW then
    text = value.text
  elseif depth == MAX_DEPTH then
    why = "nested deeper than 512 levels, or within itself"
  end
  if why then refuse(path, depth, why) end
  if text then
    buf[n + 1] = text
    return n + 1
  end

  local count, keys, misfit = layout(value)
  if not count then refuse(path, depth, misfit) end
  buf[n + 1] = keys and "{" or "["
  n = n + 1
  for i = 1, count do
    local key = i
    if i > 1 then
      buf[n + 1] = ","
      n = n + 1
    end
    if keys then
      key = keys[i]
      buf[n + 1] = quote(key)
      buf[n + 2] = ":"
      n = n + 2
    end
    path[depth + 1] = key
    n = put(buf, n, rawget(value, key), depth + 1, path)
  end
  buf[n + 1] = keys and "}" or "]"
  return n + 1
end

---Encode a value: always the same bytes for the same content. Object keys in the order of their
---bytes, no white space, whole floats as integers, broken UTF-8 as U+FFFD. A table is an array when
---marked so or when it has [1]; other empty tables are `{}`. Raises at the caller, naming the path,
---for NaN and infinity, functions and the like, tables with holes or with both kinds of keys, and
---nesting deeper than 512 (so for cycles too). Metamethods are not called.
---@param value any
---@return string text
function M.encode(value)
  if type(value) == "string" then return quote(value) end -- it may be long
  local buf = {}
  put(buf, 0, value, 0, {})
  return table.concat(buf)
end

local function mark(t, mt, name)
  if t == nil then t = {} end
  if type(t) ~= "table" then error(name .. ": expected a table, got " .. type(t), 3) end
  local old = getmetatable(t)
  if old and old ~= ARRAY and old ~= OBJECT then error(name .. ": the table has a metatable", 3) end
  return (setmetatable(t, mt))
end

---Mark a table as array, so that it encodes as `[]` when empty. Raises for a foreign metatable.
---@generic T: table
---@param t? T default a new table
---@return T t the same table
function M.array(t) return (mark(t, ARRAY, "json.array")) end

---Mark a table as object, so that integer keys in it are an error.
---@generic T: table
---@param t? T default a new table
---@return T t the same table
function M.object(t) return (mark(t, OBJECT, "json.object")) end

---Whether `json.encode` takes this for an array: a table marked as one, or with [1] and not marked.
---@param t any
---@return boolean
function M.is_array(t) return type(t) == "table" and is_array(t) end

---A value that `json.encode` writes as the given text, byte for byte. The caller answers for it
---being valid JSON. `tostring` gives the text back.
---@param text string anything but a string raises
---@return table raw
function M.raw(text)
  if type(text) ~= "string" then error("json.raw: expected a string, got " .. type(text), 2) end
  return setmetatable({ text = text }, RAW)
end

---The place after the value that begins at `pos` with byte `c`, or nil.
local function skip(text, pos, c)
  if c ~= 34 and c ~= 91 and c ~= 123 then return match(text, "^[%w.+-]+()", pos) end
  local level = 0
  repeat
    pos = find(text, '["%[%]{}]', pos)
    c = pos and byte(text, pos)
    if c == 34 then pos = string_end(text, pos) end
    if not pos then return nil end
    if c ~= 34 then level = level + ((c == 91 or c == 123) and 1 or -1) end
    pos = pos + 1
  until level <= 0
  return pos
end

---Begin and end (the place after it) of the member or element `key` of what begins at `pos`.
local function locate(text, pos, key)
  local in_object = type(key) == "string"
  local c, first, stop = byte(text, pos), nil, nil
  if c ~= (in_object and 123 or 91) then return nil end
  local index = 0
  repeat
    index = index + 1
    c, pos = token(text, pos + 1)
    local name = index
    if in_object then
      local quote_end = c == 34 and string_end(text, pos)
      if not quote_end then break end
      name = unquote(text, pos)
      c, pos = token(text, quote_end + 1)
      if c ~= 58 then break end
      c, pos = token(text, pos + 1)
    end
    local after = skip(text, pos, c)
    if not after then break end
    if name == key then
      first, stop = pos, after
      if not in_object then break end -- of equal keys the last one wins, as in json.decode
    end
    c, pos = token(text, after)
  until c ~= 44
  return first, stop
end

---The text of one value inside a valid JSON text, byte for byte, found without decoding.
---@param text string valid JSON; in anything else the result is nil or some part of it
---@param key string|integer member of an object, or element of an array (from 1); others raise
---@param ... string|integer further steps down
---@return string? raw nil when the path leads nowhere
function M.slice(text, key, ...)
  if type(text) ~= "string" then error("json.slice: expected a string, got " .. type(text), 2) end
  local _, pos = first_token(text)
  local stop
  local steps = table.pack(key, ...)
  for i = 1, steps.n do
    local step = steps[i]
    if type(step) ~= "string" and math_type(step) ~= "integer" then
      error("json.slice: a step must be a string or an integer, got " .. type(step), 2)
    end
    if pos then pos, stop = locate(text, pos, step) end
  end
  return pos and sub(text, pos, stop - 1) or nil
end

---The texts of all elements of an array inside a valid JSON text, each as `slice` gives it. For a
---long array this is one look at it, and slice() for each element is many.
---@param text string valid JSON
---@param ... string|integer steps down to the array; none: the text is one
---@return string[] elements empty when there is no array at that place
function M.elements(text, ...)
  local list = select("#", ...) == 0 and text or M.slice(text, ...) or ""
  local elements, c, pos = {}, first_token(list)
  if c ~= 91 then return elements end
  repeat
    c, pos = token(list, pos + 1)
    local after = c and skip(list, pos, c)
    if not after then break end
    elements[#elements + 1] = sub(list, pos, after - 1)
    c, pos = token(list, after)
  until c ~= 44
  return elements
end

return M
