"""The WebSocket transport: handshakes, bytes split anywhere, peers that misbehave."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MemoryReceiveStream, memory_stream_pair, wait_all_tasks_blocked
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.server import ServerProtocol
from wires import drained, together, websocket_over, websocket_pair

from tunnel.errors import HandshakeFailed, TransportClosed
from tunnel.frames import MAX_FRAME_BYTES
from tunnel.websocket import (
    WebSocketTransport,
    accept_websocket,
    connect_websocket,
)
from tunnel.websocket_codec import MASK_IN_C

MASK = b"abcd"


def wire(opcode: Opcode, data: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    """A WebSocket frame as bytes."""
    frame = WebSocketFrame(opcode, data, fin)
    return bytes(frame.serialize(mask=mask))


async def server_end() -> tuple[trio.StapledStream, WebSocketTransport]:
    """A raw client's byte stream, and the server's transport, shaken hands."""
    near, far = memory_stream_pair()
    await near.send_all(UPGRADE)
    transport = await accept_websocket(far)
    assert b"101" in await near.receive_some()
    return near, transport


UPGRADE = (
    b"GET /tunnel HTTP/1.1\r\nHost: relay:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_masking_is_fast_here() -> None:
    assert MASK_IN_C


# Handshake.


async def test_compression_is_never_agreed() -> None:
    near, far = memory_stream_pair()
    offer = b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    await near.send_all(UPGRADE.replace(b"\r\n\r\n", offer))
    await accept_websocket(far)
    answer = await near.receive_some()
    assert b"101" in answer
    assert b"deflate" not in answer


async def test_the_request_that_a_client_sends() -> None:
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(connect_websocket, near, host="relay:7", path="/tunnel"))
        request = bytes(await far.receive_some())
        nursery.cancel_scope.cancel()
    assert request.startswith(b"GET /tunnel HTTP/1.1\r\n")
    assert b"Host: relay:7\r\n" in request
    assert b"Extensions" not in request
    assert b"Origin" not in request


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (UPGRADE.replace(b"/tunnel", b"/other"), 404),
        (UPGRADE.replace(b"/tunnel", b"/tunnel?x=1"), 404),
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nOrigin: http://evil\r\n\r\n"), 403),
        (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
        (UPGRADE.replace(b"Version: 13", b"Version: 8"), 400),
        (b"GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"POST /tunnel HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"\x16\x03\x01 this is TLS\r\n\r\n", 400),
        (b"x" * 20_000 + b"\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
async def test_what_is_no_upgrade_is_answered_and_refused(request_: bytes, status: int) -> None:
    near, far = memory_stream_pair()
    await near.send_all(request_)
    with pytest.raises(HandshakeFailed) as refusal:
        await accept_websocket(far)
    assert refusal.value.status == status
    assert bytes(await near.receive_some()).startswith(b"HTTP/1.1 %d " % status)
    assert "evil" not in str(refusal.value)


@pytest.mark.parametrize("sent", [b"", b"GET /tun", UPGRADE[:-2]])
async def test_a_peer_that_leaves_during_the_handshake(sent: bytes) -> None:
    near, far = memory_stream_pair()
    await near.send_all(sent)
    await near.send_eof()
    with pytest.raises(TransportClosed):
        await accept_websocket(far)
    near, far = memory_stream_pair()
    await far.send_eof()
    with pytest.raises(TransportClosed):
        await connect_websocket(near, host="relay:1")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 0),
        (b"220 mail.example ESMTP\r\n", 0),
    ],
)
async def test_a_server_that_refuses(answer: bytes, status: int) -> None:
    near, far = memory_stream_pair()
    await far.send_all(answer)
    with pytest.raises(HandshakeFailed) as refusal:
        await connect_websocket(near, host="relay:1")
    assert refusal.value.status == status


async def test_frames_in_the_same_read_as_the_answer_are_not_lost() -> None:
    near, far = memory_stream_pair()

    async def serve() -> None:
        protocol = ServerProtocol()
        protocol.receive_data(bytes(await far.receive_some()))
        (request,) = protocol.events_received()
        protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
        protocol.send_binary(b"at once")
        await far.send_all(b"".join(protocol.data_to_send()))

    transport, _ = await together(partial(connect_websocket, near, host="relay:1"), serve)
    with trio.fail_after(1.0):
        assert await drained(transport, 1) == [b"at once"]


# Bytes split anywhere.


async def until_closed(transport: WebSocketTransport) -> list[bytes]:
    """Receive until the transport says that it is closed."""
    frames: list[bytes] = []
    with suppress(TransportClosed):
        while True:
            frames += [bytes(frame) for frame in await transport.receive()]
    return frames


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Split data at some places."""
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(marks) if a != b]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Messages, some fragmented, pings in between; the bytes and what has to come out."""
    data, messages = b"", []
    for message in draw(st.lists(st.binary(max_size=300), max_size=5)):
        pieces = cut(message, draw(st.lists(st.integers(0, 300), max_size=3))) or [b""]
        if draw(st.booleans()):
            pieces.insert(draw(st.integers(0, len(pieces))), b"")
        for n, piece in enumerate(pieces):
            opcode = Opcode.CONT if n else Opcode.BINARY
            data += wire(opcode, piece, fin=n == len(pieces) - 1)
            if draw(st.booleans()):
                data += wire(Opcode.PING, b"are you there")
        messages.append(message)
    return data, messages


@given(conversations(), st.lists(st.integers(0, 4000), max_size=12))
async def test_bytes_split_anywhere_give_the_same_frames(
    conversation: tuple[bytes, list[bytes]], places: list[int]
) -> None:
    data, messages = conversation
    near, transport = await server_end()
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            got.extend(await until_closed(transport))

        for piece in cut(data, places):
            await near.send_all(piece)
            await wait_all_tasks_blocked()
        await near.send_eof()
    assert got == messages


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
async def test_garbage_after_the_handshake_ends_the_transport(
    data: bytes, places: list[int]
) -> None:
    near, transport = await server_end()
    for piece in cut(data, places):
        await near.send_all(piece)
    await near.send_eof()
    with trio.fail_after(5.0):
        assert all(len(frame) <= MAX_FRAME_BYTES for frame in await until_closed(transport))


async def test_a_message_over_the_limit_in_fragments_is_refused() -> None:
    near, transport = await server_end()
    half = bytes(MAX_FRAME_BYTES // 2 + 1)
    await near.send_all(wire(Opcode.BINARY, half, fin=False) + wire(Opcode.CONT, half))
    assert await closes_with(near, transport, expected=1009)


async def test_a_frame_over_the_limit_is_refused_by_its_header() -> None:
    near, transport = await server_end()
    await near.send_all(wire(Opcode.BINARY, bytes(MAX_FRAME_BYTES + 1))[:14])
    assert await closes_with(near, transport, expected=1009)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (wire(Opcode.TEXT, b"hello"), 1003),
        (wire(Opcode.BINARY, b"unmasked", mask=False), 1002),
        (wire(Opcode.CONT, b"of what"), 1002),
        (b"\xff\xff\xff\xff", 1002),
        (wire(Opcode.CLOSE, b"\x03\xe8"), 1000),
    ],
    ids=["text", "unmasked", "continuation", "garbage", "close"],  # masks are random
)
async def test_a_peer_that_misbehaves_or_leaves_gets_a_close(data: bytes, code: int) -> None:
    near, transport = await server_end()
    await near.send_all(data)
    assert await closes_with(near, transport, expected=code)


async def closes_with(
    near: trio.StapledStream, transport: WebSocketTransport, *, expected: int
) -> bool:
    """The transport ends, and its end says why on the wire."""
    with trio.fail_after(1.0), pytest.raises(TransportClosed):
        await transport.receive()
    with pytest.raises(TransportClosed):
        await transport.send([[b"too late"]])
    await transport.aclose()
    reply = bytes(await near.receive_some())
    return reply[0] == 0x88 and int.from_bytes(reply[2:4], "big") == expected


async def test_empty_fragments_are_not_kept() -> None:
    near, transport = await server_end()
    await near.send_all(wire(Opcode.BINARY, fin=False) + 500 * wire(Opcode.CONT, fin=False))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drained, transport, 1)
        await wait_all_tasks_blocked()
        assert transport._fragments == []
        nursery.cancel_scope.cancel()


# Who writes.


async def test_the_reader_never_writes() -> None:
    near, transport = await server_end()
    await near.send_all(wire(Opcode.PING, b"ping") + wire(Opcode.BINARY, b"data"))
    assert await drained(transport, 1) == [b"data"]
    assert transport.pending
    assert isinstance(near.receive_stream, MemoryReceiveStream)
    with pytest.raises(trio.WouldBlock):
        near.receive_stream._incoming.get_nowait()  # type: ignore[attr-defined]
    await transport.send([])
    assert not transport.pending
    assert bytes(await near.receive_some()) == wire(Opcode.PONG, b"ping", mask=False)


async def test_a_pong_does_not_wait_for_the_next_message() -> None:
    near, transport = await server_end()
    await near.send_all(wire(Opcode.PING, b"ping"))
    assert await transport.receive() == []
    assert transport.pending
    await transport.send([])
    assert bytes(await near.receive_some()) == wire(Opcode.PONG, b"ping", mask=False)


async def test_a_stream_that_breaks_is_a_closed_transport() -> None:
    near, far = await websocket_pair()
    await trio.aclose_forcefully(near._stream)  # type: ignore[attr-defined]
    for act in (lambda: far.receive(), lambda: near.receive(), lambda: near.send([[b"x"]])):
        with pytest.raises(TransportClosed):
            await act()


async def test_a_write_that_is_cancelled_still_closes_the_byte_stream() -> None:
    stream, far = trio.testing.lockstep_stream_pair()
    near, _ = await websocket_over(stream, far)
    with trio.move_on_after(0.01) as scope:
        await near.aclose()  # nobody reads: the Close frame cannot leave
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")
