--- Calls of the OpenAI providers in tests, against the strict fake server.
---
---     local support = require("support.openai").new("openai")
---     after_each(support.stop)
---     support.serve({ rules = { { text = "Hi." } } })
---     local reply, events = support.succeed(support.provider())
local anthropic = require("support.anthropic")
local assert = require("luassert")
local fake = require("support.fake")
local json = require("agenthost.json")

local M = {}

local HTTP <const> = { connect_timeout = 30, stall_timeout = 30, timeout = 60 }

local MODULES <const> = {
  openai = "agenthost.provider.openai",
  ["openai-responses"] = "agenthost.provider.openai_responses",
}

--- User texts, assistant contents and lists of blocks in turns, as the pieces of a conversation.
---@param turns (string|table)[]
---@return agenthost.Piece[]
function M.pieces(turns)
  local pieces = {}
  for i, turn in ipairs(turns) do
    local blocks = {}
    for k, block in ipairs(type(turn) == "string" and { { type = "text", text = turn } } or turn) do
      blocks[k] = block.json or json.encode(block)
    end
    pieces[i] = { role = i % 2 == 1 and "user" or "assistant", blocks = table.concat(blocks, ",") }
  end
  return pieces
end

--- tool_result blocks for all the calls of a reply.
function M.results(content, text)
  local results = {}
  for _, block in ipairs(content) do
    if block.type == "tool_use" then
      results[#results + 1] =
        { type = "tool_result", tool_use_id = block.id, content = text or "ok" }
    end
  end
  return results
end

--- @param api "openai"|"openai-responses"
function M.new(api)
  local self = { pieces = M.pieces, results = M.results, join = anthropic.join,
    types_of = anthropic.types_of, sse = anthropic.sse, raw = anthropic.raw }

  function self.stop()
    if self.server then
      self.server.stop()
      self.server = nil
    end
  end

  --- Starts the server of a test.
  function self.serve(scenario)
    self.stop()
    self.server = fake.start(scenario, { api = api })
  end

  --- A provider for that server. Fields change its options; api_key = false takes the key away.
  function self.provider(fields)
    local opts = { model = "gpt-test-1", api_key = "test-key", base_url = self.server.base_url,
      http = HTTP }
    if api == "openai" then
      opts.max_tokens_field = "max_completion_tokens"
    end
    for name, value in pairs(fields or {}) do
      opts[name] = value
    end
    opts.api_key = opts.api_key or nil
    return require(MODULES[api]).new(opts)
  end

  local function with_pieces(fields)
    local made = { pieces = M.pieces(fields and fields.turns or { "Hello" }) }
    for name, value in pairs(fields or {}) do
      made[name] = value
    end
    made.turns = nil
    return made
  end

  function self.call(p, fields)
    return anthropic.call(p, with_pieces(fields))
  end

  function self.succeed(p, fields)
    return anthropic.succeed(p, with_pieces(fields))
  end

  function self.fail(p, fields)
    return anthropic.fail(p, with_pieces(fields))
  end

  --- The body of the last request.
  function self.sent()
    local requests = self.server.requests()
    local last = assert(requests[#requests], "there was no request")
    return json.decode(last.body_text), last.body_text, last.headers
  end

  --- Raises when the server has refused a request.
  function self.check()
    for _, entry in ipairs(self.server.log()) do
      assert.not_equal("rejected", entry.kind, entry.message)
    end
  end

  return self
end

return M
