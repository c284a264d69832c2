"""Medians with their spread, and percentiles. Exact: every sample is kept."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise at least one value.

        Raises:
            ValueError: there is none.
        """
        found = sorted(values)
        if not found:
            raise ValueError("no values to summarise")
        return cls(statistics.median(found), found[0], found[-1])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the value that `percent` % of the samples do not exceed (nearest rank).

    Args:
        ordered: samples in ascending order, at least one.
        percent: 0 to 100.
    """
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]
