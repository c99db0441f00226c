"""Tests of the fake's Chat Completions: what it streams, what it refuses, what has to come back.

Run: python3 tests/support/test_fake_chat.py
"""

import http.client
import json
import unittest

import fake_case

HEADERS = {"content-type": "application/json", "authorization": "Bearer test-key"}
TOOL = {"type": "function", "function": {"name": "bash", "description": "Runs.", "parameters": {
    "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}}


def body_of(*messages, **fields):
    messages = messages or (user("hello"),)
    return {"model": "m", "messages": list(messages), "stream": True,
            "stream_options": {"include_usage": True}} | fields


def user(content):
    return {"role": "user", "content": content}


def assistant(content=None, **fields):
    return {"role": "assistant", "content": content} | fields


def result(call, content="ok"):
    return {"role": "tool", "tool_call_id": call["id"], "content": content}


class Response(fake_case.Response):
    @property
    def message(self):
        """The message of a stream, accumulated as a client must; finish and usage beside it."""
        found = {"role": None, "tool_calls": []}
        for chunk in self.data:
            if chunk == "[DONE]":
                continue
            found["usage"] = chunk.get("usage") or found.get("usage")
            for choice in chunk["choices"]:
                delta, found["finish"] = choice["delta"], choice["finish_reason"]
                found["role"] = found["role"] or delta.get("role")
                for name in ("content", "refusal", "reasoning_content", "reasoning"):
                    if delta.get(name):
                        found[name] = found.get(name, "") + delta[name]
                for part in delta.get("tool_calls", []):
                    self.add_call(found["tool_calls"], part)
        return found

    @staticmethod
    def add_call(calls, part):
        if "index" not in part or part["index"] == len(calls):
            calls.append({"id": part.get("id"), "type": "function", "function": part["function"]})
        else:
            calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]


class ChatCase(fake_case.FakeCase):
    program, path, id_header = "fake_openai.py", "/v1/chat/completions", "x-request-id"
    headers, response_class = HEADERS, Response

    def refused(self, part, body, status=400, code=False, **options):
        response = self.send(body, **options)
        self.assertEqual(response.status, status, (part, response.raw[:300]))
        self.assertEqual(set(response.json), {"error"})
        error = response.json["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertIn(part, error["message"])
        if code is not False:
            self.assertEqual(error["code"], code)
        return error


class Streams(ChatCase):
    def test_whole_sequence(self):
        self.start({"thinking": "Let me see.", "text": "Grüße, 世界 🌍",
                    "tools": [{"name": "bash", "input": {"command": "echo \"ä\""}},
                              {"name": "bash", "arguments": '{ "a": [ ] }'}]})
        response = self.accepted(body_of())
        self.assertTrue(response.headers["content-type"].startswith("text/event-stream"))
        self.assertNotIn(b"event:", response.raw)
        self.assertEqual(response.data[-1], "[DONE]")
        chunks, message = response.data[:-1], response.message
        self.assertEqual(len({chunk["id"] for chunk in chunks}), 1)
        self.assertEqual({chunk["object"] for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(sum("role" in choice["delta"] for chunk in chunks
                             for choice in chunk["choices"]), 1)
        self.assertEqual((chunks[-1]["choices"], chunks[-2]["choices"][0]["finish_reason"]),
                         ([], "tool_calls"))
        self.assertEqual([bool(chunk["usage"]) for chunk in chunks[-2:]], [False, True])
        self.assertEqual((message["content"], message["reasoning_content"]),
                         ("Grüße, 世界 🌍", "Let me see."))
        first, second = message["tool_calls"]
        self.assertEqual(first["function"], {"name": "bash", "arguments":
                                             '{"command":"echo \\"ä\\""}'})
        self.assertRegex(first["id"], "^call_[a-zA-Z0-9]{24}$")
        self.assertEqual(second["function"]["arguments"], '{ "a": [ ] }')
        self.assertIn("世界".encode(), response.raw)

    def test_without_stream(self):
        self.start({"text": "hi", "tools": [{"name": "bash", "input": {"a": [1]}}],
                    "usage": {"prompt_tokens": 7, "completion_tokens": 9,
                              "prompt_tokens_details": {"cached_tokens": 5}}})
        whole = self.accepted({"model": "m", "messages": [user("x")]}).json
        choice = whole["choices"][0]
        self.assertEqual((whole["object"], choice["finish_reason"]),
                         ("chat.completion", "tool_calls"))
        self.assertEqual(choice["message"]["tool_calls"][0]["function"]["arguments"], '{"a":[1]}')
        self.assertEqual((whole["usage"]["total_tokens"],
                          whole["usage"]["prompt_tokens_details"]["cached_tokens"]), (16, 5))

    def test_endings(self):
        self.start({"when": {"turn": 1}, "text": "a", "stop_reason": "max_tokens"},
                   {"when": {"turn": 2}, "refusal": "I will not."},
                   {"when": {"turn": 3}, "stop_reason": "content_filter"}, {"text": "b"})
        self.assertEqual(self.accepted(body_of()).message["finish"], "length")
        message = self.accepted(body_of()).message
        self.assertEqual((message["refusal"], message["finish"]), ("I will not.", "stop"))
        self.assertEqual(self.accepted(body_of()).message["finish"], "content_filter")
        response = self.accepted({"model": "m", "stream": True, "messages": [user("x")]})
        self.assertNotIn(b"usage", response.raw)

    def test_rules(self):
        self.start({"when": {"has_tool_result": True}, "text": "result"},
                   {"when": {"system_contains": "pirate", "model": "m"}, "text": "arr"},
                   {"when": {"last_user_contains": ["one", "two"], "any_contains": "deep"},
                    "tools": [{"name": "bash", "input": {}}]})
        text = lambda *messages: self.accepted(body_of(*messages)).message
        self.assertEqual(text({"role": "developer", "content": "a pirate"}, user("x"))["content"],
                         "arr")
        asked = user([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])
        calls = text(user("deep"), assistant("x"), asked)["tool_calls"]
        self.assertEqual(text(asked, assistant(tool_calls=calls), result(calls[0]))["content"],
                         "result")
        self.refused("no rule matches", body_of(), 500)

    def test_endpoints_and_keys(self):
        self.start({"text": "hi"}, models=["a", {"id": "b/c", "owned_by": "me"}],
                   pages={"GET /props": {"n_ctx": 4096}})
        listing = self.send(method="GET", path="/v1/models").json
        self.assertEqual((listing["object"], [item["id"] for item in listing["data"]]),
                         ("list", ["a", "b/c"]))
        self.assertEqual(self.send(method="GET", path="/v1/models/b%2Fc").json["owned_by"], "me")
        self.assertEqual(self.send(method="GET", path="/props").json, {"n_ctx": 4096})
        for method, path in (("POST", "/chat/completions"), ("POST", "/v1/v1/chat/completions"),
                             ("GET", "/v1/chat/completions"), ("GET", "/v1/modelsx")):
            self.refused("Invalid URL", None, 404, None, method=method, path=path)
        self.refused("does not exist", None, 404, "model_not_found", method="GET",
                     path="/v1/models/z")
        kind = {"content-type": "application/json"}
        self.refused("didn't provide an API key", body_of(), 401, None, headers=kind)
        self.refused("Incorrect API key", body_of(), 401, "invalid_api_key",
                     headers=kind | {"authorization": "Bearer sk-real"})
        self.refused("Anthropic's headers", body_of(), headers=HEADERS | {"x-api-key": "test-key"})
        self.refused("content-type", body_of(), headers={"authorization": "Bearer test-key"})
        self.refused("parse the JSON", b"{")
        self.refused("duplicate key", b'{"model":"m","model":"m"}')
        self.assertNotIn("sk-real", json.dumps(self.log()))

    def test_faults(self):
        self.start({"when": {"turn": 1}, "fault": {
                        "status": 429, "error_type": "insufficient_quota", "headers": {
                            "retry-after-ms": "20", "x-should-retry": "false"}}},
                   {"when": {"turn": 2}, "fault": {"status": 400, "message": "too long",
                                                   "error_type": "context_length_exceeded"}},
                   {"when": {"turn": 3}, "text": "hello" * 9, "fault": {
                       "error_event": "server_error", "message": "oh"}},
                   {"when": {"turn": 4}, "text": "hello", "fault": {"missing_stop": True}},
                   {"when": {"turn": 5}, "text": "hello", "fault": {"cut_after_events": 2}})
        response = self.send(body_of())
        self.assertEqual((response.headers["retry-after-ms"], response.headers["x-should-retry"]),
                         ("20", "false"))
        self.assertEqual(response.json["error"]["type"], "insufficient_quota")
        error = self.refused("too long", body_of(), 400, "context_length_exceeded")
        self.assertEqual(error["type"], "invalid_request_error")
        self.assertEqual(self.accepted(body_of()).data[-1], {"error": {
            "message": "oh", "type": "server_error", "param": None, "code": "server_error"}})
        self.assertEqual(self.accepted(body_of()).message["finish"], None)
        self.assertIsInstance(self.accepted(body_of()).broken, http.client.IncompleteRead)


class Strictness(ChatCase):
    def test_top_level(self):
        self.start({"text": "hi"})
        function = lambda **fields: [{"type": "function", "function": TOOL["function"] | fields}]
        schema = lambda **fields: function(parameters=TOOL["function"]["parameters"] | fields)
        for part, fields in (
                ("Unknown parameter: 'foo'", {"foo": 1}), ("Unknown", {"system": "x"}),
                ("Use 'max_completion_tokens'", {"max_tokens": 5}),
                ("'max_completion_tokens'", {"max_completion_tokens": 0}),
                ("expected an integer", {"max_completion_tokens": "5"}),
                ("'model'", {"model": ""}), ("expected a string, but got null", {"model": None}),
                ("expected a boolean", {"stream": 1}), ("'temperature'", {"temperature": 1}),
                ("store must be false", {"store": True}), ("'top_p'", {"top_p": 1}),
                ("only allowed when 'stream'", {"stream": False}),
                ("'stream_options.foo'", {"stream_options": {"foo": 1}}),
                ("expected an object", {"stream_options": []}),
                ("Supported values", {"reasoning_effort": "huge"}),
                ("Supported values", {"n": 2}), ("Supported values", {"verbosity": "x"}),
                ("empty array", {"tools": []}), ("expected an array", {"tools": {}}),
                ("Supported values", {"tools": [{"type": "custom", "function": {"name": "a"}}]}),
                ("Missing required parameter: 'tools[0].function'",
                 {"tools": [{"type": "function", "name": "a"}]}),
                ("Unknown parameter: 'tools[0].name'", {"tools": [TOOL | {"name": "a"}]}),
                ("pattern", {"tools": function(name="a.b")}), ("unique", {"tools": [TOOL, TOOL]}),
                ("input_schema", {"tools": function(input_schema={})}),
                ("JSON Schema", {"tools": function(parameters={})}),
                ("properties", {"tools": schema(properties=[])}),
                ("with strict", {"tools": function(strict=True)}),
                ("only allowed when 'tools'", {"tool_choice": "auto"}),
                ("only allowed when 'tools'", {"parallel_tool_calls": True}),
                ("Supported values", {"tools": [TOOL], "tool_choice": "any"}),
                ("'tool_choice.name'", {"tools": [TOOL], "tool_choice": {
                    "type": "function", "function": {"name": "bash"}, "name": "bash"}}),
                ("not found", {"tools": [TOOL], "tool_choice": {
                    "type": "function", "function": {"name": "z"}}})):
            with self.subTest(part=part, fields=fields):
                self.refused(part, body_of(**fields))
        for name in ("model", "messages"):
            body = body_of()
            del body[name]
            self.assertEqual(self.refused("Missing required", body)["param"], name)
        self.refused("has to be an object", b"[]")
        self.accepted(body_of(
            tools=schema(additionalProperties=False), max_completion_tokens=5, store=False,
            reasoning_effort="low", tool_choice="required", parallel_tool_calls=False,
            prompt_cache_key="x", verbosity="low", response_format={"type": "text"},
            metadata={"a": "b"}))

    def test_messages(self):
        self.start({"text": "hi"})
        for part, messages in (
                ("empty array", []), ("expected an array", {}),
                ("messages[0].role", [{"content": "a"}]),
                ("Supported values", [{"role": "function", "content": "a"}]),
                ("messages[0].content", [{"role": "user"}]),
                ("expected an array, but got null", [user(None)]), ("empty array", [user([])]),
                ("Unknown parameter: 'messages[0].id'", [user("a") | {"id": 1}]),
                ("content[0].type", [user([{"text": "a"}])]),
                ("Supported values", [user([{"type": "image", "source": {}}])]),
                ("empty string", [user([{"type": "text", "text": ""}])]),
                ("'messages[0].content[0].cache_control'",
                 [user([{"type": "text", "text": "a", "cache_control": {}}])]),
                ("data URL", [user([{"type": "image_url", "image_url": {"url": "AAAA"}}])]),
                ("expected an object", [user([{"type": "image_url", "image_url": "http://a"}])]),
                ("expected a string, got null", [user("a"), assistant(), user("b")]),
                ("says nothing", [user("a"), assistant(""), user("b")]),
                ("'messages[1].reasoning_content'",
                 [user("a"), assistant("b", reasoning_content="c"), user("d")]),
                ("'messages[1].tool_calls'", [user("a"), assistant("x", tool_calls=[]), user("b")]),
                ("at the beginning", [user("a"), {"role": "system", "content": "b"}, user("c")]),
                ("nobody is asked", [user("a"), assistant("b")]),
                ("nobody is asked", [{"role": "system", "content": "b"}]),
                ("preceeding message", [user("a"), result({"id": "call_x"})])):
            with self.subTest(part=part, messages=messages):
                self.refused(part, body_of() | {"messages": messages})
        self.accepted(body_of({"role": "system", "content": [{"type": "text", "text": "s"}]}, user([
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]),
            assistant("b"), assistant(refusal="no"), user(" ")))


class ToolLoop(ChatCase):
    CALLS = [{"name": "bash", "input": {"n": 1, "list": []}}, {"name": "bash", "input": {}}]

    def turn(self, *quirks, **rule):
        self.start({"when": {"turn": 1}, "tools": self.CALLS} | rule, {"text": "end"},
                   quirks=list(quirks))
        self.calls = self.accepted(body_of(user("go"))).message["tool_calls"]
        return self.calls

    def back(self, calls=None, answers=None, *more):
        calls = calls or self.calls
        answers = answers if answers is not None else [result(call) for call in calls]
        return body_of(user("go"), assistant(tool_calls=calls), *answers, *more)

    def test_answers(self):
        one, two = self.turn()
        missing = "did not have response messages: "
        self.accepted(self.back())
        self.accepted(self.back(None, [result(two), result(one, [{"type": "text", "text": "x"}])],
                                user("and")))
        self.accepted(self.back([one]))     # the last one of a truncated reply may be dropped
        for part, answers in (
                (missing + two["id"], [result(one)]), (missing, []), (missing, [user("no")]),
                (missing, [result(one), user("a"), result(two)]),
                ("not found in 'tool_calls'", [result(one), result(two), result(two)]),
                ("not found in 'tool_calls'", [result({"id": "call_z"})]),
                ("empty array", [result(one), result(two, [])]),
                ("expected an array", [result(one), result(two, None)]),
                ("Supported values", [result(one), result(two, [{"type": "image_url", "image_url": {
                    "url": "http://a"}}])]),
                ("'messages[2].name'", [result(one) | {"name": "bash"}, result(two)])):
            with self.subTest(part=part, answers=answers):
                self.refused(part, self.back(None, answers))
        again = assistant(tool_calls=[one])
        self.refused("must be unique", self.back(None, None, again, result(one)))

    def test_calls_must_be_ours(self):
        one, two = self.turn()
        function = one["function"]
        for part, call in (
                ("differs", {"function": function | {"name": "other"}}),
                ("differs", {"function": function | {"arguments": '{"n": 1, "list": []}'}}),
                ("differs", {"function": function | {"arguments": '{"list":[],"n":1}'}}),
                ("is not JSON", {"function": function | {"arguments": "{"}}),
                ("text of an object", {"function": function | {"arguments": "[]"}}),
                ("expected a string, but got an object",
                 {"function": function | {"arguments": {}}}),
                ("never issued", {"id": "call_mine"}), ("empty string", {"id": ""}),
                ("'messages[1].tool_calls[0].index'", {"index": 0}),
                ("Supported values", {"type": "tool_use"})):
            with self.subTest(part=part, call=call):
                self.refused(part, self.back([one | call, two]))
        self.refused("not issued at this place", self.back([two, one]))

    def test_partial_reply_is_not_remembered(self):
        self.turn(fault={"missing_stop": True})
        self.refused("never issued", self.back())

    def test_ids_that_the_server_never_gave(self):
        for quirk in ("no_tool_id", "empty_tool_id"):
            calls = self.turn(quirk, "whole_tool_calls")
            self.assertEqual({call["id"] for call in calls},
                             {None if quirk == "no_tool_id" else ""})
            own = [call | {"id": f"made_up_{index}"} for index, call in enumerate(calls)]
            self.accepted(self.back(own))
            changed = own[0]["function"] | {"arguments": '{"n":2,"list":[]}'}
            self.refused("never issued", self.back([own[0] | {"function": changed}, own[1]]))

    def test_arguments_that_are_no_text(self):
        one, two = self.turn("object_arguments")
        self.assertEqual(one["function"]["arguments"], {"n": 1, "list": []})
        text = lambda call: call | {"function": call["function"] | {
            "arguments": json.dumps(call["function"]["arguments"])}}
        self.accepted(self.back([text(one), text(two)]))
        one, two = self.turn("empty_arguments")
        self.assertEqual(two["function"]["arguments"], "")
        self.accepted(self.back([one, two | {"function": two["function"] | {"arguments": "{}"}}]))


if __name__ == "__main__":
    unittest.main()
