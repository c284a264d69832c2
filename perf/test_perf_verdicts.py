"""Bounds beside figures: each verdict turns when its own figure does; documents take tables in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perf.document import DocumentError, as_blocks, rewrite
from perf.verdicts import Verdict, verdict_table, verdicts
from planesplit.measure.fairness import Fairness
from planesplit.measure.latency import LineLatency, Percentiles, RoundTrip
from planesplit.measure.queries import Queries, Turn
from planesplit.measure.report import Report, plain
from planesplit.measure.resting import Memory
from planesplit.measure.rig import Sample
from planesplit.measure.rounds import Throughput
from planesplit.measure.sealing import OPEN, SEALED, Sealing
from planesplit.measure.spread import Spread
from planesplit.measure.stalled import Stalled
from planesplit.measure.tables import Table
from planesplit.measure.window import Window

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
ROUNDS = 5


def even(value: float) -> Spread:
    return Spread(value, value, value)


def bulk(subject: str, streams: int, cpu_s: float, elapsed_s: float) -> Throughput:
    sample = Sample(1_000_000_000, elapsed_s, cpu_s, 0.1, 0.1, 40_000_000)
    return Throughput(subject, streams, [sample] * ROUNDS, [1.0] * ROUNDS)


def lines(subject: str, rate_per_s: float, p50_ms: float) -> LineLatency:
    latency, none = Percentiles(p50_ms, 5.0, 8.0), Percentiles(0.0, 0.0, 0.0)
    cpu, agent = even(0.1), even(0.3)
    return LineLatency(
        subject, 1, rate_per_s, latency, none, none, rate_per_s, cpu, agent, even(5.0)
    )


def good() -> Report:
    """Return a report in which everything is reached."""
    rtt = {"openssh": 0.4, "pair": 0.3, "relay-direct": 0.35}
    return Report(
        throughput=[
            bulk(subject, streams, cpu_s, elapsed_s)
            for streams in (1, 16, 256, 1_000)
            for subject, cpu_s, elapsed_s in (
                ("floor", 1.0, 1.0),
                ("openssh", 2.0, 1.5),
                ("relay", 1.2, 1.1),
            )
        ],
        tls=[
            bulk(subject, streams, cpu_s, 1.0)
            for streams in (1, 16)
            for subject, cpu_s in (
                ("floor-tls", 2.0),
                ("relay-mtls", 2.2),
                ("openssh", 1.5),
                ("relay-agent-tls", 1.4),
            )
        ],
        lines=[lines("whole", 10_000, 3.0), lines("whole", 100_000, 0.8)],
        prompt=[lines("pair", 10_000, 0.2), lines("whole-latency", 10_000, 0.3)],
        round_trips=[
            RoundTrip(name, 100, Percentiles(p50_ms, 1.0, 2.0), even(p50_ms))
            for name, p50_ms in rtt.items()
        ],
        fairness=[Fairness("relay", 16, 1_000.0, Percentiles(1, 9, 12), even(9.0), even(1_000.0))],
        windows=[
            Window(rtt_s, 4_194_304, grows=True, mb_per_s=even(0.9 * 4_194_304 / rtt_s / 1e6))
            for rtt_s in (0.02, 0.1)
        ],
        stalled=Stalled(
            32, 16, even(1_000.0), even(900.0), even(0.9), 44_000_000, 70_000_000, 45_000_000, 1
        ),
        memory=Memory(42_000_000, 1_000, 43_000_000, 48_000_000, 44_000_000),
        idle=even(0.0004),
        sealing=Sealing(
            "full",
            {SEALED: even(0.5), OPEN: even(0.5)},
            even(1.0),
            {SEALED: even(0.23), OPEN: even(0.22)},
            {SEALED: even(0.2), OPEN: even(0.2)},
        ),
        queries=Queries(1_000, [Turn(1, 1.0)], [Turn(1, 1.0)]),
    )


def test_everything_can_be_reached() -> None:
    found = verdicts(good())
    assert len(found) == 30
    assert [verdict.quantity for verdict in found if not verdict.reached] == []
    assert len({verdict.quantity for verdict in found}) == len(found)


def _spoil_bulk(report: Report) -> None:
    report.throughput = [
        bulk(f.subject, f.streams, 1.31, 1.1) if (f.subject, f.streams) == ("relay", 16) else f
        for f in report.throughput
    ]


def _spoil_tls(report: Report) -> None:
    report.tls = [
        bulk(f.subject, f.streams, 1.51, 1.0)
        if (f.subject, f.streams) == ("relay-agent-tls", 1)
        else f
        for f in report.tls
    ]


def _spoil_memory(report: Report) -> None:
    assert report.memory
    report.memory = replace(report.memory, many_bytes=50_000_000)


def _spoil_after(report: Report) -> None:
    assert report.memory
    report.memory = replace(report.memory, after_bytes=47_100_000)


def _spoil_kept(report: Report) -> None:
    assert report.stalled
    report.stalled = replace(report.stalled, rss_after=49_000_000)


def _spoil_window(report: Report) -> None:
    report.windows[1] = replace(report.windows[1], mb_per_s=even(30.0))


def _spoil_idle(report: Report) -> None:
    report.idle = even(0.0011)


def _spoil_prompt(report: Report) -> None:
    report.prompt[1] = lines("whole-latency", 10_000, 0.33)


def _spoil_fairness(report: Report) -> None:
    report.fairness[0] = replace(report.fairness[0], p99_ms=even(15.1))


def _spoil_seal(report: Report) -> None:
    assert report.sealing
    report.sealing = replace(report.sealing, ratio=even(1.04))


@pytest.mark.parametrize(
    ("spoil", "quantity"),
    [
        (_spoil_bulk, "relay CPU s/GB to the splice's, 16 streams"),
        (_spoil_tls, "relay, TLS on the agent's side: CPU s/GB to those of OpenSSH -R, 1 stream"),
        (_spoil_memory, "relay memory of an idle stream"),
        (_spoil_after, "relay memory that 1,000 idle streams leave behind"),
        (_spoil_kept, "relay memory that 16 stalled streams leave behind"),
        (_spoil_window, "share of window / RTT, a window that grows to 4,096 KiB, 100 ms RTT"),
        (_spoil_idle, "idle tunnel, share of a core"),
        (
            _spoil_prompt,
            "whole path, one-way p50 to the splice pair's, 10,000 lines/s over 16 streams",
        ),
        (_spoil_fairness, "relay, 1,000 lines/s beside 16 bulk streams, p99"),
        (_spoil_seal, "relay CPU s/GB, sealed to unsealed"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_figure_beyond_its_bound_is_told(spoil: Callable[[Report], None], quantity: str) -> None:
    report = good()
    spoil(report)
    assert [v.quantity for v in verdicts(report) if not v.reached] == [quantity]


def test_what_was_not_measured_has_not_passed() -> None:
    found = verdicts(Report())
    assert len(found) >= 25
    assert {verdict.reached for verdict in found} == {None}
    assert {cells[2] for cells in verdict_table(found).rows} == {"-"}
    judged: Any = plain([{"measured": verdict.measured} for verdict in found])
    assert "NaN" not in json.dumps(judged)


def test_verdicts_speak_of_bound_and_aim() -> None:
    most = Verdict("cost", 1.2, 1.3, 1.0, "x")
    assert most.cells() == ("cost", "<= 1.3x (aim 1x)", "1.2x", "reached")
    assert replace(most, measured=0.9).text == "reached, aim too"
    assert replace(most, measured=1.31).text == "NOT REACHED"
    assert replace(most, measured=math.nan).text == "not measured"
    least = Verdict("share", 0.84, 0.85, unit="%", at_least=True)
    assert least.cells() == ("share", ">= 85 %", "84 %", "NOT REACHED")


def test_a_documents_blocks_are_written_anew_and_nothing_else() -> None:
    text = (
        "a\n<!-- perf: bulk -->\nold\n<!-- /perf -->\nb\n<!-- perf: tls -->\nkept\n<!-- /perf -->\n"
    )
    table = Table("bulk", ("subject", "MB/s"), [("floor", "1")], ["a note"])
    blocks = {"bulk": table.as_markdown()}
    fresh = rewrite(text, blocks)
    assert fresh == text.replace(
        "old\n", "| subject | MB/s |\n| --- | --- |\n| floor | 1 |\n\na note\n"
    )
    assert rewrite(fresh, blocks) == fresh
    with pytest.raises(DocumentError, match="perf: rtt"):
        rewrite(text, {"rtt": ""})


def test_the_document_has_a_place_for_every_table() -> None:
    report = good()
    blocks = as_blocks("machine", [verdict_table(verdicts(report)), *report.tables()])
    fresh = rewrite(DOCUMENT.read_text(encoding="utf-8"), blocks)
    assert all(block in fresh for block in blocks.values())
