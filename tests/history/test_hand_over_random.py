"""Random hand-overs between live files and the aggregator: each must be exact.

A run writes random output while files rotate and are deleted, the collector lags, crashes, repeats
itself and is refused, the agent crashes and forgets, and the viewer's tunnel is cut. At a random
point the pod and its files go. What the viewer got in all must be what was written.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from crilog import records
from fakes import Call
from history_stage import FakeAggregator, NodeLog, Stage

from compute_agent.logs import batch
from compute_agent.logs.history import At, LogId, Row

RUNS = 72
GAP = "[planesplit] log gap"


class Scenario:
    """One run.

    Args:
        seed: decides everything.
        history: the aggregator.
    """

    def __init__(
        self, root: Path, nursery: trio.Nursery, seed: int, history: FakeAggregator
    ) -> None:
        self.rng = random.Random(seed)
        random.seed(seed)  # jitter
        self.stage = Stage(root, nursery, kept=self.rng.choice([2, 3, 5]), history=history)
        self.stage.aggregator.accept = lambda: self.rng.choice([True] * 8 + [None, False])
        self.stage.aggregator.delay_s = self.rng.choice([0.0, 0.01, 0.3])
        self.expected = b""
        self.text = ""
        self.cursor = b""
        self.gone = False

    async def run(self) -> None:
        """Go through it and leave what was seen in `text`."""
        stage, rng = self.stage, self.rng
        self.log = stage.run_pod()
        if rng.random() < 0.2:  # an agent that comes late
            await stage.relay.connected()
            stage.kill()
            self.write_some(rng.randrange(30))
            stage.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.write)
            begins_late = rng.random() < 0.25
            if begins_late:
                await trio.sleep(rng.uniform(0, 4))
            with trio.fail_after(300):
                await self.view()

    async def write(self) -> None:
        """The pod's side: lines, rotations, a crash of the collector, the end, the deletion."""
        rng, stage = self.rng, self.stage
        for _ in range(rng.randrange(1, 12)):
            self.write_some(rng.randrange(12))
            await trio.sleep(rng.choice([0, 0.001, 0.1, 0.6]))
        if rng.random() < 0.5:
            stage.end_pod(self.log)
            await trio.sleep(rng.choice([0, 0.01, 1]))
        stage.delete_pod(self.log)
        self.gone = True

    def write_some(self, lines: int) -> None:
        for _ in range(lines):
            self.line(self.log)
            if self.rng.random() < 0.15:
                self.log.rotate()
                self.log.ns += 1  # two files don't begin in the same nanosecond

    def line(self, log: NodeLog) -> None:
        """Write a line; clocks are coarse, so many have the same timestamp."""
        rng = self.rng
        log.ns += rng.choice([0, 0, 0, 1_000_000])
        size = rng.choice([0, 5, 5, 30, 90])
        content = rng.choice([b"x", "é€".encode(), b"\xff", b"%d " % rng.randrange(10)]) * size
        stream = rng.choice([b"stdout", b"stdout", b"stderr"])
        log.raw(records(content, log.ns, stream, rng.choice([7, 40, 1000])))
        self.expected += content + b"\n"

    async def view(self) -> None:
        """The viewer's side: resume behind what came, over cut tunnels and crashed agents."""
        rng, stage = self.rng, self.stage
        while True:
            await stage.relay.connected(max(1, len(stage.relay.sessions)))
            call = await stage.relay.tail(cursor=self.cursor)
            patience = rng.choice([0, 1, 2, 5, 50, 1000])
            sessions = len(stage.relay.sessions)
            while await call.step():
                if len(call.marks) > patience:
                    self.disturb()
                    break
            self.take(call)
            if call.ended:
                assert call.error == b"{}", call.error
                return
            await stage.relay.connected(sessions + 1)

    def disturb(self) -> None:
        if self.rng.random() < 0.5:
            self.stage.relay.links[-1].cut()
        else:
            self.stage.restart_agent(forget=self.rng.random() < 0.5)

    def take(self, call: Call) -> None:
        self.text += call.text
        self.cursor = call.marks[-1] if call.marks else self.cursor


@pytest.mark.parametrize("seed", range(RUNS))
async def test_random_hand_over(tmp_path: Path, nursery, autojump_clock, monkeypatch, seed: int):
    monkeypatch.setattr(batch, "UNIT_BYTES", 700)
    scenario = Scenario(tmp_path, nursery, seed, FakeAggregator())
    await scenario.run()
    assert scenario.text == scenario.expected.decode(errors="replace")


class ByTime(FakeAggregator):
    """A planted mutant: it goes on behind the last timestamp, not behind the last number."""

    async def page(self, log: LogId, start: At, hint_ns: int) -> list[Row]:
        await self._asked("page")
        rows = self.rows(log)
        last_ns = max((r.record.at_ns for r in rows if r.at < start), default=0)
        later = [r for r in rows if r.record.at_ns > last_ns or r.end]
        return [_renumbered(row, start, n) for n, row in enumerate(later)][:10]


def _renumbered(row: Row, start: At, n: int) -> Row:
    """What a reader that trusts timestamps takes for the next record."""
    return row._replace(record=row.record._replace(sequence=start.sequence + n))


async def test_hand_over_by_timestamp_is_found_out(tmp_path: Path, autojump_clock, monkeypatch):
    monkeypatch.setattr(batch, "UNIT_BYTES", 700)
    wrong = 0
    for seed in range(12):
        async with trio.open_nursery() as nursery:
            root = tmp_path / str(seed)
            root.mkdir()
            scenario = Scenario(root, nursery, seed, ByTime())
            await scenario.run()
            wrong += scenario.text != scenario.expected.decode(errors="replace")
            nursery.cancel_scope.cancel()
    assert wrong >= 4
