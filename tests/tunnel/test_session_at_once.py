"""Little data and control frames leave from the task that brings them; no byte is wiped early."""

from __future__ import annotations

import pytest
import trio
from cast import REQUEST
from trio.testing import MockClock
from wires import body, echo, read_all, socket_pair, tunnel, websocket_over

from tunnel.memory import memory_transport_pair
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
