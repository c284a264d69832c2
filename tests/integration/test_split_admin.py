"""Clusters are administered and runs are tried again, on real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from flyteidl2.workflow import run_service_pb2 as wire

from planesplit.administration import Administration, open_administration
from planesplit.connect_client import ConnectError
from planesplit.harness import Harness
from planesplit.tail import Line
from planesplit.viewer import RUN_SERVICE, Viewer, open_viewer
from planesplit.workloads import container
from tunnel.messages.planesplit_v1_pb2 import Cluster

pytestmark = pytest.mark.integration

SECOND = "c2"
WITHIN_S = 30.0
LOST_WITHIN_S = 10.0
ENDED_WITHIN_S = 1.0
ATTEMPTS = 3


@asynccontextmanager
async def administering(tenants: Harness) -> AsyncIterator[tuple[Administration, Viewer]]:
    with trio.fail_after(4 * WITHIN_S):
        async with (
            open_administration(tenants.ready) as administration,
            open_viewer(tenants.ready) as viewer,
        ):
            yield administration, viewer


async def until(
    administration: Administration,
    condition: Callable[[Cluster], object],
    cluster: str = SECOND,
    within_s: float = WITHIN_S,
) -> float:
    """Wait until a cluster's state is as wanted; return for how many seconds."""
    began = trio.current_time()
    with trio.fail_after(within_s):
        while True:
            states = {state.cluster: state for state in await administration.clusters()}
            if condition(states[cluster]):
                return trio.current_time() - began
            await trio.sleep(0.05)


async def drained(lines: AsyncIterator[Line]) -> None:
    with trio.fail_after(WITHIN_S):
        async for _ in lines:
            pass


def online(state: Cluster) -> bool:
    return state.tunnel == "ONLINE"


def lost(state: Cluster) -> bool:
    return state.tunnel == "LOST"


async def test_clusters_tell_how_they_fare(tenants: Harness) -> None:
    async with administering(tenants) as (administration, _):
        for cluster in ("c1", SECOND):
            await until(administration, lambda c: online(c) and c.healthy and c.rtt_ms, cluster)
        states = await administration.clusters()
        assert [state.cluster for state in states] == ["c1", SECOND]
        for state in states:
            assert state.usage.nodes == 1
            assert state.usage.cpu_cores >= 1
            assert state.usage.memory_bytes > 1 << 28
            assert state.rtt_ms < 1000
            assert time.time() - state.heard_at.seconds < 60


async def test_a_disabled_cluster_is_cut_off_at_once(tenants: Harness) -> None:
    async with administering(tenants) as (administration, viewer):
        await until(administration, online)
        run = await viewer.run(container(exec="sleep 20"), cluster=SECOND)
        async with viewer.tail(run, retry_for_s=0.5) as lines:
            await administration.set_cluster(SECOND, enabled=False)
            took_s = await until(administration, lost)
            with pytest.raises(ConnectError) as told:
                await drained(lines)
        assert took_s < ENDED_WITHIN_S
        assert told.value.code in ("not_found", "failed_precondition")
        with pytest.raises(ConnectError, match="disabled"):
            await viewer.run(container(exec="true"), cluster=SECOND)
        other = await viewer.run(container(exec="true"))
        assert (await viewer.wait(other)).cluster == "c1"
        await administration.set_cluster(SECOND, enabled=True)
        await until(administration, online)
        await viewer.abort(run)
        assert (await viewer.wait(run)).phase == "ABORTED"


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_silent_agents_cluster_is_lost_within_ten_seconds(
    tenants: Harness, fault: str
) -> None:
    agent = f"compute_agent@{SECOND}"
    harm, cure = {
        "kill": (tenants.kill, tenants.restart),
        "freeze": (tenants.freeze, tenants.thaw),
    }[fault]
    async with administering(tenants) as (administration, _):
        await until(administration, online)
        await trio.to_thread.run_sync(harm, agent)
        took_s = await until(administration, lost, within_s=LOST_WITHIN_S)
        print(f"{fault}: lost after {took_s:.2f} s")
        await trio.to_thread.run_sync(cure, agent)
        await until(administration, online)


async def started(tenants: Harness, viewer: Viewer, command: str, retries: int) -> str:
    """Start a task that may be tried again; return its run."""
    request = wire.CreateRunRequest()
    place = viewer.place
    request.project_id.organization, request.project_id.name = place.org, place.project
    request.project_id.domain = place.domain
    template = request.task_spec.task_template
    template.id.name, template.metadata.retries.retries = "retried", retries
    template.container.image = "planesplit/command"
    template.container.command.extend(["/bin/sh", "-c", command])
    url = tenants.ready.urls.control + RUN_SERVICE
    answer = await viewer.client.unary(f"{url}/CreateRun", request, wire.CreateRunResponse)
    return str(answer.run.action.id.run.name)


async def test_a_task_is_tried_again_and_every_attempt_keeps_its_log(tenants: Harness) -> None:
    async with administering(tenants) as (_, viewer):
        run = await started(tenants, viewer, "date +%s%N; exit 3", ATTEMPTS - 1)
        status = await viewer.wait(run)
        assert (status.phase, status.exit_code, status.attempts) == ("FAILED", 3, ATTEMPTS)
        printed = []
        for attempt in range(1, ATTEMPTS + 1):
            async with viewer.tail(run, attempt=attempt) as lines:
                printed.append([int(line.text) async for line in lines])
        assert [len(lines) for lines in printed] == [1] * ATTEMPTS
        assert printed == sorted(printed)
        assert printed[0] < printed[-1]


@pytest.mark.parametrize("plane", ["control_stub", "relay"])
async def test_pods_go_on_without_the_vendor_and_are_reconciled(
    tenants: Harness, plane: str
) -> None:
    async with administering(tenants) as (administration, viewer):
        await until(administration, online, "c1")
        ends = await started(tenants, viewer, "sleep 2; date +%s", 0)
        fails = await started(tenants, viewer, "sleep 2; exit 5", 1)
        for run in (ends, fails):
            await viewer.wait(run, until=lambda status: status.phase == "RUNNING")
        await trio.to_thread.run_sync(tenants.kill, plane)
        killed_s = time.time()
        await trio.sleep(3)
        restarted_s = time.time()
        await trio.to_thread.run_sync(tenants.restart, plane)
        status = await viewer.wait(ends, retry_for_s=WITHIN_S)
        assert (status.phase, status.attempts) == ("SUCCEEDED", 1)
        async with viewer.tail(ends, retry_for_s=WITHIN_S) as lines:
            [ended_s] = [int(line.text) async for line in lines]
        assert killed_s - 1 <= ended_s <= restarted_s  # nobody waited for the vendor
        status = await viewer.wait(fails, retry_for_s=WITHIN_S)
        assert (status.phase, status.exit_code, status.attempts) == ("FAILED", 5, 2)


def planesplit(tenants: Harness, tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command; return exit code, stdout and stderr."""
    ready = tmp_path / "ready.json"
    tenants.ready.write(ready)
    done = subprocess.run(
        [sys.executable, "-m", "planesplit", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PLANESPLIT_READY": str(ready)},
        timeout=WITHIN_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_line_administers(tenants: Harness, tmp_path: Path) -> None:
    code, table, _ = planesplit(tenants, tmp_path, "get", "clusters")
    assert code == 0
    assert table.split("\n")[0].split()[:3] == ["CLUSTER", "ENABLED", "TUNNEL"]
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["c1", SECOND]
    binding = ("zoe", "Contributor", "--project", "demo")
    assert planesplit(tenants, tmp_path, "bind", *binding)[0] == 0
    _, found, _ = planesplit(tenants, tmp_path, "get", "principals", "-o", "json")
    principals = {principal["subject"]: principal for principal in json.loads(found)}
    assert principals["zoe"] == {
        "subject": "zoe",
        "kind": "user",
        "org": "acme",
        "bindings": [{"role": "Contributor", "project": "demo", "domain": "*"}],
    }
    assert principals["reader"]["kind"] == "application"
    assert "outsider" not in principals  # of another org
    assert planesplit(tenants, tmp_path, "unbind", *binding)[0] == 0
    for command in (("unbind", *binding), ("revoke", "outsider"), ("cluster", "enable", "c9")):
        code, _, text = planesplit(tenants, tmp_path, *command)
        assert (code, text.startswith("planesplit: not_found: no such")) == (1, True)


def test_a_watch_shows_changes_until_it_is_interrupted(tenants: Harness, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    tenants.ready.write(ready)
    watching = subprocess.Popen(
        [sys.executable, "-m", "planesplit", "get", "clusters", "--watch", "-o", "json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PLANESPLIT_READY": str(ready)},
    )
    assert watching.stdout is not None
    try:
        assert len(json.loads(watching.stdout.readline())) == 2
        assert planesplit(tenants, tmp_path, "cluster", "disable", SECOND)[0] == 0
        while json.loads(watching.stdout.readline())[1]["enabled"]:
            pass
        assert planesplit(tenants, tmp_path, "cluster", "enable", SECOND)[0] == 0
        while json.loads(watching.stdout.readline())[1]["tunnel"] != "ONLINE":
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.wait(WITHIN_S) == 130
    finally:
        watching.kill()
        watching.communicate()
