local json = require("agenthost.json")
local schema = require("agenthost.schema")
local raised = require("support.temp").raised

describe("schema.from_input", function()
  it("makes a schema of the short form", function()
    local made = schema.from_input({
      path = "string: the file",
      limit = "integer?: how many lines",
      deep = { type = "array", items = { type = "number" } },
      mode = { type = "string", enum = { "r", "w" }, optional = true },
    })
    assert.same({
      type = "object",
      properties = {
        path = { type = "string", description = "the file" },
        limit = { type = "integer", description = "how many lines" },
        deep = { type = "array", items = { type = "number" } },
        mode = { type = "string", enum = { "r", "w" } },
      },
      required = { "deep", "path" },
    }, made)
  end)

  it("takes types without a description, and spaces", function()
    local made = schema.from_input({ a = "boolean", b = " object? ", c = "array ?",
      d = "number:x: y" })
    assert.same({ type = "boolean" }, made.properties.a)
    assert.same({ type = "object" }, made.properties.b)
    assert.same({ type = "number", description = "x: y" }, made.properties.d)
    assert.equal("array", made.properties.c.type)
  end)

  it("encodes right when there is nothing in it", function()
    for _, input in ipairs({ false, {} }) do
      assert.equal('{"properties":{},"required":[],"type":"object"}',
        json.encode(schema.from_input(input or nil)))
    end
    assert.matches('"required":%[%]', json.encode(schema.from_input({ a = "string?" })))
  end)

  it("takes a JSON Schema as it is", function()
    local input = { type = "object", properties = { x = { type = "string" } } }
    assert.equal(input, schema.from_input(input))
    local bare = { type = "object" }
    assert.equal(bare, schema.from_input(bare))
  end)

  it("takes a field that is called type for a field", function()
    assert.same({ type = { type = "string", description = "kind" } },
      schema.from_input({ type = "string: kind" }).properties)
  end)

  it("leaves its argument as it was", function()
    local field = { type = "string", optional = true }
    schema.from_input({ x = field })
    assert.is_true(field.optional)
  end)

  it("says what is wrong", function()
    for pattern, input in pairs({
      [ [[boolean, object, array; got "text"]] ] = { x = "text" },
      [ [[boolean, object, array; got ""]] ] = { y = "" },
      ["input.x: expected a text or a schema, got a number"] = { x = 7 },
      [ [[input: expected a JSON Schema or { name = "type: description" }]] ] = { "string" },
      [ [[boolean, object, array; got "string[]"]] ] = { x = "string[]" },
      [ [[boolean, object, array; got "string | null"]] ] = { x = "string | null" },
      ["input: a JSON Schema needs type = \"object\" beside its properties"] = {
        properties = { a = { type = "string" } }, required = { "a" } },
      ["input.anyOf: expected a text or a schema, got a list"] = { anyOf = { { type = "array" } } },
    }) do
      assert.matches(pattern, raised(schema.from_input, input), 1, true)
    end
    assert.matches("input: expected a JSON Schema .*, got a string",
      raised(schema.from_input, "string"))
  end)
end)

describe("schema.check", function()
  -- input, schema of the field x, the problem (nil: fits)
  local cases = {
    { "text", { type = "string" } },
    { 7, { type = "string" }, "x: expected string, got integer" },
    { 7, { type = "integer" } },
    { 7.0, { type = "integer" } },
    { 7.5, { type = "integer" }, "x: expected integer, got number" },
    { 7, { type = "number" } },
    { "7", { type = "number" }, "x: expected number, got string" },
    { true, { type = "boolean" } },
    { false, { type = "boolean" } },
    { 0, { type = "boolean" }, "x: expected boolean, got integer" },
    { { 1 }, { type = "array" } },
    { { a = 1 }, { type = "array" }, "x: expected array, got object" },
    { { 1 }, { type = "object" }, "x: expected object, got array" },
    { {}, { type = "array" } },
    { {}, { type = "object" } },
    { "s", { type = { "string", "null" } } },
    { 1, { type = { "string", "null" } }, "x: expected string or null, got integer" },
    { 1, {} },
    { 1, true },
    { "b", { enum = { "a", "b" } } },
    { "c", { enum = { "a", 1 } }, 'x has to be one of "a", 1' },
    { 1, { type = "integer", minimum = 1, maximum = 3 } },
    { 0, { type = "integer", minimum = 1 }, "x has to be at least 1" },
    { 4, { type = "number", maximum = 3.5 }, "x has to be at most 3.5" },
    { "äöü", { type = "string", minLength = 3, maxLength = 3 } },
    { "äö", { type = "string", minLength = 3 }, "x needs at least 3 characters" },
    { "äöüä", { type = "string", maxLength = 3 }, "x may have at most 3 characters" },
    { { 1, "a" }, { type = "array", items = { type = "integer" } },
      "x[2]: expected integer, got string" },
    { { y = {} }, { type = "object", properties = { y = { type = "object", required = { "z" } } } },
      "x.y.z is missing" },
    { { z = 1 }, { type = "object", properties = {}, additionalProperties = false },
      "x.z is not known" },
    { { z = 1 }, { type = "object", properties = {} } },
    { { pth = 1 }, { type = "object", properties = { path = {}, mode = {} },
      additionalProperties = false }, "x.pth is not known; did you mean 'path'?" },
    { { zzzzz = 1 }, { type = "object", properties = { path = {}, mode = {} },
      additionalProperties = false }, "x.zzzzz is not known; there are mode, path" },
    { {}, { type = "object", properties = { path = { type = "string", description = "the file" } },
      required = { "path" } }, "x.path is missing (string: the file)" },
    { { a = 1, b = "c" }, { type = "object", additionalProperties = { type = "integer" } },
      "x.b: expected integer, got string" },
    { { a = { 1 } }, { properties = { a = { items = { type = "string" } } } },
      "x.a[1]: expected string, got integer" },
    { { 1, 2 }, { type = "array", minItems = 3 }, "x needs at least 3 items, got 2" },
    { { 1 }, { type = "array", minItems = 1e57 }, "x needs at least 1e+57 items, got 1" },
    { "a", { type = "string", minLength = 1e57 }, "x needs at least 1e+57 characters" },
    { { 1, 2 }, { type = "array", maxItems = 1 }, "x may have at most 1 items, got 2" },
    { 1, { exclusiveMinimum = 1 }, "x has to be more than 1" },
    { 1, { exclusiveMaximum = 1 }, "x has to be less than 1" },
    { 1, { exclusiveMinimum = 0, exclusiveMaximum = 2 } },
    { "a", { const = "b" }, 'x has to be "b"' },
    { { 1 }, { const = { 1 } } },
    { { 1 }, { enum = { { 2 } } }, "x has to be one of [2]" },
    { 1, false, "x is not to be given" },
    { 1, { anyOf = { { type = "string" }, { type = "integer" } } } },
    { true, { anyOf = { { type = "string" }, { type = "integer" } } },
      "x fits none of its forms: x: expected string, got boolean; or x: expected integer, "
        .. "got boolean" },
    { 1, { oneOf = { { type = "number" }, { type = "integer" } } },
      "x fits more than one of its forms; it has to be exactly one" },
    { 1, { oneOf = { { type = "string" }, { type = "integer" } } } },
    { 1, { allOf = { { minimum = 0 }, { minimum = 2 } } }, "x has to be at least 2" },
    { { next = { next = { n = "1" } } }, { ["$ref"] = "#/$defs/list" },
      "x.next.next.n: expected integer, got string" },
    { { next = { n = 1 } }, { ["$ref"] = "#/$defs/list" } },
    { 1, { ["$ref"] = "#/$defs/loop" }, "x is nested deeper than 100 levels" },
    { 1, { ["$ref"] = "https://example.com/schema" } },
    { 1, { type = 7, enum = "x", required = 1, properties = 2, anyOf = 3 } },
  }

  for i, case in ipairs(cases) do
    it(("case %d: %s"):format(i, case[3] or "fits"), function()
      local whole = { type = "object", properties = { x = case[2] }, required = { "x" },
        ["$defs"] = {
          list = { type = "object", properties = { n = { type = "integer" },
            next = { ["$ref"] = "#/$defs/list" } } },
          loop = { ["$ref"] = "#/$defs/loop" },
        } }
      assert.equal(case[3], schema.check({ x = case[1] }, whole))
    end)
  end

  it("comes to an end whatever a schema refers to", function()
    local loop = { ["$ref"] = "#/$defs/x" }
    assert.is_string(schema.check({}, { type = "object", anyOf = { loop },
      ["$defs"] = { x = { anyOf = { loop, loop } } } }))
  end)

  it("misses what is required, and takes null for absent", function()
    local made = schema.from_input({ a = "string", b = "string?" })
    assert.equal("a is missing (string)", schema.check({}, made))
    assert.equal("a is missing (string)", schema.check({ a = json.null }, made))
    local input = { a = "x", b = json.null }
    assert.is_nil(schema.check(input, made))
    assert.same({ a = "x" }, input)
  end)

  it("a required field may be null where its schema has that; the tool has none then", function()
    for _, property in ipairs({ { type = { "string", "null" } }, { enum = { "x", json.null } },
      { anyOf = { { type = "string" }, { type = "null" } } }, { ["$ref"] = "#/$defs/n" } }) do
      local made = schema.from_input({ type = "object", properties = { a = property },
        required = { "a" }, ["$defs"] = { n = { type = "null" } } })
      local input = { a = json.null }
      assert.is_nil(schema.check(input, made))
      assert.same({}, input)
      assert.matches("^a is missing", schema.check({}, made))
    end
  end)

  it("names a field below one that is called input", function()
    local made = schema.from_input({ input = { type = "object", required = { "path" } } })
    assert.equal("input.path is missing", schema.check({ input = {} }, made))
  end)

  it("wants an object", function()
    local made = schema.from_input({})
    assert.equal("input: expected object, got string", schema.check("x", made))
    assert.equal("input: expected object, got nil", schema.check(nil, made))
    assert.equal("input: expected object, got array", schema.check({ 1 }, made))
  end)

  it("refuses a schema with a slip in it, and says where", function()
    local function refused(property)
      return raised(schema.from_input, { type = "object", properties = { a = property } })
    end
    assert.equal("input.a.minimum: expected a number, got 'low'", refused({ minimum = "low" }))
    assert.equal("input.a.minLength: expected a whole number from 0 on, got -1",
      refused({ minLength = -1 }))
    assert.equal("input.a.items.$ref: there is no 'n' in the schema's $defs",
      refused({ items = { ["$ref"] = "#/$defs/n" } }))
    assert.equal("input.a.required: expected a list of names, got 'yes'",
      refused({ required = "yes" }))
    assert.matches("^input.a.type: expected string, number, .*, got 'text'$",
      refused({ type = "text" }))
    assert.equal("input.a.items.enum: expected a list, got a table",
      refused({ type = "array", items = { enum = { x = 1 } } }))
    assert.equal("input.a.anyOf[2]: expected a schema, got a string",
      refused({ anyOf = { { type = "string" }, "number" } }))
    assert.equal("input.a: expected a schema, got a string", refused("string"))
    local deep = { type = "string" }
    for _ = 1, 120 do
      deep = { items = deep }
    end
    assert.matches("nested deeper than 100 levels$", refused(deep))
    assert.matches("^input: it cannot be sent: ", refused({ enum = { print } }))
  end)
end)
