"""Viewers that stop reading: what the others notice, and what the relay keeps for them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import trio

from planesplit.measure.lab import MeasureError, open_lab
from planesplit.measure.procfs import rss_bytes
from planesplit.measure.rig import Rig
from planesplit.measure.rounds import Progress
from planesplit.measure.spread import Spread
from planesplit.measure.subjects import Load, start_relay
from planesplit.measure.unit import UNIT_BYTES
from tunnel.settings import TunnelSettings

RECEIVE_BUFFER_BYTES = 262_144  # so that a viewer's kernel does not swallow what should pile up
BATCH_BYTES = 327_680  # the relay joins at most 256 KiB and a unit for one write
GROW_BYTES = 16_777_216  # one viewer alone: its window grows to the largest, if growth is left
FILL_BYTES = 8_388_608  # for each viewer: more than its window and both sockets hold
POLL_S = 0.1
STILL_POLLS = 3
STILL_WITHIN_S = 30.0
WARM_UP_SHARE = 4  # of a transfer, before each: one after a rest is slower, whoever is stalled


@dataclass(frozen=True, slots=True)
class _Round:
    alone: float
    beside: float
    unread_bytes: int
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Stalled:
    """The figures; memory in bytes.

    Args:
        viewers, stalled: how many there were, and how many of them stopped reading.
        alone_mb_per_s: the others' throughput while these were silent.
        beside_mb_per_s: the others' throughput while these were stalled with full windows.
        share: what the others kept of their throughput, round by round.
        rss_before: after a transfer to all viewers.
        rss_stalled: the largest while they were stalled.
        rss_after: when they had hung up.
        unread_bytes: what the agent had sent to them and they had not read: what sockets on both
            sides and the relay held.
    """

    viewers: int
    stalled: int
    alone_mb_per_s: Spread
    beside_mb_per_s: Spread
    share: Spread
    rss_before: int
    rss_stalled: int
    rss_after: int
    unread_bytes: int

    @property
    def bound_bytes(self) -> int:
        """The most they may cost: a window and a batch on its way each, and the tunnel's growth."""
        settings = TunnelSettings()
        return settings.growth_bytes + self.stalled * (settings.window_bytes + BATCH_BYTES)

    @property
    def grown_bytes(self) -> int:
        """Memory that the stalled viewers cost."""
        return self.rss_stalled - self.rss_before

    @property
    def kept_bytes(self) -> int:
        """Memory that did not return when they had hung up."""
        return self.rss_after - self.rss_before

    def as_json(self) -> dict[str, Any]:
        """Return every figure."""
        return asdict(self) | {
            "bound_bytes": self.bound_bytes,
            "grown_bytes": self.grown_bytes,
            "kept_bytes": self.kept_bytes,
        }


async def measure_stalled(
    *,
    viewers: int = 32,
    stalled: int = 16,
    rounds: int,
    round_bytes: int,
    progress: Progress,
) -> Stalled:
    """Let some viewers of our relay stop reading, with windows as large as they grow, and resume.

    Args:
        viewers, stalled: how many, and how many of them stop.
        rounds: how often; the others transfer once beside them and once alone in each.
        round_bytes: payload of one transfer.
        progress: told what is going on.

    Raises:
        MeasureError: it failed, or what was held back did not arrive afterwards.
    """
    healthy = viewers - stalled
    units = max(1, round_bytes // UNIT_BYTES // healthy)
    what = f"{stalled} of {viewers} viewers stalled"
    found = []
    async with open_lab() as lab:
        progress(f"{what}: starting")
        load = Load(viewers, receive_buffer_bytes=RECEIVE_BUFFER_BYTES)
        rig = await start_relay(lab, load)
        for viewer in range(healthy, viewers):
            await rig.transfer(GROW_BYTES // UNIT_BYTES, viewer, 1)
        await rig.transfer(units)
        before = rss_bytes(rig.relay_pid)
        for number in range(rounds):
            progress(f"{what}: round {number + 1} of {rounds}")
            found.append(await _round(rig, healthy, units, alone_first=number % 2 == 0))
        await _stall(rig, healthy)
        await rig.sink.ask("hang_up", first=healthy, count=stalled)
        await rig.transfer(units, 0, healthy)
        after = rss_bytes(rig.relay_pid)
    return Stalled(
        viewers=viewers,
        stalled=stalled,
        alone_mb_per_s=Spread.of(each.alone for each in found),
        beside_mb_per_s=Spread.of(each.beside for each in found),
        share=Spread.of(each.beside / each.alone for each in found),
        rss_before=before,
        rss_stalled=max(each.rss_bytes for each in found),
        rss_after=after,
        unread_bytes=max(each.unread_bytes for each in found),
    )


async def _round(rig: Rig, healthy: int, units: int, *, alone_first: bool) -> _Round:
    """Transfer beside stalled viewers, and alone before or after it: so drift favours neither."""
    alone = await _mb_per_s(rig, healthy, units) if alone_first else 0.0
    unread_bytes = await _stall(rig, healthy)
    beside = await _mb_per_s(rig, healthy, units)
    resident_bytes = rss_bytes(rig.relay_pid)
    await _resume(rig, healthy)
    if not alone_first:
        alone = await _mb_per_s(rig, healthy, units)
    return _Round(alone, beside, unread_bytes, resident_bytes)


async def _mb_per_s(rig: Rig, healthy: int, units: int) -> float:
    await rig.transfer(max(1, units // WARM_UP_SHARE), 0, healthy)
    return (await rig.transfer(units, 0, healthy)).mb_per_s


async def _stall(rig: Rig, first: int) -> int:
    """Stop reading from the `first` viewer on, and send until nothing more fits: bytes sent."""
    count = rig.streams - first
    await rig.sink.ask("stall", stalled=True, first=first, count=count)
    began = last = await _sent(rig, first, count)
    await rig.source.ask("send", units=FILL_BYTES // UNIT_BYTES, first=first, count=count)
    deadline_s = time.monotonic() + STILL_WITHIN_S
    still = 0
    while still < STILL_POLLS and time.monotonic() < deadline_s:
        await trio.sleep(POLL_S)
        now = await _sent(rig, first, count)
        still = still + 1 if now == last else 0
        last = now
    if last - began >= FILL_BYTES // UNIT_BYTES * UNIT_BYTES * count:
        raise MeasureError("stalled viewers are still being sent to: nothing pushes back")
    return last - began


async def _resume(rig: Rig, first: int) -> None:
    """Read again; all that was held back has to arrive."""
    count = rig.streams - first
    await rig.sink.ask("stall", stalled=False, first=first, count=count)
    size = FILL_BYTES // UNIT_BYTES * UNIT_BYTES
    done = await rig.sink.ask("expect", bytes_each=size, first=first, count=count)
    if done["excess_bytes"]:
        raise MeasureError(f"{done['excess_bytes']} bytes too many came after a stall")


async def _sent(rig: Rig, first: int, count: int) -> int:
    sent: list[int] = (await rig.source.ask("sent"))["bytes"]
    return sum(sent[first : first + count])
