"""Bytes by row and direction."""

from __future__ import annotations

import pytest

from tunnel.row_counts import DIRECTIONS, RowCounts
from tunnel.rows import ROWS


def test_every_row_is_there_from_the_start() -> None:
    counts = RowCounts()
    assert counts.table() == {row: {"up": 0, "down": 0} for row in ROWS}
    lines = [line for line in counts.prometheus("x_total") if not line.startswith("#")]
    assert len(lines) == len(ROWS) * len(DIRECTIONS)
    assert all(line.endswith(" 0") for line in lines)


def test_bytes_are_added_to_their_row_and_direction_only() -> None:
    counts = RowCounts()
    counts.add("A8", "down", 5)
    counts.add("A8", "down", 7)
    counts.add("B", "up", 1)
    assert counts.get("A8", "down") == 12
    expected = {row: {"up": 0, "down": 0} for row in ROWS}
    expected["A8"]["down"], expected["B"]["up"] = 12, 1
    assert counts.table() == expected
    lines = counts.prometheus("relay_row_bytes_total")
    assert lines[1] == "# TYPE relay_row_bytes_total counter"
    assert 'relay_row_bytes_total{row="A8",direction="down"} 12' in lines
    assert 'relay_row_bytes_total{row="A8",direction="up"} 0' in lines


@pytest.mark.parametrize(("row", "direction"), [("A13", "up"), ("", "up"), ("A8", "sideways")])
def test_an_unknown_label_is_a_bug(row: str, direction: str) -> None:
    with pytest.raises(KeyError):
        RowCounts().add(row, direction, 1)  # type: ignore[arg-type]
