-- A command that asks and waits is told of, instead of running into its timeout (B9).
local agents = require("support.agents")
local async = require("agenthost.async")
local defaults = require("agenthost.defaults")
local question = require("agenthost.question")
local sys = require("agenthost.sys")

local FAR <const> = 30
local before <const> = defaults.question.silent

describe("question.last", function()
  it("finds a last line that asks and has no end", function()
    for _, line in ipairs({ "Overwrite?", "Proceed [y/N]", "Proceed (Y/n) ", "Is this OK? (yes) ",
      "Password:", "[sudo] password for me: ", "Enter passphrase", "Press ENTER to continue...",
      "\27[1mReally?\27[0m ", "Are you sure (yes/no/[fingerprint])? ", "Press any key" }) do
      local plain = line:gsub("\27%[%d?m", ""):gsub("%s+$", "")
      assert.equal(plain, question.last("a\nb\r\n" .. line))
    end
  end)

  it("finds none in other output", function()
    for _, output in ipairs({ "", "Really?\n", "building", "50%", "[3/10]", "see (above)",
      "http://127.0.0.1:8080/", "what? no" }) do
      assert.is_nil(question.last(output), output)
    end
  end)
end)

describe("a background task that asks", function()
  local place, made

  before_each(function()
    defaults.question.silent = 0.05
    place = agents.place()
    made = place:new({}, { plugins = {} })
  end)

  after_each(function()
    defaults.question.silent = before
    place:close()
  end)

  -- Runs commands until `enough` says so of the texts of the notices, and gives these.
  local function notices(starts, enough, meanwhile)
    local texts, tasks = {}, {}
    async.run(function()
      for i, start in ipairs(starts) do
        start.notify = true
        tasks[i] = made:run_task(table.remove(start, 1), start)
      end
      local deadline = sys.now() + FAR
      while not enough(texts) do
        made.queue:wait(1)
        assert(sys.now() < deadline, "no such notice came")
        for _, notice in ipairs(made.queue:drain()) do
          texts[#texts + 1] = notice.text or notice.status
          if notice.text then
            assert.equal("stalled", notice.kind)
            meanwhile(tasks, notice.text)
          end
        end
      end
    end)
    return texts, tasks
  end

  it("is told of once a question, with what to do", function()
    local texts, tasks = notices({ {
      "printf 'Overwrite? [y/N] '; read x; printf 'Sure? '; read y; echo $x$y", stdin = true,
    } }, function(texts) return texts[#texts] == "completed" end, function(tasks, text)
      async.sleep(4 * defaults.question.silent) -- time to tell it again
      assert(tasks[1]:write(text:find("Sure", 1, true) and "n\n" or "y\n"))
    end)
    assert.equal(3, #texts)
    assert.matches("^task " .. tasks[1].id .. " seems to wait for an answer%.", texts[1])
    assert.matches('behind this line: "Overwrite? [y/N]"', texts[1], 1, true)
    assert.matches("answer with background_write, or end it with background_kill", texts[1], 1,
      true)
    assert.matches('"Overwrite? [y/N] Sure?"', texts[2], 1, true)
    assert.matches("yn\n$", (tasks[1]:output()))
  end)

  it("in a terminal, its own or one that it has made, is told of, too", function()
    local texts = notices({
      { "stty -echo; printf 'Password: '; read x", pty = true },
      { "python3 -c '" .. [[import os, pty, time
a, b = pty.openpty()
if os.fork() == 0:
    print("Go on? ", end="", flush=True)
    os.read(b, 1)
os.wait()]] .. "'" },
    }, function(texts) return #texts == 2 end, function() end)
    table.sort(texts, function(a) return a:find("Password", 1, true) ~= nil end)
    assert.matches('"Password:". If it does wait, answer with', texts[1], 1, true)
    assert.matches('"Go on?". If it does wait, it has no input, so nobody', texts[2], 1, true)
  end)

  it("is not told of when the kernel says that it pauses or works", function()
    local texts = notices({
      { "printf 'Compiling: '; sleep 0.6" },
      { "printf 'Working? '; while :; do :; done", timeout = 0.6, grace = 0 },
    }, function(texts) return #texts == 2 end, function() end)
    table.sort(texts)
    assert.same({ "completed", "timeout" }, texts)
  end)

  it("in the foreground, where somebody waits for it, is not told of", function()
    async.run(function()
      local one = made:run_task("printf 'Name: '; read x", { stdin = true, notify = false })
      one:wait(8 * defaults.question.silent)
      assert.equal(0, #made.queue)
      one:kill({ grace = 0 })
      one:wait(FAR)
    end)
  end)
end)
