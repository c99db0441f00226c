"""Reads agenthost's stream-json as a strict wrapper would: wrapper.py PROMPTS PROGRAM ARGUMENT...

PROMPTS is a JSON list; each is written to the program's standard input when the result of the one
before it has come. Prints what it has read as one JSON object. Anything that is not as it should be
is an AssertionError, with the line.
"""

import json
import re
import subprocess
import sys

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
INIT = {"type", "subtype", "cwd", "model", "tools", "mcp_servers", "permissionMode", "session_id",
        "uuid"}
RESULT = {"type": str, "subtype": str, "is_error": bool, "result": str, "num_turns": int,
          "duration_ms": int, "duration_api_ms": int, "permission_denials": list, "usage": dict,
          "modelUsage": dict, "session_id": str, "uuid": str, "total_cost_usd": (int, float, None),
          "stop_reason": (str, None)}


def parse(line):
    def pairs(items):
        found = dict(items)
        assert len(found) == len(items), "a key stands twice"
        return found

    assert line.endswith(b"\n"), "a line without its end"
    value = json.loads(line.decode("utf-8"), object_pairs_hook=pairs)
    assert isinstance(value, dict)
    return value


def is_a(value, wanted):
    kinds = wanted if isinstance(wanted, tuple) else (wanted,)
    return any(value is None if kind is None else
               isinstance(value, kind) and not (kind is int and isinstance(value, bool))
               for kind in kinds)


class Wrapper:
    def __init__(self):
        self.session, self.uuids, self.open_calls = None, set(), []
        self.results, self.messages, self.partial = [], [], None
        self.streamed = []  # texts of the replies that came whole as events

    def take(self, line):
        kind = line["type"]
        assert UUID.match(line["uuid"]) and line["uuid"] not in self.uuids
        self.uuids.add(line["uuid"])
        if self.session is None:
            assert kind == "system" and line["subtype"] == "init" and set(line) == INIT, line
            assert all(isinstance(name, str) for name in line["tools"])
            self.session = line["session_id"]
        else:
            assert line["session_id"] == self.session
            getattr(self, "take_" + kind)(line)

    def take_stream_event(self, line):
        assert line["parent_tool_use_id"] is None
        event = line["event"]
        kind = event["type"]
        if kind == "message_start":  # also behind a broken reply
            assert event["message"]["content"] == [] and event["message"]["role"] == "assistant"
            self.partial, self.block = [], None
        elif kind == "content_block_start":
            assert self.block is None and event["index"] == len(self.partial)
            self.block = dict(event["content_block"])
            self.partial.append(self.block)
        elif kind == "content_block_delta":
            assert self.block is not None and event["index"] == len(self.partial) - 1
            delta = dict(event["delta"])
            assert delta.pop("type") in ("text_delta", "thinking_delta", "input_json_delta")
            for field, piece in delta.items():
                self.block[field] = self.block.get(field, "") + piece
        elif kind == "content_block_stop":
            assert event["index"] == len(self.partial) - 1 and self.block is not None
            self.block = None
        elif kind == "message_delta":
            assert self.block is None and isinstance(event["delta"]["stop_reason"], str)
        else:
            assert kind == "message_stop", kind
            self.streamed.append("".join(block.get("text", "") for block in self.partial))
            self.partial = None

    def take_assistant(self, line):
        message = line["message"]
        assert self.partial is None, "a message before the end of its events"
        assert message["role"] == "assistant" and message["type"] == "message"
        assert isinstance(message["model"], str) and isinstance(message["usage"], dict)
        assert message["content"] and not self.open_calls
        self.open_calls = [block["id"] for block in message["content"]
                           if block["type"] == "tool_use"]
        self.messages.append(message)

    def take_user(self, line):
        message = line["message"]
        assert message["role"] == "user" and message["content"]
        for block in message["content"]:
            if block["type"] == "tool_result":
                self.open_calls.remove(block["tool_use_id"])
        assert not self.open_calls, "a call without a result"

    def take_result(self, line):
        assert set(line) <= set(RESULT), set(line) - set(RESULT)
        for field, wanted in RESULT.items():
            assert is_a(line.get(field), wanted), (field, line.get(field))
        assert line["is_error"] == (line["subtype"] != "success")
        self.results.append(line)


def user(prompt):
    message = {"type": "user", "message": {"role": "user", "content": prompt}}
    return json.dumps(message).encode() + b"\n"


def main():
    prompts, command = json.loads(sys.argv[1]), sys.argv[2:]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wrapper, line = Wrapper(), b""

    def go_on():
        if prompts:
            program.stdin.write(user(prompts.pop(0)))
            program.stdin.flush()
        else:
            program.stdin.close()

    go_on()
    try:
        for line in program.stdout:
            before = len(wrapper.results)
            wrapper.take(parse(line))
            if len(wrapper.results) > before:
                go_on()
    except Exception:
        print("at the line", line, file=sys.stderr)
        program.kill()
        raise
    code = program.wait()
    assert (code != 0) == any(result["is_error"] for result in wrapper.results), code
    print(json.dumps({"code": code, "streamed": wrapper.streamed,
                      "results": [[one["subtype"], one["result"], one["num_turns"]]
                                  for one in wrapper.results],
                      "replies": [one["stop_reason"] for one in wrapper.messages],
                      "denials": sum(len(one["permission_denials"])
                                     for one in wrapper.results)}))


main()
