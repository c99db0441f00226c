"""A strict fake of Anthropic's Messages API, for end-to-end tests.

    python3 tests/support/fake_anthropic.py --scenario FILE.json --log FILE.jsonl
        [--port 0] [--port-file FILE] [--max-seconds 300]

It refuses whatever the real service refuses, and a little more: a client that passes here has no
excuse there. Python 3.11, standard library only. HTTP, wire shapes and faults are in fake_model.py,
rules and the log in fake_scenario.py, the validation in fake_anthropic_check.py.

Scenario: {"api_key"?: "test-key", "rules": [RULE...], "models"?: [id or object, ...],
           "pages"?: {"GET /path": the JSON to answer with},
           "stable_prefix"?: true (refuse, see fake_prefix.py) or "log" (kind "unstable")}
The first RULE that matches answers; all its fields are optional:
  when    turn, last_user_contains, last_user_lacks (string or list), any_contains,
          has_tool_result, system_contains, model: all must hold
  times   how often the rule may be used
  reply   text, thinking, tools: [{name, input, id?}], or content: [literal blocks];
          stop_reason, stop_details, usage
  wire    chunk (bytes a write), delay (between writes), event_delay, first_delay, delta
          (characters an event), split (cuts inside characters, `data:` and line ends), gzip,
          ping, unknown_events, comments, crlf, cr, no_space, bom, ascii (\\u escapes),
          content_type, headers
  fault   {status, headers?, error_type?, message?, body?, content_type?}
          {error_event, after_events?, message?}    {cut_after_events, reset?}
          {stall_after_events, seconds?}            after the stall the reply goes on
          {not_json: body}          an HTML page with status 200
          {missing_stop}   {bad_event_json, after_events?}
          {huge_line: bytes, after_events?}         in an event to skip; then the reply goes on
Log, one object a line: {kind: "request" | "rejected" | "reply" | "end", n, t, ...}. In "end",
`complete` says that the response was written to its proper end, `client_gone` that it was not
because the client left.
"""

import base64
import secrets
from urllib.parse import unquote

from fake_anthropic_check import Check, Issued, blocks_of, refuse
from fake_model import main
from fake_scenario import Answer, Event, Question, Refusal, make_id, strings_in, to_json

VERSION = "2023-06-01"
ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
               403: "permission_error", 404: "not_found_error", 413: "request_too_large",
               429: "rate_limit_error", 500: "api_error", 504: "timeout_error",
               529: "overloaded_error"}


class Anthropic:
    """The API object that fake_model.Server talks to."""

    request_id_header = "request-id"
    rule_fields, quirks = ("content", "stop_details"), ("elsewhere",)

    def __init__(self, scenario):
        self.scenario, self.issued = scenario, Issued(scenario.quirks)
        self.models = [self.model(item) for item in scenario.models or ["claude-test-1"]]

    @staticmethod
    def model(given):
        given = {"id": given} if isinstance(given, str) else given
        return {"type": "model", "display_name": given["id"], "max_input_tokens": 200000,
                "created_at": "2026-01-01T00:00:00Z", "max_tokens": 64000,
                "capabilities": {"image_input": {"supported": True},
                                 "thinking": {"supported": True, "types": {
                                     "adaptive": {"supported": True},
                                     "enabled": {"supported": False}}}}} | given

    # ---- errors ----

    @staticmethod
    def error_type(status):
        return ERROR_TYPES.get(status) or ERROR_TYPES[400 if status < 500 else 500]

    @staticmethod
    def error_status(error_type):
        return next((status for status, name in ERROR_TYPES.items() if name == error_type), 500)

    @staticmethod
    def error_body(refusal, request_id):
        return {"type": "error", "error": {"type": refusal.error_type, "message": refusal.message},
                "request_id": request_id}

    @staticmethod
    def error_event(error_type, message, _):
        return Event("error", {"type": "error", "error": {"type": error_type, "message": message}})

    # ---- requests ----

    @staticmethod
    def messages_field(_):
        return "messages"

    def handle(self, request):
        route = (request.method, request.path)
        is_model = request.method == "GET" and request.path.startswith("/v1/models/")
        if not is_model and route not in (("POST", "/v1/messages"), ("GET", "/v1/models"),
                                          ("POST", "/v1/messages/count_tokens")):
            raise Refusal(404, "not_found_error", "Not found")
        self.authenticate(request)
        if request.header("anthropic-version") != VERSION:
            refuse("anthropic-version: header is required" if not request.headers.get(
                "anthropic-version") else f"anthropic-version: only {VERSION}, once, is valid")
        if is_model:
            return self.find_model(unquote(request.path.removeprefix("/v1/models/")))
        if request.method == "GET":
            return {"data": self.models, "has_more": False, "first_id": self.models[0]["id"],
                    "last_id": self.models[-1]["id"]}
        media_type = (request.header("content-type") or "").split(";")[0].strip().lower()
        if media_type != "application/json":
            refuse("content-type: should be application/json")
        if request.body_error:
            refuse(f"The request body is not valid JSON: {request.body_error}")
        counting = request.path.endswith("/count_tokens")
        Check(request.body, self.issued).run(counting)
        if counting:
            return {"input_tokens": max(1, len(request.body_text) // 4)}
        return self.question(request)

    def authenticate(self, request):
        keys = request.headers.get("x-api-key", [])
        tokens = request.headers.get("authorization", [])
        if keys and tokens:
            message = "x-api-key and authorization headers must not both be set"
        elif keys == [self.scenario.api_key] or tokens == ["Bearer " + self.scenario.api_key]:
            return
        elif keys:
            message = "invalid x-api-key"
        else:
            message = "invalid bearer token" if tokens else "x-api-key header is required"
        raise Refusal(401, "authentication_error", message)

    def find_model(self, wanted):
        for model in self.models:
            if model["id"] == wanted:
                return model
        raise Refusal(404, "not_found_error", f"model: {wanted}")

    @staticmethod
    def question(request):
        body = request.body
        last = next(item for item in reversed(body["messages"]) if item["role"] == "user")
        content, texts = last["content"], []
        for block in [{"text": content}] if isinstance(content, str) else content:
            inner = block.get("content", "")
            texts.append(block.get("text") or "")
            texts.extend([inner] if isinstance(inner, str)
                         else [item.get("text", "") for item in inner])
        return Question(
            stream=body.get("stream", False), model=body["model"], last_user="\n".join(texts),
            has_tool_result=bool(blocks_of(last, "tool_result")),
            all_text=[text for item in body["messages"] for text in strings_in(item["content"])],
            system="\n".join(strings_in(body.get("system", ""))),
            body_length=len(request.body_text))

    # ---- replies ----

    def compose(self, question, rule, wire):
        content = self.content(rule)
        has_calls = any(block["type"] == "tool_use" for block in content)
        stop = {"stop_reason": rule.get("stop_reason", "tool_use" if has_calls else "end_turn"),
                "stop_sequence": None}
        if "stop_details" in rule:
            stop["stop_details"] = rule["stop_details"]
        usage = {"input_tokens": max(1, question.body_length // 4),
                 "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                 "output_tokens": max(1, len(to_json(content)) // 4)} | (rule.get("usage") or {})
        message = {"id": make_id("msg_"), "type": "message", "role": "assistant",
                   "model": question.model, "content": content, **stop, "usage": usage}
        return Answer(message, list(stream_events(message, stop, wire)),
                      lambda: self.issued.add(content, stop["stop_reason"]), self.error_event)

    @staticmethod
    def content(rule):
        blocks = [dict(block) for block in rule.get("content") or []]
        if "thinking" in rule:
            blocks.append({"type": "thinking", "thinking": rule["thinking"]})
        if rule.get("text"):
            blocks.append({"type": "text", "text": rule["text"]})
        blocks += [{"type": "tool_use", **tool} for tool in rule.get("tools") or []]
        for block in blocks:
            if block["type"] == "tool_use":
                block.setdefault("id", make_id("toolu_"))
                block["input"] = block.get("input") or {}
            elif block["type"] == "thinking":
                block.setdefault("signature", base64.b64encode(secrets.token_bytes(96)).decode())
        return blocks


def stream_events(message, stop, wire):
    """The events of one reply, in Anthropic's order."""
    def event(name, extra=False, **data):
        return Event(name, {"type": name, **data}, extra, ends=name == "message_stop")

    def ping():
        return [event("ping", extra=True)] if wire.get("ping", True) else []

    yield event("message_start", message=message | {
        "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": message["usage"] | {"output_tokens": 1}})
    yield from ping()
    if wire.get("unknown_events"):
        yield event("fake_event", extra=True, index=0, note="clients must skip this")
    for index, block in enumerate(message["content"]):
        if index:
            yield from ping()
        start, deltas = split_block(block, int(wire.get("delta", 7)))
        yield event("content_block_start", index=index, content_block=start)
        if wire.get("unknown_events"):
            yield event("content_block_delta", extra=True, index=index,
                        delta={"type": "fake_delta", "text": "clients must skip this"})
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta=stop, usage=message["usage"])
    yield event("message_stop")


def split_block(block, size):
    """The content_block_start form of a block, and the deltas that complete it."""
    def pieces(text):
        return [text[at:at + size] for at in range(0, len(text), size)]

    kind = block["type"]
    if kind == "text":
        start = block | {"text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        if "citations" in block:
            start["citations"] = []
            deltas += [{"type": "citations_delta", "citation": item}
                       for item in block["citations"]]
        return start, deltas
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece}
                  for piece in pieces(block["thinking"])]
        return (block | {"thinking": "", "signature": ""},
                deltas + [{"type": "signature_delta", "signature": block["signature"]}])
    if kind.endswith("tool_use") and isinstance(block.get("input"), dict):
        # The real service streams the input of server_tool_use and mcp_tool_use blocks too.
        fragments = ["", *pieces(to_json(block["input"]))] if block["input"] else ["", ""]
        return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": piece}
                                       for piece in fragments]
    return block, []        # an unknown block comes whole


if __name__ == "__main__":
    main(Anthropic)
