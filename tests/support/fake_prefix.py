"""Byte-stable prefixes: what a conversation has sent once, it sends again in the same bytes.

Prompt caches match bytes from the start, so one changed byte in the front makes the whole history
cost its full price again, in every turn. A conversation is recognised by its first user message.
"""

import json
import re
import threading

CONTEXT = 60        # characters of both texts that a complaint shows
# Marks for the cache move from turn to turn and are no part of what is cached.
MARK = re.compile(r',"cache_control":\{[^{}]*\}|"cache_control":\{[^{}]*\},?')
RENDERED = ("tools", "system", "instructions")      # the service puts them in front of the messages


def span_of(text, wanted):
    """The (start, end) of a field's value in the text of a JSON object."""
    decoder, space = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")
    skip = lambda at: space.match(text, at).end()
    at = skip(skip(0) + 1)
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        start = skip(skip(at) + 1)
        _, end = decoder.raw_decode(text, start)
        if name == wanted:
            return start, end
        at = skip(end)
        at = skip(at + 1) if text[at] == "," else at
    return None


def prefix_of(text, field):
    """The body up to the end of the last message, without the brackets behind it and the marks."""
    _, end = span_of(text, field)
    return MARK.sub("", text[:end - 1].rstrip())


def difference(was, now):
    """Says where two texts part, or None when one begins with the other."""
    length = min(len(was), len(now))
    if was[:length] == now[:length]:
        return None
    at = next(index for index in range(length) if was[index] != now[index])
    begin = max(0, at - CONTEXT // 3)
    return (f"at character {at} it was `{was[begin:begin + CONTEXT]}` and is "
            f"`{now[begin:begin + CONTEXT]}`")


class Prefixes:
    """The last request of each conversation."""

    def __init__(self):
        self._lock, self._last = threading.Lock(), {}

    def check(self, request, field):
        """field: where the messages are. Returns a complaint, or None. Of this request and the one
        before, the shorter has to be the beginning of the longer: also a conversation that another
        process starts again with the same words begins with the same bytes."""
        items = request.body[field]
        first = items if isinstance(items, str) else next(
            (item.get("content") for item in items if item.get("role") == "user"), None)
        key = (request.path, MARK.sub("", json.dumps(first, separators=(",", ":"))))
        now = [prefix_of(request.body_text, field)] + [
            MARK.sub("", json.dumps(request.body.get(name), separators=(",", ":")))
            for name in RENDERED]
        with self._lock:
            was, self._last[key] = self._last.get(key), now
        for name, old, new in zip(("body",) + RENDERED, was or now, now):
            found = difference(old, new)
            if not found and name != "body" and old != new:
                found = "it has another end"
            if found:
                return f"fake: the prefix is not stable: in `{name}`, {found}"
        return None
