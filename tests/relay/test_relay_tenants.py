"""One organisation can't take the relay from the others; what it is told names the limit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import trio
from stage import ANSWER, bearer, error_of, message, serve_unit, stage

from relay.auth import AgentIdentity
from relay.calls import Calls
from relay.connect_errors import ConnectError
from relay.metrics import Metrics
from relay.registry import Registry
from relay.settings import RelaySettings
from relay.tenants import Bucket, Tenants

OTHER = "/r/globex/p/d/c1/flyteidl2.dataproxy.DataProxyService/TailLogs"


class Market:
    """Tenants, a clock, and what tunnels have carried."""

    def __init__(self, **limits: float) -> None:
        self.now, self.carried = 0.0, {"acme": 0, "globex": 0}
        self.tenants = Tenants(
            RelaySettings(**limits), lambda org: self.carried[org], lambda: self.now
        )

    def enter(self, org: str = "acme") -> str:
        try:
            self.tenants.enter(org)
        except ConnectError as error:
            return str(error.reason)
        return "in"


def test_streams() -> None:
    world = Market(org_exchanges=2)
    assert [world.enter() for _ in range(3)] == ["in", "in", "org_streams"]
    assert world.enter("globex") == "in"
    world.tenants.leave("acme")
    assert world.enter() == "in"


def test_rate() -> None:
    world = Market(org_rate=2.0, org_burst=3)
    assert [world.enter() for _ in range(4)] == ["in"] * 3 + ["org_rate"]
    assert world.enter("globex") == "in"
    world.now += 0.5
    assert [world.enter() for _ in range(2)] == ["in", "org_rate"]
    world.now += 100
    assert [world.enter() for _ in range(4)] == ["in"] * 3 + ["org_rate"]


def test_bytes() -> None:
    world = Market(org_bytes_s=1_024, org_bytes_burst_s=2.0)
    assert world.enter() == "in"
    world.carried["acme"] = 2_000
    world.now += 0.5  # not looked at again yet
    assert world.enter() == "in"
    world.carried["acme"] = 4_000
    world.now += 1.0
    assert world.enter() == "org_bytes"
    assert world.tenants.overdrawn() == set()
    assert world.enter("globex") == "in"
    world.carried["acme"] += 2_000
    assert world.tenants.overdrawn() == {"acme"}
    world.now += 10.0
    assert world.enter() == "in"


def test_who_is_idle_is_forgotten() -> None:
    world = Market()
    assert world.enter() == "in"
    world.now += 10
    world.tenants.overdrawn()
    assert set(world.tenants._tenants) == {"acme"}
    world.tenants.leave("acme")
    world.tenants.overdrawn()
    assert not world.tenants._tenants


async def test_viewers_are_told_which_limit_it_is(autojump_clock) -> None:
    async with stage(org_exchanges=1) as s:
        agent = await s.agent()
        await s.tail()
        await agent.stream()
        refused = await s.tail()
        await refused.response()
        error = error_of(await refused.rest())
        assert error["code"] == "resource_exhausted"
        assert error["message"] == "at most 1 exchanges of an organisation at a time"
        assert s.count("org_streams") == 1
        other = await s.agent("globex")
        client = s.viewer()
        await client.send("POST", OTHER, b"x", bearer("eve", org="globex"))
        assert (await other.stream()).request.viewer == "eve"


async def test_who_carries_far_too_much_is_ended(autojump_clock) -> None:
    async with stage(org_bytes_s=1_024, org_bytes_burst_s=1.0) as s:
        s.nursery.start_soon(s.relay.watch_tenants)
        agent = await s.agent()
        tail = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        await serve_unit(stream, b"x" * 9_000, b"1")
        await tail.response()
        body = await tail.rest()
        assert body.startswith(message(b"x" * 9_000))
        assert error_of(body)["code"] == "resource_exhausted"
        assert trio.current_time() <= 2
        assert s.count("org_bytes") == 1


def _counts_nobody(_self: Tenants, _org: str) -> None:
    """Planted mutant: whoever comes is let in."""


def _never_fills(self: Bucket, _now: float) -> float:
    """Planted mutant: what is spent never comes back."""
    return self.level


MUTANTS: dict[str, tuple[type, str, Callable[..., object]]] = {
    "counts nobody": (Tenants, "enter", _counts_nobody),
    "never fills": (Bucket, "fill", _never_fills),
    "forgets none that leave": (Tenants, "leave", _counts_nobody),
    "sees no bytes": (Tenants, "_look", lambda *_: 0.0),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_caught(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTANTS[mutant])
    failed = 0
    for test in (test_streams, test_rate, test_bytes):
        try:
            test()
        except AssertionError:
            failed += 1
    assert failed


class _Call(SimpleNamespace):
    __hash__ = object.__hash__


def test_only_viewers_are_counted() -> None:
    world = Market(org_exchanges=1)
    calls = Calls(10, world.tenants, time.time, 0.0)
    scope = SimpleNamespace(org="acme")
    for opened_by in ("control", "control", "viewer"):
        capability = SimpleNamespace(opened_by=opened_by)
        head = SimpleNamespace(scope=scope)
        calls.enter(_Call(capability=capability, head=head, expires_at=math.inf))
    assert world.enter() == "org_streams"


def test_what_a_replaced_tunnel_has_carried_counts_until_it_ends_and_after() -> None:
    registry = Registry(lambda: 0.0, Metrics(), 4)
    old, new = (
        SimpleNamespace(carried_bytes=count, rtt_s=None, is_open=True, close=lambda _code: None)
        for count in (10_000, 1)
    )
    tunnel = registry.admit(AgentIdentity("acme", "c1", 0, 0.0), old)
    assert registry.carried_bytes("acme") == 10_000
    registry.admit(AgentIdentity("acme", "c1", 0, 0.0), new)
    assert registry.carried_bytes("acme") == 10_001
    registry.leave(tunnel)
    assert registry.carried_bytes("acme") == 10_001
    assert registry.carried_bytes("globex") == 0


class Noted:
    """An identity that counts how often somebody asks whose it is."""

    asked = 0

    def __init__(self, number: int) -> None:
        self.cluster, self.slot, self.relieves, self.epoch = "c1", 0, 0, number
        self._org = f"org{number}"

    @property
    def org(self) -> str:
        Noted.asked += 1
        return self._org


def test_looking_at_every_organisation_is_no_work_for_each_pair_of_them() -> None:
    registry = Registry(time.time, Metrics(), 1)
    for number in range(100):
        registry.admit(Noted(number), SimpleNamespace(carried_bytes=1, is_open=True))
    tenants = Tenants(RelaySettings(), registry.carried_bytes, lambda: 0.0)
    for number in range(100):
        tenants.enter(f"org{number}")
    Noted.asked = 0
    tenants.overdrawn()
    assert Noted.asked <= 100
