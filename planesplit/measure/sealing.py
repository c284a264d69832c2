"""What the seal costs: our relay as it starts by default beside one that was told not to."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from functools import partial

from planesplit.measure.lab import open_lab
from planesplit.measure.procfs import cpu_s
from planesplit.measure.rounds import Progress, interleaved, ratios_to, start_all
from planesplit.measure.spread import Spread
from planesplit.measure.subjects import Load, start_plain_relay, start_relay
from planesplit.measure.unit import UNIT_BYTES
from relay.settings import RelayConfig

OFF = '[seal]\nmode = "off"\n'
SEALED, OPEN = "sealed", "unsealed"
STARTS = 7


@dataclass(frozen=True, slots=True)
class Sealing:
    """The figures.

    Args:
        level: that the relay says it has reached.
        cpu_s_per_gb: of sealed and unsealed relays.
        ratio: of the first to the second, round by round.
        start_s: until ready.
        start_cpu_s: of these starts.
    """

    level: str
    cpu_s_per_gb: dict[str, Spread]
    ratio: Spread
    start_s: dict[str, Spread]
    start_cpu_s: dict[str, Spread]

    @property
    def later_s(self) -> float:
        """How much later a sealed relay is ready: the difference of the quickest starts."""
        return self.start_s[SEALED].low - self.start_s[OPEN].low


def missing() -> str:
    """Say why it cannot be measured, "" if it can."""
    has = any(field.name == "seal" for field in fields(RelayConfig))
    return "" if has else "this relay has no seal"


async def measure_sealing(
    *, streams: int, rounds: int, round_bytes: int, progress: Progress, starts: int = STARTS
) -> Sealing:
    """Measure bulk transfers and starts of our relay, sealed and not, in turns.

    Args:
        streams: exchanges of each.
        rounds: how often each has its turn.
        round_bytes: payload of one turn.
        progress: told what is going on.
        starts: of each, until ready.

    Raises:
        MeasureError: a relay failed.
    """
    units = max(1, round_bytes // UNIT_BYTES // streams)
    async with open_lab() as lab:
        progress("seal: starting")
        load = Load(streams)
        rigs = await start_all([partial(start_relay, lab, load, more=m) for m in ("", OFF)])
        for rig, name in zip(rigs, (SEALED, OPEN), strict=True):
            rig.name = name
            await rig.transfer(units)
        samples = await interleaved(
            rigs, rounds, lambda rig: rig.transfer(units), lambda text: progress(f"seal: {text}")
        )
    level, start_s, start_cpu_s = await _starts(starts, progress)
    return Sealing(
        level=level,
        cpu_s_per_gb={
            name: Spread.of(sample.cpu_s_per_gb for sample in found)
            for name, found in samples.items()
        },
        ratio=Spread.of(ratios_to(samples[OPEN], samples[SEALED])),
        start_s=start_s,
        start_cpu_s=start_cpu_s,
    )


async def _starts(
    count: int, progress: Progress
) -> tuple[str, dict[str, Spread], dict[str, Spread]]:
    """Start relays in turns; returns the seal, seconds until ready and CPU seconds."""
    seconds: dict[str, list[float]] = {SEALED: [], OPEN: []}
    used: dict[str, list[float]] = {SEALED: [], OPEN: []}
    level = ""
    for number in range(count):
        progress(f"seal: start {number + 1} of {count}")
        for name, more in ((SEALED, ""), (OPEN, OFF)):
            async with open_lab() as lab:
                began_s = time.monotonic()
                relay = await start_plain_relay(lab, more)
                seconds[name].append(time.monotonic() - began_s)
                used[name].append(cpu_s(relay.pid))
                if name == SEALED:
                    level = str(relay.ready.get("seal", ""))
    return level, _spreads(seconds), _spreads(used)


def _spreads(values: dict[str, list[float]]) -> dict[str, Spread]:
    return {name: Spread.of(found) for name, found in values.items()}
