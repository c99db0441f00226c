"""Tests of the quirks of other servers that the fake's Chat Completions can have.

Run: python3 tests/support/test_fake_quirks.py
"""

import unittest

from test_fake_chat import TOOL, ChatCase, assistant, body_of, user


class Quirks(ChatCase):
    def chunks(self, *quirks, **rule):
        rule = {"text": "hi", "thinking": "Hm.", "tools": [{"name": "bash", "input": {"a": 1}}],
                "wire": {"delta": 2}} | rule
        self.start(rule, quirks=list(quirks))
        self.response = self.accepted(body_of())
        return [chunk for chunk in self.response.data if chunk != "[DONE]"]

    def deltas(self, *quirks):
        return [choice["delta"] for chunk in self.chunks(*quirks) for choice in chunk["choices"]]

    def test_deltas(self):
        parts = [delta["tool_calls"][0] for delta in self.deltas("whole_tool_calls")
                 if "tool_calls" in delta]
        self.assertEqual([part["function"]["arguments"] for part in parts], ['{"a":1}'])
        self.assertTrue(all(delta.get("role") for delta in self.deltas("role_in_each_delta")))
        nulls = [delta["content"] for delta in self.deltas("null_content") if not
                 delta.get("content")]
        self.assertEqual(set(nulls[1:]), {None})
        self.assertTrue(all("content" in delta for delta in self.deltas("empty_content")))
        parts = [delta["tool_calls"][0] for delta in self.deltas("no_tool_index")
                 if "tool_calls" in delta]
        self.assertGreater(len(parts), 2)
        self.assertNotIn("index", {key for part in parts for key in part})

    def test_reasoning(self):
        for quirk, names in (("reasoning_field", {"reasoning"}),
                             ("both_reasoning", {"reasoning", "reasoning_content"})):
            deltas = self.deltas(quirk)
            found = {key for delta in deltas for key in delta if key.startswith("reasoning")}
            self.assertEqual(found, names)
            for name in names:
                self.assertEqual(self.response.message[name], "Hm.")
        self.start({"text": "x"}, quirks=["takes_reasoning"])
        self.accepted(body_of(user("a"), assistant("b", reasoning_content="c"), user("d")))

    def test_endings(self):
        self.chunks("no_done")
        self.assertNotIn(b"[DONE]", self.response.raw)
        self.assertEqual(self.chunks("finish_reason_stop_with_tools")[-2]["choices"][0][
            "finish_reason"], "stop")
        last = self.chunks("usage_in_last_chunk", "timings")[-1]
        self.assertEqual(last["choices"][0]["finish_reason"], "tool_calls")
        self.assertGreater(last["usage"]["total_tokens"], 0)
        self.assertIn("cache_n", last["timings"])
        self.chunks("no_usage")
        self.assertNotIn(b"usage", self.response.raw)
        self.assertEqual(self.chunks("empty_first_chunk")[0]["choices"], [])

    def test_ignored_stream(self):
        self.start({"text": "hi"}, quirks=["ignores_stream"])
        response = self.accepted(body_of())
        self.assertEqual((response.headers["content-type"], response.json["object"]),
                         ("application/json", "chat.completion"))

    def test_requests(self):
        self.start({"text": "x"}, quirks=["max_tokens_only", "no_developer_role", "no_auto_tools",
                                          "sampling", "no_key"])
        self.accepted(body_of(max_tokens=5, temperature=0.5, stop=["x"]))
        self.refused("Unknown parameter: 'max_completion_tokens'", body_of(max_completion_tokens=5))
        self.refused("Unexpected message role", body_of({"role": "developer", "content": "a"},
                                                        user("b")))
        self.refused("--enable-auto-tool-choice", body_of(tools=[TOOL]))
        self.accepted(body_of(tools=[TOOL], tool_choice="required"))
        self.assertEqual(self.send(body_of(), headers={"content-type": "application/json"}).status,
                         200)

    def test_errors(self):
        fault = {"status": 400, "error_type": "context_length_exceeded",
                 "message": "request (900 tokens) exceeds the available context size (512 tokens)"}
        for quirk, fields in (
                ("llamacpp_errors", {"error": {
                    "code": 400, "message": fault["message"], "type": "exceed_context_size_error",
                    "n_prompt_tokens": 900, "n_ctx": 512}}),
                ("vllm_errors", {"object": "error", "message": fault["message"], "param": None,
                                 "type": "BadRequestError", "code": 400}),
                ("bare_errors", {"error": fault["message"]})):
            self.start({"fault": fault}, quirks=[quirk])
            self.assertEqual(self.send(body_of()).json, fields)
        self.start({"text": "hello", "fault": {"error_event": "server_error", "message": "oh"}},
                   quirks=["openrouter_errors"])
        last = self.accepted(body_of()).data[-1]
        self.assertEqual((last["choices"][0]["finish_reason"], last["error"]["message"]),
                         ("error", "oh"))

    def test_wire(self):
        chunks = self.chunks(wire={"no_space": True, "crlf": True, "chunk": 1,
                                   "unknown_events": True, "comments": True})
        self.assertNotIn(b"\ndata: ", self.response.raw)
        self.assertIn(b"\r\ndata:{", self.response.raw)
        self.assertIn("obfuscation", chunks[0])
        self.assertEqual(self.response.message["content"], "hi")


if __name__ == "__main__":
    unittest.main()
