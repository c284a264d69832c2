"""Turns and documents as a bench would have made them, in no time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from planesplit.bench import document as doc
from planesplit.bench.hops import follow, waterfall
from planesplit.bench.plan import BenchPlan
from planesplit.bench.tap import Crossing
from planesplit.bench.verdict import judge
from planesplit.measure.lines import Batch, LinePlan
from planesplit.measure.tally import SendTally, Tally
from planesplit.measure.turn import Turn

PLAN = BenchPlan(rate_per_s=1_000, streams=2, duration_s=1.0, repeats=3)
CALIBRATION = {"ceiling_per_s": 100_000.0, "timer_p99_ms": 0.1}
ENVIRONMENT = {
    "cpu": "a processor",
    "cores": 2,
    "busy": False,
    "governor": "unknown",
    "kernel": "6.1",
    "python": "3.11",
    "versions": {"trio": "0.35"},
    "git": "0123456789ab",
    "load_before": 0.1,
    "load_after": 0.2,
    "steal_s": 0.0,
}


def turn(
    plan: LinePlan,
    latency_s: Callable[[float], float],
    late_s: float = 0.0001,
    lose: int = 0,
) -> Turn:
    """A turn in which a line that is due `at` seconds after the start takes `latency_s(at)`."""
    sent, received = SendTally(plan), Tally(plan)
    for line in range(plan.lines):
        for stream in range(plan.streams):
            due_s = plan.intended_s(stream, line)
            sent.add(Batch(stream, line, 1, due_s + late_s), late_s)
            if line < plan.lines - lose:
                seen_s = due_s + latency_s(due_s - plan.start_s)
                received.add(Batch(stream, line, 1, seen_s), seen_s - 0.0001)
    sent.done = True
    missing = received.charge_missing(plan.end_s + 5.0)
    answer = {**received.as_json(), "missing": missing}
    return Turn(plan, sent.as_json(), answer, plan.duration_s, 0.1, 0.2, 40_000_000, False)


def crossings(plan: LinePlan) -> list[Crossing]:
    """Every line, at the link from 0.3 to 0.5 ms after it was due."""
    return [
        Crossing(s, n, plan.intended_s(s, n) + 0.0003, plan.intended_s(s, n) + 0.0005)
        for n in range(plan.lines)
        for s in range(plan.streams)
    ]


def document(
    ms: float = 2.0, *, bare_ms: float = 1.0, seed: int = 1, repeats: int = 3, **changes: Any
) -> doc.Json:
    """A run through a split that takes about `ms` milliseconds."""
    chance = random.Random(seed)
    plan = replace(PLAN, repeats=repeats)
    schedule = plan.lines(100.0)
    found: doc.Json = {
        "schema": doc.SCHEMA,
        "kind": "bench",
        "started": "2026-01-01T00:00:00+00:00",
        "command": ["planesplit", "bench"],
        "plan": plan.as_json(),
        "partial": False,
        "overloaded": "",
        "turns": [],
        "calibration": CALIBRATION,
        "first_line_ms": {"median": 3.0, "low": 2.0, "high": 4.0},
        "resume": None,
        "elapsed_s": 6.0,
        "environment": ENVIRONMENT,
        **changes,
    }
    for number in range(repeats):
        for path, mean_ms in (("split", ms), ("bare", bare_ms)):
            each_ms = mean_ms * chance.uniform(0.95, 1.05)
            made = turn(schedule, lambda _, s=each_ms / 1e3: s * chance.uniform(0.9, 1.1))
            found["turns"].append(doc.turn_json(path, number, made))
            if path == "split":
                found["hops"] = waterfall(follow(made, crossings(schedule)))
    return finished(found)


def finished(found: doc.Json) -> doc.Json:
    """A document with its summary and verdict made anew."""
    found["summary"] = doc.summary(found)
    found["verdict"] = judge(found)
    return found
