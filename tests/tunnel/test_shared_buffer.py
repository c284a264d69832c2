"""Transports on sockets share one read buffer: nobody sees another's bytes, nobody keeps one."""

from __future__ import annotations

import random
import tracemalloc
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing
from test_websocket import wire
from websockets.frames import Opcode
from wires import socket_pair, together

from tunnel import intake
from tunnel.errors import TransportClosed
from tunnel.frames import MAX_FRAME_BYTES
from tunnel.intake import BUFFER_BYTES
from tunnel.websocket import WebSocketTransport, accept_websocket, connect_websocket

HELD_BYTES = BUFFER_BYTES // 4  # far below a buffer of its own


async def accepted() -> tuple[trio.SocketStream, WebSocketTransport]:
    """A client's bare socket and the server's transport, past the handshake."""
    near, far = await socket_pair()
    _, server = await together(
        lambda: connect_websocket(near, host="relay:1"), lambda: accept_websocket(far)
    )
    return near, server


async def collect(transport: WebSocketTransport, got: list[bytes]) -> None:
    try:
        while True:
            got += [bytes(frame) for frame in await transport.receive()]
    except TransportClosed:
        pass


async def interleave(seed: int) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """Send frames to three transports, in pieces cut anywhere, in turns; sent and received."""
    chance = random.Random(seed)
    pairs = [await accepted() for _ in range(3)]
    sent = [[bytes([n]) * chance.randrange(1, 20_000) for _ in range(5)] for n in range(len(pairs))]
    got: list[list[bytes]] = [[] for _ in pairs]
    async with trio.open_nursery() as nursery:
        left = [b"".join(wire(Opcode.BINARY, frame) for frame in frames) for frames in sent]
        for (_, transport), frames in zip(pairs, got, strict=True):
            nursery.start_soon(collect, transport, frames)
        while any(left):
            n = chance.choice([n for n, data in enumerate(left) if data])
            count = chance.randrange(1, 9_000)
            await pairs[n][0].send_all(left[n][:count])
            left[n] = left[n][count:]
            await trio.testing.wait_all_tasks_blocked()
        for client, _ in pairs:
            await client.aclose()
    return sent, got


@pytest.mark.parametrize("seed", range(3))
async def test_frames_that_come_in_pieces_stay_with_their_transport(seed: int) -> None:
    sent, got = await interleave(seed)
    assert got == sent


async def test_mutant_that_leaves_the_rest_in_the_buffer_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = WebSocketTransport._decode

    def careless(self: WebSocketTransport, data: memoryview) -> list[memoryview]:
        messages = decode(self, data)
        self._rest = data[len(data) - len(self._rest) :]  # type: ignore[assignment]
        return messages

    monkeypatch.setattr(WebSocketTransport, "_decode", careless)
    sent, got = await interleave(0)
    assert got != sent


async def held_by_idle_transports(count: int = 8) -> float:
    """Bytes that each of several transports holds after it has read its largest frames."""
    async with AsyncExitStack() as stack:
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        pairs = [await accepted() for _ in range(count)]
        frame = wire(Opcode.BINARY, bytes(MAX_FRAME_BYTES))
        for client, transport in pairs:
            for _ in range(2):
                await together(lambda c=client: c.send_all(frame), transport.receive)
        size, _ = tracemalloc.get_traced_memory()
        for client, transport in pairs:
            await client.aclose()
            await transport.aclose()
    return (size - len(frame)) / count


async def test_an_idle_transport_holds_no_read_buffer() -> None:
    intake.shared.view  # noqa: B018 made before, so that it is not counted
    assert await held_by_idle_transports() < HELD_BYTES


async def test_mutant_with_a_buffer_of_its_own_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = WebSocketTransport.__init__

    def lavish(self: WebSocketTransport, *args: object) -> None:
        begin(self, *args)  # type: ignore[arg-type]
        self._own = bytearray(BUFFER_BYTES)  # type: ignore[attr-defined]

    monkeypatch.setattr(WebSocketTransport, "__init__", lavish)
    assert await held_by_idle_transports() > HELD_BYTES


async def test_closing_wakes_a_reader() -> None:
    _, transport = await accepted()
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, transport, got)
        await trio.testing.wait_all_tasks_blocked()
        await transport.aclose()
    with pytest.raises(TransportClosed):
        await transport.receive()
    assert got == []
