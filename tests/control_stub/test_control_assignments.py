"""Runs are handed to their clusters, and taken back, until the agent has acknowledged."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from control_cast import (
    RUNS,
    Caller,
    event,
    phase_of,
    report,
    run_id,
    running,
    settings,
    until,
)
from fake_relay import FakeRelay
from flyteidl2.common import phase_pb2
from flyteidl2.workflow import run_service_pb2 as wire

from control_stub.runs import RunKey
from control_stub.settings import Limits
from tunnel.messages import planesplit_v1_pb2 as v1

RUNNING, SUCCEEDED = phase_pb2.ACTION_PHASE_RUNNING, phase_pb2.ACTION_PHASE_SUCCEEDED
FAILED, ABORTED = phase_pb2.ACTION_PHASE_FAILED, phase_pb2.ACTION_PHASE_ABORTED


class Cluster:
    """An agent that can be away, refuse, or lose answers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.runs: list[str] = []
        self.aborts: list[tuple[str, str]] = []

    async def __call__(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path.endswith("/Abort"):
            request = v1.AbortRequest.FromString(body)
            self.aborts.append((request.action.run, request.reason))
        else:
            self.runs.append(v1.AssignRequest.FromString(body).action.run)
        return self.answers.pop(0) if self.answers else (200, b"")


def _error(code: str, status: int = 503) -> tuple[int, bytes]:
    return status, json.dumps({"code": code, "message": "no"}).encode()


async def test_assignment_is_tried_until_acknowledged(autojump_clock: Any) -> None:
    agent = Cluster()
    agent.answers = [_error("unavailable"), _error("not_found", 404), (500, b"<html>"), (200, b"")]
    async with running(relay=FakeRelay(agent)) as cast:
        await (await cast.caller("alice")).create("r")
        await until(lambda: bool(cast.events("run_assigned")))
        await trio.sleep(60)
        assert agent.runs == ["r"] * 4


async def test_a_cluster_that_comes_back_is_told_at_once(autojump_clock: Any) -> None:
    agent = Cluster()
    agent.answers = [_error("unavailable")] * 1000
    async with running(relay=FakeRelay(agent)) as cast:
        await (await cast.caller("alice")).create("r")
        cast.relay.set_tunnels()
        await trio.sleep(61.3)
        agent.answers = []
        came_back = trio.current_time()
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: bool(cast.events("run_assigned")))
        assert trio.current_time() - came_back < 0.1


@pytest.mark.parametrize(
    "code", ["invalid_argument", "failed_precondition", "permission_denied", "already_exists"]
)
async def test_a_refused_run_fails(autojump_clock: Any, code: str) -> None:
    agent = Cluster()
    agent.answers = [_error(code, 400)]
    async with running(relay=FakeRelay(agent)) as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await until(lambda: bool(cast.events("run_refused")))
        details = await alice.details(key)
        assert details.status.phase == FAILED
        assert details.error_info.message == f"the cluster refused the task: {code}"
        assert len(agent.runs) == 1


async def test_assignments_survive_a_restart_of_the_control_plane(
    autojump_clock: Any, tmp_path: Any
) -> None:
    config = settings(db_file=str(tmp_path / "control.db"))
    away = FakeRelay()
    away.away = True
    async with running(config, away) as cast:
        await (await cast.caller("alice")).create("r")
    agent = Cluster()
    async with running(config, FakeRelay(agent)):
        await until(lambda: agent.runs == ["r"])


async def test_many_runs_are_handed_over_a_bounded_number_at_once(autojump_clock: Any) -> None:
    at_once = most = 0

    async def agent(path: str, body: bytes) -> tuple[int, bytes]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await trio.sleep(1)
        at_once -= 1
        return 200, b""

    async with running(settings(limits=Limits(assignments=4)), FakeRelay(agent)) as cast:
        alice = await cast.caller("alice")
        for number in range(10):
            await alice.create(f"r{number}")
        await until(lambda: len(cast.events("run_assigned")) == 10)
        assert most == 4


async def _abort(caller: Caller, key: RunKey, reason: str = "enough") -> None:
    request = wire.AbortRunRequest(run_id=run_id(key), reason=reason)
    await caller.call(RUNS, "AbortRun", request)


async def test_an_assigned_run_is_aborted_by_its_cluster(autojump_clock: Any) -> None:
    agent = Cluster()
    async with running(relay=FakeRelay(agent)) as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await until(lambda: bool(cast.events("run_assigned")))
        await report(cast, event(key, RUNNING, 4))
        agent.answers = [_error("unavailable"), _error("failed_precondition", 400), (200, b"")]
        await _abort(alice, key)
        assert await phase_of(alice, key) == RUNNING  # until the cluster has acknowledged
        await until(lambda: bool(cast.events("run_aborted")))
        assert agent.aborts == [("r", "enough")] * 3
        await report(cast, event(key, RUNNING, 4), event(key, ABORTED, 7))
        details = await alice.details(key)
        assert details.status.phase == ABORTED
        assert details.abort_info.reason == "enough"
        assert details.abort_info.aborted_by.application.id.subject == "alice"


async def test_a_run_that_ends_while_it_is_aborted_keeps_its_result(autojump_clock: Any) -> None:
    agent = Cluster()
    async with running(relay=FakeRelay(agent)) as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await until(lambda: bool(cast.events("run_assigned")))
        await _abort(alice, key)
        await until(lambda: bool(cast.events("run_aborted")))
        await report(cast, event(key, SUCCEEDED, 5))
        assert await phase_of(alice, key) == SUCCEEDED


async def test_an_offer_that_was_never_answered_is_taken_back(autojump_clock: Any) -> None:
    agent = Cluster()
    agent.answers = [_error("unavailable"), _error("invalid_argument", 400)]
    async with running(relay=FakeRelay(agent)) as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await until(lambda: bool(agent.runs))
        await _abort(alice, key)
        await until(lambda: bool(cast.events("run_aborted")))
        assert (agent.runs, len(agent.aborts)) == (["r"], 1)
        assert await phase_of(alice, key) == ABORTED


async def test_a_run_that_no_cluster_heard_of_is_aborted_here(autojump_clock: Any) -> None:
    relay = FakeRelay()
    async with running(settings(limits=Limits(assignments=1)), relay) as cast:
        alice = await cast.caller("alice")
        agent = Cluster()
        agent.answers = [_error("unavailable")] * 1000
        relay.agent = agent
        await alice.create("in-the-way")
        key = await alice.create("r")
        await _abort(alice, key)
        await _abort(alice, key._replace(run="in-the-way"))
        agent.answers = []
        await until(lambda: len(cast.events("run_aborted")) == 2)
        assert await phase_of(alice, key) == ABORTED
        assert agent.aborts == [("in-the-way", "enough")]  # may have heard of it
        assert "r" not in agent.runs


async def test_aborting_an_ended_run_changes_nothing(autojump_clock: Any) -> None:
    agent = Cluster()
    async with running(relay=FakeRelay(agent)) as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await report(cast, event(key, SUCCEEDED, 1))
        await _abort(alice, key)
        await trio.sleep(5)
        assert await phase_of(alice, key) == SUCCEEDED
        assert agent.aborts == []


async def test_a_long_reason_is_cut(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        key = await alice.create("r")
        await _abort(alice, key, "x" * 5000)
        assert len((await alice.details(key)).abort_info.reason) == 1024
