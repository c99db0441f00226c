--- What model calls have used: tokens and cost, per call, per run, since the start of the program,
--- and per session, over all of its resumptions.
---
--- Each call that used something is one entry "usage" of the session file; a resumed session adds
--- them up again with `replay`. A call that failed or was stopped counts, too: what the server said
--- of it until then is charged.
local json = require("agenthost.json")
local models = require("agenthost.models")
local sys = require("agenthost.sys")
local words = require("agenthost.words")

local grouped <const> = words.grouped

local M = {}

local TOKENS <const> = {
  "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens",
}

---@class agenthost.UsageSums
---@field calls integer
---@field input_tokens integer without the cached ones
---@field cache_read_input_tokens integer
---@field cache_creation_input_tokens integer
---@field output_tokens integer
---@field cost_usd number of the calls whose price is known
---@field unpriced integer calls whose price is not known, though they used tokens
---@field seconds number that the calls took

local function sums()
  local made = { calls = 0, cost_usd = 0, unpriced = 0, seconds = 0 }
  for _, name in ipairs(TOKENS) do
    made[name] = 0
  end
  return made
end

local function add(to, record)
  local used = 0
  for _, name in ipairs(TOKENS) do
    to[name] = to[name] + record.usage[name]
    used = used + record.usage[name]
  end
  to.calls = to.calls + 1
  to.cost_usd = to.cost_usd + (record.cost_usd or 0)
  to.unpriced = to.unpriced + (record.cost_usd == nil and used > 0 and 1 or 0)
  to.seconds = to.seconds + record.seconds
end

---@class agenthost.UsageRecord one call
---@field provider string
---@field model string
---@field usage table<string, integer> the four counts
---@field cost_usd? number nil: not known
---@field seconds number
---@field failed? boolean it gave no reply

---@class agenthost.Usage
---@field run agenthost.UsageSums since begin_run
---@field total agenthost.UsageSums since the program began
---@field session agenthost.UsageSums with what was replayed
---@field models table<string, agenthost.UsageSums> `total` by model
---@field last? agenthost.UsageRecord
---@field seconds number that all model calls of this program took, those without usage included
local Usage = {}
Usage.__index = Usage

--- Nothing used so far.
---@param on_record? fun(record: agenthost.UsageRecord) told of each call that used something
---@return agenthost.Usage
function M.new(on_record)
  return setmetatable({
    run = sums(),
    total = sums(),
    session = sums(),
    models = {},
    seconds = 0,
    on_record = on_record or function() end,
  }, Usage)
end

--- From here on `run` counts.
function Usage:begin_run()
  self.run = sums()
end

-- The four counts as whole numbers, of whatever a server or a file says.
local function counts_of(usage)
  local counts = {}
  for _, name in ipairs(TOKENS) do
    counts[name] = models.tokens(usage[name])
  end
  return counts
end

function Usage:note(record)
  self.last = record
  self.models[record.model] = self.models[record.model] or sums()
  for _, to in ipairs({ self.run, self.total, self.session, self.models[record.model] }) do
    add(to, record)
  end
  self.on_record(record)
end

-- ---- one call ----------------------------------------------------------------------------------

---@class agenthost.UsageCall
local Call = {}
Call.__index = Call

--- Begins to measure one call. What is returned notes it when it goes out of scope:
---
---     local call <close> = usage:start(provider)
---     return call:done(provider:stream(request, function(event) call:event(event) ... end))
---@param provider agenthost.Provider
---@return agenthost.UsageCall
function Usage:start(provider)
  return setmetatable({ owner = self, provider = provider, started = sys.now() }, Call)
end

--- Takes the counts of a call under way.
---@param event table see agenthost.Provider
function Call:event(event)
  if event.type == "usage" then
    self.usage = event.usage
  end
end

--- Takes what `stream` returned, and returns it.
function Call:done(reply, ...)
  if reply then
    self.ok, self.usage = true, reply.usage or {}
  end
  return reply, ...
end

function Call:__close()
  local seconds = sys.now() - self.started
  self.owner.seconds = self.owner.seconds + seconds
  if type(self.usage) == "table" then
    self.owner:note({
      provider = self.provider.name,
      model = self.provider.model,
      usage = counts_of(self.usage),
      cost_usd = models.cost(self.usage, models.price(self.provider)),
      seconds = seconds,
      failed = not self.ok or nil,
    })
  end
end

-- ---- sessions ----------------------------------------------------------------------------------

--- Goes on with what the same program has used in another session: `total` and the budget are the
--- program's. `session` stays.
---@param other agenthost.Usage
function Usage:go_on(other)
  self.total, self.models, self.seconds = other.total, other.models, other.seconds
end

--- Adds the calls of a session's earlier life to `session`.
---@param entries table[] entries of its file, decoded, or records that hold one as `entry`; those
---  of other types are passed over
function Usage:replay(entries)
  for _, record in ipairs(entries) do
    local entry = record.entry or record
    if entry.type == "usage" and type(entry.usage) == "table" then
      add(self.session, {
        usage = counts_of(entry.usage),
        cost_usd = type(entry.cost_usd) == "number" and entry.cost_usd or nil,
        seconds = type(entry.seconds) == "number" and entry.seconds or 0,
      })
    end
  end
end

-- ---- budget ------------------------------------------------------------------------------------

--- Whether the next call may be made.
---@param provider agenthost.Provider
---@param budget? number US dollars that the calls since the program began may cost; nil: any
---@return boolean? ok nil, message, code: MAX_BUDGET, or NO_PRICE when nobody knows what it costs
---@return string? message
---@return string? code
function Usage:check(provider, budget)
  if not budget then
    return true
  elseif not models.price(provider) then
    return nil, ("a budget (--max-budget-usd) needs the price of the model %s, which is not known: "
      .. "add it to a copy of model_table.lua in ~/.config/agenthost/lua/agenthost/"):format(
      provider.model), "NO_PRICE"
  elseif self.total.cost_usd >= budget then
    local said = "the budget of $%.10g is used up: $%.4f in %d calls (--max-budget-usd)"
    return nil, said:format(budget, self.total.cost_usd, self.total.calls), "MAX_BUDGET"
  end
  return true
end

-- ---- words -------------------------------------------------------------------------------------

--- What sums cost.
---@param of agenthost.UsageSums
---@return number? usd nil when the price of a call is not known
function M.cost(of)
  return of.unpriced == 0 and of.cost_usd or nil
end

--- "$0", "$0.0123", "$4.56".
---@param usd number
---@return string
function M.dollars(usd)
  if usd == 0 then
    return "$0"
  end
  return (usd < 1 and "$%.4f" or "$%.2f"):format(usd)
end

local function cost_text(of)
  if of.unpriced == 0 then
    return M.dollars(of.cost_usd)
  elseif of.cost_usd == 0 then
    return "cost ? (no price is known)"
  end
  return ("cost ?, at least %s (%d of the calls without a known price)"):format(
    M.dollars(of.cost_usd), of.unpriced)
end

--- Sums in one line: "3 calls, 12,345 tokens in (10,000 from the cache), 678 out, $0.0123".
---@param of agenthost.UsageSums
---@return string
function M.describe(of)
  local cached = of.cache_read_input_tokens
  local input = of.input_tokens + cached + of.cache_creation_input_tokens
  return ("%s call%s, %s tokens in%s, %s out, %s"):format(grouped(of.calls),
    of.calls == 1 and "" or "s", grouped(input),
    cached > 0 and (" (%s from the cache)"):format(grouped(cached)) or "",
    grouped(of.output_tokens), cost_text(of))
end

--- What `/usage` shows.
---@param budget? number US dollars
---@return string[] lines
function Usage:lines(budget)
  local lines = {
    "session    " .. M.describe(self.session),
    "last run   " .. M.describe(self.run),
  }
  local names = {}
  for name in pairs(self.models) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(#names > 1 and names or {}) do
    lines[#lines + 1] = ("%s: %s"):format(name, M.describe(self.models[name]))
  end
  if budget then
    lines[#lines + 1] = ("budget     %s, of which %s is spent since the start"):format(
      M.dollars(budget), M.dollars(self.total.cost_usd))
  end
  return lines
end

--- The fields of a result in `--output-format json` and `stream-json`.
---@return table fields usage, total_cost_usd (null: not known), modelUsage, duration_api_ms
function Usage:result()
  local by_model = {}
  for name, of in pairs(self.models) do
    by_model[name] = {
      inputTokens = of.input_tokens,
      outputTokens = of.output_tokens,
      cacheReadInputTokens = of.cache_read_input_tokens,
      cacheCreationInputTokens = of.cache_creation_input_tokens,
      costUSD = M.cost(of) or json.null,
    }
  end
  return {
    usage = counts_of(self.total),
    total_cost_usd = M.cost(self.total) or json.null,
    modelUsage = json.object(by_model),
    duration_api_ms = math.floor(self.seconds * 1000),
  }
end

return M
