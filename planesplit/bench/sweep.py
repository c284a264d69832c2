"""A sweep: latency at rising rates, and the knee: the highest rate that keeps within limits."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from planesplit.bench import document as doc
from planesplit.bench.plan import BenchPlan
from planesplit.bench.report import Row, number
from planesplit.bench.run import DRAIN_S, LEAD_S, Interrupt, calibrate
from planesplit.bench.stage import SPLIT, open_stage
from planesplit.bench.units import Limit
from planesplit.bench.verdict import KEPT_UP, judge
from planesplit.measure.environment import Environment
from planesplit.measure.turn import take_turn

REFINEMENTS = 4  # steps between the last good and the first bad rate: the knee to within 5 %
OK_STEP, LATE_STEP, SLOW_STEP, INVALID_STEP = "ok", "over the limit", "not kept up", "INVALID"

Measure = Callable[[float], Awaitable[doc.Json]]


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """One sweep.

    Args:
        base: all but the rate.
        low, high: lines a second.
        steps: rates from low to high, equal factors apart.
        find_knee: whether to look closer between the last good and the first bad one.
        slo: limit of a latency; None: keeping up is all.
    """

    base: BenchPlan
    low: float
    high: float
    steps: int
    find_knee: bool
    slo: Limit | None

    def rates(self) -> list[float]:
        """Return the rates, lowest first."""
        factor = (self.high / self.low) ** (1 / max(self.steps - 1, 1))
        return [self.low * factor**i for i in range(self.steps)]


def outcome(step: Mapping[str, Any], slo: Limit | None) -> str:
    """Return how one step went; what the generator could not do is not held against the split."""
    if not step["valid"]:
        return INVALID_STEP
    if step["missing"] or step["achieved_per_s"] < KEPT_UP * step["offered_per_s"]:
        return SLOW_STEP
    if slo is not None and not slo.holds(step[slo.metric]):
        return LATE_STEP
    return OK_STEP


async def search(plan: SweepPlan, measure: Measure, interrupt: Interrupt) -> list[doc.Json]:
    """Measure rising rates until one is bad, then, if wanted, between it and the last good one.

    Args:
        plan: which rates.
        measure: measures one.
        interrupt: asked after each.
    """
    steps: list[doc.Json] = []
    good, bad = 0.0, math.inf
    for rate in plan.rates():
        step = await measure(rate)
        if interrupt():
            return steps  # this one was cut short
        steps.append(step)
        if outcome(step, plan.slo) != OK_STEP:
            bad = rate
            break
        good = rate
    closer = plan.find_knee and 0 < good < bad < math.inf
    for _ in range(REFINEMENTS * closer):
        rate = math.sqrt(good * bad)
        step = await measure(rate)
        if interrupt():
            return steps
        steps.append(step)
        if outcome(step, plan.slo) == OK_STEP:
            good = rate
        else:
            bad = rate
    return steps


class Sweep:
    """One sweep with real processes; each step has fresh ones, so that no step pays for another.

    Args:
        plan: what to do.
        command: as it was typed.
        progress: told what is going on.
        interrupt: asked whether to end early.
    """

    def __init__(
        self,
        plan: SweepPlan,
        command: Sequence[str],
        progress: doc.Progress,
        interrupt: Interrupt,
    ) -> None:
        self._plan, self._command = plan, list(command)
        self._progress, self._interrupt = progress, interrupt
        self._calibration: doc.Json = {}
        self._count = 0
        self._seal = ""

    async def run(self) -> doc.Json:
        """Run it; interrupted, return what there is.

        Raises:
            MeasureError: something did not start.
        """
        environment, began_s = Environment(), time.monotonic()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        steps = await search(self._plan, self._measure, self._interrupt)
        found: doc.Json = {
            "schema": doc.SCHEMA,
            "kind": "sweep",
            "started": started,
            "command": self._command,
            "plan": self._plan.base.as_json(),
            "partial": self._interrupt(),
            "overloaded": "",
            "turns": steps,
            "sweep": conclusion(self._plan, steps),
            "elapsed_s": time.monotonic() - began_s,
            "environment": environment.capture() | {"seal": self._seal},
        }
        notes = [f"{s['offered_per_s']:,.0f} lines/s: {r}" for s in steps for r in s["reasons"]]
        found["verdict"] = {
            "valid": any(step["outcome"] == OK_STEP for step in steps) or not notes,
            "reasons": notes,
            "evidence": [],
            "notes": notes,
        }
        return found

    async def _measure(self, rate_per_s: float) -> doc.Json:
        """Measure one rate; once more if the generator was disturbed, and nothing else was."""
        step = await self._step(rate_per_s)
        if step["valid"] or step["misplaced"] or self._interrupt():
            return step
        return await self._step(rate_per_s)

    async def _step(self, rate_per_s: float) -> doc.Json:
        plan = replace(self._plan.base, rate_per_s=rate_per_s)
        label = f"{rate_per_s:,.0f} lines/s"
        steps = self._plan.steps + REFINEMENTS * self._plan.find_knee
        self._progress(label, self._count / steps)
        async with open_stage(plan, bare=False) as stage:
            calibration = await calibrate(stage, plan)
            self._seal = stage.split.rig.seal
            for duration_s in (plan.warm_up_s, plan.duration_s):
                if not duration_s:
                    continue
                turn = await take_turn(
                    stage.split.rig,
                    plan.lines(time.monotonic() + LEAD_S, duration_s),
                    drain_s=DRAIN_S + plan.profile.rtt_s,
                    stopped=self._interrupt,
                    progress=lambda share: self._progress(label, (self._count + share) / steps),
                )
                if not turn.drained:
                    break  # what is left would be in the next turn's way; this one tells enough
        step = doc.turn_json(SPLIT, self._count, turn)
        self._count += 1
        return judged(step, plan, calibration, self._plan.slo)


def judged(
    step: doc.Json, plan: BenchPlan, calibration: Mapping[str, float], slo: Limit | None
) -> doc.Json:
    """Return a step with whether it is valid and how it went."""
    verdict = judge(
        {
            "turns": [step],
            "plan": plan.as_json(),
            "calibration": calibration,
            "environment": {},
            "partial": False,
            "overloaded": "",
        }
    )
    step |= {"valid": verdict["valid"], "reasons": verdict["reasons"]}
    step["outcome"] = outcome(step, slo)
    return step


def conclusion(plan: SweepPlan, steps: Sequence[Mapping[str, Any]]) -> doc.Json:
    """Return the knee: the highest good rate below every bad one, 0 if there is none."""
    bad = [step["offered_per_s"] for step in steps if step["outcome"] != OK_STEP]
    first_bad = min(bad, default=math.inf)
    good = [
        step["offered_per_s"]
        for step in steps
        if step["outcome"] == OK_STEP and step["offered_per_s"] < first_bad
    ]
    beyond = next((s["outcome"] for s in steps if s["offered_per_s"] == first_bad), "")
    return {
        "low": plan.low,
        "high": plan.high,
        "slo": {"text": plan.slo.text, "value": plan.slo.value} if plan.slo else None,
        "knee_per_s": max(good, default=0.0),
        "beyond_per_s": first_bad if bad else None,
        "beyond": beyond,
    }


def result(document: Mapping[str, Any]) -> str:
    """Return the result in one sentence."""
    found = document["sweep"]
    knee = found["knee_per_s"]
    limit = f" with {found['slo']['text']}" if found["slo"] else ""
    if not knee:
        return (
            f"no rate was carried{limit}: the lowest, {found['low']:,.0f}/s, is {found['beyond']}"
        )
    if found["beyond_per_s"] is None:
        return f"every rate was carried{limit}, up to {knee:,.0f} lines/s: the knee is beyond"
    beyond = f"{found['beyond_per_s']:,.0f}/s is {found['beyond']}"
    if found["beyond"] == INVALID_STEP:
        return f"{knee:,.0f} lines/s were carried{limit}; beyond it the generator failed: {beyond}"
    return f"knee at {knee:,.0f} lines/s{limit}: {beyond}"


def rows(document: Mapping[str, Any]) -> list[Row]:
    """Return the steps as text; the first row is the head."""
    found: list[Row] = [
        (
            "offered/s",
            "achieved",
            "p50 ms",
            "p99",
            "p99.9",
            "max",
            "CPU",
            "RSS MB",
            "result",
        )
    ]
    for step in sorted(document["turns"], key=lambda step: float(step["offered_per_s"])):
        latencies = (number(step[name]) for name in ("p50", "p99", "p99.9", "max"))
        found.append(
            (
                f"{step['offered_per_s']:,.0f}",
                f"{step['achieved_per_s']:,.0f}",
                *latencies,
                f"{step['relay_cpu_share']:.0%}",
                f"{step['relay_rss_bytes'] / 1e6:.1f}",
                step["outcome"],
            )
        )
    return found
