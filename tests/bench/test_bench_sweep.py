"""The search for the knee, on splits whose knee is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.bench import document as doc
from planesplit.bench.metrics import METRICS
from planesplit.bench.plan import BenchPlan
from planesplit.bench.run import Interrupt
from planesplit.bench.sweep import (
    INVALID_STEP,
    LATE_STEP,
    OK_STEP,
    SLOW_STEP,
    Sweep,
    SweepPlan,
    conclusion,
    judged,
    outcome,
    result,
    rows,
    search,
)
from planesplit.bench.sweep_command import html_of, markdown_of
from planesplit.bench.units import limit
from tests.bench.bench_cast import CALIBRATION, ENVIRONMENT, PLAN, turn

PLANNED = SweepPlan(BenchPlan(), 500, 16_000, 6, True, limit("p99<50ms", METRICS))


def step(rate: float, *, p99: float = 2.0, share: float = 1.0, valid: bool = True) -> doc.Json:
    return {
        "offered_per_s": rate, "achieved_per_s": rate * share, "missing": 0, "valid": valid,
        "p50": p99 / 2, "p99": p99, "p99.9": p99, "max": p99, "relay_cpu_share": 0.1,
        "relay_rss_bytes": 4e7, "lines": 100, "reasons": [],
    }  # fmt: skip


async def found(plan: SweepPlan, knee: float) -> doc.Json:
    """Sweep a split that is quick up to its knee and slow beyond."""

    async def measure(rate: float) -> doc.Json:
        made = step(rate, p99=2.0 if rate <= knee else 400.0)
        made["outcome"] = outcome(made, plan.slo)
        return made

    steps = await search(plan, measure, Interrupt())
    return {"turns": steps, "sweep": conclusion(plan, steps)}


@given(knee=st.floats(500, 15_000))
async def test_the_knee_is_found_to_within_five_percent_and_never_above(knee: float) -> None:
    sweep = (await found(PLANNED, knee))["sweep"]
    assert sweep["knee_per_s"] <= knee < sweep["beyond_per_s"]
    assert sweep["beyond_per_s"] / sweep["knee_per_s"] < 1.05


async def test_without_find_knee_only_the_steps_are_taken() -> None:
    document = await found(replace(PLANNED, find_knee=False), 3_000)
    assert [turn["offered_per_s"] for turn in document["turns"]] == pytest.approx(
        [500, 1_000, 2_000, 4_000]
    )
    assert document["sweep"]["knee_per_s"] == pytest.approx(2_000)


async def test_every_end_of_a_sweep_is_told() -> None:
    assert "up to 16,000 lines/s: the knee is beyond" in result(await found(PLANNED, 1e9))
    assert "no rate was carried" in result(await found(PLANNED, 1.0))
    assert "is over the limit" in result(await found(PLANNED, 2_500))


def test_outcomes() -> None:
    slo = PLANNED.slo
    assert outcome(step(100), slo) == OK_STEP
    assert outcome(step(100, p99=60), slo) == LATE_STEP
    assert outcome(step(100, p99=60), None) == OK_STEP
    assert outcome(step(100, share=0.9), slo) == SLOW_STEP
    assert outcome({**step(100), "missing": 1}, slo) == SLOW_STEP
    assert outcome(step(100, p99=60, valid=False), slo) == INVALID_STEP


def test_a_generator_that_fails_is_not_held_against_the_split() -> None:
    made = doc.turn_json("split", 0, turn(PLAN.lines(0.0), lambda _: 0.03, late_s=0.02))
    assert judged(made, PLAN, CALIBRATION, PLANNED.slo)["outcome"] == INVALID_STEP
    good = doc.turn_json("split", 0, turn(PLAN.lines(0.0), lambda _: 0.03))
    assert judged(good, PLAN, CALIBRATION, PLANNED.slo)["outcome"] == OK_STEP


async def test_an_interrupted_sweep_keeps_the_steps_before() -> None:
    interrupt = Interrupt()

    async def measure(rate: float) -> doc.Json:
        if rate > 1_500:
            interrupt.number = 2
        return {**step(rate), "outcome": OK_STEP}

    steps = await search(PLANNED, measure, interrupt)
    assert [each["offered_per_s"] for each in steps] == pytest.approx([500, 1_000])


async def test_reports_show_the_knee_and_every_step() -> None:
    document = await found(PLANNED, 3_000)
    document |= {
        "started": "2026", "command": ["planesplit"], "plan": PLAN.as_json(),
        "environment": ENVIRONMENT, "verdict": {"valid": True, "notes": []}, "partial": False,
    }  # fmt: skip
    page, text = html_of(document), markdown_of(document)
    for report in (page, text):
        assert "knee at" in report
        assert report.count("over the limit") >= 2
    assert 'class="line knee"' in page
    assert len(rows(document)) == len(document["turns"]) + 1


async def test_a_step_that_lost_lines_is_not_tried_until_it_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[float] = []

    async def lossy(_self: Sweep, rate_per_s: float) -> dict[str, object]:
        tried.append(rate_per_s)
        return {"valid": len(tried) > 1, "misplaced": 1 if len(tried) == 1 else 0}

    monkeypatch.setattr(Sweep, "_step", lossy)
    sweep = Sweep(PLANNED, [], lambda text, share: None, Interrupt())
    assert (await sweep._measure(100.0))["misplaced"]
    assert tried == [100.0]
