"""What every transport must do: one suite, run for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import trio
from reference_transport import accept_reference, connect_reference
from trio.testing import memory_stream_pair
from wires import Contexts, Ends, drained, socket_pair, tls_over, together, websocket_over

from tunnel.errors import TransportClosed
from tunnel.frames import MAX_FRAME_BYTES
from tunnel.memory import memory_transport_pair
from tunnel.scheduler import joined
from tunnel.transport import Transport
from tunnel.websocket import accept_websocket, connect_websocket

BIG = bytes(range(251)) * 261


KINDS = [
    "memory",
    "websocket",
    "websocket on TCP",
    "websocket on TLS",
    "reference",
    "reference client",
    "reference server",
]


@pytest.fixture(params=KINDS)
async def ends(request: pytest.FixtureRequest, contexts: Contexts) -> AsyncIterator[Ends]:
    match request.param:
        case "memory":
            near, far, _ = memory_transport_pair()
            made: Ends = near, far
        case "websocket":
            made = await websocket_over(*memory_stream_pair())
        case "websocket on TCP":
            made = await websocket_over(*await socket_pair())
        case "reference":
            made = await opened(connect_reference, accept_reference)
        case "reference client":
            made = await opened(connect_reference, accept_websocket)
        case "reference server":
            made = await opened(partial(connect_websocket, host="relay:1"), accept_reference)
        case _:
            made = await websocket_over(*await tls_over(contexts, *await socket_pair()))
    yield made
    for end in made:
        with trio.move_on_after(0.01):  # Close is not sent to an end that does not read
            await end.aclose()


Open = Callable[[trio.abc.Stream], Awaitable[Transport]]


async def opened(connect: Open, accept: Open) -> Ends:
    """A WebSocket on TCP whose ends are opened as told."""
    near, far = await socket_pair()
    ends: Ends = await together(partial(connect, near), partial(accept, far))
    return ends


async def test_frames_arrive_whole_and_in_order(ends: Ends) -> None:
    for sender, receiver in (ends, ends[::-1]):
        frames = [BIG[:n] for n in (8, 9, 125, 126, 127, 4096, 65_534, MAX_FRAME_BYTES)]
        _, got = await together(
            lambda s=sender, f=frames: s.send([[frame] for frame in f]),  # type: ignore[misc]
            lambda r=receiver, f=frames: drained(r, len(f)),  # type: ignore[misc]
        )
        assert got == frames


async def test_what_is_not_taken_at_once_is_pending_and_goes_first(ends: Ends) -> None:
    for sender, receiver in (ends, ends[::-1]):
        frames: list[bytes] = []
        while not sender.pending:  # until the sockets are full
            frames.append(b"%08d" % len(frames) + BIG[:60_000])
            sender.send_now([[frames[-1]]])
        frames.append(b"the last one")
        _, got = await together(
            lambda s=sender, f=frames: s.send([[f[-1]]]),  # type: ignore[misc]
            lambda r=receiver, f=frames: drained(r, len(f)),  # type: ignore[misc]
        )
        assert got == frames
        assert not sender.pending


async def test_nothing_is_sent_at_once_after_the_end(ends: Ends) -> None:
    near, far = ends
    await far.aclose()
    with pytest.raises(TransportClosed):
        await drained(near, 1)

    async def send() -> None:
        for _ in range(9):  # a socket tells at the second write
            near.send_now([[b"too late"]])
            await near.send([])

    with pytest.raises(TransportClosed):
        await send()


async def test_a_frame_of_several_buffers_is_one_message(ends: Ends) -> None:
    near, far = ends
    await near.send([[b"head", bytearray(b"er"), memoryview(BIG)[:5]], [b"next"]])
    assert await drained(far, 2) == [b"header" + BIG[:5], b"next"]


async def test_sending_nothing_is_nothing(ends: Ends) -> None:
    near, far = ends
    await near.send([])
    await near.send([[b"something"]])
    assert await drained(far, 1) == [b"something"]
    assert not near.pending


async def test_thousands_of_small_frames(ends: Ends) -> None:
    near, far = ends
    frames = [[b"%08d" % n] for n in range(5000)]
    _, got = await together(lambda: near.send(frames), lambda: drained(far, len(frames)))
    assert got == [joined(frame) for frame in frames]


async def test_both_may_send_more_than_the_buffers_hold(ends: Ends) -> None:
    frames = [[BIG[:60_000]]] * 100

    async def talk(end: Transport) -> int:
        async def say() -> None:
            for start in range(0, len(frames), 10):
                await end.send(frames[start : start + 10])

        _, got = await together(say, lambda: drained(end, len(frames)))
        return sum(map(len, got))

    assert await together(lambda: talk(ends[0]), lambda: talk(ends[1])) == (6_000_000, 6_000_000)


async def test_a_sender_waits_for_a_slow_reader(ends: Ends, request: pytest.FixtureRequest) -> None:
    if "[websocket]" in request.node.name:
        return  # memory streams of trio buffer without a limit
    near, far = ends
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while True:
            await near.send([[BIG[:60_000]]])
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour)
        while True:
            before = sent
            await trio.testing.wait_all_tasks_blocked(0.01)
            if sent == before:
                break
        assert 0 < sent * 60_000 < 64 << 20
        await drained(far, sent)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sent > before
        nursery.cancel_scope.cancel()


async def test_what_was_sent_before_the_end_arrives(ends: Ends) -> None:
    near, far = ends
    await near.send([[b"last"], [b"words"]])
    await near.aclose()
    assert await drained(far, 2) == [b"last", b"words"]
    with pytest.raises(TransportClosed):
        await far.receive()
    with pytest.raises(TransportClosed):
        await far.receive()


async def test_an_end_that_is_gone_takes_nothing(ends: Ends) -> None:
    near, far = ends
    await near.aclose()
    with pytest.raises(TransportClosed):
        await drained(far, 1)
    with pytest.raises(TransportClosed):
        await far.send([[BIG[:1000]]])


async def test_a_closed_end_is_of_no_more_use(ends: Ends) -> None:
    near, _ = ends
    await near.aclose()
    await near.aclose()
    for act in (near.receive, lambda: near.send([[b"x" * 8]])):
        with pytest.raises(TransportClosed):
            await act()


async def test_closing_wakes_a_waiting_reader(ends: Ends) -> None:
    near, far = ends

    async def wait() -> bool:
        with pytest.raises(TransportClosed):
            await far.receive()
        return True

    async def leave() -> None:
        await trio.testing.wait_all_tasks_blocked(0.01)
        await near.aclose()

    assert (await together(wait, leave))[0]


async def test_closing_when_cancelled_still_closes(ends: Ends) -> None:
    near, far = ends
    with trio.CancelScope() as scope:
        scope.cancel()
        await near.aclose()
    with pytest.raises(TransportClosed):
        await drained(far, 1)


@pytest.mark.parametrize("act", [lambda e: e.receive(), lambda e: e.send([[b"x" * 8]])])
async def test_every_wait_can_be_cancelled(ends: Ends, act: Callable[[Transport], object]) -> None:
    near, _ = ends
    with trio.CancelScope() as scope:
        scope.cancel()
        await act(near)  # type: ignore[misc]
    assert scope.cancelled_caught
