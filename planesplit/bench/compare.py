"""Two runs beside each other: the change of each metric, and how sure it is.

The interval is that of the ratio of means over the repeats: its variance by the delta method, its
width by Student's t with Welch's (1947) degrees of freedom. Few repeats make it wide, as they
should: of comparisons of the same thing, three repeats each, a percentile bootstrap calls a quarter
a difference (simulated), this one one in twenty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, variance
from typing import Any, Literal

from planesplit.bench.metrics import METRICS, Metric
from planesplit.bench.units import Change

# Student's t, 97.5 %, of 1 to 30 degrees of freedom; then z and its first correction.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
NORMAL = 1.959964
FEW = 5  # repeats: below it a report says that intervals are wide
NO_DIFFERENCE = "none seen"
TINY, TINY_SAYS = 0.01, "below 1 %"  # may be sure, but is nothing to act on
SAME_LOAD = (
    "rate_per_s", "line_bytes", "streams", "duration_s", "profile", "stall_s", "warm_up_s",
    "viewers", "stalled",
)  # fmt: skip

Verdict = Literal["better", "worse", "none"]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric's change.

    Args:
        metric, label, unit: which.
        a, b: means over the repeats.
        change: from a to b as a share; None if a is not positive.
        interval: 95 % of it; None with a single repeat on either side.
        verdict: better, worse or none.
        says: the same in words.
    """

    metric: str
    label: str
    unit: str
    a: float
    b: float
    change: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    says: str

    def as_json(self) -> dict[str, Any]:
        """Return its fields."""
        return asdict(self)


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Row]:
    """Compare what both runs have."""
    rows = []
    for name, metric in METRICS.items():
        before, after = metric.of(a), metric.of(b)
        if before and after:
            rows.append(_row(name, metric, before, after))
    return rows


def interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the change of the mean, None if nothing can be said.

    Args:
        before, after: one value a repeat.
    """
    if min(len(before), len(after)) < 2 or min(before) <= 0:
        return None
    a, b = fmean(before), fmean(after)
    of_a = variance(before) / len(before) * (b / a) ** 2  # as it weighs in the ratio
    of_b = variance(after) / len(after)
    error, change = math.sqrt(of_a + of_b) / a, b / a - 1
    if not error:
        return change, change
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(before) - 1) + of_b**2 / (len(after) - 1))
    width = _student(freedom) * error
    return change - width, change + width


def _student(freedom: float) -> float:
    """Return what 97.5 % of Student's t do not exceed; freedom is at least 1."""
    whole = int(freedom + 1e-9)  # Welch's least is the smaller run's, up to rounding
    if whole <= len(STUDENT):
        return STUDENT[max(whole, 1) - 1]
    return NORMAL + (NORMAL**3 + NORMAL) / (4 * whole)


def exceeded(rows: Sequence[Row], limits: Sequence[Change]) -> list[str]:
    """Return what is too much, in words; [] if nothing is.

    A change counts when it is larger than the limit and its interval does not touch 0; a metric
    that a run lacks counts too, since nothing speaks for it.
    """
    found = []
    for limit in limits:
        row = next((row for row in rows if row.metric == limit.metric), None)
        if row is None or row.change is None:
            found.append(f"{limit.text}: a run has no such figure, or it is 0")
        elif limit.exceeded(row.change) and row.verdict != "none":
            found.append(f"{limit.text}: {row.label} changed by {row.change:+.1%}")
    return found


def unfit(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return what keeps a limit from being held at all; [] if nothing does."""
    return [
        f"{side} is INVALID: nothing of it can be within a limit"
        for side, document in (("A", a), ("B", b))
        if not document["verdict"]["valid"]
    ]


def remarks(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return what to keep in mind."""
    found = [
        f"{side} is {word}"
        for side, document in (("A", a), ("B", b))
        for word, bad in (
            ("INVALID: it says nothing of the product", not document["verdict"]["valid"]),
            ("PARTIAL", document["partial"]),
            ("OVERLOADED: lines were missing", bool(document["overloaded"])),
            ("from a BUSY machine: changes may be its", bool(document["environment"].get("busy"))),
        )
        if bad
    ]
    differing = [name for name in SAME_LOAD if a["plan"].get(name) != b["plan"].get(name)]
    if differing:
        found.append(f"not the same load: {', '.join(differing)} differ")
    for what, (one, other) in _set_up(a, b).items():
        if one != other:
            found.append(f"A has the {what} '{one}', B '{other}'")
    machines = [{k: d["environment"][k] for k in ("cpu", "cores", "kernel")} for d in (a, b)]
    if machines[0] != machines[1]:
        found.append("not the same machine")
    repeats = min(len(METRICS["p50"].of(document)) for document in (a, b))
    if repeats < 2:
        found.append("a single repeat: no intervals, every change counts as it is")
    elif repeats < FEW:
        found.append(f"{repeats} repeats: intervals are wide, {FEW} or more are better")
    return found


def _set_up(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return of both runs what may well be what is compared, and should be said."""
    both = (a, b)
    policies = [document["plan"].get("policy", "balanced") for document in both]
    seals = [document["environment"].get("seal") or "none" for document in both]
    return {
        "batching policy": (policies[0], policies[1]),
        "relay's seal": (seals[0].split()[0], seals[1].split()[0]),
    }


def _row(name: str, metric: Metric, before: Sequence[float], after: Sequence[float]) -> Row:
    a, b = fmean(before), fmean(after)
    change = b / a - 1 if a > 0 else None
    between = interval(before, after)
    verdict = _verdict(change, between, metric)
    says = _in_words(verdict, change, sure=between is not None)
    return Row(name, metric.label, metric.unit, a, b, change, between, verdict, says)


def _in_words(verdict: Verdict, change: float | None, *, sure: bool) -> str:
    if change is None:
        return "no ratio: it was 0 or less"
    if verdict == "none":
        return NO_DIFFERENCE
    if abs(change) < TINY:
        return TINY_SAYS
    return verdict.upper() if sure else f"{verdict.upper()}, or chance"


def _verdict(change: float | None, between: tuple[float, float] | None, metric: Metric) -> Verdict:
    if not change or (between is not None and between[0] <= 0 <= between[1]):
        return "none"
    return "better" if (change > 0) == metric.higher_is_better else "worse"
