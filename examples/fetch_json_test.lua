-- Run with: agenthost test examples/fetch_json_test.lua
-- Real requests, to a server of the test's own (python3's): no network.
local testing = require("agenthost.testing")
local assert <const> = testing.assert

describe("fetch_json", function()
  local t, url

  before_each(function()
    t = testing.agent({ script = "./fetch_json.lua", model = {},
      files = { ["items.json"] = '{ "items": [ { "name": "first" } ] }' } })
    local server = assert(t.agent:run_task({ "python3", "-u", "-m", "http.server", "--bind",
      "127.0.0.1", "0" }))
    repeat -- its first line says which port it has got
      local ended = server:wait(0.05)
      url = server:output():match("http://127.0.0.1:%d+/")
    until url or ended
    assert(url, server:output())
  end)

  it("picks a value", function()
    local input = { url = url .. "items.json", path = "items.1.name" }
    assert.equal("first", (t:call("fetch_json", input)))
    input.path = "items.1"
    assert.equal('{"name":"first"}', (t:call("fetch_json", input)))
  end)

  it("says what is not there", function()
    local content, is_error = t:call("fetch_json", { url = url .. "items.json", path = "items.2" })
    assert.equal("Error: there is nothing at 'items.2'", content)
    assert.is_true(is_error)
    content = t:call("fetch_json", { url = url .. "no.json" })
    assert.equal("Error: the server answered with status 404", content)
  end)
end)
