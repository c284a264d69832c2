"""What the demonstration ends with: counts, digests and latencies, and whether that is good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from planesplit.delivery import Delivery, percentile
from planesplit.tail import Line

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Summary:
    """One demonstration.

    Args:
        delivery: the customer's log against what the viewer received.
        p50_ms, p99_ms: from the line's time in the log to its arrival at the viewer.
        cuts, wanted_cuts: tunnel connections that were cut, and how many should have been.
        resume_gap_ms: longest time from a cut to the next line.
        seconds: duration.
    """

    delivery: Delivery
    p50_ms: float
    p99_ms: float
    cuts: int
    wanted_cuts: int
    resume_gap_ms: float
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything that was produced was delivered, through every cut."""
        return self.delivery.exact and self.delivery.produced > 0 and self.cuts >= self.wanted_cuts

    def as_record(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        return {
            "ok": self.ok,
            **asdict(self.delivery),
            "p50_ms": round(self.p50_ms, 2),
            "p99_ms": round(self.p99_ms, 2),
            "cuts": self.cuts,
            "resume_gap_ms": round(self.resume_gap_ms, 1),
            "seconds": round(self.seconds, 2),
        }

    def as_text(self) -> str:
        """Return the summary for people."""
        found, verdict = self.delivery, "ok" if self.ok else "FAILED"
        return (
            f"{verdict}: {found.produced} lines produced, {found.delivered} delivered;\n"
            f"  {found.lost} lost, {found.doubled} doubled, {found.altered} altered, "
            f"{found.disordered} disordered\n"
            f"sha256 written  {found.sha256_produced}\n"
            f"sha256 arrived  {found.sha256_delivered}\n"
            f"latency p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms;\n"
            f"  {self.cuts} tunnel cuts, longest gap {self.resume_gap_ms:.0f} ms; "
            f"{self.seconds:.1f} s\n"
        )


def summarise(
    delivery: Delivery,
    lines: Sequence[Line],
    cuts_ns: Sequence[int],
    *,
    wanted_cuts: int,
    seconds: float,
) -> Summary:
    """Sum up.

    Args:
        lines: what the viewer received, in order.
        cuts_ns: when the tunnel was cut, nanoseconds since the epoch.
    """
    latencies = [(line.received_ns - line.at_ns) / NS_PER_MS for line in lines]
    return Summary(
        delivery=delivery,
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        cuts=len(cuts_ns),
        wanted_cuts=wanted_cuts,
        resume_gap_ms=max(gaps_ms(lines, cuts_ns), default=0.0),
        seconds=seconds,
    )


def gaps_ms(lines: Sequence[Line], cuts_ns: Iterable[int]) -> list[float]:
    """Return, for each cut, the milliseconds until the next line arrived, if one did."""
    arrivals = (
        next((line.received_ns for line in lines if line.received_ns >= cut), None)
        for cut in cuts_ns
    )
    pairs = zip(cuts_ns, arrivals, strict=True)
    return [(arrived - cut) / NS_PER_MS for cut, arrived in pairs if arrived is not None]
