"""Our reading of HTTP beside h11's: never laxer, and stricter just where it is listed."""

from __future__ import annotations

from typing import Any

import h11
from fuzz_mutate import mutated
from fuzz_targets import TARGETS
from hypothesis import given, settings

from relay.http_head import BadRequest, parse_head
from tunnel.http.guard import CONNECT, STORE, Dialect, HttpGuard

EXAMPLES = 1_000
HOST = b"POST /a HTTP/1.1\r\nHost: a\r\n"

# h11 takes them, the relay's edge and the guards refuse them.
STRICTER = {
    "bare lf ends lines": b"GET / HTTP/1.1\nHost: a\n\n",
    "obs-fold": HOST + b"X: 1\r\n 2\r\n\r\n",
    "folded transfer-encoding": HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
    "cl and te": HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two equal lengths": HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a list of equal lengths": HOST + b"Content-Length: 5, 5\r\n\r\n",
    "absolute form": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority form": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "http 1.0": b"GET / HTTP/1.0\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
    "h2c upgrade": HOST + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "h2c settings": HOST + b"HTTP2-Settings: AAMAAABk\r\n\r\n",
    "two tokens": HOST + b"Authorization: a\r\nAuthorization: b\r\n\r\n",
}


def by_h11(data: bytes) -> list[tuple[bytes, bytes, bytes]] | None:
    """Method, target and body of each whole request; None if h11 refuses one."""
    connection, found = h11.Connection(h11.SERVER, max_incomplete_event_size=32_768), []
    connection.receive_data(data)
    body, request = b"", None
    try:
        while True:
            event: Any = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                found.append((request.method, request.target, body))
                connection.send(h11.Response(status_code=400, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return found
                connection.start_next_cycle()
            else:
                return found
    except h11.RemoteProtocolError:
        return None


def refused_by_us(data: bytes) -> bool:
    """Whether the relay's edge and both guards refuse a head."""
    try:
        parse_head(bytearray(data), max_headers=64)
    except BadRequest:
        guards = [HttpGuard(CONNECT), HttpGuard(STORE)]
        return all(guard.feed(data) == b"" and guard.refused for guard in guards)
    return False


def test_where_we_are_stricter() -> None:
    assert {name for name, data in STRICTER.items() if by_h11(data) is None} == set()
    assert {name for name, data in STRICTER.items() if not refused_by_us(data)} == set()


@settings(max_examples=EXAMPLES)
@given(mutated(TARGETS["guard, stores"]))
def test_h11_takes_whatever_a_guard_passes(data: bytes) -> None:
    check_guard(data, STORE)
    check_guard(data, CONNECT)


def check_guard(data: bytes, dialect: Dialect) -> None:
    """What a guard passes is read by h11 without complaint, and ends where the guard thinks."""
    guard = HttpGuard(dialect)
    passed = guard.feed(data)
    read = by_h11(passed)
    assert read is not None
    for method, target, _ in read:
        assert method in dialect.methods
        assert target.startswith(b"/")


@settings(max_examples=EXAMPLES)
@given(mutated(TARGETS["http head"]))
def test_a_head_that_we_take_means_the_same_to_h11(data: bytes) -> None:
    head = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        request = parse_head(bytearray(head), max_headers=64)
    except BadRequest:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    theirs = connection.next_event()
    assert isinstance(theirs, h11.Request)
    assert (theirs.method.decode(), theirs.target.decode()) == (request.method, request.target)
    names = dict(theirs.headers)
    assert (b"transfer-encoding" in names) == (request.length is None)
    if request.length is not None:
        assert int(names.get(b"content-length", b"0")) == request.length
