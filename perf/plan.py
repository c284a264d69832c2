"""Which loads are measured, how often and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planesplit.measure.catalogue import PARTS, SUBJECTS
from planesplit.measure.environment import Environment
from planesplit.measure.latency import measure_lines, measure_round_trips
from planesplit.measure.queries import measure_queries
from planesplit.measure.report import Report
from planesplit.measure.rounds import Progress, measure_throughput
from planesplit.measure.stalled import measure_stalled
from planesplit.measure.subjects import Subject

RTT_BYTES = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run.

    Args:
        rounds: turns of each subject at each load.
        streams: loads of bulk transfers.
        round_bytes: payload of one turn.
        line_loads: (lines a second, streams).
        line_s: seconds of one turn.
        line_rounds: turns of each subject at each of these.
        pings: round trips of one turn.
        query_rows: of one query's result.
        parts: what is measured.
    """

    rounds: int = 7
    streams: tuple[int, ...] = (1, 16, 256)
    round_bytes: int = 300_000_000
    line_loads: tuple[tuple[int, int], ...] = ((1_000, 1), (10_000, 1), (100_000, 1), (10_000, 16))
    line_s: float = 2.0
    line_rounds: int = 3
    pings: int = 1_000
    query_rows: int = 1_000_000
    parts: tuple[str, ...] = PARTS


QUICK = Plan(
    rounds=5,
    streams=(1, 16),
    round_bytes=100_000_000,
    line_loads=((10_000, 1),),
    line_s=1.0,
    line_rounds=2,
    pings=300,
)


def available(names: Sequence[str]) -> tuple[list[Subject], dict[str, str]]:
    """Return the subjects that can be measured here, and why others cannot."""
    chosen = [SUBJECTS[name] for name in names]
    skipped = {subject.name: reason for subject in chosen if (reason := subject.missing())}
    return [subject for subject in chosen if subject.name not in skipped], skipped


async def measure(plan: Plan, names: Sequence[str], progress: Progress) -> Report:
    """Measure what a plan says.

    Raises:
        MeasureError: a subject failed.
    """
    environment = Environment()
    subjects, skipped = available(names)
    report = Report(skipped=skipped)

    def able(part: str) -> list[Subject]:
        return [subject for subject in subjects if part in subject.parts]

    for name, reason in skipped.items():
        progress(f"NOT MEASURED: {name}: {reason}")
    if "bulk" in plan.parts:
        for streams in plan.streams:
            report.throughput += await measure_throughput(
                able("bulk"),
                streams,
                rounds=plan.rounds,
                round_bytes=plan.round_bytes,
                progress=progress,
            )
    if "lines" in plan.parts:
        for rate_per_s, streams in plan.line_loads:
            report.lines += await measure_lines(
                able("lines"),
                rate_per_s,
                streams=streams,
                duration_s=plan.line_s,
                rounds=plan.line_rounds,
                progress=progress,
            )
    if "rtt" in plan.parts:
        report.round_trips = await measure_round_trips(
            able("rtt"),
            size_bytes=RTT_BYTES,
            count=plan.pings,
            rounds=plan.rounds,
            progress=progress,
        )
    if "stalled" in plan.parts and able("stalled"):
        report.stalled = await measure_stalled(
            rounds=plan.rounds, round_bytes=plan.round_bytes, progress=progress
        )
    if "query" in plan.parts:
        report.queries = await measure_queries(
            rows=plan.query_rows, rounds=plan.rounds, progress=progress
        )
    report.environment = environment.capture()
    return report
