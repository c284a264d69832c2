"""The figures that runs are compared by: where each is, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from planesplit.bench.document import PERCENTS, pairs, turns_of
from planesplit.bench.stage import SPLIT

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure.

    Args:
        label: for people.
        unit: of its values.
        of: its values, one a repeat; [] if the run has none.
        higher_is_better: which way is good.
    """

    label: str
    unit: str
    of: Callable[[Document], list[float]]
    higher_is_better: bool = False


def _turns(field: str, scale: float = 1.0) -> Callable[[Document], list[float]]:
    def of(document: Document) -> list[float]:
        turns = turns_of(document, SPLIT)
        return [turn[field] * scale for turn in turns if field in turn]  # older runs may have less

    return of


def _added(field: str) -> Callable[[Document], list[float]]:
    return lambda document: [split[field] - bare[field] for split, bare in pairs(document)]


def _once(field: str, key: str) -> Callable[[Document], list[float]]:
    return lambda document: [document[field][key]] if document.get(field) else []


METRICS: dict[str, Metric] = {
    **{name: Metric(name, "ms", _turns(name)) for name in (*PERCENTS, "max", "mean")},
    **{
        f"added_{name}": Metric(f"added by the tunnel, {name}", "ms", _added(name))
        for name in ("p50", "p99")
    },
    "achieved": Metric("achieved rate", "/s", _turns("achieved_per_s"), higher_is_better=True),
    "relay_cpu": Metric("relay CPU a line", "us", _turns("relay_cpu_us_per_line")),
    "agent_cpu": Metric("agent CPU a line", "us", _turns("agent_cpu_us_per_line")),
    "relay_rss": Metric("relay memory", "MB", _turns("relay_rss_bytes", 1e-6)),
    "first_line": Metric("time to first line", "ms", _once("first_line_ms", "median")),
    "resume_gap": Metric("gap after a cut", "ms", _once("resume", "gap_ms")),
}
