---@meta agenthost.text

---Bytes of unknown origin, made safe to show to a model or on a terminal: UTF-8 is repaired (each
---invalid part becomes U+FFFD); escape sequences, controls other than `\n` and `\t`, and characters
---that hide or reorder text (bidi controls, U+FEFF, tag characters) are removed. Implemented in
---src/core/text.c. Also the strings of JSON, for agenthost.json (src/core/json_string.c).
---
---Wrong arguments raise an error at the caller's line; a number is not taken for a string.
local text = {}

---What `text.clean` found out about its input.
---@class agenthost.text.Info
---@field binary boolean  better shown as "binary, N bytes": UTF-16, images, compressed data, many NULs
---@field replaced integer  bytes of invalid UTF-8 that became U+FFFD
---@field bytes integer  length of the input

---Cleans a whole text. In addition to what the filter does, carriage-return progress and backspaces
---are resolved: a progress bar leaves its last state.
---@param bytes string
---@return string clean
---@return agenthost.text.Info info
function text.clean(bytes) end

---@class agenthost.text.PreviewOptions
---@field max? integer  most characters (code points) to keep, default 50000
---@field head? number  share of them for the beginning, 0 to 1, default 0.5

---Head and tail of a long text with a line "[... N characters left out ...]" between them; a text
---that is not longer than `max` comes back as it is. Cuts are moved to the ends of lines that are
---near. The text should be clean.
---@param s string
---@param options? agenthost.text.PreviewOptions
---@return string
function text.preview(s, options) end

---`&`, `<` and `>` become entities, so that the text cannot forge a frame around it.
---@param s string
---@return string
function text.escape(s) end

---Columns that one line takes on a terminal: wide characters and emoji 2, combining ones 0, a tab
---up to the next multiple of 8. Knows no escape sequences: clean the text first.
---@param s string
---@return integer
function text.width(s) end

---`s` as a JSON string with its quotes: always the same bytes for the same text. Broken UTF-8
---becomes U+FFFD.
---@param s string
---@return string
function text.quote(s) end

---The place of the quote that ends the JSON string whose first quote is at `pos`.
---@param json string
---@param pos integer  raises when no quote is there
---@return integer? pos  nil: there is no end
function text.quote_end(json, pos) end

---What the JSON string whose first quote is at `pos` stands for. Broken UTF-8 and lone surrogates
---become U+FFFD.
---@param json string
---@param pos integer  raises when no quote is there
---@return string? s  nil when it is not valid
---@return integer pos  behind the string, or where it is wrong
---@return string? what  is wrong
function text.unquote(json, pos) end

---@class agenthost.text.FilterOptions
---@field cr? "drop"|"newline"  what becomes of a `\r` without `\n` behind it, default "drop"

---A cleaner for text that comes in pieces: characters and escape sequences may be split anywhere.
---@param options? agenthost.text.FilterOptions
---@return agenthost.text.Filter
function text.filter(options) end

---@class agenthost.text.Filter
local Filter = {}

---@param chunk string
---@return string clean  what is certain so far; the rest comes with the next chunk
function Filter:feed(chunk) end

---The text is over: gives what was held back. The filter is then ready for another text.
---@return string clean
function Filter:finish() end

return text
