"""Floods and dawdlers: each is bounded in time, in memory and in how long the others wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from edge_cast import Clockwork, connection, echo, exchange, serving
from edge_rows import GOOD
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from relay import http1
from relay.app import Relay
from relay.metrics import Metrics
from relay.serving import serve as serve_http
from relay.settings import RelaySettings
from tunnel import websocket
from tunnel.errors import TransportClosed
from tunnel.frames import FrameType
from tunnel.http.guard import HttpGuard
from tunnel.http.patience import Patience
from tunnel.peer import NOBODY
from tunnel.settings import TunnelSettings
from tunnel.websocket import WebSocketTransport, accept_websocket

SETTINGS = RelaySettings()
IDLE_S, RATE = SETTINGS.body_idle_s, SETTINGS.body_rate_bytes_s


async def socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Both ends of a connection on loopback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        near = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        return near, await listener.accept()


# Slow senders.


async def seconds_until_cut(listener: str, pause_s: float, piece: bytes) -> float:
    """How long a body that drips is put up with."""
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    async with connection(serving(listener, reads=True)) as client:
        await client.send_all(head)

        async def drip() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    await trio.sleep(pause_s)
                    await client.send_all(piece)

        begun_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            with suppress(trio.BrokenResourceError), trio.move_on_after(20 * IDLE_S):
                while await client.receive_some():
                    pass
            nursery.cancel_scope.cancel()
        return trio.current_time() - begun_s


SENDERS = ("viewer", "control plane", "customer")


@pytest.mark.parametrize("listener", SENDERS)
async def test_a_body_that_drips_runs_out_of_patience(
    listener: str, autojump_clock: trio.testing.MockClock
) -> None:
    assert await seconds_until_cut(listener, IDLE_S - 1, b"x") <= IDLE_S + SETTINGS.close_s + 1


@pytest.mark.parametrize("listener", ["viewer", "customer"])
async def test_a_body_that_is_slow_but_moves_arrives(
    listener: str, autojump_clock: trio.testing.MockClock
) -> None:
    pace_s = 10.0
    seconds = await seconds_until_cut(listener, pace_s, bytes(int(RATE * pace_s)))
    assert seconds > 10 * IDLE_S


async def test_patience_comes_back_with_bytes(autojump_clock: trio.testing.MockClock) -> None:
    patience = Patience(10.0, 100)
    for _ in range(50):
        with patience.scope() as scope:
            await trio.sleep(5)
        patience.got(500)
        assert not scope.cancelled_caught
    with patience.scope() as scope:
        await trio.sleep(10.1)
    assert scope.cancelled_caught


# Many small things in one read.


async def turns_during(work: Callable[[], Any]) -> int:
    """How often others had a turn while something was worked through."""
    clockwork = Clockwork()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clockwork.run)
        await trio.lowlevel.checkpoint()
        before = clockwork.turns
        await work()
        turns = clockwork.turns - before
        nursery.cancel_scope.cancel()
    return turns


async def test_others_have_a_turn_between_pipelined_requests() -> None:
    count = 200
    near, far = await socket_pair()
    await near.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * count)
    await near.send_eof()
    serve = partial(serve_http, far, SETTINGS, Metrics(), echo)
    assert await turns_during(serve) >= count


async def test_others_have_a_turn_between_tiny_chunks() -> None:
    count = 200
    near, far = memory_stream_pair()
    await near.send_all(GOOD["viewer"] + b"Transfer-Encoding: chunked\r\n\r\n")
    await near.send_all(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
    await near.send_eof()
    serve = partial(serve_http, far, SETTINGS, Metrics(), echo)
    assert await turns_during(serve) >= count


def test_no_octet_of_a_trailer_passes_the_guard() -> None:
    guard = HttpGuard()
    head = GOOD["customer"] + b"Transfer-Encoding: chunked\r\n\r\n"
    assert guard.feed(head + b"0\r\nContent-Length: 5\r\n\r\n") == head + b"0\r\n"
    assert guard.refused


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame as bytes."""
    return bytes(Frame(opcode, data, fin).serialize(mask=True))


async def server_end() -> tuple[trio.StapledStream, WebSocketTransport]:
    """A raw client's byte stream, and the server's transport, shaken hands."""
    near, far = memory_stream_pair()
    await near.send_all(GOOD["agent"] + b"\r\n")
    transport = await accept_websocket(far)
    assert b"101" in await near.receive_some()
    return near, transport


async def portions(messages: list[bytes], tail: bytes = b"") -> tuple[list[int], int]:
    """Send messages in one write; return how many came at a time, and turns that others had."""
    near, transport = await server_end()
    got: list[bytes] = []
    sizes: list[int] = []
    await near.send_all(b"".join(frame(Opcode.BINARY, m) for m in messages) + tail)

    async def receive() -> None:
        while len(got) < len(messages):
            found = await transport.receive()
            got.extend(map(bytes, found))
            sizes.append(len(found))

    turns = await turns_during(receive)
    assert got == messages
    assert transport._held == []
    return sizes, turns


DATA, PING = bytes([FrameType.DATA]), bytes([FrameType.PING])


async def test_tiny_frames_of_one_read_are_decoded_in_turns() -> None:
    messages = [DATA + b"%d" % n for n in range(4 * websocket.FRAMES_IN_A_TURN)]
    sizes, turns = await portions(messages)
    assert max(sizes) <= websocket.FRAMES_IN_A_TURN + 1
    assert turns >= 2


@pytest.mark.parametrize("kind", [PING, b"", b"\xff"], ids=["ping", "empty", "unknown"])
async def test_frames_that_cost_more_are_handed_out_in_turns(kind: bytes) -> None:
    sizes, turns = await portions([kind] * (4 * websocket.COSTLY_IN_A_TURN))
    assert max(sizes) <= websocket.COSTLY_IN_A_TURN
    assert turns >= 2


async def test_costly_frames_between_others_keep_their_order() -> None:
    messages = [kind + b"%d" % n for n in range(300) for kind in (DATA, PING, DATA)]
    sizes, _ = await portions(messages, frame(Opcode.CLOSE, b"\x03\xe8"))
    assert max(sizes) <= 3 * websocket.COSTLY_IN_A_TURN + 2


async def test_pings_of_one_read_are_answered_in_turns() -> None:
    count = 8 * websocket.FRAMES_IN_A_TURN // websocket.OTHER_FRAME
    near, transport = await server_end()
    await near.send_all(frame(Opcode.PING, b"x") * count)
    pongs = reads = 0
    while pongs < count:
        await transport.receive()
        await transport.send([])
        pongs += len(await near.receive_some()) // 3
        reads += 1
    assert reads >= 8


async def ends_with(near: trio.StapledStream, transport: WebSocketTransport, data: bytes) -> int:
    """Send a flood that nobody answers; return the code that ends the WebSocket."""
    await near.send_all(data)
    await near.send_eof()
    with suppress(TransportClosed):
        while True:
            await transport.receive()
    await transport.aclose()
    sent = b""
    with suppress(trio.BrokenResourceError):
        while piece := await near.receive_some():
            sent += piece
    return int.from_bytes(sent[-2:], "big") if sent[-4:-2] == b"\x88\x02" else 0


async def test_a_peer_that_pings_and_does_not_read_is_cut_off() -> None:
    near, transport = await server_end()
    flood = frame(Opcode.PING, bytes(125)) * (10 * websocket.MAX_PONGS)
    assert await ends_with(near, transport, flood) == websocket.POLICY
    assert transport._pongs <= websocket.MAX_PONGS + 2


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one byte"])
async def test_a_message_in_too_many_fragments_is_cut_off(payload: bytes) -> None:
    near, transport = await server_end()
    flood = frame(Opcode.BINARY, payload, fin=False)
    flood += frame(Opcode.CONT, payload, fin=False) * (2 * websocket.MAX_FRAGMENTS)
    assert await ends_with(near, transport, flood) == websocket.POLICY
    assert len(transport._fragments) <= websocket.MAX_FRAGMENTS


async def test_an_endless_head_of_an_upgrade_is_not_kept() -> None:
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        relay = Relay(SETTINGS, TunnelSettings(), insecure=True)
        nursery.start_soon(relay.serve_agent, far, NOBODY)
        flood = GOOD["agent"] + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 100_000
        answer = await exchange(near, [flood[at : at + 1_000] for at in range(0, 30_000, 1_000)])
        assert answer.startswith(b"HTTP/1.1 400 ")


# A refusal never costs more than it has to.


async def test_a_head_that_drips_is_not_read_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []
    check = http1.check_start

    def counted(data: memoryview, seen: int = 0) -> None:
        looked.append(len(data) - seen)
        check(data, seen)

    monkeypatch.setattr(http1, "check_start", counted)
    near, far = memory_stream_pair()
    head = GOOD["viewer"] + b"X: " + b"y" * 300 + b"\r\n\r\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, far, SETTINGS, Metrics(), echo)
        for at in range(len(head)):
            await near.send_all(head[at : at + 1])
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sum(looked) <= 2 * len(head)


def test_the_error_is_json_that_says_what_is_wrong() -> None:
    async def told() -> bytes:
        async with connection(serving("viewer")) as client:
            return await exchange(client, [GOOD["viewer"] + b"Host: b\r\n\r\n"])

    body = trio.run(told).partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {
        "code": "invalid_argument",
        "message": "a header that must be single is repeated",
    }
