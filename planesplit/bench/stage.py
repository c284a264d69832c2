"""The two paths of a bench, up and ready: through the split, and over the bare link alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from planesplit.bench.plan import BenchPlan
from planesplit.bench.tap import Crossing, FrameTap
from planesplit.measure.lab import Lab, open_lab
from planesplit.measure.rig import Rig
from planesplit.measure.subjects import Load, start_bare
from planesplit.measure.timer import Timer
from planesplit.measure.whole import run_name, start_whole, tail_request
from planesplit.split.link import Link, Tap

SPLIT, BARE = "split", "bare"


@dataclass(slots=True)
class Path:
    """One way for lines to take.

    Args:
        rig: its processes.
        link: the emulated link in it.
        crossings: of followed lines at the link; a turn empties it first.
    """

    rig: Rig
    link: Link
    crossings: list[Crossing]


@dataclass(slots=True)
class Stage:
    """What is up.

    Args:
        lab: the processes.
        split: through agent, link, relay to a viewer's tail.
        bare: from a plain server over the same kind of link to a viewer; None in a sweep.
    """

    lab: Lab
    split: Path
    bare: Path | None

    @property
    def paths(self) -> list[Path]:
        """Those that are up."""
        return [self.split] if self.bare is None else [self.split, self.bare]

    async def first_line_s(self) -> float:
        """Return how long a new viewer waits for the first line of a log that has some."""
        port = self.split.rig.viewer_port
        request = tail_request(run_name(0))
        answer = await self.split.rig.sink.ask("first", port=port, request=request)
        return float(answer["first_s"])


STALLED_BUFFER_BYTES = 65_536  # so that their kernels do not swallow what should pile up


@asynccontextmanager
async def open_stage(plan: BenchPlan, *, bare: bool = True) -> AsyncIterator[Stage]:
    """Start everything.

    Args:
        plan: its streams and its link are set up.
        bare: whether the bare link is measured too.

    Raises:
        MeasureError: something did not start.
    """
    async with open_lab() as lab, trio.open_nursery() as nursery:
        split = await _open_path(nursery, lab, plan, SPLIT)
        other = await _open_path(nursery, lab, plan, BARE) if bare else None
        await _open_crowd(lab, plan, split.rig.viewer_port)
        yield Stage(lab, split, other)
        nursery.cancel_scope.cancel()


async def _open_path(nursery: trio.Nursery, lab: Lab, plan: BenchPlan, name: str) -> Path:
    crossings: list[Crossing] = []
    links: list[Link] = []

    async def via(port: int) -> int:
        link = Link(
            partial(trio.open_tcp_stream, "127.0.0.1", port),
            plan.profile,
            tap=partial(FrameTap, crossings) if name == SPLIT else Tap,
            wait_until=_wait_until,
        )
        await nursery.start(link.serve)
        links.append(link)
        return link.port

    start = partial(start_whole, policy=plan.policy) if name == SPLIT else start_bare
    rig = await start(lab, Load(plan.streams), via)
    rig.name = name
    return Path(rig, links[0], crossings)


async def _open_crowd(lab: Lab, plan: BenchPlan, port: int) -> None:
    """Open the tails that are not measured: those that read along, and those that never read."""
    if plan.viewers == 1 and not plan.stalled:
        return
    crowd = await lab.helper("sink")
    for stream in range(plan.streams):
        request = tail_request(run_name(stream))
        await crowd.ask("open", port=port, request=request, count=plan.viewers - 1)
    first = plan.streams * (plan.viewers - 1)
    for number in range(plan.stalled):
        await crowd.ask(
            "open",
            port=port,
            request=tail_request(run_name(number % plan.streams)),
            receive_buffer_bytes=STALLED_BUFFER_BYTES,
        )
    await crowd.ask("stall", stalled=True, first=first)


async def _wait_until(at_s: float) -> None:
    """Wait for a time of trio's clock by a timer that is not rounded to milliseconds."""
    timer = Timer()
    try:
        await timer.until(time.monotonic() + at_s - trio.current_time())
    finally:
        timer.close()
