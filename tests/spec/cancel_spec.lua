--- A model call that is cancelled in each phase, for all three APIs, with and without a recorder:
--- it ends at once, is noted once, and leaves no handle.
local anthropic = require("support.anthropic")
local async = require("agenthost.async")
local openai = require("support.openai")
local stress = require("support.stress")
local sys = require("agenthost.sys")

local ALL <const> = { anthropic = anthropic, openai = openai.new("openai"),
  ["openai-responses"] = openai.new("openai-responses") }

-- What the server does, and how long the call is left alone: until the first text, or this long.
local PHASES <const> = {
  before_the_headers = { wire = { first_delay = 30 }, seconds = 0.2 },
  before_the_first_event = { fault = { stall_after_events = 0, seconds = 30 }, seconds = 0.2 },
  in_the_text = { fault = { stall_after_events = 5, seconds = 30 } },
  byte_by_byte = { wire = { chunk = 1, delay = 0.001, gzip = true } },
  at_once = { seconds = 0 },
}

local function descriptors()
  local count = 0
  for _ in ipairs(assert(sys.list("/proc/self/fd"))) do
    count = count + 1
  end
  return count
end

for api, support in pairs(ALL) do
  describe("a cancelled call of " .. api, function()
    after_each(support.stop)

    for phase, rule in pairs(PHASES) do
      it("ends at once: " .. phase, function()
        support.serve({ rules = { { text = ("A long enough reply. "):rep(20), wire = rule.wire,
          fault = rule.fault } } })
        local p = support.provider()
        local notes = {}
        local before
        for try = 1, 2 do
          p.recorder = try > 1 and { note = function(_, note) notes[#notes + 1] = note end } or nil
          async.run(function()
            local seen = {}
            local job = async.spawn(function()
              return p:stream(anthropic.request({ pieces = openai.pieces({ "Hello" }) }),
                function(event)
                  if event.type == "text" then
                    async.notify(seen)
                  end
                end)
            end)
            if rule.seconds then
              assert(rule.seconds == 0 or stress.eventually(function()
                return #support.server.requests() == try -- it has come to the server
              end))
              async.sleep(rule.seconds)
            else
              assert.is_true(async.wait(seen, 20))
            end
            local started = sys.now()
            job:cancel("enough")
            assert.is_false((pcall(job.wait, job)))
            assert.is_true(sys.now() - started < 20)
          end)
          collectgarbage()
          before = before or descriptors()
          assert.is_true(descriptors() <= before + 1) -- one may be a connection that is kept
        end
        assert.equal(rule.seconds == 0 and #notes or 1, #notes)
        for _, note in ipairs(notes) do
          assert.equal("CANCELLED", note.code)
        end
      end)
    end
  end)
end
