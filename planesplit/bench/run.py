"""A bench from start to end: calibration, interleaved turns, the cut, the document."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import trio

from planesplit.bench import document as doc
from planesplit.bench.hops import follow, waterfall
from planesplit.bench.plan import BenchPlan
from planesplit.bench.report import LABELS
from planesplit.bench.stage import SPLIT, Path, Stage, open_stage
from planesplit.bench.verdict import judge
from planesplit.measure.environment import Environment
from planesplit.measure.turn import Turn, take_turn

LEAD_S = 0.1  # until the first line is due: time for the commands to arrive
DRAIN_S = 5.0
CUT_S = 4.0
CUT_AT = 0.25  # of that turn
FIRST_LINES = 5  # viewers that come for the time to first line


class Interrupt:
    """Whether to end early; set from outside."""

    def __init__(self) -> None:
        self.number = 0  # of the signal

    def __call__(self) -> bool:
        """Whether it is set."""
        return bool(self.number)


class Bench:
    """One bench.

    Args:
        plan: what to do.
        command: as it was typed.
        progress: told what is going on and how much of it is done, 0 to 1.
        interrupt: asked whether to end early.
    """

    def __init__(
        self,
        plan: BenchPlan,
        command: Sequence[str],
        progress: doc.Progress,
        interrupt: Interrupt,
    ) -> None:
        self._plan, self._progress, self._interrupt = plan, progress, interrupt
        self._environment = Environment()
        self._began_s = time.monotonic()
        self._followed: list[tuple[float, ...]] = []
        self._turns_done = 0
        self._seal = ""
        self.document: doc.Json = {
            "schema": doc.SCHEMA,
            "kind": "bench",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": list(command),
            "plan": plan.as_json(),
            "partial": False,
            "overloaded": "",
            "turns": [],
            "first_line_ms": None,
            "resume": None,
        }

    async def run(self) -> doc.Json:
        """Run it; interrupted, return what there is.

        Raises:
            MeasureError: something did not start or broke down.
        """
        self._progress("starting", 0.0)
        async with open_stage(self._plan) as stage:
            self._seal = stage.split.rig.seal
            self.document["calibration"] = await calibrate(stage, self._plan)
            first = [await stage.first_line_s() * 1e3 for _ in range(FIRST_LINES)]
            self.document["first_line_ms"] = doc.spread_json(first)
            if self._plan.warm_up_s:
                for path in stage.paths:
                    await self._turn(path, self._plan.warm_up_s, "warm-up")
            for number in range(self._plan.repeats):
                await self._repeat(stage, number)
            if self._plan.cut and not self._over():
                self.document["resume"] = await self._cut(stage.split)
        return self._finish()

    async def _repeat(self, stage: Stage, number: int) -> None:
        paths = stage.paths if number % 2 == 0 else stage.paths[::-1]
        for path in paths:
            if self._over():
                return
            label = f"repeat {number + 1} of {self._plan.repeats}: {LABELS[path.rig.name]}"
            turn = await self._turn(path, self._plan.duration_s, label)
            seen = doc.turns_of(self.document, path.rig.name)
            if turn.received["lines"] and not (turn.stopped and seen):  # else better than nothing
                self.document["turns"].append(doc.turn_json(path.rig.name, number, turn))
            if path.rig.name == SPLIT:
                self._followed += follow(turn, path.crossings)
            if not turn.drained and not turn.stopped:
                self.document["overloaded"] = path.rig.name  # what is left would be in its way

    async def _turn(self, path: Path, duration_s: float, label: str) -> Turn:
        path.crossings.clear()
        plan = self._plan.lines(time.monotonic() + LEAD_S, duration_s)
        async with trio.open_nursery() as nursery:
            if self._plan.stall_s and duration_s == self._plan.duration_s:
                nursery.start_soon(_stall, path, duration_s / 2, self._plan.stall_s)
            turn = await take_turn(
                path.rig,
                plan,
                drain_s=DRAIN_S + self._plan.profile.rtt_s,
                stopped=self._interrupt,
                progress=lambda share: self._progress(label, self._share(share)),
            )
            nursery.cancel_scope.cancel()
        path.link.thaw()
        self._turns_done += 1
        return turn

    def _over(self) -> bool:
        return self._interrupt() or bool(self.document["overloaded"])

    def _share(self, of_turn: float) -> float:
        """Return how much of all turns is done."""
        plan = self._plan
        turns = 2 * plan.repeats + 2 * bool(plan.warm_up_s) + bool(plan.cut)
        return min((self._turns_done + max(of_turn, 0.0)) / turns, 1.0)

    async def _cut(self, path: Path) -> doc.Json:
        """Cut the tunnel in a turn of its own; return how long viewers saw nothing."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cut_later, path, LEAD_S + CUT_S * CUT_AT)
            turn = await self._turn(path, CUT_S, "cutting the tunnel")
            nursery.cancel_scope.cancel()
        received = turn.received
        return {
            "gap_ms": received["gap_s"] * 1e3,
            "usual_ms": self._plan.streams / self._plan.rate_per_s * 1e3,
            "missing": received["missing"],
            "misplaced": received["misplaced"],
            "cuts": path.link.cuts,
        }

    def _finish(self) -> doc.Json:
        found = self.document
        found["partial"] = self._interrupt()
        found["elapsed_s"] = time.monotonic() - self._began_s
        found["environment"] = self._environment.capture() | {"seal": self._seal}
        found["hops"] = waterfall(self._followed)
        found["summary"] = doc.summary(found)
        found["verdict"] = judge(found)
        return found


async def calibrate(stage: Stage, plan: BenchPlan) -> doc.Json:
    """Return what the generator could do, and how late its timer is."""
    path = stage.lab.path("calibration")
    return await stage.split.rig.source.ask(
        "calibrate", plan=plan.lines(0.0).as_json(), path=str(path)
    )


async def _stall(path: Path, after_s: float, stall_s: float) -> None:
    await trio.sleep(LEAD_S + after_s)
    path.link.freeze()
    await trio.sleep(stall_s)
    path.link.thaw()


async def _cut_later(path: Path, after_s: float) -> None:
    await trio.sleep(after_s)
    path.link.cut()
