from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from fakes import ATTEMPT, World, pod_of

from compute_agent.reports import phase_of
from compute_agent.settings import ClusterLimits, ReportLimits

QUEUED, INITIALIZING, RUNNING, SUCCEEDED, FAILED, ABORTED = 1, 3, 4, 5, 6, 7


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery) -> World:
    return World(tmp_path, nursery)


def told(world: World) -> list[tuple[str, int]]:
    return [(p.action.run, p.phase) for report in world.relay.reports for p in report.phases]


@pytest.mark.parametrize(
    ("pod", "deleted", "phase"),
    [
        (pod_of(phase="Pending"), False, QUEUED),
        (pod_of(phase="Pending", scheduled=True), False, INITIALIZING),
        (pod_of(phase="Running"), False, RUNNING),
        (pod_of(phase="Succeeded"), False, SUCCEEDED),
        (pod_of(phase="Failed"), False, FAILED),
        (pod_of(phase="Failed", deleting=True), False, ABORTED),
        (pod_of(phase="Succeeded", deleting=True), False, SUCCEEDED),
        (pod_of(phase="Running"), True, ABORTED),
        (pod_of(phase="Pending"), True, ABORTED),
        (pod_of(phase="Unknown"), False, 0),
    ],
)
def test_phases(pod, deleted, phase):
    assert phase_of(pod, deleted=deleted) == phase


async def test_life_of_an_attempt_is_told_in_order_once(world: World, autojump_clock):
    await world.relay.until(lambda: bool(world.relay.reports))
    pod = pod_of(created_s=10.0)
    for change in (
        pod,
        replace(pod, scheduled=True),
        replace(pod, phase="Running", started_s=20.0),
        replace(pod, phase="Running", started_s=20.0),
        replace(pod, phase="Failed", started_s=20.0, finished_s=30.0, exit_code=3),
    ):
        world.cluster.change(change)
        await trio.sleep(0.1)
    world.cluster.change(pod, deleted=True)
    await trio.sleep(1)
    assert told(world) == [("run1", n) for n in (QUEUED, INITIALIZING, RUNNING, FAILED)]
    events = [p for report in world.relay.reports for p in report.phases]
    assert [e.sequence for e in events] == sorted({e.sequence for e in events})
    assert [e.at.seconds for e in events] == [10, 10, 20, 30]
    assert (events[-1].has_exit_code, events[-1].exit_code) == (True, 3)
    assert not events[0].has_exit_code


async def test_first_report_is_full(world: World, autojump_clock):
    await world.relay.until(lambda: bool(world.relay.reports))
    await world.relay.until(lambda: any(r.full for r in world.relay.reports))
    report = world.relay.reports[-1]
    assert (report.org, report.cluster, report.healthy, report.full) == ("acme", "c1", True, True)


async def test_events_survive_a_lost_tunnel_and_reconnect_tells_everything(
    world: World, autojump_clock
):
    quiet = replace(ATTEMPT, run="quiet")
    world.cluster.change(pod_of(quiet, phase="Running"))
    await world.relay.until(lambda: ("quiet", RUNNING) in told(world))
    await trio.sleep(0.1)  # the answer arrives
    world.relay.up = False
    world.relay.links[-1].cut()
    pod = pod_of()
    world.cluster.change(pod)
    world.cluster.change(replace(pod, phase="Running"))
    world.cluster.change(replace(pod, phase="Succeeded"))
    world.cluster.change(pod, deleted=True)
    await trio.sleep(3)
    seen = len(world.relay.reports)
    world.relay.up = True
    await world.relay.until(lambda: len(world.relay.reports) > seen)
    full = world.relay.reports[seen]
    assert full.full
    assert [(p.action.run, p.phase) for p in full.phases] == [
        ("run1", QUEUED),
        ("run1", RUNNING),
        ("run1", SUCCEEDED),
        ("quiet", RUNNING),
    ]


async def test_unanswered_report_is_sent_again(world: World, autojump_clock):
    await world.relay.until(lambda: bool(world.relay.reports))
    world.relay.answer_reports = False
    world.cluster.change(pod_of(phase="Running"))
    await world.relay.until(lambda: told(world).count(("run1", RUNNING)) == 2)
    world.relay.answer_reports = True
    await world.relay.until(lambda: told(world).count(("run1", RUNNING)) == 3)
    await trio.sleep(100)
    assert told(world).count(("run1", RUNNING)) == 3


async def test_unacknowledged_events_are_bounded(tmp_path: Path, nursery, autojump_clock):
    world = World(tmp_path, nursery, reports=ReportLimits(max_pending=5))
    world.relay.up = False
    await trio.sleep(1)
    for n in range(20):
        pod = pod_of(replace(ATTEMPT, run=f"run{n}"), phase="Running")
        world.cluster.change(pod)
        world.cluster.change(pod, deleted=True)
        await trio.sleep(0.01)
    world.relay.up = True
    await world.relay.until(lambda: bool(told(world)))
    assert len(told(world)) == 5


async def test_cluster_that_is_lost_is_told_as_unhealthy(world: World, autojump_clock):
    await world.relay.until(lambda: any(r.healthy for r in world.relay.reports))
    world.cluster.fail = True
    world.cluster.wake()
    await world.relay.until(lambda: not world.relay.reports[-1].healthy)
    world.cluster.fail = False
    await world.relay.until(lambda: world.relay.reports[-1].healthy)
    assert trio.current_time() <= 2 * ReportLimits().health_s + 5


async def test_expired_watch_lists_again_and_misses_nothing(world: World, autojump_clock):
    await world.relay.until(lambda: bool(world.relay.reports))
    gone = pod_of(replace(ATTEMPT, run="gone"), phase="Running")
    world.cluster.change(gone)
    await world.relay.until(lambda: ("gone", RUNNING) in told(world))
    world.cluster.expire = True
    del world.cluster.pods[gone.namespace, gone.name]
    world.cluster.pods["proj-dev", "run1-a0-1"] = pod_of(phase="Running")
    world.cluster.wake()
    await world.relay.until(lambda: {("gone", ABORTED), ("run1", RUNNING)} <= set(told(world)))
    assert world.cluster.lists == 2


async def test_pods_are_bounded(tmp_path: Path, nursery, autojump_clock):
    world = World(tmp_path, nursery, kubernetes=ClusterLimits(max_pods=3))
    for n in range(5):
        world.cluster.change(pod_of(replace(ATTEMPT, run=f"run{n}"), phase="Running"))
    await world.relay.until(lambda: any(r.full for r in world.relay.reports))
    assert len(world.agent.store.all()) == 3
    assert world.agent.store.ignored >= 2
