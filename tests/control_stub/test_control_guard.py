"""The guard: what it passes, what it refuses, and that it does so however the bytes are split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.http.guard import MAX_HEAD_BYTES, HttpGuard

GET = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a.B/C HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n"
)
NEWLINES_IN_BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n\n\r\n\r\nGET / x"
GOOD = [GET, POST, CHUNKED, NEWLINES_IN_BODY]


def _head(*lines: bytes) -> bytes:
    return b"\r\n".join((b"POST /a HTTP/1.1", *lines)) + b"\r\n\r\n"


ATTACKS = {
    "content-length and transfer-encoding": _head(
        b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked"
    ),
    "transfer-encoding and content-length": _head(
        b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 5"
    ),
    "folded transfer-encoding": _head(b"Host: a", b"Transfer-Encoding:", b" chunked"),
    "folded anything": _head(b"Host: a", b"X: 1", b"\tmore"),
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "bare LF ends the head": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "absolute form": b"GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority form": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "h2c upgrade": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    ),
    "websocket upgrade": _head(b"Host: a", b"Connection: upgrade", b"Upgrade: websocket"),
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: 1\r\n\r\n",
    "two hosts": _head(b"Host: a", b"Host: b"),
    "two lengths": _head(b"Host: a", b"Content-Length: 5", b"Content-Length: 6"),
    "a list of lengths": _head(b"Host: a", b"Content-Length: 5, 5"),
    "signed length": _head(b"Host: a", b"Content-Length: +5"),
    "huge length": _head(b"Host: a", b"Content-Length: 99999999999"),
    "length over the limit": _head(b"Host: a", b"Content-Length: 9999999"),
    "other coding": _head(b"Host: a", b"Transfer-Encoding: gzip, chunked"),
    "identity coding": _head(b"Host: a", b"Transfer-Encoding: identity"),
    "two codings": _head(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "space before the colon": _head(b"Host: a", b"Transfer-Encoding : chunked"),
    "two tokens": _head(b"Host: a", b"Authorization: Bearer a", b"Authorization: Bearer b"),
    "header without a name": _head(b"Host: a", b": 1"),
    "head over the limit": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD_BYTES,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "garbage": b"\xff" * 64,
    "leading empty line": b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
}
_BEGUN = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK_ATTACKS = {
    "chunk extension": _BEGUN + b"5;a=b\r\nhello\r\n0\r\n\r\n",
    "bare LF after a size": _BEGUN + b"5\nhello\r\n0\r\n\r\n",
    "size without digits": _BEGUN + b"\r\n",
    "signed size": _BEGUN + b"-5\r\nhello\r\n",
    "prefixed size": _BEGUN + b"0x5\r\nhello\r\n",
    "endless size": _BEGUN + b"00000000005\r\n",
    "no CRLF after a chunk": _BEGUN + b"5\r\nhelloX\r\n",
    "trailers": _BEGUN + b"0\r\nHost: b\r\n\r\n",
    "chunk over the limit": _BEGUN + b"ffffffff\r\n",
    "many chunks over the limit": _BEGUN + b"300000\r\n" + b"x" * 0x300000 + b"\r\n600000\r\n",
}


def feed(pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return what a guard passed, and whether it refused."""
    guard = HttpGuard()
    passed = b"".join(guard.feed(piece) for piece in pieces)
    return passed, guard.refused


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at the given places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize("request_bytes", GOOD)
def test_clean_requests_pass_unchanged(request_bytes: bytes) -> None:
    assert feed([request_bytes]) == (request_bytes, False)


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=4), st.lists(st.integers(0, 999)))
def test_pipelined_requests_pass_however_they_are_split(
    requests: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(requests)
    assert feed(split(stream, cuts)) == (stream, False)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_pass_nothing(name: str) -> None:
    assert feed([ATTACKS[name]]) == (b"", True)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_byte_by_byte_pass_nothing(name: str) -> None:
    attack = ATTACKS[name]
    assert feed([attack[i : i + 1] for i in range(min(len(attack), 20_000))]) == (b"", True)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_after_a_clean_request_are_refused_too(name: str) -> None:
    assert feed([POST, CHUNKED + ATTACKS[name] + GET]) == (POST + CHUNKED, True)


@pytest.mark.parametrize("name", CHUNK_ATTACKS)
def test_chunk_attacks_are_refused(name: str) -> None:
    passed, refused = feed([CHUNK_ATTACKS[name]])
    assert refused
    assert b"Host: b" not in passed


@given(st.sampled_from(sorted(CHUNK_ATTACKS)), st.lists(st.integers(0, 90)))
def test_chunk_attacks_are_refused_however_they_are_split(name: str, cuts: list[int]) -> None:
    assert feed(split(CHUNK_ATTACKS[name], cuts))[1]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_any_bytes_are_judged_alike_whole_and_split(data: bytes, cuts: list[int]) -> None:
    assert feed([data]) == feed(split(data, cuts))


def test_nothing_is_held_back_of_a_body() -> None:
    guard = HttpGuard()
    guard.feed(_head(b"Host: a", b"Content-Length: 10"))
    assert guard.feed(b"12345") == b"12345"
