--- What the agent tells of, as lines on the terminal.
local compaction = require("agenthost.compaction")
local defaults = require("agenthost.defaults")
local output = require("agenthost.output")
local text = require("agenthost.text")
local words = require("agenthost.words")

local M = {}

local show = {}

function show.model_start(repl)
  local more = (repl.noticed or 0) - defaults.ui.notices
  if more > 0 then
    repl.screen:dim(("● and %s more"):format(words.number(more, "notice")))
  end
  repl.noticed = 0
  repl.filter, repl.streaming = text.filter(), false
end

function show.text(repl, event)
  repl.streaming = true
  if repl.screen.shown and repl.editor:text() == "" then
    repl.screen:hide()
  end
  repl.screen:write(repl.markdown:feed(repl.filter:feed(event.text)))
end

--- A reply is over, however it ended: shows what was held back of it.
---@param repl agenthost.Repl
function M.end_text(repl)
  if repl.filter then
    repl.screen:write(repl.markdown:feed(repl.filter:finish()) .. repl.markdown:finish())
  end
  repl.screen:end_text()
  repl.streaming = false
end

function show.reply(repl)
  M.end_text(repl)
end

function show.tool_start(repl, event)
  repl.last_call = event.call
end

function show.tool_end(repl, event)
  local call, screen = event.call, repl.screen
  repl.last_call = call
  local line = ("%s %s"):format(call.is_error and "✗" or "✓",
    words.shorten(call.name, screen.width() // 2))
  local tail = (" (%s)"):format(words.duration(call.seconds))
  if call.summary and call.summary ~= "" then
    local room = screen.width() - utf8.len(line .. tail) - 1
    line = line .. " " .. words.shorten(call.summary, room)
  end
  screen:dim(line .. tail)
end

local function notice_line(notice, columns)
  if notice.kind == "task" then
    return words.shorten(("● task %s %s: %s (%s)"):format(notice.task,
      words.shorten(notice.command, 40), notice.status, output.ending(notice)), 500)
  end
  return words.shorten("● " .. tostring(notice.text or notice.kind), columns - 1)
end

-- Those of one delivery come one behind the other, and a model call behind them.
function show.notice(repl, event)
  repl.noticed = (repl.noticed or 0) + 1
  if repl.noticed <= defaults.ui.notices then
    repl.screen:dim(notice_line(event.notice, repl.screen.width()))
  end
end

function show.retry(repl, event)
  local wait = event.wait
  M.end_text(repl)
  repl.screen:dim(("%s; trying again in %.1f s (%d of %d)"):format(
    words.shorten(wait.message, 200), wait.delay, wait.try, wait.tries))
end

function show.discarded(repl)
  M.end_text(repl)
  repl.screen:dim("the text above was cut off and is discarded")
end

function show.compaction_start(repl)
  repl.screen:dim("summing up the older part of the conversation ...")
end

function show.compaction(repl, event)
  repl.screen:dim(words.shorten(compaction.describe(event), 500))
end

function show.held(repl, event)
  repl.screen:dim(("%d runs in a row were started by notices alone: they wait for your next line "
    .. "now (defaults.wake.max_runs)"):format(event.runs))
end

function show.warning(repl, event)
  M.end_text(repl)
  repl.screen:say(repl.screen:style("31", words.shorten(event.text, 1000)))
end

function show.note(repl, event)
  M.end_text(repl)
  repl.screen:dim(words.shorten(event.text, 1000))
end

show.reload = show.note

function show.log(repl, event)
  if repl.options.verbose then
    repl.screen:dim(words.shorten(event.text, 1000))
  end
end

--- Shows one event of the agent's.
---@param repl agenthost.Repl
---@param event table
function M.event(repl, event)
  if show[event.type] then
    show[event.type](repl, event)
  end
end

return M
