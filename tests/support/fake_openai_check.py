"""What the validations of OpenAI's two APIs share: the service's words, tools, and function calls.

Texts follow the real service where they are known; those that start with "fake:" are refusals of
our own, for what the real service would let pass.
"""

import json
import threading

from fake_check import TOOL_NAME, Checker, canonical
from fake_scenario import Refusal, strict_json

EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"]
SAMPLING = {"temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop",
            "logprobs", "top_logprobs"}
KINDS = {str: "a string", int: "an integer", bool: "a boolean", list: "an array",
         dict: "an object", float: "a decimal", type(None): "null"}


def refuse(message, param=None, code="invalid_value"):
    raise Refusal(400, code, message, param=param)


class OpenAIChecker(Checker):
    """quirks: what the server at the other end cannot do or does not mind, see fake_openai.py"""

    def __init__(self, body, issued, quirks):
        self.body, self.issued, self.quirks = body, issued, quirks

    # ---- the service's words ----

    @staticmethod
    def join(path, name):
        if isinstance(name, int):
            return f"{path}[{name}]"
        return f"{path}.{name}" if path else name

    @staticmethod
    def missing(path):
        refuse(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")

    @staticmethod
    def unknown(path):
        refuse(f"Unknown parameter: '{path}'.", path, "unknown_parameter")

    @staticmethod
    def wrong_type(path, kind, value):
        refuse(f"Invalid type for '{path}': expected {KINDS[kind]}, but got {KINDS[type(value)]} "
               "instead.", path, "invalid_type")

    @staticmethod
    def not_one_of(path, value, allowed):
        names = ", ".join(f"'{item}'" for item in allowed)
        refuse(f"Invalid value: '{value}'. Supported values are: {names}.", path)

    # ---- what both APIs have ----

    def sampling(self):
        """Reasoning models take none of it; a test that asks for it says so with a quirk."""
        for name in sorted(SAMPLING & set(self.body)):
            if "sampling" not in self.quirks:
                refuse(f"Unsupported parameter: '{name}' is not supported with this model.", name,
                       "unsupported_parameter")

    def integer(self, path, value, least):
        self.type(path, value, int)
        if value < least:
            refuse(f"Invalid '{path}': integer below minimum value. Expected a value >= {least}, "
                   f"but got {value} instead.", path, "integer_below_min_value")

    def text(self, path, value, may_be_empty=True):
        self.type(path, value, str)
        if not may_be_empty and not value:
            refuse(f"Invalid '{path}': empty string. Expected a string with minimum length 1, but "
                   "got an empty string instead.", path, "empty_string")

    def array(self, path, value):
        self.type(path, value, list)
        if not value:
            refuse(f"Invalid '{path}': empty array. Expected an array with minimum length 1, but "
                   "got an empty array instead.", path, "empty_array")

    def each_part(self, path, content, kinds):
        """The parts of a content, one by one: where it is, itself, its type. A text has none."""
        if isinstance(content, str):
            return
        self.array(path, content)
        for index, part in enumerate(content):
            where = f"{path}[{index}]"
            self.type(where, part, dict)
            kind = part.get("type")
            if kind is None:
                self.missing(where + ".type")
            self.one_of(where + ".type", kind, sorted(kinds))
            yield where, part, kind

    def output_format(self, path, value):
        self.fields(path, value, {"type"}, {"json_schema", "name", "schema", "strict",
                                            "description"})
        self.one_of(self.join(path, "type"), value["type"], ["text", "json_object", "json_schema"])

    def metadata(self):
        self.type("metadata", self.body["metadata"], dict)
        for name, value in self.body["metadata"].items():
            self.type(f"metadata.{name}", value, str)

    def function(self, path, function, extra=()):
        """A function that the model may call: nested in Chat Completions, flat in Responses."""
        self.fields(path, function, {"name"} | set(extra), {"description", "parameters", "strict"})
        self.types(function, path, {"name": str, "description": str, "strict": bool})
        if not TOOL_NAME.fullmatch(function["name"]):
            refuse(f"Invalid '{path}.name': string does not match pattern. Expected a string that "
                   "matches the pattern '^[a-zA-Z0-9_-]+$'.", f"{path}.name")
        where, schema = f"{path}.parameters", function.get("parameters", {"type": "object"})
        self.type(where, schema, dict)
        if schema.get("type") != "object":
            refuse(f"Invalid schema for function '{function['name']}': schema must be a JSON "
                   "Schema of 'type: \"object\"'.", where, "invalid_function_parameters")
        self.schema(where, schema)
        strict = schema.get("additionalProperties") is False and \
            set(schema.get("required", [])) == set(schema.get("properties", {}))
        if function.get("strict") and not strict:
            refuse(f"Invalid schema for function '{function['name']}': with strict, "
                   "'additionalProperties' must be false and 'required' must name every property.",
                   where, "invalid_function_parameters")

    def tool_names(self, names):
        if len(set(names)) < len(names):
            refuse("fake: tool names must be unique", "tools")
        if not names:
            for name in ("tool_choice", "parallel_tool_calls"):
                if name in self.body:
                    refuse(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are "
                           "specified.", name)
        elif "no_auto_tools" in self.quirks and self.body.get("tool_choice", "auto") == "auto":
            refuse('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser '
                   "to be set", "tool_choice")

    def chosen(self, name, names):
        if name not in names:
            refuse(f"Invalid value for 'tool_choice': function '{name}' was not found in 'tools'.",
                   "tool_choice")

    def arguments(self, path, text):
        """What the client sends back as the input of a call: always the text of an object."""
        self.type(path, text, str)
        try:
            is_object = isinstance(strict_json(text.encode("utf-8")), dict)
        except ValueError as error:
            refuse(f"fake: '{path}' is not JSON: {error}", path)
        if not is_object:
            refuse(f"fake: '{path}' is not the text of an object", path)


class IssuedCalls:
    """Memory of the tool calls in every complete reply. Partial replies are not kept: clients must
    throw them away."""

    def __init__(self, quirks):
        self._quirks = quirks
        self._lock = threading.Lock()
        self._calls = {}        # call id -> (name, arguments), or those of a call without id
        self._order = {}        # call id -> ids of its reply

    def add(self, calls):
        """calls: list of (id or None, name, arguments)"""
        order = [call for call, _, _ in calls]
        with self._lock:
            for call, name, arguments in calls:
                key = call or (name, canonical_arguments(arguments))
                self._calls[key], self._order[key] = (name, arguments), order

    def check(self, path, calls):
        """The calls of one assistant turn are those of one reply, in its order and unchanged; one
        may be missing, because the last call of a truncated reply is useless."""
        order = None
        for call, name, arguments in calls:
            key = call if call in self._calls else (name, canonical_arguments(arguments))
            issued = self._calls.get(key)
            if issued is None and "elsewhere" in self._quirks:
                continue
            if issued is None:
                refuse(f"fake: the tool call {call} was never issued", path)
            if not self.same(issued, (name, arguments)):
                refuse(f"fake: the tool call {call} differs from the issued one: {issued[0]} "
                       f"{issued[1]}", path)
            if order is None:
                order = iter(self._order[key])
            if key == call and call not in order:       # `in` consumes, so this checks order too
                refuse(f"fake: the tool call {call} was not issued at this place", path)

    def same(self, issued, sent):
        """Byte for byte, but where this server itself does not send the text of an object."""
        if issued == sent:
            return True
        loose = not isinstance(issued[1], str) or issued[1] == ""
        return loose and issued[0] == sent[0] and \
            canonical_arguments(issued[1]) == canonical_arguments(sent[1])


def canonical_arguments(arguments):
    """Equal for equal arguments, sent as text, as an object or, for no arguments, as nothing."""
    if not isinstance(arguments, str):
        return canonical(arguments)
    try:
        return canonical(json.loads(arguments or "{}"))
    except ValueError:
        return arguments
