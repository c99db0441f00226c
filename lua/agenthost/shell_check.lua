--- What a command line does beyond its words: programs that run other commands, and builtins that
--- change what later commands mean. Such a command is not plain, and what it may run is looked at,
--- too. For permission rules; see shell_commands.lua.
local shell_commands = require("agenthost.shell_commands")

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
  busybox toybox ssh entr strace ltrace gdb unbuffer setarch setpriv
]])
local SHELLS <const> = set("sh bash dash zsh ksh mksh ash fish rbash csh tcsh")

-- Builtins that change what later words mean, or evaluate what they are given.
local CHANGES <const> = set([[
  alias unalias hash enable export declare typeset readonly local set shopt unset let read mapfile
  readarray getopts bind complete compopt fc history
]])

-- Arguments with which a program runs another one, writes a file that they name, or (builtins)
-- evaluates a subscript. A short option counts with whatever follows it, a long one also shortened,
-- one with a `=` only where such a sign stands in it or in the word behind it.
local OPTIONS <const> = {
  find = { "-exec", "-ok", "-delete", "-fprint", "-fls" },
  fd = { "-x", "-X", "--exec" },
  rg = { "--pre", "--hostname-bin" },
  sort = { "-o", "--output", "--compress-program" },
  tar = { "-I", "--use-compress-program", "--to-command", "--checkpoint-action", "--rsh-command" },
  git = { "-c=", "--config-env", "--exec-path", "--exec", "--output", "--ext-diff", "--upload-pack",
    "--receive-pack", "--open-files-in-pager" },
  printf = { "-v" },
  test = { "-v", "-R" },
  ["["] = { "-v", "-R" },
  wait = { "-p" },
}

--- The name of a program without its folder.
---@param word string
---@return string
function M.basename(word)
  return word:match("([^/]+)$") or word
end

local function is_option(word, option)
  local long = option:find("^%-%-") and #word > 2 and word:match("^[^=]*")
  return word:sub(1, #option) == option or long and option:sub(1, #long) == long
end

local function has_option(words, options)
  for i = 2, #words do
    local word, next_word = words[i].text, words[i + 1] and words[i + 1].text or ""
    for _, option in ipairs(options) do
      local assigning = option:match("^(.-)=$")
      if is_option(word, assigning or option)
        and not (assigning and not (word .. next_word):find("=", 1, true)) then
        return word
      end
    end
  end
end

-- Why a command is not plain, and whether its arguments hold others; nil when it is plain.
local function why_not(words)
  local name = M.basename(words[1].text)
  local first = words[2] and words[2].text
  if RUNS[name] then
    return ("'%s' runs other commands"):format(name), true
  elseif SHELLS[name] and (not first or first:find("^[-+]")) then
    return ("'%s' runs commands that it is given"):format(name), true
  elseif CHANGES[name] then
    return ("'%s' changes what later commands do"):format(name)
  end
  local option = OPTIONS[name] and has_option(words, OPTIONS[name])
  if option then
    return ("'%s' of %s can run or write something else"):format(option, name), true
  end
end

-- What a wrapper may run: each of its arguments as a command line, and as the start of a command.
local function look_inside(result, command, level)
  local words = command.words
  for i = 2, #words do
    if words[i].text:find("[%s;&|$`()<>]") then
      shell_commands.parse_into(result, words[i].text, level + 1)
    end
    command.starts = i -- every suffix up to the last word is a command, too
  end
end

--- Reads a command line with all that it runs.
---@param text string
---@return agenthost.ShellText commands have `starts` where each suffix from the second word up to
---  that one may be a command, too
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
      result.unsure = result.unsure or SHELLS[M.basename(command.words[1].text)]
        and not command.words[2] or false
    end
    i = i + 1
  end
  return result
end

return M
