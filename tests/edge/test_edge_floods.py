"""Floods and dawdlers: each is bounded in time, in memory and in how long the others wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from edge_cast import connection, echo, exchange, serving
from edge_rows import GOOD
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from planesplit.pki import Authority
from relay import http1, server
from relay.app import Relay
from relay.metrics import Metrics, Reason
from relay.server import Door
from relay.settings import RelaySettings
from tunnel import websocket
from tunnel.errors import TransportClosed
from tunnel.http.guard import HttpGuard
from tunnel.http.patience import Patience
from tunnel.settings import TunnelSettings
from tunnel.tls import TlsStream, client_context, server_context
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


class Clockwork:
    """Counts the turns of the loop that others get."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.turns += 1


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
    serve = partial(http1.serve, far, SETTINGS, Metrics(), echo)
    assert await turns_during(serve) >= count


async def test_others_have_a_turn_between_tiny_chunks() -> None:
    count = 200
    near, far = memory_stream_pair()
    await near.send_all(GOOD["viewer"] + b"Transfer-Encoding: chunked\r\n\r\n")
    await near.send_all(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
    await near.send_eof()
    serve = partial(http1.serve, far, SETTINGS, Metrics(), echo)
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


async def test_tiny_frames_of_one_read_are_decoded_in_turns() -> None:
    count = 4 * websocket.FRAMES_IN_A_TURN
    near, transport = await server_end()
    await near.send_all(frame(Opcode.BINARY, b"x") * count)
    sizes, turns = [], 0
    while sum(sizes) < count:
        sizes.append(0)

        async def receive() -> None:
            sizes[-1] = len(await transport.receive())

        turns += await turns_during(receive)
    assert max(sizes) <= websocket.FRAMES_IN_A_TURN + 1
    assert turns >= 3


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
        nursery.start_soon(partial(relay.serve_agent, far, peer_uris=()))
        flood = GOOD["agent"] + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 100_000
        answer = await exchange(near, [flood[at : at + 1_000] for at in range(0, 30_000, 1_000)])
        assert answer.startswith(b"HTTP/1.1 400 ")


# Crowds.


class Crowd:
    """Guests at a door, each with an address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: int) -> None:
        self.relay = Relay(RelaySettings(**settings), TunnelSettings(), insecure=True)
        self.door = Door(self.relay, self._serve, None)
        self.inside: list[str] = []
        self._addresses: dict[int, str] = {}
        monkeypatch.setattr(server, "_peer", lambda stream: self._addresses.get(id(stream), ""))

    async def come(self, nursery: trio.Nursery, address: str, count: int = 1) -> None:
        for _ in range(count):
            _, stream = memory_stream_pair()
            self._addresses[id(stream)] = address
            nursery.start_soon(self._enter, stream, address)
        await wait_all_tasks_blocked()

    async def _enter(self, stream: trio.abc.Stream, address: str) -> None:
        with trio.CancelScope() as self.last:
            await self.door.enter(stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        self.inside.append(self._addresses[id(stream)])
        await trio.sleep_forever()


async def test_one_address_cannot_take_a_whole_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(monkeypatch, max_connections=10, max_connections_per_peer=4)
    async with trio.open_nursery() as nursery:
        await crowd.come(nursery, "192.0.2.1", 9)
        await crowd.come(nursery, "192.0.2.2", 2)
        assert crowd.inside == ["192.0.2.1"] * 4 + ["192.0.2.2"] * 2
        assert crowd.relay.metrics.get("relay_rejected_total", Reason.TOO_MANY_OF_PEER) == 5
        nursery.cancel_scope.cancel()


async def test_who_leaves_makes_room_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(monkeypatch, max_connections_per_peer=1)
    async with trio.open_nursery() as nursery:
        await crowd.come(nursery, "192.0.2.1")
        crowd.last.cancel()
        await wait_all_tasks_blocked()
        assert not crowd.door._of_peer
        await crowd.come(nursery, "192.0.2.1")
        assert len(crowd.inside) == 2
        nursery.cancel_scope.cancel()


async def test_who_has_no_address_is_only_counted_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(monkeypatch, max_connections=3, max_connections_per_peer=1)
    async with trio.open_nursery() as nursery:
        await crowd.come(nursery, "", 5)
        assert len(crowd.inside) == 3
        assert crowd.relay.metrics.get("relay_rejected_total", Reason.TOO_MANY_CONNECTIONS) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_an_ipv6_subscriber_is_one_peer(address: str, peer: str) -> None:
    stream = object.__new__(trio.SocketStream)
    stream.socket = SimpleNamespace(getpeername=lambda: (address, 1))  # type: ignore[assignment]
    assert server._peer(stream) == peer


async def handshakes_in_a_turn(relay: Relay, directory: Path, monkeypatch: Any) -> int:
    """Let a crowd shake hands at once; return how many had work done in one turn of the loop."""
    authority = Authority(directory)
    leaf = authority.server("relay")
    context = server_context(str(leaf.cert_file), str(leaf.key_file))
    trust = client_context(str(authority.ca_file))
    worked: list[int] = []
    clockwork, step = Clockwork(), TlsStream._step

    async def counted(tls: TlsStream) -> bool:
        if tls._tls.server_side and tls._incoming.pending:
            worked.append(clockwork.turns)
        return await step(tls)

    monkeypatch.setattr(TlsStream, "_step", counted)

    async def served(stream: trio.abc.Stream) -> None:
        await stream.aclose()

    door = Door(relay, served, context)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clockwork.run)
        clients = []
        for _ in range(12):
            near, far = memory_stream_pair()
            clients.append(TlsStream(near, trust, server_hostname="localhost"))
            nursery.start_soon(door.enter, far)
        async with trio.open_nursery() as shaking:
            for client in clients:
                shaking.start_soon(client.handshake)
        nursery.cancel_scope.cancel()
    return max(worked.count(turn) for turn in worked)


async def test_handshakes_are_worked_on_one_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(SETTINGS, TunnelSettings())
    assert await handshakes_in_a_turn(relay, tmp_path / "ca", monkeypatch) <= 2


async def test_mutant_that_shakes_hands_with_all_at_once_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(SETTINGS, TunnelSettings())
    monkeypatch.setattr(relay, "turn", trio.lowlevel.checkpoint)
    assert await handshakes_in_a_turn(relay, tmp_path / "ca", monkeypatch) > 4


async def test_a_handshake_that_never_ends_runs_into_its_deadline(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    authority = Authority(tmp_path / "ca")
    leaf = authority.server("relay")
    relay = Relay(SETTINGS, TunnelSettings())
    context = server_context(str(leaf.cert_file), str(leaf.key_file))
    door = Door(relay, relay.serve_viewer, context)
    near, far = memory_stream_pair()
    await near.send_all(b"\x16\x03\x01")
    await door.enter(far)
    assert trio.current_time() == pytest.approx(SETTINGS.handshake_s, abs=0.1)
    assert relay.metrics.get("relay_rejected_total", Reason.TLS) == 1


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
        nursery.start_soon(http1.serve, far, SETTINGS, Metrics(), echo)
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
