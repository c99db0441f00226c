-- Commands made at random of what is hard to read in a shell: whatever bash runs, the reading of
-- commands for permission rules must have found, or said that it may have missed something.
local permission = require("agenthost.permission")
local stress = require("support.stress")
local temp = require("support.temp")
local tmux = require("support.tmux")

local PIECES <const> = { "'", '"', "\\", "$", "(", ")", "`", "#", "\n", ";", "|", "&", "{", "}",
  " ", " ", " ", "<<E", "\nE\n", "<<'E'", "<<-E", "\t", "E", "ls", "ls ", "mark", "mark x",
  "; mark x", "\nmark x\n", "$(", "${x:-", "${x#", "$((", "((", "))", "[[ ", " ]]", "a=", "a[",
  "]=", "if ls; then ", " fi", "case x in ", "esac", " x) ", ";;", "for i in x; do ", " done",
  "! ", "time ", "coproc ", "function f ", "f() ", "<(", ">(", ">x", "2>&1", "$'", '$"', "\\\n",
  "echo ", "ma", "rk", "<<<", "=~", "*", "!", "~", "eval ", "exec ", "1<<", "$[", "]", "x" }

-- Runs each, with nothing to be found but `mark`, which says that it was run.
local RUNNER <const> = [[
mkdir -p '%s/bin' '%s/work' && cd '%s/work' || exit 1
printf '#!/bin/sh\necho x >> "$RAN"\n' > ../bin/mark
printf '#!/bin/sh\nexit 0\n' > ../bin/ls
chmod +x ../bin/*
while IFS= read -r -d '' command; do
  rm -f ../ran
  timeout 5 env -i PATH="$PWD/../bin" RAN="$PWD/../ran" /bin/bash -c "$command" \
    </dev/null >/dev/null 2>&1
  [ ! -e ../ran ] || printf '%%q\n' "$command"
done < ../commands]]

it("no command hides from the reading of permission rules", function()
  stress.seed()
  local dir = temp.directory()
  local checked = permission.new({ cwd = "/", sources = {
    { allow = { "bash" }, deny = { "bash(mark:*)" } } } })
  local tool = { name = "bash", permission = "command" }
  local allowed = { "mark is run \0" }
  for _ = 1, stress.size(20000, 400000) do
    local parts = {}
    for i = 1, math.random(3, 12) do
      parts[i] = PIECES[math.random(#PIECES)]
    end
    local command = table.concat(parts)
    if command:find("mark") and checked:decide(
      checked:request(tool, { command = command })) == "allow" then
      allowed[#allowed + 1] = command .. "\0"
    end
  end
  temp.write(dir .. "/commands", table.concat(allowed))
  temp.write(dir .. "/runner", RUNNER:format(dir, dir, dir))
  local ran = tmux.run("bash '" .. dir .. "/runner'")
  temp.remove(dir)
  assert.equal("mark\\ is\\ run\\ \n", ran) -- the first one shows that it works
  assert.is_true(#allowed > 50)
end)
