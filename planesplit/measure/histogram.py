"""Latencies in bounded memory: an HdrHistogram of nanoseconds, three significant digits."""

from __future__ import annotations

from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

LOWEST_NS = 1_000  # a microsecond: less than any hop takes
HIGHEST_NS = 3_600_000_000_000
DIGITS = 3
NS_PER_S, NS_PER_MS = 1e9, 1e6


class Histogram:
    """Counts latencies; what is out of range (1 us to 1 h) counts as the nearest that is in it.

    Args:
        hdr: what it begins with; empty by default.
    """

    def __init__(self, hdr: HdrHistogram | None = None) -> None:
        self.hdr = hdr or HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """Read what `encode` wrote.

        Raises:
            ValueError: it is no histogram.
        """
        try:
            return cls(HdrHistogram.decode(text.encode("ascii")))
        except Exception:  # the library raises whatever it meets
            raise ValueError("not an encoded HdrHistogram") from None

    @classmethod
    def merged(cls, several: Iterable[Histogram]) -> Histogram:
        """Return one with the counts of all."""
        found = cls()
        for each in several:
            found.hdr.add(each.hdr)
        return found

    def encode(self) -> str:
        """Return it as text: HdrHistogram V2, compressed, base64."""
        return str(self.hdr.encode().decode("ascii"))

    def record(self, latency_s: float, count: int = 1) -> None:
        """Count a latency in seconds."""
        value = min(max(int(latency_s * NS_PER_S), LOWEST_NS), HIGHEST_NS)
        self.hdr.record_value(value, count)

    @property
    def count(self) -> int:
        """How many were recorded."""
        return int(self.hdr.get_total_count())

    @property
    def mean_ms(self) -> float:
        """Mean in milliseconds; 0 of nothing."""
        return float(self.hdr.get_mean_value()) / NS_PER_MS if self.count else 0.0

    @property
    def max_ms(self) -> float:
        """Largest in milliseconds; 0 of nothing."""
        return float(self.hdr.get_max_value()) / NS_PER_MS if self.count else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Return what `percent` % do not exceed, in milliseconds; 0 of nothing."""
        if not self.count:
            return 0.0
        return float(self.hdr.get_value_at_percentile(percent)) / NS_PER_MS
