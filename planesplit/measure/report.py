"""A run's figures as one JSON document and as tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from planesplit.measure.fairness import Fairness
from planesplit.measure.latency import LineLatency, RoundTrip
from planesplit.measure.queries import Queries
from planesplit.measure.resting import Memory
from planesplit.measure.rounds import Throughput
from planesplit.measure.sealing import Sealing
from planesplit.measure.spread import Spread
from planesplit.measure.stalled import Stalled
from planesplit.measure.tables import (
    Table,
    around,
    fairness_table,
    idle_table,
    lines_table,
    memory_table,
    round_trip_table,
    sealing_table,
    stalled_table,
    throughput_table,
    window_table,
)
from planesplit.measure.window import Window

SCHEMA = 2
DIGITS = 4
BUSY = "\nBUSY: others were using this machine; latencies are theirs as much as the subjects'"


@dataclass(slots=True)
class Report:
    """All figures of a run.

    Args:
        environment: where it was made.
        skipped: subjects and parts that could not be measured, and why.
        throughput, tls: bulk transfers, plain and with TLS.
        lines, prompt: lines at steady rates; the second with as little batching as there can be.
        round_trips, fairness, windows, stalled, memory, idle, sealing, queries: the other parts.
    """

    environment: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    throughput: list[Throughput] = field(default_factory=list)
    tls: list[Throughput] = field(default_factory=list)
    lines: list[LineLatency] = field(default_factory=list)
    prompt: list[LineLatency] = field(default_factory=list)
    round_trips: list[RoundTrip] = field(default_factory=list)
    fairness: list[Fairness] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    stalled: Stalled | None = None
    memory: Memory | None = None
    idle: Spread | None = None
    sealing: Sealing | None = None
    queries: Queries | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything; a spread is a median with the smallest and the largest round."""
        document = {
            "schema": SCHEMA,
            "environment": self.environment,
            "skipped": self.skipped,
            "throughput": [figure.as_json() for figure in self.throughput],
            "tls": [figure.as_json() for figure in self.tls],
            "lines": [asdict(figure) | {"valid": figure.valid} for figure in self.lines],
            "prompt": [asdict(figure) | {"valid": figure.valid} for figure in self.prompt],
            "round_trips": self.round_trips,
            "fairness": self.fairness,
            "windows": [asdict(figure) | {"share": figure.share} for figure in self.windows],
            "stalled": self.stalled and self.stalled.as_json(),
            "memory": self.memory
            and asdict(self.memory)
            | {"stream_bytes": self.memory.stream_bytes, "kept_bytes": self.memory.kept_bytes},
            "idle_share": self.idle,
            "sealing": self.sealing and asdict(self.sealing) | {"later_s": self.sealing.later_s},
            "queries": self.queries and self.queries.as_json(),
        }
        rounded: dict[str, Any] = plain(document)
        return rounded

    def tables(self) -> Iterator[Table]:
        """Yield a table for each part that was measured."""
        if self.throughput:
            yield throughput_table("bulk", self.throughput)
        if self.tls:
            yield throughput_table("tls", self.tls)
        if self.lines:
            yield lines_table("lines", self.lines)
        if self.prompt:
            yield lines_table("prompt", self.prompt)
        if self.round_trips:
            yield round_trip_table(self.round_trips)
        if self.fairness:
            yield fairness_table(self.fairness)
        if self.windows:
            yield window_table(self.windows)
        if self.stalled:
            yield stalled_table(self.stalled)
        if self.memory:
            yield memory_table(self.memory)
        if self.idle:
            yield idle_table(self.idle)
        if self.sealing:
            yield sealing_table(self.sealing)
        if self.queries:
            yield _query_table(self.queries)

    def as_text(self) -> str:
        """Return tables, one below the other."""
        parts = [machine(self.environment)]
        parts += [f"NOT MEASURED: {name}: {reason}" for name, reason in self.skipped.items()]
        parts += [table.as_text() for table in self.tables()]
        return "\n\n".join(parts) + "\n"


def over_ratio(figures: Iterable[Throughput], subject: str, most: float) -> list[str]:
    """Return a line for each load at which a subject costs more than `most` times the floor.

    Its best round counts: on a machine that others use too, they spoil some. What was not measured
    or not compared with a floor counts as well: it has not passed.
    """
    found = [figure for figure in figures if figure.subject == subject]
    if not found:
        return [f"{subject} was not measured"]
    return [
        f"{subject} at {figure.streams} streams: {figure.ratio and figure.ratio.low} times"
        f" the floor's CPU, limit {most:g}"
        for figure in found
        if not (figure.ratio and figure.ratio.low <= most)
    ]


def plain(value: Any) -> Any:
    """Turn dataclasses into dicts and round floats: more digits are noise, NaN is null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    return value


def machine(found: dict[str, Any]) -> str:
    """Return where a run was made, as a sentence."""
    if not found:
        return "environment: not captured"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['cpu']}, {found['cores']} cores, Linux {found['kernel']}, "
        f"Python {found['python']}, {versions}, commit {found['git'] or 'unknown'}, "
        f"load {found['load_before']} to {found['load_after']}, steal {found['steal_s']} s"
        + (BUSY if found["busy"] else "")
    )


def _query_table(figure: Queries) -> Table:
    direct, path = figure.rows_per_s(figure.direct), figure.rows_per_s(figure.path)
    costs = figure.cpu_s_per_gb.items()
    return Table(
        "query",
        (f"a query of {figure.rows:,} rows", ""),
        [
            ("M rows/s read from ClickHouse", around(_millions(direct), 2)),
            ("M rows/s through agent and relay", around(_millions(path), 2)),
            ("share", around(figure.share, 2)),
            *((f"{name}, CPU s/GB", f"{cost:.2f}") for name, cost in costs),
        ],
    )


def _millions(spread: Spread) -> Spread:
    return Spread(spread.median / 1e6, spread.low / 1e6, spread.high / 1e6)
