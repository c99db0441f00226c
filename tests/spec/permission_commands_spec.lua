--- What permission rules say to commands: a table of commands with the verdict that each gets.
local json = require("agenthost.json")
local permission = require("agenthost.permission")

-- The rules of the table.
local ALLOW <const> = { "bash(git status:*)", "bash(git log:*)", "bash(git diff)", "bash(ls:*)",
  "bash(cat:*)", "bash(echo:*)", "bash(grep:*)", "bash(npm test)", "bash(find:*)", "bash(make:*)",
  "bash(sort:*)", "bash(git:*)", "bash(printf:*)", "bash(test:*)", "bash([:*)", "bash(cd src)",
  "bash(env:*)", "bash(sh:*)", "bash(xargs:*)", "bash(sudo:*)", "bash(true)", "bash(sleep:*)",
  "bash(sed *)", "bash(awk:*)", "bash(tar:*)", "bash(jobs:*)", "bash(./run:*)", "bash(cd sub:*)" }
local DENY <const> = { "bash(rm:*)", "bash(git push:*)", "bash(curl:*)" }
local ASK <const> = { "bash(make install:*)" }

local tool <const> = { name = "bash", permission = "command" }

local function verdict(command, lists)
  lists = lists or { allow = ALLOW, deny = DENY, ask = ASK }
  local checked = permission.new({ cwd = "/", sources = { lists } })
  return (checked:decide(checked:request(tool, { command = command })))
end

local TABLE <const> = {
  allow = {
    "git status", "git status -s", "  git\tstatus  ", "git status --short src/a.c", "git diff",
    "ls", "ls -la", "ls *.lua", "ls ~", "ls {a,b}", "cat 'a file'", 'cat "a file"', "cat a\\ file",
    "echo 'rm -rf /'", "echo \"a; rm b\"", "echo '$(rm x)'", "echo a#b", "echo it\\'s",
    "echo 'it'\\''s'", "echo \"say \\\"rm\\\"\"", "ls # rm -rf /", "ls\ncat a", "ls\n\n",
    "ls;cat a;", "ls && cat a", "ls || cat a", "ls | grep x", "ls |& grep x", "ls &", "ls & cat a",
    "ls |\n grep x", "ls &&\ncat a", "git log \\\n --oneline", "ls > /dev/null",
    "ls >/dev/null 2>&1", "ls 2>/dev/null", "ls &>/dev/null", "ls 2>&1 | grep x", "ls >&2",
    "ls </dev/null", "ls 2>&-", "npm test", "make test", "cd src && ls", "[ a = b ]", "test -f x",
    "find . -name '*.c'", "git switch -c topic", "grep 'é' ü", "true", "echo a=b", "echo ''",
    "printf '%s\\n' x", "sh build.sh", "sleep 1 && echo done",
    "sed -n 1,20p x", "sed -n '/a/p;$p' x", "sed 's/a b/c/gi; s|x|y|2' x", "sed 5q x",
    "awk '{ print $1 }' x", "awk -F: -v n=1 'NR == n' x", "tar -tf x.tar", "tar tf x.tar",
    "sort -un x", "git grep -n x", "./run a", "jobs -l", "cd sub && cat a",
  },
  deny = {
    "rm x", "rm -rf /", "ls; rm x", "ls && rm x", "ls || rm x", "ls | rm x", "ls & rm x",
    "ls\nrm x", "ls;rm x", "ls&&rm x", "echo $(rm x)", "echo `rm x`", "echo \"$(rm x)\"",
    "echo \"`rm x`\"", "ls <(rm x)", "ls >(rm x)", "(rm x)", "{ rm x; }", "if ls; then rm x; fi",
    "! rm x", "while rm x; do ls; done", "for f in *; do rm $f; done", "case a in a) rm x;; esac",
    "f() { rm x; }; f", "/bin/rm x", "../../bin/rm x", "r\\m x", "'rm' x", "\"rm\" x", "r''m x",
    "FOO=1 rm x", "FOO=1 BAR=2 rm x", "rm\\\n x", "r\\\nm x", "rm>out", "rm<in", ">out rm x",
    "sudo rm x", "sudo -u root rm x", "env A=1 rm x", "env -i rm x", "xargs rm", "ls | xargs -0 rm",
    "sh -c 'rm x'", "bash -c \"ls; rm x\"", "eval rm x", "eval 'rm x'", "command rm x", "time rm x",
    "nohup rm x &", "timeout 5 rm x", "find . -exec rm {} +", "exec rm x", "trap 'rm x' EXIT",
    "sh -c \"sh -c 'rm x'\"", "echo $(echo $(rm x))", "echo ${a:-$(rm x)}", "$(rm x)", "x=$(rm x)",
    "cat <<E\n$(rm x)\nE", "git push", "git push --force", "curl x | sh", "ls # x\nrm y",
    "echo a\\\\;rm x", "bash <<< 'x'; rm x",
    -- a quote in a here-document is none, and a process substitution is a part of a word
    "cat <<E\nit's\nE\nrm x #'", "cat <<'E'\n\"\nE\nrm x #\"", "cat <<-E\n\t'\n\tE\nrm x #'",
    "cat <<E <<F\n'\nE\n\"\nF\nrm x", "cat <<E\n'`rm x`\nE", "cat <(ls)#;rm x",
    "cat 2<(ls)#;rm x",
    "echo $(cat <<E\n'\nE\nrm x)", "cat <<E; rm x\n'\nE",
    -- words and options in front of a command
    "function f { rm x; }; f", "for x do rm $x; done", "coproc C { rm x; }", "time -p rm x",
    "if true; then time -p rm x; fi", "! time ! rm x",
    -- what runs others
    "systemd-run rm x", "npx rm x", "mapfile -C 'rm x' -c 1", "compgen -C 'rm x'", "exec -a z rm x",
    "/lib64/ld-linux-x86-64.so.2 /bin/rm x", "bash -xc 'rm x'", "xargs -I{} rm {}", "jobs -x rm x",
    "a=(#'\n); rm y #'", "echo $((`rm x`))", "echo $[$(rm x)]", "echo \"${a[$(rm x)]}\"",
    "echo `echo \\`rm x\\``", "awk 'BEGIN { system(\"rm x\") }'; rm x", "env -S 'rm x'",
  },
  ask = {
    -- rules say so, or there is none
    "make install", "make install DESTDIR=x", "ls && make install", "wget x", "ls; wget x",
    "gitstatus", "npm test x", "cd src2", "lsx", "echo-x", "cd src x",
    -- expansions and substitutions
    "ls $(pwd)", "ls `pwd`", "ls $HOME", "ls ${HOME}", "ls \"$HOME\"", "$X", "$X status",
    "${SHELL} x", "git $X", "cat $'a'", "cat $\"a\"", "echo $((1+1))", "ls <(ls)", "*", "l?",
    "{ls,-l}", "[l]s", "~/ls", "$'ls'",
    -- redirections
    "ls > out", "ls >> out", "ls >| out", "ls 2> err", "ls &> out", "ls >& out", "cat < in",
    "cat <> in", "cat <<E\nx\nE", "cat <<<x", "ls > /dev/null/../x", "ls > /dev/tcp/a/80",
    "ls {fd}>x", "ls >", "ls > $X", "> /dev/null", "ls >& $X",
    -- variables and words that change what follows
    "PATH=. ls", "LD_PRELOAD=x ls", "A=1", "export PATH=.", "alias ls=wget", "hash -p /x ls",
    "a[0]=1 ls", "A+=1 ls", "set -x", "unset x", "printf -v 'a[$x]' 1", "test -v 'a[0]'",
    "[ -v a ]",
    -- wrappers: an allow rule for them does not cover what they run
    "env ls", "env", "sudo ls", "xargs ls", "ls | xargs cat", "sh -c ls", "sh -c 'ls'", "ls | sh",
    "sh", "eval ls", "exec ls", "command ls", "builtin echo", "nohup ls", "time ls", ". ./x",
    "source x", "find . -exec ls {} ;", "find . -execdir ls {} +", "find . -ok ls",
    "find . -delete", "find . -fprint x", "git -c core.pager=x log", "git log --output=x",
    "git log --outp=x", "sort -o x y", "sort --compress-program=x", "trap ls EXIT", "coproc ls",
    -- options and scripts that run or write: among other letters, by braces, by names of files
    "sort -uo x y", "sort -ro x y", "sort {-o,x} y", "sort -{o,x} y", "sort *", "find . {-exec,x,}",
    "find . -{exec,ok} x", "find *", "find . [-]delete", "git log {--output=x,}",
    "git grep -Ovim x",
    "git --no-pager grep -nOvim x", "git rebase -x ls", "git clone 'ext::sh -c ls'",
    "git clone -u ls .", "git fetch --upload-pack=ls", "git difftool -x ls", "git rebase --ex ls",
    "tar xIf ls x", "tar -xIls", "tar -cf x --to-com=ls", "jobs -x ls", "[ -n a -a -v x[0] ]",
    "sed -i s/a/b/ x", "sed -ni p x", "sed 1e x", "sed 's/a/b/e' x", "sed 's/a/b/w y' x",
    "sed 'w y' x", "sed -f x y", "sed -e p x", "sed 's/a/b/;e ls' x", "sed 's/a\\/b/c/e' x",
    "sed $'1e ls' x", "sed {-i,p} x", "sed 'r/dev/stdin' x", "sed 'sxaxbxe' x",
    "awk 'BEGIN { system(\"x\") }'", "awk '{ print > \"y\" }' x", "awk '{ \"ls\" | getline }'",
    "awk '{ f = \"sys\" \"tem\"; @f(\"ls\") }'", "awk -f x y", "awk -i inplace x", "awk --file=x",
    -- another folder
    "cd sub && ./run a", "cd sub; git status", "cd sub && git log | cat", "cd sub\nsh build.sh",
    "cd sub & ./run", "pushd sub && ./run", "sh /dev/stdin", "sh -s", "ls | sh /dev/stdin",
    "sh /proc/self/fd/0", "sh +x",
    -- here-documents, real ones and shifts
    "cat <<E\nx\nE\n", "cat <<'E'\nx\nE", "((1<<2))\nls\n2", "ls $((1<<E))\nls\nE",
    "ls ${x:1 <<E }\nls\nE", "a[1 <<E ]=1\nls\nE", "$[1 <<E ]\nls\nE", "cat <<E",
    "cat <<E\nx\nF",
    -- compound commands
    "(ls)", "{ ls; }", "if ls; then ls; fi", "! ls", "ls() { ls; }", "[[ a = b ]]", "((1))",
    "for f in a; do ls; done", "case a in a) ls;; esac", "function ls { ls; }",
    -- what hides
    "'ls'", "l\\s", "\"ls\"", "l''s", "\\ls", "ls\rcat", "ls\0cat", "ls\27[1m", "ls\u{a0}x",
    "l\u{200b}s", "ls \u{202e}x", "ls\u{3000}x", "ls \xff", "ls\fx", "ls \u{feff}",
    -- what bash would refuse
    "ls '", "ls \"", "ls `", "ls $(", "ls \\", "; ls", "ls ;; ls", "ls && && ls", "&& ls", "ls |",
    "ls &&", "| ls", "ls & ; ls", "ls )", "( ls", "ls ; ; ls", "ls <", "", "   ", "# ls",
    "ls ;& ls",
  },
}

describe("the verdict on a command", function()
  for expected, commands in pairs(TABLE) do
    for _, command in ipairs(commands) do
      it(("%s: %s"):format(expected, json.encode(command)), function()
        assert.equal(expected, verdict(command))
      end)
    end
  end

  it("is asked for when the command is too long to be read", function()
    assert.equal("ask", verdict("echo " .. ("a "):rep(40000)))
    assert.equal("ask", verdict(("ls;"):rep(1001)))
    assert.equal("ask", verdict("ls " .. ("$("):rep(5000)))
    assert.equal("ask", verdict("ls " .. ("`"):rep(5000)))
    assert.equal("ask", verdict(("sh -c "):rep(5000)))
  end)

  it("is never allowed where something forbidden hides in what bash reads otherwise", function()
    local lists = { allow = { "bash" }, deny = { "bash(rm:*)" } }
    for _, command in ipairs({ "echo \"$\\\n(rm x)\"", "echo rm x | bash -s", "env -S'rm x'",
      "echo rm x | sh /dev/stdin", "echo rm x | bash --norc", "echo \"${x:-\"'\"}\"; rm y #'",
      "find . {-exec,rm,x,}", "{rm,x}", "((1<<2))\nrm x\n2", "echo $((1<<E))\nrm x\nE",
      "echo ${x:1 <<E }\nrm x\nE", "a[1 <<E ]=1\nrm x\nE", "echo $[1 <<E ]\nrm x\nE",
      "cat <<E\n\\\nE\nrm x\nE", "cat <<$E\nrm x\n$E", "cat <<\"\"\n'\n\nrm x #'",
      "echo $(cat <<E)\n'\nE\nrm x #'", "((#)); rm x", "echo $((1 #)); rm x" }) do
      assert.not_equal("allow", verdict(command, lists), command)
    end
    for _, command in ipairs({ "git commit -m \"$(cat <<'E'\nit's \"so\nE\n)\"",
      "diff <(ls) <(cat x)", "cat > x <<E\nit's $HOME\nE\nls" }) do
      assert.equal("allow", verdict(command, lists), command)
    end
  end)

  it("is asked for where a deny rule may be meant, whatever is allowed", function()
    local lists = { allow = { "bash" }, deny = { "bash(git push:*)" } }
    assert.equal("deny", verdict("git push x", lists))
    for _, command in ipairs({ "git $X", "$X", "${X}", "gi? push", "git {push,x}", "ls | sh",
      "sh -c \"$X\"", "eval $X", "git 'pu", "$'git' push" }) do
      assert.equal("ask", verdict(command, lists), command)
    end
    for _, command in ipairs({ "git log $X", "ls > x", "FOO=1 git log", "echo $(ls)",
      "git log *" }) do
      assert.equal("allow", verdict(command, lists), command)
    end
  end)

  it("for what is written to a running command: its rules are its own", function()
    local write <const> = { name = "background_write", permission = function(input)
      return "input", input.text
    end }
    local function of(lists, text)
      local checked = permission.new({ cwd = "/", sources = { lists } })
      return (checked:decide(checked:request(write, { text = text })))
    end
    assert.equal("ask", of({ allow = { "bash", "bash(yes)" } }, "yes\n"))
    assert.equal("allow", of({ allow = { "background_write(yes)" } }, "yes\n"))
    assert.equal("allow", of({ allow = { "background_write" } }, "anything > x\n"))
    assert.equal("deny", of({ allow = { "background_write" }, deny = { "bash(rm:*)" } },
      "ls\nrm x\n"))
  end)
end)
