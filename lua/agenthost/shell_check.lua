--- What a command line does beyond its words: programs that run other commands, and builtins that
--- change what later commands mean. Such a command is not plain, and what it may run is looked at,
--- too. For permission rules; see shell_commands.lua.
local defaults = require("agenthost.defaults")
local shell_commands = require("agenthost.shell_commands")
local shell_programs = require("agenthost.shell_programs")
local shorten = require("agenthost.words").shorten

local M = {}

local function set(words)
  local result = {}
  for word in words:gmatch("%S+") do
    result[word] = true
  end
  return result
end

-- Their arguments are, or hold, other commands.
local RUNS <const> = set([[
  eval exec source . command builtin trap coproc time env sudo doas su runuser pkexec xargs parallel
  nohup nice ionice chrt taskset setsid stdbuf timeout watch script unshare nsenter chroot flock
  busybox toybox ssh entr strace ltrace gdb unbuffer setarch setpriv systemd-run at batch crontab
  tmux screen expect npx bunx pipx uvx xvfb-run fakeroot proot bwrap firejail valgrind perf numactl
  prlimit choom cpulimit logsave dumb-init tini sg hyperfine run-parts start-stop-daemon watchexec
  dbus-run-session ld.so ld-linux.so.2 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1
]])
local SHELLS <const> = set("sh bash dash zsh ksh mksh ash fish rbash csh tcsh")

-- Builtins that change what later words mean, or evaluate what they are given.
local CHANGES <const> = set([[
  alias unalias hash enable export declare typeset readonly local set shopt unset let read mapfile
  readarray getopts bind complete compopt compgen fc history
]])

--- The name of a program without its folder.
---@param word string
---@return string
function M.basename(word)
  return word:match("^.*/([^/]+)$") or word
end

-- Whether a shell reads what it runs from somewhere else: its input, a device.
local function reads_elsewhere(words)
  local first = words[2] and words[2].text
  if not first or first:find("^/dev/") or first:find("^/proc/") then
    return true
  end
  for i = 2, #words do
    if words[i].text:find("^%-%a*c") then
      return false
    end
  end
  return first:find("^[-+]") ~= nil
end

-- Why a command is not plain, and whether its arguments hold others; nil when it is plain.
local function why_not(words)
  local name = M.basename(words[1].text)
  local first = words[2] and words[2].text
  if RUNS[name] then
    return ("'%s' runs other commands"):format(name), true
  elseif SHELLS[name] and (reads_elsewhere(words) or first:find("^[-+]")) then
    return ("'%s' runs commands that it is given"):format(name), true
  elseif CHANGES[name] then
    return ("'%s' changes what later commands do"):format(name), true
  end
  return shell_programs.problem(name, words)
end

local MOVES <const> = set("cd pushd popd")

-- Behind `cd`: a program in that folder is not the one that a rule means, and git runs what is
-- configured there.
local function elsewhere(result)
  local moved, problem = false, nil
  for _, command in ipairs(result.commands) do
    local name = command.words[1].text
    local script = SHELLS[M.basename(name)] and command.words[2]
    moved = moved or MOVES[name]
    if name:find("^[^/].*/") or name == "git" or script and script.text:find("^[^/]") then
      problem = problem or ("behind 'cd' nobody knows what '%s' runs"):format(name)
    end
  end
  return moved and problem
end

-- What a wrapper may run: each of its arguments as a command line, and as the start of a command.
local function look_inside(result, command, level)
  local words = command.words
  for i = 2, #words do
    if words[i].text:find("[%s;&|$`()<>]") then
      shell_commands.parse_into(result, words[i].text, level + 1)
      result.unsure = result.unsure or words[i].text:find("^%-") ~= nil -- env -S'rm x'
    end
    command.starts = i -- every suffix up to the last word is a command, too
  end
end

--- Reads a command line with all that it runs.
---@param text string
---@return agenthost.ShellText
function M.read(text)
  local result = shell_commands.parse(text)
  local i = 1
  while i <= #result.commands do -- grows meanwhile
    local command = result.commands[i]
    local before = #result.commands
    local why, inside = why_not(command.words)
    if why then
      result.problem = result.problem or why
    end
    if inside then
      look_inside(result, command, command.level or 0)
      for j = before + 1, #result.commands do
        result.commands[j].level = (command.level or 0) + 1
      end
    end
    local is_shell = SHELLS[M.basename(command.words[1].text)]
    result.unsure = result.unsure or is_shell and reads_elsewhere(command.words) or false
    i = i + 1
  end
  local problem = result.problem or elsewhere(result)
  result.problem = problem and shorten(problem, defaults.text.problem) or nil
  return result
end

return M
