"""Validation of Anthropic requests: their shape, the tool loop, and what this server said before.

Texts follow the real service where they are known; those that start with "fake:" are refusals of
our own, for what the real service would let pass.
"""

import re
import threading

from fake_check import TOOL_NAME, Checker, canonical
from fake_scenario import Refusal

REQUIRED = {"model", "max_tokens", "messages"}
SAMPLING = {"temperature", "top_p", "top_k"}
COUNTED = {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config",
           "cache_control"}
TOP_LEVEL = COUNTED | {"max_tokens", "stream", "stop_sequences", "metadata", "service_tier",
                       "container", "inference_geo"}
TOOL_FIELDS = {"name", "description", "input_schema", "cache_control", "strict", "type",
               "eager_input_streaming", "defer_loading", "input_examples"}
# Block type -> (fields that must be there, fields that may).
BLOCKS = {"text": ({"text"}, {"cache_control", "citations"}),
          "image": ({"source"}, {"cache_control"}),
          "document": ({"source"}, {"cache_control", "title", "context", "citations"}),
          "tool_result": ({"tool_use_id"}, {"content", "is_error", "cache_control"}),
          "tool_use": ({"id", "name", "input"}, {"cache_control", "caller"}),
          "thinking": ({"thinking", "signature"}, set()),
          "redacted_thinking": ({"data"}, set())}
USER_BLOCKS = {"text", "image", "document", "tool_result"}
RESULT_BLOCKS = {"text", "image"}
SOURCES = {"base64": {"media_type", "data"}, "url": {"url"}, "text": {"media_type", "data"}}
TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
BAD_SIGNATURE = "Invalid signature in thinking block"


def sendable_name(name):
    """What a client has to make of the name in a call: the service takes no other back."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


def refuse(message):
    raise Refusal(400, "invalid_request_error", message)


def without_marks(block):
    """A block as the server issued it: the client may add cache_control."""
    return {name: value for name, value in block.items() if name != "cache_control"}


def block_key(block):
    """What a block is recognised by when it comes back."""
    return "tool_use " + block["id"] if block["type"] == "tool_use" \
        else canonical(without_marks(block))


def blocks_of(message, block_type):
    content = message["content"]
    return [block for block in content if block["type"] == block_type] \
        if isinstance(content, list) else []


class Issued:
    """Memory of every complete reply. Partial ones are not kept: clients must throw them away.

    With the quirk `elsewhere` others have answered before, or in between: calls may be theirs, and
    what was thought may be left out. What is signed by others is refused all the same."""

    def __init__(self, quirks=()):
        self._elsewhere = "elsewhere" in quirks
        self._lock = threading.Lock()
        self._blocks = set()        # canonical thinking, redacted and unknown blocks
        self._calls = {}            # tool_use id -> canonical (name, input)
        self._order = {}            # tool_use id -> keys of the reply's blocks, without text
        self._paused = []           # canonical contents that ended with pause_turn

    def add(self, content, stop_reason):
        order = [block_key(block) for block in content if block["type"] != "text"]
        with self._lock:
            self._blocks.update(order)
            for block in content:
                if block["type"] == "tool_use":
                    names = {block["name"], sendable_name(block["name"])}
                    self._calls[block["id"]] = {canonical([name, block["input"]]) for name in names}
                    self._order[block["id"]] = order
            if stop_reason == "pause_turn":
                self._paused.append([canonical(block) for block in content])

    def is_paused(self, content):
        """Whether an assistant message may stand last: it continues a paused turn."""
        sent = [canonical(without_marks(block)) for block in content]
        return any(sent[-len(paused):] == paused for paused in self._paused if paused)

    def check(self, path, content):
        """The blocks of an assistant message must be what this server said, whole and in order."""
        sent = [block_key(block) for block in content]
        for index, block in enumerate(content):
            where, kind = f"{path}.content.{index}", block["type"]
            if kind == "tool_use":
                known = self._calls.get(block["id"])
                if known is None and self._elsewhere:
                    continue
                if known is None:
                    refuse(f"{where}: fake: `tool_use` id {block['id']} was never issued")
                if canonical([block["name"], block["input"]]) not in known:
                    refuse(f"{where}: fake: `tool_use` {block['id']} differs from the issued one")
                self.check_order(path, block["id"], sent)
            elif kind != "text" and sent[index] not in self._blocks:
                refuse(f"{where}: {BAD_SIGNATURE}" if kind in BLOCKS
                       else f"{where}.type: fake: a `{kind}` block that was never issued")

    def check_order(self, path, call, sent):
        """Everything that was said with a tool call comes back with it, in the same order; only
        other calls may be missing, because the last one of a truncated reply is useless."""
        order = self._order[call]
        thinking = any('"thinking"' in key or '"redacted_thinking"' in key for key in order)
        rest = iter(sent)       # `in` on an iterator consumes it, so this checks order too
        for key in order:
            droppable = (key.startswith("tool_use ") or self._elsewhere) and key not in sent
            if not droppable and key not in rest:
                refuse(f"{path}: {BAD_SIGNATURE if thinking else 'fake: not what was issued'} "
                       f"(altered, dropped or moved: {key})")


class Check(Checker):
    """Validation of one request body."""

    def __init__(self, body, issued):
        self.body, self.issued, self.breakpoints = body, issued, 0

    # ---- the service's words ----

    @staticmethod
    def join(path, name):
        return f"{path}.{name}" if path else str(name)

    @staticmethod
    def missing(path):
        refuse(f"{path}: Field required")

    @staticmethod
    def unknown(path):
        refuse(f"{path}: Extra inputs are not permitted")

    @staticmethod
    def wrong_type(path, kind, _):
        names = {str: "string", int: "integer", bool: "boolean", list: "list", dict: "dictionary"}
        refuse(f"{path}: Input should be a valid {names[kind]}")

    @staticmethod
    def not_one_of(path, _, allowed):
        refuse(f"{path}: Input should be {' or '.join(repr(item) for item in allowed)}")

    # ---- the body ----

    def run(self, counting):
        body = self.body
        self.type("body", body, dict)
        for name in sorted(SAMPLING & set(body)):
            refuse(f"{name}: this parameter is not supported on this model")
        self.fields("", body, REQUIRED - {"max_tokens"} if counting else REQUIRED,
                     COUNTED if counting else TOP_LEVEL)
        self.type("model", body["model"], str)
        if not body["model"]:
            refuse("model: String should have at least 1 character")
        self.options()
        self.cache_control("", body)
        if "system" in body and not isinstance(body["system"], str):
            self.block_list("system", body["system"], {"text"})
        self.tools(body.get("tools", []))
        if "tool_choice" in body:
            self.tool_choice(body["tool_choice"])
        self.messages(body["messages"])
        if self.breakpoints > 4:
            refuse("A maximum of 4 blocks with cache_control may be provided. "
                   f"Found {self.breakpoints}.")

    def options(self):
        body = self.body
        self.types(body, "", {"stream": bool, "max_tokens": int, "stop_sequences": list,
                              "service_tier": str})
        if body.get("max_tokens", 1) < 1:
            refuse("max_tokens: Input should be greater than or equal to 1")
        for index, item in enumerate(body.get("stop_sequences", [])):
            self.type(f"stop_sequences.{index}", item, str)
        if "metadata" in body:
            self.fields("metadata", body["metadata"], (), {"user_id"})
            self.type("metadata.user_id", body["metadata"].get("user_id", ""), str)
        if "output_config" in body:
            config = body["output_config"]
            self.fields("output_config", config, (), {"effort", "format"})
            if "effort" in config:
                self.one_of("output_config.effort", config["effort"],
                             ["low", "medium", "high", "xhigh", "max"])
        if "thinking" in body:
            self.thinking(body["thinking"])

    def thinking(self, value):
        self.fields("thinking", value, {"type"}, {"budget_tokens", "display"})
        kind = value["type"]
        self.one_of("thinking.type", kind, ["adaptive", "enabled", "disabled"])
        allowed = {"adaptive": {"display"}, "enabled": {"budget_tokens", "display"}}
        needed = {"type", "budget_tokens"} if kind == "enabled" else {"type"}
        self.fields(f"thinking.{kind}", value, needed, allowed.get(kind, ()))
        if "display" in value:
            self.one_of("thinking.display", value["display"], ["summarized", "omitted"])
        if kind == "enabled":
            self.type("thinking.enabled.budget_tokens", value["budget_tokens"], int)
            if value["budget_tokens"] < 1024:
                refuse("thinking.enabled.budget_tokens: Input should be greater than or equal "
                       "to 1024")
            if value["budget_tokens"] >= self.body.get("max_tokens", float("inf")):
                refuse("`max_tokens` must be greater than `thinking.budget_tokens`")

    def tool_choice(self, value):
        self.fields("tool_choice", value, {"type"}, {"name", "disable_parallel_tool_use"})
        kind = value["type"]
        self.one_of("tool_choice.type", kind, ["auto", "any", "none", "tool"])
        self.fields(f"tool_choice.{kind}", value, {"type", "name"} if kind == "tool" else {"type"},
                     () if kind == "none" else {"disable_parallel_tool_use"})
        names = [tool["name"] for tool in self.body.get("tools", [])]
        if not names:
            refuse("tool_choice: tool_choice may only be specified while providing tools")
        if kind == "tool" and value["name"] not in names:
            refuse(f"Tool '{value['name']}' not found in provided tools")

    def cache_control(self, path, owner):
        if "cache_control" not in owner:
            return
        value, path = owner["cache_control"], (path + "." if path else "") + "cache_control"
        self.fields(path, value, {"type"}, {"ttl"})
        self.one_of(path + ".type", value["type"], ["ephemeral"])
        self.one_of(path + ".ttl", value.get("ttl", "5m"), ["5m", "1h"])
        self.breakpoints += 1

    def tools(self, tools):
        self.type("tools", tools, list)
        names = set()
        for index, tool in enumerate(tools):
            path = f"tools.{index}"
            self.fields(path, tool, {"name", "input_schema"}, TOOL_FIELDS)
            self.one_of(path + ".type", tool.get("type", "custom"), ["custom"])
            self.type(path + ".name", tool["name"], str)
            if not TOOL_NAME.fullmatch(tool["name"]):
                refuse(f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
            if tool["name"] in names:
                refuse("tools: Tool names must be unique.")
            names.add(tool["name"])
            if "description" in tool:
                self.type(path + ".description", tool["description"], str)
            self.type(path + ".input_schema", tool["input_schema"], dict)
            if "type" not in tool["input_schema"]:
                refuse(f"{path}.input_schema.type: Field required")
            self.one_of(path + ".input_schema.type", tool["input_schema"]["type"], ["object"])
            self.schema(path + ".input_schema", tool["input_schema"])
            self.cache_control(path, tool)

    def block_list(self, path, blocks, allowed):
        """A list of blocks. allowed: the types, or None in an assistant message."""
        self.type(path, blocks, list)
        for index, block in enumerate(blocks):
            self.block(f"{path}.{index}", block, allowed)

    def block(self, path, block, allowed):
        self.type(path, block, dict)
        self.type(path + ".type", block.get("type"), str)
        kind = block["type"]
        if allowed and kind not in allowed:
            refuse(f"{path}: Input tag '{kind}' found using 'type' does not match any of the "
                   f"expected tags: {', '.join(sorted(allowed))}")
        if not allowed and kind in USER_BLOCKS - {"text"}:
            refuse(f"{path}: `{kind}` blocks are not permitted in assistant messages")
        self.cache_control(f"{path}.{kind}", block)
        if kind not in BLOCKS:
            return      # Issued.check compares it with what was sent
        if "thinking" in kind and "cache_control" in block:
            refuse(f"{path}.{kind}.cache_control: Extra inputs are not permitted")
        required, optional = BLOCKS[kind]
        self.fields(f"{path}.{kind}", block, required | {"type"}, optional)
        for name in required & {"text", "thinking", "signature", "data", "id", "name",
                                "tool_use_id"}:
            self.type(f"{path}.{kind}.{name}", block[name], str)
        if block.get("text") == "":
            refuse("messages: text content blocks must be non-empty")
        for name in ("id", "tool_use_id"):
            if name in block and not TOOL_ID.fullmatch(block[name]):
                refuse(f"{path}.{kind}.{name}: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if kind == "tool_use":
            self.type(f"{path}.tool_use.input", block["input"], dict)
        elif "source" in block:
            source, where = block["source"], f"{path}.{kind}.source"
            self.type(where, source, dict)
            self.one_of(where + ".type", source.get("type"), sorted(SOURCES))
            self.fields(where, source, SOURCES[source["type"]] | {"type"})
            for name, value in source.items():
                self.type(f"{where}.{name}", value, str)
        elif kind == "tool_result":
            self.tool_result(f"{path}.tool_result", block)

    def tool_result(self, path, block):
        self.type(path + ".is_error", block.get("is_error", False), bool)
        content = block.get("content", "")
        if not isinstance(content, str):
            self.block_list(path + ".content", content, RESULT_BLOCKS)
            if not content:     # the real service takes it; ours must say "(no output)"
                refuse(f"{path}.content: fake: List should have at least 1 item")

    def messages(self, messages):
        self.type("messages", messages, list)
        if not messages:
            refuse("messages: at least one message is required")
        for index, message in enumerate(messages):
            self.message(f"messages.{index}", message)
            role = message["role"]
            if index == 0 and role != "user":
                refuse('messages: first message must use the "user" role')
            if index and messages[index - 1]["role"] == role:
                refuse('messages: roles must alternate between "user" and "assistant", but found '
                       f'multiple "{role}" roles in a row')
        said = [message["content"] for message in messages if message["role"] == "assistant"]
        for block in said[-1] if said and isinstance(said[-1], list) else []:
            if block["type"] == "text" and not block["text"].strip():
                refuse("messages: text content blocks must contain non-whitespace text")
        last = messages[-1]
        if last["role"] == "assistant" and not (isinstance(last["content"], list) and
                                                self.issued.is_paused(last["content"])):
            refuse("This model does not support assistant message prefill. The conversation must "
                   "end with a user message.")
        self.pairing(messages)
        for index, message in enumerate(messages):
            if message["role"] == "assistant" and isinstance(message["content"], list):
                self.issued.check(f"messages.{index}", message["content"])

    def message(self, path, message):
        self.fields(path, message, {"role", "content"})
        role, content = message["role"], message["content"]
        if role == "system":
            refuse("role 'system' is not supported on this model")
        self.one_of(path + ".role", role, ["user", "assistant"])
        if content in ("", []):
            refuse(f"{path}: all messages must have non-empty content except for the optional "
                   "final assistant message")
        if not isinstance(content, str):
            self.block_list(path + ".content", content, USER_BLOCKS if role == "user" else None)
        elif role == "assistant" and not content.strip():
            refuse("messages: text content blocks must contain non-whitespace text")

    def pairing(self, messages):
        """Each tool_use is answered once, at the start of the very next message."""
        calls, all_calls = [], set()    # those of the previous message; those of all
        for index, message in enumerate(messages):
            results = [block["tool_use_id"] for block in blocks_of(message, "tool_result")]
            for number, result in enumerate(results):
                if result not in calls:
                    refuse(f"messages.{index}.content.{number}: unexpected `tool_use_id` found in "
                           f"`tool_result` blocks: {result}. Each `tool_result` block must have a "
                           "corresponding `tool_use` block in the previous message.")
                if result in results[:number]:
                    refuse(f"messages.{index}.content.{number}: each tool_use must have a single "
                           f"result. Found multiple `tool_result` blocks with id: {result}")
            content = message["content"]
            first = [block.get("tool_use_id") for block in content[:len(calls)]] \
                if isinstance(content, list) else []
            missing = [call for call in calls if call not in first]
            if missing:
                refuse(f"messages.{index - 1}: `tool_use` ids were found without `tool_result` "
                       f"blocks immediately after: {', '.join(missing)}. Each `tool_use` block "
                       "must have a corresponding `tool_result` block in the next message.")
            calls = [block["id"] for block in blocks_of(message, "tool_use")]
            if len(set(calls)) < len(calls) or all_calls & set(calls):
                refuse(f"messages.{index}: `tool_use` ids must be unique")
            all_calls.update(calls)
