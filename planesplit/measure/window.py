"""How much of window / RTT a stream gets over a long link, and that windows grow to use it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from planesplit.measure.lab import MeasureError, open_lab
from planesplit.measure.rig import SLACK_S, Rig
from planesplit.measure.rounds import Progress
from planesplit.measure.spread import Spread
from planesplit.measure.subjects import Load, start_relay
from planesplit.measure.timer import wait_until
from planesplit.measure.unit import UNIT_BYTES
from planesplit.split.link import Link
from planesplit.split.shaping import LinkProfile
from tunnel.settings import TunnelSettings

GROWS_IN_RTT = 20  # 80 KiB to 4 MiB takes six doublings, and each a window that was drained
WARM_UP_S = 1.0
ENDLESS_UNITS = 1_000_000  # withdrawn when enough was seen
MOST_SHARE = 1.1  # of W/RTT: the link, not the window, would be what is measured


@dataclass(frozen=True, slots=True)
class Window:
    """One stream over one emulated link.

    Args:
        rtt_s: of the link.
        window_bytes: the largest that the relay grants.
        grows: whether it begins with the smallest, as it does by default, and has to grow.
        mb_per_s: over a while in the middle of a transfer.
    """

    rtt_s: float
    window_bytes: int
    grows: bool
    mb_per_s: Spread

    @property
    def bound_mb_per_s(self) -> float:
        """What a window in each round-trip time makes."""
        return self.window_bytes / self.rtt_s / 1e6

    @property
    def share(self) -> float:
        """How much of that was reached."""
        return self.mb_per_s.median / self.bound_mb_per_s


async def measure_windows(
    rtts_s: tuple[float, ...],
    sizes: tuple[int, ...],
    *,
    turn_s: float,
    rounds: int,
    progress: Progress,
) -> list[Window]:
    """Measure one stream of our relay over emulated links.

    Args:
        rtts_s: of the links.
        sizes: of windows that do not grow; 0 is the default one, which does.
        turn_s: seconds that are looked at.
        rounds: how often.
        progress: told what is going on.

    Raises:
        MeasureError: it failed.
    """
    found = []
    for rtt_s in rtts_s:
        for size in sizes:
            kind = f"{size >> 10} KiB" if size else "growing"
            what = f"RTT {rtt_s * 1e3:g} ms, window {kind}"
            progress(what)
            window = size or TunnelSettings().window_max_bytes
            async with _over_link(rtt_s, size) as rig:
                await _warm_up(rig, window, rtt_s)
                speeds = []
                for number in range(rounds):
                    progress(f"{what}: round {number + 1} of {rounds}")
                    speeds.append(await _speed(rig, window / rtt_s, turn_s))
            found.append(Window(rtt_s, window, not size, Spread.of(speeds)))
    return found


@asynccontextmanager
async def _over_link(rtt_s: float, fixed_bytes: int) -> AsyncIterator[Rig]:
    """Start a relay and an agent with a link between them; 0 is the default window."""
    async with open_lab() as lab, trio.open_nursery() as nursery:

        async def via(port: int) -> int:
            dial = partial(trio.open_tcp_stream, "127.0.0.1", port)
            link = Link(dial, LinkProfile(rtt_s=rtt_s), wait_until=wait_until)
            await nursery.start(link.serve)
            return link.port

        names = ("window_bytes", "window_default_bytes", "window_max_bytes")
        lines = [f"{name} = {fixed_bytes}" for name in names if fixed_bytes]
        yield await start_relay(lab, Load(1), via=via, more="\n".join(("[tunnel]", *lines, "")))
        nursery.cancel_scope.cancel()


async def _warm_up(rig: Rig, window: int, rtt_s: float) -> None:
    """Let the window grow, and the kernel's: for so many round trips, however fast they are."""
    until_s = time.monotonic() + max(GROWS_IN_RTT * rtt_s, WARM_UP_S)
    while time.monotonic() < until_s:
        await rig.transfer(max(1, window // UNIT_BYTES))


async def _speed(rig: Rig, bytes_per_s: float, turn_s: float) -> float:
    """Return MB/s in the middle of a transfer."""
    await rig.source.ask("send", units=ENDLESS_UNITS)
    await trio.sleep(turn_s / 2)
    first = await rig.sink.ask("got")
    await trio.sleep(turn_s)
    last = await rig.sink.ask("got")
    left = (await rig.source.ask("halt"))["units"][0]
    sent = (ENDLESS_UNITS - left) * UNIT_BYTES
    done = await rig.sink.ask("expect", within_s=SLACK_S, bytes_each=sent)
    if done["excess_bytes"]:
        raise MeasureError(f"{done['excess_bytes']} bytes came that nobody sent")
    found = (last["bytes"][0] - first["bytes"][0]) / (last["at_s"] - first["at_s"])
    if found > MOST_SHARE * bytes_per_s:
        raise MeasureError("more than a window crossed in each round-trip time")
    return float(found / 1e6)
