"""Tests of what all fakes share: how bytes go out, faults on the way, and byte-stable prefixes.

Run: python3 tests/support/test_fake_wire.py
"""

import gzip
import json
import unittest
import zlib

import fake_case

TEXT = "Grüße 🌍, a longer tail of text"
KINDS = {"content-type": "application/json"}


def accumulated(data):
    """The text of the decoded events of any API."""
    found = ""
    for item in data:
        if isinstance(item, dict):
            delta = item.get("delta") or (item.get("choices") or [{}])[0].get("delta") or ""
            found += delta if isinstance(delta, str) else \
                delta.get("text") or delta.get("content") or ""
    return found


class Body:
    """What fake_case.Response reads from."""

    status, headers = 200, {}

    def __init__(self, raw):
        self.raw = raw

    def read(self):
        return self.raw


class AllApis:
    """Tests that each API passes; the subclasses say which."""

    ask = None

    def stream(self, **rule):
        """(head, chunks, body) of the reply to a rule."""
        self.start({"text": TEXT} | rule)
        head, chunks = self.read_chunks(self.ask, **{"accept-encoding": "gzip"})
        return head, chunks, b"".join(chunks)

    def check_text(self, body):
        self.assertEqual(accumulated(fake_case.Response(Body(body)).data), TEXT)

    def test_gzip_is_flushed_with_each_event(self):
        head, chunks, _ = self.stream(wire={"gzip": True})
        self.assertIn(b"content-encoding: gzip", head)
        inflate, body = zlib.decompressobj(wbits=31), b""
        for chunk in chunks[:-1]:
            event = inflate.decompress(chunk)
            self.assertRegex(event, rb"^(event|data): (?s:.*)\n\n$")
            body += event
        inflate.decompress(chunks[-1])
        self.assertTrue(inflate.eof)
        self.check_text(body)
        response = self.send(self.ask)
        self.assertEqual((response.status, response.headers["x-should-retry"]), (500, "false"))
        whole = self.send(self.ask | {"stream": False},
                          headers=self.headers | {"accept-encoding": "gzip"})
        self.assertIn("🌍", gzip.decompress(whole.raw).decode())

    def test_line_ends(self):
        _, _, body = self.stream(wire={"crlf": True, "chunk": 1, "bom": True})
        self.assertEqual(body[:3], b"\xef\xbb\xbf")
        self.check_text(body[3:])
        _, _, body = self.stream(wire={"cr": True})
        self.assertNotIn(b"\n", body)
        self.check_text(body.replace(b"\r", b"\n"))

    def test_split(self):
        _, chunks, body = self.stream(wire={"split": True, "crlf": True})
        self.check_text(body)
        self.assertTrue(any(chunk.endswith(b"da") for chunk in chunks))
        self.assertTrue(any(chunk.startswith(b"ta: ") for chunk in chunks))
        self.assertTrue(any(chunk.endswith(b"\xf0") for chunk in chunks))
        self.assertTrue(all(chunk.count(b"\r\n") == 0 for chunk in chunks))

    def test_ascii_and_headers(self):
        head, _, body = self.stream(wire={"ascii": True, "content_type": "text/plain", "headers": {
            "x-fake": "1"}})
        self.assertTrue(body.isascii())
        self.assertIn(b"\\ud83c\\udf0d", body)
        self.assertIn(b"content-type: text/plain\r\n", head)
        self.assertIn(b"x-fake: 1\r\n", head)
        self.check_text(body)

    def test_huge_line(self):
        _, _, body = self.stream(fault={"huge_line": 300000})
        self.assertEqual(max(map(len, body.split(b"\n"))), 300000)
        self.check_text(body)

    def test_html(self):
        self.start({"when": {"turn": 1}, "fault": {"not_json": "<h1>Hi"}},
                   {"fault": {"status": 502, "body": "<h1>Bad", "content_type": "text/html",
                              "headers": {"retry-after": "7"}}})
        response = self.send(self.ask)
        self.assertEqual((response.status, response.raw), (200, b"<h1>Hi"))
        self.assertTrue(response.headers["content-type"].startswith("text/html"))
        response = self.send(self.ask)
        self.assertEqual((response.status, response.raw, response.headers["retry-after"]),
                         (502, b"<h1>Bad", "7"))

    def test_statuses(self):
        cases = [(status, headers)
                 for headers in ({}, {"retry-after-ms": "5", "x-should-retry": "no"})
                 for status in (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529)]
        self.start(*({"times": 1, "fault": {"status": status, "headers": headers}}
                     for status, headers in cases))
        for status, headers in cases:
            response = self.send(self.ask)
            self.assertEqual((response.status, {name: response.headers[name] for name in headers}),
                             (status, headers))
            self.assertIn("type", response.json["error"])


class Anthropic(AllApis, fake_case.FakeCase):
    program, path, id_header = "fake_anthropic.py", "/v1/messages", "request-id"
    headers = KINDS | {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}
    ask = {"model": "m", "max_tokens": 9, "stream": True,
           "messages": [{"role": "user", "content": "x"}]}


class Chat(AllApis, fake_case.FakeCase):
    program, path, id_header = "fake_openai.py", "/v1/chat/completions", "x-request-id"
    headers = KINDS | {"authorization": "Bearer test-key"}
    ask = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}


class Responses(AllApis, fake_case.FakeCase):
    program, path, id_header = "fake_openai.py", "/v1/responses", "x-request-id"
    headers = KINDS | {"authorization": "Bearer test-key"}
    ask = {"model": "m", "stream": True, "store": False,
           "include": ["reasoning.encrypted_content"],
           "input": [{"role": "user", "content": "x"}]}


class Prefixes(fake_case.FakeCase):
    program, path, id_header = Anthropic.program, Anthropic.path, Anthropic.id_header
    headers = Anthropic.headers
    TOOL = {"name": "a", "input_schema": {"type": "object"}}

    def body(self, *texts, mark=None, **fields):
        """A body whose last user message may be marked, and which ends with other fields."""
        messages = [{"role": "assistant" if index % 2 else "user",
                     "content": [{"type": "text", "text": text}]}
                    for index, text in enumerate(texts)]
        if mark:
            messages[-1]["content"][0]["cache_control"] = {"type": "ephemeral"}
        return {"model": "m", "max_tokens": 9, "messages": messages, "stream": True} | fields

    def raw(self, body, **changes):
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        for old, new in changes.values():
            self.assertIn(old, text)
            text = text.replace(old, new, 1)
        return text.encode()

    def check(self, *bodies, complaint=None):
        """The last body is refused with this complaint, or accepted like all those before it."""
        self.start({"text": "hi"}, stable_prefix=True)
        for body in bodies[:-1]:
            self.accepted(body if isinstance(body, bytes) else self.raw(body))
        response = self.send(bodies[-1] if isinstance(bodies[-1], bytes) else self.raw(bodies[-1]))
        if complaint:
            self.assertEqual(response.status, 400)
            self.assertIn("the prefix is not stable", response.json["error"]["message"])
            self.assertIn(complaint, response.json["error"]["message"])
        else:
            self.assertEqual(response.status, 200, response.raw)

    def test_stable(self):
        one, two, three = self.body("a", mark=True), self.body("a", "b", "c", mark=True), \
            self.body("a", "b", "c", "d", "e", tools=[self.TOOL])
        self.check(one, two, two, self.body("a", "b", "c", "d", "e"))
        self.check(two, one, self.body("a", "x", "c"))     # another process says the same first
        self.check(one, self.body("other"), two)
        self.check(three, three | {"tools": [self.TOOL | {"cache_control": {"type": "ephemeral"}}]})

    def test_unstable(self):
        one, two = self.body("a"), self.body("a", "b", "c")
        order = {"max_tokens": 9, "model": "m"} | two
        self.check(one, order, complaint="in `body`, at character 3 it was `{\"model\"")
        self.check(one, self.raw(two, space=('"role":', '"role": ')), complaint="in `body`")
        self.check(one, self.raw(two, escape=('"a"', '"\\u0061"')), complaint="in `body`")
        self.check(two, self.body("a", "b", "x", "d", "e"), complaint='it was `')
        self.check(two, self.body("a", "b", "c", "d", "e", system="s"), complaint="in `system`")
        tools = [self.TOOL, self.TOOL | {"name": "b"}]
        self.check(self.body("a", tools=tools), self.body("a", "b", "c", tools=tools[::-1]),
                   complaint="in `tools`")

    def test_log_only(self):
        self.start({"text": "hi"}, stable_prefix="log")
        self.accepted(self.body("a"))
        self.accepted(self.body("a", "b", "c", system="s"))
        entries = self.log("unstable")
        self.assertEqual(len(entries), 1)
        self.assertIn("in `system`", entries[0]["message"])

    def test_other_apis(self):
        for case, field in ((Chat, "messages"), (Responses, "input")):
            self.program, self.path, self.id_header = case.program, case.path, case.id_header
            self.headers = case.headers
            self.start({"text": "hi"}, stable_prefix=True)
            turn = [{"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
            self.accepted(case.ask)
            self.accepted(case.ask | {field: case.ask[field] + turn})
            response = self.send({"stream": True} | case.ask)
            self.assertIn("not stable", response.json["error"]["message"])


if __name__ == "__main__":
    unittest.main()
