"""What our relay takes while nothing happens: memory, also of idle streams, and CPU."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from planesplit.measure.lab import open_lab
from planesplit.measure.procfs import cpu_s, rss_bytes
from planesplit.measure.rig import Rig
from planesplit.measure.rounds import Progress
from planesplit.measure.spread import Spread
from planesplit.measure.subjects import Load, start_relay

FEW_STREAMS, MORE_STREAMS = 24, 1_000  # with one tunnel's default of 1,024
SETTLE_S = 0.5  # garbage of the start, the first PINGs


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the relay, in bytes; medians would hide what only some runs keep.

    Args:
        base_bytes: with a tunnel and without a stream.
        streams: how many were opened at first, and how many more.
        few_bytes: with the first.
        many_bytes: with all, each of which has had one unit and is idle.
        after_bytes: when they had hung up.
    """

    base_bytes: int
    streams: int
    few_bytes: int
    many_bytes: int
    after_bytes: int

    @property
    def stream_bytes(self) -> float:
        """What one more idle stream costs."""
        return (self.many_bytes - self.few_bytes) / self.streams

    @property
    def kept_bytes(self) -> int:
        """What has not returned when all had hung up, beside buffers in use."""
        return self.after_bytes - self.few_bytes


async def measure_memory(progress: Progress, streams: int = MORE_STREAMS) -> Memory:
    """Open streams over our relay and let them rest.

    The few that are there first get as much as all others do later: buffers that streams share
    have been used, then, and are no part of what one more takes.

    Args:
        progress: told what is going on.
        streams: beside the few.

    Raises:
        MeasureError: it failed.
    """
    progress(f"memory: {streams} idle streams")
    async with open_lab() as lab:
        rig = await start_relay(lab, Load(0))
        base = await _settled(rig)
        await rig.open_more(FEW_STREAMS)
        await rig.transfer(streams // FEW_STREAMS + 1)
        few = await _settled(rig)
        await rig.open_more(streams)
        await rig.transfer(1)
        many = await _settled(rig)
        await rig.sink.ask("hang_up")
        after = await _settled(rig)
    return Memory(base, streams, few, many, after)


async def measure_idle(seconds: float, rounds: int, progress: Progress) -> Spread:
    """Return the share of a core that an idle tunnel costs our relay.

    Args:
        seconds: of one look.
        rounds: how often.
        progress: told what is going on.

    Raises:
        MeasureError: it failed.
    """
    async with open_lab() as lab:
        rig = await start_relay(lab, Load(0))
        await trio.sleep(SETTLE_S)
        shares = []
        for number in range(rounds):
            progress(f"an idle tunnel: round {number + 1} of {rounds}")
            before = cpu_s(rig.relay_pid)
            await trio.sleep(seconds)
            shares.append((cpu_s(rig.relay_pid) - before) / seconds)
    return Spread.of(shares)


async def _settled(rig: Rig) -> int:
    await trio.sleep(SETTLE_S)
    return rss_bytes(rig.relay_pid)
