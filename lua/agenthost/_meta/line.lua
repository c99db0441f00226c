---@meta agenthost.line

--- One edited line at the bottom of the terminal (stdin and stdout), while the program waits in the
--- reactor. Nothing here waits: watch `editor:fd()` and call `editor:feed()` when it is readable.
---
---     local editor <close> = assert(line.open{ prompt = "> ", history = path })
---     editor:show()
---     -- whenever editor:fd() is readable:
---     local lines, ended = editor:feed()
---     -- to say something without disturbing what is being typed:
---     editor:print("a notice")
---
--- All text is UTF-8 whatever LANG says. Ctrl-C and Ctrl-Z stay signals (SIGINT, SIGTSTP) and are
--- the program's to handle. Keys: the arrows, Home, End, Delete; Ctrl-A B D E F H K L N P T U W Y;
--- Alt-B C D F L U and Backspace, Ctrl- and Alt-arrows by word; Ctrl-R, Alt-P or Page Up: the next
--- older line that contains what is typed; Alt-N or Page Down: the next newer one. Other control
--- keys and escape sequences are dropped. Text that is pasted (the terminal is asked to mark it) is
--- taken as it is: one line as if typed, several as a label such as "[paste 1: 20 lines]", which comes
--- out of `feed` as the lines that it stands for, line breaks in them. Using a closed editor raises.
---@class agenthost.line
local line = {}

---@class agenthost.line.Options
---@field prompt? string default "> "; see Editor:set_prompt
---@field history? string file that earlier lines are read from and new ones appended to; made with mode 0600, its directory must exist. Default: kept in memory only
---@field history_max? integer lines remembered, 0 to 100000, default 1000. The file is cut to this when it has grown to twice as many

--- Takes the terminal. The editor starts hidden: call show(). The modes are restored by close, by
--- every exit of the process, and by fatal signals that nobody handles. One editor a process.
---@param options? agenthost.line.Options
---@return agenthost.line.Editor? editor
---@return string? message
---@return string? code ENOTTY: stdin or stdout is no terminal; EBUSY: there is one already; or why the history file cannot be used (EACCES, ENOENT, EISDIR, ...)
function line.open(options) end

--- Restores the terminal's modes at once and does nothing else: for ways out of the process where
--- the editor cannot be closed. Harmless without an editor.
function line.restore() end

---@class agenthost.line.Editor
local Editor = {}

--- The descriptor to watch.
---@return integer
function Editor:fd() end

--- Whether the terminal driver edits (TERM is dumb or unset): then the prompt is printed, but
--- nothing can be redrawn, inserted or brought back from the history.
---@return boolean
function Editor:is_plain() end

--- Takes what has been typed (at most 64 KiB at a time; the rest stays readable) and returns every
--- line that was finished, in order and without the newline at its end: none, one or more. Never
--- waits. Works the same while hidden. While suspended it reads nothing.
---@return string[] lines
---@return boolean ended true at Ctrl-D on an empty line, and when the terminal is gone
---@return boolean tab Tab was the last key: it does nothing by itself, and is there for completion
function Editor:feed() end

--- Whether Escape was pressed alone: a lone one looks like the start of a key until nothing has
--- followed for 50 ms, so ask that long after a feed. Asking takes it.
---@return boolean
function Editor:take_escape() end

--- Takes the prompt and the half-typed line off the screen, and leaves the cursor where the prompt
--- was, at the start of a row: print there, and end with a newline. Keys still edit the line.
function Editor:hide() end

--- Draws the prompt and the half-typed line, cursor and all. The terminal's cursor has to be at the
--- start of a row. After Enter the next prompt is drawn at once, until hide.
function Editor:show() end

--- Prints text above the prompt, and the prompt again if it was shown. A newline is added when the
--- text does not end with one; an empty text does nothing. Escape sequences go through as they are.
---@param text string
function Editor:print(text) end

--- One line. Colours (ESC [ ... m) may stand in it and take no columns; other control characters
--- are dropped. A prompt that ends in an escape sequence should have a space before it: it gets
--- one otherwise.
---@param text string
function Editor:set_prompt(text) end

--- The half-typed line.
---@return string
function Editor:text() end

--- Puts text in at the cursor, as if typed, or pasted when it has several lines (then a label
--- stands for it, and it must not come while a paste does); control characters become spaces. Lines
--- of up to 1,048,576 characters.
---@param text string
---@return boolean done false on a plain terminal, and when there are too many pastes
function Editor:insert(text) end

--- Empties the half-typed line (for Ctrl-C, or to edit it elsewhere) and returns what it was, pastes
--- whole.
---@return string
function Editor:discard() end

--- Remembers a line for the up-arrow, and appends it to the file at once. Skips blank lines, the
--- same line again, and lines over 64 KiB; control characters in it become spaces.
---@param text string
---@return boolean? done
---@return string? message
---@return string? code the file cannot be written; the line is remembered all the same
function Editor:add_history(text) end

--- To be called after SIGWINCH: draws for the new size.
function Editor:resize() end

--- Gives the terminal back as it was, prompt off the screen: for Ctrl-Z, and to run an editor.
function Editor:suspend() end

--- Takes the terminal again and draws what was there. The half-typed line has been kept.
function Editor:resume() end

--- Takes the prompt off the screen and restores the terminal's modes. May be called again. Also
--- done by `<close>` and by the garbage collector.
function Editor:close() end

return line
