-- Byte-stable prefixes: what the program has sent once, it sends again in the same bytes, in the
-- next turn and in the next process. The fake refuses everything else.
local fake = require("support.fake")
local program = require("support.program")

local ROUNDS <const> = 6 -- tool calls one behind the other

describe("byte-stable prefixes", function()
  it("from turn to turn and from process to process", function()
    local rules = {}
    for i = 1, ROUNDS do
      rules[i] = { times = 1, thinking = "Hm.", text = "Grüße " .. i, tools = {
        { name = "bash", input = { command = ("printf 'ä\\n\\t%d'"):format(i) } },
      } }
    end
    rules[ROUNDS + 1] = { text = "Done." }
    local server <close> = fake.start({ stable_prefix = true, rules = rules })
    local place = program.place()
    for _ = 1, 3 do -- only the first has the calls; the others ask the same once more
      local result = place:run({ "-p", "Go", server = server })
      assert.equal("Done.\n", result.stdout, result.stderr)
    end
    place:close()
    assert.equal(ROUNDS + 3, #server.requests())
  end)
end)
