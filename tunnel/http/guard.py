"""Strict HTTP/1.1 request framing, checked before a lenient parser sees a byte.

h11 inside anycorn accepts CL+TE, folded headers, bare LF, absolute-form targets and upgrades
(measured): each is a request that two parsers may read differently (RFC 9112, 11.2). This guard
reads framing only, passes bytes on unchanged, and refuses everything but one narrow dialect.
It does no I/O.
"""

from __future__ import annotations

import re

MAX_HEAD_BYTES = 16_384  # what h11 allows for a head; a bearer token is well under 4 KiB
MAX_BODY_BYTES = 8 * 1024 * 1024  # twice what the Connect application reads of one message
_MAX_CHUNK_LINE_BYTES = 10  # eight hex digits and CRLF

_REQUEST_LINE = re.compile(rb"(?:GET|POST) (/[\x21-\x7e]{0,4095}) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,8}\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_DIGITS = re.compile(rb"[0-9]{1,10}")


class _Ambiguous(Exception):
    """The bytes are not the dialect that is spoken here."""


class HttpGuard:
    """Follows one connection's requests.

    `feed` returns the bytes that may be handed to the parser: heads only when they are complete
    and clean, bodies as they come. Once `refused`, nothing more of the connection may be used.
    """

    def __init__(
        self, *, max_head_bytes: int = MAX_HEAD_BYTES, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._max_head_bytes, self._max_body_bytes = max_head_bytes, max_body_bytes
        self.refused = False
        self._pending = bytearray()
        self._seen = 0  # bytes of an incomplete head that have been looked at
        self._body_left = 0  # bytes of a body or a chunk that pass unread
        self._chunked = False
        self._chunk_ends = False  # a chunk's CRLF is due
        self._body_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take received bytes and return those that are safe to parse."""
        self._pending += data
        passed = bytearray()
        try:
            while self._pending and not self.refused and (step := self._step()):
                passed += step
        except _Ambiguous:
            self.refused = True
        return bytes(passed)

    def _step(self) -> bytes:
        """Return the next bytes to pass, or none if more must be received first."""
        if self._body_left:
            return self._take(min(self._body_left, len(self._pending)))
        if self._chunk_ends:
            return self._chunk_end()
        return self._chunk_line() if self._chunked else self._head()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        self._body_left -= min(self._body_left, size)
        return taken

    def _head(self) -> bytes:
        seen, self._seen = self._seen, len(self._pending)
        end = self._pending.find(b"\r\n\r\n", max(0, seen - 3))
        size = end + 4 if end >= 0 else len(self._pending)
        if size > self._max_head_bytes:
            raise _Ambiguous
        if end < 0:
            self._check_partial(max(0, seen - 1))
            return b""
        self._seen = 0
        lines = bytes(self._pending[:end]).split(b"\r\n")
        head = self._take(size)
        if not _REQUEST_LINE.fullmatch(lines[0]):
            raise _Ambiguous
        self._begin_body(_fields(lines[1:]))
        return head

    def _check_partial(self, start: int) -> None:
        """Refuse early what can no longer become a head: a foreign method, bare LF from `start`."""
        first = bytes(self._pending[:6])
        if not (b"POST /".startswith(first) or b"GET /".startswith(first[:5])):
            raise _Ambiguous
        if _BARE_LF.search(self._pending, start):
            raise _Ambiguous

    def _begin_body(self, fields: dict[bytes, bytes]) -> None:
        length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if b"upgrade" in fields or b"http2-settings" in fields or b"host" not in fields:
            raise _Ambiguous
        if coding is not None:
            if length is not None or coding.lower() != b"chunked":
                raise _Ambiguous
            self._chunked, self._body_bytes = True, 0
        elif length is not None:
            if not _DIGITS.fullmatch(length) or int(length) > self._max_body_bytes:
                raise _Ambiguous
            self._body_left = int(length)

    def _chunk_line(self) -> bytes:
        end = self._pending.find(b"\n")
        if end < 0:
            if len(self._pending) >= _MAX_CHUNK_LINE_BYTES:
                raise _Ambiguous
            return b""
        line = bytes(self._pending[: end + 1])
        if not _CHUNK_LINE.fullmatch(line):  # no extensions
            raise _Ambiguous
        size = int(line, 16)
        self._body_bytes += size
        if self._body_bytes > self._max_body_bytes:
            raise _Ambiguous
        taken = self._take(len(line))
        self._body_left, self._chunked, self._chunk_ends = size, size > 0, True
        return taken

    def _chunk_end(self) -> bytes:
        """Pass the CRLF after a chunk; after the last one it also says that no trailers follow."""
        if not b"\r\n".startswith(bytes(self._pending[:2])):
            raise _Ambiguous
        if len(self._pending) < 2:
            return b""
        self._chunk_ends = False
        return self._take(2)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Read header fields; one of each that frames or routes, and no folding (RFC 9112, 5.2)."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise _Ambiguous
        name = match[1].lower()
        if name in fields and name in _SINGLE:
            raise _Ambiguous
        fields[name] = match[2].strip(b" \t")
    return fields


_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization"})
