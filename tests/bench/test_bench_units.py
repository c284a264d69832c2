"""Quantities, plans and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planesplit.bench import options, units
from planesplit.bench.metrics import METRICS
from planesplit.bench.plan import BenchPlan, PlanImpossible
from planesplit.commands.outcome import UsageError
from planesplit.split.shaping import LinkProfile


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.seconds, "80ms", 0.08),
        (units.seconds, "2", 2.0),
        (units.seconds, "1.5 s", 1.5),
        (units.seconds, "250us", 0.00025),
        (units.per_second, "10000/s", 10_000),
        (units.per_second, "10k/s", 10_000),
        (units.size_bytes, "200B", 200),
        (units.size_bytes, "1KiB", 1_024),
        (units.bytes_per_second, "50mbit", 6_250_000),
    ],
)
def test_quantities(parse: units.Parser, text: str, value: float) -> None:
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "ms", "-5ms", "1e3", "5 parsecs", "1.ms", "nan"])
def test_what_is_no_quantity_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(units.BadQuantity, match="write it as"):
        units.seconds(text)


def test_ranges() -> None:
    assert units.rate_range("500..20k/s") == (500, 20_000)
    for bad in ("500", "20..10", "0..10", "a..b"):
        with pytest.raises(units.BadQuantity):
            units.rate_range(bad)


def test_limits_are_in_milliseconds() -> None:
    limit = units.limit("p99<50ms", METRICS)
    assert (limit.metric, limit.value) == ("p99", pytest.approx(50))
    assert limit.holds(49.9)
    assert not limit.holds(50.0)
    assert units.limit("p99.9<=1s", METRICS).holds(1_000)
    for bad in ("p98<50ms", "p99=5ms", "p99<", "<5ms"):
        with pytest.raises(units.BadQuantity):
            units.limit(bad, METRICS)


def test_changes_are_shares() -> None:
    assert units.change("p99>+10%", METRICS).exceeded(0.11)
    assert not units.change("p99>+10%", METRICS).exceeded(0.10)
    assert units.change("achieved<-5%", METRICS).exceeded(-0.06)
    for bad in ("p99>10%", "p99>+10", "speed>+1%"):
        with pytest.raises(units.BadQuantity):
            units.change(bad, METRICS)


def planned(**changes: Any) -> BenchPlan:
    given = {
        "size": "200B", "streams": 16, "duration": "10", "warmup": "1",
        "rtt": "0", "jitter": "0", "bandwidth": "",
    }  # fmt: skip
    return options.plan(**{**given, **changes})


def test_options_become_a_plan() -> None:
    plan = planned(rate="2k/s", rtt="80ms", jitter="5ms", bandwidth="50mbit")
    assert (plan.rate_per_s, plan.line_bytes, plan.duration_s) == (2_000, 200, 10)
    assert plan.profile == LinkProfile(0.08, 0.005, 6_250_000)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rate": "0/s"}, "--rate '0/s'"),
        ({"rate": "fast"}, "--rate 'fast'"),
        ({"size": "16B"}, "--size '16B' is out of bounds: from 32"),
        ({"duration": "2h"}, "--duration"),
        ({"rtt": "11s"}, "--rtt '11s'"),
        ({"rtt": "10ms", "jitter": "6ms"}, "--jitter 6ms is more than half of --rtt 10ms"),
        ({"bandwidth": "50MB"}, "--bandwidth"),
    ],
)
def test_a_bad_option_is_named_with_its_value(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as error:
        planned(**changes)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"profile": LinkProfile(bandwidth_bytes_per_s=1_250_000)}, "16.0 Mbit/s"),
        ({"rate_per_s": 1.0, "duration_s": 2.0}, "less than a line for each"),
        ({"stall_s": 5.0}, "--stall 5 s"),
    ],
)
def test_a_plan_that_measures_only_itself_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanImpossible) as error:
        replace(BenchPlan(), **changes).check()
    assert told in str(error.value)
    BenchPlan().check()


def test_a_sweep_has_equal_factors() -> None:
    sweep = options.sweep_plan(planned(), "500..8000", 5, "p99<50ms", find_knee=True)
    assert sweep.rates() == pytest.approx([500, 1_000, 2_000, 4_000, 8_000])
    with pytest.raises(UsageError, match="out of bounds"):
        options.sweep_plan(planned(), "0.1..8", 5, "", find_knee=False)
    with pytest.raises(UsageError, match="p98"):
        options.sweep_plan(planned(), "500..800", 5, "p98<1s", find_knee=False)
