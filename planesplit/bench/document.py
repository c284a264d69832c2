"""The one document of a run: what JSON has, and all other outputs are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from planesplit.bench.stage import BARE, SPLIT
from planesplit.measure.histogram import Histogram
from planesplit.measure.spread import Spread
from planesplit.measure.turn import Turn

SCHEMA = "planesplit.bench/1"  # readers refuse another number
NOT_FIGURES = ("path", "repeat", "latency", "late", "delay", "heat")  # of a turn
PERCENTS: dict[str, float] = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
Json = dict[str, Any]


def turn_json(path: str, number: int, turn: Turn) -> Json:
    """Return a turn's part of the document.

    Args:
        path: split or bare.
        number: of the repeat, from 0.
        turn: what came of it.
    """
    plan, received = turn.plan, turn.received
    latency = Histogram.decode(received["latency"])
    lines = received["lines"]
    intended_s = min(plan.duration_s, turn.elapsed_s)
    if not turn.stopped:
        intended_s = plan.lines * plan.streams / plan.rate_per_s
    lasted_s = max(received["spread_s"], intended_s)
    return {
        "path": path,
        "repeat": number,
        "offered_per_s": plan.rate_per_s,
        "achieved_per_s": lines / lasted_s,
        "offered_lines": plan.lines * plan.streams,
        "sent_lines": turn.sent["lines"],
        "lines": lines,
        "missing": received.get("missing", 0),
        "misplaced": received["misplaced"],
        "early": received["early"],
        **{name: latency.percentile_ms(percent) for name, percent in PERCENTS.items()},
        "max": latency.max_ms,
        "mean": latency.mean_ms,
        "gap_ms": received["gap_s"] * 1e3,
        "relay_cpu_share": turn.relay_cpu_s / turn.elapsed_s,
        "relay_cpu_us_per_line": turn.relay_cpu_s / max(lines, 1) * 1e6,
        "agent_cpu_share": turn.agent_cpu_s / turn.elapsed_s,
        "agent_cpu_us_per_line": turn.agent_cpu_s / max(lines, 1) * 1e6,
        "relay_rss_bytes": turn.relay_rss_bytes,
        "latency": received["latency"],
        "late": turn.sent["late"],
        "delay": turn.sent["delay"],
        "heat": received["heat"],
    }


def turns_of(document: Mapping[str, Any], path: str) -> list[Json]:
    """Return the turns of one path."""
    return [turn for turn in document["turns"] if turn["path"] == path]


def pooled(turns: Sequence[Mapping[str, Any]]) -> Histogram:
    """Return the latencies of several turns together."""
    return Histogram.merged(Histogram.decode(turn["latency"]) for turn in turns)


def pairs(document: Mapping[str, Any]) -> list[tuple[Json, Json]]:
    """Return the two paths' turns of each repeat that has both."""
    bare = {turn["repeat"]: turn for turn in turns_of(document, BARE)}
    return [
        (turn, bare[turn["repeat"]]) for turn in turns_of(document, SPLIT) if turn["repeat"] in bare
    ]


def summary(document: Mapping[str, Any]) -> Json:
    """Return spreads over the repeats: both paths, and what the tunnel adds."""
    latencies = (*PERCENTS, "max", "mean")
    names = (*latencies, "achieved_per_s")
    found: Json = {
        path: {name: spread(turns, name) for name in names}
        for path in (SPLIT, BARE)
        if (turns := turns_of(document, path))
    }
    both = pairs(document)
    if both:
        found["added"] = {
            name: spread_json([split[name] - bare[name] for split, bare in both])
            for name in latencies
        }
    return found


def spread(turns: Sequence[Mapping[str, Any]], name: str) -> Json:
    """Return median, smallest and largest of one figure."""
    return spread_json([turn[name] for turn in turns])


def spread_json(values: Sequence[float]) -> Json:
    """Return median, smallest and largest."""
    found = Spread.of(values)
    return {"median": found.median, "low": found.low, "high": found.high}


def check_schema(document: object, where: str) -> Json:
    """Return a document that is one of ours and of a bench.

    Raises:
        ValueError: it is not; the message names `where`.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{where} is no run of this version: its schema is not {SCHEMA}")
    if document.get("kind") == "sweep":
        raise ValueError(f"{where} is a sweep; give a run of 'planesplit bench'")
    if document.get("turns") == []:
        raise ValueError(f"{where} has no turns: it was interrupted before the first was complete")
    if not _is_run(document):
        raise ValueError(f"{where} is no whole run: it has not what 'planesplit bench' writes")
    return document


def _is_run(document: Json) -> bool:
    """Whether it has what a comparison reads."""
    kinds = {
        "started": str,
        "plan": dict,
        "environment": dict,
        "verdict": dict,
        "turns": list,
        "partial": bool,
        "overloaded": str,
    }
    if not all(isinstance(document.get(name), kind) for name, kind in kinds.items()):
        return False
    once = [document.get(name) for name in ("first_line_ms", "resume")]
    return (
        isinstance(document["verdict"].get("valid"), bool)
        and {"cpu", "cores", "kernel"} <= document["environment"].keys()
        and isinstance(document["environment"].get("seal") or "", str)
        and all(each is None or _is_table_of_numbers(each) for each in once)
        and all(map(_is_turn, document["turns"]))
    )


def _is_table_of_numbers(table: object) -> bool:
    return isinstance(table, dict) and all(map(_is_number, table.values()))


def _is_turn(turn: object) -> bool:
    if not isinstance(turn, dict) or type(turn.get("repeat")) is not int:
        return False
    figures = {name: value for name, value in turn.items() if name not in NOT_FIGURES}
    needed = {*PERCENTS, "max", "mean", "achieved_per_s"}
    return (
        turn.get("path") in (SPLIT, BARE)
        and _is_table_of_numbers(figures)
        and (needed <= figures.keys())
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


Progress = Callable[[str, float], None]
