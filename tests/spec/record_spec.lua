local base64 = require("agenthost.base64")
local json = require("agenthost.json")
local record = require("agenthost.record")
local sys = require("agenthost.sys")
local temp = require("support.temp")

local HIDDEN <const> = "a-very-secret-value" -- what CTest puts into AH_TEST_HIDDEN_KEY

local dir, recorder

before_each(function()
  sys.hide_env("AH_TEST_HIDDEN_KEY")
  dir = temp.directory()
  recorder = assert(record.open(dir .. "/calls.jsonl"))
end)

after_each(function()
  recorder.file:close()
  temp.remove(dir)
end)

local function call(fields)
  local made = { provider = "x", model = "m", url = "https://a.example/v1/messages", headers = {},
    request = "{}", response = "" }
  for name, value in pairs(fields or {}) do
    made[name] = value
  end
  return made
end

local function text()
  return (assert(sys.read_file(dir .. "/calls.jsonl")))
end

local function lines()
  local all = {}
  for line in text():gmatch("[^\n]+") do
    all[#all + 1] = assert(json.decode(line))
  end
  return all
end

describe("a recorder", function()
  it("keeps the bytes as they came, whatever they are", function()
    local all = {}
    for i = 0, 255 do
      all[#all + 1] = string.char(i)
    end
    local bodies = { "", "text \u{10FFFF}\u{2028}\0\r\n\t\"\\", table.concat(all), "\xff",
      "a\xed\xa0\x80" }
    for _, body in ipairs(bodies) do
      recorder:note(call({ response = body, request = body }))
    end
    local noted = lines()
    for i, body in ipairs(bodies) do
      assert.equal(i, noted[i].n)
      assert.equal(body, record.bytes(noted[i], "response"))
      assert.equal(body, record.bytes(noted[i], "request"))
    end
  end)

  it("joins a body of several parts", function()
    recorder:note(call({ request = { '{"a":', "1}" } }))
    assert.equal('{"a":1}', lines()[1].request)
  end)

  it("knows damaged Base64", function()
    for _, bad in ipairs({ "a", "ab=c", "a+-=", 5 }) do
      assert.is_nil(record.bytes({ response_base64 = bad }, "response"))
    end
  end)

  it("takes out keys, wherever they stand", function()
    if sys.getenv("AH_TEST_HIDDEN_KEY") ~= HIDDEN then
      return pending("CTest sets AH_TEST_HIDDEN_KEY")
    end
    recorder:note(call({
      url = "https://user:geheim1@a.example/x?api_key=geheim2&model=m&token=geheim3#geheim4",
      headers = { authorization = "Bearer geheim5", ["x-goog-api-key"] = "geheim6",
        ["x-other"] = HIDDEN, accept = "text/event-stream" },
      response_headers = { ["set-cookie"] = "geheim7", ["content-type"] = "x " .. HIDDEN },
      request = '{"text":"' .. HIDDEN .. '"}',
      response = "\xff" .. HIDDEN,
      message = "the key " .. HIDDEN .. " is wrong",
      code = "AUTH",
    }))
    local line = lines()[1]
    for i = 1, 7 do
      assert.equal(i == 4, text():find("geheim" .. i, 1, true) ~= nil) -- a fragment is no secret
    end
    assert.falsy(text():find(HIDDEN, 1, true))
    assert.equal("\xff<AH_TEST_HIDDEN_KEY>", record.bytes(line, "response"))
    assert.equal("https://a.example/x?api_key=<removed>&model=m&token=<removed>#geheim4", line.url)
    assert.equal("<removed>", line.headers.authorization)
    assert.equal("text/event-stream", line.headers.accept)
    assert.equal("x <AH_TEST_HIDDEN_KEY>", line.response_headers["content-type"])
    assert.equal("the key <AH_TEST_HIDDEN_KEY> is wrong", line.message)
  end)

  it("goes on with a file that is its owner's", function()
    recorder:note(call())
    local second = assert(record.open(dir .. "/calls.jsonl"))
    second:note(call({ code = "CUT", message = "gone" }))
    second.file:close()
    local noted = lines()
    assert.same({ 1, 1, "CUT" }, { noted[1].n, noted[2].n, noted[2].code })
  end)

  it("refuses a file that others can read, and one that it cannot make", function()
    os.execute("chmod 640 '" .. dir .. "/calls.jsonl'")
    local made, message = record.open(dir .. "/calls.jsonl")
    assert.is_nil(made)
    assert.truthy(message:find("is open to others", 1, true))
    assert.is_nil((record.open(dir .. "/no/such")))
    assert.is_nil((record.open(dir)))
  end)
end)

describe("base64", function()
  it("is that of RFC 4648", function()
    local rows = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==",
      fooba = "Zm9vYmE=", foobar = "Zm9vYmFy", ["\xfb\xff\xfe"] = "+//+" }
    for plain, encoded in pairs(rows) do
      assert.equal(encoded, base64.encode(plain))
      assert.equal(plain, base64.decode(encoded))
    end
  end)
end)
