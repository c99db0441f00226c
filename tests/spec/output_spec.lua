local output = require("agenthost.output")
local task = require("agenthost.task")
local temp = require("support.temp")

local FAR <const> = 30

describe("agenthost.output", function()
  local base

  setup(function()
    base = temp.directory()
    task.set_dir(base)
  end)

  teardown(function()
    temp.remove(base)
  end)

  local function ran(command)
    local one = assert(task.run(command))
    one:wait(FAR)
    return one
  end

  local function left_out(shown)
    return select(2, shown:gsub("left out", ""))
  end

  describe("text", function()
    it("gives all of a short output, and its size in bytes", function()
      assert.same({ "ä\nb\n", 5 }, { output.text(ran("printf 'ä\\nb\\n'")) })
      assert.same({ "", 0 }, { output.text(ran("true")) })
    end)

    it("is clean", function()
      assert.equal("red 100%\na\u{fffd}b",
        (output.text(ran([[printf '\033[31mred\033[0m 5%%\rred 100%%\na\377b']]))))
    end)

    it("goes on where the last look has ended", function()
      local one = ran("printf 'first\\nsecond\\n'")
      assert.same({ "second\n", 13 }, { output.text(one, { since = 6 }) })
      assert.same({ "", 13 }, { output.text(one, { since = 13 }) })
      assert.same({ "", 13 }, { output.text(one, { since = 99 }) })
    end)

    it("keeps head and tail of a long one, with one line between that counts", function()
      local one = ran("seq 100")
      local shown, size = output.text(one, { max = 40 })
      assert.equal(292, size)
      assert.equal(1, left_out(shown))
      assert.matches("^1\n2\n3\n", shown)
      assert.matches("\n98\n99\n100\n", shown, 1, true)
      assert.matches(one.output_path, shown, 1, true)
    end)

    it("does not read all of a huge one", function()
      local one = ran("yes 0123456789 | head -c 20000000; echo; echo the end")
      collectgarbage()
      local before = collectgarbage("count")
      local shown, size = output.text(one, { max = 1000 })
      assert.is_true(collectgarbage("count") - before < 200) -- KiB
      assert.equal(20000009, size)
      assert.equal(1, left_out(shown))
      assert.matches("^0123456789\n", shown)
      assert.matches("the end\n$", shown)
      assert.matches(one.output_path, shown, 1, true)
      assert.is_true(utf8.len(shown) < 1200)
    end)

    it("says once what is left out, also where progress lines hide it", function()
      local one = ran("for i in $(seq 20000); do printf '\\rprogress %d' $i; done; echo; echo end")
      local shown = output.text(one, { max = 1000 })
      assert.equal(1, left_out(shown))
      assert.matches("progress 20000\nend\n$", shown)
    end)

    it("shows half a character at the end of what has ended", function()
      assert.same({ "ab\u{fffd}", 4 }, { output.text(ran("printf 'ab\\342\\202'")) })
    end)

    it("starts at `since` also when much follows", function()
      local one = ran("echo FIRST; seq 100000")
      local shown = output.text(one, { since = 6, max = 100 })
      assert.is_nil(shown:find("FIRST"))
      assert.matches("^1\n2\n3\n", shown)
      local count = tonumber(shown:match("about (%d+) bytes left out"))
      assert.is_true(count <= 588895 and count > 588895 - 200)
    end)

    it("can give the end only", function()
      local one = ran("seq 100")
      local shown, size = output.text(one, { max = 10, tail_only = true })
      assert.same({ "\n98\n99\n100\n", 292 }, { "\n" .. shown:sub(-10), size })
      assert.equal(10, #shown)
    end)

    it("cuts between characters", function()
      local one = ran("printf 'ä%.0s' $(seq 1000)")
      assert.equal(("ä"):rep(7), (output.text(one, { max = 7, tail_only = true })))
      local shown = output.text(one, { max = 10 })
      assert.is_nil(shown:find("\u{fffd}"))
      assert.matches("^äääää\n", shown)
    end)

    it("names what is binary instead of showing it", function()
      for _, max in ipairs({ 50000, 100 }) do
        local one = ran("head -c 100000 /dev/zero")
        local line = ("[binary output: 100000 bytes, file %s]"):format(one.output_path)
        assert.same({ line, 100000 }, { output.text(one, { max = max }) })
        assert.equal(line, (output.text(one, { max = max, tail_only = true })))
      end
    end)
  end)

  describe("ending", function()
    it("says it in a few words", function()
      assert.equal("exit code 3, 0.2 s", output.ending({ code = 3, seconds = 0.21 }))
      assert.equal("ended by signal 9, 1.0 s", output.ending({ signal = 9, seconds = 1 }))
      assert.equal("its time was over, exit code 0, 2.0 s",
        output.ending({ reason = "its time was over", code = 0, seconds = 2 }))
      assert.equal("0.0 s", output.ending({}))
    end)
  end)
end)
