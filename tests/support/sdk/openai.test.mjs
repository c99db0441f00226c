// The openai SDK reads the fake of OpenAI's two APIs and finds what the scenario said.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { CALLS, TEXT, WIRES, start } from "./fake.mjs";

const PARAMETERS = { type: "object", properties: {} };
const TOOLS = [{ type: "function", function: { name: "bash", parameters: PARAMETERS } }];
const CHAT = { model: "gpt-test-1", tools: TOOLS, messages: [{ role: "user", content: "go" }],
  stream: true, stream_options: { include_usage: true } };
const RESPONSES = { model: "gpt-test-1", store: false, include: ["reasoning.encrypted_content"],
  tools: [{ type: "function", name: "bash", parameters: PARAMETERS, strict: false }],
  input: [{ role: "user", content: "go" }] };
const ARGUMENTS = CALLS.map((call) => JSON.stringify(call.input));

async function client(t, rules, options = {}, scenario = {}) {
  const url = await start(t, "fake_openai.py", { rules, ...scenario });
  return new OpenAI({ apiKey: "test-key", baseURL: `${url}/v1`, maxRetries: 0, ...options });
}

for (const [name, wire] of Object.entries(WIRES)) {
  test(`Chat Completions: ${name}`, async (t) => {
    const openai = await client(t, [{ when: { has_tool_result: true }, text: "end", wire },
      { thinking: "Let me see.", text: TEXT, tools: CALLS, wire,
        usage: { prompt_tokens: 7, completion_tokens: 9,
          prompt_tokens_details: { cached_tokens: 5 } } }]);
    const stream = openai.chat.completions.stream(CHAT);
    let thinking = "";
    for await (const chunk of stream) thinking += chunk.choices[0]?.delta.reasoning_content ?? "";
    const { choices: [choice], usage } = await stream.finalChatCompletion();
    assert.equal(thinking, "Let me see.");
    assert.deepEqual([choice.message.content, choice.finish_reason], [TEXT, "tool_calls"]);
    assert.deepEqual(choice.message.tool_calls.map((call) => call.function.arguments), ARGUMENTS);
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens,
      usage.prompt_tokens_details.cached_tokens], [7, 9, 16, 5]);
    const calls = choice.message.tool_calls.map(({ id, function: { name, arguments: text } }) =>
      ({ id, type: "function", function: { name, arguments: text } }));
    const end = await openai.chat.completions.stream({ ...CHAT, messages: [...CHAT.messages,
      { role: "assistant", content: TEXT, tool_calls: calls },
      ...calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "ok" }))] })
      .finalContent();
    assert.equal(end, "end");
  });

  test(`Responses: ${name}`, async (t) => {
    const openai = await client(t, [{ when: { has_tool_result: true }, text: "end", wire },
      { thinking: ["Let me see.", "Aha."], text: TEXT, tools: CALLS, wire,
        usage: { input_tokens: 7, output_tokens: 9,
          input_tokens_details: { cached_tokens: 5 } } }]);
    // The SDK's accumulator checks each event against those before it, but raises at unknown ones.
    const read = wire.unknown_events ? await openai.responses.create({ ...RESPONSES, stream: true })
      : openai.responses.stream(RESPONSES);
    const numbers = [];
    let text = "", event;
    for await (event of read) {
      numbers.push(event.sequence_number);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.deepEqual(numbers, numbers.map((_, index) => index));
    const response = wire.unknown_events ? event.response : await read.finalResponse();
    assert.deepEqual([response.status, text, response.output[1].content[0].text],
      ["completed", TEXT, TEXT]);
    const [thought, , ...calls] = response.output;
    assert.deepEqual(thought.summary.map((part) => part.text), ["Let me see.", "Aha."]);
    assert.deepEqual(calls.map((call) => call.arguments), ARGUMENTS);
    assert.deepEqual([response.usage.input_tokens, response.usage.output_tokens,
      response.usage.total_tokens, response.usage.input_tokens_details.cached_tokens],
    [7, 9, 16, 5]);
    const plain = response.output.map(({ parsed_arguments, ...item }) => item.type !== "message"
      ? item : { ...item, content: item.content.map(({ parsed, ...part }) => part) });
    const end = await openai.responses.create({ ...RESPONSES, input: [...RESPONSES.input, ...plain,
      ...calls.map((call) => ({ type: "function_call_output", call_id: call.call_id,
        output: "ok" }))] });
    assert.equal(end.output_text, "end");
  });
}

test("replies that do not stream, and models", async (t) => {
  const openai = await client(t, [{ text: TEXT, stop_reason: "max_tokens" }]);
  const { stream, stream_options, ...chat } = CHAT;
  const completion = await openai.chat.completions.create(chat);
  assert.deepEqual([completion.choices[0].message.content, completion.choices[0].finish_reason],
    [TEXT, "length"]);
  const response = await openai.responses.create(RESPONSES);
  assert.deepEqual([response.output_text, response.status, response.incomplete_details.reason],
    [TEXT, "incomplete", "max_output_tokens"]);
  const ids = [];
  for await (const model of openai.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ["gpt-test-1"]);
});

test("errors of Chat Completions", async (t) => {
  const openai = await client(t, [
    { times: 1, fault: { status: 429, error_type: "insufficient_quota", message: "pay" } },
    { times: 1, text: TEXT, fault: { error_event: "server_error", message: "later" } },
    { times: 1, text: TEXT, fault: { missing_stop: true } },
    { text: TEXT, fault: { cut_after_events: 3 } }]);
  const ask = () => openai.chat.completions.stream(CHAT).finalChatCompletion();
  await assert.rejects(ask, (error) => error instanceof OpenAI.APIError && error.status === 429
    && error.code === "insufficient_quota" && error.requestID.startsWith("req_"));
  await assert.rejects(ask, (error) => error instanceof OpenAI.APIError
    && error.message.includes("later") && error.code === "server_error");
  await assert.rejects(ask, /finish_reason/);
  await assert.rejects(ask);
  await assert.rejects(() => openai.chat.completions.create({ ...CHAT, foo: 1 }),
    (error) => error.param === "foo" && error.code === "unknown_parameter");
});

test("endings of Responses", async (t) => {
  const openai = await client(t, [
    { times: 1, text: TEXT, stop_reason: "content_filter" },
    { times: 1, text: TEXT, stop_reason: "failed", error: { code: "server_error", message: "no" } },
    { times: 1, refusal: "I will not." },
    { times: 1, text: TEXT, fault: { error_event: "server_error", message: "later" } },
    { times: 1, text: TEXT, quirks: ["nested_errors"],
      fault: { error_event: "server_error", message: "later" } },
    { text: TEXT, fault: { cut_after_events: 3 } }]);
  const ask = () => openai.responses.create({ ...RESPONSES, stream: true });
  const last = async () => {
    let event;
    for await (event of await ask());
    return event;
  };
  assert.equal((await last()).response.incomplete_details.reason, "content_filter");
  assert.equal((await last()).response.error.message, "no");
  assert.equal((await last()).response.output[0].content[0].refusal, "I will not.");
  for (const _ of ["flat", "nested"]) {
    await assert.rejects(last, (raised) => raised instanceof OpenAI.APIError
      && raised.message.includes("later") && raised.code === "server_error");
  }
  await assert.rejects(last);
});

test("retry headers", async (t) => {
  const openai = await client(t, [
    { times: 1, fault: { status: 503, headers: { "retry-after-ms": "5" } } },
    { times: 1, fault: { status: 400, headers: { "x-should-retry": "true", "retry-after": "0" } } },
    { times: 1, text: "at last" },
    { fault: { status: 500, headers: { "x-should-retry": "false" } } }], { maxRetries: 2 });
  assert.equal((await openai.responses.create(RESPONSES)).output_text, "at last");
  await assert.rejects(() => openai.responses.create(RESPONSES), { status: 500 });
});
