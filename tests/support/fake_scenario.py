"""Rules, values and the log of the fake model servers: everything that needs no socket.

fake_model.py (transport) and the APIs, such as fake_anthropic.py, meet in the classes below.
"""

import json
import secrets
import string
import threading
from dataclasses import dataclass
from typing import Callable, Optional

SCENARIO_FIELDS = {"api_key", "rules", "models", "quirks", "pages", "stable_prefix"}
RULE_FIELDS = {"when", "times", "wire", "fault", "text", "thinking", "tools", "stop_reason",
               "usage"}
WHEN_FIELDS = {"turn", "last_user_contains", "last_user_lacks", "any_contains",
               "has_tool_result", "system_contains", "model"}
WIRE_FIELDS = {"chunk", "delay", "event_delay", "first_delay", "ping", "crlf", "comments",
               "delta", "unknown_events", "no_space", "cr", "bom", "split", "gzip", "ascii",
               "content_type", "headers"}
# The first name of each row says which fault it is; the rest are its options.
FAULTS = {"status": {"headers", "error_type", "message", "body", "content_type"},
          "error_event": {"after_events", "message"},
          "cut_after_events": {"reset"},
          "stall_after_events": {"seconds"},
          "not_json": set(),
          "missing_stop": set(),
          "bad_event_json": {"after_events"},
          "huge_line": {"after_events"}}


class Refusal(Exception):
    """What the service answers instead of a reply."""

    def __init__(self, status, error_type, message, headers=None, param=None):
        super().__init__(message)
        self.status, self.error_type, self.message = status, error_type, message
        self.headers, self.param = headers or {}, param


@dataclass
class Request:
    method: str
    path: str               # without the query, not percent-decoded
    headers: dict           # lower-case name -> list of values
    body: object = None     # parsed JSON, when body_error is None and there was a body
    body_error: Optional[str] = None
    body_text: str = ""

    def header(self, name):
        """The one value of a header, or None when it is absent or repeated."""
        values = self.headers.get(name, [])
        return values[0] if len(values) == 1 else None


@dataclass
class Question:
    """A validated model request, in the terms that rules are matched on."""
    stream: bool
    model: str
    last_user: str          # text and tool-result text of the last user message
    has_tool_result: bool
    all_text: list          # every string in the messages
    system: str
    body_length: int
    context: object = None  # what the API wants to know again when it composes the reply


@dataclass
class Event:
    name: Optional[str]     # None: no `event:` line
    data: object            # a dict becomes JSON, a string is sent as it is
    extra: bool = False     # pings and the like: not counted by the *_after_events faults
    ends: bool = False      # with this event a client may know that the reply is complete


@dataclass
class Answer:
    message: dict           # the body when the request does not stream
    events: list            # the same as stream events
    remember: Callable      # called just before the client can know that the reply is complete
    error_event: Callable   # (error_type, message, how many events were sent) -> Event


def make_id(prefix):
    alphabet = string.ascii_letters + string.digits
    return prefix + "".join(secrets.choice(alphabet) for _ in range(24))


def to_json(value, ascii_only=False):
    return json.dumps(value, ensure_ascii=bool(ascii_only), separators=(",", ":"))


def strings_in(value):
    """Every string inside a JSON value, object keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def strict_json(raw):
    """Parses bytes as RFC 8259 JSON; raises ValueError for what lenient parsers let pass."""
    def no_duplicates(pairs):
        seen = dict(pairs)
        if len(seen) != len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            raise ValueError(f"duplicate key {twice!r}")
        return seen

    def no_constant(name):
        raise ValueError(f"{name} is not JSON")

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    try:
        for item in strings_in(value):
            item.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("lone surrogate in a string") from None
    return value


class Log:
    """One JSON object a line, flushed at once, so that a test may read it while we run."""

    def __init__(self, path):
        self._file = open(path, "ab", buffering=0)
        self._lock = threading.Lock()

    def write(self, **entry):
        line = (to_json(entry) + "\n").encode("utf-8", errors="replace")
        with self._lock:
            self._file.write(line)


def check_names(where, value, allowed):
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not an object")
    unknown = sorted(set(value) - set(allowed))
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known: "
                         f"{', '.join(sorted(allowed))}")


def check_quirks(where, owner, known):
    given = set(owner.get("quirks") or [])
    check_names(where + ".quirks", dict.fromkeys(given), known)
    return given


def as_list(value):
    return value if isinstance(value, list) else [value]


class Scenario:
    """The rules. Misspelt fields are errors here: a rule that never matches is hard to find."""

    def __init__(self, data, rule_fields=(), quirks=()):
        """rule_fields, quirks: those that only one API knows"""
        check_names("scenario", data, SCENARIO_FIELDS)
        self.quirks = check_quirks("scenario", data, quirks)
        self.pages, self.stable_prefix = data.get("pages") or {}, data.get("stable_prefix")
        self.api_key = data.get("api_key", "test-key")
        self.models = data.get("models")
        self.rules = as_list(data["rules"]) if data.get("rules") else []   # Lua writes {} for []
        self._used = [0] * len(self.rules)
        self._turn = 0
        self._lock = threading.Lock()
        for index, rule in enumerate(self.rules):
            where = f"rules[{index}]"
            check_names(where, rule, RULE_FIELDS | {"quirks"} | set(rule_fields))
            check_quirks(where, rule, quirks)
            check_names(where + ".when", rule.get("when") or {}, WHEN_FIELDS)
            check_names(where + ".wire", rule.get("wire") or {}, WIRE_FIELDS)
            fault = rule.get("fault")
            if fault:
                kind = fault_kind(fault)
                check_names(where + ".fault", fault, FAULTS[kind] | {kind} if kind else FAULTS)
                if not kind:
                    raise ValueError(f"{where}.fault names no fault; known: {', '.join(FAULTS)}")

    def pick(self, question):
        """Counts the turn and returns (turn, index, rule); index and rule are None if none fits."""
        with self._lock:
            self._turn += 1
            for index, rule in enumerate(self.rules):
                if "times" in rule and self._used[index] >= rule["times"]:
                    continue
                if matches(rule.get("when") or {}, question, self._turn):
                    self._used[index] += 1
                    return self._turn, index, rule
            return self._turn, None, None


def matches(when, question, turn):
    last = question.last_user
    tests = {
        "turn": lambda want: turn == want,
        "last_user_contains": lambda want: all(part in last for part in as_list(want)),
        "last_user_lacks": lambda want: not any(part in last for part in as_list(want)),
        "any_contains": lambda want: any(want in text for text in question.all_text),
        "has_tool_result": lambda want: question.has_tool_result == want,
        "system_contains": lambda want: want in question.system,
        "model": lambda want: question.model == want,
    }
    return all(tests[name](want) for name, want in when.items())


def fault_kind(fault):
    return next((kind for kind in FAULTS if kind in fault), None)


def fault_position(kind, fault, events):
    """After how many of the counted events the fault happens, or None."""
    counted = [event for event in events if not event.extra]
    total = len(counted)
    if kind in ("cut_after_events", "stall_after_events"):
        return min(fault[kind], total)
    if kind in ("error_event", "bad_event_json", "huge_line"):
        # In a default reply the third event is the first delta: the most instructive to break.
        return min(fault.get("after_events", 2), total - 1)
    if kind == "missing_stop":
        return next(index for index, event in enumerate(counted) if event.ends)
    return None


def sse(event, wire, data=None):
    """The bytes of one event, ending with its empty line."""
    lines = [f"event: {event.name}"] if event.name else []
    data = data or (event.data if isinstance(event.data, str)
                    else to_json(event.data, wire.get("ascii")))
    lines.append(f"data: {data}")
    if wire.get("no_space"):
        lines = [line.replace(": ", ":", 1) for line in lines]
    if wire.get("comments"):
        lines = [": comment before an event", ":"] + lines[:1] + [": inside: one"] + lines[1:]
    end = "\r\n" if wire.get("crlf") else "\r" if wire.get("cr") else "\n"
    return (end.join(lines) + end + end).encode("utf-8")
