"""The driver over a link in memory, in simulated time: exchanges, backpressure, resets, limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing
from cast import AGENT, ANSWER, RELAY, REQUEST, SETTINGS, TOKEN, VALID_S
from trio.testing import MockClock
from wires import (
    BLOB,
    Tunnel,
    body,
    cursors,
    echo,
    pour,
    read_all,
    settled,
    sit,
    tunnel,
)

from tunnel.errors import Code, LocalError, StreamReset
from tunnel.events import End, Head
from tunnel.payload import Payload
from tunnel.scheduler import MAX_CONTROL_FRAMES
from tunnel.stream import Stream

pytestmark = pytest.mark.usefixtures("either_wire")


async def ask(pair: Tunnel, data: bytes) -> bytes:
    """One exchange from the relay's side."""
    stream = pair.relay.open(REQUEST, b"cursor")
    await stream.send(data)
    stream.end()
    events = await read_all(stream)
    assert (events[0], cursors(events), events[-1]) == (Head(ANSWER), [b"cursor"], End())
    return body(events)


async def test_both_ends_know_each_other(autojump_clock: MockClock) -> None:
    async with tunnel() as pair:
        assert (pair.agent.peer, pair.relay.peer) == (RELAY, AGENT)
        assert pair.agent.valid_s == pair.relay.valid_s == VALID_S
        assert pair.agent.is_open
        assert pair.relay.is_open


@pytest.mark.parametrize("size", [0, 1, 65_536, len(BLOB)])
async def test_an_exchange(size: int, autojump_clock: MockClock) -> None:
    async with tunnel(echo) as pair:
        assert await ask(pair, BLOB[:size]) == BLOB[:size]
        assert pair.relay.granted_bytes == pair.agent.granted_bytes == 0


async def test_the_handler_sees_the_request(autojump_clock: MockClock) -> None:
    seen = []

    async def handler(stream: Stream) -> None:
        seen.append((stream.request, stream.cursor))
        await echo(stream)

    async with tunnel(handler) as pair:
        await ask(pair, b"")
    assert seen == [(REQUEST, b"cursor")]


async def test_many_streams_both_ways_at_once(autojump_clock: MockClock) -> None:
    async with tunnel(echo, relay_handler=echo) as pair:
        answers = []

        async def exchange(number: int) -> None:
            session = pair.relay if number % 2 else pair.agent
            stream = session.open(REQUEST)
            data = BLOB[number : number + 150_000]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send, data)
                await stream.flushed()
            stream.end()
            answers.append(body(await read_all(stream)) == data)

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(exchange, number)
        assert answers == [True] * 30
        await settled()
        for session in (pair.agent, pair.relay):
            assert (session.streams_open, session.granted_bytes, session._streams) == (0, 0, {})


async def test_counters_agree(autojump_clock: MockClock) -> None:
    async with tunnel(echo) as pair:
        await ask(pair, BLOB)
        await settled()
        one, two = pair.agent.stats, pair.relay.stats
        assert (one.frames_in, one.bytes_in) == (two.frames_out, two.bytes_out)
        assert (two.frames_in, two.bytes_in) == (one.frames_out, one.bytes_out)
        assert min(one.bytes_in, two.bytes_in) > len(BLOB)


# Backpressure.


async def test_a_reader_that_stops_stops_the_writer_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    async def handler(stream: Stream) -> None:
        await (pour if stream.cursor == b"pour" else echo)(stream)

    async with tunnel(handler) as pair:
        stalled = pair.relay.open(REQUEST, b"pour")
        await settled()
        held = pair.relay.granted_bytes
        assert held == SETTINGS.window_bytes
        assert pair.agent._connection.unsent(stalled.id) <= 2 * SETTINGS.send_queue_bytes
        assert await ask(pair, BLOB) == BLOB
        assert pair.relay.granted_bytes == held
        stalled.reset(Code.CANCELLED)
        await settled()
        assert pair.relay.granted_bytes == 0


async def test_released_bytes_bring_more(autojump_clock: MockClock) -> None:
    async with tunnel(pour) as pair:
        stream = pair.relay.open(REQUEST)
        total = 0
        for _ in range(20):
            await stream.ready()
            taken = len(body(stream.take()))
            stream.release(taken)
            total += taken
            await settled()
        assert total > 4 * SETTINGS.window_bytes
        assert pair.relay.granted_bytes <= SETTINGS.granted_cap_bytes


async def test_releasing_what_was_not_delivered_is_our_bug(autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        with pytest.raises(LocalError):
            stream.release(1)


async def test_flushed_waits_for_the_last_byte(autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        stream = pair.relay.open(REQUEST)
        await stream.send(bytes(SETTINGS.window_bytes + 1))
        with trio.move_on_after(1.0) as scope:
            await stream.flushed()
        assert scope.cancelled_caught
        assert pair.relay._connection.unsent(stream.id) == 1


async def test_two_tasks_may_wait_for_room(autojump_clock: MockClock) -> None:
    async def slow(stream: Stream) -> None:
        await trio.sleep(1.0)
        await echo(stream)

    async with tunnel(slow) as pair:
        stream = pair.relay.open(REQUEST)
        with trio.fail_after(5.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send, BLOB)
                nursery.start_soon(stream.flushed)
                nursery.start_soon(stream.flushed)
        stream.end()


async def test_a_cancelled_sender_has_queued_its_bytes_once(autojump_clock: MockClock) -> None:
    async def late(stream: Stream) -> None:
        await trio.sleep(5.0)
        await echo(stream)

    async with tunnel(late) as pair:
        stream = pair.relay.open(REQUEST)
        with trio.move_on_after(1.0) as scope:
            await stream.send(BLOB)
        assert scope.cancelled_caught
        stream.end()
        assert body(await read_all(stream)) == BLOB


# Limits.


async def test_no_more_streams_than_allowed(autojump_clock: MockClock) -> None:
    async with tunnel(sit, settings=replace(SETTINGS, max_streams=2)) as pair:
        first = pair.relay.open(REQUEST)
        pair.relay.open(REQUEST)
        with pytest.raises(LocalError) as caught:
            pair.relay.open(REQUEST)
        assert caught.value.code is Code.REFUSED
        first.reset(Code.CANCELLED)
        pair.relay.open(REQUEST)


async def test_an_overrun_hurts_one_stream(autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        bad, good = pair.relay.open(REQUEST), pair.relay.open(REQUEST)
        await settled()
        record = pair.relay._connection._streams.get(bad.id)
        assert record is not None
        record.credit.credit += 1
        with pytest.raises(StreamReset) as caught:
            await bad.send(bytes(SETTINGS.window_bytes + 2 * SETTINGS.send_queue_bytes))
        assert caught.value.code is Code.FLOW_CONTROL
        assert good.take() == [Head(ANSWER)]
        assert good.reset_code is None


async def test_a_queue_that_overflows_by_our_own_doing_ends_the_tunnel_at_once(
    autojump_clock: MockClock,
) -> None:
    async with tunnel(sit) as pair:
        stream = pair.relay.open(REQUEST)
        other = pair.relay.open(REQUEST)
        for _ in range(MAX_CONTROL_FRAMES):
            pair.relay.reauthenticate(Payload(TOKEN))
        stream.reset(Code.CANCELLED)
        assert other.reset_code is Code.TUNNEL_LOST
        await pair.over()
    assert pair.closed["relay"].code is Code.REFUSED
