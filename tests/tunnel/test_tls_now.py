"""TLS on sockets without awaiting: every byte once, in order, whatever the socket takes."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from functools import partial

import pytest
import trio
from trio.testing import check_two_way_stream, memory_stream_pair
from wires import Contexts, tls_over, together

from tunnel import tls
from tunnel.gather import send_now, send_rest, skip
from tunnel.intake import Shared, can_read_now, read_into, shared
from tunnel.tls import TlsStream

BUFFER_BYTES = 8_192


async def pair(contexts: Contexts) -> tuple[TlsStream, TlsStream]:
    """TLS between sockets whose buffers are small."""
    ends = []
    for end in socket.socketpair():
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        end.setblocking(False)
        ends.append(trio.SocketStream(trio.socket.from_stdlib_socket(end)))
    return await tls_over(contexts, *ends)


async def send(stream: TlsStream, buffers: list[bytes]) -> None:
    sent = send_now(stream, buffers)
    if sent < sum(map(len, buffers)):
        await send_rest(stream, buffers, sent)


async def read(stream: TlsStream, size: int, limit: int = 100_000) -> bytes:
    """Read by `read_into` until so many bytes are there, or the end."""
    data = b""
    while len(data) < size and (count := await read_into(stream, 7, limit)):
        data += bytes(shared.view[7 : 7 + count])
        await trio.lowlevel.checkpoint()
    return data


def batches(seed: int) -> list[list[bytes]]:
    """Buffers of all sizes, empty ones too, in batches of all lengths."""
    chance = random.Random(seed)
    sizes = (0, 1, 2, 5, 100, 5_000, 16_384, 70_000)
    return [
        [chance.randbytes(chance.choice(sizes)) for _ in range(chance.randrange(1, 9))]
        for _ in range(12)
    ]


async def test_trios_conformance_suite_on_sockets(contexts: Contexts) -> None:
    await check_two_way_stream(partial(pair, contexts), None)


@pytest.mark.parametrize("seed", range(6))
async def test_every_byte_once_and_in_order(contexts: Contexts, seed: int) -> None:
    near, far = await pair(contexts)
    sent = batches(seed)
    whole = b"".join(b"".join(batch) for batch in sent)

    async def write() -> None:
        for number, batch in enumerate(sent):
            if number % 3:
                await send(near, batch)
            else:
                await near.send_all(b"".join(batch))

    limit = random.Random(seed).choice([10, 20_000, 200_000])
    _, got = await together(write, partial(read, far, len(whole), limit))
    assert got == whole


async def test_a_batch_larger_than_one_encryption(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "WRITE_BYTES", 1_000)
    near, far = await pair(contexts)
    parts = [b"a" * 700, b"b" * 700, b"c" * 100_000]
    _, got = await together(partial(send, near, parts), partial(read, far, 101_400))
    assert got == b"".join(parts)


async def test_what_was_not_taken_is_repeated(contexts: Contexts) -> None:
    """As a caller that tries again and again, with what is left and more."""
    near, far = await pair(contexts)
    more = [bytes([i]) * 30_000 for i in range(20)]
    whole, got, rest = b"".join(more), b"", []
    refused = 0
    while more or sum(map(len, rest)) > 1:
        rest += [more.pop(0)] if more else []
        rest = list(skip(rest, send_now(near, rest)))
        refused += bool(rest)
        with suppress(BlockingIOError):
            got += bytes(shared.view[: far.read_now(shared.view)])
    assert refused
    _, end = await together(
        partial(send_rest, near, rest, 0), partial(read, far, len(whole) - len(got))
    )
    assert got + end == whole


async def test_one_with_room_takes_all_at_once(contexts: Contexts) -> None:
    near, far = await pair(contexts)
    assert send_now(near, [b"some ", b"text"]) == 9
    assert await read(far, 9) == b"some text"


async def test_only_on_sockets(contexts: Contexts) -> None:
    near, far = await tls_over(contexts, *memory_stream_pair())
    assert not can_read_now(near)
    assert send_now(near, [b"some ", b"text"]) == 0
    await send(near, [b"some ", b"text"])
    assert await far.receive_some() == b"some text"


async def test_the_end(contexts: Contexts) -> None:
    near, far = await pair(contexts)
    await near.send_all(b"last")
    await near.aclose()
    assert await read(far, 100) == b"last"
    assert await read(far, 100) == b""
    for broken in (partial(send_now, near, [b"text"]), partial(near.read_now, shared.view)):
        with pytest.raises(trio.ClosedResourceError):
            broken()


async def test_broken_connections_are_told(contexts: Contexts) -> None:
    near, far = await pair(contexts)
    await trio.aclose_forcefully(far._stream)
    with pytest.raises(trio.BrokenResourceError):
        send_now(near, [b"text"] * 4)
    near, far = await pair(contexts)
    await near._stream.send_all(b"this is no record of TLS")
    with pytest.raises(trio.BrokenResourceError):
        await read(far, 1)


async def test_a_send_that_stalls_can_be_cancelled_and_closed(contexts: Contexts) -> None:
    near, _ = await pair(contexts)
    with trio.move_on_after(0.05) as scope:
        await send(near, [bytes(1_000_000)])
    assert scope.cancelled_caught
    await trio.aclose_forcefully(near)


async def test_the_read_buffer_is_wiped_when_a_read_would_wait(contexts: Contexts) -> None:
    near, far = await pair(contexts)
    await near.send_all(b"a secret")
    assert await read(far, 8) == b"a secret"
    assert b"a secret" in bytes(shared.view)
    with trio.move_on_after(0.01):
        await read(far, 1)
    assert not any(shared.view)
    assert not any(tls._scratch.plain)


def test_wiping_takes_what_was_used() -> None:
    own = Shared()
    own.view[:10] = b"0123456789"
    own.used(4)
    own.used(2)
    own.wipe()
    assert bytes(own.view[:10]) == bytes(4) + b"456789"
