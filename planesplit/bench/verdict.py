"""Whether a run says something of the product, or of the machine that measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from planesplit.bench.stage import BARE, SPLIT
from planesplit.measure.histogram import Histogram
from planesplit.measure.latency import OWN_SHARE

MOST_OF_CEILING = 0.8  # a generator nearer to its ceiling than this has no time left to be punctual
KEPT_UP = 0.98
STOLEN = 0.05


def judge(document: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a run.

    Args:
        document: a run's, all but its verdict.

    Returns:
        `valid`; `reasons` why not; `evidence` that speaks for it; `notes` on what to keep in mind.
    """
    turns: Sequence[Mapping[str, Any]] = document["turns"]
    split = [turn for turn in turns if turn["path"] == SPLIT]
    reasons = _delivery(turns) + _generator(document, split)
    if not split:
        reasons.append("no turn was completed")
    return {
        "valid": not reasons,
        "reasons": reasons,
        "evidence": _evidence(document, split),
        "notes": _notes(document, turns),
    }


def late_ms(turns: Sequence[Mapping[str, Any]], percent: float = 99.0) -> float:
    """Return how late the generator itself was."""
    return _merged(turns, "late").percentile_ms(percent)


def _merged(turns: Sequence[Mapping[str, Any]], field: str) -> Histogram:
    return Histogram.merged(Histogram.decode(turn[field]) for turn in turns)


def _generator(document: Mapping[str, Any], split: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with the source of the load."""
    found = []
    share = document["plan"]["rate_per_s"] / document["calibration"]["ceiling_per_s"]
    if share > MOST_OF_CEILING:
        found.append(f"the generator was at {share:.0%} of its ceiling: lower --rate")
    if split:
        late, total = late_ms(split), _merged(split, "latency").percentile_ms(99)
        if late > OWN_SHARE * total:
            found.append(
                f"the generator itself was {late:.2f} ms late at p99, more than half of the "
                f"{total:.2f} ms that were measured: use an idle machine or lower --rate"
            )
    unsent = sum(turn["offered_lines"] - turn["sent_lines"] for turn in split)
    if unsent > 0 and not document["partial"]:
        found.append(f"the generator did not write {unsent} lines in time: lower --rate")
    return found


def _delivery(turns: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    if any(turn["early"] for turn in turns):
        found.append("lines were seen before they were due: the clock is not to be trusted")
    if any(turn["misplaced"] for turn in turns):
        found.append("lines were lost, doubled or out of order")
    return found


def _evidence(document: Mapping[str, Any], split: Sequence[Mapping[str, Any]]) -> list[str]:
    calibration = document["calibration"]
    share = document["plan"]["rate_per_s"] / calibration["ceiling_per_s"]
    found = [
        f"generator at {share:.0%} of its ceiling of {calibration['ceiling_per_s']:,.0f} lines/s",
        f"timer error p99 {calibration['timer_p99_ms']:.2f} ms",
    ]
    if split:
        delay = _merged(split, "delay").percentile_ms(99)
        found.append(f"late p99 {late_ms(split):.2f} ms, send delay p99 {delay:.2f} ms")
        found.append(f"{sum(turn['missing'] for turn in split)} lines missing")
    return found


def _notes(document: Mapping[str, Any], turns: Sequence[Mapping[str, Any]]) -> list[str]:
    environment, found = document["environment"], []
    if environment.get("busy"):
        found.append("the machine was BUSY (load average above its cores): latencies are its too")
    stolen_s = environment.get("steal_s", 0.0)
    if stolen_s and stolen_s > STOLEN * document["elapsed_s"] * environment["cores"]:
        found.append(f"the hypervisor took {stolen_s:.1f} s of CPU away")
    for path in (SPLIT, BARE):
        lagging = [
            turn["achieved_per_s"] / turn["offered_per_s"] for turn in turns if turn["path"] == path
        ]
        if lagging and min(lagging) < KEPT_UP:
            found.append(f"{path} did not keep up: {min(lagging):.0%} of the offered rate")
    if document["overloaded"]:
        found.append(
            f"OVERLOADED: lines were still missing when {document['overloaded']} was given up; "
            "lower --rate, or look for the knee with 'planesplit bench sweep --find-knee'"
        )
    if document["partial"]:
        found.append("PARTIAL: interrupted, what is here is what was complete by then")
    return found
