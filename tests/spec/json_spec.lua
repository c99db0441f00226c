local json = require "agenthost.json"

local FFFD <const> = "\u{FFFD}"
local DEPTH <const> = 512

---The message of the error that `fn` raises.
local function raised(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  return message
end

---The message of an encode error, which must carry this file's place of the call.
local function encode_error(value)
  local line
  local message = raised(function()
    line = debug.getinfo(1, "l").currentline + 1
    local text = json.encode(value)
    return text
  end)
  local where, rest = message:match("^(.-json_spec%.lua:%d+): json%.encode: (.*)$")
  assert.is_truthy(where, "not at the caller's line: " .. message)
  assert.equal(line, tonumber(where:match("(%d+)$")))
  return rest
end

local function refused(text)
  local value, message, code = json.decode(text)
  assert.is_nil(value, "accepted: " .. text)
  assert.equal("JSON", code)
  assert.matches("^invalid JSON at byte %d+: ", message)
  return message
end

---Equal in value and in the kind of numbers, tables and marks.
local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b and math.type(a) == math.type(b)
  end
  if json.is_array(a) ~= json.is_array(b) then return false end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function nest(depth, open, close, inner)
  return open:rep(depth) .. (inner or "") .. close:rep(depth)
end

---A generator of numbers that does not touch the state of math.random.
local function new_random(seed)
  local state = seed
  return function(low, high)
    state = (state * 6364136223846793005 + 1442695040888963407)
    return low + ((state >> 33) % (high - low + 1))
  end
end

-- Random documents: each is { text =, value =, members = { {key, document}, ... } }, its text
-- written with random white space and random escapes, its value known by construction.

local PIECES <const> = {
  { "a" }, { "Z" }, { " " }, { "[]" }, { "{}" }, { "123" }, { ":," }, { "}" }, { "]" }, { "{" },
  { "null" }, { "\127" }, { "é" }, { "漢" }, { "😀" }, { "u0041" }, { "n" }, { "//" },
  { '"', '\\"' }, { "\\", "\\\\" }, { "/", "\\/" }, { "\b", "\\b" }, { "\f", "\\f" },
  { "\n", "\\n" }, { "\r", "\\r" }, { "\t", "\\t" }, { "\0", "\\u0000" }, { "\31", "\\u001F" },
  { "\\", "\\u005c" }, { '"', "\\u0022" }, { "A", "\\u0041" }, { "é", "\\u00e9" },
  { "漢", "\\u6F22" }, { "😀", "\\ud83d\\uDE00" }, { FFFD, "\\ud800" }, { FFFD, "\\uDFFF" },
  { "\u{FFFF}", "\\uffff" }, { "\u{10FFFF}", "\\uDBFF\\uDFFF" },
}
local SPACES <const> = { "", "", "", "", " ", "\n", "\t", "\r\n  " }

local function random_string(random, unique)
  local text, value = {}, {}
  local last
  for _ = 1, random(0, 6) do
    local piece = PIECES[random(1, #PIECES)]
    -- A high and a low half drawn one after the other would be a pair.
    if not (last == "\\ud800" and piece[2] and piece[2]:find("^\\u[dD][c-fC-F]")) then
      last = piece[2]
      text[#text + 1] = piece[2] or piece[1]
      value[#value + 1] = piece[1]
    end
  end
  local tail = unique and tostring(unique) or ""
  return '"' .. table.concat(text) .. tail .. '"', table.concat(value) .. tail
end

local SCALARS <const> = {
  { "0", 0 }, { "-0", 0 }, { "7", 7 }, { "-12", -12 }, { "1.5", 1.5 }, { "-0.25", -0.25 },
  { "1e2", 100 }, { "2.50E+1", 25 }, { "25e-1", 2.5 }, { "1e300", 1e300 },
  { "9007199254740993", 9007199254740993 }, { "9223372036854775807", math.maxinteger },
  { "-9223372036854775808", math.mininteger }, { "9223372036854775808", 2.0 ^ 63 },
  { "true", true }, { "false", false }, { "null", json.null },
}

local function random_document(random, depth)
  local function space() return SPACES[random(1, #SPACES)] end
  local kind = random(1, depth > 0 and 6 or 3)
  if kind == 1 then
    local scalar = SCALARS[random(1, #SCALARS)]
    return { text = scalar[1], value = scalar[2], members = {} }
  elseif kind <= 3 then
    local text, value = random_string(random)
    return { text = text, value = value, members = {} }
  end
  local in_object = kind == 4 or kind == 5
  local document = { value = in_object and {} or json.array(), members = {} }
  local parts = {}
  for i = 1, random(0, 4) do
    local member = random_document(random, depth - 1)
    local key, prefix = i, ""
    if in_object then
      local key_text
      key_text, key = random_string(random, i)
      prefix = key_text .. space() .. ":" .. space()
    end
    parts[i] = space() .. prefix .. member.text .. space()
    document.value[key] = member.value
    document.members[i] = { key, member }
  end
  local body = #parts == 0 and space() or table.concat(parts, ",")
  document.text = (in_object and "{" or "[") .. body .. (in_object and "}" or "]")
  return document
end

describe("json.decode", function()
  it("reads numbers as integers where they are whole, as floats otherwise", function()
    local cases = {
      ["0"] = 0, ["-0"] = 0, ["7"] = 7, ["-7"] = -7, ["10"] = 10, ["1.5"] = 1.5, ["-0.5"] = -0.5,
      ["1.0"] = 1, ["1e3"] = 1000, ["1E-2"] = 0.01, ["1e+2"] = 100, ["0e1"] = 0, ["0.0"] = 0,
      ["1234567890123456"] = 1234567890123456,
      ["9007199254740993"] = 9007199254740993,
      ["9223372036854775807"] = math.maxinteger,
      ["-9223372036854775808"] = math.mininteger,
      ["9223372036854775808"] = 2.0 ^ 63,
      ["-9223372036854775809"] = -(2.0 ^ 63),
      ["123456789012345678901234567890"] = 123456789012345678901234567890.0,
      ["1e300"] = 1e300, ["5e-324"] = 5e-324, ["1e-999"] = 0,
      ["0.1234567890123456789"] = 0.1234567890123456789,
      ["9007199254740994.0"] = 9007199254740994.0,
    }
    for text, want in pairs(cases) do
      for _, form in ipairs { text, "[" .. text .. "]", '{"a":' .. text .. "}" } do
        local got = json.decode(form)
        if type(got) == "table" then got = got.a or got[1] end
        assert.equal(want, got, form)
        assert.equal(math.type(want), math.type(got), form)
      end
    end
  end)

  it("reads literals and keeps null apart from absence", function()
    assert.is_true(json.decode("true"))
    assert.is_false(json.decode("false"))
    assert.equal(json.null, json.decode("null"))
    local value = json.decode('{"a":null,"b":[null,false]}')
    assert.equal(json.null, value.a)
    assert.equal(json.null, value.b[1])
    assert.is_false(value.b[2])
    assert.is_truthy(json.null)
  end)

  it("returns exactly one value on success", function()
    assert.equal(1, select("#", json.decode("false")))
    assert.equal(3, select("#", json.decode("x")))
  end)

  it("keeps empty arrays apart from empty objects, at any depth", function()
    for _, text in ipairs {
      "[]", "{}", "[[]]", "[{}]", '{"a":[],"b":{}}', '{"a":{"b":[[],{}]}}', '["[]",[],"{}",{}]',
    } do
      assert.equal(text, json.encode(json.decode(text)))
    end
    assert.is_true(json.is_array(json.decode("[ ]")))
    assert.is_false(json.is_array(json.decode("{ }")))
  end)

  it("marks non-empty arrays too, so that they stay arrays when emptied", function()
    local value = json.decode('{"tools":[1,[2]]}')
    table.remove(value.tools)
    table.remove(value.tools)
    assert.equal('{"tools":[]}', json.encode(value))
  end)

  it("takes white space around every token, and no other bytes", function()
    local value = json.decode(' \t\r\n{ "a" : [ 1 , 2 ] , "b" : { } }\r\n ')
    assert.equal('{"a":[1,2],"b":{}}', json.encode(value))
    for _, space in ipairs { "\v", "\f", "\0", "\u{A0}", "\u{2028}", "\u{FEFF}" } do
      refused("[1" .. space .. "]")
      refused("[1]" .. space)
    end
  end)

  it("skips one byte order mark before the text", function()
    assert.equal(1, json.decode("\xEF\xBB\xBF{\"a\":1}").a)
    assert.equal("x", json.decode("\xEF\xBB\xBF \"x\""))
    refused("\xEF\xBB\xBF")
    refused("\xEF\xBB\xBF\xEF\xBB\xBF1")
    refused("\xEF\xBB1")
    refused("1\xEF\xBB\xBF")
  end)

  it("lets the last of equal keys win", function()
    assert.equal(2, json.decode('{"a":1,"\\u0061":2}').a)
  end)

  it("resolves escapes", function()
    local cases = {
      ['"\\"\\\\\\/\\b\\f\\n\\r\\t"'] = '"\\/\b\f\n\r\t',
      ['"\\u0041\\u00e9\\u6F22"'] = "Aé漢",
      ['"\\u0000"'] = "\0",
      ['"a\\u0000b"'] = "a\0b",
      ['"\\ud83d\\ude00"'] = "😀",
      ['"\\uD83D\\uDE00"'] = "😀",
      ['"\\uDBFF\\uDFFF"'] = "\u{10FFFF}",
      ['"\\u005c"'] = "\\",
      ['"\\u005cn"'] = "\\n",
      ['"\\u005c\\u005c"'] = "\\\\",
      ['"\\u005cu0041"'] = "\\u0041",
      ['"\\\\u0041"'] = "\\u0041",
      ['"\\\\\\u0041"'] = "\\A",
      ['"\\\\\\\\u0041"'] = "\\\\u0041",
      ['"\\\\ud83d\\\\ude00"'] = "\\ud83d\\ude00",
      ['"\\\\n"'] = "\\n",
      ['"\\\\\\n"'] = "\\\n",
      ['"\\\\"'] = "\\",
      ['"\\\\\\""'] = '\\"',
      ['"\\u00ff"'] = "ÿ",
      ['"[]{},: 01 \\"[]\\" 12345678901234567890"'] = '[]{},: 01 "[]" 12345678901234567890',
      ['"\127"'] = "\127",
      ['""'] = "",
    }
    for text, want in pairs(cases) do
      assert.equal(want, json.decode(text), text)
      assert.equal(want, json.decode("[" .. text .. ",1]")[1], text)
      assert.equal(1, json.decode("{" .. text .. ":1}")[want], text)
    end
  end)

  it("replaces escaped lone surrogates without losing the document", function()
    local cases = {
      ["\\ud800"] = FFFD, ["\\uDFFF"] = FFFD, ["a\\ud800b"] = "a" .. FFFD .. "b",
      ["\\ude00\\ud83d"] = FFFD .. FFFD, ["\\ud83d\\ud83d\\ude00"] = FFFD .. "😀",
      ["\\ud83d\\ude00\\ude00"] = "😀" .. FFFD, ["\\ud83d\\n"] = FFFD .. "\n",
      ["\\ud83dude00"] = FFFD .. "ude00", ["\\ud83d\\\\ude00"] = FFFD .. "\\ude00",
      ["\\ud83d\\u0041"] = FFFD .. "A", ["\\\\ud83d"] = "\\ud83d",
    }
    for text, want in pairs(cases) do
      local value = json.decode('{"k":["' .. text .. '"],"n":1}')
      assert.equal(want, value.k[1], text)
      assert.equal(1, value.n)
    end
  end)

  it("repairs broken UTF-8 in strings and keys, with and without escapes", function()
    local cases = {
      ["\xff"] = FFFD, ["a\xffb"] = "a" .. FFFD .. "b", ["\xc3"] = FFFD, ["\xc3("] = FFFD .. "(",
      ["\xe6\xbc"] = FFFD, ["\xe6\xbcé"] = FFFD .. "é", ["\xf0\x9f\x98"] = FFFD,
      ["\xed\xa0\x80"] = FFFD, ["\xc0\xaf"] = FFFD, ["\xf4\x90\x80\x80"] = FFFD,
      ["\xff\xff"] = FFFD .. FFFD, ["é\x80漢"] = "é" .. FFFD .. "漢",
      ["\xff\\n\\\\"] = FFFD .. "\n\\", ["\\\\\xff"] = "\\" .. FFFD,
    }
    for raw, want in pairs(cases) do
      assert.equal(want, json.decode('"' .. raw .. '"'))
      local value = json.decode('{"' .. raw .. '":["' .. raw .. '"],"n":1}')
      assert.equal(want, value[want][1])
      assert.equal(1, value.n)
    end
    assert.equal("é漢😀", json.decode('["\xff","é漢😀"]')[2])
    refused("[1\xff]")
  end)

  it("refuses what RFC 8259 refuses", function()
    for _, text in ipairs {
      "", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1 2]", "[1,,2]", "[1}",
      "{]", '{"a"}', '{"a":}', '{"a":1,}', "{,}", '{"a" 1}', '{"a":1 "b":2}', '{"a":1]', "{a:1}",
      "{1:2}", "{'a':1}", '{"a":1', '{"a":', '{"a"', '{"a":1,"b"', "{null:1}",
      "01", "-01", "00", "-", "+1", ".5", "-.5", "1.", "-1.", "1.e1", "1e", "1e+", "1E-", "1.5e",
      "0x10", "0X1", "1a", "1_000", "1,5", "--1", "1-1", "- 1", "1 .5", "NaN", "nan", "-NaN",
      "Infinity", "-Infinity", "inf", "-inf", "infinity", "1e999", "-1e999", ("9"):rep(400),
      "True", "tru", "truee", "nul", "nulll", "true1", "undefined", "None", "falsey",
      '"', '"a', '"\\"', '"\\', '"\\\\\\"',
      "'a'", '"a" "b"', '"\\x"', '"\\a"', '"\\0"', '"\\U0041"',
      '"\\u"', '"\\u12"', '"\\u12g4"', '"\\u 123"', '"\\ud83d\\u"', '"\\u00\\u0041"', '"\\\n"',
      '"\n"', '"\t"', '"a\0b"', '"\31"', '{"a\n":1}', '"\xff\n"', '"\\\0"',
      '"\\\xc3\xa9"', '"\\\xff"',
      "1 2", "{}{}", "[]x", "{} x", "[1]\0", "[1]\0x", "\0", "1\0", "null,", "// x\n1", "1 // x",
      "/* */ 1", "[1]]", '""""', "#", "\xff", "é", "\u{FEFF}",
    } do
      refused(text)
      if text ~= "" and text ~= " " and not text:find("[%]%[{},]") then
        refused('[' .. text .. ']')
        refused('{"k":' .. text .. "}")
      end
    end
  end)

  it("says where and what", function()
    local cases = {
      { "", 1, "expected a value, found the end of the text" },
      { '{"a":1,}', 8, "expected a key in quotes, found '}'" },
      { '{"a" 1}', 6, "expected ':', found '1'" },
      { "[1,2", 5, "expected ',' or ']', found the end of the text" },
      { '{"a":1;', 7, "expected ',' or '}', found ';'" },
      { "[1] x", 5, "expected the end of the text, found 'x'" },
      { "[1]\0", 4, "expected the end of the text, found byte 0x00" },
      { "[01]", 3, "expected ',' or ']', found '1'" },
      { "[-x]", 3, "expected a digit, found 'x'" },
      { "[1.]", 3, "expected ',' or ']', found '.'" },
      { "[1e999]", 2, "number out of range" },
      { "[NaN]", 2, "expected a value, found 'N'" },
      { '["abc', 2, "string without an end" },
      { '["ab\nc"]', 5, "control character in a string" },
      { '["\\n\\\\\\u0041\\x"]', 13, "invalid escape in a string" },
      { '["ok\\n", "\\u00g0"]', 11, "invalid escape in a string" },
      { '["\xff\xff\\n\\x"]', 7, "invalid escape in a string" },
      { "\xEF\xBB\xBF[x]", 5, "expected a value, found 'x'" },
    }
    for _, case in ipairs(cases) do
      assert.equal(("invalid JSON at byte %d: %s"):format(case[2], case[3]), refused(case[1]))
    end
  end)

  it("limits the depth to 512", function()
    assert.is_table(json.decode(nest(DEPTH, "[", "]")))
    assert.is_table(json.decode(nest(DEPTH, '{"a":', "}", "1")))
    assert.is_table(json.decode(nest(DEPTH // 2, '[{"a":', "}]", "1")))
    assert.matches("byte 513: nested deeper than 512", refused(nest(DEPTH + 1, "[", "]")), 1, true)
    assert.matches("512", refused(nest(DEPTH + 1, '{"a":', "}", "1")), 1, true)
    assert.matches("512", refused(nest(1000000, "[", "")), 1, true)
    assert.matches("512", refused(nest(1000000, '{"a":', "")), 1, true)
    assert.is_table(json.decode("[" .. ("[],"):rep(5000) .. "{}]"))
    local co = coroutine.wrap(function() return json.decode(nest(DEPTH, "[", "]")) end)
    assert.is_table(co())
  end)

  it("raises at the caller for what is not a string", function()
    for _, value in ipairs { 12, true, {}, json.null } do
      local message = raised(function() return (json.decode(value)) end)
      assert.matches("json_spec%.lua:%d+: json%.decode: expected a string, got " .. type(value),
        message)
    end
  end)

  it("lets an error raised by a hook through (that is how a turn is cancelled)", function()
    local text = "[" .. ("1,"):rep(10000) .. "1]"
    debug.sethook(function()
      debug.sethook()
      error("cancelled", 0)
    end, "", 1000)
    local ok, message = pcall(json.decode, text)
    debug.sethook()
    assert.is_false(ok)
    assert.equal("cancelled", message)
  end)

  it("takes time in proportion to strings full of escapes", function()
    local slashes = ("\\"):rep(400000)
    assert.equal(200000, #json.decode('"' .. slashes .. '"'))
    assert.equal(('"'):rep(100000), json.decode('"' .. ('\\"'):rep(100000) .. '"'))
    assert.equal(FFFD:rep(100000), json.decode('"' .. ("\xff"):rep(100000) .. '"'))
  end)
end)

describe("json.encode", function()
  it("writes scalars", function()
    local cases = {
      { 0, "0" }, { -7, "-7" }, { math.maxinteger, "9223372036854775807" },
      { math.mininteger, "-9223372036854775808" }, { 1.0, "1" }, { -0.0, "0" }, { -2.0, "-2" },
      { 1e15, "1000000000000000" }, { 2.0 ^ 53, "9007199254740992" }, { 0.1, "0.1" },
      { 1.5, "1.5" }, { -0.25, "-0.25" }, { 1 / 3, "0.3333333333333333" },
      { 0.1 + 0.2, "0.30000000000000004" }, { 1e300, "1e+300" }, { 1e-7, "1e-07" },
      { 2.0 ^ 63, "9.223372036854776e+18" }, { 123456.789, "123456.789" },
      { true, "true" }, { false, "false" }, { json.null, "null" }, { "", '""' }, { "a", '"a"' },
    }
    for _, case in ipairs(cases) do
      assert.equal(case[2], json.encode(case[1]))
      assert.equal("[" .. case[2] .. "]", json.encode { case[1] })
    end
  end)

  it("brings every float back, in value", function()
    local random = new_random(7)
    for _ = 1, 3000 do
      local n = string.unpack("<d", string.pack("<I4I4", random(0, 0x7FFFFFFF) * 2 + random(0, 1),
        random(0, 0x7FFFFFFF)))
      if n - n == 0 then
        for _, m in ipairs { n, -n, random(-1000000, 1000000) / 1000 } do
          local text = json.encode(m)
          assert.equal(m, json.decode(text))
          local shorter = ("%.15g"):format(m)
          if tonumber(shorter) == m then assert.is_true(#text <= math.max(#shorter, 17)) end
        end
      end
    end
  end)

  it("escapes what has to be, and nothing else", function()
    assert.equal([["\"\\/\b\f\n\r\t\u0000\u001f"]], json.encode('"\\/\b\f\n\r\t\0\31'))
    assert.equal('"é漢😀\u{2028}"', json.encode("é漢😀\u{2028}"))
    assert.equal([["\\/ / \\\\/ </a>"]], json.encode("\\/ / \\\\/ </a>"))
    assert.equal("\127", json.decode(json.encode("\127")))
    for code = 0, 255 do
      local s = "x" .. utf8.char(code) .. "/"
      local text = json.encode(s)
      assert.equal(s, json.decode(text))
      assert.is_nil(text:find("%c"))
    end
  end)

  it("repairs broken UTF-8 in values and keys", function()
    assert.equal('"a' .. FFFD .. 'b"', json.encode("a\xffb"))
    assert.equal('"' .. FFFD .. '"', json.encode("\xe6\xbc"))
    assert.equal('{"' .. FFFD .. '":"' .. FFFD .. '"}', json.encode { ["\xed\xa0\x80"] = "\xc0" })
    assert.equal('"é' .. FFFD .. '\\n"', json.encode("é\xc3\n"))
  end)

  it("sorts keys by their bytes", function()
    local value = { b = 1, a = 2, B = 3, aa = 4, [""] = 5, ["a\0"] = 6, ["é"] = 7, ["~"] = 8,
      ["a-b"] = 9, ["ab"] = 10, ["\u{FFFF}"] = 11, ["😀"] = 12, ["10"] = 13, ["9"] = 14 }
    assert.equal('{"":5,"10":13,"9":14,"B":3,"a":2,"a\\u0000":6,"a-b":9,"aa":4,"ab":10,"b":1,'
      .. '"~":8,"é":7,"\u{FFFF}":11,"😀":12}', json.encode(value))
  end)

  it("does not depend on the locale", function()
    local old <const> = os.setlocale()
    local set
    for _, name in ipairs { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "en_US.UTF-8" } do
      set = set or os.setlocale(name)
    end
    if not set then pending("no locale but C is installed") end
    local ok, text, number = pcall(function()
      local decoded <const> = json.decode("[1.25]")
      return json.encode { B = 0.5, a = 1e300, ["a-b"] = 1, ab = 2, ["é"] = 3, Z = 4 }, decoded[1]
    end)
    os.setlocale(old)
    assert.is_true(ok, text)
    assert.equal('{"B":0.5,"Z":4,"a":1e+300,"a-b":1,"ab":2,"é":3}', text)
    assert.equal(1.25, number)
  end)

  it("writes the same bytes for the same content, whatever its history", function()
    local random = new_random(3)
    for _ = 1, 50 do
      local keys = {}
      for i = 1, 30 do keys[i] = "k" .. random(1, 1000) end
      local a, b = {}, {}
      for i = 1, #keys do a[keys[i]] = keys[i] end
      for i = 1, 200 do b["gone" .. i] = i end
      for i = #keys, 1, -1 do b[keys[i]] = keys[i] end
      for i = 1, 200 do b["gone" .. i] = nil end
      assert.equal(json.encode(a), json.encode(b))
    end
  end)

  it("tells arrays from objects", function()
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.array()))
    assert.equal("[1,[2,{}],[]]", json.encode { 1, { 2, {} }, json.array {} })
    assert.equal('{"1":true}', json.encode { ["1"] = true })
    local grown = json.array()
    grown[1] = "x"
    assert.equal('["x"]', json.encode(grown))
  end)

  it("does not call metamethods", function()
    local function boom() error("called") end
    local t = setmetatable({ a = setmetatable({ 1, 2 }, { __len = boom, __index = boom }) },
      { __index = boom, __pairs = boom, __tostring = boom, __len = boom })
    assert.equal('{"a":[1,2]}', json.encode(t))
    assert.equal("[2]: hole in an array",
      encode_error(setmetatable({ 1, nil, 3 }, { __index = boom })))
  end)

  it("refuses with the path, at the caller's line", function()
    local function bad_content(content) return { messages = { {}, {}, { content = content } } } end
    local both = { 1, a = 2 }
    assert.equal("messages[3].content: table has both array and object keys",
      encode_error(bad_content(both)))
    assert.equal("table has both array and object keys", encode_error(both))
    assert.equal("table has both array and object keys", encode_error { [2] = 1, a = 2 })
    assert.equal("[2]: hole in an array", encode_error { 1, nil, 3 })
    assert.equal("messages[3].content[2]: hole in an array",
      encode_error(bad_content { 1, nil, 3 }))
    assert.equal("[3]: hole in an array", encode_error { 1, 2, [10] = 3 })
    assert.equal("[2]: hole in an array", encode_error { [0] = 0, [1] = 1 })
    assert.equal("array has no [1]", encode_error { [2] = 1 })
    assert.equal("[1]: hole in an array", encode_error(json.array { [2] = 1 }))
    assert.equal("a: array has object keys", encode_error { a = json.array { b = 1 } })
    assert.equal("object has integer keys", encode_error(json.object { 1 }))
    assert.equal("table has a key of type float", encode_error { [1.5] = 1 })
    assert.equal("a: table has a key of type boolean", encode_error { a = { [true] = 1 } })
    assert.equal("a: cannot write NaN", encode_error { a = 0 / 0 })
    assert.equal("[1]: cannot write infinity", encode_error { 1 / 0 })
    assert.equal("cannot write infinity", encode_error(-1 / 0))
    assert.equal("cannot write a value of type nil", encode_error(nil))
    assert.equal("f[1]: cannot write a value of type function", encode_error { f = { print } })
    assert.equal("cannot write a value of type userdata", encode_error(io.stdout))
    assert.equal("t: cannot write a value of type thread",
      encode_error { t = coroutine.create(print) })
    assert.equal('["a b"]["\\""]["1"].ok: cannot write a value of type function',
      encode_error { ["a b"] = { ['"'] = { ["1"] = { ok = print } } } })
  end)

  it("refuses depth over 512 and cycles", function()
    local function deep(depth)
      local t = 1
      for i = 1, depth do t = i % 2 == 0 and { t } or { a = t } end
      return t
    end
    assert.equal(nest(DEPTH // 2, '[{"a":', "}]", "1"), json.encode(deep(DEPTH)))
    assert.matches("^%[1%]%[1%]%.a.*%.%.%.: nested deeper than 512 levels",
      encode_error { deep(DEPTH) })
    local cycle = { list = {} }
    cycle.list[1] = cycle
    local message = encode_error(cycle)
    assert.matches("^list%[1%]%.list.*%.%.%.: nested .*within itself", message)
    assert.is_true(#message < 200)
    local shared = { 1 }
    assert.equal('{"a":[1],"b":[1]}', json.encode { a = shared, b = shared })
  end)

  it("works again after an error", function()
    encode_error { 1, { print } }
    refused('["a')
    assert.equal("[1]", json.encode { 1 })
    assert.equal(1, json.decode("[1]")[1])
  end)
end)

describe("json marks", function()
  it("array returns the same table, marked", function()
    local t = { 1, 2 }
    assert.equal(t, json.array(t))
    assert.equal("[1,2]", json.encode(t))
    assert.is_true(json.is_array(json.array()))
    assert.are_not.equal(json.array(), json.array())
    assert.equal("[]", json.encode(json.array(json.object {})))
    assert.equal("[]", json.encode(json.array(json.array())))
    assert.equal(1, select("#", json.array()))
  end)

  it("object returns the same table, marked", function()
    local t = { a = 1 }
    assert.equal(t, json.object(t))
    assert.equal('{"a":1}', json.encode(t))
    assert.equal("{}", json.encode(json.object()))
    assert.is_false(json.is_array(json.object { 1 }))
  end)

  it("is_array says what encode would do", function()
    for _, value in ipairs { json.array(), { 1 }, json.decode("[]"), json.decode("[1]") } do
      assert.is_true(json.is_array(value))
    end
    for _, value in ipairs { {}, { a = 1 }, "x", 1, json.null, json.raw("[]"), print } do
      assert.is_false(json.is_array(value))
    end
    assert.is_false(json.is_array(nil))
  end)

  it("raises at the caller for what is not a plain table", function()
    for name, fn in pairs { array = json.array, object = json.object } do
      local message = raised(function() return (fn(12)) end)
      assert.matches("json_spec%.lua:%d+: json%." .. name .. ": expected a table", message)
      message = raised(function() return (fn(setmetatable({}, {}))) end)
      assert.matches("json_spec%.lua:%d+: json%." .. name .. ": the table has a meta", message)
      raised(fn, false)
      raised(fn, json.raw("1"))
    end
  end)
end)

describe("json.raw", function()
  it("is written byte for byte", function()
    local text = '{ "b":1,\t"a": 1.0, "s":"\\u0041\\/", "z":[ ]}'
    assert.equal(text, json.encode(json.raw(text)))
    assert.equal('{"k":[1,' .. text .. ',"x"]}', json.encode { k = { 1, json.raw(text), "x" } })
    assert.equal(text, tostring(json.raw(text)))
  end)

  it("takes strings only", function()
    for _, value in ipairs { 1, {}, true } do
      assert.matches("json_spec%.lua:%d+: json%.raw: expected a string",
        raised(function() return (json.raw(value)) end))
    end
    raised(json.raw)
  end)
end)

describe("json.slice", function()
  local event = '\n{ "type" : "start", "content_block": {"type":"tool_use", '
    .. '"input": { "z":1.0,"a":"\\u0041\\"}]" , "n" : [ ] } } , "list":[ 1 ,[2, 3], "x]" ,{}]}\n'

  it("gives the exact text of members and elements", function()
    assert.equal('"start"', json.slice(event, "type"))
    assert.equal('{ "z":1.0,"a":"\\u0041\\"}]" , "n" : [ ] }',
      json.slice(event, "content_block", "input"))
    assert.equal("1.0", json.slice(event, "content_block", "input", "z"))
    assert.equal('"\\u0041\\"}]"', json.slice(event, "content_block", "input", "a"))
    assert.equal("[ ]", json.slice(event, "content_block", "input", "n"))
    assert.equal("1", json.slice(event, "list", 1))
    assert.equal("[2, 3]", json.slice(event, "list", 2))
    assert.equal("3", json.slice(event, "list", 2, 2))
    assert.equal('"x]"', json.slice(event, "list", 3))
    assert.equal("{}", json.slice(event, "list", 4))
    assert.equal("-1.5e+3", json.slice("[true,-1.5e+3]", 2))
    assert.equal("1", json.slice('\xEF\xBB\xBF{"a":1}', "a"))
  end)

  it("gives nil where the path leads nowhere", function()
    for _, path in ipairs {
      { "no" }, { 1 }, { "list", 0 }, { "list", 5 }, { "list", -1 }, { "list", "1" },
      { "type", "x" }, { "type", 1 }, { "list", 4, "a" }, { "no", "deeper" },
      { "content_block", 1 },
      { "content_block", "input", "n", 1 }, { "" }, { "z" }, { "list", 1, 1 }, { "start" },
    } do
      assert.is_nil(json.slice(event, table.unpack(path)))
    end
    assert.is_nil(json.slice("12", "a"))
    assert.is_nil(json.slice("[]", 1))
    assert.is_nil(json.slice("{}", "a"))
  end)

  it("compares keys by what they mean, and takes the last of equal ones", function()
    assert.equal("2", json.slice('{"b":1,"\\u0061\\n\\\\":2}', "a\n\\"))
    assert.equal("2", json.slice('{"a":1,"\\u0061":2}', "a"))
    assert.equal("1", json.slice('{"\\"":1}', '"'))
    assert.is_nil(json.slice('{"\\u0061":1}', "\\u0061"))
    assert.equal("1", json.slice('{"\\\\u0061":1}', "\\u0061"))
    assert.equal("3", json.slice('{"a\\\\":{"a":1},"b":"\\\\","c":3}', "c"))
    assert.equal("2", json.slice('{"é":1,"漢":2}', "漢"))
    assert.equal("1", json.slice('{"":1}', ""))
  end)

  it("neither fails nor hangs on text that is not JSON", function()
    for length = 0, #event do
      local cut = event:sub(1, length)
      json.slice(cut, "list", 4)
      json.slice(cut, "content_block", "input", "n")
    end
    for _, text in ipairs { "", " ", "{", "[", '{"a', '{"a"', '{"a":', "[1", "]", "}", '{"a":]',
      "\xEF" } do
      json.slice(text, "a")
      json.slice(text, 2)
    end
  end)

  it("needs no stack for deep text", function()
    local deep = nest(200000, "[", "]")
    assert.equal(deep, json.slice('{"a":' .. deep .. ',"b":1}', "a"))
  end)

  it("raises at the caller for wrong arguments", function()
    local function message(...)
      local args = table.pack(...)
      return raised(function() return (json.slice(table.unpack(args, 1, args.n))) end)
    end
    assert.matches("json_spec%.lua:%d+: json%.slice: expected a string", message({}, "a"))
    for _, wrong in ipairs { 1.5, true, {} } do
      assert.matches("json_spec%.lua:%d+: json%.slice: a step must be", message("{}", wrong))
      assert.matches("json_spec%.lua:%d+: json%.slice: a step must be", message("{}", "a", wrong))
    end
    assert.matches("got nil", message("{}"))
    assert.matches("got nil", message("{}", "a", nil, "b"))
  end)
end)

describe("random documents", function()
  local documents = {}
  setup(function()
    local random = new_random(20240229)
    for i = 1, 1500 do documents[i] = random_document(random, 5) end
  end)

  it("decode to what they were made from, and survive a round trip", function()
    for _, document in ipairs(documents) do
      local value, message = json.decode(document.text)
      assert.is_nil(message, document.text)
      assert.is_true(same(document.value, value), document.text)
      local text = json.encode(value)
      assert.is_true(same(value, (json.decode(text))), text)
      assert.equal(text, json.encode(json.decode(text)))
      assert.equal(text, json.encode(document.value))
    end
  end)

  it("can be sliced byte for byte", function()
    local function visit(document, root, path)
      for _, pair in ipairs(document.members) do
        path[#path + 1] = pair[1]
        assert.equal(pair[2].text, json.slice(root.text, table.unpack(path)))
        visit(pair[2], root, path)
        path[#path] = nil
      end
    end
    for _, document in ipairs(documents) do visit(document, document, {}) end
  end)

  it("never raise when they are damaged, and what is accepted can be encoded", function()
    local random = new_random(5)
    local BYTES <const> = '"\\[]{}:,0-1eu.dn \n\0\xff\xc3'
    for _, document in ipairs(documents) do
      local text = document.text
      for _ = 1, 3 do
        local at, with = random(1, #text), random(1, #BYTES)
        text = text:sub(1, at - 1) .. BYTES:sub(with, with) .. text:sub(at + random(0, 2))
      end
      local value, _, code = json.decode(text)
      if value == nil then
        assert.equal("JSON", code)
      else
        assert.is_true(same(value, (json.decode(json.encode(value)))), text)
      end
    end
  end)
end)

describe("json.elements", function()
  it("gives what slice gives for each element", function()
    local text = ' {"a":[ 1 ,"x,]\\"", [[],{"b":[2]}] , null,{ } ], "e":[ ], "s":"[1]"}'
    local found = json.elements(text, "a")
    assert.equal(5, #found)
    for i = 1, 5 do
      assert.equal(json.slice(text, "a", i), found[i])
    end
    assert.same({ "[]", '{"b":[2]}' }, json.elements(text, "a", 3))
    assert.same({ "1", "2" }, json.elements("[1,2]"))
  end)

  it("gives nothing where there is no array, and some part of what is no JSON", function()
    for _, text in ipairs({ "", " ", "[]", "[ ]", "{}", "1", '"[1]"', "[", "[,", "]", "null" }) do
      assert.same({}, json.elements(text), text)
    end
    assert.same({}, json.elements('{"a":1}', "a"))
    assert.same({}, json.elements('{"a":1}', "b"))
    assert.same({ "1" }, json.elements("[1"))
    assert.same({ "1" }, json.elements("[1,"))
  end)
end)
