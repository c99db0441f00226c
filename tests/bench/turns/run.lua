-- Measures what a long conversation costs beside the model: see README.md.
--   agenthost tests/bench/turns/run.lua [turns] [context window, in tokens]
local agent = require("agenthost.agent")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local sys = require("agenthost.sys")

local turns <const> = math.tointeger(tonumber(arg[1] or 5000))
local window <const> = math.tointeger(tonumber(arg[2] or 200000))
local BLOCKS <const> = 10 -- lines of the table

defaults.limits.context_window = window

-- Answers at once, with numbers as a server would count them.
local provider = { name = "bench", model = "bench/none", bytes = 0, sums = 0, sum_seconds = 0 }
function provider:stream(request)
  local prompt = request.messages_json()
  self.bytes = math.max(self.bytes, #prompt)
  local reply = { stop_reason = "end_turn", usage = { input_tokens = #prompt // 4 } }
  if request.system:find("You sum up", 1, true) then
    self.sums = self.sums + 1
    reply.content = { { type = "text", text = ("What was done so far. "):rep(200) } }
    return reply
  end
  self.turn = (self.turn or 0) + 1
  reply.content = { { type = "text", text = "Turn " .. self.turn } }
  if self.turn % (turns // BLOCKS) ~= 0 then
    reply.stop_reason = "tool_use"
    reply.content[2] = { type = "tool_use", id = "toolu_" .. self.turn, name = "look",
      input = { n = self.turn } }
  end
  return reply
end

local line <const> = ("0123456789"):rep(7) .. "\n"
local made = agent.new({
  provider = provider,
  instructions = false,
  max_turns = turns + 1,
  tools = { { name = "look", description = "for the bench", run = function(input)
    return line:rep(input.n % 10 == 0 and 300 or 15)
  end } },
})

print(" turns   CPU ms a turn   slowest ms   Lua KiB   pieces   compactions   longest prompt KiB")
async.run(function()
  for block = 1, BLOCKS do
    local started, last, slowest = os.clock(), sys.now(), 0
    made.on_event = function(event)
      if event.type == "model_start" then
        slowest, last = math.max(slowest, sys.now() - last), sys.now()
      end
    end
    assert(made:run("Go on with part " .. block))
    local seconds = os.clock() - started
    collectgarbage()
    print(("%6d %15.3f %12.1f %9.0f %8d %13d %20.0f"):format(provider.turn,
      seconds * 1000 / (turns // BLOCKS), slowest * 1000, collectgarbage("count"),
      #made.conversation.pieces, provider.sums, provider.bytes / 1024))
  end
end)
made:close()
