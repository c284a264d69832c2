"""Plans out of what was typed."""

from __future__ import annotations

from planesplit.bench import units
from planesplit.bench.document import PERCENTS
from planesplit.bench.plan import BenchPlan
from planesplit.bench.sweep import SweepPlan
from planesplit.commands.outcome import UsageError
from planesplit.split.shaping import LinkProfile

SMALLEST_LINE, LARGEST_LINE = 32, 8_192  # a followed line's mark; a CRI record in one piece
MAX_RATE_PER_S = 1_000_000.0
MAX_DURATION_S = 3_600.0
MAX_RTT_S = 10.0


def plan(
    *,
    rate: str = "10000",
    size: str,
    streams: int,
    duration: str,
    warmup: str,
    repeat: int = 1,
    rtt: str,
    jitter: str,
    bandwidth: str,
    stall: str = "0",
    cut: bool = False,
    policy: str = "balanced",
    viewers: int = 1,
    stalled: int = 0,
) -> BenchPlan:
    """Return the plan of a bench.

    Raises:
        UsageError: a quantity is not understood or out of bounds; names the option.
    """
    found = BenchPlan(
        rate_per_s=_within("--rate", units.per_second, rate, 1, MAX_RATE_PER_S),
        line_bytes=int(_within("--size", units.size_bytes, size, SMALLEST_LINE, LARGEST_LINE)),
        streams=streams,
        duration_s=_within("--duration", units.seconds, duration, 0.5, MAX_DURATION_S),
        warm_up_s=_within("--warmup", units.seconds, warmup, 0, MAX_DURATION_S),
        repeats=repeat,
        profile=LinkProfile(
            rtt_s=_within("--rtt", units.seconds, rtt, 0, MAX_RTT_S),
            jitter_s=_within("--jitter", units.seconds, jitter, 0, MAX_RTT_S),
            bandwidth_bytes_per_s=_within(
                "--bandwidth", units.bytes_per_second, bandwidth, 1_250, 12.5e9
            )
            if bandwidth
            else 0.0,
        ),
        stall_s=_within("--stall", units.seconds, stall, 0, MAX_DURATION_S),
        cut=cut,
        policy=policy,
        viewers=viewers,
        stalled=stalled,
    )
    if found.profile.jitter_s > found.profile.rtt_s / 2:
        raise UsageError(f"--jitter {jitter} is more than half of --rtt {rtt}, one way's delay")
    return found


def sweep_plan(base: BenchPlan, rate: str, steps: int, slo: str, *, find_knee: bool) -> SweepPlan:
    """Return the plan of a sweep.

    Raises:
        UsageError: a quantity is not understood or out of bounds; names the option.
    """
    try:
        low, high = units.rate_range(rate)
        limit = units.limit(slo, (*PERCENTS, "max", "mean")) if slo else None
    except units.BadQuantity as error:
        raise UsageError(str(error)) from None
    if high > MAX_RATE_PER_S or low * base.duration_s < base.streams:
        raise UsageError(
            f"--rate '{rate}' is out of bounds: up to {MAX_RATE_PER_S:,.0f}/s, and a line for each "
            "stream in each step"
        )
    return SweepPlan(base, low, high, steps, find_knee, limit)


def _within(option: str, parse: units.Parser, text: str, low: float, high: float) -> float:
    try:
        value = parse(text)
    except units.BadQuantity as error:
        raise UsageError(f"{option} {error}") from None
    if not low <= value <= high:
        raise UsageError(f"{option} '{text}' is out of bounds: from {low:g} to {high:g}")
    return value
