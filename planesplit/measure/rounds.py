"""Interleaved rounds: every subject has its turn in every round, so that drift hits all alike."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import trio

from planesplit.measure.lab import MeasureError, open_lab
from planesplit.measure.rig import Rig, Sample
from planesplit.measure.spread import Spread
from planesplit.measure.subjects import Load, Subject
from planesplit.measure.unit import UNIT_BYTES

FLOOR, TLS_FLOOR = "floor", "floor-tls"
WARM_UP_SHARE = 4  # a quarter of a round: windows and socket buffers have grown, code is warm

LEAST_CPU_S_PER_GB = 0.02  # the kernel's two copies alone take longer

T = TypeVar("T")
Progress = Callable[[str], None]
Figure = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """What bulk transfers over one subject cost.

    Args:
        subject: its name.
        streams: exchanges at a time.
        samples: one a round.
        ratios: of its CPU seconds per GB to the floor's in the same round; empty without a floor.
    """

    subject: str
    streams: int
    samples: list[Sample]
    ratios: list[float]

    def spread(self, figure: Figure) -> Spread:
        """Summarise one figure over the rounds."""
        return Spread.of(figure(sample) for sample in self.samples)

    @property
    def ratio(self) -> Spread | None:
        """CPU cost relative to the floor's, None without a floor."""
        return Spread.of(self.ratios) if self.ratios else None

    @property
    def busy(self) -> tuple[float, float, float]:
        """Shares of a core that relay, source and viewers took: who holds up the others."""
        return (
            self.spread(lambda s: s.relay_cpu_s / s.elapsed_s).median,
            self.spread(lambda s: s.source_cpu_s / s.elapsed_s).median,
            self.spread(lambda s: s.sink_cpu_s / s.elapsed_s).median,
        )

    def as_json(self) -> dict[str, Any]:
        """Return every figure with its spread."""
        return {
            "subject": self.subject,
            "streams": self.streams,
            "rounds": len(self.samples),
            "payload_bytes": self.samples[0].payload_bytes,
            "relay_cpu_s_per_gb": self.spread(lambda s: s.cpu_s_per_gb),
            "ratio_to_floor": self.ratio,
            "mb_per_s": self.spread(lambda s: s.mb_per_s),
            "rss_mb": self.spread(lambda s: s.rss_bytes / 1e6),
            "busy": dict(zip(("relay", "source", "viewers"), self.busy, strict=True)),
            "source_cpu_s_per_gb": self.spread(lambda s: s.source_cpu_s / s.payload_bytes * 1e9),
            "sink_cpu_s_per_gb": self.spread(lambda s: s.sink_cpu_s / s.payload_bytes * 1e9),
        }


async def start_all(starts: Sequence[Callable[[], Awaitable[Rig]]]) -> list[Rig]:
    """Start subjects side by side, as many at a time as there are cores.

    Raises:
        MeasureError: one failed.
    """
    turns = trio.CapacityLimiter(os.cpu_count() or 1)
    rigs: dict[int, Rig] = {}

    async def begin(number: int, start: Callable[[], Awaitable[Rig]]) -> None:
        async with turns:
            rigs[number] = await start()

    async with trio.open_nursery() as nursery:
        for number, start in enumerate(starts):
            nursery.start_soon(begin, number, start)
    return [rigs[number] for number in range(len(starts))]


async def interleaved(
    rigs: Sequence[Rig], rounds: int, work: Callable[[Rig], Awaitable[T]], progress: Progress
) -> dict[str, list[T]]:
    """Do `work` on each rig in each round, in alternating order; returns the results by name."""
    results: dict[str, list[T]] = {rig.name: [] for rig in rigs}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for rig in rigs if number % 2 == 0 else reversed(rigs):
            results[rig.name].append(await work(rig))
    return results


async def measure_throughput(
    subjects: Sequence[Subject],
    streams: int,
    *,
    rounds: int,
    round_bytes: int,
    progress: Progress,
    floor: str = FLOOR,
) -> list[Throughput]:
    """Measure bulk transfers.

    Args:
        subjects: what to measure; all are up at the same time, one is busy at a time.
        streams: exchanges of each.
        rounds: how often each has its turn, after a warm-up.
        round_bytes: payload of one turn, all streams together.
        progress: told what is going on.
        floor: the subject that the others are compared with.

    Raises:
        MeasureError: a subject failed.
    """
    units = max(WARM_UP_SHARE, round_bytes // UNIT_BYTES // streams)
    async with open_lab() as lab:
        progress(f"{streams} streams: starting")
        rigs = await start_all([partial(s.start, lab, Load(streams)) for s in subjects])
        for rig in rigs:
            await rig.transfer(units // WARM_UP_SHARE)
        samples = await interleaved(
            rigs,
            rounds,
            lambda rig: rig.transfer(units),
            lambda text: progress(f"{streams} streams: {text}"),
        )
    _check_who_worked(samples)
    base = samples.get(floor, [])
    return [
        Throughput(name, streams, found, ratios_to(base, found)) for name, found in samples.items()
    ]


def _check_who_worked(samples: dict[str, list[Sample]]) -> None:
    """Refuse figures of a process that cannot have moved the bytes: another one did."""
    for name, found in samples.items():
        if max(sample.cpu_s_per_gb for sample in found) < LEAST_CPU_S_PER_GB:
            raise MeasureError(f"{name}: the process that was measured is not the one that relays")


def ratios_to(floor: Sequence[Sample], found: Sequence[Sample]) -> list[float]:
    """Return the CPU cost relative to the floor's, round by round."""
    pairs = zip(floor, found, strict=False)
    return [sample.cpu_s_per_gb / base.cpu_s_per_gb for base, sample in pairs]
