"""Bytes per row of the white paper and direction, as every plane counts them."""

from __future__ import annotations

from typing import Literal

from tunnel.rows import ROWS

Direction = Literal["up", "down"]
DIRECTIONS: tuple[Direction, ...] = ("up", "down")


class RowCounts:
    """Body bytes by row. The rows are all there from the start: a label can't come from a peer.

    Up are the bytes of requests, down those of answers, whoever opened the exchange; so the tables
    of two planes agree about what went between them.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Direction], int] = {
            (row, direction): 0 for row in ROWS for direction in DIRECTIONS
        }

    def add(self, row: str, direction: Direction, count_bytes: int) -> None:
        """Count bytes.

        Raises:
            KeyError: there is no such row or direction: a bug.
        """
        self._counts[row, direction] += count_bytes

    def get(self, row: str, direction: Direction) -> int:
        """Return the bytes of a row and direction."""
        return self._counts[row, direction]

    def table(self) -> dict[str, dict[Direction, int]]:
        """Return everything, `{"A8": {"up": 9, "down": 12}, ...}`."""
        return {row: {d: self._counts[row, d] for d in DIRECTIONS} for row in ROWS}

    def prometheus(self, name: str) -> list[str]:
        """Return everything as lines in Prometheus' text format, version 0.0.4.

        Args:
            name: of the counter, such as `relay_row_bytes_total`.
        """
        return [
            f"# HELP {name} Body bytes by row of the white paper; up: requests, down: answers.",
            f"# TYPE {name} counter",
            *(
                f'{name}{{row="{row}",direction="{direction}"}} {count}'
                for (row, direction), count in self._counts.items()
            ),
        ]
