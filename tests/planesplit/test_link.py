"""The link forwards bytes unchanged, and fails exactly where it is told to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from planesplit.split.link import Link

PATIENCE_S = 5


@contextlib.asynccontextmanager
async def linked(
    serve: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[tuple[Link, Callable[[], Awaitable[trio.SocketStream]]]]:
    """A link in front of a server, and a function that dials it."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(serve_quietly, serve)
        port = listeners[0].socket.getsockname()[1]
        link = Link(lambda: trio.open_tcp_stream("127.0.0.1", port))
        await nursery.start(link.serve)
        with trio.fail_after(PATIENCE_S):
            yield link, lambda: trio.open_tcp_stream("127.0.0.1", link.port)
        nursery.cancel_scope.cancel()


async def serve_quietly(
    serve: Callable[[trio.SocketStream], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    async def handler(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, OSError):  # what a cut link looks like
            await serve(stream)

    await trio.serve_tcp(handler, 0, host="127.0.0.1", task_status=task_status)


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        if not more:
            break
        data += more
    return data


async def test_bytes_pass_unchanged_in_both_directions() -> None:
    message = bytes(range(256)) * 1024
    async with linked(echo) as (link, dial), await dial() as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, message)
            assert await exactly(stream, len(message)) == message
        assert link.forwarded_bytes == 2 * len(message)
        assert link.connections == 1


async def test_end_of_stream_crosses_and_the_other_direction_goes_on() -> None:
    async def answer_at_end(stream: trio.SocketStream) -> None:
        received = b"".join([bytes(data) async for data in stream])
        await stream.send_all(received[::-1])
        await stream.send_eof()

    async with linked(answer_at_end) as (_, dial), await dial() as stream:
        await stream.send_all(b"abc")
        await stream.send_eof()
        assert await exactly(stream, 99) == b"cba"


async def test_a_reset_is_seen_by_both_sides() -> None:
    seen = trio.Event()

    async def server(stream: trio.SocketStream) -> None:
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        seen.set()

    async with linked(server) as (link, dial), await dial() as stream:
        assert await exactly(stream, 1) == b"x"
        assert link.cut() == 1
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await seen.wait()
        assert link.cuts == 1


async def test_a_clean_end_reads_as_end_of_stream() -> None:
    async with linked(echo) as (link, dial), await dial() as stream:
        await stream.send_all(b"x")
        await exactly(stream, 1)
        link.cut("end")
        assert await stream.receive_some() == b""


@pytest.mark.parametrize("at", [1, 1000, 65_536, 100_000])
async def test_cut_at_an_exact_byte(at: int) -> None:
    async def source(stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(bytes(50_000))

    async with linked(source) as (link, dial):
        link.cut_after(at, "end")
        async with await dial() as stream:
            assert len(await exactly(stream, 10**6)) == at
        assert link.forwarded_bytes == at
        async with await dial() as stream:  # once only: the next connection is whole
            assert len(await exactly(stream, 200_000)) == 200_000


async def test_a_frozen_link_is_silent_and_loses_nothing() -> None:
    async with linked(echo) as (link, dial), await dial() as stream:
        link.freeze()
        await stream.send_all(b"kept")
        with trio.move_on_after(0.05) as silence:
            await stream.receive_some()
        assert silence.cancelled_caught
        link.thaw()
        assert await exactly(stream, 4) == b"kept"


async def test_delay_is_added_in_each_direction() -> None:
    async with linked(echo) as (link, dial), await dial() as stream:
        link.delay_s = 0.04
        began = trio.current_time()
        await stream.send_all(b"x")
        await exactly(stream, 1)
        assert trio.current_time() - began >= 0.08


async def test_a_refusing_link_resets_new_connections_only() -> None:
    async with linked(echo) as (link, dial), await dial() as old:
        await old.send_all(b"x")
        await exactly(old, 1)
        link.refusing = True
        async with await dial() as new:
            with pytest.raises(trio.BrokenResourceError):
                await new.receive_some()
        await old.send_all(b"y")
        assert await exactly(old, 1) == b"y"


async def test_an_absent_relay_looks_like_a_closed_port() -> None:
    async with trio.open_nursery() as nursery:
        link = Link(lambda: trio.open_tcp_stream("127.0.0.1", 1))
        await nursery.start(link.serve)
        async with await trio.open_tcp_stream("127.0.0.1", link.port) as stream:
            with trio.fail_after(PATIENCE_S), pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        nursery.cancel_scope.cancel()
