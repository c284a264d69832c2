"""What a run of lines comes to, in bounded memory: histograms and samples, never every line."""

from __future__ import annotations

import math
from typing import Any

from planesplit.measure.histogram import Histogram
from planesplit.measure.lines import Batch, LinePlan

COLUMNS = 60  # of the heat map: moments of the run
BANDS_A_DECADE = 20  # its rows, from a microsecond up
US_PER_S = 1e6


class SendTally:
    """What a source has handed over.

    Args:
        plan: the schedule.
    """

    def __init__(self, plan: LinePlan) -> None:
        self._plan = plan
        self.lines = 0
        self.done = False
        self._delay, self._late = Histogram(), Histogram()
        self._sampled: list[tuple[int, int, float]] = []

    def add(self, batch: Batch, late_s: float) -> None:
        """Count a batch, handed over `late_s` after it was to be."""
        plan = self._plan
        waited = batch.at_s - plan.intended_s(batch.stream, batch.first)
        step = plan.streams / plan.rate_per_s
        for i in range(batch.lines):
            self._delay.record(waited - i * step)
        self._late.record(late_s)
        self.lines += batch.lines
        self._sampled += [(batch.stream, line, batch.at_s) for line in plan.sampled(batch)]

    def as_json(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "lines": self.lines,
            "done": self.done,
            "delay": self._delay.encode(),
            "late": self._late.encode(),
            "sampled": self._sampled,
        }


class Tally:
    """What viewers have received.

    Args:
        plan: the schedule.
    """

    def __init__(self, plan: LinePlan) -> None:
        self._plan = plan
        self._latency = Histogram()
        self._heat: dict[tuple[int, int], int] = {}
        self._nexts = [0] * plan.streams
        self._seen_s = [plan.start_s] * plan.streams
        self._gap_s = 0.0
        self._misplaced = self._early = 0
        self._first_s, self._last_s = math.inf, plan.start_s
        self._sampled: list[tuple[int, int, float, float]] = []
        self.lines = 0

    @property
    def done(self) -> bool:
        """Whether as many lines came as were to come."""
        return self.lines >= self._plan.lines * self._plan.streams

    def add(self, batch: Batch, arrived_s: float) -> None:
        """Count a batch.

        Args:
            batch: seen by the viewer at its `at_s`.
            arrived_s: when its last byte was in the viewer's socket.
        """
        stream = batch.stream
        if batch.first != self._nexts[stream]:
            self._misplaced += 1
        self._nexts[stream] = batch.first + batch.lines
        self.lines += batch.lines
        self._gap_s = max(self._gap_s, batch.at_s - self._seen_s[stream])
        self._seen_s[stream] = self._last_s = batch.at_s
        self._first_s = min(self._first_s, batch.at_s)
        for line in range(batch.first, batch.first + batch.lines):
            self._record(stream, line, batch.at_s)
        self._sampled += [
            (stream, line, arrived_s, batch.at_s) for line in self._plan.sampled(batch)
        ]

    def charge_missing(self, now_s: float) -> int:
        """Count lines that never came with the age that they have by now; return how many."""
        missing = 0
        for stream, first in enumerate(self._nexts):
            for line in range(first, self._plan.lines):
                self._record(stream, line, now_s)
                missing += 1
        return missing

    def as_json(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "lines": self.lines,
            "latency": self._latency.encode(),
            "heat": [[*where, count] for where, count in sorted(self._heat.items())],
            "gap_s": self._gap_s,
            "misplaced": self._misplaced,
            "early": self._early,
            "spread_s": max(self._last_s - self._first_s, 0.0),
            "sampled": self._sampled,
        }

    def _record(self, stream: int, line: int, at_s: float) -> None:
        intended_s = self._plan.intended_s(stream, line)
        latency_s = at_s - intended_s
        if latency_s < 0:
            self._early += 1
        self._latency.record(latency_s)
        passed = (intended_s - self._plan.start_s) / self._plan.duration_s
        where = min(int(passed * COLUMNS), COLUMNS - 1), band(latency_s)
        self._heat[where] = self._heat.get(where, 0) + 1


def band(latency_s: float) -> int:
    """Return the heat map's row of a latency: 0 from a microsecond, 20 a decade."""
    return int(BANDS_A_DECADE * math.log10(max(latency_s * US_PER_S, 1.0)))


def band_ms(row: int) -> float:
    """Return where a row of the heat map begins, in milliseconds."""
    return float(10 ** (row / BANDS_A_DECADE)) / 1e3
