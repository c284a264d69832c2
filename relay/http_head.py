"""Strict reading of HTTP/1.1 heads: h11 parses, a guard refuses what h11 lets pass. No I/O.

h11 accepts CL with TE, bare LF, obs-fold and absolute-form (measured); each lets two parsers in a
row disagree about where a request ends (RFC 9112, 11.2), so each is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import h11

from relay.metrics import Reason
from tunnel.exchange import Headers
from tunnel.payload import Buffer
from tunnel.wipe import wipe_all

END_OF_HEAD = b"\r\n\r\n"
MAX_TARGET_BYTES = 2_048
MAX_CHUNK_LINE_BYTES = 10

_LONE_BREAK = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_SINGLE = (b"content-length", b"transfer-encoding", b"host", b"authorization", b"content-type")


class BadRequest(Exception):
    """What the peer sent is not the HTTP we speak; answered with `status`, then the end.

    Args:
        status: HTTP status.
        reason: the counter that it raises.
        message: our own words, never the peer's.
    """

    def __init__(self, status: int, reason: Reason, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message
        super().__init__(message)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request's head: method, target, lower-case headers, how its body is framed.

    Args:
        length: bytes of body, or None when it is chunked.
        close: whether the peer wants the connection closed afterwards.
        expects_continue: whether the peer waits for 100 Continue before the body.
    """

    method: str
    target: str
    headers: Headers
    length: int | None
    close: bool
    expects_continue: bool

    def get(self, name: str, default: str = "") -> str:
        """Return a header's value by lower-case name."""
        return next((v for n, v in self.headers if n == name), default)


def check_start(data: Buffer, seen: int = 0) -> None:
    """Refuse early what cannot become a head, so that garbage needn't wait for a deadline.

    Args:
        data: what has arrived.
        seen: bytes of it that were looked at before; a head that drips is not read again and again.

    Raises:
        BadRequest: another protocol, or a line break that is not CRLF.
    """
    if data and not 0x41 <= data[0] <= 0x5A:
        raise BadRequest(400, Reason.MALFORMED, "this is not an HTTP/1.1 request")
    if _LONE_BREAK.search(data, max(0, seen - 1)):
        raise BadRequest(400, Reason.SMUGGLING, "lines end in CRLF only")


def parse_head(data: bytes | bytearray, *, max_headers: int) -> Request:
    """Parse a complete head, CRLF CRLF included.

    Raises:
        BadRequest: malformed, ambiguous, or not HTTP/1.1 in origin form.
    """
    check_start(data)
    lines = data.split(b"\r\n")
    try:
        _check_lines(lines[1:-2], max_headers)
    finally:
        wipe_all(lines)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data))
    try:
        connection.receive_data(data)  # type: ignore[arg-type]  # it takes any buffer
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        status = error.error_status_hint
        raise BadRequest(status, Reason.MALFORMED, "the request head is malformed") from None
    if not isinstance(event, h11.Request):
        raise BadRequest(400, Reason.MALFORMED, "the request head is malformed")
    return _checked(event)


def _check_lines(lines: Sequence[bytes | bytearray], max_headers: int) -> None:
    if len(lines) > max_headers:
        raise BadRequest(431, Reason.HEAD_TOO_LARGE, f"at most {max_headers} headers are accepted")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise BadRequest(400, Reason.SMUGGLING, "folded header lines are not accepted")
    names = [line.partition(b":")[0].lower() for line in lines]
    if any(names.count(name) > 1 for name in _SINGLE):
        raise BadRequest(400, Reason.SMUGGLING, "a header that must be single is repeated")
    if b"content-length" in names and b"transfer-encoding" in names:
        raise BadRequest(400, Reason.SMUGGLING, "Content-Length with Transfer-Encoding")
    if any(names[i] == b"content-length" and b"," in line for i, line in enumerate(lines)):
        raise BadRequest(400, Reason.SMUGGLING, "Content-Length is not a plain number")


def _checked(event: h11.Request) -> Request:
    headers = tuple((n.decode("ascii"), v.decode("latin-1")) for n, v in event.headers)
    found = dict(headers)
    options = {part.strip().lower() for part in found.get("connection", "").split(",")}
    if event.http_version != b"1.1":
        raise BadRequest(505, Reason.VERSION, "only HTTP/1.1 is spoken here")
    if event.method == b"HEAD":  # its answer has no body, and those here have one
        raise BadRequest(405, Reason.METHOD, "HEAD is not served here")
    if "upgrade" in found or "upgrade" in options or "http2-settings" in found:
        raise BadRequest(400, Reason.UPGRADE, "no protocol upgrade is offered here")
    target = event.target.decode("ascii")
    if len(target) > MAX_TARGET_BYTES or not _TARGET.fullmatch(target):
        raise BadRequest(400, Reason.TARGET, "the target must be a path in origin form")
    expect = found.get("expect", "").lower()
    if expect not in ("", "100-continue"):
        raise BadRequest(417, Reason.MALFORMED, "that expectation cannot be met")
    return Request(
        method=event.method.decode("ascii"),
        target=target,
        headers=headers,
        length=_length(found),
        close="close" in options,
        expects_continue=bool(expect),
    )


def _length(found: dict[str, str]) -> int | None:
    if "transfer-encoding" in found:  # h11 has refused all but `chunked`
        return None
    value = found.get("content-length", "0")
    if not value.isdigit() or len(value) > 18:
        raise BadRequest(400, Reason.SMUGGLING, "Content-Length is not a plain number")
    return int(value)


def chunk_size(line: bytes | bytearray) -> int:
    """Return the size that a chunk's first line, without its CRLF, announces.

    Raises:
        BadRequest: anything but 1 to 8 hexadecimal digits; extensions are not accepted.
    """
    if not _CHUNK_LINE.fullmatch(line):
        raise BadRequest(400, Reason.SMUGGLING, "a chunk begins with its size alone")
    return int(line, 16)
