"""When a tail looks at its files and when it sends: the first line at once, then in batches.

All tails of an agent look at the same ticks of the clock, multiples of the shortest pause between
looks: one timer wakes them, and what they found leaves in one write.
"""

from __future__ import annotations

import math

import trio
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse

from compute_agent.logs.settings import Batching
from compute_agent.logs.tail import Tail

POLL_GROWTH = 1.5  # of the pause between looks at a log that stays quiet


class Ticks:
    """Lets all tails that wait for the same tick do so with one timer."""

    def __init__(self) -> None:
        self._waiting: dict[float, trio.Event] = {}

    async def until(self, at: float) -> None:
        """Wait until the clock shows `at`; always a checkpoint."""
        if trio.current_time() >= at:
            await trio.lowlevel.checkpoint()
        while trio.current_time() < at:
            if (ticked := self._waiting.get(at)) is not None:
                await ticked.wait()  # by time, or because whoever has the timer is cancelled
                continue
            ticked = self._waiting[at] = trio.Event()
            try:
                await trio.sleep_until(at)
            finally:
                del self._waiting[at]
                ticked.set()
            await trio.lowlevel.checkpoint()  # goes on beside those that waited: one write for all


class Pace:
    """The rhythm of one tail.

    Args:
        ticks: of the agent.
        batching: how long to wait for what.
        keepalive_s: a quiet tail sends an empty message so often.
        history_poll_s: pause before the log aggregator is asked again.
    """

    def __init__(
        self, ticks: Ticks, batching: Batching, keepalive_s: float, history_poll_s: float
    ) -> None:
        self._ticks, self._batching = ticks, batching
        self._keepalive_s, self._history_poll_s = keepalive_s, history_poll_s
        self._poll_s = batching.poll_min_s
        self._sent = -math.inf

    def due(self, tail: Tail, *, flush: bool) -> list[tuple[TailLogsResponse, bytes]]:
        """Return the messages that are to be sent now, each with the cursor behind it.

        A quiet log gets an empty message at once, which opens the answer, and then as keepalive.
        """
        batching, now = self._batching, trio.current_time()
        due = tail.take_full()
        held = tail.held_bytes
        rested = now >= self._sent + batching.hold_off_s  # the same sum as in `pause`
        if held and (flush or rested or held >= batching.batch_bytes):
            due.append(tail.flush())
        elif not due and not held and now >= self._sent + self._keepalive_s:
            due.append((TailLogsResponse(), tail.cursor()))
        if due:
            self._sent = now
        return due

    async def pause(self, tail: Tail, *, quiet: bool) -> None:
        """Wait until it makes sense to look again."""
        if not quiet:
            self._poll_s = self._batching.poll_min_s
        if tail.held_bytes:
            await self._ticks.until(self._tick(self._sent + self._batching.hold_off_s))
        elif tail.hole is not None:
            await trio.sleep(self._history_poll_s if quiet else 0)
        elif quiet:
            await self._sleep(self._poll_s)
            self._poll_s = min(self._poll_s * POLL_GROWTH, self._batching.poll_max_s)
        elif tail.caught_up:
            await self._sleep(self._batching.poll_min_s)
        else:
            await trio.lowlevel.checkpoint()

    async def _sleep(self, at_most_s: float) -> None:
        """Sleep until the last tick that is at most so far away, but at least until the next."""
        now, tick_s = trio.current_time(), self._batching.poll_min_s
        tick = math.floor(now / tick_s) + max(math.floor(at_most_s / tick_s), 1)
        at = tick * tick_s
        await self._ticks.until(at if at > now else at + tick_s)

    def _tick(self, at: float) -> float:
        """Return the first tick that is not before `at`."""
        tick_s = self._batching.poll_min_s
        return max(at, math.ceil(at / tick_s) * tick_s)
