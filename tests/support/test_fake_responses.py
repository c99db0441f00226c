"""Tests of the fake's Responses API: its events, what it refuses, and what has to come back.

Run: python3 tests/support/test_fake_responses.py
"""

import copy
import json
import unittest

import fake_case

HEADERS = {"content-type": "application/json", "authorization": "Bearer test-key"}
TOOL = {"type": "function", "name": "bash", "description": "Runs.", "strict": False, "parameters": {
    "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}
ENDS = ("response.completed", "response.incomplete", "response.failed")


def body_of(*items, **fields):
    return {"model": "m", "input": list(items) or "hello", "stream": True, "store": False,
            "include": ["reasoning.encrypted_content"]} | fields


def user(content):
    return {"role": "user", "content": content}


def said(text, **fields):
    return {"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": text}]} | fields


def result(call, output="ok"):
    return {"type": "function_call_output", "call_id": call["call_id"], "output": output}


class Response(fake_case.Response):
    @property
    def names(self):
        return [data["type"] for data in self.data]

    def joined(self, name):
        return "".join(data["delta"] for data in self.data if data["type"] == name + ".delta")

    @property
    def output(self):
        return [data["item"] for data in self.data if data["type"] == "response.output_item.done"]


class ResponsesCase(fake_case.FakeCase):
    program, path, id_header = "fake_openai.py", "/v1/responses", "x-request-id"
    headers, response_class = HEADERS, Response

    def refused(self, part, body, status=400, **options):
        response = self.send(body, **options)
        self.assertEqual(response.status, status, (part, response.raw[:300]))
        self.assertIn(part, response.json["error"]["message"])
        return response.json["error"]


class Streams(ResponsesCase):
    def test_whole_sequence(self):
        self.start({"thinking": ["Let me see.", "Aha."], "text": "Grüße, 世界 🌍",
                    "tools": [{"name": "bash", "input": {"command": "ä"}},
                              {"name": "bash", "arguments": '{ "a": [ ] }'}]})
        response = self.accepted(body_of())
        data, names = response.data, response.names
        self.assertEqual([name for name, _ in response.fields], names)
        self.assertEqual([item["sequence_number"] for item in data], list(range(len(data))))
        self.assertEqual(names[:3], ["response.created", "response.in_progress",
                                     "response.output_item.added"])
        self.assertEqual((names[-1], sum(name in ENDS for name in names)), (ENDS[0], 1))
        self.assertNotIn(b"[DONE]", response.raw)
        self.assertEqual((data[0]["response"]["output"], data[0]["response"]["status"]),
                         ([], "in_progress"))
        final = data[-1]["response"]
        self.assertEqual(final["output"], response.output)
        thought, message, first, second = final["output"]
        self.assertEqual([part["text"] for part in thought["summary"]], ["Let me see.", "Aha."])
        self.assertGreater(len(thought["encrypted_content"]), 50)
        self.assertEqual(response.joined("response.reasoning_summary_text"), "Let me see.Aha.")
        self.assertEqual(names.count("response.reasoning_summary_part.done"), 2)
        self.assertEqual(response.joined("response.output_text"), "Grüße, 世界 🌍")
        self.assertEqual(message["content"][0]["text"], "Grüße, 世界 🌍")
        self.assertEqual((first["arguments"], second["arguments"]),
                         ('{"command":"ä"}', '{ "a": [ ] }'))
        self.assertEqual(response.joined("response.function_call_arguments"),
                         first["arguments"] + second["arguments"])
        self.assertNotEqual(first["call_id"], first["id"])
        added = [item["item"] for item in data if item["type"] == "response.output_item.added"]
        self.assertEqual([item.get("content", item.get("arguments", item.get("summary")))
                          for item in added], [[], [], "", ""])
        for item in data:
            if "item_id" in item:
                self.assertEqual(item["item_id"], final["output"][item["output_index"]]["id"])

    def test_without_stream(self):
        self.start({"text": "hi", "usage": {"input_tokens": 7, "output_tokens": 9,
                                            "input_tokens_details": {"cached_tokens": 5}}})
        whole = self.accepted(body_of(stream=False)).json
        self.assertEqual((whole["object"], whole["status"], whole["store"]),
                         ("response", "completed", False))
        self.assertEqual(whole["output"][0]["content"][0]["text"], "hi")
        self.assertEqual((whole["usage"]["total_tokens"],
                          whole["usage"]["input_tokens_details"]["cached_tokens"]), (16, 5))

    def test_endings(self):
        self.start({"when": {"turn": 1}, "text": "a", "stop_reason": "max_tokens"},
                   {"when": {"turn": 2}, "text": "a", "stop_reason": "content_filter"},
                   {"when": {"turn": 3}, "text": "a", "stop_reason": "failed",
                    "error": {"code": "rate_limit_exceeded", "message": "slow"}},
                   {"when": {"turn": 4}, "refusal": "I will not."},
                   {"when": {"turn": 5}, "text": "a", "fault": {
                       "error_event": "server_error", "message": "oh", "after_events": 3}},
                   {"when": {"turn": 6}, "text": "a", "fault": {"missing_stop": True}},
                   {"text": "a", "quirks": ["nested_errors"],
                    "fault": {"error_event": "server_error"}})
        last = lambda: self.accepted(body_of()).data[-1]
        for reason in ("max_output_tokens", "content_filter"):
            end = last()
            self.assertEqual((end["type"], end["response"]["incomplete_details"]),
                             ("response.incomplete", {"reason": reason}))
            self.assertEqual(end["response"]["output"][0]["status"], "incomplete")
        end = last()
        self.assertEqual((end["type"], end["response"]["error"]["code"]),
                         ("response.failed", "rate_limit_exceeded"))
        self.assertEqual(self.accepted(body_of()).joined("response.refusal"), "I will not.")
        end = last()
        self.assertEqual(end, {"type": "error", "code": "server_error", "message": "oh",
                               "param": None, "sequence_number": 3})
        self.assertEqual(last()["type"], "response.output_item.done")
        self.assertEqual(last()["error"]["code"], "server_error")

    def test_quirks(self):
        self.start({"text": "a", "thinking": "Hm."}, quirks=["no_reasoning", "reasoning_text"])
        self.refused("Encrypted content is not supported", body_of())
        body = body_of()
        del body["include"]
        self.refused("'reasoning.effort' is not supported", body | {"reasoning": {"effort": "low"}})
        response = self.accepted(body)
        self.assertEqual(response.joined("response.reasoning_text"), "Hm.")
        self.assertNotIn(b"encrypted_content", response.raw)
        self.start({"tools": [{"name": "a", "input": {}}]}, quirks=["whole_tool_calls",
                                                                    "ignores_stream"])
        self.assertEqual(self.accepted(body_of()).json["output"][0]["arguments"], "{}")
        self.start({"tools": [{"name": "a"}], "wire": {"unknown_events": True}},
                   quirks=["whole_tool_calls"])
        names = self.accepted(body_of()).names
        self.assertIn("response.fake_event", names)
        self.assertNotIn("response.function_call_arguments.delta", names)


class Strictness(ResponsesCase):
    def test_top_level(self):
        self.start({"text": "hi"})
        for part, fields in (
                ("Unknown parameter: 'messages'", {"messages": []}), ("'stop'", {"stop": "x"}),
                ("Unknown parameter: 'max_tokens'", {"max_tokens": 5}),
                ("minimum value", {"max_output_tokens": 5}), ("'model'", {"model": ""}),
                ("store must be false", {"store": True}), ("include", {"include": []}),
                ("Unknown parameter", {"previous_response_id": "resp_x"}),
                ("Supported values", {"include": ["x"]}), ("'temperature'", {"temperature": 1}),
                ("expected a string", {"instructions": None}),
                ("Supported values", {"reasoning": {"effort": "huge"}}),
                ("'reasoning.budget'", {"reasoning": {"budget": 1}}),
                ("Supported values", {"text": {"verbosity": "x"}}),
                ("empty array", {"tools": []}), ("pattern", {"tools": [TOOL | {"name": "a.b"}]}),
                ("Missing required parameter: 'tools[0].name'",
                 {"tools": [{"type": "function", "function": {}}]}),
                ("Missing required parameter: 'tools[0].strict'",
                 {"tools": [{"type": "function", "name": "a", "parameters": TOOL["parameters"]}]}),
                ("'tools[0].input_schema'", {"tools": [TOOL | {"input_schema": {}}]}),
                ("unique", {"tools": [TOOL, TOOL]}),
                ("only allowed when 'tools'", {"tool_choice": "auto"}),
                ("not found", {"tools": [TOOL], "tool_choice": {"type": "function", "name": "z"}}),
                ("only allowed when 'stream'", {"stream": False, "stream_options": {}})):
            with self.subTest(part=part, fields=fields):
                self.refused(part, body_of(**fields))
        self.refused("didn't provide", body_of(), 401, headers={"content-type": "application/json"})
        self.accepted(body_of(tools=[TOOL], tool_choice={"type": "function", "name": "bash"},
                              instructions="Be.", max_output_tokens=16, truncation="disabled",
                              reasoning={"effort": "low", "summary": "auto"}, metadata={"a": "b"},
                              parallel_tool_calls=True, prompt_cache_key="x",
                              text={"verbosity": "low", "format": {"type": "text"}}))

    def test_items(self):
        self.start({"text": "hi"})
        for part, items in (
                ("expected an array", {}), ("empty array", []),
                ("Missing required parameter: 'input[0].type'", [{"content": "x"}]),
                ("Supported values", [{"role": "tool", "content": "x"}]),
                ("Missing required parameter: 'input[0].content'", [{"role": "user"}]),
                ("empty array", [user([])]), ("empty string", [user([{"type": "input_text",
                                                                      "text": ""}])]),
                ("Supported values", [user([{"type": "text", "text": "x"}])]),
                ("Supported values", [user("a"), {"role": "assistant", "content": [
                    {"type": "input_text", "text": "x"}]}, user("b")]),
                ("Unknown parameter: 'input[0].name'", [user("a") | {"name": "x"}]),
                ("says nothing", [user("a"), {"role": "assistant", "content": ""}, user("b")]),
                ("not as it was issued", [user("a"), said("x", id="msg_mine"), user("b")]),
                ("never issued", [user("a"), {"type": "shiny", "x": 1}, user("b")]),
                ("never issued", [user("a"), {"type": "reasoning", "id": "rs_1", "summary": [],
                                              "encrypted_content": "x"}, said("x"), user("b")]),
                ("not found. Items are not persisted",
                 [user("a"), {"type": "reasoning", "id": "rs_1", "summary": []}, said("x"),
                  user("b")]),
                ("nobody is asked", [user("a"), said("x")]),
                ("No tool call found", [user("a"), result({"call_id": "call_x"})])):
            with self.subTest(part=part, items=items):
                self.refused(part, body_of() | {"input": items})
        self.accepted(body_of({"role": "developer", "content": "x"}, user([
            {"type": "input_text", "text": "a"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA"}]), said("b"),
            {"role": "assistant", "content": "c"}, user("d")))


class ToolLoop(ResponsesCase):
    CALLS = [{"name": "bash", "input": {"n": 1, "list": []}}, {"name": "bash", "input": {}}]

    def turn(self, **rule):
        self.start({"when": {"turn": 1}, "tools": self.CALLS} | rule,
                   {"when": {"has_tool_result": True, "last_user_contains": "ok"}, "text": "end"},
                   {"text": "talk"})
        self.output = self.accepted(body_of(user("go"))).output
        self.calls = [item for item in self.output if item["type"] == "function_call"]
        return copy.deepcopy(self.output)

    def back(self, output=None, answers=None, *more):
        answers = answers if answers is not None else [result(call) for call in self.calls]
        return body_of(user("go"), *(output or self.output), *answers, *more)

    def test_answers(self):
        one, two = self.turn()
        response = self.accepted(self.back())
        self.assertEqual(response.output[0]["content"][0]["text"], "end")
        self.accepted(self.back(None, [result(two), result(one, [{"type": "input_text",
                                                                  "text": "x"}])], user("and")))
        self.accepted(self.back([one], [result(one)]))
        missing = "No tool output found for function call "
        for part, answers in (
                (missing + two["call_id"], [result(one)]), (missing, []), (missing, [user("no")]),
                (missing, [result(one), user("a"), result(two)]),
                ("No tool call found", [result(one), result(two), result(two)]),
                ("No tool call found", [result({"call_id": one["id"]})]),
                ("empty array", [result(one), result(two, [])]),
                ("expected an array", [result(one), result(two, None)])):
            with self.subTest(part=part, answers=answers):
                self.refused(part, self.back(None, answers))
        self.refused(missing, body_of(user("go"), one, two, result(one), said("x"), result(two)))
        self.refused("a second call", self.back(None, None, one, result(one)))

    def test_calls_must_be_ours(self):
        one, two = self.turn()
        for part, fields in (("differs", {"name": "other"}),
                             ("differs", {"arguments": '{"n": 1,"list":[]}'}),
                             ("is not JSON", {"arguments": "{"}),
                             ("expected a string", {"arguments": {}}),
                             ("not as it was issued", {"id": two["id"]}),
                             ("Unknown parameter", {"index": 1})):
            with self.subTest(part=part, fields=fields):
                self.refused(part, self.back([one | fields, two]))
        mine = one | {"call_id": "call_mine"}
        del mine["id"]
        self.refused("never issued", self.back([mine, two], [result(mine), result(two)]))
        del one["id"], one["status"]
        self.accepted(self.back([one, two]))

    def test_reasoning_must_come_back(self):
        thought, shiny, *calls = self.turn(thinking="Hm.",
                                           items=[{"type": "shiny", "x": [1, None]}])
        self.accepted(self.back())
        for part, output in (
                ("required items", calls), ("required items", [thought] + calls),
                ("required items", [shiny, thought] + calls),
                ("required items", calls[:1] + [thought, shiny] + calls[1:]),
                ("never issued", [thought | {"encrypted_content": "x"}, shiny] + calls),
                ("never issued", [thought | {"summary": []}, shiny] + calls),
                ("never issued", [thought, shiny | {"x": []}] + calls)):
            with self.subTest(part=part, output=output):
                self.refused(part, self.back(output))
        self.refused("required following item", body_of(user("go"), shiny, thought, user("b")))

    def test_reasoning_of_another_reply(self):
        self.start({"thinking": "Hm.", "text": "a"})
        first, second = (self.accepted(body_of()).output for _ in range(2))
        self.accepted(body_of(user("go"), *first, user("b"), *second, user("c")))
        self.refused("required items", body_of(user("go"), first[0], *second, user("b")))

    def test_partial_reply_is_not_remembered(self):
        for rule in ({"fault": {"missing_stop": True}}, {"stop_reason": "failed"}):
            self.turn(**rule)
            self.refused("not as it was issued", self.back())
        self.assertNotIn("encrypted", json.dumps(self.output))


if __name__ == "__main__":
    unittest.main()
