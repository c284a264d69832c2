"""Charts for a terminal, drawn with braille dots: 2 x 4 of them in each character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

Point = tuple[float, float]

BLANK = 0x2800  # Unicode: a braille pattern without dots
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # [row][column] of a character
COLOURS = (36, 33, 35, 32, 34, 31)  # ANSI foregrounds, one after the other
LABEL_CHARS = 9
HEIGHT = 8
MIN_WIDTH = 20
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"))


def chart(
    series: Mapping[str, Sequence[Point]],
    *,
    unit: str = "",
    width: int = 72,
    height: int = HEIGHT,
    colour: bool = False,
) -> str:
    """Draw lines over one horizontal axis; the vertical one begins at 0, or below.

    Args:
        series: points (x, y) by name, in any order.
        unit: of y, shown at the top.
        width, height: of the chart, in characters, its labels included in the width.
        colour: ANSI colours, one for each line.

    Returns:
        The chart with a line of names, ending with a newline; empty without points.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    columns = max(MIN_WIDTH, width - LABEL_CHARS - 2)
    canvas = _Canvas(columns, height, points)
    for index, line in enumerate(series.values()):
        canvas.draw(sorted(line), COLOURS[index % len(COLOURS)])
    rows = canvas.rows(colour=colour)
    labels = {0: short(canvas.high), height - 1: short(canvas.low)}
    body = "".join(f"{labels.get(at, ''):>{LABEL_CHARS}} ┤{row}\n" for at, row in enumerate(rows))
    return f"{'':>{LABEL_CHARS}} {_legend(series, unit, colour=colour)}\n{body}"


def short(value: float) -> str:
    """Write a number with at most four digits and a metric prefix."""
    size = abs(value)
    for factor, prefix in _PREFIXES:
        if size >= factor:
            return f"{value / factor:.4g}{prefix}"
    return "0" if value == 0 else f"{value:.2g}"


def _legend(names: Mapping[str, object], unit: str, *, colour: bool) -> str:
    shown = [
        f"\x1b[{COLOURS[index % len(COLOURS)]}m{name}\x1b[0m" if colour else name
        for index, name in enumerate(names)
    ]
    return ", ".join(shown) + (f" [{unit}]" if unit else "")


class _Canvas:
    """Dots in characters, and which line was the last in each."""

    def __init__(self, columns: int, height: int, points: Sequence[Point]) -> None:
        self._columns, self._height = columns, height
        self._left, self._right = min(x for x, _ in points), max(x for x, _ in points)
        self.low = min(0.0, *(y for _, y in points))
        self.high = max(y for _, y in points)
        if self.high == self.low:
            self.high = self.low + 1.0
        self._dots = [[0] * columns for _ in range(height)]
        self._colours = [[0] * columns for _ in range(height)]

    def draw(self, line: Sequence[Point], colour: int) -> None:
        """Draw points and what joins them; gaps are not known here."""
        before: tuple[int, int] | None = None
        for x, y in line:
            at = self._place(x, y)
            for column, row in _between(before or at, at):
                cell, dot = (row // 4, column // 2), DOTS[row % 4][column % 2]
                self._dots[cell[0]][cell[1]] |= dot
                self._colours[cell[0]][cell[1]] = colour
            before = at

    def _place(self, x: float, y: float) -> tuple[int, int]:
        width, height = 2 * self._columns - 1, 4 * self._height - 1
        across = (x - self._left) / (self._right - self._left) if self._right > self._left else 0.0
        up = (y - self.low) / (self.high - self.low)
        return round(across * width), round((1 - up) * height)

    def rows(self, *, colour: bool) -> list[str]:
        """Return the lines of text."""
        pairs = zip(self._dots, self._colours, strict=True)
        return [_row(dots, colours if colour else [0] * len(dots)) for dots, colours in pairs]


def _row(dots: Sequence[int], colours: Sequence[int]) -> str:
    text = ""
    for shade, cells in groupby(zip(colours, dots, strict=True), key=itemgetter(0)):
        run = "".join(chr(BLANK + dot) for _, dot in cells)
        text += f"\x1b[{shade}m{run}\x1b[0m" if shade else run
    return text


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots of a straight line, both ends included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * step / steps),
            round(start[1] + (end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]
