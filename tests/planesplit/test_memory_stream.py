"""The in-memory streams pass trio's own conformance suite, and are bounded and resettable."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from planesplit.split.memory_stream import MAX_BUFFERED_BYTES, MemoryStream, memory_stream_pair


async def make() -> tuple[MemoryStream, MemoryStream]:
    return memory_stream_pair()


async def make_clogged() -> tuple[MemoryStream, MemoryStream]:
    one, two = memory_stream_pair()
    await one.send_all(bytes(MAX_BUFFERED_BYTES))
    await two.send_all(bytes(MAX_BUFFERED_BYTES))
    return one, two


async def test_trios_conformance_suite() -> None:
    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_a_sender_waits_for_its_reader(autojump_clock: trio.testing.MockClock) -> None:
    one, two = memory_stream_pair()
    with trio.move_on_after(1) as waited:
        await one.send_all(bytes(MAX_BUFFERED_BYTES + 1))
    assert waited.cancelled_caught
    received = 0
    with trio.move_on_after(1):
        while True:
            received += len(await two.receive_some())
    assert received == MAX_BUFFERED_BYTES
    await one.send_all(b"goes on after a cancelled send")
    assert await two.receive_some() == b"goes on after a cancelled send"


async def test_a_reset_breaks_both_directions_and_drops_what_is_under_way() -> None:
    one, two = memory_stream_pair()
    await one.send_all(b"lost")
    one.reset_on_close()
    await one.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await two.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await two.send_all(b"x")


async def test_a_clean_close_delivers_what_was_sent() -> None:
    one, two = memory_stream_pair()
    await one.send_all(b"kept")
    await one.aclose()
    assert await two.receive_some() == b"kept"
    assert await two.receive_some() == b""
