---@meta agenthost.sys

---Files, time, environment and terminal. Implemented in src/lua/sys.c and src/lua/sys_file.c.
---
---Durations are seconds, sizes are bytes. What can fail in normal use returns nil, a message and a
---code: the name of the errno ("ENOENT", "EACCES", ...), or what is said at the function. Wrong
---arguments raise an error at the caller's line; a path may be neither empty nor have a NUL byte.
local sys = {}

---@class agenthost.sys.Stat
---@field type agenthost.sys.FileType
---@field size integer  bytes
---@field mtime number  last change, seconds since the epoch
---@field mode integer  permission bits
---@field inode integer

---@alias agenthost.sys.FileType "file"|"directory"|"link"|"fifo"|"socket"|"device"

---@class agenthost.sys.Entry
---@field name string
---@field type agenthost.sys.FileType  of the entry itself: links are not followed

---------------------------------------------------------------------------------------------------
-- Files confined to a directory
---------------------------------------------------------------------------------------------------

---Opens a directory as the root of file operations that cannot leave it: the kernel refuses every
---way out ("..", symbolic links, directories exchanged in between).
---@param path string
---@return agenthost.sys.Root? root
---@return string? message
---@return string? code
function sys.root(path) end

---Paths are relative to the root, or absolute when they name something under it. Outside is code
---"EXDEV"; "ENOSYS" says that the kernel is older than 5.6. Links that stay inside are followed
---(but for absolute ones). Using a closed root raises.
---@class agenthost.sys.Root
local Root = {}

---The absolute path of the root, without symbolic links.
---@return string
function Root:path() end

---Reads a regular file. Directories, FIFOs, sockets and devices are refused.
---@param path string
---@param max? integer  most bytes to read, default 16 MiB
---@return string? bytes
---@return integer|string size  bytes in the file: larger than `#bytes` exactly when there is more; or the message
---@return string? code
function Root:read(path, max) end

---Replaces the file in one step, or makes it, with the directories above it that are missing. A
---reader sees the old or the new text; when it fails the old one is untouched. The mode of an
---existing file is kept and a symbolic link is written through.
---@param path string
---@param text string
---@return true? ok
---@return string? message
---@return string? code
function Root:write(path, text) end

---The entries of a directory, sorted by the bytes of their names, without "." and "..".
---@param path? string  default "."
---@param max? integer  most entries, default 10000
---@return agenthost.sys.Entry[]? entries
---@return boolean|string more  the directory has more entries; or the message
---@return string? code
function Root:list(path, max) end

---Follows links that stay inside.
---@param path string
---@return agenthost.sys.Stat? stat
---@return string? message
---@return string? code
function Root:stat(path) end

---Closing twice is fine. Also `<close>`, and garbage collection.
function Root:close() end

---------------------------------------------------------------------------------------------------
-- Files, not confined: for agenthost's own state
---------------------------------------------------------------------------------------------------

---Opens a regular file for appending; makes it with mode 0600 if it is missing.
---@param path string
---@return agenthost.sys.Appender? file
---@return string? message
---@return string? code
function sys.append(path) end

---Using a closed file raises.
---@class agenthost.sys.Appender
local Appender = {}

---Appends one record with one write, so that records of several processes do not mix.
---@param text string
---@return true? ok
---@return string? message
---@return string? code  "SHORT": a part was written (the disk is full)
---@return integer? written  with "SHORT": how many bytes
function Appender:write(text) end

---Takes the file for this process alone, until it is closed or the process ends. Does not wait.
---@return true? ok
---@return string? message
---@return string? code  "LOCKED": another process has it
function Appender:lock() end

---What was written is on the disk when this returns (fdatasync).
---@return true? ok
---@return string? message
---@return string? code
function Appender:sync() end

---Closing twice is fine. Also `<close>`, and garbage collection.
function Appender:close() end

---@param path string
---@param max? integer  most bytes to read, default 16 MiB
---@return string? bytes
---@return integer|string size  as for Root:read; or the message
---@return string? code
function sys.read_file(path, max) end

---Replaces the file in one step and puts it on the disk; its directory has to exist.
---@param path string
---@param text string
---@param mode? integer  permission bits; default: those it has, 0600 for a new one
---@return true? ok
---@return string? message
---@return string? code
function sys.write_file(path, text, mode) end

---Makes the directory and what is missing above it with mode 0700; what exists stays as it is.
---@param path string
---@return true? ok
---@return string? message
---@return string? code
function sys.mkdir_private(path) end

---As Root:list.
---@param path string
---@param max? integer  most entries, default 10000
---@return agenthost.sys.Entry[]? entries
---@return boolean|string more
---@return string? code
function sys.list(path, max) end

---Follows links.
---@param path string
---@return agenthost.sys.Stat? stat
---@return string? message
---@return string? code
function sys.stat(path) end

---The absolute path without links and dots.
---@param path string
---@return string? path
---@return string? message
---@return string? code
function sys.realpath(path) end

---@return string? path
---@return string? message
---@return string? code
function sys.cwd() end

---Changes the directory of the whole process: only while the program starts, before it has threads.
---@param path string
---@return true? ok
---@return string? message
---@return string? code
function sys.chdir(path) end

---A base directory of the XDG specification, absolute, without "agenthost" behind it. It need not
---exist. A relative value of its variable is ignored.
---@param kind "state"|"config"|"data"|"cache"
---@return string? path
---@return string? message
---@return string? code  "ENOENT": there is no home directory
function sys.xdg(kind) end

---The directory of the running program.
---@return string? path
---@return string? message
---@return string? code
function sys.executable_dir() end

---------------------------------------------------------------------------------------------------
-- Time, process, randomness
---------------------------------------------------------------------------------------------------

---Seconds on the monotonic clock, for durations.
---@return number
function sys.now() end

---Seconds since the epoch.
---@return number
function sys.wall() end

---The time now in UTC, as "2026-11-22T11:48:37.123Z".
---@return string
function sys.timestamp() end

---@return integer
function sys.pid() end

---Stops this process as Ctrl-Z would; returns when it is continued, and at once where there is no
---shell that could do that.
function sys.stop_self() end

---Sends a signal to every process of a group.
---@param pgid integer
---@param signal "TERM"|"KILL"
---@return boolean? done nil, message, code: ESRCH when there is none, EPERM
---@return string? message
---@return string? code
function sys.signal_group(pgid, signal) end

---Whether something on this machine takes TCP connections on a port. Waits for 0.1 s at most.
---@param port integer
---@return boolean
function sys.port_is_open(port) end

---Random bytes of the kernel as 2 * count hex digits.
---@param count integer  1 to 1024
---@return string? hex
---@return string? message
---@return string? code
function sys.random_hex(count) end

---------------------------------------------------------------------------------------------------
-- Environment
---------------------------------------------------------------------------------------------------

---A variable: first of those that are hidden, then of the environment.
---@param name string
---@return string?
function sys.getenv(name) end

---Moves the variables whose names match a shell pattern ("*_API_KEY") out of the environment, so
---that no child and no /proc/PID/environ shows them; `sys.getenv` still finds them. Only while the
---program starts, before it has threads.
---@param patterns string|string[]
---@return integer count  of the variables that were hidden
function sys.hide_env(patterns) end

---Replaces the values of hidden variables (of 8 bytes and more) in a text by `<NAME>`.
---@param s string
---@return string
function sys.redact(s) end

---------------------------------------------------------------------------------------------------
-- Terminal
---------------------------------------------------------------------------------------------------

---@param fd 0|1|2
---@return boolean
function sys.isatty(fd) end

---@param fd 0|1|2
---@return integer? columns  nil when it is no terminal, or one of unknown size
---@return integer? rows
function sys.terminal_size(fd) end

---What can be read there now, waiting only when there is nothing: watch it with the reactor first.
---@param fd 0
---@return string? bytes  at most 16 KiB; "" at the end
---@return string? message
---@return string? code
function sys.read_fd(fd) end

---Moves standard output to a descriptor of its own, which no child inherits; what is written to
---standard output from now on, also by children, goes to standard error.
---@return integer? fd  for write_fd
---@return string? message
---@return string? code
function sys.move_stdout() end

---Writes all of it, waiting for room where the descriptor is non-blocking.
---@param fd integer  1, 2, or what move_stdout gave
---@param text string
---@return true? ok
---@return string? message
---@return string? code  "EPIPE": nobody reads any more
function sys.write_fd(fd, text) end

--- Runs a program that takes over the terminal, such as an editor, and waits for it; nothing else
--- happens meanwhile, tasks aside. Give the terminal back before: `editor:suspend()`.
---@param words string[]  the program, looked up along PATH, and its arguments
---@return integer? code  its exit code, or 128 + the signal that ended it
---@return string? message
---@return string? code  why it could not be started: ENOENT, EACCES, ...
function sys.run_in_terminal(words) end

return sys
