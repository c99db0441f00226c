-- Recorded answers, and events that are joined: no server is needed for either.
local async = require("agenthost.async")
local http = require("agenthost.http")
local json = require("agenthost.json")

local TEXT <const> = '"text_delta","text":"'
local THINKING <const> = '"thinking_delta","thinking":"'

local function delta(marker, inside)
  return "event: content_block_delta\ndata: {\"delta\":{\"type\":" .. marker .. inside .. "\"}}\n\n"
end

-- All events of a recorded body: the data of each.
local function data_of(body, opts)
  local stream <close> = assert(http.replay({ body = body }))
  local all = {}
  for event in stream:events(opts) do
    all[#all + 1] = event.data
  end
  assert.is_nil(stream:error())
  return all
end

local function raised(fn)
  local ok, message = pcall(fn)
  assert.is_false(ok)
  assert.matches("http_replay_spec.lua:%d+: ", message)
  return message
end

describe("http.replay", function()
  it("is a stream of the recorded answer", function()
    local stream <close> = assert(http.replay({
      status = 429, headers = { ["Retry-After"] = "3", Empty = "" }, body = "a\0b",
    }))
    assert.equal(429, stream.status)
    assert.same({ ["retry-after"] = "3", empty = "" }, stream.headers)
    assert.equal("", stream.url)
    assert.equal("agenthost.http.stream (open)", tostring(stream))
    assert.equal("a\0", stream:rest(2))
    assert.equal("b", stream:read())
    assert.is_nil(stream:read())
    assert.is_nil(stream:error())
    stream:close()
    assert.equal("agenthost.http.stream (closed)", tostring(stream))
  end)

  it("has an answer without anything, too", function()
    local stream <close> = assert(http.replay({}))
    assert.same({ 200, "" }, { stream.status, stream:rest() })
    local events <close> = assert(http.replay())
    assert.is_nil(events:event())
  end)

  it("fails where the recorded call failed, with its message and code", function()
    for _, outside in ipairs({ true, false }) do
      local function read()
        local stream <close> = assert(http.replay({
          body = "data: 1\n\ndata: 2\n\ndata: lo", error = { "cut\noff", "CLOSED" },
        }))
        local seen = {}
        for event in stream:events() do
          seen[#seen + 1] = event.data
        end
        assert.same({ "1", "2" }, seen)
        assert.same({ "cut off", "CLOSED" }, { stream:error() })
        assert.same({ nil, "cut off", "CLOSED" }, { stream:event() })
        stream:close()
        collectgarbage()
        assert.same({ "cut off", "CLOSED" }, { stream:error() })
      end
      if outside then read() else async.run(read) end
    end
    local bytes <close> = assert(http.replay({ body = "abc", error = { "m", "TIMEOUT_STALL" } }))
    assert.equal("abc", bytes:read())
    assert.same({ nil, "m", "TIMEOUT_STALL" }, { bytes:read() })
  end)

  it("raises for wrong options and says what cannot be replayed", function()
    assert.matches("did you mean 'status'", raised(function() http.replay({ statuss = 1 }) end))
    assert.matches("option 'status'", raised(function() http.replay({ status = 1 }) end))
    assert.matches("option 'error'", raised(function() http.replay({ error = "x" }) end))
    assert.matches("both strings", raised(function() http.replay({ error = { "x" } }) end))
    for _, answer in ipairs({
      { headers = { A = "\0" } }, { headers = { ["\0"] = "" } }, { error = { "m", ("x"):rep(32) } },
    }) do
      assert.equal("EINVAL", select(3, http.replay(answer)))
    end
  end)

  it("keeps the bytes when asked to", function()
    local stream <close> = assert(http.replay({ body = "data: 1\n\nrest", keep = true }))
    stream:event()
    assert.equal("data: 1\n\nrest", stream:kept())
    assert.equal("", stream:kept())
    local other <close> = assert(http.replay({ body = "x" }))
    assert.matches("keep = true", raised(function() other:kept() end))
  end)
end)

describe("events{ join }", function()
  local stream_text = delta(TEXT, "Hel") .. delta(TEXT, "lo \\ud83d") .. delta(TEXT, "\\ude00")
    .. delta(THINKING, "a") .. "event: ping\ndata: {}\n\n" .. delta(THINKING, "b")
    .. delta(THINKING, "\\\"c") .. delta(TEXT, "!")

  it("puts the strings of events together that lie unread", function()
    assert.equal(8, #data_of(stream_text))
    local all = data_of(stream_text, { join = { TEXT, THINKING } })
    for i, data in ipairs(all) do
      all[i] = json.decode(data).delta or "ping"
    end
    assert.same({
      { type = "text_delta", text = "Hello \u{1F600}" },
      { type = "thinking_delta", thinking = "a" },
      "ping",
      { type = "thinking_delta", thinking = 'b"c' },
      { type = "text_delta", text = "!" },
    }, all)
    assert.equal(7, #data_of(stream_text, { join = { THINKING } }))
    assert.equal(8, #data_of(stream_text, { join = {} }))
    assert.equal(8, #data_of(stream_text, {}))
  end)

  it("holds from the call on, for event() as well", function()
    local stream <close> = assert(http.replay({ body = stream_text }))
    assert.matches('"Hel"', stream:event().data, 1, true)
    assert.matches("lo \\ud83d\\ude00", stream:event({ join = { TEXT } }).data, 1, true)
    assert.matches('"a"', stream:event().data, 1, true)
    assert.equal("{}", stream:event({ join = { THINKING } }).data)
    assert.matches('b\\"c', stream:event().data, 1, true)
    assert.matches("!", stream:event({}).data, 1, true)
    assert.is_nil(stream:event())
  end)

  it("bounds a joined event", function()
    local all = data_of(delta(TEXT, ("x"):rep(1000)):rep(200), { join = { TEXT } })
    local bytes = 0
    for _, data in ipairs(all) do
      assert.is_true(#data <= 65536)
      bytes = bytes + #json.decode(data).delta.text
    end
    assert.same({ 4, 200000 }, { #all, bytes })
  end)

  it("gives the last event before a failure", function()
    local stream <close> = assert(http.replay({
      body = delta(TEXT, "a") .. delta(TEXT, "b"), error = { "gone", "CLOSED" },
    }))
    local all = {}
    for event in stream:events({ join = { TEXT } }) do
      all[#all + 1] = json.decode(event.data).delta.text
    end
    assert.same({ "ab" }, all)
    assert.equal("gone", (stream:error()))
  end)

  it("raises for markers that cannot be", function()
    local stream <close> = assert(http.replay({}))
    for _, join in ipairs({ { "" }, { "abc" }, { 1 }, { ('"'):rep(129) } }) do
      assert.matches("first quote", raised(function() stream:events({ join = join }) end))
    end
    local many = {}
    for i = 1, 9 do
      many[i] = i .. '"'
    end
    assert.matches("at most 8", raised(function() stream:event({ join = many }) end))
    assert.matches("a list of", raised(function() stream:event({ join = '"' }) end))
    assert.matches("did you mean 'join'", raised(function() stream:events({ joi = {} }) end))
  end)
end)
