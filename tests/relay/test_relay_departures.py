"""Quiet viewers on sockets: one task each, their leaving noticed by another that they share."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress

import pytest
import trio
from stage import ANSWER, TAIL, Client, bearer, serve_unit, stage

from relay.departures import Departures
from tunnel.errors import StreamReset

WAIT_S = 5.0


@asynccontextmanager
async def quiet_tail(s, agent=None):
    """A tail over a socket that has had one unit; yields viewer, its socket, the agent's stream."""
    agent = agent or await s.agent()
    near, far = trio.socket.socketpair()
    s.nursery.start_soon(s.relay.serve_viewer, trio.SocketStream(far))
    client = Client(trio.SocketStream(near))
    await client.send("POST", TAIL, b"request", bearer())
    stream = await agent.stream()
    stream.head(ANSWER)
    unit = await serve_unit(stream, b"line", b"1")
    await client.response()
    assert await client.exactly(len(unit)) == unit
    yield client, near, stream


async def reset_of(stream) -> None:
    with trio.fail_after(WAIT_S), suppress(StreamReset):
        while True:
            await stream.ready()
            stream.take()


def endings(s) -> int:
    return s.relay.metrics.get("relay_endings_total", "left")


@pytest.mark.parametrize("watching", [True, False], ids=["shared", "alone"])
async def test_a_viewer_that_leaves_is_noticed(watching):
    async with stage() as s:
        if watching:
            s.nursery.start_soon(s.relay.watch_viewers)
        async with quiet_tail(s) as (_, near, stream):
            near.close()
            await reset_of(stream)
            assert endings(s) == 1


@pytest.mark.parametrize("watching", [True, False], ids=["shared", "alone"])
async def test_what_is_sent_ahead_is_kept_up_to_a_head(watching):
    async with stage() as s:
        if watching:
            s.nursery.start_soon(s.relay.watch_viewers)
        async with quiet_tail(s) as (_, near, stream):
            await near.send(b"GET /next HTTP/1.1\r\n")
            await s.settled()
            assert endings(s) == 0
            with trio.move_on_after(WAIT_S):
                while not endings(s):
                    try:
                        await near.send(b"x" * 65_536)
                    except OSError:
                        break
            await reset_of(stream)
            assert endings(s) == 1


async def test_a_quiet_tail_is_one_task():
    async with stage() as s:
        s.nursery.start_soon(s.relay.watch_viewers)
        agent = await s.agent()
        await s.settled()
        before = trio.lowlevel.current_statistics().tasks_living
        async with quiet_tail(s, agent):
            await s.settled()
            more = trio.lowlevel.current_statistics().tasks_living - before
        assert more == 2  # the other one is the agent's handler


async def test_mutant_that_never_looks_is_caught(monkeypatch):
    monkeypatch.setattr(Departures, "_look", lambda self, descriptor: None)
    monkeypatch.setattr("test_relay_departures.WAIT_S", 0.1)
    with pytest.raises(BaseException):  # noqa: B017  # a group with the timeout in it
        await test_a_viewer_that_leaves_is_noticed(watching=True)
