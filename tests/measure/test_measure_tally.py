"""Tallies: every line is counted from its intended time, in memory that does not grow."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.measure.histogram import Histogram
from planesplit.measure.lines import Batch, LinePlan
from planesplit.measure.tally import COLUMNS, SendTally, Tally, band, band_ms

PLAN = LinePlan(rate_per_s=1_000, duration_s=2.0, streams=2, start_s=100.0, sample_every=100)
STALL_S = 0.5


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=50))
def test_a_histogram_is_as_exact_as_its_digits_and_survives_its_encoding(
    latencies_s: list[float],
) -> None:
    found = Histogram()
    for latency_s in latencies_s:
        found.record(latency_s)
    again = Histogram.decode(found.encode())
    assert again.count == len(latencies_s)
    assert again.max_ms == pytest.approx(max(latencies_s) * 1e3, rel=2e-3, abs=2e-3)
    assert again.percentile_ms(100) == pytest.approx(max(latencies_s) * 1e3, rel=2e-3, abs=2e-3)


def test_what_is_out_of_range_counts_as_the_nearest_in_it() -> None:
    found = Histogram()
    found.record(-1.0)
    found.record(1e9)
    assert found.count == 2
    assert found.percentile_ms(50) == pytest.approx(0.001, rel=0.05)
    assert found.max_ms == pytest.approx(3_600_000, rel=1e-2)
    assert Histogram().percentile_ms(99) == Histogram().max_ms == Histogram().mean_ms == 0.0


def test_merged_histograms_have_all_counts_and_no_text_is_not_one() -> None:
    several = [Histogram() for _ in range(3)]
    for number, each in enumerate(several):
        each.record(0.001 * (number + 1))
    assert Histogram.merged(several).count == 3
    with pytest.raises(ValueError, match="HdrHistogram"):
        Histogram.decode("nonsense")


def stalled(tally: Tally, plan: LinePlan) -> dict[str, Any]:
    """A subject that takes 1 ms, but lets nothing through for half a second."""
    began_s = plan.start_s + 0.5
    for line in range(plan.lines):
        for stream in range(plan.streams):
            at_s = plan.intended_s(stream, line) + 0.001
            if began_s <= at_s < began_s + STALL_S:
                at_s = began_s + STALL_S
            tally.add(Batch(stream, line, 1, at_s), at_s)
    return tally.as_json()


def p99_ms(answer: dict[str, Any]) -> float:
    return Histogram.decode(answer["latency"]).percentile_ms(99)


class Omitting(Tally):
    """A tally that makes the classic mistake: latency from when the line could be sent."""

    def _record(self, stream: int, line: int, at_s: float) -> None:
        plan = self._plan
        held_s = plan.start_s + 0.5, plan.start_s + 0.5 + STALL_S
        sent_s = plan.intended_s(stream, line)
        if held_s[0] <= sent_s < held_s[1]:
            sent_s = held_s[1]
        self._latency.record(at_s - sent_s)


def test_a_stall_shows_in_the_p99_and_a_tally_that_omits_it_is_found_out() -> None:
    assert p99_ms(stalled(Tally(PLAN), PLAN)) > 0.9 * STALL_S * 1e3
    assert p99_ms(stalled(Omitting(PLAN), PLAN)) < 10


def test_a_stall_is_a_slanted_band_of_the_heat_map() -> None:
    heat = stalled(Tally(PLAN), PLAN)["heat"]
    worst = {}
    for column, row, _ in heat:
        worst[column] = max(row, worst.get(column, 0))
    during = [worst[column] for column in range(COLUMNS // 4 + 1, COLUMNS // 2 - 1)]
    assert all(a >= b for a, b in pairwise(during))
    assert during[0] > during[-1] > worst[COLUMNS - 1]
    assert sum(count for *_, count in heat) == PLAN.lines * PLAN.streams


def test_lines_that_never_came_are_charged_with_their_age() -> None:
    tally = Tally(PLAN)
    tally.add(Batch(0, 0, PLAN.lines, PLAN.end_s), PLAN.end_s)
    tally.add(Batch(1, 0, PLAN.lines - 10, PLAN.end_s), PLAN.end_s)
    assert not tally.done
    assert tally.charge_missing(PLAN.end_s + 30) == 10
    answer = tally.as_json()
    assert Histogram.decode(answer["latency"]).max_ms > 30_000
    assert answer["lines"] == 2 * PLAN.lines - 10


def test_lines_out_of_order_doubled_or_early_are_told() -> None:
    tally = Tally(PLAN)
    for first in (0, 1, 1, 5):
        tally.add(Batch(0, first, 1, PLAN.start_s + 1), PLAN.start_s + 1)
    assert tally.as_json()["misplaced"] == 2
    assert tally.as_json()["early"] == 0
    tally.add(Batch(0, 6, 1, PLAN.start_s - 1), PLAN.start_s - 1)
    assert tally.as_json()["early"] == 1


def test_the_longest_silence_of_any_stream_is_kept() -> None:
    assert stalled(Tally(PLAN), PLAN)["gap_s"] == pytest.approx(STALL_S, abs=0.01)


def test_what_a_source_sent_late_is_told_apart_from_what_it_held_back() -> None:
    tally = SendTally(PLAN)
    tally.add(Batch(0, 0, 1, PLAN.start_s + 0.01), 0.002)
    answer = tally.as_json()
    assert Histogram.decode(answer["late"]).max_ms == pytest.approx(2, rel=1e-2)
    assert Histogram.decode(answer["delay"]).max_ms == pytest.approx(10, rel=1e-2)


@given(st.integers(0, 500), st.integers(1, 300), st.sampled_from([0, 1, 7, 100]))
def test_a_batch_knows_its_followed_lines(first: int, count: int, every: int) -> None:
    plan = replace(PLAN, sample_every=every)
    wanted = [n for n in range(first, first + count) if every and n % every == 0]
    assert list(plan.sampled(Batch(0, first, count, 0.0))) == wanted


def test_memory_does_not_grow_with_the_run() -> None:
    def size(seconds: float) -> int:
        plan = replace(PLAN, duration_s=seconds, sample_every=int(50 * seconds))
        return len(json.dumps(stalled(Tally(plan), plan)))

    assert size(20.0) < 1.5 * size(2.0)


@given(st.floats(1e-6, 1e3))
def test_a_band_holds_its_latencies(latency_s: float) -> None:
    row = band(latency_s)
    assert band_ms(row) * 0.999 <= latency_s * 1e3 <= band_ms(row + 1) * 1.001
