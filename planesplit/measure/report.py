"""A run's figures as one JSON document and as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from planesplit.measure.latency import LineLatency, Percentiles, RoundTrip
from planesplit.measure.queries import Queries
from planesplit.measure.rounds import Throughput
from planesplit.measure.spread import Spread
from planesplit.measure.stalled import Stalled

SCHEMA = 1
MB = 1e6
DIGITS = 4
BUSY = "\nBUSY: others were using this machine; latencies are theirs as much as the subjects'"


@dataclass(slots=True)
class Report:
    """All figures of a run.

    Args:
        environment: where it was made.
        skipped: subjects that could not be measured, and why.
        throughput, lines, round_trips, stalled, queries: the figures.
    """

    environment: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    throughput: list[Throughput] = field(default_factory=list)
    lines: list[LineLatency] = field(default_factory=list)
    round_trips: list[RoundTrip] = field(default_factory=list)
    stalled: Stalled | None = None
    queries: Queries | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything; a spread is a median with the smallest and the largest round."""
        stalled = self.stalled
        document = {
            "schema": SCHEMA,
            "environment": self.environment,
            "skipped": self.skipped,
            "throughput": [figure.as_json() for figure in self.throughput],
            "lines": [asdict(figure) | {"valid": figure.valid} for figure in self.lines],
            "round_trips": self.round_trips,
            "stalled": stalled and stalled.as_json(),
            "queries": self.queries and self.queries.as_json(),
        }
        rounded: dict[str, Any] = _plain(document)
        return rounded

    def as_text(self) -> str:
        """Return tables, one below the other."""
        parts = [_environment(self.environment)]
        parts += [f"not measured: {name}: {reason}" for name, reason in self.skipped.items()]
        if self.throughput:
            parts.append(_throughput(self.throughput))
        if self.lines:
            parts.append(_lines(self.lines))
        if self.round_trips:
            parts.append(_round_trips(self.round_trips))
        if self.stalled:
            parts.append(_stalled(self.stalled))
        if self.queries:
            parts.append(_queries(self.queries))
        return "\n\n".join(parts) + "\n"


def over_ratio(figures: Iterable[Throughput], subject: str, most: float) -> list[str]:
    """Return a line for each load at which a subject costs more than `most` times the floor.

    What was not measured or not compared with a floor counts as well: it has not passed.
    """
    found = [figure for figure in figures if figure.subject == subject]
    if not found:
        return [f"{subject} was not measured"]
    return [
        f"{subject} at {figure.streams} streams: {figure.ratio and figure.ratio.median} times"
        f" the floor's CPU, limit {most:g}"
        for figure in found
        if not (figure.ratio and figure.ratio.median <= most)
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out columns: the first left, the others right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in _tail(line, widths))]
        ).rstrip()
        for line in lines
    )


def _tail(line: Sequence[str], widths: Sequence[int]) -> Iterable[tuple[str, int]]:
    return zip(line[1:], widths[1:], strict=True)


def _plain(value: Any) -> Any:
    """Turn dataclasses into dicts and round floats: more digits are noise."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def _environment(found: dict[str, Any]) -> str:
    if not found:
        return "environment: not captured"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['cpu']}, {found['cores']} cores, Linux {found['kernel']}, "
        f"Python {found['python']}, {versions}, commit {found['git'] or 'unknown'}, "
        f"load {found['load_before']} to {found['load_after']}, steal {found['steal_s']} s"
        + (BUSY if found["busy"] else "")
    )


def _around(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def _throughput(figures: Sequence[Throughput]) -> str:
    head = ("bulk", "streams", "CPU s/GB", "x floor", "MB/s", "RSS MB")
    return table(
        head,
        (
            (
                figure.subject,
                str(figure.streams),
                _around(figure.spread(lambda s: s.cpu_s_per_gb), 2),
                _around(figure.ratio, 2) if figure.ratio else "-",
                _around(figure.spread(lambda s: s.mb_per_s), 0),
                f"{figure.spread(lambda s: s.rss_bytes / MB).median:.0f}",
            )
            for figure in figures
        ),
    )


def _ms(times: Percentiles) -> tuple[str, str, str]:
    return f"{times.p50_ms:.2f}", f"{times.p99_ms:.2f}", f"{times.p999_ms:.2f}"


def _lines(figures: Sequence[LineLatency]) -> str:
    head = ["200-byte lines", "rate/s", "streams", "achieved/s", "p50 ms", "p99", "p99.9"]
    head += ["send p50", "send p99", "late p99", "relay CPU", "agent CPU"]
    rows = table(
        head,
        (
            (
                figure.subject,
                f"{figure.rate_per_s:.0f}",
                str(figure.streams),
                f"{figure.achieved_per_s:.0f}",
                *_ms(figure.latency),
                *_ms(figure.send_delay)[:2],
                _ms(figure.late)[1] + ("" if figure.valid else " !"),
                f"{figure.relay_cpu_share.median:.1%}",
                f"{share:.1%}" if (share := figure.agent_cpu_share.median) else "-",
            )
            for figure in figures
        ),
    )
    notes = "send: until handed over, batching included; late: the generator's clock alone"
    if not all(figure.valid for figure in figures):
        notes += "\n! INVALID: the generator itself made more than half of this p99"
    return f"{rows}\n{notes}"


def _round_trips(figures: Sequence[RoundTrip]) -> str:
    return table(
        ("round trip", "bytes", "p50 ms", "p99", "p99.9"),
        ((figure.subject, str(figure.size_bytes), *_ms(figure.rtt)) for figure in figures),
    )


def _stalled(figure: Stalled) -> str:
    return (
        f"{figure.stalled} of {figure.viewers} viewers stalled: the others keep "
        f"{_around(figure.share, 2)} of {figure.alone_mb_per_s.median:.0f} MB/s\n"
        f"relay memory: {figure.rss_before / MB:.1f} MB before, {figure.rss_stalled / MB:.1f} MB "
        f"while stalled (bound: +{figure.bound_bytes / MB:.1f} MB), "
        f"{figure.rss_after / MB:.1f} MB after they hung up"
    )


def _queries(figure: Queries) -> str:
    direct, path = figure.rows_per_s(figure.direct), figure.rows_per_s(figure.path)
    return (
        f"a query of {figure.rows} rows: {direct.median / 1e6:.2f} M rows/s read from ClickHouse, "
        f"{path.median / 1e6:.2f} M rows/s through agent and relay: "
        f"{_around(figure.share, 2)} of it\n"
        + ", ".join(f"{name} {cost:.2f} CPU s/GB" for name, cost in figure.cpu_s_per_gb.items())
    )
