"""Results as text: JSON for machines, columns for people. Imports nothing that takes time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def as_json(value: Any) -> str:
    """Format a result for machines, one line."""
    return json.dumps(value, ensure_ascii=False) + "\n"


def as_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], headers: Sequence[str] = ()
) -> str:
    """Format rows for people: columns as wide as their widest value, no colour, no truncation.

    Args:
        rows: values by column.
        columns: what is shown, in order.
        headers: above them; the columns' names in capitals if not given.
    """
    cells = [list(headers) or [column.upper() for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = ("   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
