"""Chat Completions (`POST /v1/chat/completions`) of the fake OpenAI: questions, replies, streams.

The quirks of other servers are explained in fake_openai.py, which is the program.
"""

import time

from fake_chat_check import ChatCheck
from fake_openai_check import IssuedCalls
from fake_scenario import Answer, Event, Question, as_list, make_id, strings_in, to_json

FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length",
          "tool_use": "tool_calls", "refusal": "content_filter"}    # Anthropic's words, for one


class Chat:
    def __init__(self, scenario):
        self.scenario, self.issued = scenario, IssuedCalls(scenario.quirks)

    def question(self, request):
        body = request.body
        ChatCheck(body, self.issued, self.scenario.quirks).run()
        said = [item for item in body["messages"] if item["role"] not in ("system", "developer")]
        news = len(said)
        while news and said[news - 1]["role"] in ("user", "tool"):
            news -= 1
        include_usage = body.get("stream_options", {}).get("include_usage", False)
        return Question(
            stream=body.get("stream", False) and "ignores_stream" not in self.scenario.quirks,
            model=body["model"], last_user="\n".join(
                text for item in said[news:] for text in texts_of(item)),
            has_tool_result=any(item["role"] == "tool" for item in said[news:]),
            all_text=[text for item in said for text in strings_in(item)],
            system="\n".join(text for item in body["messages"] if item not in said
                             for text in texts_of(item)),
            body_length=len(request.body_text), context=(self, include_usage))

    def compose(self, question, rule, wire, error_event):
        quirks = self.scenario.quirks | set(rule.get("quirks") or [])
        message, calls = self.message(rule, quirks)
        finish = rule.get("stop_reason", "tool_use" if calls else "end_turn")
        finish = FINISH.get(finish, finish)
        if "finish_reason_stop_with_tools" in quirks and calls:
            finish = "stop"
        body = {"id": make_id("chatcmpl-"), "object": "chat.completion",
                "created": int(time.time()), "model": question.model, "system_fingerprint": "fp_fake"}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        usage = self.usage(rule.get("usage") or {}, question, message)
        whole = body | {"choices": [choice]}
        if "no_usage" not in quirks:
            whole["usage"] = usage
        stream = Stream(body, quirks, wire, usage if question.context[1] else None)
        calls = [(call.get("id"), call["function"]["name"], call["function"]["arguments"])
                 for call in calls]
        return Answer(whole, list(stream.events(message, finish)),
                      lambda: self.issued.add(calls), error_event)

    @staticmethod
    def message(rule, quirks):
        """The message of a reply that does not stream, and its calls."""
        message = {"role": "assistant", "content": rule.get("text") or None,
                   "refusal": rule.get("refusal")}
        if "thinking" in rule:
            thinking = "".join(as_list(rule["thinking"]))
            if "reasoning_field" in quirks or "both_reasoning" in quirks:
                message["reasoning"] = thinking
            if "reasoning_field" not in quirks:
                message["reasoning_content"] = thinking
        calls = [make_call(tool, quirks) for tool in rule.get("tools") or []]
        if calls:
            message["tool_calls"] = calls
        return message, calls

    @staticmethod
    def usage(given, question, message):
        usage = {"prompt_tokens": max(1, question.body_length // 4),
                 "completion_tokens": max(1, len(to_json(message)) // 4),
                 "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                 "completion_tokens_details": {
                     "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                     "rejected_prediction_tokens": 0}} | given
        return {"total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]} | usage


def texts_of(message):
    content = message.get("content") or ""
    if isinstance(content, str):
        return [content]
    return [part.get("text", "") for part in content]


def make_call(tool, quirks):
    """A call as the scenario has it: `input` as an object, or the raw text as `arguments`."""
    arguments = tool.get("arguments")
    if arguments is None:
        arguments = to_json(tool.get("input") or {})
        if "empty_arguments" in quirks and not tool.get("input"):
            arguments = ""
        elif "object_arguments" in quirks:
            arguments = tool.get("input") or {}
    call = {"id": tool.get("id") or make_id("call_"), "type": "function",
            "function": {"name": tool["name"], "arguments": arguments}}
    if "empty_tool_id" in quirks:
        call["id"] = ""
    if "no_tool_id" in quirks:
        del call["id"]
    return call


class Stream:
    """The chunks of one reply."""

    def __init__(self, body, quirks, wire, usage):
        """usage: None when the client did not ask for it"""
        self.body = body | {"object": "chat.completion.chunk"}
        self.quirks, self.wire, self.size = quirks, wire, int(wire.get("delta", 7))
        self.usage = None if "no_usage" in quirks else usage

    def events(self, message, finish):
        if "empty_first_chunk" in self.quirks:      # Azure: its filter's view of the prompt
            yield self.event({"choices": [], "prompt_filter_results": []}, extra=True)
        yield self.chunk({"role": "assistant", "content": "", "refusal": None})
        if self.wire.get("unknown_events"):
            yield self.chunk({"fake_delta": "clients must skip this"}, extra=True)
        yield from self.texts(message)
        for index, call in enumerate(message.get("tool_calls", [])):
            for part in self.call(index, call):
                yield self.chunk({"tool_calls": [part]})
        last = {}
        if "timings" in self.quirks:
            last["timings"] = {"cache_n": 1, "prompt_n": 2, "predicted_n": 3}
        if self.usage and "usage_in_last_chunk" in self.quirks:
            last["usage"] = self.usage
        yield self.chunk({}, finish, last, ends=True)
        if self.usage and "usage_in_last_chunk" not in self.quirks:
            yield self.event({"choices": [], "usage": self.usage}, ends=True)
        if "no_done" not in self.quirks:
            yield Event(None, "[DONE]", ends=True)

    def texts(self, message):
        for field in ("reasoning_content", "reasoning", "content", "refusal"):
            if field == "reasoning" and "reasoning_content" in message:
                continue        # sent together
            for piece in self.pieces(message.get(field) or ""):
                delta = {field: piece}
                if field == "reasoning_content" and "reasoning" in message:
                    delta["reasoning"] = piece
                yield self.chunk(delta)

    def pieces(self, text):
        return [text[at:at + self.size] for at in range(0, len(text), self.size)]

    def call(self, index, call):
        """The deltas of one tool call."""
        function = call["function"]
        place = {} if "no_tool_index" in self.quirks else {"index": index}
        if "whole_tool_calls" in self.quirks or not isinstance(function["arguments"], str):
            yield place | call
            return
        yield place | call | {"function": function | {"arguments": ""}}
        for piece in self.pieces(function["arguments"]):
            yield place | {"function": {"arguments": piece}}

    def chunk(self, delta, finish=None, more=None, **flags):
        if "role_in_each_delta" in self.quirks:
            delta = {"role": "assistant"} | delta
        if "null_content" in self.quirks:
            delta = {"content": None} | delta
        if "empty_content" in self.quirks:
            delta = {"content": ""} | delta
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self.event({"choices": [choice]} | (more or {}), **flags)

    def event(self, fields, **flags):
        data = self.body | fields
        if self.usage and "usage_in_last_chunk" not in self.quirks:
            data.setdefault("usage", None)
        if self.wire.get("unknown_events"):
            data |= {"obfuscation": "x9", "fake_field": [{}]}
        return Event(None, data, **flags)
