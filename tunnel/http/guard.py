"""Strict HTTP/1.1 request framing, checked before a lenient parser sees a byte.

h11 inside anycorn accepts CL+TE, folded headers, bare LF, absolute-form targets and upgrades
(measured), and `websockets` much of that: each is a request that two parsers may read differently
(RFC 9112, 11.2). This guard reads framing only, passes bytes on unchanged, and refuses everything
but one narrow dialect. It does no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD_BYTES = 16_384  # what h11 allows for a head; a bearer token is well under 4 KiB
MAX_HEADERS = 100  # real clients send 10 to 30
MAX_BODY_BYTES = 8 * 1024 * 1024  # twice what the Connect application reads of one message
ANY_BODY_BYTES = 1 << 40  # an application that bounds bodies itself; 1 TiB is no limit but a number
_MAX_CHUNK_LINE_BYTES = 10  # eight hex digits and CRLF

CONNECT_METHODS = (b"GET", b"POST")
STORE_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]{0,4095}) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,8}\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization"})


class Ambiguous(Exception):
    """The bytes are not the dialect that is spoken here."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a listener's guard lets pass.

    Args:
        methods: known ones.
        max_head_bytes: of a request line and its headers, the empty line included.
        max_body_bytes: of one request, as it is framed.
        upgrades: whether a head may ask for another protocol.
    """

    methods: tuple[bytes, ...] = CONNECT_METHODS
    max_head_bytes: int = MAX_HEAD_BYTES
    max_body_bytes: int = MAX_BODY_BYTES
    upgrades: bool = False


CONNECT = Dialect()
STORE = Dialect(STORE_METHODS, max_body_bytes=ANY_BODY_BYTES)


def check_partial(data: bytes | bytearray, start: int, dialect: Dialect) -> None:
    """Refuse early what can no longer become a head: a foreign method, bare LF from `start` on.

    Raises:
        Ambiguous: it cannot.
    """
    word = bytes(data[:18])
    if not any(line.startswith(word[: len(line)]) for line in _openings(dialect)):
        raise Ambiguous
    if _BARE_LF.search(data, start):
        raise Ambiguous


def read_head(data: bytes, dialect: Dialect) -> dict[bytes, bytes]:
    """Check a whole head, without the empty line; return its fields by lower-case name.

    Of a field that is repeated, which those that frame or route may not be, the last one counts.

    Raises:
        Ambiguous: two parsers could read it differently, or it is none of the dialect's.
    """
    line, *rest = data.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None or match[1] not in dialect.methods or len(rest) > MAX_HEADERS:
        raise Ambiguous
    fields = _fields(rest)
    if b"host" not in fields:
        raise Ambiguous
    if not dialect.upgrades and (b"upgrade" in fields or b"http2-settings" in fields):
        raise Ambiguous
    return fields


class HttpGuard:
    """Follows one connection's requests.

    `feed` returns the bytes that may be handed to the parser: heads only when they are complete
    and clean, bodies as they come. Once `refused`, nothing more of the connection may be used.

    Args:
        dialect: what passes.
    """

    def __init__(self, dialect: Dialect = CONNECT) -> None:
        self._dialect = dialect
        self.refused = False
        self._pending = bytearray()
        self._seen = 0  # bytes of an incomplete head that have been looked at
        self._body_left = 0  # bytes of a body or a chunk that pass unread
        self._chunked = False
        self._chunk_ends = False  # a chunk's CRLF is due
        self._body_bytes = 0

    @property
    def in_body(self) -> bool:
        """Whether the rest of a request's body is due."""
        return bool(self._body_left or self._chunked or self._chunk_ends)

    def feed(self, data: bytes) -> bytes:
        """Take received bytes and return those that are safe to parse."""
        if len(data) <= self._body_left and not (self._pending or self.refused):
            self._body_left -= len(data)  # the long way would copy an upload three times
            return data
        self._pending += data
        passed = bytearray()
        try:
            while self._pending and not self.refused and (step := self._step()):
                passed += step
        except Ambiguous:
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
        if size > self._dialect.max_head_bytes:
            raise Ambiguous
        if end < 0:
            check_partial(self._pending, max(0, seen - 1), self._dialect)
            return b""
        self._seen = 0
        fields = read_head(bytes(self._pending[:end]), self._dialect)
        head = self._take(size)
        self._begin_body(fields)
        return head

    def _begin_body(self, fields: dict[bytes, bytes]) -> None:
        length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if coding is not None:
            if length is not None or coding.lower() != b"chunked":
                raise Ambiguous
            self._chunked, self._body_bytes = True, 0
        elif length is not None:
            if not _DIGITS.fullmatch(length) or int(length) > self._dialect.max_body_bytes:
                raise Ambiguous
            self._body_left = int(length)

    def _chunk_line(self) -> bytes:
        end = self._pending.find(b"\n")
        if end < 0:
            if len(self._pending) >= _MAX_CHUNK_LINE_BYTES:
                raise Ambiguous
            return b""
        line = bytes(self._pending[: end + 1])
        if not _CHUNK_LINE.fullmatch(line):  # no extensions
            raise Ambiguous
        size = int(line, 16)
        self._body_bytes += size
        if self._body_bytes > self._dialect.max_body_bytes:
            raise Ambiguous
        taken = self._take(len(line))
        self._body_left, self._chunked, self._chunk_ends = size, size > 0, True
        return taken

    def _chunk_end(self) -> bytes:
        """Pass the CRLF after a chunk; after the last one it also says that no trailers follow."""
        if not b"\r\n".startswith(bytes(self._pending[:2])):
            raise Ambiguous
        if len(self._pending) < 2:
            return b""
        self._chunk_ends = False
        return self._take(2)


def _openings(dialect: Dialect) -> tuple[bytes, ...]:
    return tuple(method + b" /" for method in dialect.methods)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Read header fields; one of each that frames or routes, and no folding (RFC 9112, 5.2)."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Ambiguous
        name = match[1].lower()
        if name in fields and name in _SINGLE:
            raise Ambiguous
        fields[name] = match[2].strip(b" \t")
    return fields
