"""Bytes that went straight between clients and the customer's stores, by row of the white paper."""

from __future__ import annotations

from typing import Literal

DIRECT_ROWS = ("A4", "A5", "A6", "A7")  # objects and images: no other plane carries their bytes

Direction = Literal["up", "down"]


class DirectRows:
    """Counts content, not heads: `up` into a store, `down` out of it."""

    def __init__(self) -> None:
        self._bytes = {row: {"up": 0, "down": 0} for row in DIRECT_ROWS}

    def add(self, row: str, direction: Direction, size_bytes: int) -> None:
        """Count bytes of one row as they pass."""
        self._bytes[row][direction] += size_bytes

    def report(self) -> dict[str, dict[str, int]]:
        """Return the counts since the start, by row and direction."""
        return {row: dict(counts) for row, counts in self._bytes.items()}
