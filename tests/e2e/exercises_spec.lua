-- The three exercises of the lesson, word for word, over HTTP against the strict fake server.
local case = require("support.case")

-- The id in the answer of background_run, whose whole text is checked.
local function id_of(result, command)
  local id = result.content:match("^Background task (%x%x%x%x%x%x%x%x) started: ")
  assert.equal(("Background task %s started: %s"):format(id, command), result.content)
  assert.is_nil(result.is_error)
  return id
end

-- The first request that holds a notice of this task.
local function request_with_notice(requests, id)
  for _, request in ipairs(requests) do
    if case.last_text(request.body):find("[bg:" .. id .. "]", 1, true) then
      return request
    end
  end
end

-- The list of tasks in a request.
local function started_list(request)
  return case.results(request.body)[1].content
end

-- The last request has the whole conversation.
local function assert_told_once(requests, id)
  local all = requests[#requests].body_text
  assert.equal(1, case.count(all, "[bg:" .. id .. "]"), "notices of task " .. id)
end

describe("the lesson's exercises", function()
  local t

  before_each(function()
    t = case.new()
  end)

  after_each(function()
    t:finish()
  end)

  it("1: a command in the background while a file is made", function()
    local command = "sleep 5 && echo done"
    local server = t:script(
      { tools = { { name = "background_run", input = { command = command } } } },
      { tools = { { name = "write_file", input = { path = "new.txt", content = "made\n" } } } },
      { text = "The file is there; the command still runs." },
      { when = { last_user_contains = "completed: done" }, text = "The command has ended." })
    local result = t:run({ "-p",
      "Run `sleep 5 && echo done` in the background, then create a file while it runs" })
    assert.equal("The command has ended.\n", result.stdout)
    assert.equal(0, result.code)
    assert.equal("made\n", t.place:read("new.txt"))

    local requests = server.requests()
    assert.equal(4, #requests)
    local id = id_of(case.results(requests[2].body)[1], command)
    assert.truthy(case.results(requests[3].body)[1].content:find("new.txt", 1, true))
    local notice = case.last_text(requests[4].body)
    assert.truthy(notice:find("<background-results>\n[bg:" .. id .. "] completed: done\n", 1, true))
    assert.truthy(notice:find("</background%-results>$"))
    assert_told_once(requests, id)
    -- The answers came at once, the notice when the command was done.
    assert.is_true(requests[3].t - requests[1].t < 5)
    assert.is_true(requests[4].t - requests[1].t >= 4.9)
  end)

  it("2: three tasks at once, a look at them, three notices", function()
    local commands = { "sleep 2", "sleep 4", "sleep 6" }
    local calls = {}
    for i, command in ipairs(commands) do
      calls[i] = { name = "background_run", input = { command = command } }
    end
    local requests
    for _ = 1, 5 do -- again when the machine stood still, and the look came too late
      t:finish()
      t = case.new()
      local server = t:script({ tools = calls },
        { tools = { { name = "check_background", input = {} } } },
        { text = "Noted." })
      local result = t:run({ "-p",
        "Start 3 background tasks: `sleep 2`, `sleep 4`, `sleep 6`. Check their status" })
      assert.equal("Noted.\n", result.stdout)
      assert.equal(0, result.code)
      requests = server.requests()
      if requests[3].t - requests[1].t < 1.5 then
        break
      end
    end

    local started = case.results(requests[2].body)
    assert.equal(3, #started)
    local expected = {}
    local ids = {}
    for i, command in ipairs(commands) do
      ids[i] = id_of(started[i], command)
      expected[i] = ("%s: [running] %s"):format(ids[i], command)
    end
    assert.equal(table.concat(expected, "\n"), started_list(requests[3]))
    local begun = requests[1].t
    for i, id in ipairs(ids) do
      assert_told_once(requests, id)
      local told = assert(request_with_notice(requests, id)).t - begun
      assert.is_true(told >= 2 * i - 0.1, ("%s was told after %.1f s"):format(commands[i], told))
    end
    -- The longest takes 6 s, all one after the other 12.
    local whole = requests[#requests].t - begun
    assert.is_true(whole < 12, ("all three took %.1f s"):format(whole))
  end)

  it("and fifty tasks that end together are told once each (B1)", function()
    local calls = {}
    for i = 1, 50 do
      calls[i] = { name = "background_run", input = { command = "echo task-" .. i } }
    end
    local server = t:script({ tools = calls }, { text = "Noted." })
    assert.equal(0, t:run({ "-p", "Start 50" }).code)
    local requests = server.requests()
    for i, result in ipairs(case.results(requests[2].body)) do
      assert_told_once(requests, id_of(result, "echo task-" .. i))
    end
    assert.equal(50, case.count(requests[#requests].body_text, "] completed: task-"))
  end)

  it("and commands of one reply run side by side", function()
    local calls = {}
    for i = 1, 3 do
      calls[i] = { name = "bash", input = { command = ("touch up%d; until [ -e up1 ] && [ -e up2 ] "
        .. "&& [ -e up3 ]; do sleep 0.05; done; echo %d"):format(i, i) } }
    end
    local server = t:script({ tools = calls }, { text = "Done." })
    assert.equal(0, t:run({ "-p", "Go", seconds = 30 }).code)
    for i, result in ipairs(case.results(server.requests()[2].body)) do
      assert.equal(i .. "\n", result.content)
    end
  end)

  it("3: pytest in the background while other things are done", function()
    local path = t:program("pytest", [[
#!/bin/sh
echo "collected 2 items"
while [ ! -e other.txt ]; do sleep 0.05; done
echo "test_a.py .F"
echo "1 failed, 1 passed" >&2
exit 1
]])
    local server = t:script(
      { tools = { { name = "background_run", input = { command = "pytest" } } } },
      { tools = { { name = "check_background", input = {} } } },
      { tools = { { name = "write_file", input = { path = "other.txt", content = "x" } } } },
      { when = { last_user_lacks = "[bg:" }, text = "I went on meanwhile." },
      { when = { last_user_contains = "1 failed, 1 passed" }, text = "One test fails." })
    local result = t:run({ "-p", "Run pytest in the background and keep working on other things",
      env = { PATH = path } })
    assert.equal("One test fails.\n", result.stdout)
    assert.equal(0, result.code)
    local requests = server.requests()
    local id = id_of(case.results(requests[2].body)[1], "pytest")
    assert.equal(id .. ": [running] pytest", started_list(requests[3]))
    assert_told_once(requests, id)
    local notice = case.last_text(requests[#requests].body)
    assert.truthy(notice:find("[bg:" .. id .. "] failed: collected 2 items\n", 1, true))
    assert.truthy(notice:find("exit code 1", 1, true))
  end)
end)
