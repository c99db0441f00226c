"""What the tests of the fakes share: one as a child process, and an HTTP client for it."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class Response:
    def __init__(self, reply):
        self.status, self.headers = reply.status, reply.headers
        self.broken = None
        try:
            self.raw = reply.read()
        except (http.client.IncompleteRead, ConnectionResetError) as error:
            self.broken, self.raw = error, getattr(error, "partial", b"")

    @property
    def json(self):
        return json.loads(self.raw)

    @property
    def data(self):
        """The `data` of each event of the SSE body, leniently parsed; "[DONE]" stays a string."""
        return [value if value == "[DONE]" else json.loads(value) for _, value in self.fields]

    @property
    def fields(self):
        """(event name or None, data text) of each event."""
        found = []
        for part in self.raw.decode().replace("\r\n", "\n").split("\n\n"):
            lines = [line.split(":", 1) for line in part.split("\n") if ":" in line]
            fields = {name: value.removeprefix(" ") for name, value in lines if name}
            if "data" in fields:
                found.append((fields.get("event"), fields["data"]))
        return found


class FakeCase(unittest.TestCase):
    """A subclass says which fake, and how it is asked."""

    program, path, id_header = None, None, None
    headers = {"content-type": "application/json"}
    response_class = Response

    def start(self, *rules, **scenario):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        paths = {name: os.path.join(folder.name, name) for name in ("scenario", "log", "port")}
        with open(paths["scenario"], "w", encoding="utf-8") as file:
            json.dump({"rules": list(rules)} | scenario, file, ensure_ascii=False)
        self.log_path = paths["log"]
        self.server = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, self.program), "--scenario",
             paths["scenario"], "--log", paths["log"], "--port-file", paths["port"],
             "--max-seconds", "60"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop, self.server)
        line = self.server.stdout.readline()
        self.assertRegex(line, r"^listening on http://127\.0\.0\.1:\d+\n$")
        self.port = int(line.rsplit(":", 1)[1])
        with open(paths["port"], encoding="ascii") as file:
            self.assertEqual(int(file.read()), self.port)
        self.connection = self.connect()

    def stop(self, server):
        server.terminate()
        self.assertEqual(server.wait(5), 0)
        server.stdout.close()

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        self.addCleanup(connection.close)
        return connection

    def send(self, body=None, method="POST", path=None, headers=None, connection=None):
        """One request on the kept-alive connection. body: an object, or raw bytes."""
        raw = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection = connection or self.connection
        connection.request(method, path or self.path, raw,
                           self.headers if headers is None else headers)
        response = self.response_class(connection.getresponse())
        self.assertRegex(response.headers[self.id_header], "^req_[a-zA-Z0-9]{24}$")
        if response.broken:
            connection.close()
        return response

    def accepted(self, body):
        response = self.send(body)
        self.assertEqual(response.status, 200, response.raw)
        return response

    def read_chunks(self, body, **headers):
        """The head of a raw response, and its chunks as the server framed them."""
        raw = json.dumps(body).encode()
        fields = self.headers | {"host": "x", "connection": "close",
                                 "content-length": len(raw)} | headers
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        connection = socket.create_connection(("127.0.0.1", self.port), 5)
        connection.sendall(f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + raw)
        with connection, connection.makefile("rb") as file:
            head, chunks = b"", []
            while (line := file.readline()) not in (b"\r\n", b""):
                head += line.lower()
            while size := int(file.readline(), 16):
                chunks.append(file.read(size))
                self.assertEqual(file.read(2), b"\r\n")
            self.assertEqual(file.read(), b"\r\n")
        return head, chunks

    def log(self, kind=None, until=None):
        """Log entries; waits until `until(entries)` holds, because the server writes after us."""
        deadline = time.monotonic() + 5
        while True:
            with open(self.log_path, encoding="utf-8") as file:
                entries = [json.loads(line) for line in file if line.endswith("\n")]
            if kind:
                entries = [entry for entry in entries if entry["kind"] == kind]
            if until is None or until(entries):
                return entries
            self.assertLess(time.monotonic(), deadline, entries)
            time.sleep(0.01)
