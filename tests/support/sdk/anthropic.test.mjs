// @anthropic-ai/sdk reads the fake of Anthropic's API and finds what the scenario said.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { CALLS, TEXT, WIRES, start } from "./fake.mjs";

const TOOLS = [{ name: "bash", description: "Runs.", input_schema: { type: "object" } }];
const ASK = { model: "claude-test-1", max_tokens: 1000, tools: TOOLS,
  messages: [{ role: "user", content: "go" }] };

async function client(t, rules, options = {}) {
  const baseURL = await start(t, "fake_anthropic.py", { rules });
  return new Anthropic({ apiKey: "test-key", baseURL, maxRetries: 0, ...options });
}

for (const [name, wire] of Object.entries(WIRES)) {
  test(`a stream: ${name}`, async (t) => {
    const anthropic = await client(t, [{ when: { has_tool_result: true }, text: "end", wire },
      { thinking: "Let me see.", text: TEXT, tools: CALLS, wire,
        usage: { input_tokens: 7, cache_read_input_tokens: 5, output_tokens: 9 } }]);
    const message = await anthropic.messages.stream(ASK).finalMessage();
    assert.deepEqual(message.content.map((block) => block.type),
      ["thinking", "text", "tool_use", "tool_use"]);
    const [thinking, text, ...calls] = message.content;
    assert.equal(thinking.thinking, "Let me see.");
    assert.ok(thinking.signature.length > 50);
    assert.equal(text.text, TEXT);
    assert.deepEqual(calls.map(({ name, input }) => ({ name, input })), CALLS);
    assert.equal(message.stop_reason, "tool_use");
    assert.deepEqual([message.usage.input_tokens, message.usage.cache_read_input_tokens,
      message.usage.output_tokens], [7, 5, 9]);
    // What the SDK sends back is what the fake's validation has to take.
    const results = calls.map((call) =>
      ({ type: "tool_result", tool_use_id: call.id, content: "ok" }));
    const end = await anthropic.messages.stream({ ...ASK, messages: [...ASK.messages,
      { role: "assistant", content: message.content }, { role: "user", content: results }] })
      .finalMessage();
    assert.equal(end.content[0].text, "end");
  });
}

test("a reply that does not stream, and the other endpoints", async (t) => {
  const anthropic = await client(t, [{ text: TEXT, stop_reason: "max_tokens" }]);
  const message = await anthropic.messages.create(ASK);
  assert.deepEqual([message.content[0].text, message.stop_reason], [TEXT, "max_tokens"]);
  const { max_tokens, ...counted } = ASK;
  assert.ok((await anthropic.messages.countTokens(counted)).input_tokens > 0);
  const ids = [];
  for await (const model of anthropic.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ["claude-test-1"]);
});

test("errors", async (t) => {
  const anthropic = await client(t, [
    { times: 1, fault: { status: 529, message: "busy" } },
    { times: 1, text: TEXT, fault: { error_event: "overloaded_error", message: "later" } },
    { times: 1, text: TEXT, fault: { missing_stop: true } },
    { text: TEXT, fault: { cut_after_events: 3 } }]);
  const ask = () => anthropic.messages.stream(ASK).finalMessage();
  await assert.rejects(ask, (error) => error instanceof Anthropic.APIError && error.status === 529
    && error.error.error.type === "overloaded_error" && error.requestID.startsWith("req_"));
  await assert.rejects(ask, (error) => error instanceof Anthropic.APIError
    && error.message.includes("later"));
  await assert.rejects(ask, /stream ended|ended without/);
  await assert.rejects(ask);
  await assert.rejects(() => anthropic.messages.create({ ...ASK, foo: 1 }), /foo: Extra inputs/);
});

test("retry headers", async (t) => {
  const anthropic = await client(t, [
    { times: 1, fault: { status: 429, headers: { "retry-after-ms": "5" } } },
    { times: 1, fault: { status: 400, headers: { "x-should-retry": "true", "retry-after": "0" } } },
    { times: 1, text: "at last" },
    { fault: { status: 500, headers: { "x-should-retry": "false" } } }], { maxRetries: 2 });
  assert.equal((await anthropic.messages.create(ASK)).content[0].text, "at last");
  await assert.rejects(() => anthropic.messages.create(ASK), { status: 500 });
});
