"""The relay's HTTP: what it refuses, how slow it lets a peer be, how it frames bodies."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import h11
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from stage import STREAMING, TAIL, bearer, error_of, stage

from relay import http_head, serving
from relay.http1 import Http1
from relay.http_head import BadRequest, parse_head
from relay.metrics import Metrics
from relay.settings import RelaySettings

SETTINGS = RelaySettings()
OK = b"POST / HTTP/1.1\r\nHost: relay\r\n"

GARBAGE = {
    "tls on a plain port": (b"\x16\x03\x01\x02\0\x01\0", 400, "malformed"),
    "lower case": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed"),
    "no version": (b"GET /\r\n\r\n", 400, "malformed"),
    "empty line first": (b"\r\nGET / HTTP/1.1\r\n", 400, "malformed"),
    "http 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505, "http_version"),
    "http 2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
    "bare lf": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "smuggling"),
    "bare lf in the middle": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "smuggling"),
    "bare cr": (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, "smuggling"),
    "obs-fold": (OK + b"X: a\r\n b\r\n\r\n", 400, "smuggling"),
    "folded transfer-encoding": (OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n", 400, "smuggling"),
    "cl and te": (
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "smuggling",
    ),
    "two lengths": (OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "smuggling"),
    "a list of lengths": (OK + b"Content-Length: 1, 2\r\n\r\n", 400, "smuggling"),
    "signed length": (OK + b"Content-Length: +1\r\n\r\n", 400, "malformed"),
    "endless length": (OK + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n", 400, "smuggling"),
    "space before colon": (OK + b"Content-Length : 1\r\n\r\n", 400, "malformed"),
    "other coding": (OK + b"Transfer-Encoding: gzip\r\n\r\n", 501, "malformed"),
    "two codings": (
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "smuggling",
    ),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed"),
    "two hosts": (OK + b"Host: b\r\n\r\n", 400, "smuggling"),
    "absolute form": (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "upgrade": (OK + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 400, "upgrade"),
    "websocket": (OK + b"Connection: keep-alive, upgrade\r\n\r\n", 400, "upgrade"),
    "h2c settings": (OK + b"HTTP2-Settings: AAMAAABk\r\n\r\n", 400, "upgrade"),
    "long target": (b"GET /" + b"a" * 3_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "many headers": (OK + b"X: y\r\n" * 64 + b"\r\n", 431, "head_too_large"),
    "endless head": (OK + b"X: " + b"y" * 20_000, 431, "head_too_large"),
    "nul": (OK + b"X: a\0b\r\n\r\n", 400, "malformed"),
    "expectation": (OK + b"Expect: wonders\r\n\r\n", 417, "malformed"),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_gets_one_clear_error_and_the_end(name, autojump_clock):
    sent, status, reason = GARBAGE[name]
    async with stage() as s:
        client = s.viewer()
        await client.stream.send_all(sent)
        head, _, body = (await everything(client.stream)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close" in head
        assert body.count(b"message") == 1
        assert s.count(reason) == 1
        assert trio.current_time() < SETTINGS.handshake_s


async def everything(stream: trio.abc.Stream) -> bytes:
    data = b""
    while piece := await stream.receive_some(65_536):
        data += piece
    return data


async def test_an_error_never_echoes_what_was_sent(autojump_clock):
    async with stage() as s:
        for sent in (b"\x01CANARY", b"CANARY /CANARY CANARY\r\n\r\n", OK + b"CANARY\r\n\r\n"):
            client = s.viewer()
            await client.stream.send_all(sent)
            assert b"CANARY" not in await everything(client.stream)
        client = s.viewer()
        await client.send("POST", "/r/CANARY/p/d/c1/CANARY.Svc/CANARY", b"CANARY", bearer())
        assert b"CANARY" not in await everything(client.stream)


async def test_a_slow_head_runs_into_the_deadline(autojump_clock):
    async with stage() as s:
        client = s.viewer()
        s.nursery.start_soon(drip, client.stream, OK)
        assert (await everything(client.stream)).startswith(b"HTTP/1.1 408 ")
        first_byte_s = 1
        assert trio.current_time() == first_byte_s + SETTINGS.handshake_s
        assert s.count("slow") == 1


async def drip(stream: trio.abc.Stream, data: bytes) -> None:
    for byte in data * 100:
        await trio.sleep(1)
        try:
            await stream.send_all(bytes([byte]))
        except trio.BrokenResourceError:
            return


async def test_a_slow_body_runs_into_the_deadline(autojump_clock):
    async with stage() as s:
        client = s.viewer()
        head = f"POST {TAIL} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
        head += f"authorization: {bearer()['authorization']}\r\ncontent-type: {STREAMING}\r\n\r\n"
        await client.stream.send_all(head.encode() + b"half")
        answer = await everything(client.stream)
        assert b"took too long" in answer
        assert trio.current_time() == pytest.approx(SETTINGS.body_idle_s, abs=0.1)


async def test_a_silent_connection_is_closed(autojump_clock):
    async with stage() as s:
        client = s.viewer()
        assert await everything(client.stream) == b""
        assert trio.current_time() == pytest.approx(SETTINGS.handshake_s, abs=0.1)


async def test_a_request_too_large_to_keep_is_refused(autojump_clock):
    async with stage() as s:
        client = s.viewer()
        await client.send("POST", TAIL, bytes(SETTINGS.replay_bytes + 1), bearer())
        await client.response()
        assert error_of(await client.rest())["code"] == "resource_exhausted"
        assert s.count("body_too_large") == 1


async def test_garbage_behind_a_good_request_gets_an_error_too(autojump_clock):
    ours, theirs = trio.testing.memory_stream_pair()

    async def greet(http: Http1, request: http_head.Request) -> None:
        await http.answer(200)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving.serve, theirs, SETTINGS, Metrics(), greet)
        await ours.send_all(OK + b"\r\n" + b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000)
        with trio.fail_after(5):
            answers = await everything(ours)
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 431 " in answers


async def test_requests_can_follow_each_other_at_once(autojump_clock):
    ours, theirs = trio.testing.memory_stream_pair()

    async def echo(http: Http1, request: http_head.Request) -> None:
        body = await http.whole_body(100)
        await http.answer(200, (), request.target.encode() + b":" + body)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving.serve, theirs, SETTINGS, Metrics(), echo)
        one = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
        two = b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        two += b"1\r\nc\r\n0a\r\n0123456789\r\n0\r\n\r\n"
        three = b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        await ours.send_all(one + two + three)
        answers = (await everything(ours)).split(b"HTTP/1.1 200 OK\r\n")
        assert [a.partition(b"\r\n\r\n")[2] for a in answers[1:]] == [
            b"/1:ab",
            b"/2:c0123456789",
            b"/3:",
        ]


async def test_expect_continue_is_answered(autojump_clock):
    ours, theirs = trio.testing.memory_stream_pair()

    async def echo(http: Http1, _: http_head.Request) -> None:
        await http.answer(200, (), await http.whole_body(100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving.serve, theirs, SETTINGS, Metrics(), echo)
        await ours.send_all(OK + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await ours.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await ours.send_all(b"ab")
        assert (await ours.receive_some()).endswith(b"ab")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "body",
    [
        b"1;ext=1\r\nx\r\n0\r\n\r\n",
        b" 1\r\nx\r\n0\r\n\r\n",
        b"+1\r\nx\r\n0\r\n\r\n",
        b"0x1\r\nx\r\n0\r\n\r\n",
        b"1_0\r\nx\r\n0\r\n\r\n",
        b"1\nx\n0\n\n",
        b"1\r\nxy\r\n0\r\n\r\n",
        b"123456789\r\n",
        b"\r\n",
        b"1\r\nx\r\n0\r\nTrailer: 1\r\n\r\n",
    ],
)
async def test_odd_chunks_are_refused(body, autojump_clock):
    refusal = await read_chunked([body])
    assert isinstance(refusal, BadRequest)
    assert refusal.status == 400


async def read_chunked(pieces: list[bytes]) -> bytes | BadRequest:
    ours, theirs = trio.testing.memory_stream_pair()
    http = Http1(theirs, SETTINGS)
    await ours.send_all(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    await http.next_request(1)
    async with trio.open_nursery() as nursery:

        async def feed() -> None:
            for piece in pieces:
                await ours.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(feed)
        try:
            return await http.whole_body(1_000_000)
        except BadRequest as error:
            return error


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    cuts=st.sets(st.integers(0, 60)),
)
async def test_chunks_split_anywhere_read_as_h11_writes_them(chunks, cuts):
    writer = h11.Connection(h11.CLIENT)
    fields = [("host", "a"), ("transfer-encoding", "chunked")]
    writer.send(h11.Request(method="POST", target="/", headers=fields))
    data = b"".join(writer.send(h11.Data(data=c)) or b"" for c in chunks)
    data += writer.send(h11.EndOfMessage()) or b""
    edges = [0, *sorted(c for c in cuts if c < len(data)), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges) if a < b]
    assert await read_chunked(pieces) == b"".join(chunks)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_documented_error(data):
    with suppress(BadRequest):
        assert parse_head(data + b"\r\n\r\n", max_headers=64).target.startswith("/")


async def test_a_batch_is_one_write():
    sends = 0
    ours, theirs = trio.testing.memory_stream_pair()
    deliver = theirs.send_stream.send_all_hook

    async def count() -> None:
        nonlocal sends
        sends += 1
        await deliver()

    theirs.send_stream.send_all_hook = count
    http = Http1(theirs, SETTINGS)
    await http.write([b"ab", b"c"], 3, head=(200, (("content-type", "x/y"),)), last=True)
    assert sends == 1
    assert (await ours.receive_some()).endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert http.finished
