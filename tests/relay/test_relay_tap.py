"""The tap on a socket that is full loses nothing and returns credit for what was taken alone."""

from __future__ import annotations

import os
from contextlib import suppress

import h11
import trio
from stage import ANSWER, TAIL, Client, bearer, message, stage

from relay import downlink, http1
from tunnel.errors import StreamReset
from tunnel.settings import TunnelSettings

WINDOW = 65_536
NARROW = TunnelSettings(
    window_bytes=WINDOW, window_default_bytes=WINDOW, window_max_bytes=WINDOW, growth_bytes=0
)
UNITS = [message(bytes([number]) * 16_379) for number in range(100)]
UNIT_BYTES = len(UNITS[0])
READ_BYTES = 1_048_576


async def pour(stream, sent: list[int]) -> None:
    stream.head(ANSWER)
    try:
        for number, unit in enumerate(UNITS):
            await stream.send(unit)
            stream.mark(b"%d" % number)
            await stream.flushed()
            sent.append(number)
        stream.end()
    except StreamReset:
        pass


def drained(socket: trio.socket.SocketType) -> bytes:
    """All that a socket holds, taken while nobody else runs."""
    data = b""
    with suppress(BlockingIOError):
        while piece := os.read(socket.fileno(), READ_BYTES):
            data += piece
    return data


async def stalled_and_resumed() -> tuple[int, bytes]:
    """A viewer that reads nothing, then all that it gets within a second.

    Returns:
        How much of what left the agent was in no socket while the viewer read nothing; the body.
    """
    async with stage(tunnel=NARROW) as s:
        agent = await s.agent()
        near, far = trio.socket.socketpair()
        s.nursery.start_soon(s.relay.serve_viewer, trio.SocketStream(far))
        client = Client(trio.SocketStream(near))
        await client.send("POST", TAIL, b"request", bearer())
        sent: list[int] = []
        s.nursery.start_soon(pour, await agent.stream(), sent)
        await s.settled()
        left = len(sent) * UNIT_BYTES
        taken = drained(near)
        client.http.receive_data(taken)
        body = b""
        with trio.move_on_after(1):
            await client.response()
            try:
                while piece := await client.data():
                    body += piece
            except h11.RemoteProtocolError:
                pass
        return left - len(taken), body


async def test_the_tap_loses_nothing_and_holds_one_window(autojump_clock):
    held, body = await stalled_and_resumed()
    assert 0 < held <= WINDOW
    assert body == b"".join(UNITS)


async def test_mutant_that_releases_what_was_not_taken_is_caught(autojump_clock, monkeypatch):
    honest = downlink.Downlink._pass_on_now

    def eager(self, stream) -> bool:
        stream.release(stream.held)
        return honest(self, stream)

    monkeypatch.setattr(downlink.Downlink, "_written", lambda *_: None)
    monkeypatch.setattr(downlink.Downlink, "_pass_on_now", eager)
    held, _ = await stalled_and_resumed()
    assert held > WINDOW


async def test_mutant_that_loses_a_leftover_is_caught(autojump_clock, monkeypatch):
    honest = http1.Http1.flush

    async def forget(self) -> None:
        if isinstance(self._stream, trio.SocketStream):
            self._unsent = []
        await honest(self)

    monkeypatch.setattr(http1.Http1, "flush", forget)
    _, body = await stalled_and_resumed()
    assert body != b"".join(UNITS)


async def test_mutant_that_takes_a_full_socket_for_an_empty_one_is_caught(
    autojump_clock, monkeypatch
):
    honest = http1.Http1.write_now

    def pretend(self, parts, size) -> bool:
        honest(self, parts, size)
        return True

    monkeypatch.setattr(http1.Http1, "write_now", pretend)
    held, body = await stalled_and_resumed()
    assert held > WINDOW
    assert body != b"".join(UNITS)
