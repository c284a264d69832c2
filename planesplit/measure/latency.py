"""Latency: lines open loop from their intended time, and round trips of a few bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from planesplit.measure.lab import open_lab
from planesplit.measure.rig import LineSample
from planesplit.measure.rounds import Progress, interleaved, start_all
from planesplit.measure.spread import Spread, percentile
from planesplit.measure.subjects import Load, Subject

WARM_UP_S = 0.3
PERCENTS = (50.0, 99.0, 99.9)
OWN_SHARE = 0.5  # a p99 of which the generator made more than this says nothing of the relay


@dataclass(frozen=True, slots=True)
class Percentiles:
    """p50, p99 and p99.9 in milliseconds, of all rounds together."""

    p50_ms: float
    p99_ms: float
    p999_ms: float

    @classmethod
    def of(cls, times_s: Sequence[float]) -> Percentiles:
        """Summarise times in seconds, in any order, at least one."""
        ordered = sorted(times_s)
        return cls(*(percentile(ordered, percent) * 1e3 for percent in PERCENTS))


@dataclass(frozen=True, slots=True)
class LineLatency:
    """How long lines took over one subject.

    Args:
        subject: its name.
        streams, rate_per_s: the load.
        latency: from a line's intended time until a viewer had it.
        send_delay: from the intended time until the source handed the line over: batching on
            purpose, and being late.
        late: how late the generator's clock alone was.
        achieved_per_s: lines a second that came out.
        relay_cpu_share, agent_cpu_share: of one core; 0 without an agent.
        p99_ms: spread over the rounds.
    """

    subject: str
    streams: int
    rate_per_s: float
    latency: Percentiles
    send_delay: Percentiles
    late: Percentiles
    achieved_per_s: float
    relay_cpu_share: Spread
    agent_cpu_share: Spread
    p99_ms: Spread

    @property
    def valid(self) -> bool:
        """Whether the p99 is the relay's rather than the generator's."""
        return self.late.p99_ms < OWN_SHARE * self.latency.p99_ms


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Round trips over one subject.

    Args:
        subject: its name.
        size_bytes: each way.
        rtt: of all rounds together.
        p50_ms: spread over the rounds.
    """

    subject: str
    size_bytes: int
    rtt: Percentiles
    p50_ms: Spread


async def measure_lines(
    subjects: Sequence[Subject],
    rate_per_s: float,
    *,
    streams: int,
    duration_s: float,
    rounds: int,
    progress: Progress,
) -> list[LineLatency]:
    """Measure lines of 200 bytes.

    Args:
        subjects: what to measure.
        rate_per_s: over all streams together.
        streams: exchanges of each subject.
        duration_s: of one turn.
        rounds: how often each has its turn, after a warm-up.
        progress: told what is going on.

    Raises:
        MeasureError: a subject failed.
    """
    what = f"{rate_per_s:g} lines/s, {streams} streams"
    async with open_lab() as lab:
        progress(f"{what}: starting")
        rigs = await start_all([partial(s.start, lab, Load(streams)) for s in subjects])
        for rig in rigs:
            await rig.lines(rate_per_s, WARM_UP_S)
        found = await interleaved(
            rigs,
            rounds,
            lambda rig: rig.lines(rate_per_s, duration_s),
            lambda text: progress(f"{what}: {text}"),
        )
    return [_line_latency(name, samples) for name, samples in found.items()]


async def measure_round_trips(
    subjects: Sequence[Subject],
    *,
    size_bytes: int,
    count: int,
    rounds: int,
    progress: Progress,
) -> list[RoundTrip]:
    """Measure round trips on one duplex exchange of each subject, one at a time in flight.

    Args:
        subjects: what to measure.
        size_bytes: each way.
        count: round trips of one turn.
        rounds: how often each has its turn.
        progress: told what is going on.

    Raises:
        MeasureError: a subject failed.
    """
    async with open_lab() as lab:
        progress("round trips: starting")
        load = Load(1, duplex=True)
        rigs = await start_all([partial(s.start, lab, load) for s in subjects])
        for rig in rigs:
            await rig.ping(count // 10, size_bytes)
        found = await interleaved(
            rigs,
            rounds,
            lambda rig: rig.ping(count, size_bytes),
            lambda text: progress(f"round trips: {text}"),
        )
    return [_round_trip(name, size_bytes, times) for name, times in found.items()]


def _line_latency(name: str, samples: Sequence[LineSample]) -> LineLatency:
    each = [sample.plan.latencies_s(sample.received) for sample in samples]
    delays = [time for s in samples for time in s.plan.latencies_s(s.handed_over)]
    plan = samples[0].plan
    return LineLatency(
        subject=name,
        streams=plan.streams,
        rate_per_s=plan.rate_per_s,
        latency=Percentiles.of([time for times in each for time in times]),
        send_delay=Percentiles.of(delays),
        late=Percentiles.of([time for sample in samples for time in sample.late_s]),
        achieved_per_s=Spread.of(map(_achieved_per_s, samples)).median,
        relay_cpu_share=Spread.of(s.relay_cpu_s / plan.duration_s for s in samples),
        agent_cpu_share=Spread.of(s.agent_cpu_s / plan.duration_s for s in samples),
        p99_ms=Spread.of(percentile(times, 99.0) * 1e3 for times in each),
    )


def _achieved_per_s(sample: LineSample) -> float:
    last_s = max(batch.at_s for batch in sample.received)
    plan = sample.plan
    return plan.lines * plan.streams / max(last_s - plan.start_s, plan.duration_s)


def _round_trip(name: str, size_bytes: int, rounds: Sequence[Sequence[float]]) -> RoundTrip:
    medians = [percentile(sorted(times), 50.0) * 1e3 for times in rounds]
    every = [time for times in rounds for time in times]
    return RoundTrip(name, size_bytes, Percentiles.of(every), Spread.of(medians))
