"""The charts of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from planesplit.bench import document as doc
from planesplit.bench.stage import BARE, SPLIT
from planesplit.bench.svg import WIDTH, Chart, decades, linear, logarithmic, nice, short
from planesplit.measure.tally import COLUMNS, band_ms

CURVE = (0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99)
TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
NAMES = {SPLIT: "through the split", BARE: "bare link"}
KINDS = {SPLIT: "one", BARE: "two"}
FLOOR_MS = 0.01
HOP_COLOURS = 5
WIDE_BAR = 45  # pixels: room for a value


def percentiles(document: Mapping[str, Any]) -> str:
    """Return the percentile curve of both paths, all repeats together."""
    curves = {}
    for path in (SPLIT, BARE):
        if turns := doc.turns_of(document, path):
            found = doc.pooled(turns)
            enough = [p for p in CURVE if found.count * (100 - p) / 100 >= 1]
            curves[path] = [(_nines(p), max(found.percentile_ms(p), FLOOR_MS)) for p in enough]
    if not curves:
        return ""
    values = [y for points in curves.values() for _, y in points]
    low, high = _around(min(values), max(values))
    last = max(x for points in curves.values() for x, _ in points)
    chart = Chart(linear(0, last), logarithmic(low, high), "latency by percentile")
    chart.x_axis([(_nines(p), f"{p:g}") for p in TICKS if _nines(p) <= last], "percentile")
    chart.y_axis([(tick, short(tick)) for tick in decades(low, high)], "ms")
    for path, points in curves.items():
        chart.line(points, KINDS[path], dots=True)
    chart.legend([(KINDS[path], NAMES[path]) for path in curves])
    return chart.svg()


def heat(document: Mapping[str, Any], path: str = SPLIT) -> str:
    """Return latency over time: the darker, the more lines; the last repeat of a path."""
    turns = doc.turns_of(document, path)
    if not turns:
        return ""
    cells = turns[-1]["heat"]
    rows = [row for _, row, _ in cells]
    low, high = min(rows), max(rows) + 1
    most = max(count for _, _, count in cells)
    duration_s = document["plan"]["duration_s"]
    chart = Chart(linear(0, COLUMNS), linear(low, high), f"latency over time, {NAMES[path]}")
    for column, row, count in cells:
        hint = f"{count} lines of {band_ms(row):.2f} to {band_ms(row + 1):.2f} ms"
        darkness = 0.15 + 0.85 * math.log1p(count) / math.log1p(most)
        chart.box((column, row), (column + 1, row + 1), "cell", hint, darkness)
    seconds = [(second / duration_s * COLUMNS, short(second)) for second in nice(duration_s)]
    chart.x_axis(seconds, "seconds of the turn, by intended time")
    step = max(1, (high - low) // 8)
    chart.y_axis(
        [(row, short(float(f"{band_ms(row):.2g}"))) for row in range(low, high + 1, step)], "ms"
    )
    return chart.svg()


def waterfall(document: Mapping[str, Any]) -> str:
    """Return the mean time in each hop, one after the other."""
    if not document["hops"]:
        return ""
    hops, total = document["hops"]["hops"], document["hops"]["total_mean_ms"]
    chart = Chart(linear(0, total), linear(len(hops), 0), "mean time in each hop", left=70)
    chart.x_axis([(value, short(value)) for value in nice(total)], "ms since the intended time")
    begin = 0.0
    for number, hop in enumerate(hops):
        end = begin + hop["mean_ms"]
        hint = f"{hop['name']}: {hop['what']}"
        chart.box((begin, number + 0.8), (end, number + 0.2), f"hop{number % HOP_COLOURS}", hint)
        _bar_text(chart, begin, end, number + 0.5, f"{hop['mean_ms']:.2f}")
        begin = end
    chart.y_axis([(number + 0.5, hop["name"]) for number, hop in enumerate(hops)], "")
    return chart.svg()


def _bar_text(chart: Chart, begin: float, end: float, y: float, text: str) -> None:
    """Write a bar's value inside it if it is wide, else beside it."""
    left, right, at = chart.x(begin), chart.x(end), chart.y(y) + 4
    if right - left > WIDE_BAR:
        chart.text((left + right) / 2, at, text, "middle", "inside")
    elif left > WIDTH / 2:
        chart.text(left - 5, at, text, "end")
    else:
        chart.text(right + 5, at, text)


def sweep(document: Mapping[str, Any]) -> str:
    """Return p50 and p99 by offered rate, with the limit and the knee."""
    steps: Sequence[Mapping[str, Any]] = sorted(
        document["turns"], key=lambda turn: float(turn["offered_per_s"])
    )
    if not steps:
        return ""
    rates = [step["offered_per_s"] for step in steps]
    slo = document["sweep"]["slo"]
    values = [max(step[name], FLOOR_MS) for step in steps for name in ("p50", "p99")]
    values += [slo["value"]] if slo else []
    low, high = _around(min(values), max(values))
    left, right = rates[0] * 0.9, rates[-1] * 1.1
    chart = Chart(
        logarithmic(left, right), logarithmic(low, high), "latency by offered rate", width=1180
    )
    chart.x_axis([(tick, short(tick)) for tick in decades(left, right)], "offered lines/s")
    chart.y_axis([(tick, short(tick)) for tick in decades(low, high)], "ms")
    for name, kind in (("p99", "one"), ("p50", "two")):
        chart.line([(s["offered_per_s"], max(s[name], FLOOR_MS)) for s in steps], kind, dots=True)
    entries = [("one", "p99"), ("two", "p50")]
    if slo:
        chart.line([(left, slo["value"]), (right, slo["value"])], "limit")
        entries.append(("limit", f"limit {slo['text']}"))
    if knee := document["sweep"]["knee_per_s"]:
        chart.line([(knee, low), (knee, high)], "knee")
        entries.append(("knee", f"knee: {knee:,.0f} lines/s"))
    chart.legend(entries)
    return chart.svg()


def comparison(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return each metric's change with its interval; 0 is no change."""
    shown = [row for row in rows if row["change"] is not None]
    if not shown:
        return ""
    ends = [abs(end) * 100 for row in shown for end in (row["change"], *(row["interval"] or ()))]
    reach = max(10.0, min(max(ends), 200.0)) * 1.1
    chart = Chart(
        linear(-reach, reach),
        linear(len(shown), 0),
        "change of each metric",
        width=1180,
        height=60 + 26 * len(shown),
        left=190,
    )
    steps = nice(reach, 4)
    ticks = sorted({-step for step in steps if step} | set(steps))
    chart.x_axis([(tick, f"{tick:+g} %" if tick else "0") for tick in ticks], "change from A to B")
    for number, row in enumerate(shown):
        at = number + 0.5
        clamped = [max(-reach, min(reach, end * 100)) for end in row["interval"] or ()]
        if clamped:
            chart.line([(clamped[0], at), (clamped[1], at)], "interval")
        change = max(-reach, min(reach, row["change"] * 100))
        chart.line([(change, at)], f"verdict-{row['verdict']}", dots=True)
        side, anchor = (8, "start") if change < reach / 2 else (-8, "end")
        text = f"{row['says']} ({row['change']:+.1%})"
        chart.text(chart.x(change) + side, chart.y(at) - 5, text, anchor)
    chart.y_axis([(number + 0.5, row["label"]) for number, row in enumerate(shown)], "")
    return chart.svg()


def _nines(percent: float) -> float:
    """Return a percentile's place: equal steps for 0, 90, 99, 99.9."""
    return -math.log10(1 - percent / 100) if percent else 0.0


def _around(low: float, high: float) -> tuple[float, float]:
    return low / 1.3, high * 1.6
