"""What has to be reached, and whether a run did: each bound beside its figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from planesplit.measure.latency import LineLatency
from planesplit.measure.report import Report
from planesplit.measure.rig import Sample
from planesplit.measure.rounds import Throughput
from planesplit.measure.tables import KIB, MB, Table

RATE_PER_S = 100_000
KEPT_BYTES = 4_000_000  # what the heap may keep of what stalled viewers held, when they are gone
NOTHING = math.nan
NAMES = {
    "floor": "the thread splice",
    "pair": "two thread splices",
    "openssh": "OpenSSH -R",
    "floor-tls": "the thread splice with TLS",
    "relay-mtls": "relay, TLS on both sides",
    "relay-agent-tls": "relay, TLS on the agent's side",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One quantity.

    Args:
        quantity: what it is.
        measured: its value; NaN where it was not measured.
        bound: what it must reach.
        aim: what it should reach.
        unit: behind the values.
        at_least: whether larger is better.
        note: beside the value.
    """

    quantity: str
    measured: float
    bound: float
    aim: float | None = None
    unit: str = ""
    at_least: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the bound was reached; None where nothing was measured."""
        return None if math.isnan(self.measured) else self._meets(self.bound)

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.reached is None:
            return "not measured"
        if not self.reached:
            return "NOT REACHED"
        return "reached, aim too" if self.aim is not None and self._meets(self.aim) else "reached"

    def cells(self) -> tuple[str, str, str, str]:
        """Return quantity, bound, measured and verdict."""
        sign = ">=" if self.at_least else "<="
        aim = "" if self.aim is None else f" (aim {self._value(self.aim)})"
        measured = "-" if self.reached is None else self._value(self.measured)
        note = f" ({self.note})" if self.note and self.reached is not None else ""
        bound = f"{sign} {self._value(self.bound)}{aim}"
        return self.quantity, bound, measured + note, self.text

    def _meets(self, bound: float) -> bool:
        return self.measured >= bound if self.at_least else self.measured <= bound

    def _value(self, value: float) -> str:
        if math.isnan(value):
            return "-"
        if self.unit == "%":
            return f"{value * 100:.3g} %"
        number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return f"{number}{'x' if self.unit == 'x' else f' {self.unit}' if self.unit else ''}"


def verdicts(report: Report) -> list[Verdict]:
    """Judge every quantity, those that were not measured too."""
    judges = (_bulk, _speed, _tls, _prompt, _round_trips, _sustained, _fair, _memory, _rest)
    return [verdict for judge in judges for verdict in judge(report)]


def verdict_table(found: Sequence[Verdict]) -> Table:
    """Show them."""
    return Table(
        "verdicts",
        ("quantity", "bound", "measured", "verdict"),
        [verdict.cells() for verdict in found],
    )


def ratio(
    figures: Sequence[Throughput],
    subject: str,
    base: str,
    streams: int,
    of: Callable[[Sample], float],
) -> float:
    """Return the median ratio of two subjects' figures, round by round; NaN without both."""
    found = {figure.subject: figure.samples for figure in figures if figure.streams == streams}
    if subject not in found or base not in found:
        return NOTHING
    pairs = zip(found[subject], found[base], strict=True)
    return statistics.median(of(one) / of(other) for one, other in pairs)


def cpu(sample: Sample) -> float:
    """Return CPU seconds a gigabyte, for `ratio`."""
    return sample.cpu_s_per_gb


def _mb_per_s(sample: Sample) -> float:
    return sample.mb_per_s


def _plural(streams: int) -> str:
    return "1 stream" if streams == 1 else f"{streams:,} streams"


def _bulk(report: Report) -> Iterator[Verdict]:
    for streams, bound, aim in ((1, 1.3, 1.0), (16, 1.3, 1.0), (256, 1.3, 1.0), (1_000, 1.6, 1.3)):
        measured = ratio(report.throughput, "relay", "floor", streams, cpu)
        what = f"relay CPU s/GB to the splice's, {_plural(streams)}"
        yield Verdict(what, measured, bound, aim, "x")


def _speed(report: Report) -> Iterator[Verdict]:
    for streams in (1, 16):
        for base, bound, aim in (("openssh", 1.0, None), ("floor", 0.8, 1.0)):
            measured = ratio(report.throughput, "relay", base, streams, _mb_per_s)
            what = f"relay MB/s to those of {NAMES[base]}, {_plural(streams)}"
            yield Verdict(what, measured, bound, aim, "x", at_least=True)


def _tls(report: Report) -> Iterator[Verdict]:
    for streams in (1, 16):
        for subject, base, bound, aim in (
            ("relay-mtls", "floor-tls", 1.2, 1.0),
            ("relay-agent-tls", "openssh", 1.0, 0.8),
        ):
            measured = ratio(report.tls, subject, base, streams, cpu)
            what = f"{NAMES[subject]}: CPU s/GB to those of {NAMES[base]}, {_plural(streams)}"
            yield Verdict(what, measured, bound, aim, "x")


def _prompt(report: Report) -> Iterator[Verdict]:
    whole = _line(report.prompt, "whole-latency")
    pair = _line(report.prompt, "pair")
    measured, note = NOTHING, ""
    if whole and pair:
        measured = whole.latency.p50_ms / pair.latency.p50_ms
        note = f"{whole.latency.p50_ms:.2f} ms; agent {whole.agent_cpu_share.median:.0%} of a core"
    what = "whole path, one-way p50 to the splice pair's, 10,000 lines/s over 16 streams"
    yield Verdict(what, measured, 1.6, 1.3, "x", note=note)


def _round_trips(report: Report) -> Iterator[Verdict]:
    p50_ms = {figure.subject: figure.rtt.p50_ms for figure in report.round_trips}
    ours = p50_ms.get("relay-direct", NOTHING)
    note = f"{ours:.2f} ms"
    for base, bound in (("openssh", 1.0), ("pair", 1.3)):
        what = f"RTT of 100 bytes, p50, to that of {NAMES[base]}"
        yield Verdict(what, ours / p50_ms.get(base, NOTHING), bound, None, "x", note=note)


def _sustained(report: Report) -> Iterator[Verdict]:
    whole = _line(report.lines, "whole", RATE_PER_S)
    what = "whole path, 100,000 lines/s of 200 bytes: "

    def of(figure: Callable[[LineLatency], float]) -> float:
        return figure(whole) if whole else NOTHING

    achieved = of(lambda w: w.achieved_per_s)
    yield Verdict(what + "rate reached", achieved, 0.98 * RATE_PER_S, None, "/s", at_least=True)
    yield Verdict(what + "p50", of(lambda w: w.latency.p50_ms), 1.0, None, "ms")
    yield Verdict(what + "p99", of(lambda w: w.latency.p99_ms), 10.0, None, "ms")
    share = of(lambda w: w.relay_cpu_share.median)
    yield Verdict(what + "relay, share of a core", share, 0.5, 0.25, "%")


def _line(
    figures: Sequence[LineLatency], subject: str, rate_per_s: float = 0
) -> LineLatency | None:
    rates = [f for f in figures if f.subject == subject and f.rate_per_s >= rate_per_s]
    return rates[0] if rates else None


def _fair(report: Report) -> Iterator[Verdict]:
    p99_ms = {figure.subject: figure.p99_ms.median for figure in report.fairness}
    what = "relay, 1,000 lines/s beside 16 bulk streams, p99"
    yield Verdict(what, p99_ms.get("relay", NOTHING), 15.0, 10.0, "ms")


def _memory(report: Report) -> Iterator[Verdict]:
    memory, stalled = report.memory, report.stalled
    base, each, after = NOTHING, NOTHING, NOTHING
    if memory:
        base, each = memory.base_bytes / MB, memory.stream_bytes / KIB
        after = memory.kept_bytes / MB
    yield Verdict("relay memory at rest", base, 45.0, None, "MB")
    yield Verdict("relay memory of an idle stream", each, 6.0, 4.0, "KiB")
    what = "relay memory that 1,000 idle streams leave behind"
    yield Verdict(what, after, KEPT_BYTES / MB, None, "MB")
    grown, kept, bound = NOTHING, NOTHING, NOTHING
    if stalled:
        bound = stalled.bound_bytes / MB
        grown, kept = stalled.grown_bytes / MB, stalled.kept_bytes / MB
    what = "relay memory for 16 stalled streams, a window and a batch each"
    yield Verdict(what, grown, bound, None, "MB")
    what = "relay memory that 16 stalled streams leave behind"
    yield Verdict(what, kept, KEPT_BYTES / MB, None, "MB")


def _rest(report: Report) -> Iterator[Verdict]:
    for window in report.windows:
        grown = "a window that grows to" if window.grows else "a window of"
        size = f"{window.window_bytes / KIB:,.0f} KiB"
        what = f"share of window / RTT, {grown} {size}, {window.rtt_s * 1e3:g} ms RTT"
        yield Verdict(what, window.share, 0.85, None, "%", at_least=True)
    if not report.windows:
        yield Verdict("share of window / RTT", NOTHING, 0.85, None, "%", at_least=True)
    idle, sealing = report.idle, report.sealing
    share = idle.median if idle else NOTHING
    yield Verdict("idle tunnel, share of a core", share, 0.001, None, "%")
    cost = sealing.ratio.median if sealing else NOTHING
    later_ms = sealing.later_s * 1e3 if sealing else NOTHING
    yield Verdict("relay CPU s/GB, sealed to unsealed", cost, 1.03, None, "x")
    yield Verdict("relay ready so much later when sealed", later_ms, 50.0, None, "ms")
