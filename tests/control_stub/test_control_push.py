"""The roles of an org reach its agents: at once, after changes, and until they have been taken."""

from __future__ import annotations

import json
from typing import Any

import trio
from control_cast import EPOCH_S, running, until

from control_stub.directory import Binding


def _subjects(push: Any) -> set[tuple[str, str]]:
    return {(binding.subject, binding.org) for binding in push.bindings}


async def test_every_online_cluster_is_told_of_its_own_org_only(autojump_clock: Any) -> None:
    async with running() as cast:
        cast.relay.set_tunnels(
            ("acme", "c1", "ONLINE"), ("acme", "c2", "LOST"), ("globex", "c1", "ONLINE")
        )
        await until(lambda: len(cast.relay.accesses) == 2)
        pushes = dict(cast.relay.accesses)
        assert set(pushes) == {("acme", "c1"), ("globex", "c1")}
        assert _subjects(pushes["acme", "c1"]) == {(s, "acme") for s in ("alice", "carol", "vic")}
        assert _subjects(pushes["globex", "c1"]) == {("bob", "globex")}
        [key] = json.loads(pushes["acme", "c1"].jwks)["keys"]
        assert "d" not in key
        assert len(cast.events("access_pushed")) == 2


async def test_changes_are_pushed_at_once_with_a_higher_version(autojump_clock: Any) -> None:
    async with running() as cast:
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: len(cast.relay.accesses) == 1)
        await cast.plane.revoke("vic", int(EPOCH_S) + 5)
        await until(lambda: len(cast.relay.accesses) == 2, within_s=0.1)
        first, second = (push for _, push in cast.relay.accesses)
        assert second.version > first.version
        assert dict(second.revoked) == {"vic": int(EPOCH_S) + 5}


async def test_another_orgs_changes_are_not_pushed(autojump_clock: Any) -> None:
    async with running() as cast:
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"), ("globex", "c1", "ONLINE"))
        await until(lambda: len(cast.relay.accesses) == 2)
        await cast.plane.revoke("vic", int(EPOCH_S) + 5)
        await trio.sleep(30)
        assert [key for key, _ in cast.relay.accesses[2:]] == [("acme", "c1")]


async def test_a_new_tunnel_is_told_again(autojump_clock: Any) -> None:
    async with running() as cast:
        for count in (1, 2, 3):
            await trio.sleep(1)
            cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
            await until(lambda count=count: len(cast.relay.accesses) == count, within_s=0.5)


async def test_an_agent_that_does_not_take_it_is_told_until_it_does(autojump_clock: Any) -> None:
    async with running() as cast:
        cast.relay.access_status = 503
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: len(cast.relay.accesses) > 5)
        cast.relay.access_status = 200
        await until(lambda: bool(cast.events("access_pushed")))
        told = len(cast.relay.accesses)
        await trio.sleep(60)
        assert len(cast.relay.accesses) == told


def test_a_binding_is_pushed_whole() -> None:
    assert set(Binding._fields) == {"subject", "role", "org", "project", "domain"}
