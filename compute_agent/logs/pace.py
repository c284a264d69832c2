"""When a tail looks at its files and when it sends: the first line at once, then in batches.

A tail is woken when its files change. After a batch it rests for the policy's hold-off, or as long
as a full batch takes to be written at the rate seen last. Tails that can't be woken look every now
and then. All of them look at common ticks of the clock: one timer wakes them, and what they found
leaves in one write.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from compute_agent.logs.batch import UNIT_BYTES
from compute_agent.logs.encoding import EMPTY
from compute_agent.logs.settings import Batching
from compute_agent.logs.tail import Tail
from compute_agent.logs.timer import Timer
from compute_agent.logs.watcher import Tap, Watch

POLL_GROWTH = 1.5  # of the pause between looks at a log that stays quiet
TICKS_OF_HOLD_OFF = 8  # tails end their hold-offs together, and not much later than they may
IDLE_S = 3600.0  # until a timer fires that nobody waits for
LOOK_S = 1.0  # even when nothing woke a tail: file systems of a network tell nothing


class Ticks:
    """Lets all tails that wait for the same tick do so with one timer.

    While `run` runs that is a timer descriptor, for trio's own timers are rounded up to 1 ms.
    """

    def __init__(self) -> None:
        self._waiting: dict[float, trio.Event] = {}
        self._calls: dict[float, list[Callable[[], None]]] = {}
        self._timer: Timer | None = None
        self._set_to: float | None = math.inf
        self.served: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Keep time until cancelled; returns if there is no timer descriptor."""
        try:
            self._timer = timer = Timer()
        except OSError:
            return
        try:
            while True:
                await timer.fired()
                self._set_to = None
                self._tick(trio.current_time())
                self.served()
                self._set()
        finally:
            self._timer = None
            timer.close()
            self._calls.clear()
            for ticked in self._waiting.values():
                ticked.set()
            self._waiting.clear()

    def call(self, at: float, look: Callable[[], None]) -> bool:
        """Call when the clock shows `at`; False if nobody keeps time. `look` must not raise."""
        if self._timer is None:
            return False
        calls = self._calls.get(at)
        if calls is None:
            self._calls[at] = [look]
            self._set()
        else:
            calls.append(look)
        return True

    async def until(self, at: float) -> None:
        """Wait until the clock shows `at`; always a checkpoint."""
        if trio.current_time() >= at:
            await trio.lowlevel.checkpoint()
        while trio.current_time() < at:
            if (ticked := self._waiting.get(at)) is not None:
                await ticked.wait()  # by time, or because whoever has the timer is cancelled
            elif self._timer is not None:
                ticked = self._waiting[at] = trio.Event()
                self._set()
                await ticked.wait()
            else:
                await self._sleep(at)

    def _tick(self, now: float) -> None:
        for at in [at for at in self._waiting if at <= now]:
            self._waiting.pop(at).set()
        for at in [at for at in self._calls if at <= now]:
            for look in self._calls.pop(at):
                look()

    def _set(self) -> None:
        """Have the timer fire for whoever comes next."""
        at = min(min(self._waiting, default=math.inf), min(self._calls, default=math.inf))
        if self._timer is not None and at != self._set_to:
            self._set_to = at
            self._timer.set(min(at - trio.current_time(), IDLE_S))

    async def _sleep(self, at: float) -> None:
        """Have the timer of a tick."""
        ticked = self._waiting[at] = trio.Event()
        try:
            await trio.sleep_until(at)
        finally:
            self._waiting.pop(at, None)
            ticked.set()
        await trio.lowlevel.checkpoint()  # goes on beside those that waited: one write for all


class Pace:
    """The rhythm of one tail.

    Args:
        ticks: of the agent.
        batching: how long to wait for what.
        keepalive_s: a quiet tail sends an empty message so often.
        history_poll_s: pause before the log aggregator is asked again.
        watch: wakes the tail.
    """

    def __init__(
        self,
        ticks: Ticks,
        batching: Batching,
        keepalive_s: float,
        history_poll_s: float,
        watch: Watch,
    ) -> None:
        self._ticks, self._batching, self._watch = ticks, batching, watch
        self._keepalive_s, self._history_poll_s = keepalive_s, history_poll_s
        self._poll_s = batching.poll_min_s
        self._sent = self._rested = self._looked = -math.inf

    def look(self) -> None:
        """The files are looked at now: a rest is counted from here, not from when all is read."""
        self._looked = trio.current_time()

    def due(self, tail: Tail, *, flush: bool) -> list[tuple[bytes, bytes]]:
        """Return the messages that are to be sent now, each with the cursor behind it.

        A quiet log gets an empty message at once, which opens the answer, and then as keepalive.
        """
        batching, now = self._batching, self._looked
        due = tail.take_full()
        held = tail.held_bytes
        size = held + len(due) * UNIT_BYTES
        if held and (flush or now >= self._rested or held >= batching.batch_bytes):
            due.append(tail.flush())
        elif not due and not held and now >= self._sent + self._keepalive_s:
            due.append((EMPTY, tail.cursor()))
        if due:
            share = batching.batch_bytes / size if size > batching.batch_bytes else 1.0
            since = min(now - self._sent, batching.hold_off_s)
            self._rested = now + (since * share if share < 1 else batching.hold_off_s)
            self._sent = now
        return due

    def may_look(self) -> bool:
        """Whether it is not too early after the last batch; then the files are looked at now."""
        now = trio.current_time()
        if now < self._rested:
            return False
        self._looked = now
        return True

    def later(self, look: Callable[[], None]) -> bool:
        """Have `look` called when the rest is over; False if nobody keeps time."""
        return self._ticks.call(self._tick(self._rested), look)

    async def pause(self, tail: Tail, *, quiet: bool, tap: Tap | None = None) -> None:
        """Wait until it makes sense to look again.

        Args:
            tail: see there.
            quiet: whether the last look found nothing.
            tap: see Watch.changed.
        """
        if not quiet:
            self._poll_s = self._batching.poll_min_s
        if tail.hole is not None and not tail.held_bytes:
            await trio.sleep(self._history_poll_s if quiet else 0)
        elif not (quiet or tail.caught_up):
            await trio.lowlevel.checkpoint()
        elif tail.held_bytes:
            await self._ticks.until(self._tick(self._rested))
        elif self._watch.arm():
            await trio.lowlevel.checkpoint()  # what was written before did not wake it
        elif self._watch.live:
            now = trio.current_time()
            until = min(now + LOOK_S, max(self._sent + self._keepalive_s, now))
            await self._watch.changed(until, tap)
            if trio.current_time() < self._rested:
                await self._ticks.until(self._tick(self._rested))
        else:
            await self._look_later(quiet=quiet)

    async def _look_later(self, *, quiet: bool) -> None:
        """Sleep until the last tick that is at most a pause away, but at least until the next."""
        at_most_s = self._poll_s if quiet else self._batching.poll_min_s
        now, tick_s = trio.current_time(), self._batching.poll_min_s
        tick = math.floor(now / tick_s) + max(math.floor(at_most_s / tick_s), 1)
        at = tick * tick_s
        await self._ticks.until(at if at > now else at + tick_s)
        if quiet:
            self._poll_s = min(self._poll_s * POLL_GROWTH, self._batching.poll_max_s)

    def _tick(self, at: float) -> float:
        """Return the first tick that is not before `at`; ends of hold-offs have finer ones."""
        tick_s = self._batching.hold_off_s / TICKS_OF_HOLD_OFF
        return max(at, math.ceil(at / tick_s) * tick_s) if tick_s and math.isfinite(at) else at
