--- What every HTTP call of a provider has: the note for a recorder, and answers from elsewhere.
local anthropic = require("agenthost.provider.anthropic")
local async = require("agenthost.async")
local http = require("agenthost.http")
local json = require("agenthost.json")
local sys = require("agenthost.sys")
local support = require("support.anthropic")

after_each(support.stop)

local function recorder()
  local notes = {}
  function notes.note(_, note)
    notes[#notes + 1] = note
  end
  return notes
end

-- http.replay came with streams that keep their bytes.
local when_kept = http.replay and it or pending

describe("a call", function()
  when_kept("is noted once, with what came and without keys", function()
    support.serve({ rules = { { times = 1, text = "Hi." },
      { times = 1, fault = { status = 429, message = "slow, test-key" } },
      { times = 1, text = "A long enough reply.", fault = { cut_after_events = 4 } },
      { fault = { not_json = "<p>test-key</p>" } } } })
    local p = support.provider({ headers = { ["X-Team-Token"] = "very-secret",
      ["X-Gateway"] = "not-for-others" } })
    p.recorder = recorder()
    support.succeed(p)
    support.fail(p)
    support.fail(p)
    support.fail(p)
    support.stop()
    support.fail(p)
    local notes = p.recorder
    assert.equal(5, #notes)
    local whole = json.encode(notes[1])
    assert.same({ "anthropic", "claude-test-1", p.url, 200 },
      { notes[1].provider, notes[1].model, notes[1].url, notes[1].status })
    assert.same({ "<key>", "<key>" },
      { notes[1].headers["x-api-key"], notes[1].headers["x-team-token"] })
    assert.matches('^{"model":"claude%-test%-1"', notes[1].request)
    assert.matches("^event: message_start\n.*event: message_stop\n", notes[1].response)
    assert.matches("^text/event%-stream", notes[1].response_headers["content-type"])
    assert.is_nil(notes[1].message)
    assert.same({ 429, "RATE_LIMIT" }, { notes[2].status, notes[2].code })
    assert.matches("slow, <key>", notes[2].response, 1, true)
    assert.equal("CUT", notes[3].code)
    assert.same({ "NOT_JSON", "<p><key></p>" }, { notes[4].code, notes[4].response })
    assert.same({ "CONNECT", "", nil }, { notes[5].code, notes[5].response, notes[5].status })
    whole = whole .. json.encode(notes[2]) .. json.encode(notes[4])
    assert.is_nil(whole:find("test-key", 1, true))
    assert.is_nil(whole:find("very-secret", 1, true))
    assert.is_nil(whole:find("not-for-others", 1, true)) -- whatever its header is called
  end)

  when_kept("is noted when it is cancelled, and when a listener fails", function()
    support.serve({ rules = { { text = "Hi.",
      fault = { stall_after_events = 3, seconds = 60 } } } })
    local p = support.provider()
    p.recorder = recorder()
    async.run(function()
      local seen = {}
      local job = async.spawn(function()
        p:stream(support.request(), function(event)
          if event.type == "text" then
            async.notify(seen)
          end
        end)
      end)
      assert.is_true(async.wait(seen, 10))
      job:cancel("stop it")
      pcall(job.wait, job)
    end)
    assert.same({ 1, "CANCELLED" }, { #p.recorder, p.recorder[1].code })
    assert.matches("message_start", p.recorder[1].response)
    pcall(p.stream, p, support.request(), function(event)
      if event.type == "text" then
        error("broken listener")
      end
    end)
    assert.equal(2, #p.recorder)
  end)

  when_kept("can be answered from elsewhere, byte for byte", function()
    support.serve({ rules = { { text = "Hi.", thinking = "Hm." } } })
    local p = support.provider()
    p.recorder = recorder()
    local reply = support.succeed(p)
    support.stop()
    local note = p.recorder[1]
    local again = anthropic.new({ model = "m", base_url = "http://127.0.0.1:1" })
    again.open = function()
      return http.replay({ status = note.status, headers = note.response_headers,
        body = note.response })
    end
    local same, events = support.succeed(again)
    assert.same(reply, same)
    assert.equal("Hi.", support.join(events, "text"))
    assert.equal("UNSUPPORTED", select(3, again:list_models()))
    assert.is_nil(again:model_info())
  end)

  it("asks small questions for a moment only", function()
    support.serve({ rules = {} })
    local p = support.provider()
    local started = sys.now()
    os.execute("kill -STOP " .. support.server.pid)
    local defaults = require("agenthost.defaults")
    local saved = defaults.ask
    defaults.ask = { timeout = 0.2, max_body = 1000 }
    finally(function() defaults.ask = saved end)
    assert.is_nil(p:model_info())
    assert.is_true(sys.now() - started < 20)
  end)
end)
