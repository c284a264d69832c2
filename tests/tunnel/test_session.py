"""The driver over a link in memory, in simulated time: exchanges, backpressure, resets, limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing
from cast import AGENT, ANSWER, RELAY, REQUEST, SETTINGS, TOKEN, VALID_S
from trio.testing import MockClock
from wires import Tunnel, body, cursors, read_all, tunnel, websocket_pair

from tunnel.errors import Code, LocalError, StreamReset
from tunnel.events import End, Head, Reset
from tunnel.payload import Payload
from tunnel.scheduler import MAX_CONTROL_FRAMES
from tunnel.stream import Stream

BLOB = bytes(range(256)) * 4096


async def echo(stream: Stream) -> None:
    """Answer with the request's body."""
    stream.head(ANSWER)
    await stream.send(body(await read_all(stream)))
    stream.mark(stream.cursor)
    stream.end()


async def pour(stream: Stream) -> None:
    """Send without end."""
    stream.head(ANSWER)
    while True:
        await stream.send(BLOB[:65_536])


async def sit(stream: Stream) -> None:
    """Answer and do nothing."""
    stream.head(ANSWER)
    await trio.sleep_forever()


async def ask(pair: Tunnel, data: bytes) -> bytes:
    """One exchange from the relay's side."""
    stream = pair.relay.open(REQUEST, b"cursor")
    await stream.send(data)
    stream.end()
    events = await read_all(stream)
    assert (events[0], cursors(events), events[-1]) == (Head(ANSWER), [b"cursor"], End())
    return body(events)


async def settled() -> None:
    """Let everything happen that can happen without time passing."""
    await trio.testing.wait_all_tasks_blocked(0.001)


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


async def test_exchanges_over_websocket(autojump_clock: MockClock) -> None:
    async with tunnel(echo, relay_handler=echo, ends=await websocket_pair()) as pair:
        assert await ask(pair, BLOB) == BLOB


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


# Resets.


async def test_a_reset_cancels_the_handler(autojump_clock: MockClock) -> None:
    cancelled = trio.Event()

    async def handler(stream: Stream) -> None:
        try:
            await pour(stream)
        finally:
            cancelled.set()

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        stream.reset(Code.CANCELLED)
        with trio.fail_after(1.0):
            await cancelled.wait()
        await settled()
        assert pair.agent.streams_open == pair.relay.streams_open == 0
        stream.release(10)
        assert pair.relay.granted_bytes == pair.agent.granted_bytes == 0
        assert pair.agent.is_open


async def test_what_a_cancelled_handler_held_is_given_back(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        await stream.ready()
        stream.take()
        await trio.sleep_forever()

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        await stream.send(BLOB[:50_000])
        await settled()
        assert pair.agent.granted_bytes == SETTINGS.window_bytes
        stream.reset(Code.CANCELLED)
        await settled()
        assert pair.agent.granted_bytes == 0


async def test_letting_go_of_a_stream_that_the_peer_reset(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)
        await stream.send(b"x" * 1000)
        await stream.flushed()
        stream.reset(Code.DATA_LOSS)

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        await settled()
        assert pair.relay.granted_bytes == 1000
        stream.reset(Code.CANCELLED)
        assert stream.reset_code is Code.DATA_LOSS
        assert pair.relay.granted_bytes == 0


async def test_everyone_learns_of_a_reset_once(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)
        await stream.send(b"some")
        stream.mark(b"m")
        await stream.flushed()
        stream.reset(Code.DATA_LOSS)

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        events = await read_all(stream)
        assert events[-1] == Reset(Code.DATA_LOSS)
        assert (body(events), cursors(events)) == (b"some", [b"m"])
        assert stream.take() == []
        for call in (stream.ready, lambda: stream.send(b"x")):
            with pytest.raises(StreamReset) as caught:
                await call()
            assert caught.value.code is Code.DATA_LOSS
        for act in (lambda: stream.head(ANSWER), lambda: stream.mark(b""), stream.end):
            with pytest.raises(StreamReset):
                act()


async def test_a_waiting_sender_hears_of_a_reset(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        await trio.sleep(1.0)
        stream.reset(Code.REFUSED)

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        with pytest.raises(StreamReset) as caught:
            await stream.send(BLOB)
        assert caught.value.code is Code.REFUSED
        with pytest.raises(StreamReset):
            await stream.flushed()


async def test_a_waiting_reader_hears_of_its_own_sides_reset(autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        stream.take()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(StreamReset):
                    await stream.ready()

            await settled()
            stream.reset(Code.CANCELLED)


async def test_a_reset_after_the_peers_end_is_no_event(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)
        await trio.sleep(1.0)
        stream.reset(Code.CANCELLED)

    async with tunnel(handler) as pair:
        stream = pair.agent  # the handler's own side ends first
        opened = pair.relay.open(REQUEST)
        opened.end()
        events = await read_all(opened)
        assert events == [Head(ANSWER), Reset(Code.CANCELLED)]
        assert stream.streams_open == 0


async def test_after_end_nothing_follows_even_if_the_rest_is_reset(
    autojump_clock: MockClock,
) -> None:
    inboxes = []

    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)
        inboxes.append(await read_all(stream))
        try:
            await trio.sleep_forever()
        finally:
            inboxes.append(stream.take())

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        stream.end()
        await settled()
        stream.reset(Code.CANCELLED)
        await settled()
    assert inboxes == [[End()], []]


async def test_a_handler_that_leaves_its_stream_open_aborts_it(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        assert (await read_all(stream))[-1] == Reset(Code.INTERNAL)


async def test_what_a_handler_leaves_unread_is_discarded(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)
        stream.end()

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        for _ in range(10):
            await stream.send(BLOB[:100_000])
        stream.end()
        assert (await read_all(stream))[-1] == End()
        await settled()
        assert pair.agent.streams_open == pair.agent.granted_bytes == 0


async def test_a_handlers_bug_is_raised(autojump_clock: MockClock) -> None:
    async def handler(_stream: Stream) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with tunnel(handler) as pair:
            pair.relay.open(REQUEST)
            await trio.sleep(60.0)


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
            await bad.send(bytes(SETTINGS.window_bytes + 200_000))
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
