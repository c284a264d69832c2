"""Runs the open-loop schedules of several streams on a reactor."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from planesplit.measure.lines import Batch, LinePlan, LineSource
from planesplit.measure.reactor import READABLE, Reactor
from planesplit.measure.tally import SendTally
from planesplit.measure.timer import Timer


class Pacer:
    """Takes each batch when it is due and hands it over.

    Args:
        reactor: where its timer is.
        sources: one a stream.
        hand_over: called with each batch.
        done: called after the last one.
    """

    def __init__(
        self,
        reactor: Reactor,
        sources: Sequence[LineSource],
        hand_over: Callable[[Batch], None],
        done: Callable[[], None],
    ) -> None:
        self._reactor, self._sources = reactor, sources
        self._hand_over, self._done = hand_over, done
        self._timer = Timer()
        self._queue = [(source.wake_s(), stream) for stream, source in enumerate(sources)]
        heapq.heapify(self._queue)
        reactor.register(self._timer.fileno(), READABLE, self._fire)
        self._timer.set(self._queue[0][0])

    def _fire(self) -> None:
        _, stream = heapq.heappop(self._queue)
        source = self._sources[stream]
        self._hand_over(source.take())
        if not source.done:
            heapq.heappush(self._queue, (source.wake_s(), stream))
        if self._queue:
            self._timer.set(self._queue[0][0])
        else:
            self._reactor.unregister(self._timer.fileno())
            self._timer.close()
            self._done()


def paced(reactor: Reactor, plan: LinePlan, hand_over: Callable[[Batch], None]) -> SendTally:
    """Run a schedule in bounded memory; returns at once with what tells how far it is."""
    tally = SendTally(plan)

    def done() -> None:
        tally.done = True

    sources = [LineSource(plan, stream, tally.add) for stream in range(plan.streams)]
    Pacer(reactor, sources, hand_over, done)
    return tally


def handed_over(sources: Sequence[LineSource]) -> dict[str, Any]:
    """Return the answer to a `lines` command."""
    return {
        "batches": [batch for source in sources for batch in source.handed_over],
        "late_s": [late for source in sources for late in source.late_s],
    }
