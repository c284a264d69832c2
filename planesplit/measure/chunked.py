"""The body of a chunked HTTP/1.1 answer, taken apart without copying it (RFC 9112, 7.1)."""

from __future__ import annotations

MAX_LINE_BYTES = 16
CRLF = b"\r\n"


class ChunkedBody:
    """Feeds on what a socket gives, returns views of the payload in it."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the chunk that are still to come, its CRLF included
        self._line = b""  # beginning of a size line that is not all there
        self.ended = False

    def feed(self, data: memoryview) -> list[memoryview]:
        """Return the payload in `data`, as views of it.

        Raises:
            ValueError: this is no chunked body.
        """
        found: list[memoryview] = []
        at = 0
        while at < len(data):
            if not self._left:
                at = self._size_line(data, at)
                continue
            count = min(self._left, len(data) - at)
            payload = min(count, self._left - len(CRLF))
            if payload > 0:
                found.append(data[at : at + payload])
            self._left -= count
            at += count
        return found

    def _size_line(self, data: memoryview, at: int) -> int:
        """Read a chunk's size; returns where its payload begins."""
        if self.ended:
            raise ValueError("bytes after the last chunk")
        held = len(self._line)
        line = self._line + bytes(data[at : at + MAX_LINE_BYTES])
        end = line.find(CRLF)
        if end < 0:
            if len(line) >= MAX_LINE_BYTES:
                raise ValueError("a chunk does not begin with its size")
            self._line = line
            return len(data)
        self._line = b""
        size = int(line[:end], 16)
        self._left = size + len(CRLF)
        self.ended = size == 0
        return at + end + len(CRLF) - held
