"""The dealings with the relay: policy, tunnels, agents' reports; and its restarts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from control_cast import (
    EPOCH_S,
    REPORT,
    event,
    now,
    phase_of,
    report,
    running,
    settings,
    until,
)
from fake_relay import FakeRelay
from flyteidl2.common import phase_pb2

from control_stub.settings import Limits

RUNNING, SUCCEEDED = phase_pb2.ACTION_PHASE_RUNNING, phase_pb2.ACTION_PHASE_SUCCEEDED
FAILED, ABORTED = phase_pb2.ACTION_PHASE_FAILED, phase_pb2.ACTION_PHASE_ABORTED
FAST = settings(limits=Limits(poll_s=2.0))


async def test_policy_is_pushed_at_start_and_makes_ready(autojump_clock: Any) -> None:
    async with running() as cast:
        assert (await cast.http.get("/livez")).status_code == 200
        await until(lambda: cast.plane.ready)
        assert (await cast.http.get("/readyz")).status_code == 200
        policy = cast.relay.policies[0]
        assert policy["issuer"] == "https://control.example"
        assert policy["jwks"] == (await cast.http.get("/.well-known/jwks.json")).json()
        assert {
            "subject": "carol",
            "role": "Contributor",
            "org": "acme",
            "project": "p1",
            "domain": "*",
        } in policy["bindings"]
        assert {"org": "globex", "cluster": "c1", "enabled": True} in policy["clusters"]
        assert policy["revoked"] == {}


async def test_policy_is_pushed_again_when_it_changes(autojump_clock: Any) -> None:
    async with running() as cast:
        await until(lambda: cast.plane.ready)
        before = cast.relay.policies[-1]["version"]
        started = trio.current_time()
        await cast.plane.revoke("alice", int(EPOCH_S))
        await until(lambda: cast.relay.policies[-1]["revoked"] == {"alice": int(EPOCH_S)})
        assert cast.relay.policies[-1]["version"] > before
        assert trio.current_time() - started < 1  # revocation takes a second at most


async def test_a_restarted_relay_is_told_within_a_second(autojump_clock: Any) -> None:
    async with running() as cast:
        await until(lambda: cast.plane.ready)
        cast.relay.leave()
        await trio.sleep(20)
        assert (await cast.http.get("/readyz")).status_code == 503
        pushed, came_back = len(cast.relay.policies), trio.current_time()
        cast.relay.away = False
        cast.relay.restart()
        await until(lambda: len(cast.relay.policies) > pushed)
        assert trio.current_time() - came_back <= 0.3
        await until(lambda: cast.plane.ready)
        assert [event["boot"] for event in cast.events("relay_found")] == ["boot-1", "boot-2"]
        assert len(cast.events("relay_away")) == 1


async def test_a_relay_that_restarts_unnoticed_is_told_too(autojump_clock: Any) -> None:
    async with running(FAST) as cast:
        await until(lambda: cast.plane.ready)
        pushed = len(cast.relay.policies)
        cast.relay.boots += 1  # the next answer comes from another process
        await until(lambda: len(cast.relay.policies) > pushed, within_s=5)


async def test_a_relay_that_is_long_away_is_tried_less_often(autojump_clock: Any) -> None:
    relay = FakeRelay()
    relay.away = True
    async with running(FAST, relay) as cast:
        await trio.sleep(300)
        relay.away = False
        came_back = trio.current_time()
        await until(lambda: cast.plane.ready)
        assert trio.current_time() - came_back <= 2.1


async def test_tunnels_become_states_of_clusters(autojump_clock: Any) -> None:
    relay = FakeRelay()
    relay.set_tunnels()
    async with running(FAST, relay) as cast:
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"), ("acme", "c2", "LOST"))
        await until(lambda: len(cast.events("cluster_state")) == 1)
        cast.relay.set_tunnels(("acme", "c1", "LOST"))
        await until(lambda: len(cast.events("cluster_state")) == 2)
        states = [(e["cluster"], e["state"]) for e in cast.events("cluster_state")]
        assert states == [("c1", "ONLINE"), ("c1", "LOST")]
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: len(cast.events("cluster_state")) == 3)
        cast.relay.restart()  # it knows of no tunnel until the agent is back
        await until(lambda: len(cast.events("cluster_state")) == 4)
        assert cast.events("cluster_state")[-1]["state"] == "LOST"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"tunnels": 1, "version": 2}', b'{"tunnels": [{}], "version": 2}', b"\xff"],
)
async def test_malformed_tunnels_are_survived(
    autojump_clock: Any, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def poll(self: FakeRelay, since: int, wait_s: float) -> tuple[int, Any, bytes]:
        return 200, {"content-type": "application/json"}, body

    async with running(FAST) as cast:
        with monkeypatch.context() as patch:
            patch.setattr(FakeRelay, "_poll_tunnels", poll)
            await trio.sleep(5)
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: bool(cast.events("cluster_state")))


async def test_reports_become_phases_of_runs(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        started = now()
        status, answer = await report(cast, event(key, RUNNING, 2, pod="r-a0-1"))
        assert (status, answer.accepted) == ("200", 1)
        assert await phase_of(alice, key) == RUNNING
        await trio.sleep(7)
        await report(cast, event(key, SUCCEEDED, 3, exit_code=0, has_exit_code=True))
        await report(cast, event(key, RUNNING, 2), full=True)
        details = await alice.details(key)
        assert details.status.phase == SUCCEEDED
        assert details.status.end_time.ToNanoseconds() == pytest.approx((started + 7) * 1e9)
        assert details.status.duration_ms == 7000
        [attempt] = details.attempts
        assert attempt.logs_available
        transitions = [(t.phase, t.HasField("end_time")) for t in attempt.phase_transitions]
        assert transitions == [(1, True), (RUNNING, True), (SUCCEEDED, True)]


async def test_a_full_report_ends_the_runs_that_a_cluster_has_lost(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key, other = await alice.create("lost"), await alice.create("there")
        await until(lambda: len(cast.events("run_assigned")) == 2)
        await trio.sleep(61)
        await report(cast, event(other, RUNNING, 4))
        assert await phase_of(alice, key) == phase_pb2.ACTION_PHASE_QUEUED
        await report(cast, event(other, RUNNING, 4), full=True)
        details = await alice.details(key)
        assert details.status.phase == FAILED
        assert details.error_info.message == "the pod is gone"
        assert await phase_of(alice, other) == RUNNING


async def test_a_failed_run_tells_its_exit_code(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await report(cast, event(key, FAILED, 3, exit_code=3, has_exit_code=True))
        details = await alice.details(key)
        assert details.error_info.message == "the container ended with exit code 3"


async def test_reports_on_others_runs_change_nothing(autojump_clock: Any) -> None:
    async with running() as cast:
        bob, alice = await cast.caller("bob"), await cast.caller("alice")
        theirs, own = await bob.create("theirs"), await alice.create("own")
        events = [event(theirs, RUNNING, 1), event(own._replace(run="absent"), RUNNING, 1)]
        status, answer = await report(cast, *events, event(own, RUNNING, 1))
        assert (status, answer.accepted) == ("200", 1)
        assert await phase_of(bob, theirs) == phase_pb2.ACTION_PHASE_QUEUED
        assert await phase_of(alice, own) == RUNNING


@pytest.mark.parametrize("claimed", [{"org": "globex"}, {"cluster": "c2"}])
async def test_a_report_in_anothers_name_is_refused(autojump_clock: Any, claimed: Any) -> None:
    async with running() as cast:
        status, error = await report(cast, **claimed)
        assert (status, error["code"]) == ("403", "permission_denied")


async def test_malformed_phases_are_not_stored_and_do_not_block(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        bad = [
            event(key, 99, 1),
            event(key, RUNNING, 1, attempt=0),
            event(key, RUNNING, 1, attempt=101),
            event(key, RUNNING, 2**64 - 1),
            event(key, RUNNING, 1, action="a1"),
            event(key._replace(project="x\ny"), RUNNING, 1),
        ]
        bad[0].at.seconds = -5
        status, answer = await report(cast, *bad, event(key, RUNNING, 1, pod="Bad Pod\n"))
        assert (status, answer.accepted) == ("200", 1)
        details = await alice.details(key)
        assert len(details.attempts) == 1


async def test_malformed_exchanges_are_answered(autojump_clock: Any) -> None:
    async with running() as cast:
        headers, body = await cast.relay.exchange("acme", "c1", REPORT, b"\xff\xff")
        assert headers["planesplit-status"] == "400"
        assert json.loads(body)["code"] == "invalid_argument"
        headers, _ = await cast.relay.exchange("acme", "c1", "/no.Service/Method", b"")
        assert headers["planesplit-status"] == "404"
        assert (await report(cast))[0] == "200"


async def test_an_error_of_the_user_comes_out_as_it_was(autojump_clock: Any) -> None:
    with pytest.raises(KeyError):
        async with running():
            raise KeyError
