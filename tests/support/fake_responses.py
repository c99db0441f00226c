"""The Responses API (`POST /v1/responses`) of the fake OpenAI: questions, replies, streams.

The program is fake_openai.py, which also has the scenario format.
"""

import base64
import itertools
import secrets
import time

from fake_responses_check import IssuedItems, ResponsesCheck, is_said, kind_of
from fake_scenario import Answer, Event, Question, as_list, make_id, strings_in, to_json

# Why a reply is incomplete, in Anthropic's words for one; every other stop_reason is a whole reply.
INCOMPLETE = {"max_tokens": "max_output_tokens", "length": "max_output_tokens",
              "max_output_tokens": "max_output_tokens", "refusal": "content_filter",
              "content_filter": "content_filter"}


class Responses:
    def __init__(self, scenario):
        self.scenario, self.issued = scenario, IssuedItems(scenario.quirks)

    def question(self, request):
        body = request.body
        ResponsesCheck(body, self.issued, self.scenario.quirks).run()
        items = body["input"]
        if isinstance(items, str):
            items = [{"role": "user", "content": items}]
        said = [item for item in items if item.get("role") not in ("system", "developer")]
        news = len(said)
        while news and not is_said(said[news - 1]):
            news -= 1
        return Question(
            stream=body.get("stream", False) and "ignores_stream" not in self.scenario.quirks,
            model=body["model"], last_user="\n".join(
                text for item in said[news:] for text in texts_of(item)),
            has_tool_result=any(kind_of(item) == "function_call_output" for item in said[news:]),
            all_text=[text for item in said for text in strings_in(item)],
            system="\n".join([body.get("instructions", "")] + [
                text for item in items if item not in said for text in texts_of(item)]),
            body_length=len(request.body_text), context=(self, body))

    def compose(self, question, rule, wire, _):
        quirks = self.scenario.quirks | set(rule.get("quirks") or [])
        stop, body = rule.get("stop_reason"), question.context[1]
        output = list(self.output(rule, quirks, "no_reasoning" not in quirks))
        status = "incomplete" if stop in INCOMPLETE else "completed"
        if output and status == "incomplete" and "status" in output[-1]:
            output[-1]["status"] = "incomplete"
        response = {
            "id": make_id("resp_"), "object": "response", "created_at": int(time.time()),
            "status": status, "background": False, "error": None, "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"), "model": question.model,
            "output": output, "parallel_tool_calls": True, "previous_response_id": None,
            "reasoning": {"effort": "medium", "summary": None} | body.get("reasoning", {}),
            "service_tier": "default", "store": False, "temperature": 1.0,
            "text": {"format": {"type": "text"}}, "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools", []), "top_p": 1.0, "truncation": "disabled", "metadata": {},
            "usage": self.usage(rule.get("usage") or {}, question, output)}
        if status == "incomplete":
            response["incomplete_details"] = {"reason": INCOMPLETE[stop]}
        if "no_usage" in quirks:
            response["usage"] = None
        if stop == "failed":
            response |= {"status": "failed", "usage": None, "error": rule.get("error") or {
                "code": "server_error", "message": "fake: The server had an error."}}
        remember = (lambda: None) if stop == "failed" else lambda: self.issued.add(output)
        stream = Stream(wire, quirks)
        return Answer(response, list(stream.events(response)), remember, stream.error_event)

    @staticmethod
    def output(rule, quirks, reasons):
        """The output items of a reply."""
        if "thinking" in rule:
            parts = [text for text in as_list(rule["thinking"]) if text]
            item = {"id": make_id("rs_"), "type": "reasoning", "summary": [
                {"type": "summary_text", "text": text} for text in parts]}
            if "reasoning_text" in quirks:
                item |= {"summary": [], "content": [
                    {"type": "reasoning_text", "text": text} for text in parts]}
            if reasons:
                item["encrypted_content"] = base64.b64encode(secrets.token_bytes(96)).decode()
            yield item
        yield from [dict(item) for item in rule.get("items") or []]
        said = {"id": make_id("msg_"), "type": "message", "status": "completed",
                "role": "assistant", "content": []}
        if rule.get("text"):
            said["content"].append({"type": "output_text", "text": rule["text"],
                                    "annotations": [], "logprobs": []})
        if rule.get("refusal"):
            said["content"].append({"type": "refusal", "refusal": rule["refusal"]})
        if said["content"]:
            yield said
        for tool in rule.get("tools") or []:
            yield {"id": make_id("fc_"), "type": "function_call", "status": "completed",
                   "arguments": tool.get("arguments", to_json(tool.get("input") or {})),
                   "call_id": tool.get("id") or make_id("call_"), "name": tool["name"]}

    @staticmethod
    def usage(given, question, output):
        usage = {"input_tokens": max(1, question.body_length // 4),
                 "input_tokens_details": {"cached_tokens": 0},
                 "output_tokens": max(1, len(to_json(output)) // 4),
                 "output_tokens_details": {"reasoning_tokens": 0}} | given
        return {"total_tokens": usage["input_tokens"] + usage["output_tokens"]} | usage


def texts_of(item):
    content = item.get("content") or item.get("output") or ""
    if isinstance(content, str):
        return [content]
    return [part.get("text", "") for part in content]


class Stream:
    """The events of one reply."""

    def __init__(self, wire, quirks):
        self.wire, self.quirks, self.size = wire, quirks, int(wire.get("delta", 7))
        self.numbers = itertools.count()

    def events(self, response):
        begun = response | {"status": "in_progress", "output": [], "usage": None, "error": None,
                            "incomplete_details": None}
        yield self.event("response.created", response=begun)
        if self.wire.get("unknown_events"):
            yield self.event("response.queued", extra=True, response=begun)
            yield self.event("response.fake_event", extra=True, note="clients must skip this")
        yield self.event("response.in_progress", response=begun)
        for index, item in enumerate(response["output"]):
            yield from self.item(index, item)
        yield self.event("response." + response["status"], ends=True, response=response)

    def item(self, index, item):
        place, kind = {"item_id": item.get("id"), "output_index": index}, item["type"]
        started = item | ({"status": "in_progress"} if "status" in item else {})
        inner = []
        if kind == "reasoning":
            started |= {"summary": []}
            inner = [self.summaries(place, item["summary"])]
            if "content" in item:
                started |= {"content": []}
                inner.append(self.parts(place, item["content"], "reasoning_text"))
        elif kind == "message":
            started |= {"content": []}
            inner = [self.parts(place, item["content"])]
        elif kind == "function_call":
            started |= {"arguments": ""}
            inner = [self.arguments(place, item)]
        yield self.event("response.output_item.added", output_index=index, item=started)
        for events in inner:
            yield from events
        yield self.event("response.output_item.done", output_index=index, item=item)

    def summaries(self, place, parts):
        for number, part in enumerate(parts):
            where, name = place | {"summary_index": number}, "response.reasoning_summary_"
            yield self.event(name + "part.added", **where, part=part | {"text": ""})
            yield from self.text(name + "text", where, "text", part["text"])
            yield self.event(name + "part.done", **where, part=part)

    def parts(self, place, parts, name=None):
        for number, part in enumerate(parts):
            where, kind = place | {"content_index": number}, part["type"]
            field = "refusal" if kind == "refusal" else "text"
            yield self.event("response.content_part.added", **where, part=part | {field: ""})
            more = {"logprobs": []} if kind == "output_text" else {}
            yield from self.text("response." + (name or kind), where | more, field, part[field])
            yield self.event("response.content_part.done", **where, part=part)

    def arguments(self, place, item):
        name, text = "response.function_call_arguments", item["arguments"]
        if "whole_tool_calls" in self.quirks:
            yield self.event(name + ".done", **place, name=item["name"], arguments=text)
            return
        yield from self.text(name, place, "arguments", text, name=item["name"])

    def text(self, prefix, where, field, text, **more):
        """The deltas of a text, and the whole of it."""
        for at in range(0, len(text), self.size):
            extra = {"obfuscation": "x9"} if self.wire.get("unknown_events") else {}
            yield self.event(prefix + ".delta", **where, delta=text[at:at + self.size], **extra)
        yield self.event(prefix + ".done", **where, **{field: text}, **more)

    def event(self, kind, extra=False, ends=False, **data):
        data = {"type": kind, "sequence_number": next(self.numbers)} | data
        return Event(kind, data, extra, ends)

    def error_event(self, error_type, message, sent):
        error = {"code": error_type.lstrip("-"), "message": message, "param": None}
        if "nested_errors" in self.quirks:
            error = {"error": {"type": error_type} | error}
        return Event("error", {"type": "error", **error, "sequence_number": sent})
