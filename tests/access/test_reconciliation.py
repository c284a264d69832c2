"""An agent, its tunnel and the control plane's store live through every fault: no phase is lost.

Pods begin and end while links are cut, answers are lost, the agent is killed, the relay is away and
the control plane restarts. Whoever looks at the store sees a run go forward, and in the end what
really happened.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from fakes import World, pod_of

from compute_agent.attempts import Attempt
from compute_agent.pods import Pod
from compute_agent.reports import Reporter
from compute_agent.settings import ReportLimits
from control_stub import reports, runs, schema
from control_stub.phases import FAILED, RANKS, SUCCEEDED
from control_stub.runs import NewRun, RunKey
from tunnel.messages.planesplit_v1_pb2 import ReportRequest

KEY = RunKey("acme", "proj", "dev", "run1")
ROOT = Attempt(*KEY, "a0", 1)
CLUSTER = ("acme", "c1")
ATTEMPTS = 3
FAULTS = 25
SETTLE_S = 60.0
SEEDS = range(8)
QUICK = ReportLimits(health_s=5.0)


class Store(list[ReportRequest]):
    """The control plane's end: takes what the relay hears, and watches every change."""

    def __init__(self, merge: Callable[..., Any]) -> None:
        super().__init__()
        self._merge = merge
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        for statement in schema.statements():
            self.db.execute(statement)
        runs.create(self.db, NewRun(KEY, "c1", "t", "v", "d", "alice", "", ATTEMPTS), 0)
        self.seen: list[tuple[int, int]] = [(1, 1)]

    def append(self, request: ReportRequest) -> None:
        """Take a report, as the control plane's handler does."""
        super().append(request)
        told = [event for event in map(reports._event, request.phases) if event is not None]
        self._merge(self.db, CLUSTER, told, 1)
        run = self.run
        self.seen.append((run.attempt, RANKS[run.phase]))

    @property
    def run(self) -> runs.Run:
        run = runs.get(self.db, KEY)
        assert run is not None
        return run

    def restart(self) -> None:
        """Come back with what was on disk."""
        other = sqlite3.connect(":memory:", isolation_level=None)
        other.row_factory = sqlite3.Row
        self.db.backup(other)
        self.db = other


class Life:
    """A run, the pods of its attempts, and what happens to everybody."""

    def __init__(self, world: World, seed: int, merge: Callable[..., Any]) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.store = world.relay.reports = Store(merge)
        self.ends = [self.chance.choice(["Failed", "Failed", "Succeeded"]) for _ in range(ATTEMPTS)]
        self.pods: dict[int, Pod] = {}

    def assign(self) -> None:
        """Hand the current attempt over, as the assigner does; saying it again changes nothing."""
        attempt = self.store.run.attempt
        if not self.store.run.done and attempt not in self.pods:
            self._change(pod_of(ROOT.numbered(attempt)))

    def go_on(self) -> None:
        """Let the latest pod take one step."""
        if not self.pods:
            return
        pod = self.pods[max(self.pods)]
        if pod.phase == "Pending":
            self._change(replace(pod, phase="Running", scheduled=True))
        elif pod.phase == "Running":
            end = self.ends[pod.attempt.attempt - 1]
            self._change(replace(pod, phase=end, exit_code=int(end == "Failed")))

    def _change(self, pod: Pod) -> None:
        self.pods[pod.attempt.attempt] = pod
        self.world.cluster.change(pod)

    def fault(self) -> None:
        """Do something bad to somebody."""
        world = self.world
        match self.chance.randrange(6):
            case 0 if world.relay.links:
                world.relay.links[-1].cut()
            case 1:
                world.relay.answer_reports = not world.relay.answer_reports
            case 2 if world.relay.links:
                world.kill()
                world.agent = world.start()
            case 3:
                world.relay.up = not world.relay.up
            case 4:
                self.store.restart()
            case 5:
                world.cluster.expire = True
                world.cluster.wake()

    async def live(self) -> None:
        """Go through it all; then let everybody recover."""
        for _ in range(FAULTS):
            self.assign()
            if self.chance.random() < 0.7:
                self.go_on()
            self.fault()
            await trio.sleep(self.chance.random() * 2)
        self.world.relay.up = self.world.relay.answer_reports = True
        for _ in range(3 * ATTEMPTS):
            self.assign()
            self.go_on()
            await trio.sleep(SETTLE_S / 10)
        await trio.sleep(SETTLE_S)

    def check(self) -> None:
        """Judge what whoever looked has seen, and what is known in the end."""
        assert self.store.seen == sorted(self.store.seen), "backwards"
        tried = next((n for n, end in enumerate(self.ends, 1) if end == "Succeeded"), ATTEMPTS)
        end = SUCCEEDED if self.ends[tried - 1] == "Succeeded" else FAILED
        run = self.store.run
        assert (run.attempt, run.phase, run.done) == (tried, end, True), "the end"
        ended = {r.attempt: r.phase for r in runs.reports(self.store.db, KEY) if r.done}
        assert set(ended) == set(range(1, tried + 1)), "an attempt's end was lost"


async def _lived(tmp_path: Path, seed: int, merge: Callable[..., Any] = runs.record) -> Life:
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery, reports=QUICK)
        life = Life(world, seed, merge)
        await life.live()
        nursery.cancel_scope.cancel()
    return life


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_and_nothing_goes_back(
    autojump_clock: Any, tmp_path: Path, seed: int
) -> None:
    (await _lived(tmp_path, seed)).check()


def _last_writer_wins(db: sqlite3.Connection, cluster: Any, told: Any, now_ns: int) -> None:
    """Planted mutant: what was said last is believed."""
    runs.record(db, cluster, told, now_ns)
    for _, last in told[-1:]:
        values = (last.attempt, last.phase, last.done)
        db.execute("UPDATE runs SET attempt = ?, phase = ?, done = ?", values)


def _deaf_to_the_end(db: sqlite3.Connection, cluster: Any, told: Any, now_ns: int) -> None:
    """Planted mutant: a report of several phases is cut short."""
    runs.record(db, cluster, told[:1], now_ns)


@pytest.mark.parametrize("mutant", [_last_writer_wins, _deaf_to_the_end])
async def test_a_store_that_forgets_is_caught(
    autojump_clock: Any, tmp_path: Path, mutant: Callable[..., Any]
) -> None:
    caught = 0
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        try:
            (await _lived(tmp_path / str(seed), seed, mutant)).check()
        except AssertionError:
            caught += 1
    assert caught


async def test_an_agent_that_forgets_what_was_not_taken_is_caught(
    autojump_clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted mutant: an agent that tells each event once, whether it was taken or not."""
    everything = Reporter._everything

    def forgetful(self: Reporter) -> Any:
        told = everything(self)
        self._pending.clear()
        return {key: event for key, event in told.items() if event.phase < FAILED - 1}

    monkeypatch.setattr(Reporter, "_everything", forgetful)
    caught = 0
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        try:
            (await _lived(tmp_path / str(seed), seed)).check()
        except AssertionError:
            caught += 1
    assert caught
