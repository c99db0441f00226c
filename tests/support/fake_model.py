"""Transport of the fake model servers: HTTP, wire shapes and faults.

Nothing here knows one provider's API. An API is an object with
    handle(request) -> dict          an ordinary JSON answer, or
                    -> Question      a model request: a rule of the scenario answers it
    compose(question, rule, wire) -> Answer
    error_body(refusal, request_id) -> dict
    messages_field(path) -> str      which field of the body has the messages
    error_type(status) -> str,  error_status(error_type) -> int
    request_id_header                name of the response header
    rule_fields, quirks              names that a scenario may use with this API alone
and it raises Refusal for everything that the real service would refuse.
fake_anthropic.py is the first one; its docstring has the scenario format.
"""

import argparse
import http.server
import itertools
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from urllib.parse import urlsplit

from fake_body import BodyWriter, ClientGone, encoded, headers_of
from fake_prefix import Prefixes
from fake_scenario import (Log, Question, Refusal, Request, Scenario, fault_kind, fault_position,
                           make_id, sse, strict_json, to_json)

MAX_BODY = 32 * 1024 * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection, in its own thread; one request after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True      # otherwise small writes are joined

    def setup(self):
        super().setup()
        self.connection_id = next(self.server.connection_ids)
        self.n = None

    # ---- bytes ----

    def send(self, data):
        try:
            self.connection.sendall(data)
        except OSError:
            raise ClientGone() from None

    def pause(self, seconds):
        """Sleeps, but no longer than the client stays."""
        if seconds > 0:
            poller = select.poll()
            poller.register(self.connection, select.POLLRDHUP)      # HUP and ERR come unasked
            if poller.poll(seconds * 1000):
                raise ClientGone()

    def send_head(self, status, content_type, length=None, headers=None):
        """Sends the status line and headers; without a length the body is chunked."""
        self.send_response(status)
        fields = {"content-type": content_type, self.server.api.request_id_header: self.request_id}
        if length is None:
            fields |= {"transfer-encoding": "chunked", "cache-control": "no-cache"}
        else:
            fields["content-length"] = str(length)
        if self.close_connection:
            fields["connection"] = "close"
        for name, value in (fields | (headers or {})).items():
            self.send_header(name, str(value))
        try:
            self.end_headers()
        except OSError:
            raise ClientGone() from None

    def send_whole(self, status, body, content_type="application/json", headers=None):
        body = body.encode("utf-8")
        self.send_head(status, content_type, len(body), headers)
        self.send(body)

    def send_problem(self, refusal):
        body = self.server.api.error_body(refusal, self.request_id)
        self.send_whole(refusal.status, to_json(body), headers=refusal.headers)

    def cut(self, reset=False):
        """Closes the connection in the middle of things: FIN, or RST if `reset`."""
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Close the descriptor itself: the base class would send a FIN before the RST.
            os.close(self.connection.detach())

    # ---- one request ----

    def answer_request(self):
        server, log = self.server, self.server.log
        self.n, self.request_id = next(server.request_ids), make_id("req_")
        complete = gone = False
        try:
            complete = self.dispatch(self.read_request())
        except Refusal as refusal:
            complete = self.send_refusal(refusal)
            gone = not complete
        except ClientGone:
            gone = True
        if gone:
            self.close_connection = True
        log.write(kind="end", n=self.n, t=time.monotonic(), complete=complete, client_gone=gone)

    def send_refusal(self, refusal):
        """Returns whether the client took it."""
        self.server.log.write(kind="rejected", n=self.n, t=time.monotonic(),
                              status=refusal.status, message=refusal.message)
        try:
            self.send_problem(refusal)
        except ClientGone:
            return False
        return True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer_request

    def read_request(self):
        headers = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        raw, whole, too_large = self.read_body()
        request = Request(self.command, urlsplit(self.path).path, headers,
                          body_text=raw.decode("utf-8", errors="replace"))
        if raw or self.command == "POST":
            try:
                request.body = strict_json(raw)
            except ValueError as error:
                request.body_error = str(error)
        self.server.log.write(
            kind="request", n=self.n, t=time.monotonic(), method=self.command, path=self.path,
            headers=self.loggable(headers), body=request.body, body_text=request.body_text,
            connection=self.connection_id)
        if too_large:
            self.close_connection = True
            raise Refusal(413, self.server.api.error_type(413),
                          "Request exceeds the maximum allowed number of bytes.")
        if not whole:
            raise ClientGone()
        return request

    def read_body(self):
        """Returns (bytes, whether all came, whether it is too large to be read)."""
        if "chunked" not in self.headers.get("transfer-encoding", "").lower():
            length = int(self.headers.get("content-length") or 0)
            if length > MAX_BODY:
                return b"", False, True
            raw = self.rfile.read(length)
            return raw, len(raw) == length, False
        raw = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
            raw += self.rfile.read(size)
            ending = self.rfile.readline()
            if size == 0 or not ending or len(raw) > MAX_BODY:
                return raw, size == 0, len(raw) > MAX_BODY

    def loggable(self, headers):
        """Headers as one string each, without any key: a wrong one may be somebody's real key."""
        key, shown = self.server.scenario.api_key, {}
        for name, values in headers.items():
            shown[name] = ", ".join(values).replace(key, "<key>")
            if name == "x-api-key" and shown[name] != "<key>":
                shown[name] = "<other key>"
            elif name == "authorization" and shown[name] != "Bearer <key>":
                shown[name] = "<other authorization>"
        return shown

    def dispatch(self, request):
        """Answers a request; returns whether the response was written to its proper end."""
        api, log = self.server.api, self.server.log
        page = self.server.scenario.pages.get(f"{request.method} {request.path}")
        if page is not None:
            self.send_whole(200, to_json(page))
            return True
        result = self.guard(api.handle, request)
        if not isinstance(result, Question):
            self.send_whole(200, to_json(result))
            return True
        if self.server.scenario.stable_prefix:
            self.check_prefix(request)
        turn, index, rule = self.server.scenario.pick(result)
        if rule is None:
            raise self.mistake("no rule matches")
        wire, fault = rule.get("wire") or {}, rule.get("fault") or {}
        if wire.get("gzip") and "gzip" not in (request.header("accept-encoding") or ""):
            raise self.mistake("wire.gzip, but the client's accept-encoding has no gzip")
        kind = fault_kind(fault)
        log.write(kind="reply", n=self.n, t=time.monotonic(), rule=index, turn=turn, fault=kind)
        if kind == "stall_after_events" and fault[kind] < 0:
            self.pause(fault.get("seconds", 3600))
            kind = None
        if kind == "status":
            self.send_status_fault(fault)
            return True
        if kind == "not_json":
            self.send_whole(200, fault["not_json"], "text/html; charset=utf-8")
            return True
        answer = self.guard(api.compose, result, rule, wire)
        send = self.send_stream if result.stream else self.send_message
        return send(answer, wire, fault, kind)

    def guard(self, function, *arguments):
        """Runs code of the API. A bug of the fake is an answer, too: a hang-up would look like a
        fault that a test asked for."""
        try:
            return function(*arguments)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            traceback.print_exc()
            raise self.mistake(f"bug in {function.__name__}: {error!r}") from None

    def mistake(self, message):
        """What the test did wrong, or we did: no client should try that again."""
        return Refusal(500, self.server.api.error_type(500), "fake: " + message,
                       {"x-should-retry": "false"})

    def check_prefix(self, request):
        api, server = self.server.api, self.server
        complaint = self.guard(server.prefixes.check, request, api.messages_field(request.path))
        if complaint and server.scenario.stable_prefix == "log":
            server.log.write(kind="unstable", n=self.n, t=time.monotonic(), message=complaint)
        elif complaint:
            raise Refusal(400, api.error_type(400), complaint)

    def send_status_fault(self, fault):
        status, headers = fault["status"], fault.get("headers") or {}
        if "body" in fault:
            self.send_whole(status, fault["body"], fault.get("content_type", "text/html"), headers)
        else:
            error_type = fault.get("error_type") or self.server.api.error_type(status)
            self.send_problem(Refusal(status, error_type,
                                      fault.get("message", f"fake: {error_type}"), headers))

    def send_message(self, answer, wire, fault, kind):
        """The reply to a request without `stream`. Faults hit the middle of the one body."""
        if kind == "error_event":
            error_type = fault[kind]
            self.send_problem(Refusal(self.server.api.error_status(error_type), error_type,
                                      fault.get("message", f"fake: {error_type}")))
            return True
        body = encoded(to_json(answer.message, wire.get("ascii")).encode("utf-8"), wire)
        half = body[:len(body) // 2]
        if kind in ("missing_stop", "bad_event_json"):
            body = half
        self.send_head(200, wire.get("content_type", "application/json"), len(body),
                       headers_of(wire))
        self.pause(wire.get("first_delay", 0))
        out = BodyWriter(self, wire, framed=False)
        if kind in ("cut_after_events", "stall_after_events"):
            out.add(half)
            out.flush()
            body = body[len(half):]
        if kind == "cut_after_events":
            self.cut(fault.get("reset"))
            return False
        if kind == "stall_after_events":
            self.pause(fault.get("seconds", 3600))
        if kind in (None, "stall_after_events"):
            answer.remember()
        out.add(body)
        out.finish()
        return True

    def send_stream(self, answer, wire, fault, kind):
        at = fault_position(kind, fault, answer.events)
        self.send_head(200, wire.get("content_type", "text/event-stream; charset=utf-8"),
                       headers=headers_of(wire))
        self.pause(wire.get("first_delay", 0))
        out, done, remembered = BodyWriter(self, wire, framed=True), 0, False
        for sent, event in enumerate(answer.events + [None]):
            data = None
            if done == at:
                at = None
                out.flush()
                if kind == "cut_after_events":
                    self.cut(fault.get("reset"))
                    return False
                if kind == "missing_stop":
                    break
                if kind == "error_event":
                    error_type = fault[kind]
                    message = fault.get("message", f"fake: {error_type}")
                    out.add(sse(answer.error_event(error_type, message, sent), wire))
                    break
                if kind == "stall_after_events":
                    self.pause(fault.get("seconds", 3600))
                elif kind == "huge_line":
                    self.send_huge_line(out, fault[kind])
                elif event.extra:
                    at = done       # bad_event_json: break a real event, not a ping
                else:
                    data = to_json(event.data)[:-3]
            if event is None:
                break
            if done:
                self.pause_between_events(out, wire)
            done += not event.extra
            if event.ends and not remembered and data is None:
                remembered = True
                answer.remember()
            out.add(sse(event, wire, data))
        out.finish()
        return True

    @staticmethod
    def send_huge_line(out, size):
        """An event that everybody skips, in one line of `size` bytes. It never is in memory."""
        begin, end = b'data: {"type":"ping","fake":"', b'"}'
        out.add(begin)
        left = size - len(begin) - len(end)
        while left > 0:
            out.add(b"x" * min(left, 65536))
            left -= 65536
        out.add(end + b"\n\n")

    def pause_between_events(self, out, wire):
        if wire.get("event_delay"):
            out.flush()
            self.pause(wire["event_delay"])

    # ---- what http.server would do differently ----

    def send_error(self, code, message=None, explain=None):
        """Called by the base class for what is not HTTP or an unknown method."""
        self.close_connection = True
        self.n, self.request_id = next(self.server.request_ids), make_id("req_")
        self.server.log.write(kind="rejected", n=self.n, t=time.monotonic(), status=code,
                              message=message or "not HTTP")
        self.send_problem(Refusal(code, self.server.api.error_type(code), message or "not HTTP"))

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, port, api, scenario, log):
        super().__init__(("127.0.0.1", port), Handler)
        self.api, self.scenario, self.log, self.prefixes = api, scenario, log, Prefixes()
        self.request_ids, self.connection_ids = itertools.count(1), itertools.count(1)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ClientGone)):
            super().handle_error(request, client_address)


def write_atomically(path, text):
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(text)
    os.replace(temporary, path)


def main(make_api):
    """Command line of a fake server. make_api: class of the API object, made from a Scenario."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenario", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file")
    parser.add_argument("--max-seconds", type=float, default=300)
    options = parser.parse_args()
    try:
        with open(options.scenario, "rb") as file:
            scenario = Scenario(strict_json(file.read()), make_api.rule_fields, make_api.quirks)
    except (OSError, ValueError) as error:
        parser.error(f"{options.scenario}: {error}")

    # No thread holds anything worth a clean end: the log is flushed line by line.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, options.max_seconds)

    server = Server(options.port, make_api(scenario), scenario, Log(options.log))
    port = server.server_address[1]
    if options.port_file:
        write_atomically(options.port_file, f"{port}\n")
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    server.serve_forever()
