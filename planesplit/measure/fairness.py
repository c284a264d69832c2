"""A quiet stream beside busy ones: lines at a steady rate while bulk saturates the relay."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from planesplit.measure.lab import MeasureError, open_lab
from planesplit.measure.latency import Percentiles
from planesplit.measure.lines import LinePlan
from planesplit.measure.rig import LEAD_S, SLACK_S, Rig
from planesplit.measure.rounds import Progress, interleaved, start_all
from planesplit.measure.spread import Spread, percentile
from planesplit.measure.subjects import Load, Subject
from planesplit.measure.unit import UNIT_BYTES

BULK_STREAMS = 16
RATE_PER_S = 1_000.0
WARM_UP_BYTES = 100_000_000
ENDLESS_UNITS = 1_000_000  # of each bulk stream: withdrawn when the lines are through


@dataclass(frozen=True, slots=True)
class Fairness:
    """How long the quiet stream's lines took over one subject.

    Args:
        subject: its name.
        bulk_streams: that were saturated.
        rate_per_s: lines a second of the quiet one.
        latency: of all rounds together, from a line's intended time.
        p99_ms: spread over the rounds.
        bulk_mb_per_s: of the others, meanwhile.
    """

    subject: str
    bulk_streams: int
    rate_per_s: float
    latency: Percentiles
    p99_ms: Spread
    bulk_mb_per_s: Spread


@dataclass(frozen=True, slots=True)
class _Turn:
    latencies_s: list[float]
    bulk_mb_per_s: float


async def measure_fairness(
    subjects: Sequence[Subject],
    *,
    duration_s: float,
    rounds: int,
    progress: Progress,
    bulk_streams: int = BULK_STREAMS,
    rate_per_s: float = RATE_PER_S,
) -> list[Fairness]:
    """Measure one stream of lines of 200 bytes beside bulk streams.

    Args:
        subjects: what to measure.
        duration_s: of the lines of one turn.
        rounds: how often each has its turn.
        progress: told what is going on.
        bulk_streams: how many are saturated.
        rate_per_s: lines a second.

    Raises:
        MeasureError: a subject failed.
    """
    what = f"{rate_per_s:g} lines/s beside {bulk_streams} bulk streams"
    async with open_lab() as lab:
        progress(f"{what}: starting")
        load = Load(bulk_streams + 1)
        rigs = await start_all([partial(s.start, lab, load) for s in subjects])
        for rig in rigs:
            await rig.transfer(WARM_UP_BYTES // UNIT_BYTES // bulk_streams, 0, bulk_streams)
        found = await interleaved(
            rigs,
            rounds,
            lambda rig: _turn(rig, bulk_streams, rate_per_s, duration_s),
            lambda text: progress(f"{what}: {text}"),
        )
    return [_figure(name, turns, bulk_streams, rate_per_s) for name, turns in found.items()]


async def _turn(rig: Rig, bulk: int, rate_per_s: float, duration_s: float) -> _Turn:
    within_s = SLACK_S + 5 * duration_s
    before, began_s = await _got(rig, bulk), time.monotonic()
    await rig.source.ask("send", units=ENDLESS_UNITS, first=0, count=bulk)
    plan = LinePlan(rate_per_s, duration_s, start_s=time.monotonic() + LEAD_S)
    received = await rig.quiet_lines(plan, bulk, within_s)
    speed = (await _got(rig, bulk) - before) / (time.monotonic() - began_s)
    left = (await rig.source.ask("halt", first=0, count=bulk))["units"]
    sent = [(ENDLESS_UNITS - units) * UNIT_BYTES for units in left]
    done = await rig.sink.ask("expect", within_s=within_s, bytes_each=sent, first=0, count=bulk)
    if done["excess_bytes"]:
        raise MeasureError(f"{rig.name}: {done['excess_bytes']} bytes came that nobody sent")
    return _Turn(plan.latencies_s(received), speed / 1e6)


async def _got(rig: Rig, bulk: int) -> int:
    return sum((await rig.sink.ask("got", first=0, count=bulk))["bytes"])


def _figure(name: str, turns: Sequence[_Turn], bulk: int, rate_per_s: float) -> Fairness:
    return Fairness(
        subject=name,
        bulk_streams=bulk,
        rate_per_s=rate_per_s,
        latency=Percentiles.of([time for turn in turns for time in turn.latencies_s]),
        p99_ms=Spread.of(percentile(turn.latencies_s, 99.0) * 1e3 for turn in turns),
        bulk_mb_per_s=Spread.of(turn.bulk_mb_per_s for turn in turns),
    )
