"""Little data and control frames leave from the task that brings them; no byte is wiped early."""

from __future__ import annotations

import pytest
import trio
from cast import REQUEST
from trio.testing import MockClock
from wires import body, echo, read_all, socket_pair, tunnel, websocket_over

from tunnel.errors import Code
from tunnel.events import Event, Mark
from tunnel.exchange import ResponseHead
from tunnel.memory import memory_transport_pair
from tunnel.stream import Stream
from tunnel.streams import Frame
from tunnel.wipe import Owned

TEXT = b"a little"


async def test_little_data_does_not_wake_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = await websocket_over(*await socket_pair())
    honest, written = far.send, []

    async def send(frames: list[Frame]) -> None:
        written.extend(frames)
        await honest(frames)

    async with tunnel(echo, ends=(near, far)) as pair:
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        monkeypatch.setattr(far, "send", send)
        await stream.send(TEXT, alone=True)
        stream.end()
        assert body(await read_all(stream)) == TEXT
    assert [part for frame in written for part in frame if bytes(part) == TEXT] == []


async def test_what_the_transport_holds_on_to_is_wiped_after_it_was_sent(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far, _ = memory_transport_pair()  # takes nothing at once
    async with tunnel(echo, ends=(near, far)) as pair:
        monkeypatch.setattr(pair.relay, "wipes", True)
        stream = pair.relay.open(REQUEST)
        text = Owned(TEXT)
        await stream.send(text, alone=True)
        assert text == TEXT
        stream.end()
        assert body(await read_all(stream, release=False)) == TEXT
        assert text == bytes(len(TEXT))


async def test_what_was_never_sent_is_wiped_at_the_end(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far, link = memory_transport_pair()
    async with tunnel(echo, ends=(near, far)) as pair:
        monkeypatch.setattr(pair.relay, "wipes", True)
        stream = pair.relay.open(REQUEST)
        await trio.testing.wait_all_tasks_blocked()
        text = Owned(TEXT)
        await stream.send(text, alone=True)
        link.cut()
        await pair.over()
        assert text == bytes(len(TEXT))


async def test_what_is_posted_leaves_in_one_write_and_not_by_the_writer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near, far = await websocket_over(*await socket_pair())
    sent: list[list[Frame]] = []
    honest = near.send_now

    def send_now(frames: list[Frame]) -> None:
        sent.append(frames)
        honest(frames)

    async def refuses(frames: list[Frame]) -> None:
        raise AssertionError("the writer was woken")

    streams: list[Stream] = []

    async def answers(stream: Stream) -> None:
        stream.head(ResponseHead(200))
        streams.append(stream)
        await stream.ready()  # until the viewer leaves

    async with tunnel(answers, ends=(near, far)) as pair:
        viewers = [pair.relay.open(REQUEST) for _ in range(3)]
        for viewer in viewers:
            await viewer.ready()
            viewer.take()
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(near, "send_now", send_now)
        monkeypatch.setattr(near, "send", refuses)
        assert all(stream.post(TEXT, b"at %d" % stream.id) for stream in streams)
        assert sent == [], "not before it is pushed"
        for stream in streams:
            stream.push()
        assert len(sent) == 1
        for viewer in viewers:
            await viewer.ready()
            data, mark = viewer.take()
            assert (bytes(data.view), mark) == (TEXT, Mark(b"at %d" % viewer.id))
        monkeypatch.undo()


async def test_a_stream_that_is_full_or_reset_takes_no_post(autojump_clock: MockClock) -> None:
    near, far, _ = memory_transport_pair()  # takes nothing at once
    streams: list[Stream] = []

    async def answers(stream: Stream) -> None:
        stream.head(ResponseHead(200))
        streams.append(stream)
        await stream.ready()

    async with tunnel(answers, ends=(near, far)) as pair:
        viewer = pair.relay.open(REQUEST)
        await viewer.ready()
        stream, marks = streams[0], 0
        while stream.post(bytes(60_000), b"at %d" % marks):
            marks += 1
        assert marks * 60_000 > pair.relay.settings.send_queue_bytes
        stream.push()
        await trio.testing.wait_all_tasks_blocked()
        got: list[Event] = []
        while sum(isinstance(event, Mark) for event in got) < marks:
            await viewer.ready()
            got += viewer.take()
            viewer.release(viewer.held)
        assert [event.cursor for event in got if isinstance(event, Mark)] == [
            b"at %d" % number for number in range(marks)
        ]
        viewer.reset(Code.CANCELLED)
        await trio.testing.wait_all_tasks_blocked()
        assert not stream.post(TEXT, b"")
        stream.push()
