"""How the bytes of a response go out: cut into writes, compressed, or both."""

import gzip
import re
import zlib

# Where wire.split cuts: behind the first byte of a character, inside `data:`, inside \r\n, and
# between the two line ends of an event.
CUTS = re.compile(rb"(?<=[\xc2-\xf4])|(?<=da)(?=ta:)|(?<=\r)(?=\n)|(?<=\n)(?=\n)")
BOM = b"\xef\xbb\xbf"


class ClientGone(Exception):
    """The client closed the connection while it was owed something."""


def encoded(body, wire):
    """A whole body as it goes out."""
    return gzip.compress(body) if wire.get("gzip") else body


def headers_of(wire):
    """The response headers that a wire shape asks for."""
    return (wire.get("headers") or {}) | ({"content-encoding": "gzip"} if wire.get("gzip") else {})


class BodyWriter:
    """Cuts a body into TCP writes. In a stream each write is also one HTTP chunk: libraries hand
    chunks on one by one, so the parser under test sees our cuts even if the kernel joins writes."""

    def __init__(self, handler, wire, framed):
        """framed: a stream, which may be compressed here; what is not is `encoded` already"""
        self._handler, self._framed = handler, framed
        self._size, self._delay, self._split = wire.get("chunk"), wire.get("delay", 0), \
            wire.get("split")
        self._buffer, self._first = bytearray(), True
        self._gzip = zlib.compressobj(wbits=31) if framed and wire.get("gzip") else None
        if framed and wire.get("bom"):
            self.add(BOM)

    def add(self, data):
        """One event; compressed, it can be decompressed when it is there."""
        if self._gzip:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        for part in CUTS.split(data) if self._split else [data]:
            self._add(part)

    def flush(self):
        if self._buffer:
            self._write(len(self._buffer))

    def finish(self):
        if self._gzip:
            self._buffer += self._gzip.flush(zlib.Z_FINISH)
        self.flush()
        if self._framed:
            self._handler.send(b"0\r\n\r\n")

    def _add(self, data):
        self._buffer += data
        if not self._size:
            self.flush()
        while self._size and len(self._buffer) >= self._size:
            self._write(self._size)

    def _write(self, size):
        if not self._first:
            self._handler.pause(self._delay)
        self._first = False
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._handler.send(b"%x\r\n%b\r\n" % (size, part) if self._framed else part)
