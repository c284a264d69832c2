"""Gather writes: every byte once and in order, however little the socket takes."""

from __future__ import annotations

import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair
from wires import socket_pair

from tunnel.gather import MAX_BUFFERS, deepen, send_now, send_rest, skip


async def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Both ends of a connection whose buffers are small."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_608)
        end.setblocking(False)
    return (
        trio.SocketStream(trio.socket.from_stdlib_socket(near)),
        trio.SocketStream(trio.socket.from_stdlib_socket(far)),
    )


async def send(stream: trio.abc.SendStream, buffers: list[bytes]) -> int:
    sent = send_now(stream, buffers)
    if sent < sum(map(len, buffers)):
        await send_rest(stream, buffers, sent)
    return sent


@pytest.mark.parametrize("count", [1, 40, MAX_BUFFERS + 1])
async def test_every_byte_once_and_in_order(count: int) -> None:
    buffers = [bytes([i % 251]) * 1_000 for i in range(count)]
    near, far = await pair()
    received = b""
    async with near, far, trio.open_nursery() as nursery:
        nursery.start_soon(send, near, buffers)
        while len(received) < 1_000 * count:
            received += await far.receive_some()
    assert received == b"".join(buffers)


async def test_a_socket_with_room_takes_all_at_once() -> None:
    near, far = await pair()
    async with near, far:
        assert send_now(near, [b"some ", b"text"]) == 9
        assert await far.receive_some() == b"some text"


async def test_a_kernel_may_hold_a_batch_unsent() -> None:
    near, far = await socket_pair()
    async with near, far:
        deepen(near, 100_000)
        unsent = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        assert unsent == 100_000
    for stream in (*await pair(), *memory_stream_pair()):
        deepen(stream, 100_000)  # neither has such a thing
        await stream.aclose()


async def test_other_streams_get_one_joined_write() -> None:
    near, far = memory_stream_pair()
    assert await send(near, [b"some ", b"text"]) == 0
    assert await far.receive_some() == b"some text"


async def test_a_broken_connection_is_told() -> None:
    near, far = await pair()
    await far.aclose()
    async with near:
        with pytest.raises(trio.BrokenResourceError):
            await send(near, [b"text"] * 4)
    with pytest.raises(trio.ClosedResourceError):
        send_now(near, [b"text"])


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 90))
def test_skip(buffers: list[bytes], count: int) -> None:
    assert b"".join(skip(buffers, count)) == b"".join(buffers)[count:]
