"""Tests of the fake itself: a fake that lets something pass makes every test behind it worthless.

Run: python3 tests/support/test_fake_anthropic.py
"""

import copy
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

import fake_case
from fake_case import HERE

HEADERS = {"content-type": "application/json", "x-api-key": "test-key",
           "anthropic-version": "2023-06-01"}
TOOL = {"name": "bash", "description": "Runs.",
        "input_schema": {"type": "object", "properties": {"command": {"type": "string"}},
                         "required": ["command"]}}


def request_body(*messages, **fields):
    messages = messages or ({"role": "user", "content": "hello"},)
    return {"model": "m", "max_tokens": 100, "messages": list(messages), "stream": True} | fields


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def result(tool_use_id, content="ok", **fields):
    return {"type": "tool_result", "tool_use_id": tool_use_id, "content": content} | fields


class Response(fake_case.Response):
    @property
    def events(self):
        """The SSE body as a list of (event name, data)."""
        return [(name, json.loads(data)) for name, data in self.fields]

    @property
    def names(self):
        return [name for name, _ in self.events]

    @property
    def content(self):
        """The assistant content, accumulated as a client must."""
        blocks, fragments = [], {}
        for name, data in self.events:
            if name == "content_block_start":
                assert data["index"] == len(blocks)
                blocks.append(copy.deepcopy(data["content_block"]))
            elif name == "content_block_delta":
                block, delta = blocks[data["index"]], data["delta"]
                if delta["type"] == "input_json_delta":
                    fragments.setdefault(data["index"], []).append(delta["partial_json"])
                elif delta["type"] in ("text_delta", "thinking_delta", "signature_delta"):
                    field = delta["type"].removesuffix("_delta")
                    block[field] += delta[field]
            elif name == "content_block_stop" and data["index"] in fragments:
                text = "".join(fragments[data["index"]])
                blocks[data["index"]]["input"] = json.loads(text) if text else {}
        return blocks


class FakeTest(fake_case.FakeCase):
    program, path, id_header = "fake_anthropic.py", "/v1/messages", "request-id"
    headers, response_class = HEADERS, Response

    def refused(self, part, body, status=400, error_type="invalid_request_error", **options):
        response = self.send(body, **options)
        self.assertEqual(response.status, status, (part, response.raw[:300]))
        answer = response.json
        self.assertEqual(set(answer), {"type", "error", "request_id"})
        self.assertEqual((answer["type"], answer["error"]["type"]), ("error", error_type))
        self.assertEqual(answer["request_id"], response.headers["request-id"])
        self.assertIn(part, answer["error"]["message"])


class Streams(FakeTest):
    def test_whole_sequence(self):
        self.start({"thinking": "Let me see.", "text": "Grüße, 世界 🌍",
                    "tools": [{"name": "bash", "input": {"command": "echo \"ä\""}},
                              {"name": "bash", "input": {}}]})
        response = self.accepted(request_body())
        self.assertTrue(response.headers["content-type"].startswith("text/event-stream"))
        for name, data in response.events:
            self.assertEqual(name, data["type"])
        names = [name for name in response.names if name != "ping"]
        self.assertEqual(names[:2], ["message_start", "content_block_start"])
        self.assertEqual(names[-2:], ["message_delta", "message_stop"])
        self.assertEqual(response.names.count("ping"), 4)
        self.assertIn("世界".encode(), response.raw)
        thinking, text, call, empty = response.content
        self.assertEqual(thinking["thinking"], "Let me see.")
        self.assertGreater(len(thinking["signature"]), 50)
        self.assertEqual(text, {"type": "text", "text": "Grüße, 世界 🌍"})
        self.assertEqual((call["name"], call["input"]), ("bash", {"command": "echo \"ä\""}))
        self.assertRegex(call["id"], "^toolu_[a-zA-Z0-9]{24}$")
        self.assertEqual(empty["input"], {})
        parts = [data["delta"]["partial_json"] for _, data in response.events
                 if data.get("delta", {}).get("type") == "input_json_delta"]
        self.assertEqual(parts[0], "")
        self.assertEqual(parts[-2:], ["", ""])
        start, delta = response.events[0][1]["message"], response.events[-2][1]
        self.assertEqual((start["content"], start["stop_reason"], start["role"]),
                         ([], None, "assistant"))
        self.assertEqual(delta["delta"], {"stop_reason": "tool_use", "stop_sequence": None})
        self.assertGreater(delta["usage"]["output_tokens"], 0)

    def test_without_stream(self):
        self.start({"text": "hi", "tools": [{"name": "bash", "input": {"a": [1]}}],
                    "usage": {"input_tokens": 7, "output_tokens": 9}})
        message = self.accepted(request_body(stream=False)).json
        self.assertEqual([block["type"] for block in message["content"]], ["text", "tool_use"])
        self.assertEqual((message["stop_reason"], message["usage"]["input_tokens"]),
                         ("tool_use", 7))

    def test_stop_reasons_and_empty_content(self):
        self.start({"when": {"turn": 1}, "stop_reason": "refusal",
                    "stop_details": {"type": "refusal", "category": "x"}}, {"text": "a"})
        response = self.accepted(request_body())
        self.assertEqual(response.content, [])
        self.assertEqual(response.events[-2][1]["delta"]["stop_details"]["category"], "x")
        self.assertEqual(self.accepted(request_body()).events[-2][1]["delta"]["stop_reason"],
                         "end_turn")

    def test_rules(self):
        self.start({"when": {"turn": 3}, "text": "third"},
                   {"when": {"last_user_contains": ["one", "two"]}, "text": "both", "times": 1},
                   {"when": {"last_user_lacks": ["hello", "two"], "any_contains": "deep"},
                    "text": "lacks"},
                   {"when": {"system_contains": "pirate", "model": "m"}, "text": "arr"})
        text = lambda *messages, **fields: self.accepted(
            request_body(*messages, **fields)).content[0]["text"]
        self.assertEqual(text(user([{"type": "text", "text": "two"},
                                    {"type": "text", "text": "one"}])), "both")
        deep = (user("deep"), assistant("x"), user("now"))
        self.assertEqual(text(*deep), "lacks")
        self.assertEqual(text(*deep), "third")
        self.assertEqual(text(system=[{"type": "text", "text": "a pirate"}]), "arr")
        response = self.send(request_body(user("one two")))
        self.assertEqual((response.status, response.headers["x-should-retry"]), (500, "false"))
        self.assertEqual(response.json["error"],
                         {"type": "api_error", "message": "fake: no rule matches"})
        self.assertEqual([entry["rule"] for entry in self.log("reply")], [1, 2, 0, 3])
        self.assertEqual(self.log("rejected")[0]["status"], 500)

    def test_misspelt_scenario(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write('{"rules":[{"wen":{}}]}')
            file.flush()
            done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "fake_anthropic.py"),
                                   "--scenario", file.name, "--log", "/dev/null"],
                                  capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("rules[0]: unknown wen", done.stderr)

    def test_log(self):
        self.start({"text": "hi"})
        body = request_body(user("größe"))
        self.accepted(body)
        self.accepted(body)
        self.send(request_body(), headers=HEADERS | {"x-api-key": "sk-real"})
        entries = self.log(until=lambda found: [e["kind"] for e in found].count("end") == 3)
        self.assertEqual([entry["kind"] for entry in entries],
                         ["request", "reply", "end"] * 2 + ["request", "rejected", "end"])
        first = entries[0]
        self.assertEqual(first["headers"]["x-api-key"], "<key>")
        self.assertEqual((first["n"], first["method"], first["path"]), (1, "POST", "/v1/messages"))
        self.assertEqual((first["body"], json.loads(first["body_text"])), (body, body))
        self.assertEqual(entries[3]["connection"], first["connection"])
        self.assertEqual((entries[2]["complete"], entries[2]["client_gone"]), (True, False))
        self.assertNotIn("sk-real", json.dumps(entries))

    def test_ends_by_itself(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            with open(path, "w", encoding="ascii") as file:
                file.write('{"rules":{}}')
            done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "fake_anthropic.py"),
                                   "--scenario", path, "--log", os.path.join(folder, "l"),
                                   "--max-seconds", "0.2"], capture_output=True, timeout=5,
                                  check=False)
        self.assertEqual((done.returncode, done.stdout.count(b"\n")), (0, 1))


class Endpoints(FakeTest):
    def test_models_and_counting(self):
        self.start(models=["a", {"id": "b/c", "max_tokens": 5}])
        listing = self.send(method="GET", path="/v1/models?limit=10").json
        self.assertEqual([model["id"] for model in listing["data"]], ["a", "b/c"])
        self.assertIs(listing["has_more"], False)
        self.assertEqual(self.send(method="GET", path="/v1/models/b%2Fc").json["max_tokens"], 5)
        self.refused("model: z", None, 404, "not_found_error", method="GET", path="/v1/models/z")
        body = request_body()
        path = "/v1/messages/count_tokens"
        self.refused("max_tokens: Extra inputs", body, path=path)
        del body["max_tokens"], body["stream"]
        self.assertGreater(self.send(body, path=path).json["input_tokens"], 0)
        self.assertEqual(self.log("reply"), [])
        for method, path in (("GET", "/v1/messages"), ("POST", "/messages"), ("GET", "/"),
                             ("POST", "/v1/v1/messages"), ("DELETE", "/v1/models")):
            self.refused("Not found", None, 404, "not_found_error", method=method, path=path)

    def test_auth(self):
        self.start({"text": "hi"}, api_key="sekret")
        base = {name: value for name, value in HEADERS.items() if name != "x-api-key"}
        for good in ({"x-api-key": "sekret"}, {"authorization": "Bearer sekret"}):
            self.assertEqual(self.send(request_body(), headers=base | good).status, 200)
        for bad in ({}, {"x-api-key": "test-key"}, {"authorization": "sekret"},
                    {"x-api-key": "sekret", "authorization": "Bearer sekret"}):
            self.refused("", request_body(), 401, "authentication_error", headers=base | bad)
        self.assertNotIn("sekret", json.dumps(self.log()))

    def test_chunked_request_body(self):
        self.start({"text": "hi"})
        raw = json.dumps(request_body()).encode()
        self.connection.request("POST", "/v1/messages", iter([raw[:20], raw[20:]]), HEADERS,
                                encode_chunked=True)
        self.assertEqual(Response(self.connection.getresponse()).status, 200)


class Strictness(FakeTest):
    def test_headers_and_json(self):
        self.start({"text": "hi"})
        good = json.dumps(request_body()).encode()
        for name, value in (("content-type", "text/plain"), ("anthropic-version", "2020-01-01")):
            self.refused(name, good, headers=HEADERS | {name: value})
            left = {key: kept for key, kept in HEADERS.items() if key != name}
            self.refused(name, good, headers=left)
        self.assertEqual(self.send(good, headers=HEADERS | {
            "content-type": "application/json; charset=utf-8"}).status, 200)
        for part, raw in (("not valid JSON", b"{"), ("not valid JSON", b""),
                          ("dictionary", b"[]"),
                          ("duplicate key 'model'", good[:-1] + b',"model":"m"}'),
                          ("duplicate key 'role'", good.replace(
                              b'"role": "user"', b'"role":"user","role":"user"')),
                          ("invalid UTF-8", good.replace(b"hello", b"\xff")),
                          ("invalid UTF-8", good.replace(b"hello", b"\xed\xa0\x80")),
                          ("surrogate", good.replace(b"hello", b"\\ud83c")),
                          ("NaN", good.replace(b"100", b"NaN")),
                          ("max_tokens: Input should be a valid integer",
                           good.replace(b"100", b"1024.0"))):
            self.refused(part, raw)
        self.assertEqual(self.send(good.replace(b"hello", b"\\ud83c\\udf0d")).status, 200)
        self.assertIsNone(self.log("request")[5]["body"])

    def test_top_level(self):
        self.start({"text": "hi"})
        for name in ("model", "max_tokens", "messages"):
            body = request_body()
            del body[name]
            self.refused(f"{name}: Field required", body)
        tool = lambda **fields: [TOOL | fields]
        schema = lambda **fields: tool(input_schema=TOOL["input_schema"] | fields)
        mark = {"cache_control": {"type": "ephemeral"}}
        text = {"type": "text", "text": "x"}
        for part, fields in (
                ("foo: Extra inputs are not permitted", {"foo": 1}),
                ("max_tokens", {"max_tokens": 0}), ("max_tokens", {"max_tokens": -1}),
                ("max_tokens", {"max_tokens": "5"}), ("max_tokens", {"max_tokens": True}),
                ("model", {"model": ""}), ("model", {"model": None}),
                ("stream", {"stream": 1}), ("temperature", {"temperature": 1}),
                ("top_p", {"top_p": 1}), ("top_k", {"top_k": 1}),
                ("system", {"system": {}}), ("non-empty", {"system": [text | {"text": ""}]}),
                ("system.0", {"system": [text | {"foo": 1}]}),
                ("stop_sequences", {"stop_sequences": {}}), ("metadata", {"metadata": {"a": 1}}),
                ("effort", {"output_config": {"effort": "huge"}}),
                ("thinking.type", {"thinking": {"type": "on"}}),
                ("budget_tokens", {"thinking": {"type": "enabled"}}),
                ("budget_tokens", {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
                ("budget_tokens", {"thinking": {"type": "adaptive", "budget_tokens": 2000}}),
                ("tools: ", {"tools": {}}), ("pattern", {"tools": tool(name="a.b")}),
                ("pattern", {"tools": tool(name="a" * 65)}),
                ("pattern", {"tools": tool(name="a\n")}), ("unique", {"tools": [TOOL, TOOL]}),
                ("tools.0.foo", {"tools": tool(foo=1)}), ("type", {"tools": tool(type="x")}),
                ("description", {"tools": tool(description=None)}),
                ("input_schema: Field required", {"tools": [{"name": "a"}]}),
                ("input_schema.type", {"tools": tool(input_schema={})}),
                ("input_schema.type", {"tools": schema(type="array")}),
                ("properties", {"tools": schema(properties=[])}),
                ("required", {"tools": schema(required={})}),
                ("properties.a.properties", {"tools": schema(properties={
                    "a": {"type": "object", "properties": []}})}),
                ("tool_choice", {"tool_choice": {"type": "auto"}}),
                ("tool_choice", {"tool_choice": {"type": "tool"}, "tools": [TOOL]}),
                ("not found", {"tool_choice": {"type": "tool", "name": "z"}, "tools": [TOOL]}),
                ("cache_control.ttl", {"cache_control": {"type": "ephemeral", "ttl": "2h"}}),
                ("A maximum of 4 blocks with cache_control may be provided. Found 5.",
                 {"tools": tool(**mark), "system": [text | mark] * 3,
                  "messages": [user([text | mark])]})):
            with self.subTest(part=part, fields=fields):
                self.refused(part, request_body(**fields))
        self.accepted(request_body(
            tools=tool(**mark), system=[text | mark] * 2, messages=[user([text | mark])],
            thinking={"type": "adaptive", "display": "summarized"}, metadata={"user_id": "u"},
            output_config={"effort": "low"}, stop_sequences=["x"], service_tier="auto",
            tool_choice={"type": "auto", "disable_parallel_tool_use": True}))

    def test_messages(self):
        self.start({"text": "hi"})
        text = lambda value, **fields: {"type": "text", "text": value} | fields
        for part, messages in (
                ("at least one message", []), ("messages: ", {}),
                ("first message must use", [assistant("a"), user("b")]),
                ('multiple "user" roles', [user("a"), user("b")]),
                ('multiple "assistant" roles', [user("a"), assistant("b"), assistant("c"),
                                                user("d")]),
                ("role 'system' is not supported", [user("a"), {"role": "system", "content": "b"}]),
                ("role", [{"role": "tool", "content": "b"}]),
                ("messages.0.content: Field", [{"role": "user"}]),
                ("messages.0.id", [user("a") | {"id": 1}]),
                ("non-empty content", [user("")]), ("non-empty content", [user([])]),
                ("non-empty content", [user("a"), assistant([]), user("b")]),
                ("messages.0.content", [user({})]), ("messages.0.content", [user(None)]),
                ("text content blocks must be non-empty", [user([text("")])]),
                ("text content blocks must be non-empty", [user("a"), assistant([text("")]),
                                                           user("b")]),
                ("non-whitespace", [user("a"), assistant([text(" \n")]), user("b")]),
                ("non-whitespace", [user("a"), assistant("\n"), user("b")]),
                ("text.foo: Extra", [user([text("a", foo=1)])]),
                ("text.text: Field", [user([{"type": "text"}])]),
                ("content.0.type", [user([{"text": "a"}])]),
                ("content.0: Input tag 'weird'", [user([{"type": "weird"}])]),
                ("Input tag 'thinking'", [user([{"type": "thinking", "thinking": "",
                                                 "signature": ""}])]),
                ("never issued", [user("a"), assistant([{"type": "server_tool_use", "id": "s"}]),
                                  user("b")]),
                ("source", [user([{"type": "image", "source": {"type": "base64"}}])]),
                ("prefill", [user("a"), assistant("b")])):
            with self.subTest(part=part, messages=messages):
                self.refused(part, request_body(messages=messages))
        self.accepted(request_body(user([text("a"), {"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": "AAAA"}}]), assistant("b"),
            user(" ")))


class ToolLoop(FakeTest):
    CALLS = [{"name": "bash", "input": {"n": 1, "flag": True, "list": []}},
             {"name": "bash", "input": {}}]

    def turn(self, **rule):
        """Starts a server, gets one reply with tool calls; returns its content."""
        self.start({"when": {"turn": 1}, "tools": self.CALLS} | rule,
                   {"when": {"has_tool_result": True, "last_user_contains": "ok"}, "text": "end"})
        self.content = self.accepted(request_body(user("go"))).content
        return self.content

    def back(self, content=None, answer=None, *more):
        calls = [block for block in self.content if block["type"] == "tool_use"]
        if answer is None:
            answer = [result(call["id"]) for call in calls]
        return request_body(user("go"), assistant(content or self.content), user(answer), *more)

    def test_good_round(self):
        self.turn(thinking="Hm.", text="So:")
        self.assertEqual(self.accepted(self.back()).content[0]["text"], "end")
        one, two = [result(block["id"]) for block in self.content[2:]]
        marked = copy.deepcopy(self.content)
        marked[-1]["cache_control"] = {"type": "ephemeral"}
        marked[2]["input"] = {"list": [], "flag": True, "n": 1.0}
        self.accepted(self.back(marked, [
            two | {"is_error": True}, one | {"content": [{"type": "text", "text": "a"}]},
            {"type": "text", "text": "after"}]))
        response = self.send(self.back(None, None, assistant("end"), user("thanks")))
        self.assertEqual(response.json["error"]["message"], "fake: no rule matches")

    def test_results(self):
        content = self.turn(text="So:")
        one, two = [result(block["id"]) for block in content[1:]]
        text = {"type": "text", "text": "first"}
        missing = "`tool_use` ids were found without `tool_result` blocks immediately after"
        for part, answer in (
                (missing, "no"), (missing, [one]), (missing, [text, one, two]),
                (missing, [one, text, two]),
                ("single result", [one, two, two]),
                ("unexpected `tool_use_id`", [one, two, result("toolu_other")]),
                ("pattern", [one, two, result("a b")]),
                ("text content blocks must be non-empty",
                 [one, two | {"content": [{"type": "text", "text": ""}]}]),
                ("List should have at least 1 item", [one, two | {"content": []}]),
                ("tool_result.content", [one, two | {"content": {}}]),
                ("tool_result.content", [one, two | {"content": None}]),
                ("Input tag 'tool_result'", [one, two | {"content": [one]}]),
                ("is_error", [one, two | {"is_error": 1}]),
                ("tool_result.foo", [one, two | {"foo": 1}])):
            with self.subTest(part=part, answer=answer):
                self.refused(part, self.back(None, answer))
        self.refused("unexpected `tool_use_id`", request_body(user([one])))
        self.refused("unexpected `tool_use_id`", self.back(
            None, None, assistant("end"), user([one])))
        self.refused("prefill", request_body(user("go"), assistant(content)))
        self.refused("must be unique", self.back(content + content[1:2]))

    def test_calls_must_be_ours(self):
        content = self.turn()
        for part, fields in (("differs", {"input": {"n": 2, "flag": True, "list": []}}),
                             ("differs", {"input": {"n": 1, "flag": 1, "list": []}}),
                             ("differs", {"input": {"n": 1, "flag": True, "list": {}}}),
                             ("differs", {"name": "other"}),
                             ("input: Input should be a valid dictionary", {"input": []}),
                             ("tool_use.index", {"index": 0})):
            with self.subTest(fields=fields):
                self.refused(part, self.back([content[0] | fields, content[1]]))
        changed = [content[0] | {"id": "toolu_mine"}, content[1]]
        self.refused("never issued", self.back(
            changed, [result("toolu_mine"), result(content[1]["id"])]))

    def test_thinking_must_come_back(self):
        thinking, *rest = self.turn(thinking="Hm.")
        bad = "Invalid signature in thinking block"
        for part, content in (
                (bad, [thinking | {"signature": thinking["signature"][:-4] + "AAAA"}] + rest),
                (bad, [thinking | {"thinking": "hm."}] + rest), (bad, rest),
                (bad, rest + [thinking]), (bad, [rest[0], thinking, rest[1]]),
                ("signature: Field required", [{"type": "thinking", "thinking": "Hm."}] + rest),
                ("cache_control", [thinking | {"cache_control": {"type": "ephemeral"}}] + rest)):
            with self.subTest(content=content):
                self.refused(part, self.back(content))
        self.accepted(self.back())

    def test_unknown_blocks_must_come_back(self):
        self.turn(content=[{"type": "server_tool_use", "id": "srvtoolu_1", "name": "s",
                            "input": {"q": "ä"}},
                           {"type": "shiny", "data": {"x": [1, None]}},
                           {"type": "redacted_thinking", "data": "xyz"}, {
                               "type": "thinking", "thinking": ""}])
        server, shiny, redacted, thinking, *calls = self.content
        self.assertEqual((server["input"], shiny["data"]), ({"q": "ä"}, {"x": [1, None]}))
        self.accepted(self.back())
        self.refused("moved", self.back([shiny, server, redacted, thinking] + calls))
        self.accepted(self.back(self.content[:-1], [result(calls[0]["id"])]))
        self.refused("dropped", self.back([server, redacted, thinking] + calls))
        self.refused("never issued", self.back([server, shiny | {"data": {}}, redacted, thinking]
                                               + calls))
        self.refused("Invalid signature", self.back([server, shiny, thinking] + calls))

    def test_partial_reply_is_not_remembered(self):
        self.turn(fault={"missing_stop": True})
        self.refused("never issued", self.back())

    def test_pause_turn(self):
        self.start({"when": {"turn": 1}, "text": "searching", "stop_reason": "pause_turn"},
                   {"text": "end"})
        content = self.accepted(request_body(user("go"))).content
        self.accepted(request_body(user("go"), assistant(content)))
        self.refused("prefill", request_body(user("go"), assistant([
            {"type": "text", "text": "searchin"}])))


class Wire(FakeTest):
    TEXT = "Grüße 🌍 and a longer tail of text"

    def reads(self, **wire):
        """The chunks of a raw stream as the server framed them, and the joined body."""
        self.start({"text": self.TEXT, "wire": wire})
        _, chunks = self.read_chunks(request_body())
        return chunks, b"".join(chunks)

    def text_of(self, body):
        fake = type("Reply", (), {"status": 200, "headers": {}, "read": lambda _: body})()
        return Response(fake).content[0]["text"]

    def test_one_event_a_write(self):
        chunks, body = self.reads()
        self.assertTrue(all(chunk.startswith(b"event: ") and chunk.endswith(b"\n\n")
                            for chunk in chunks))
        self.assertEqual(self.text_of(body), self.TEXT)

    def test_byte_by_byte(self):
        chunks, body = self.reads(chunk=1, crlf=True, comments=True)
        self.assertEqual({len(chunk) for chunk in chunks}, {1})
        self.assertNotIn(b"\n", body.replace(b"\r\n", b""))
        self.assertIn(b"\r\n: inside", body)
        self.assertEqual(self.text_of(body), self.TEXT)

    def test_everything_at_once(self):
        chunks, body = self.reads(chunk=1000000, delta=1, ping=False, unknown_events=True)
        self.assertEqual(len(chunks), 1)
        self.assertNotIn(b"event: ping", body)
        self.assertIn(b"event: fake_event", body)
        self.assertIn(b"fake_delta", body)
        self.assertEqual(body.count(b"text_delta"), len(self.TEXT))
        self.assertEqual(self.text_of(body), self.TEXT)

    def test_delays(self):
        for wire, least in (({"first_delay": 0.2}, 0.2), ({"event_delay": 0.02}, 0.15),
                            ({"chunk": 100, "delay": 0.03}, 0.15)):
            started = time.monotonic()
            _, body = self.reads(**wire)
            self.assertGreater(time.monotonic() - started, least)
            self.assertEqual(self.text_of(body), self.TEXT)


class Faults(FakeTest):
    def test_status(self):
        self.start({"when": {"turn": 1}, "fault": {"status": 429, "headers": {"retry-after": "1"}}},
                   {"when": {"turn": 2}, "fault": {"status": 529, "message": "busy"}},
                   {"when": {"turn": 3}, "fault": {"status": 502, "body": "<h1>Bad</h1>",
                                                   "content_type": "text/html"}},
                   {"when": {"turn": 4}, "fault": {"not_json": "<html>"}}, {"text": "fine"})
        response = self.send(request_body())
        self.assertEqual((response.status, response.headers["retry-after"]), (429, "1"))
        self.assertEqual(response.json["error"]["type"], "rate_limit_error")
        self.assertEqual(self.send(request_body()).json["error"],
                         {"type": "overloaded_error", "message": "busy"})
        response = self.send(request_body())
        self.assertEqual((response.status, response.raw, response.headers["content-type"]),
                         (502, b"<h1>Bad</h1>", "text/html"))
        response = self.send(request_body())
        self.assertEqual((response.status, response.raw), (200, b"<html>"))
        self.accepted(request_body())
        self.assertEqual([entry["fault"] for entry in self.log("reply")],
                         ["status", "status", "status", "not_json", None])

    def test_error_event(self):
        self.start({"text": "hello", "fault": {"error_event": "overloaded_error",
                                               "after_events": 3}})
        response = self.accepted(request_body())
        self.assertEqual(response.names, ["message_start", "ping", "content_block_start",
                                          "content_block_delta", "error"])
        self.assertEqual(response.events[-1][1]["error"]["type"], "overloaded_error")
        self.assertEqual(self.send(request_body(stream=False)).status, 529)

    def test_cut(self):
        self.start({"when": {"turn": 1}, "text": "x" * 50, "fault": {"cut_after_events": 3}},
                   {"when": {"turn": 2}, "text": "x" * 50,
                    "fault": {"cut_after_events": 0, "reset": True}},
                   {"text": "x" * 50, "fault": {"cut_after_events": 1}})
        response = self.accepted(request_body())
        self.assertIsInstance(response.broken, http.client.IncompleteRead)
        self.assertEqual([name for name in response.names if name != "ping"],
                         ["message_start", "content_block_start", "content_block_delta"])
        self.connection.request("POST", "/v1/messages", json.dumps(request_body()), HEADERS)
        with self.assertRaises(ConnectionResetError):
            self.connection.getresponse().read()
        self.connection.close()
        self.assertIsNotNone(self.accepted(request_body(stream=False)).broken)
        ends = self.log("end", until=lambda found: len(found) == 3)
        self.assertTrue(all(not end["complete"] and not end["client_gone"] for end in ends))

    def test_stall_ends(self):
        self.start({"text": "hello", "times": 1,
                    "fault": {"stall_after_events": 2, "seconds": 0.2}},
                   {"text": "hello", "fault": {"stall_after_events": -1, "seconds": 0.2}})
        for _ in range(2):
            started = time.monotonic()
            self.assertEqual(self.accepted(request_body()).names[-1], "message_stop")
            self.assertGreater(time.monotonic() - started, 0.2)

    def test_client_leaves_a_stall(self):
        self.start({"text": "hello", "times": 1,
                    "fault": {"stall_after_events": 2, "seconds": 50}},
                   {"text": "hello", "times": 1, "fault": {"stall_after_events": -1}},
                   {"text": "hello" * 200, "wire": {"event_delay": 0.05}})
        for count, part in ((1, b"content_block_start"), (2, b""), (3, b"content_block_start")):
            connection = self.connect()
            connection.request("POST", "/v1/messages", json.dumps(request_body()), HEADERS)
            self.log("reply", until=lambda found: len(found) == count)
            seen = b""
            while part not in seen:
                seen += connection.sock.recv(65536)
            connection.close()
            ends = self.log("end", until=lambda found: len(found) == count)
            self.assertEqual((ends[-1]["complete"], ends[-1]["client_gone"]), (False, True))

    def test_broken_streams(self):
        self.start({"text": "hello", "times": 1, "fault": {"missing_stop": True}},
                   {"text": "hello", "fault": {"bad_event_json": True}})
        response = self.accepted(request_body())
        self.assertIsNone(response.broken)
        self.assertEqual(response.names[-1], "message_delta")
        response = self.accepted(request_body())
        with self.assertRaises(ValueError):
            print(response.events)
        self.assertTrue(response.raw.rstrip().endswith(b'data: {"type":"message_stop"}'))
        with self.assertRaises(ValueError):
            print(self.accepted(request_body(stream=False)).json)


if __name__ == "__main__":
    unittest.main()
