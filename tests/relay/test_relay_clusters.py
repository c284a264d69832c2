"""Several clusters of one organisation: what is done to one does not touch the other."""

from __future__ import annotations

import json

import pytest
import trio
from stage import ANSWER, EPOCH, TAIL, Agent, Client, Stage, bearer, error_of, serve_unit, stage

from tunnel.errors import Code

BOTH = [{"org": "acme", "cluster": name, "enabled": True} for name in ("c1", "c2")]
WITHOUT_C1 = [{**BOTH[0], "enabled": False}, BOTH[1]]


async def tail_of(s: Stage, agent: Agent, cluster: str) -> tuple[Client, object]:
    """A running tail and the agent's end of it."""
    client = s.viewer()
    await client.send("POST", TAIL.replace("/c1/", f"/{cluster}/"), b"request", bearer())
    stream = await agent.stream()
    stream.head(ANSWER)
    first = await serve_unit(stream, b"first", b"1")
    await client.response()
    await client.exactly(len(first))
    return client, stream


async def tunnels(s: Stage) -> dict[str, str]:
    control = s.control()
    await control.ask("GET", "/v1/tunnels")
    return {t["cluster"]: t["state"] for t in json.loads(await control.rest())["tunnels"]}


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"clusters": WITHOUT_C1}, Code.AUTH_REFUSED, "permission_denied"),
        ({"clusters": BOTH[1:]}, Code.AUTH_REFUSED, "permission_denied"),
        # The cluster stays, its agent's tokens are void: another agent may take the tail over.
        ({"clusters": BOTH, "revoked": {"agent:acme/c1": EPOCH + 1}}, Code.REVOKED, "unavailable"),
    ],
    ids=["disabled", "removed", "revoked"],
)
async def test_what_ends_one_clusters_tunnel_leaves_the_other_alone(
    autojump_clock, change: dict[str, object], code: Code, told: str
) -> None:
    async with stage() as s:
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        lost, _ = await tail_of(s, one, "c1")
        kept, stream = await tail_of(s, two, "c2")
        await s.push(**change)
        await one.ended.wait()
        assert trio.current_time() == 0
        assert one.closed.code is code
        assert await tunnels(s) == {"c1": "LOST", "c2": "ONLINE"}
        second = await serve_unit(stream, b"second", b"2")
        assert await kept.exactly(len(second)) == second
        assert error_of(await lost.rest())["code"] == told
        assert (trio.current_time() == 0) == (told == "permission_denied")


async def test_a_cluster_that_is_enabled_again_may_come_back(autojump_clock) -> None:
    async with stage() as s:
        agent = await s.agent(cluster="c1")
        await s.push(clusters=WITHOUT_C1)
        await agent.ended.wait()
        refused = s.dial(cluster="c1")
        await refused.run()
        assert refused.closed.code is Code.AUTH_REFUSED
        await s.push(clusters=BOTH)
        back = await s.agent(cluster="c1")
        await tail_of(s, back, "c1")
        assert await tunnels(s) == {"c1": "ONLINE"}


async def test_a_newer_agent_of_one_cluster_replaces_no_other(autojump_clock) -> None:
    async with stage() as s:
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        await s.agent(cluster="c1")
        await one.ended.wait()
        assert one.closed.code is Code.REPLACED
        assert two.closed is None


async def test_tunnels_that_come_in_a_burst_are_told_together(autojump_clock) -> None:
    entries = [{"org": "acme", "cluster": f"n{n}"} for n in range(40)]
    async with stage() as s:
        await s.push(clusters=entries)
        control, version, answers = s.control(), 0, 0
        began = trio.current_time()
        for entry in entries:
            s.nursery.start_soon(s.dial(**entry).run)
        seen: list[object] = []
        while len(seen) < len(entries):
            await control.ask("GET", f"/v1/tunnels?since={version}&wait_s=5")
            answer = json.loads(await control.rest())
            version, seen, answers = answer["version"], answer["tunnels"], answers + 1
        assert answers <= 3
        assert trio.current_time() - began <= 2 * s.relay.settings.news_pause_s


async def test_news_after_a_quiet_time_are_told_at_once(autojump_clock) -> None:
    async with stage() as s:
        await tunnels(s)
        await trio.sleep(1)
        control = s.control()
        version = s.relay._core.registry.version
        await control.send("GET", f"/v1/tunnels?since={version}&wait_s=5")
        await s.settled()
        began = trio.current_time()
        await s.agent(cluster="c2")
        await control.response()
        assert trio.current_time() == began
