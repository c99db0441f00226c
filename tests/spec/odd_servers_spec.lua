--- What odd and broken servers send, for all three APIs: no text is lost, nothing hangs, and what
--- they say is fit for a terminal.
local anthropic = require("support.anthropic")
local json = require("agenthost.json")
local models = require("agenthost.models")
local openai = require("support.openai")

local chat, responses = openai.new("openai"), openai.new("openai-responses")
local ALL <const> = { anthropic = anthropic, openai = chat, ["openai-responses"] = responses }

after_each(function()
  for _, support in pairs(ALL) do
    support.stop()
  end
end)

local function chunk(delta, finish)
  return { id = "c", choices = { { index = 0, delta = delta, finish_reason = finish } } }
end

local function chat_reply(...)
  chat.serve({ rules = { chat.raw(chat.sse({ ... })) } })
  return chat.succeed(chat.provider())
end

describe("a stream of Chat Completions", function()
  it("loses no thinking and no arguments beside an empty content", function()
    local function thought(text)
      return ('{"choices":[{"index":0,"delta":{"content":"","reasoning":"%s"}}]}'):format(text)
    end
    local function arguments(text)
      return ('{"choices":[{"index":0,"delta":{"content":"","tool_calls":[{"index":0,'
        .. '"function":{"arguments":"%s"}}]}}]}'):format(text)
    end
    local reply, events = chat_reply(thought("ha"), thought("ha"), thought("ha"),
      chunk({ tool_calls = { { index = 0, id = "t", ["function"] = { name = "read",
        arguments = "" } } } }),
      arguments('{\\"a\\":'), arguments("["), arguments("["), arguments("]"), arguments("]"),
      arguments("}"), chunk(json.object(), "tool_calls"), "[DONE]")
    assert.equal("hahaha", chat.join(events, "thinking"))
    assert.equal('{"a":[[]]}', json.slice(reply.content[2].json, "input"))
  end)

  it("keeps calls apart that come whole and look the same", function()
    for _, index in ipairs({ "", '"index":0,' }) do
      local one = '{"choices":[{"index":0,"delta":{"tool_calls":[{' .. index
        .. '"function":{"name":"read","arguments":"{}"}}]}}]}'
      local reply = chat_reply(one, one, chunk(json.object(), "stop"), "[DONE]")
      assert.same({ "tool_use", "tool_use" }, chat.types_of(reply.content))
      assert.not_equal(reply.content[1].id, reply.content[2].id)
      assert.is_nil(reply.content[1].incomplete)
    end
  end)

  it("takes a name that is said again for the same call", function()
    local function part(arguments)
      return chunk({ tool_calls = { { index = 0, ["function"] = { name = "read",
        arguments = arguments } } } })
    end
    local reply = chat_reply(part(""), part('{"path":{'), part('"a":1}'), part("}"), part(""),
      chunk(json.object(), "tool_calls"), "[DONE]")
    assert.same({ "tool_use" }, chat.types_of(reply.content))
    assert.same({ path = { a = 1 } }, reply.content[1].input)
  end)
end)

describe("a stream of the Responses API", function()
  local function item(index, text)
    return { type = "response.output_item.done", output_index = index, item = { type = "message",
      role = "assistant", content = { { type = "output_text", text = text } } } }
  end

  it("may count its items as it likes, or not at all", function()
    local done = { type = "response.completed", response = { status = "completed" } }
    responses.serve({ rules = {
      { times = 1, fault = responses.raw(responses.sse({ item(1 << 53, "b"), item(3, "a"),
        done })).fault },
      responses.raw(responses.sse({ item(nil, "c"), item(nil, "d"), done })),
    } })
    for _, wanted in ipairs({ { "a", "b" }, { "c", "d" } }) do
      local reply = responses.succeed(responses.provider())
      assert.same(wanted, { reply.content[1].text, reply.content[2].text })
    end
  end)
end)

describe("a reply with very many calls", function()
  -- Looking for each call from the start of the text took minutes.
  local COUNT <const> = 5000

  local function repeated(form)
    local parts = {}
    for i = 1, COUNT do
      parts[i] = form:gsub("#", tostring(i))
    end
    return table.concat(parts, ",")
  end

  it("is read and sent back in one go", function()
    local bodies = {
      anthropic = '{"type":"message","content":['
        .. repeated('{"type":"tool_use","id":"t#","name":"read","input":{"a":#}}') .. "]}",
      openai = '{"choices":[{"message":{"tool_calls":[' .. repeated('{"id":"t#","function":'
        .. '{"name":"read","arguments":"{\\"a\\":#}"}}') .. "]}}]}",
      ["openai-responses"] = '{"status":"completed","output":[' .. repeated('{"type":'
        .. '"function_call","call_id":"t#","name":"read","arguments":"{\\"a\\":#}"}') .. "]}",
    }
    for api, support in pairs(ALL) do
      support.serve({ rules = { support.raw(bodies[api], "application/json") } })
      local reply = support.succeed(support.provider())
      assert.equal(COUNT, #reply.content)
      assert.equal(COUNT, reply.content[COUNT].input.a)
      local piece = openai.pieces({ "go", reply.content })[2]
      piece.blocks = piece.blocks:gsub('"t1"', '"t.1"') -- which Anthropic's API would refuse
      local pieces = { { role = "user", blocks = '{"type":"text","text":"go"}' }, piece }
      for _, made in ipairs({
        require("agenthost.provider.anthropic_messages").new():parts({ pieces = pieces }, true),
        require("agenthost.provider.openai_messages").new():parts(nil, pieces),
        require("agenthost.provider.openai_items").new():parts(pieces),
      }) do
        local _, count = table.concat(made):gsub('"read"', "")
        assert.equal(COUNT, count)
      end
    end
  end)
end)

describe("what a server says", function()
  for api, support in pairs(ALL) do
    it("shows no key and no escape sequence, in whatever it stands: " .. api, function()
      local evil = "\27]0;evil\7 test-key " .. ("x"):rep(500)
      local headers = { ["request-id"] = evil, ["x-request-id"] = evil, location = evil,
        ["retry-after"] = evil, ["content-type"] = "text/" .. evil }
      local body = json.encode({ error = { message = evil, type = evil, code = evil },
        message = evil, request_id = evil })
      local rules = {}
      for _, status in ipairs({ 200, 302, 400, 401, 429, 500 }) do
        rules[#rules + 1] = { times = 1, fault = { status = status, headers = headers,
          body = body, content_type = "application/json" } }
        rules[#rules + 1] = { times = 1, fault = { status = status, headers = headers,
          body = evil, content_type = "text/" .. evil } }
      end
      rules[#rules + 1] = { fault = { status = 200, headers = headers, body = support.sse({ body }),
        content_type = "text/event-stream" } }
      support.serve({ rules = rules })
      local p = support.provider()
      for _ = 1, #rules do
        local result = support.fail(p)
        assert.is_nil(result.message:find("%c"), result.message)
        assert.is_true(#result.message < 2000, #result.message .. " bytes")
        local id = result.details.request_id or ""
        assert.is_nil(id:find("test-key", 1, true) or id:find("%c"), id)
      end
    end)

    it("is bounded, be it an error page of a megabyte: " .. api, function()
      local page = "<html><style>" .. ("a{}"):rep(100000) .. "</style>" .. ("<p>no</p>"):rep(100000)
      support.serve({ rules = {
        { times = 1, fault = { status = 502, body = page, content_type = "text/html" } },
        { times = 1, fault = { status = 502, body = json.encode({ error = { message = page } }),
          content_type = "application/json" } },
        { fault = { status = 200, body = page, content_type = "text/html" } } } })
      for _ = 1, 3 do
        local result = support.fail(support.provider())
        assert.is_true(#result.message < 2000, #result.message .. " bytes")
      end
    end)
  end
end)

describe("counts of tokens", function()
  it("are whole numbers above 0 that can be added up, or none", function()
    assert.equal(12, models.tokens(12.0))
    for value, wanted in pairs({ [12] = 12, [0] = 0, [-3] = 0, [1.5] = 0, ["12"] = 0,
      [1e300] = 0, [math.maxinteger] = 0, [true] = 0 }) do
      assert.equal(wanted, models.tokens(value), tostring(value))
    end
    assert.equal(0, models.tokens(nil))
    assert.equal(0, models.tokens(json.null))
    assert.equal(0, models.tokens({}))
  end)
end)
