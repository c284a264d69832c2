"""Charts as inline SVG: axes, lines, bars. No script, nothing fetched, readable in grey."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 40
WIDTH, HEIGHT = 580, 270
Point = tuple[float, float]
Scale = Callable[[float], float]  # value -> 0..1


def linear(low: float, high: float) -> Scale:
    """Return a linear scale; it is never empty."""
    span = (high - low) or 1.0
    return lambda value: (value - low) / span


def logarithmic(low: float, high: float) -> Scale:
    """Return a logarithmic scale of positive values; it is never empty."""
    bottom = math.log10(low)
    span = (math.log10(high) - bottom) or 1.0
    return lambda value: (math.log10(max(value, low)) - bottom) / span


def decades(low: float, high: float) -> list[float]:
    """Return the 1, 2 and 5 times powers of ten from `low` to `high`; 1 only if they are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 4 else (1,)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def nice(high: float, count: int = 5) -> list[float]:
    """Return round values from 0 to about `high`."""
    rough = max(high, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    return [step * i for i in range(int(high / step + 1e-9) + 1)]


class Chart:
    """One chart with two axes.

    Args:
        x, y: scales.
        label: what it shows, for those who do not see it.
        width, height: in pixels.
        left: room for the labels of the y axis.
    """

    def __init__(
        self,
        x: Scale,
        y: Scale,
        label: str,
        *,
        width: int = WIDTH,
        height: int = HEIGHT,
        left: int = LEFT,
    ) -> None:
        self._x, self._y, self._label = x, y, label
        self._width, self._height, self._left = width, height, left
        self._grid: list[str] = []  # behind everything
        self._parts: list[str] = []

    def x(self, value: float) -> float:
        """Return where a value is, in pixels from the left."""
        return self._left + self._x(value) * (self._width - self._left - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value is, in pixels from the top."""
        return self._height - BOTTOM - self._y(value) * (self._height - TOP - BOTTOM)

    def x_axis(self, ticks: Iterable[tuple[float, str]], title: str) -> None:
        """Draw the horizontal axis."""
        bottom = self._height - BOTTOM
        for value, text in ticks:
            at = self.x(value)
            self._grid.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" '
                               f'y2="{bottom}"/>')  # fmt: skip
            self.text(at, bottom + 16, text, "middle")
        self.text((self._left + self._width - RIGHT) / 2, self._height - 6, title, "middle", "axis")

    def y_axis(self, ticks: Iterable[tuple[float, str]], title: str) -> None:
        """Draw the vertical axis."""
        for value, text in ticks:
            at = self.y(value)
            self._grid.append(f'<line class="grid" x1="{self._left}" y1="{at:.1f}" '
                               f'x2="{self._width - RIGHT}" y2="{at:.1f}"/>')  # fmt: skip
            self.text(self._left - 6, at + 4, text, "end")
        if title:
            middle = (self._height - BOTTOM + TOP) / 2
            self._parts.append(
                f'<text class="axis" text-anchor="middle" transform="translate(13 {middle:.0f}) '
                f'rotate(-90)">{escape(title)}</text>'
            )

    def line(self, points: Sequence[Point], kind: str, *, dots: bool = False) -> None:
        """Draw a line through points, in the style of `kind`."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self._parts.append(f'<polyline class="line {kind}" points="{path}"/>')
        if dots:
            for x, y in points:
                self._parts.append(
                    f'<circle class="dot {kind}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3"/>'
                )

    def box(self, low: Point, high: Point, kind: str, hint: str = "", opacity: float = 1.0) -> None:
        """Draw a box between two corners."""
        x, y = self.x(low[0]), self.y(high[1])
        width, height = self.x(high[0]) - x, self.y(low[1]) - y
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
            f'height="{max(height, 0.5):.1f}" fill-opacity="{opacity:.2f}">'
            f"<title>{escape(hint)}</title></rect>"
        )

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", kind: str = "tick"
    ) -> None:
        """Write at a place in pixels."""
        self._parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Name the kinds of lines, top left."""
        for number, (kind, text) in enumerate(entries):
            x, y = self._left + 10, TOP + 12 + 17 * number
            self._parts.append(
                f'<line class="line {kind}" x1="{x}" y1="{y - 4}" x2="{x + 30}" y2="{y - 4}"/>'
            )
            self.text(x + 36, y, text)

    def svg(self) -> str:
        """Return the element."""
        content = "".join(self._grid + self._parts)
        return (
            f'<svg viewBox="0 0 {self._width} {self._height}" role="img" '
            f'aria-label="{escape(self._label, quote=True)}">{content}</svg>'
        )


def short(value: float) -> str:
    """Return a number with no more digits than a tick needs."""
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"
