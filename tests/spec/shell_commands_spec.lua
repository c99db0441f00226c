--- The splitter of command lines against bash itself.
local shell_commands = require("agenthost.shell_commands")
local temp = require("support.temp")

local COUNT <const> = 1500

-- The commands of a text as one string each: <word><word>.
local function split(text)
  local result, commands = shell_commands.parse(text), {}
  for i, command in ipairs(result.commands) do
    local words = {}
    for j, word in ipairs(command.words) do
      words[j] = "<" .. word.text .. ">"
    end
    commands[i] = table.concat(words)
  end
  return commands, result.problem, result.unsure
end

describe("agenthost.shell_commands", function()
  it("splits commands and words", function()
    assert.same({ { "<a><b c><d e>", "<f>" }, nil, false }, { split("a 'b c' d\\ e; f") })
    assert.same({ { "<f>", "<g>", "<echo><$(f; g)>" }, "it contains a substitution", false },
      { split("echo $(f; g)") })
    assert.same({ { "<a>" }, "it sets a variable", false }, { split("X=1 a") })
    assert.same({ {}, "there is no command in it", false }, { split(" # a") })
  end)

  it("comes to an end with any bytes, soon", function()
    math.randomseed(20251122)
    local bits <const> = { "a", " ", "\n", "'", '"', "`", "$(", "${", "$'", ")", "(", "\\", "<",
      "<<", ">&", "&", "|", ";", "#", "{", "}", "\0", "\xff", "\r", "sh -c ", "if ", "\u{a0}",
      "A=" }
    for _ = 1, 3000 do
      local parts = {}
      for i = 1, math.random(40) do
        parts[i] = bits[math.random(#bits)]
      end
      local ok, result = pcall(require("agenthost.shell_check").read, table.concat(parts))
      assert.is_true(ok, ("%q: %s"):format(table.concat(parts), tostring(result)))
    end
  end)
end)

-- ---- against bash ------------------------------------------------------------------------------

-- Prints the words of every command that would run, for each text of a file (NUL behind each), then
-- how it ended. Nothing really runs: there is no program to be found, and each word that is none of
-- bash's own comes to command_not_found_handle.
local ORACLE <const> = [[
PATH=/nowhere
exec 9>&1
command_not_found_handle() { local all; printf -v all '<%s>' "$@"; printf '%s\001' "$all" >&9; }
set -f +B
while IFS= read -r -d '' text; do
  ( eval -- "$text"; status=$?; wait; exit $status ) </dev/null 2>/dev/null
  printf '\002%d\003' $?
done < "$1"
]]

local function has_bash()
  return os.execute("command -v bash >/dev/null 2>&1") == true
end

local function random_text()
  local bits <const> = { "a", "b", "c", "a", "b", " ", " ", "\t", "\n", ";", "&&", "'", '"', "\\",
    "#", "\\\n", "''", '""',
    "-x", " >/dev/null ", " 2>&1 ", "2", "\\'", "é", "=", ",", "]" }
  local parts = {}
  for i = 1, math.random(12) do
    parts[i] = bits[math.random(#bits)]
  end
  return table.concat(parts)
end

describe("against bash:", function()
  local directory

  before_each(function()
    directory = temp.directory()
  end)

  after_each(function()
    temp.remove(directory)
  end)

  -- What bash makes of each text: the commands and the exit status.
  local function ask_bash(texts)
    temp.write(directory .. "/oracle", ORACLE)
    temp.write(directory .. "/texts", table.concat(texts, "\0") .. "\0")
    local pipe <close> = assert(io.popen(("cd %s && exec bash oracle texts"):format(directory)))
    local answers = {}
    for printed, status in pipe:read("a"):gmatch("([^\2\3]*)\2(%d+)\3") do
      local commands = {}
      for command in printed:gmatch("([^\1]*)\1") do
        commands[#commands + 1] = command
      end
      answers[#answers + 1] = { commands = commands, status = tonumber(status) }
    end
    assert.equal(#texts, #answers)
    return answers
  end

  it("what is plain is split as bash splits it, and of the rest nothing is overlooked", function()
    if not has_bash() then
      return pending("there is no bash")
    end
    local seed = tonumber(os.getenv("AGENTHOST_SEED")) or 20251122
    math.randomseed(seed)
    local texts = {}
    for i = 1, COUNT do
      texts[i] = random_text()
    end
    local plain, wrong = 0, nil
    for i, answer in ipairs(ask_bash(texts)) do
      local commands, problem, unsure = split(texts[i])
      table.sort(commands) -- in bash those behind a & come when they come
      table.sort(answer.commands)
      local ours, theirs = table.concat(commands, " ; "), table.concat(answer.commands, " ; ")
      if not problem then
        plain = plain + 1
        if ours ~= theirs then
          wrong = wrong or ("%q: bash has %s, we have %s"):format(texts[i], theirs, ours)
        end
      elseif not unsure then
        for _, command in ipairs(answer.commands) do
          if not (" ; " .. ours .. " ; "):find(" ; " .. command .. " ; ", 1, true) then
            wrong = wrong or ("%q: bash runs %s, we have only %s"):format(texts[i], command, ours)
          end
        end
      end
    end
    assert.is_nil(wrong, "seed " .. seed)
    assert.is_true(plain > COUNT / 10, plain .. " were plain")
  end)
end)
