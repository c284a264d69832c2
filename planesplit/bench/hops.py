"""Where a line's time goes: followed lines, hop by hop; the hops of a line sum to its total."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from planesplit.bench.tap import Crossing
from planesplit.measure.spread import percentile
from planesplit.measure.turn import Turn

HOPS: dict[str, str] = {
    "source": "from the intended time until it was written to the container's log file",
    "agent": "until it came out of the agent, as the link saw it",
    "link": "in the emulated link",
    "relay": "from the link through the relay into the viewer's socket (kernel time stamp)",
    "viewer": "until the viewer had read it",
}


def follow(turn: Turn, crossings: Iterable[Crossing]) -> list[tuple[float, ...]]:
    """Return the seconds in each hop of every line that was seen at all of them.

    Args:
        turn: on the path that has all hops.
        crossings: at its link.
    """
    written = {(stream, line): at_s for stream, line, at_s in turn.sent["sampled"]}
    crossed: dict[tuple[int, int], Crossing] = {}
    for each in crossings:  # of several viewers' the first
        crossed.setdefault((each.stream, each.line), each)
    found = []
    for stream, line, arrived_s, seen_s in turn.received["sampled"]:
        crossing, written_s = crossed.get((stream, line)), written.get((stream, line))
        if crossing is None or written_s is None:
            continue
        moments = (
            turn.plan.intended_s(stream, line),
            written_s,
            crossing.entered_s,
            crossing.left_s,
            max(arrived_s, crossing.left_s),  # another clock: it may be microseconds off
            seen_s,
        )
        found.append(tuple(b - a for a, b in pairwise(moments)))
    return found


def waterfall(followed: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Summarise followed lines.

    Returns:
        `lines`, `total_mean_ms`, and for each hop its mean, which sum to the total's, and its p50
        and p99, which do not; {} of nothing.
    """
    if not followed:
        return {}
    totals = [sum(hops) for hops in followed]
    return {
        "lines": len(followed),
        "total_mean_ms": sum(totals) / len(totals) * 1e3,
        "hops": [
            _hop(name, [hops[i] for hops in followed], what)
            for i, (name, what) in enumerate(HOPS.items())
        ],
    }


def _hop(name: str, times_s: list[float], what: str) -> dict[str, Any]:
    ordered = sorted(times_s)
    return {
        "name": name,
        "what": what,
        "mean_ms": sum(ordered) / len(ordered) * 1e3,
        "p50_ms": percentile(ordered, 50) * 1e3,
        "p99_ms": percentile(ordered, 99) * 1e3,
    }
