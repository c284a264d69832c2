"""The demonstration's course: a workload, a viewer that tails it, and a tunnel that is cut."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import trio

from planesplit.demo.summary import Summary, summarise
from planesplit.split.core import Split
from planesplit.split.customer_log import NoLog
from planesplit.tail import Line

AGENT = "compute_agent"
CUTS = 3
WORKLOAD = "training"
HUGE_BYTES = 200_000  # longer than a unit (64 KiB): it crosses in pieces
BURST_LINES = 5  # small ones, so that the screen never stands still
CUT_WITHIN_BYTES = 2_000  # in the middle of a frame, soon
CUT_WITHIN_S = 5.0
ENDLESS_S = 3600.0
CUT_EVERY_S = 10.0  # when there is no end


class Scenario:
    """One run of the demonstration on a running split.

    Args:
        split: with a link.
        rate: lines per second.
        seconds: how long lines are produced; None for an hour.
        seed: of the workload and of the cuts' places.
    """

    def __init__(self, split: Split, *, rate: float, seconds: float | None, seed: int = 1) -> None:
        self.split, self._rate, self._seed = split, rate, seed
        self._seconds = seconds or ENDLESS_S
        self._wanted_cuts = CUTS if seconds else 0
        self._cut_every_s = seconds / (CUTS + 1) if seconds else CUT_EVERY_S
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self.run = ""
        self.lines: list[Line] = []
        self.cuts_ns: list[int] = []
        self._cutting = trio.CancelScope()

    async def play(self) -> Summary:
        """Run to the end.

        Raises:
            ConnectError: the viewer's tail ended with an error.
        """
        began = time.monotonic()
        self.run = await self.split.run(workload=WORKLOAD, args=self._arguments())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut_often)
            await self._view()
            nursery.cancel_scope.cancel()
        return self.summary(time.monotonic() - began)

    def summary(self, seconds: float) -> Summary:
        """Sum up what has been delivered so far."""
        delivery = self.split.delivery(self.run, self.lines)
        return summarise(
            delivery, self.lines, self.cuts_ns, wanted_cuts=self._wanted_cuts, seconds=seconds
        )

    async def finish(self) -> None:
        """End the run now; `play` returns when everything that it wrote has arrived."""
        self._cutting.cancel()
        await self.split.viewer.abort(self.run, "the demonstration is over")

    def written(self, count: int) -> list[str]:
        """Return the last lines in the customer's log, cut to one screen line each."""
        with suppress(NoLog):
            return self.split.last_written(self.run, count)
        return []

    async def _view(self) -> None:
        async with self.split.tail(self.run) as lines:
            async for line in lines:
                self.lines.append(line)

    def _arguments(self) -> list[str]:
        options = {
            "--lines": max(1, int(self._seconds * self._rate)),
            "--rate": self._rate,
            "--seed": self._seed,
            "--huge-bytes": HUGE_BYTES,
            "--burst-lines": BURST_LINES,
        }
        return [str(part) for option in options.items() for part in option]

    async def _cut_often(self) -> None:
        with self._cutting:
            while not self._wanted_cuts or len(self.cuts_ns) < self._wanted_cuts:
                await trio.sleep(self._cut_every_s)
                await self.cut()

    async def cut(self) -> None:
        """Cut the tunnel in the middle of a frame and wait until the agent is back."""
        link = self.split.link
        opened, cuts = self.split.journal(AGENT).count, link.cuts
        link.cut_after(self._random.randrange(1, CUT_WITHIN_BYTES))
        with trio.move_on_after(CUT_WITHIN_S):
            await link.wait_cut(cuts)
        if link.cuts == cuts:
            link.cut()  # too little passed
        self.cuts_ns.append(time.time_ns())
        await self.split.tunnel_open(opened)
