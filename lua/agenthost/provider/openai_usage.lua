--- Token counts as OpenAI's APIs and their imitators give them, in Anthropic's words: there what
--- was cached is part of the input, here it is not.
local M = {}

--- A count, or nil where there is none.
---@param owner any
---@param name string
---@return integer?
function M.count(owner, name)
  local value = type(owner) == "table" and owner[name]
  return math.type(value) == "integer" and value >= 0 and value or nil
end

--- The usage of a reply.
---@param counts { input: integer, cached: integer, written?: integer, output?: integer,
---  thinking?: integer } input: all of the prompt; cached: what of it came from a cache;
---  written: what of it went there; thinking: part of output
---@return table usage as agenthost.Provider tells it
function M.canonical(counts)
  return {
    input_tokens = math.max(0, counts.input - counts.cached - (counts.written or 0)),
    cache_read_input_tokens = counts.cached,
    cache_creation_input_tokens = counts.written,
    output_tokens = counts.output or 0,
    output_tokens_details = counts.thinking and { thinking_tokens = counts.thinking } or nil,
  }
end

return M
