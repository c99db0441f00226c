--- What is known of models: limits in tokens, prices in US dollars per million tokens.
---
--- As of November 2026, from the price lists of the makers. Prices change: to correct one, or add a
--- model, copy this file to ~/.config/agenthost/lua/agenthost/model_table.lua and edit it there.
--- What is not listed has no price ("?"), and limits that a server tells are stronger than these.
---
--- A key is a model's id, which also stands for the same id with a date behind it, or a pattern in
--- which `*` is any text. An id is stronger than a pattern, a longer pattern than a shorter one.
---
---@class agenthost.TableEntry
---@field context_window? integer tokens of prompt and reply together
---@field max_output? integer tokens of a reply
---@field price? agenthost.Price nil: not known
---
---@class agenthost.Price
---@field input number
---@field output number
---@field cache_read? number default: as input
---@field cache_write? number for 5 minutes; default: as input
---@field cache_write_1h? number default: as cache_write
---@field above? { tokens: integer, price: agenthost.Price } what all of a call costs whose prompt
---  is longer than this

local MILLION <const> = 1000000

-- Anthropic's rule: writing costs 1.25 times the input (1 hour: twice), reading `read` times.
local function claude(input, output, read)
  return {
    input = input,
    output = output,
    cache_read = input * (read or 0.1),
    cache_write = input * 1.25,
    cache_write_1h = input * 2,
  }
end

-- OpenAI's: writing costs as much as any input.
local function gpt(input, cached, output)
  return { input = input, cache_read = cached, output = output }
end

local haiku_5_5 = claude(0.1, 0.5)
haiku_5_5.above = { tokens = 100000, price = claude(0.5, 2.5) }

---@type table<string, agenthost.TableEntry>
return {
  ["claude-fable-5-1"] = { context_window = MILLION, max_output = 128000,
    price = claude(10, 50, 0.025) },
  ["claude-fable-5"] = { price = claude(10, 50) },
  ["claude-opus-5-5"] = { context_window = MILLION, max_output = 128000,
    price = claude(4, 20, 0.05) },
  ["claude-opus-5"] = { context_window = MILLION, max_output = 128000, price = claude(5, 25) },
  ["claude-opus-4-8"] = { price = claude(5, 25) },
  ["claude-opus-4-7"] = { price = claude(5, 25) },
  ["claude-opus-4-6"] = { context_window = 200000, price = claude(5, 25) },
  ["claude-opus-4-5"] = { context_window = 200000, max_output = 64000, price = claude(5, 25) },
  ["claude-sonnet-5-5"] = { context_window = MILLION, max_output = 128000,
    price = claude(2, 10, 0.05) },
  ["claude-sonnet-5"] = { context_window = MILLION, price = claude(2, 10) },
  ["claude-sonnet-4-6"] = { context_window = 200000, max_output = 64000, price = claude(3, 15) },
  ["claude-sonnet-4-5"] = { context_window = 200000, max_output = 64000, price = claude(3, 15) },
  ["claude-haiku-5-5"] = { context_window = MILLION, max_output = 128000, price = haiku_5_5 },
  ["claude-haiku-4-5"] = { context_window = 200000, max_output = 64000, price = claude(1, 5) },
  ["claude-*"] = { context_window = 200000, max_output = 64000 },

  ["gpt-5"] = { context_window = 400000, max_output = 128000, price = gpt(1.25, 0.125, 10) },
  ["gpt-5-mini"] = { context_window = 400000, max_output = 128000, price = gpt(0.25, 0.025, 2) },
  ["gpt-5-nano"] = { context_window = 400000, max_output = 128000, price = gpt(0.05, 0.005, 0.4) },
  ["gpt-4.1"] = { context_window = 1047576, max_output = 32768, price = gpt(2, 0.5, 8) },
  ["gpt-4.1-mini"] = { context_window = 1047576, max_output = 32768, price = gpt(0.4, 0.1, 1.6) },
  ["gpt-4.1-nano"] = { context_window = 1047576, max_output = 32768, price = gpt(0.1, 0.025, 0.4) },
  ["gpt-4o"] = { context_window = 128000, max_output = 16384, price = gpt(2.5, 1.25, 10) },
  ["gpt-4o-mini"] = { context_window = 128000, max_output = 16384, price = gpt(0.15, 0.075, 0.6) },
  ["o3"] = { context_window = 200000, max_output = 100000, price = gpt(2, 0.5, 8) },
  ["o4-mini"] = { context_window = 200000, max_output = 100000, price = gpt(1.1, 0.275, 4.4) },
}
