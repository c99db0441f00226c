---@meta agenthost.markdown

---Markdown (CommonMark, tables, strikethrough, task lists) as text for a terminal. Implemented in
---src/core/markdown.c; agenthost.ui.markdown shows a text with it while it comes.
---
---Wrong arguments raise an error at the caller's line.
local markdown = {}

---@class agenthost.markdown.Options
---@field width? integer  columns of the terminal, default 80
---@field colour? boolean  styles by escape sequences, default false: then there is none at all
---@field unfinished? boolean  more text follows: gives only what no continuation changes, default false
---@field piece? integer  bytes of the longest piece that is parsed at once, default 65536

---Renders a text. It is cleaned first, as by `text.clean`. Links are followed by their address, tables
---fit the width, code blocks are indented and their lines not wrapped.
---@param text string
---@param options? agenthost.markdown.Options
---@return string
function markdown.render(text, options) end

---@class agenthost.markdown.CutOptions
---@field piece? integer  bytes of the longest piece, default 65536

---Where the first piece of a text ends that can be rendered alone. Nil while that is not certain;
---without a continuation the whole text is one piece then.
---@param text string
---@param options? agenthost.markdown.CutOptions
---@return integer? bytes  of the piece
---@return boolean gap  an empty line separates it from the next
---@return string carry  what has to stand before the next piece, in the middle of a code block
function markdown.cut(text, options) end

return markdown
