--- Programs that run another one, or write a file, when an option or a script tells them to. For
--- permission rules: a rule that allows such a program does not mean that; see shell_check.lua.
local M = {}

-- Arguments with which a program runs another one, writes a file that they name, or (builtins)
-- evaluates a subscript. One letter counts also behind other letters (`-uo`) and with whatever
-- follows it, a long option also shortened, one with a `=` only where such a sign stands in it or
-- in the word behind it; anything else as the beginning of a word. A second word makes them those
-- of a subcommand.
local OPTIONS <const> = {
  find = { "-exec", "-ok", "-delete", "-fprint", "-fls" },
  fd = { "-x", "-X", "--exec" },
  rg = { "--pre", "--hostname-bin" },
  ag = { "--pager" },
  ack = { "--pager" },
  bat = { "--pager" },
  man = { "-P", "-H", "--pager", "--html" },
  sort = { "-o", "--output", "--compress-program" },
  shuf = { "-o", "--output" },
  tree = { "-o" },
  iconv = { "-o", "--output" },
  split = { "--filter" },
  rsync = { "-e", "--rsh" },
  tar = { "-I", "--use-compress-program", "--to-command", "--checkpoint-action", "--rsh-command",
    "--info-script", "--new-volume-script", "-F" },
  git = { "-c=", "--config-env", "--exec-path", "--exec", "--output", "--ext-diff", "--upload-pack",
    "--receive-pack", "--open-files-in-pager", "--extcmd", "ext::" },
  ["git grep"] = { "-O" },
  ["git rebase"] = { "-x" },
  ["git difftool"] = { "-x" },
  ["git clone"] = { "-u" },
  go = { "-exec", "-toolexec", "-vettool", "--exec", "--toolexec", "--vettool" },
  jobs = { "-x" },
  printf = { "-v" },
  test = { "-v", "-R" },
  ["["] = { "-v", "-R" },
  wait = { "-p" },
}

local function is_option(word, option)
  if option:find("^%-%-") then
    return #word > 2 and option:sub(1, #word:match("^[^=]*")) == word:match("^[^=]*")
      or word:sub(1, #option) == option
  elseif #option == 2 then
    return word:find("^%-%w*" .. option:sub(2)) ~= nil
  end
  return word:sub(1, #option) == option
end

-- Whether words[i] is one of the options.
local function is_one_of(words, i, options)
  local word, next_word = words[i].text, words[i + 1] and words[i + 1].text or ""
  for _, option in ipairs(options) do
    local assigning = option:match("^(.-)=$")
    if assigning and word:sub(1, #assigning) == assigning and (word .. next_word):find("=", 1, true)
      or not assigning and is_option(word, option) then
      return true
    end
  end
  return false
end

local function option_among(words, name, options)
  for i = 2, #words do
    if is_one_of(words, i, options) then
      return ("'%s' of %s can run or write something else"):format(words[i].text, name), true
    elseif words[i].open and words[i].text:find("^[-{*?%[]") then
      -- by braces, or by the name of a file that somebody has put there
      local by_braces = words[i].text:find("{", 1, true) ~= nil
      return ("'%s' can become an option of %s"):format(words[i].text, name), by_braces
    end
  end
end

-- ---- scripts -----------------------------------------------------------------------------------

-- Whether a command of sed only prints, deletes, or substitutes.
local function is_plain_sed(command)
  command = command:match("^%s*[%d,$]*!?%s*(.*)$"):match("^.*%S") or ""
  if command:find("^[pdqQ=]?$") or command:find("^/[^/\\]*/!?[pd]$") then
    return true
  end
  local sign, rest = command:match("^s([/|,#:@])(.*)$")
  if not sign then
    return false
  end
  local parts = {}
  for part in (rest .. sign):gmatch("([^" .. sign .. "]*)" .. sign) do
    parts[#parts + 1] = part
  end
  return #parts == 3 and not parts[1]:find("\\$") and not parts[2]:find("\\$")
    and parts[3]:find("^[gpiI%d]*$") ~= nil
end

local scripts = {}

function scripts.sed(words)
  local script
  for i = 2, #words do
    local word = words[i].text
    if words[i].open or word:find("^%-") and not word:find("^%-[nErsuz]+$") then
      return ("'%s' of sed can run or write something else"):format(word)
    elseif not script and not word:find("^%-") then
      script = word
    end
  end
  for command in (script or ""):gmatch("[^;\n]+") do
    if not is_plain_sed(command) then
      return "the script of sed may run or write something"
    end
  end
end

function scripts.awk(words)
  for i = 2, #words do
    local word = words[i].text
    if words[i].open or word:find("[|>@]") or word:find("system") or word:find("getline")
      or word:find("^%-[^Fv]") then
      return ("'%s' of awk may run or write something"):format(word)
    end
  end
end
scripts.gawk, scripts.mawk, scripts.nawk = scripts.awk, scripts.awk, scripts.awk

--- What a command does beyond what its name says; nil when that is nothing.
---@param name string of the program, without its folder
---@param words agenthost.ShellWord[]
---@return string? problem
---@return boolean? inside its words may hold another command
function M.problem(name, words)
  if scripts[name] then
    local problem = scripts[name](words)
    return problem, problem ~= nil
  elseif name == "tar" and words[2] and words[2].text:find("^%w*[IF]") then -- without a hyphen
    return ("'%s' of tar can run something else"):format(words[2].text), true
  end
  for i = 2, OPTIONS[name] and #words or 0 do
    local both = name .. " " .. words[i].text
    if OPTIONS[both] then
      local problem, inside = option_among(words, both, OPTIONS[both])
      if problem then
        return problem, inside
      end
    end
  end
  if OPTIONS[name] then
    return option_among(words, name, OPTIONS[name])
  end
end

return M
