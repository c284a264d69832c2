"""Streams that are aborted: who learns of it, what is cancelled, what is given back."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from cast import ANSWER, REQUEST, SETTINGS
from trio.testing import MockClock
from wires import (
    BLOB,
    body,
    cursors,
    pour,
    read_all,
    settled,
    sit,
    tunnel,
)

from tunnel.errors import Code, StreamReset
from tunnel.events import End, Head, Reset
from tunnel.stream import Stream

pytestmark = pytest.mark.usefixtures("either_wire")


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
