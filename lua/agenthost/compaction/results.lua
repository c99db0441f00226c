--- Long old results of tools become their beginning and end, and the path of a file that holds the
--- whole: the cheap way to make room, without the model.
local cut = require("agenthost.compaction.cut")
local defaults = require("agenthost.defaults")
local json = require("agenthost.json")
local sys = require("agenthost.sys")
local text = require("agenthost.text")

local M = {}

---@class agenthost.ResultPlan
---@field at integer of the piece
---@field blocks table[] of the piece, decoded
---@field long table<integer, boolean> which of them are too long

-- The text of a result, and whether that is all of it.
local function text_of(content)
  if type(content) == "string" then
    return content, true
  end
  local texts, whole = {}, true
  for i, block in ipairs(content or {}) do
    whole = whole and block.type == "text"
    texts[i] = block.type == "text" and block.text or ("[%s]"):format(tostring(block.type))
  end
  return table.concat(texts, "\n"), whole
end

local function size_of(content)
  return type(content) == "string" and #content or #json.encode(content or "")
end

-- Skills are instructions: they stay.
local function is_long(block, all)
  return block.type == "tool_result" and size_of(block.content) > defaults.compaction.result
    and (all or not (type(block.content) == "string" and block.content:find("^<skill ")))
end

--- The results among pieces[1] .. pieces[last] that can be shortened.
---@param pieces agenthost.Piece[]
---@param last integer
---@param all? boolean also the text of skills
---@return agenthost.ResultPlan[] plans
---@return integer saved bytes that it would save, about
function M.plan(pieces, last, all)
  local plans, saved = {}, 0
  for at = 1, last do
    local piece = pieces[at]
    if #piece.blocks > defaults.compaction.result and cut.has_results(piece) then
      local plan = { at = at, blocks = json.decode("[" .. piece.blocks .. "]"), long = {} }
      for i, block in ipairs(plan.blocks) do
        if is_long(block, all) then
          plan.long[i] = true
          saved = saved + size_of(block.content) - defaults.compaction.result_kept
        end
      end
      plans[#plans + 1] = next(plan.long) and plan or nil
    end
  end
  return plans, saved
end

-- Keeps the whole of a result. Returns its path, or nil when that is not possible.
local function save(dir, content)
  local is_text = type(content) == "string"
  local path = ("%s/%s.%s"):format(dir, sys.random_hex(6), is_text and "txt" or "json")
  local file <close> = sys.append(path)
  return file and file:write(is_text and content or json.encode(content)) and path or nil
end

local function shorten(block, dir)
  local path = save(dir, block.content)
  if not path then
    return false
  end
  local shown = text.preview((text_of(block.content)), { max = defaults.compaction.result_kept })
  block.content = ("%s\n[shortened later, to save room; the whole result is in %s]"):format(shown,
    path)
  return true
end

--- Carries out plans: writes the files, and gives the changes for an entry of the session.
---@param plans agenthost.ResultPlan[]
---@param pieces agenthost.Piece[]
---@param session_dir string
---@return { from_end: integer, message: table }[] replaced see compaction.lua
---@return integer count results that were shortened
function M.carry_out(plans, pieces, session_dir)
  local dir = session_dir .. "/results"
  local replaced, count = {}, 0
  if #plans == 0 or not sys.mkdir_private(dir) then
    return replaced, count
  end
  for _, plan in ipairs(plans) do
    local before = count
    for i in ipairs(plan.blocks) do
      if plan.long[i] and shorten(plan.blocks[i], dir) then
        count = count + 1
      end
    end
    if count > before then
      replaced[#replaced + 1] = {
        from_end = #pieces - plan.at,
        message = { role = "user", content = plan.blocks },
      }
    end
  end
  return replaced, count
end

return M
