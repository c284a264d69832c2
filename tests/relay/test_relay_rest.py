"""A quiet tail rests: its connection's task waits in few frames, and nothing else changes."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from stage import ANSWER, TAIL, Client, bearer, error_of, message, request_of, serve_unit, stage

from relay import calls, coupling, downlink
from tunnel.errors import StreamReset

WAIT_S = 5.0
MOST_FRAMES = 6  # serve, ready, trio's own two; a call at work takes twice as many


@asynccontextmanager
async def resting(**settings):
    """A tail on a socket that has had one unit and rests.

    Yields stage, agent, the viewer's client, the agent's stream and the connection's task.
    """
    async with stage(**settings) as s:
        s.nursery.start_soon(s.relay.watch_viewers)
        agent = await s.agent()
        near, far = trio.socket.socketpair()
        scope, tasks = trio.CancelScope(), []

        async def connection() -> None:
            tasks.append(trio.lowlevel.current_task())
            with scope:
                await s.relay.serve_viewer(trio.SocketStream(far))

        s.nursery.start_soon(connection)
        client = Client(trio.SocketStream(near))
        await client.send("POST", TAIL, b"request", bearer())
        stream = await agent.stream()
        assert await request_of(stream) == b"request"
        stream.head(ANSWER)
        unit = await serve_unit(stream, b"line", b"1")
        await client.response()
        assert await client.exactly(len(unit)) == unit
        await s.settled()
        with trio.fail_after(WAIT_S):
            yield s, agent, client, stream, scope, tasks[0]


def frames(task) -> int:
    return len(list(task.iter_await_frames()))


def ended(s, how: str) -> int:
    return s.relay.metrics.get("relay_endings_total", how)


async def test_a_quiet_tail_keeps_few_frames():
    async with resting() as (_, _, _, _, _, task):
        assert frames(task) <= MOST_FRAMES


async def test_mutant_that_never_rests_is_caught(monkeypatch):
    monkeypatch.setattr(downlink.Downlink, "_rests_now", lambda self: False)
    with pytest.raises(BaseException):  # noqa: B017  # a group with the assertion in it
        await test_a_quiet_tail_keeps_few_frames()


async def test_units_cross_without_waking_it():
    async with resting() as (s, _, client, stream, _, task):
        counted = task._schedule_points
        for number in range(5):
            unit = await serve_unit(stream, b"more", b"%d" % number)
            assert await client.exactly(len(unit)) == unit
        await s.settled()
        assert task._schedule_points == counted


async def test_it_goes_on_to_its_end_and_to_the_next_request():
    async with resting() as (s, agent, client, stream, _, _):
        end = b"\x02\0\0\0\x02{}"
        await stream.send(end)
        stream.end()
        assert await client.rest() == end
        await s.settled()
        assert ended(s, "complete") == 1
        await client.send("POST", TAIL, b"again", bearer())
        assert await request_of(await agent.stream()) == b"again"


async def test_it_goes_on_over_another_tunnel():
    async with resting() as (s, agent, client, _, _, _):
        agent.link.cut()
        again = await (await s.agent()).stream()
        assert again.cursor == b"1"
        assert await request_of(again) == b"request"
        again.head(ANSWER)
        unit = await serve_unit(again, b"two", b"2")
        assert await client.exactly(len(unit)) == unit


async def stopped() -> None:
    async with resting() as (s, _, client, stream, _, _):
        await s.push(bindings=[])
        assert error_of(await client.rest())["code"] == "permission_denied"
        await reset_of(stream)
        assert ended(s, "error") == 1


async def test_it_is_stopped():
    await stopped()


async def test_mutant_that_is_not_woken_is_caught(monkeypatch):
    monkeypatch.setattr("test_relay_rest.WAIT_S", 0.1)
    monkeypatch.setattr(calls.Call, "cancel", lambda self: setattr(self, "stopped", True))
    with pytest.raises(BaseException):  # noqa: B017  # a group with the timeout in it
        await stopped()


async def cancelled() -> None:
    async with resting() as (s, _, client, stream, scope, _):
        (call,) = s.relay._core.calls._calls
        body = call.resumable._body
        scope.cancel()
        await reset_of(stream)
        assert not any(body)
        assert len(s.relay._core.calls) == 0
        assert await client.stream.receive_some() == b""


async def test_it_ends_with_its_connection():
    await cancelled()


async def test_mutant_that_does_not_let_go_is_caught(monkeypatch):
    monkeypatch.setattr("test_relay_rest.WAIT_S", 0.1)
    monkeypatch.setattr(coupling.Resting, "let_go", lambda self: None)
    with pytest.raises(BaseException):  # noqa: B017  # a group with the timeout in it
        await cancelled()


async def test_a_viewer_that_reads_late_gets_all_of_it():
    """More than sockets hold: the tap leaves some, the task is woken, and rests again later."""
    async with resting() as (s, _, client, stream, _, task):
        sent = b""
        async with trio.open_nursery() as nursery:

            async def pour() -> None:
                nonlocal sent
                for number in range(64):
                    data = message(b"%d" % number + bytes(60_000))
                    sent += data
                    await stream.send(data)
                    stream.mark(b"%d" % number)
                stream.end()

            nursery.start_soon(pour)
            await s.settled()
            assert frames(task) > MOST_FRAMES
            received = await client.rest()
        assert received == sent


async def reset_of(stream) -> None:
    try:
        while True:
            await stream.ready()
            stream.take()
    except StreamReset:
        pass
