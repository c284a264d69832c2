"""Request bodies that stop where they should not: nothing is kept, or waited for for ever."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from stage import ECHO_PATH, STREAMING, TAIL, bearer, request_of, stage
from test_relay_http import OK, SETTINGS, everything

from relay import serving
from relay.http1 import GONE, Http1
from relay.http_head import Request
from relay.metrics import Metrics
from relay.read_ahead import ReadAhead
from relay.settings import RelaySettings
from tunnel.exchange import ResponseHead
from tunnel.wipe import Owned

IMPATIENT = RelaySettings(write_stall_s=10)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("rest", [b"", b"\r", b"\r\n", b"\r\n0", b"\r\n0\r\n"])
async def test_a_chunk_whose_sender_leaves_is_wiped(rest, monkeypatch: pytest.MonkeyPatch):
    taken: list[Owned] = []
    take = ReadAhead.take

    def noted(self: ReadAhead, count: int) -> Owned:
        taken.append(take(self, count))
        return taken[-1]

    ours, theirs = trio.testing.memory_stream_pair()
    http = Http1(theirs, SETTINGS)
    await ours.send_all(CHUNKED + b"6\r\nSECRET" + rest)
    await http.next_request(1)
    monkeypatch.setattr(ReadAhead, "take", noted)
    await ours.aclose()
    with pytest.raises(GONE):
        await http.whole_body(100)
    http.forget()
    assert any(len(piece) == len(b"SECRET") for piece in taken)
    assert not any(b"SECRET" in piece for piece in taken)


@pytest.mark.parametrize("stop", [b"", b"\r", b"\r\n", b"\r\n0\r", b"\r\n0\r\n", b"\r\n0\r\n\r"])
async def test_a_connection_whose_body_stopped_is_used_no_more(stop, autojump_clock):
    """What follows the answer would be read as a request, though it may be the body's rest."""
    async with stage() as s:
        client = s.viewer()
        head = f"POST {TAIL} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        head += f"authorization: {bearer()['authorization']}\r\ncontent-type: {STREAMING}\r\n\r\n"
        await client.stream.send_all(head.encode() + b"4\r\nhalf" + stop)
        answer = b""
        while b"0\r\n\r\n" not in answer:
            answer += await client.stream.receive_some(65_536)
        assert b"took too long" in answer
        assert b"connection: close" in answer
        await client.stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not await everything(client.stream)


async def test_who_does_not_read_100_continue_is_not_waited_for(autojump_clock):
    ours, theirs = trio.testing.lockstep_stream_pair()

    async def echo(http: Http1, _: Request) -> None:
        await http.answer(200, (), await http.whole_body(100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serving.serve, theirs, IMPATIENT, Metrics(), echo)
        await ours.send_all(OK + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        nursery.cancel_scope.deadline = trio.current_time() + 60
    assert not nursery.cancel_scope.cancelled_caught


async def test_an_upload_that_does_not_read_100_continue_ends_its_call(autojump_clock):
    async with stage(write_stall_s=10) as s:
        await s.agent()
        client = s.viewer(lockstep=True)
        await client.stream.send_all(upload(9))
        await trio.sleep(60)
        assert s.relay.metrics.get("relay_endings_total", "aborted") == 1
        assert not s.relay.metrics.get("relay_internal_errors_total")


async def test_who_has_sent_some_of_a_body_needs_no_100_continue(autojump_clock):
    """It would stand in the middle of the answer, which may have begun before the body ends."""
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        await client.stream.send_all(upload(9) + b"half")
        await s.settled()
        stream = await agent.stream()
        stream.head(ResponseHead(200, (("content-type", "application/proto"),)))
        await stream.send(b"early")
        await s.settled()
        await client.stream.send_all(b" and ")
        await s.settled()
        assert await request_of(stream) == b"half and "
        stream.end()
        await s.settled()
        answer = await client.stream.receive_some(65_536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"100 Continue" not in answer


def upload(size: int) -> bytes:
    head = f"POST {ECHO_PATH} HTTP/1.1\r\nHost: a\r\ncontent-type: application/proto\r\n"
    head += f"Content-Length: {size}\r\nExpect: 100-continue\r\n"
    return f"{head}authorization: {bearer()['authorization']}\r\n\r\n".encode()


@pytest.mark.parametrize("listener", ["viewer", "control", "ops"])
async def test_an_answer_to_head_is_the_last_one(listener: str, autojump_clock):
    """HEAD's answer has no body for who asked: ours would be read as the next answer."""
    async with stage() as s:
        if listener == "ops":
            ours, theirs = trio.testing.memory_stream_pair()
            s.nursery.start_soon(s.relay.serve_ops, theirs)
        else:
            ours = getattr(s, listener)().stream
        await ours.send_all(b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        answers = await everything(ours)
        assert answers.count(b"HTTP/1.1 ") == 1
        assert answers.startswith(b"HTTP/1.1 405 ")
        assert b"connection: close" in answers
