"""Spreads and percentiles, the verdict on ratios, and what people and machines are shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.measure.latency import LineLatency, Percentiles, RoundTrip
from planesplit.measure.report import Report, over_ratio
from planesplit.measure.rig import Sample
from planesplit.measure.rounds import Throughput, ratios_to
from planesplit.measure.spread import Spread, percentile
from planesplit.measure.stalled import Stalled
from planesplit.measure.tables import table

times = st.lists(st.floats(0, 10), min_size=1, max_size=50)


@given(times, st.floats(0.1, 100))
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(
    values: list[float], percent: float
) -> None:
    found = percentile(sorted(values), percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9
    assert sum(value < found for value in values) < len(values) * percent / 100


@given(times)
def test_a_spread_encloses_its_median(values: list[float]) -> None:
    spread = Spread.of(values)
    assert min(values) == spread.low <= spread.median <= spread.high == max(values)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


def sample(cpu_s: float, payload_bytes: int = 500_000_000, elapsed_s: float = 0.25) -> Sample:
    return Sample(payload_bytes, elapsed_s, cpu_s, 0.1, 0.1, 40_000_000)


def figure(subject: str, ratios: list[float], streams: int = 1) -> Throughput:
    return Throughput(subject, streams, [sample(0.25)], ratios)


def test_a_sample_speaks_in_seconds_per_gigabyte() -> None:
    assert sample(0.25).cpu_s_per_gb == pytest.approx(0.5)
    assert sample(0.25).mb_per_s == pytest.approx(2000)


def test_ratios_compare_within_a_round() -> None:
    floor, found = [sample(0.1), sample(0.2)], [sample(0.3), sample(0.3)]
    assert ratios_to(floor, found) == pytest.approx([3.0, 1.5])
    assert ratios_to([], found) == []


def test_the_verdict_names_every_load_that_costs_too_much() -> None:
    figures = [figure("relay", [2.0], 1), figure("relay", [4.0, 3.0, 9.0], 16)]
    assert over_ratio(figures, "relay", 2.5) == [
        "relay at 16 streams: 3.0 times the floor's CPU, limit 2.5"
    ]
    assert over_ratio(figures, "relay", 3.0) == []


def test_what_was_not_compared_has_not_passed() -> None:
    assert over_ratio([figure("relay", [])], "relay", 2.5)
    assert over_ratio([], "relay", 2.5)
    assert over_ratio([figure("haproxy", [1.0])], "relay", 2.5)


def line_latency(late_ms: float) -> LineLatency:
    latency, late = Percentiles(0.5, 1.0, 2.0), Percentiles(0.01, late_ms, 1.0)
    spread = Spread(1.0, 1.0, 1.0)
    return LineLatency("relay", 1, 1000.0, latency, latency, late, 999.0, spread, spread, spread)


def test_a_p99_that_the_generator_made_is_invalid() -> None:
    assert line_latency(0.4).valid
    assert not line_latency(0.6).valid


def stalled() -> Stalled:
    spread = Spread(100.0, 90.0, 110.0)
    return Stalled(32, 16, spread, spread, Spread(1.0, 0.9, 1.1), 40, 60, 41, 1000)


def test_a_report_shows_every_figure_to_people_and_to_machines() -> None:
    report = Report(
        skipped={"haproxy": "it is not installed"},
        throughput=[figure("relay", [2.0])],
        lines=[line_latency(0.9)],
        round_trips=[RoundTrip("floor", 100, Percentiles(0.1, 0.2, 0.3), Spread(0.1, 0.1, 0.1))],
        stalled=stalled(),
    )
    text = report.as_text()
    for shown in ("NOT MEASURED: haproxy: it is not installed", "INVALID", "2.00 (2.00-2.00)"):
        assert shown in text
    document = json.loads(json.dumps(report.as_json()))
    assert document["throughput"][0]["ratio_to_floor"]["median"] == 2.0
    assert document["lines"][0]["valid"] is False
    assert document["round_trips"][0]["rtt"]["p99_ms"] == 0.2
    assert document["stalled"]["bound_bytes"] == stalled().bound_bytes
    assert document["stalled"]["grown_bytes"] == 20


def test_a_busy_machine_is_told() -> None:
    environment = {"cpu": "x", "cores": 2, "kernel": "6", "python": "3", "versions": {}, "git": ""}
    times = {"load_before": 1.0, "load_after": 3.0, "steal_s": 0.0}
    assert "BUSY" in Report({**environment, **times, "busy": True}).as_text()
    assert "BUSY" not in Report({**environment, **times, "busy": False}).as_text()


def test_a_report_of_nothing_is_still_one() -> None:
    assert json.loads(json.dumps(Report().as_json()))["stalled"] is None
    assert "not captured" in Report().as_text()


def test_a_table_is_laid_out_in_columns() -> None:
    assert table(("name", "n"), [("a", "1"), ("longer", "22")]) == (
        "name     n\na        1\nlonger  22"
    )
