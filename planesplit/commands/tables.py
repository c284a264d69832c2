"""Results as text: JSON for machines, columns for people. Imports nothing that takes time."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

GAPS = ("   ", "  ")  # between columns: the usual one, that of a narrow terminal
_SPACES = re.compile(r"(?<=\s)(?=\S)")
_JOINTS = re.compile(r"(?<=\s)(?=\S)|(?<=[a-z]{2}-)(?=[a-z]{2})|(?<=\w/)(?=\w)")
_FOLDS = ((GAPS[0], _SPACES), (GAPS[1], _SPACES), (GAPS[1], _JOINTS))  # tried in turn


def as_json(value: Any) -> str:
    """Format a result for machines, one line."""
    text = json.dumps(value, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # half characters as JSON writes them


def as_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    headers: Sequence[str] = (),
    *,
    width: int | None = None,
    headed: bool = True,
) -> str:
    """Format rows for people: columns as wide as their widest value, no colour, no truncation.

    What is wider than the terminal is folded, the widest columns first; if that does not do, each
    row becomes a paragraph. Where stdout is no terminal nothing is folded.

    Args:
        rows: values by column.
        columns: what is shown, in order.
        headers: above them; the columns' names in capitals if not given.
        width: characters of a line; the terminal's if not given, 0 for no limit.
        headed: whether the headers are shown.
    """
    cells = [list(headers) or [column.upper() for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    limit = terminal_width() if width is None else width
    if not limit:
        return "".join(_lines(row, _natural(cells), *_FOLDS[0]) for row in cells[not headed :])
    for gap, breaks in _FOLDS:
        widths = _fitted(cells, limit - len(gap) * (len(columns) - 1), breaks)
        if widths:
            return "".join(_lines(row, widths, gap, breaks) for row in cells[not headed :])
    return "".join(_paragraph(cells[0], row) for row in cells[1:])


def folded(text: str, indent: str = "    ") -> str:
    """Return a line with its end, folded at spaces where stdout is a terminal.

    Args:
        text: one paragraph.
        indent: before all lines but the first.
    """
    width = terminal_width()
    return f"{textwrap.fill(text, width, subsequent_indent=indent) if width else text}\n"


def terminal_width() -> int:
    """Return the terminal's width in characters; 0 if stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _natural(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _fitted(cells: Sequence[Sequence[str]], room: int, breaks: re.Pattern[str]) -> list[int]:
    """Take from the widest column until all fit; return nothing if a word would not."""
    widths = _natural(cells)
    words = [max(_longest(cell, breaks) for cell in column) for column in zip(*cells, strict=True)]
    while sum(widths) > room:
        spare = [(width, at) for at, width in enumerate(widths) if width > words[at]]
        if not spare:
            return []
        widths[max(spare)[1]] -= 1
    return widths


def _longest(text: str, breaks: re.Pattern[str]) -> int:
    return max(len(piece.rstrip()) for piece in breaks.split(text))


def _lines(row: Sequence[str], widths: Sequence[int], gap: str, breaks: re.Pattern[str]) -> str:
    cells = [_fold(cell, width, breaks) for cell, width in zip(row, widths, strict=True)]
    lines = (
        gap.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*cells, fillvalue="")
    )
    return "".join(f"{line}\n" for line in lines)


def _fold(text: str, width: int, breaks: re.Pattern[str]) -> list[str]:
    lines = [""]
    for piece in breaks.split(text):
        if lines[-1].strip() and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _paragraph(heads: Sequence[str], row: Sequence[str]) -> str:
    widest = max(map(len, heads))
    lines = (f"{head:{widest}}   {cell}\n" for head, cell in zip(heads, row, strict=True))
    return "".join((*lines, "\n"))


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def one_line(text: str) -> str:
    """Return foreign words as one line that says nothing to a terminal but what it shows."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
