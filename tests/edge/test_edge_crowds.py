"""Crowds at a door: how many come in, whose they are, and how many shake hands at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from edge_cast import Clockwork
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from planesplit.pki import Authority
from relay import server
from relay.app import Relay
from relay.metrics import Reason
from relay.server import Door
from relay.settings import RelaySettings
from tunnel.settings import TunnelSettings
from tunnel.tls import TlsStream, client_context, server_context

SETTINGS = RelaySettings()


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
