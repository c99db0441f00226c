--- Markdown on a terminal while it comes: what is printed is never touched again, so text shows as
--- soon as nothing that may follow can change how it looks. Words of a paragraph show as they come,
--- unless emphasis, code or a link is open before them; lines of code when they are complete;
--- tables when they end. In the end all of it looks as if it had been rendered at once.
local defaults = require("agenthost.defaults")
local markdown = require("agenthost.markdown")
local options = require("agenthost.options")

local M = {}

---@class agenthost.ui.MarkdownOptions
---@field width fun(): integer columns of the terminal; asked when a piece of text begins
---@field colour boolean without styles the text is given as it is
---@field piece? integer bytes that are held back at most, default defaults.markdown.piece

---@class agenthost.ui.Markdown
local Stream = {}
Stream.__index = Stream

---@param opts agenthost.ui.MarkdownOptions
---@return agenthost.ui.Markdown
function M.new(opts)
  options.check(opts, { "width", "colour", "piece" }, 2)
  return setmetatable({
    width = opts.width,
    colour = opts.colour,
    piece = opts.piece or defaults.markdown.piece,
    pending = "", -- source of the piece that is not complete
    shown = "", -- what was given of its rendering
    columns = nil, -- the width it is rendered for
    separator = "", -- what stands before it, unless it is the first
    following = false, -- something was given before
  }, Stream)
end

-- What is new in the rendering of the current piece.
function Stream:progress(source, unfinished)
  self.columns = self.columns or self.width()
  local rendered = markdown.render(source, { width = self.columns, colour = self.colour,
    unfinished = unfinished, piece = self.piece })
  local shown = self.shown
  if #rendered <= #shown and unfinished then
    return ""
  end
  self.shown = rendered
  if shown == "" and rendered ~= "" then
    local separator = self.following and self.separator or ""
    self.following = true
    return separator .. rendered
  elseif rendered:sub(1, #shown) == shown then
    return rendered:sub(#shown + 1)
  end
  return "\n" .. rendered -- what was shown turned out to be something else: once more
end

function Stream:next_piece(gap)
  self.separator = gap and "\n" or ""
  self.shown, self.columns = "", nil
end

-- Takes in at most one piece's worth of text.
function Stream:take(text, out)
  self.pending = self.pending .. text
  while true do
    local bytes, gap, carry = markdown.cut(self.pending, { piece = self.piece })
    if not bytes then
      break
    end
    out[#out + 1] = self:progress(self.pending:sub(1, bytes), false)
    self:next_piece(gap)
    self.pending = carry .. self.pending:sub(bytes + 1)
  end
end

--- Takes in text, which has to be clean (text.filter), and gives what can be printed now.
---@param text string
---@return string
function Stream:feed(text)
  if not self.colour or text == "" then
    return text
  end
  local out = {}
  for at = 1, #text, self.piece do
    self:take(text:sub(at, at + self.piece - 1), out)
  end
  if text:find("[%s\x80-\xff]") then -- nothing becomes certain but at the end of a word
    out[#out + 1] = self:progress(self.pending, true)
  end
  return table.concat(out)
end

--- The text is over: gives the rest. The stream is then ready for another text.
---@return string
function Stream:finish()
  local rest = ""
  if self.pending ~= "" then
    rest = self:progress(self.pending, false)
  end
  self.pending, self.following = "", false
  self:next_piece(false)
  return rest
end

return M
