"""Tables of figures: laid out for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planesplit.measure.fairness import Fairness
from planesplit.measure.latency import LineLatency, Percentiles, RoundTrip
from planesplit.measure.resting import Memory
from planesplit.measure.rounds import Throughput
from planesplit.measure.sealing import OPEN, SEALED, Sealing
from planesplit.measure.spread import Spread
from planesplit.measure.stalled import Stalled
from planesplit.measure.window import Window

MB, KIB = 1e6, 1024


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head.

    Args:
        name: of the part that it shows; blocks of a document are named so.
        head, rows: cells.
        notes: below it.
    """

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def as_text(self) -> str:
        """Lay out columns: the first left, the others right."""
        return "\n".join((table(self.head, self.rows), *self.notes))

    def as_markdown(self) -> str:
        """Return a Markdown table."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        rows = (f"| {' | '.join(line)} |" for line in lines)
        return "\n".join((*rows, *(f"\n{note}" for note in self.notes)))


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


def around(spread: Spread, digits: int) -> str:
    """Return a median with the smallest and the largest."""
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def throughput_table(name: str, figures: Sequence[Throughput]) -> Table:
    """Show bulk transfers."""
    head = [name, "streams", "CPU s/GB", "x floor", "MB/s", "relay busy", "source", "viewers"]
    head += ["RSS MB"]
    rows = [
        (
            figure.subject,
            f"{figure.streams:,}",
            around(figure.spread(lambda s: s.cpu_s_per_gb), 2),
            around(figure.ratio, 2) if figure.ratio else "-",
            around(figure.spread(lambda s: s.mb_per_s), 0),
            *(f"{share:.0%}" for share in figure.busy),
            f"{figure.spread(lambda s: s.rss_bytes / MB).median:.0f}",
        )
        for figure in figures
    ]
    notes = ["busy: share of a core that relay, source and viewers took; all three share the cores"]
    return Table(name, head, rows, notes)


def _ms(times: Percentiles) -> tuple[str, str, str]:
    return f"{times.p50_ms:.2f}", f"{times.p99_ms:.2f}", f"{times.p999_ms:.2f}"


def lines_table(name: str, figures: Sequence[LineLatency]) -> Table:
    """Show lines at steady rates."""
    head = [name, "rate/s", "streams", "achieved/s", "p50 ms", "p99", "p99.9"]
    head += ["send p50", "send p99", "late p99", "relay CPU", "agent CPU"]
    rows = [
        (
            figure.subject,
            f"{figure.rate_per_s:,.0f}",
            str(figure.streams),
            f"{figure.achieved_per_s:,.0f}",
            *_ms(figure.latency),
            *_ms(figure.send_delay)[:2],
            _ms(figure.late)[1] + ("" if figure.valid else " !"),
            f"{figure.relay_cpu_share.median:.1%}",
            f"{share:.1%}" if (share := figure.agent_cpu_share.median) else "-",
        )
        for figure in figures
    ]
    notes = ["send: until handed over, batching included; late: the generator's clock alone"]
    if not all(figure.valid for figure in figures):
        notes.append("! INVALID: the generator itself made more than half of this p99")
    return Table(name, head, rows, notes)


def round_trip_table(figures: Sequence[RoundTrip]) -> Table:
    """Show round trips."""
    rows = [(figure.subject, str(figure.size_bytes), *_ms(figure.rtt)) for figure in figures]
    return Table("rtt", ("round trip", "bytes", "p50 ms", "p99", "p99.9"), rows)


def fairness_table(figures: Sequence[Fairness]) -> Table:
    """Show a quiet stream beside busy ones."""
    head = ("fair", "lines/s", "beside", "p50 ms", "p99", "p99.9", "p99 by round", "bulk MB/s")
    rows = [
        (
            figure.subject,
            f"{figure.rate_per_s:,.0f}",
            str(figure.bulk_streams),
            *_ms(figure.latency),
            around(figure.p99_ms, 1),
            around(figure.bulk_mb_per_s, 0),
        )
        for figure in figures
    ]
    return Table("fair", head, rows)


def window_table(figures: Sequence[Window]) -> Table:
    """Show windows over long links."""
    rows = [
        (
            f"{figure.rtt_s * 1e3:g} ms",
            f"{'up to ' if figure.grows else ''}{figure.window_bytes // KIB:,.0f}",
            around(figure.mb_per_s, 1),
            f"{figure.bound_mb_per_s:.1f}",
            f"{figure.share:.0%}",
        )
        for figure in figures
    ]
    return Table("window", ("RTT", "window KiB", "MB/s", "window / RTT", "reached"), rows)


def stalled_table(figure: Stalled) -> Table:
    """Show viewers that stop reading."""
    rows = [
        (
            f"share of {figure.alone_mb_per_s.median:,.0f} MB/s that the other "
            f"{figure.viewers - figure.stalled} keep",
            around(figure.share, 2),
        ),
        ("relay MB before", f"{figure.rss_before / MB:.1f}"),
        (
            f"while {figure.stalled} are stalled (bound: +{figure.bound_bytes / MB:.1f})",
            f"{figure.rss_stalled / MB:.1f}",
        ),
        ("after they hung up", f"{figure.rss_after / MB:.1f}"),
    ]
    return Table("stalled", (f"{figure.stalled} of {figure.viewers} viewers stall", ""), rows)


def memory_table(figure: Memory) -> Table:
    """Show what streams that rest keep."""
    rows = [
        ("base, one tunnel: MB", f"{figure.base_bytes / MB:.1f}"),
        ("with a few streams, after a transfer: MB", f"{figure.few_bytes / MB:.1f}"),
        (f"with {figure.streams:,} idle streams: MB", f"{figure.many_bytes / MB:.1f}"),
        ("an idle stream: KiB", f"{figure.stream_bytes / KIB:.1f}"),
        ("after they hung up: MB", f"{figure.after_bytes / MB:.1f}"),
    ]
    return Table("memory", ("relay memory", ""), rows)


def idle_table(share: Spread) -> Table:
    """Show an idle tunnel."""
    cell = f"{share.median:.3%} ({share.low:.3%}-{share.high:.3%})"
    return Table("idle", ("idle tunnel", ""), [("relay, share of a core", cell)])


def sealing_table(figure: Sealing) -> Table:
    """Show the seal's cost."""
    rows = [
        (
            name,
            around(figure.cpu_s_per_gb[name], 3),
            around(figure.ratio, 3) if name == SEALED else "1",
            around(Spread(*(1e3 * s for s in _three(figure.start_s[name]))), 0),
            around(Spread(*(1e3 * s for s in _three(figure.start_cpu_s[name]))), 0),
        )
        for name in (SEALED, OPEN)
    ]
    head = ("seal", "CPU s/GB", "x unsealed", "start ms", "its CPU ms")
    return Table("seal", head, rows, [f"level: {figure.level}"] if figure.level else [])


def _three(spread: Spread) -> tuple[float, float, float]:
    return spread.median, spread.low, spread.high
