"""Validation of Responses requests: their shape, the tool loop, and what this server said before.

The use is stateless: store is false, and every item that the server issued comes back in `input`,
unchanged, with the reasoning in front of the calls that it led to.
"""

import threading

from fake_check import canonical
from fake_openai_check import EFFORTS, SAMPLING, IssuedCalls, OpenAIChecker, refuse

TOP_LEVEL = {"instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens",
             "reasoning", "text", "store", "include", "truncation", "stream", "stream_options",
             "prompt_cache_key", "prompt_cache_retention", "metadata", "service_tier",
             "safety_identifier", "user"} | SAMPLING - {"stop", "seed", "logprobs"}
STRINGS = ("instructions", "prompt_cache_key", "safety_identifier", "service_tier", "user")
ENCRYPTED = "reasoning.encrypted_content"
INPUT_PARTS = {"input_text": ({"text"}, set()), "input_image": ({"image_url"}, {"detail"})}
OUTPUT_PARTS = {"output_text": ({"text"}, {"annotations", "logprobs"}),
                "refusal": ({"refusal"}, set())}
# Item type -> (fields that must be there, fields that may).
ITEMS = {"message": ({"role", "content"}, {"id", "status", "phase"}),
         "reasoning": ({"id", "summary"}, {"encrypted_content", "content", "status"}),
         "function_call": ({"call_id", "name", "arguments"}, {"id", "status"}),
         "function_call_output": ({"call_id", "output"}, {"id", "status"})}
STATUS = ["in_progress", "completed", "incomplete"]


def kind_of(item):
    return item.get("type", "message" if "role" in item else None)


def is_said(item):
    """Whether an item of the input comes from the model."""
    kind = kind_of(item)
    return item["role"] == "assistant" if kind == "message" else kind != "function_call_output"


class IssuedItems:
    """Memory of the output of every complete reply."""

    def __init__(self, quirks):
        self.calls = IssuedCalls(quirks)
        self._elsewhere = "elsewhere" in quirks
        self._lock = threading.Lock()
        self._ids = {}      # item id -> its key
        self._order = {}    # key of a reasoning or unknown item, or call id -> keys of its reply

    @staticmethod
    def key(item):
        """What an item is recognised by when it comes back; None for messages."""
        kind = kind_of(item)
        return None if kind == "message" else \
            item["call_id"] if kind == "function_call" else canonical(item)

    def add(self, output):
        self.calls.add([(item["call_id"], item["name"], item["arguments"]) for item in output
                        if item["type"] == "function_call"])
        order = [key for key in map(self.key, output) if key]
        with self._lock:
            self._order.update(dict.fromkeys(order, order))
            self._ids.update({item["id"]: self.key(item) for item in output if "id" in item})

    def check(self, path, group):
        """The items that the model said at one place: those of one reply, whole and in order."""
        sent = [(index, item, self.key(item)) for index, item in group]
        for index, item, key in sent:
            where, kind = f"{path}[{index}]", kind_of(item)
            if kind not in ("message", "function_call"):
                if key not in self._order and self._elsewhere:
                    refuse("The encrypted content could not be verified. Reason: Encrypted content "
                           "could not be decrypted or parsed.", where, "invalid_encrypted_content")
                if key not in self._order:
                    refuse(f"fake: {where}: a `{kind}` item that was never issued", where)
            elif "id" in item and not self._elsewhere and self._ids.get(item["id"], 0) != key:
                refuse(f"fake: {where}: the item {item['id']} is not as it was issued", where)
            if kind == "reasoning" and item is group[-1][1]:
                refuse(f"Item '{item['id']}' of type 'reasoning' was provided without its required "
                       "following item.", "input")
        self.calls.check(path, [(item["call_id"], item["name"], item["arguments"])
                                for _, item, _ in sent if kind_of(item) == "function_call"])
        keys = [key for _, _, key in sent if key]
        if keys and not self._elsewhere:
            self.check_order(path, keys, self._order[keys[-1]])

    @staticmethod
    def check_order(path, keys, order):
        rest, left = iter(keys), [key for key in keys if key not in order]
        for key in order:
            droppable = not key.startswith("{") and key not in keys     # a call
            if left or not droppable and key not in rest:
                refuse(f"fake: {path}: items of type 'function_call' were provided without the "
                       f"required items of their reply, in order: {left or key}", path)


class ResponsesCheck(OpenAIChecker):
    """Validation of one request body."""

    def run(self):
        body = self.body
        if not isinstance(body, dict):
            refuse("We could not parse the JSON body of your request. (HINT: it has to be an "
                   "object.)", code=None)
        self.fields("", body, {"model", "input"}, TOP_LEVEL)
        self.text("model", body["model"], may_be_empty=False)
        self.options()
        self.stateless()
        self.tools(body.get("tools"))
        if not isinstance(body["input"], str):
            self.input(body["input"])

    def options(self):
        body = self.body
        self.sampling()
        self.types(body, "", {"stream": bool, "parallel_tool_calls": bool}
                   | dict.fromkeys(STRINGS, str))
        if "max_output_tokens" in body:
            self.integer("max_output_tokens", body["max_output_tokens"], 16)
        if "metadata" in body:
            self.metadata()
        if "stream_options" in body:
            if not body.get("stream"):
                refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                       "stream_options", None)
            self.fields("stream_options", body["stream_options"], (), {"include_obfuscation"})
        if "truncation" in body:
            self.one_of("truncation", body["truncation"], ["auto", "disabled"])
        if "text" in body:
            self.fields("text", body["text"], (), {"format", "verbosity"})
            if "format" in body["text"]:
                self.output_format("text.format", body["text"]["format"])
            self.one_of("text.verbosity", body["text"].get("verbosity", "low"),
                        ["low", "medium", "high"])

    def stateless(self):
        body = self.body
        if body.get("store") is not False:
            refuse("fake: an agent host keeps its conversations itself: store must be false",
                   "store")
        include = body.get("include", [])
        self.type("include", include, list)
        for index, item in enumerate(include):
            self.one_of(f"include[{index}]", item, [ENCRYPTED])
        if "no_reasoning" in self.quirks:
            if "reasoning" in body:
                refuse("Unsupported parameter: 'reasoning.effort' is not supported with this "
                       "model.", "reasoning.effort", "unsupported_parameter")
            if include:
                refuse("Encrypted content is not supported with this model.", "include")
        elif ENCRYPTED not in include:
            refuse(f"fake: without store, include must have '{ENCRYPTED}'", "include")
        if "reasoning" in body:
            self.fields("reasoning", body["reasoning"], (), {"effort", "summary"})
            for name, allowed in (("effort", EFFORTS),
                                  ("summary", ["auto", "concise", "detailed"])):
                if name in body["reasoning"]:
                    self.one_of("reasoning." + name, body["reasoning"][name], allowed)

    def tools(self, tools):
        names = []
        if "tools" in self.body:
            self.array("tools", tools)
        for index, tool in enumerate(tools or []):
            path = f"tools[{index}]"
            self.type(path, tool, dict)
            if "type" not in tool:
                self.missing(path + ".type")
            self.one_of(path + ".type", tool["type"], ["function"])
            self.function(path, tool, {"type"})
            for name in ("parameters", "strict"):   # the real service needs null at least
                if name not in tool:
                    self.missing(f"{path}.{name}")
            names.append(tool["name"])
        self.tool_names(names)
        if "tool_choice" in self.body:
            value = self.body["tool_choice"]
            if isinstance(value, str):
                self.one_of("tool_choice", value, ["none", "auto", "required"])
            else:
                self.fields("tool_choice", value, {"type", "name"})
                self.one_of("tool_choice.type", value["type"], ["function"])
                self.chosen(value["name"], names)

    # ---- items ----

    def input(self, items):
        self.array("input", items)
        for index, item in enumerate(items):
            self.item(f"input[{index}]", item)
        self.pairing(items)
        if is_said(items[-1]):
            refuse("fake: the last item of the input is the model's own: nobody is asked", "input")
        group = []
        for index, item in enumerate(items):
            if is_said(item):
                group.append((index, item))
            elif group:
                self.issued.check("input", group)
                group = []

    def item(self, path, item):
        self.type(path, item, dict)
        kind = kind_of(item)
        if kind is None:
            self.missing(path + ".type")
        self.type(path + ".type", kind, str)
        if kind not in ITEMS:
            return      # IssuedItems.check compares it with what was sent
        required, optional = ITEMS[kind]
        self.fields(path, item, required, optional | {"type"})
        self.types(item, path, {"id": str, "call_id": str, "name": str, "summary": list,
                                "encrypted_content": str, "phase": str})
        if "status" in item:
            self.one_of(path + ".status", item["status"], STATUS)
        if kind == "message":
            self.message(path, item)
        elif kind == "function_call":
            self.arguments(path + ".arguments", item["arguments"])
        elif kind == "function_call_output":
            self.parts(path + ".output", item["output"], INPUT_PARTS)
        elif "encrypted_content" not in item:
            refuse(f"Item with id '{item['id']}' not found. Items are not persisted when `store` "
                   "is set to false. Try again with `store` set to true, or remove this item from "
                   "your input.", "input")

    def message(self, path, item):
        role = item["role"]
        self.one_of(path + ".role", role, ["assistant", "system", "developer", "user"])
        self.parts(path + ".content", item["content"],
                   OUTPUT_PARTS if role == "assistant" else INPUT_PARTS)
        if role == "assistant" and item["content"] == "":
            refuse(f"fake: {path}: an assistant message that says nothing", path + ".content")

    def parts(self, path, content, allowed):
        for where, part, kind in self.each_part(path, content, allowed):
            required, optional = allowed[kind]
            self.fields(where, part, required | {"type"}, optional)
            self.types(part, where, {"annotations": list, "logprobs": list})
            for name in required:
                self.text(f"{where}.{name}", part[name], may_be_empty=False)

    def pairing(self, items):
        """Each call is answered by one output, directly behind the items of its reply."""
        waiting, seen, answering = [], set(), False
        for index, item in enumerate(items + [{"type": "end"}]):
            kind = kind_of(item)
            if kind == "function_call_output":
                if item["call_id"] not in waiting:
                    refuse("No tool call found for function call output with call_id "
                           f"{item['call_id']}.", "input")
                waiting.remove(item["call_id"])
                answering = True
                continue
            if waiting and (answering or kind == "end" or not is_said(item)):
                refuse(f"No tool output found for function call {waiting[0]}.", "input")
            answering = False
            if kind == "function_call":
                if item["call_id"] in seen:
                    refuse(f"fake: input[{index}]: a second call with the call_id "
                           f"{item['call_id']}", "input")
                waiting.append(item["call_id"])
                seen.add(item["call_id"])
