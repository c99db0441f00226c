--- When a conversation becomes too long for the model, and what happens then. (How: cut.lua,
--- results.lua, summary.lua in compaction/; what the model is asked: prompts/compact.md.)
---
--- Before a call that comes near the context window, after one that was refused because it did not
--- fit (TOO_LONG), and on request: long old results become short ones that name a file with the
--- whole; where that is not enough the older part becomes a summary by the model. System prompt,
--- instruction files, the last turns and the tasks that run stay. When the summary fails the
--- conversation goes on with the first way, and says so.
---
--- The session file keeps all messages. A compaction is one further entry:
---
---     { type = "compaction", lead = { message, ... }, keep = 7, summary = "...",
---       replaced = { { from_end = 3, message = message }, ... } }
---
--- At that place the conversation becomes the messages of `lead`, then the newest `keep` pieces
--- (each message of the file is one) as they were, but for those in `replaced`: `from_end` 0 is the
--- newest. `summary` is there when there is one. `apply` does this, here and when a session is
--- loaded, so that both have the same bytes.
local cut = require("agenthost.compaction.cut")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local results = require("agenthost.compaction.results")
local size = require("agenthost.compaction.size")
local summary = require("agenthost.compaction.summary")
local words = require("agenthost.words")

local grouped <const> = words.grouped

---@class agenthost.Compaction
local Compaction = {}
Compaction.__index = Compaction

local M = {}

---@class agenthost.CompactionEvent
---@field type "compaction"
---@field reason "limit"|"too_long"|"asked"
---@field before integer tokens, estimated
---@field after integer
---@field messages integer that became a summary
---@field results integer that were shortened
---@field problem? string why there is no summary, where there should be one

---@param agent agenthost.Agent
---@return agenthost.Compaction
function M.new(agent)
  return setmetatable({
    agent = agent,
    size = size.new(agent),
    next_at = 0, -- tokens before which the limit is no reason to try again
    failed = 0, -- calls in a row that did not fit
  }, Compaction)
end

--- Takes note of what a call has used. To be called before its reply is in the conversation.
---@param usage table
function Compaction:took(usage)
  self.failed = 0
  self.size:took(usage)
end

--- Tokens that the next reply may have.
---@return integer
function Compaction:max_tokens()
  return self.size:reply()
end

-- ---- the entry ---------------------------------------------------------------------------------

local function piece_of(message)
  local blocks = {}
  for i, block in ipairs(message.content) do
    blocks[i] = json.encode(block)
  end
  return { role = message.role, blocks = table.concat(blocks, ",") }
end

local function is_message(message)
  return type(message) == "table" and (message.role == "user" or message.role == "assistant")
    and type(message.content) == "table" and type(message.content[1]) == "table"
end

-- What is wrong with an entry for `count` pieces, or nil.
local function problem_of(entry, count)
  local lead, replaced = entry.lead, entry.replaced or {}
  if type(lead) ~= "table" or type(replaced) ~= "table" or math.type(entry.keep) ~= "integer" then
    return "its shape is wrong"
  elseif entry.keep < 0 or entry.keep > count then
    return ("it keeps %d messages, and there are %d"):format(entry.keep, count)
  end
  for _, message in ipairs(lead) do
    if not is_message(message) then
      return "a message in it is none"
    end
  end
  for _, one in ipairs(replaced) do
    if type(one) ~= "table" or not is_message(one.message) or math.type(one.from_end) ~= "integer"
      or one.from_end < 0 or one.from_end >= entry.keep then
      return "a replaced message in it is none"
    end
  end
end

--- What a conversation becomes by an entry of type "compaction".
---@param pieces agenthost.Piece[] not changed
---@param entry table as it stands in the session file, decoded
---@return agenthost.Piece[]? pieces a new list, of the same pieces where they stay; or nil
---@return string? message
---@return "DAMAGED"? code
function M.apply(pieces, entry)
  local problem = problem_of(entry, #pieces)
  if problem then
    return nil, "a compaction in the session file cannot be read: " .. problem, "DAMAGED"
  end
  local made = {}
  for i, message in ipairs(entry.lead) do
    made[i] = piece_of(message)
  end
  table.move(pieces, #pieces - entry.keep + 1, #pieces, #made + 1, made)
  for _, one in ipairs(entry.replaced or {}) do
    made[#made - one.from_end] = piece_of(one.message)
  end
  return made
end

-- The session first: what it does not hold must not count.
function Compaction:put(entry)
  local agent = self.agent
  local pieces = assert(M.apply(agent.conversation.pieces, entry))
  agent.session:append("compaction", entry)
  self.size:replace(pieces)
end

-- ---- the two ways ------------------------------------------------------------------------------

-- Shortens results. Returns how many.
function Compaction:shorten(plans)
  local pieces = self.agent.conversation.pieces
  local replaced, count = results.carry_out(plans, pieces, self.agent.session.dir)
  if count > 0 then
    self:put({ lead = json.array({}), keep = #pieces, replaced = replaced })
  end
  return count
end

-- How long a summary may be, in tokens, and what it is made of, in bytes.
function Compaction:summary_bounds(limit)
  local bytes_per_token = math.min(4, self.size:bytes_per_token())
  return {
    max_tokens = math.min(defaults.compaction.summary_tokens, limit // 4,
      (self.size:most())),
    max_bytes = math.floor(limit * bytes_per_token * defaults.compaction.at),
  }
end

-- Where to cut for a summary, and the bytes that go; nil when that gains nothing. `bytes` is what
-- a prompt may have.
local function place_to_cut(pieces, bytes, asked)
  local options = defaults.compaction
  local first = cut.find(pieces, options.keep_turns, options.keep_share * bytes)
  if not first then
    return nil
  end
  local gone, new, replies = 0, 0, 0
  for at = 1, first - 1 do
    gone = gone + #pieces[at].blocks
    new = new + (summary.is_lead(pieces[at]) and 0 or #pieces[at].blocks)
    replies = replies + (pieces[at].role == "assistant" and 1 or 0)
  end
  if new >= options.growth * bytes or asked and replies > 0 then
    return first, gone
  end
end

-- Puts a summary in place of the older part. Returns how many messages that was; or nil, message,
-- code.
function Compaction:summarise(limit, asked, focus)
  local agent, pieces = self.agent, self.agent.conversation.pieces
  local first, gone = place_to_cut(pieces, limit * self.size:bytes_per_token(), asked)
  if not first then
    return nil, "there is nothing older than the last turns", "NOTHING"
  end
  agent:emit({ type = "compaction_start", tokens = self.size:tokens() })
  local bounds = self:summary_bounds(limit)
  bounds.focus = focus
  local written, message, code = summary.ask(agent, pieces, first - 1, bounds)
  if not written then
    return nil, message, code
  end
  local lead = json.array(summary.lead(agent, pieces, first - 1, written))
  if #json.encode(lead) >= gone then
    return nil, "the summary is as long as what it sums up", "USELESS"
  end
  self:put({ summary = written, lead = lead, keep = #pieces - first + 1 })
  return first - 1
end

-- ---- when --------------------------------------------------------------------------------------

--- Makes the conversation shorter.
---@param reason "limit"|"too_long"|"asked"
---@param focus? string what the user wants to be kept above all
---@return agenthost.CompactionEvent? event nil, message, code: nothing became shorter
function Compaction:compact(reason, focus)
  local agent, limit = self.agent, self.size:limit()
  focus = agent:fire("compact.before", { reason = reason, focus = focus }).focus
  local event = { type = "compaction", reason = reason, before = self.size:tokens(), messages = 0,
    results = 0 }
  local pieces = agent.conversation.pieces
  local recent = cut.find(pieces, defaults.compaction.keep_turns, math.huge) or 1
  local plans, saved = results.plan(pieces, recent - 1)
  local enough = reason ~= "asked" and limit * defaults.compaction.target or 0
  local messages, problem, code = nil, nil, nil
  if event.before * (1 - saved / self.size:bytes()) > enough then
    messages, problem, code = self:summarise(limit, reason == "asked", focus)
    if code == "INTERRUPTED" then
      return nil, problem, code
    end
  end
  if messages then
    event.messages = messages
  else
    event.problem = code ~= "NOTHING" and problem or nil
    event.results = self:shorten(plans)
  end
  if reason ~= "asked" and self.size:tokens() > limit * defaults.compaction.at then
    pieces = agent.conversation.pieces -- now also those of the last turns
    event.results = event.results + self:shorten((results.plan(pieces, #pieces, true)))
  end
  event.after = self.size:tokens()
  self.next_at = event.after + limit * defaults.compaction.growth
  if event.messages + event.results > 0 or event.problem then
    agent:emit(event)
  end
  if event.messages + event.results == 0 then
    return nil, problem or "there is nothing to make shorter", code or "NOTHING"
  end
  return event
end

--- Before a model call: makes room when the prompt comes near the context window.
---@return boolean? go_on nil, message, code when the user has interrupted it
---@return string? message
---@return string? code
function Compaction:prepare()
  local tokens = self.size:tokens()
  local is_long = tokens >= defaults.compaction.smallest and tokens >= self.next_at
  local ok, limit = true, self.size:known_limit()
  if not limit and (is_long or self.size:must_ask()) then -- the server is asked
    ok, limit = self.agent:interruptible(function() return self.size:limit() end)
  end
  if not ok or self.agent.interrupted then -- when the server had just answered, too
    return nil, "interrupted by the user", "INTERRUPTED"
  elseif is_long and tokens > limit * defaults.compaction.at then
    local event, message, code = self:compact("limit")
    if not event and code == "INTERRUPTED" then
      return nil, message, code
    end
  end
  self:warn()
  return true
end

-- What the server would cut off without a word the user has to know, once for each provider.
function Compaction:warn()
  local window, provider = self.size:is_cut(), self.agent.provider
  if window and self.warned ~= provider then
    self.warned = provider
    self.agent:emit({ type = "warning", text = ("%s takes %s tokens of a prompt and cuts off the "
      .. "rest without a word; this one has about %s: set OLLAMA_CONTEXT_LENGTH where it runs, or "
      .. "num_ctx of the model"):format(provider.model, grouped(window),
      grouped(self.size:tokens())) })
  end
end

--- After a call that did not fit: makes room for the next try.
---@param message string of the failure
---@param details? agenthost.Failure
---@return boolean? go_on nil, message, code when there is no more to be done
---@return string? message
---@return string? code
function Compaction:make_room(message, details)
  self.failed = self.failed + 1
  details = details or {}
  local is_enough = self.size:learn(details.context_window, details.prompt_tokens)
  local event, problem, code
  if self.failed <= defaults.compaction.tries then
    if is_enough then
      return true
    end
    event, problem, code = self:compact("too_long")
  end
  if event then
    return true
  elseif code == "INTERRUPTED" then
    return nil, problem, code
  end
  self.failed = 0 -- the next run may try again
  local why = problem and " (" .. problem .. ")" or ""
  return nil, ("%s. The conversation could not be made shorter%s: begin a new one, with less input "
    .. "at once, or take a model with a larger context window"):format(message, why), "TOO_LONG"
end

--- An event as one line for people.
---@param event agenthost.CompactionEvent
---@return string
function M.describe(event)
  local parts = {}
  local function add(n, what, done)
    if n > 0 then
      parts[#parts + 1] = words.number(n, what) .. " " .. done
    end
  end
  add(event.messages, "message", "summed up")
  add(event.results, "long result", "moved to files")
  if event.problem then
    parts[#parts + 1] = "summing up failed: " .. event.problem
  end
  return ("compacted: about %s → %s tokens (%s)"):format(grouped(event.before),
    grouped(event.after), table.concat(parts, "; "))
end

return M
