"""Fills a tail's holes from the log aggregator, one bounded query at a time."""

from __future__ import annotations

import trio

from compute_agent.logs.cri import epoch_ns
from compute_agent.logs.history import At, History, HistoryDown, LogId, Row
from compute_agent.logs.history_start import begin
from compute_agent.logs.hole import Hole
from compute_agent.logs.settings import HistoryLimits
from compute_agent.logs.tail import Tail


class Filler:
    """Brings one tail through its holes.

    What is not in the aggregator may still come, because the collector lags behind: it is waited
    for, and then told as a gap.

    Args:
        history: the aggregator.
        log: whose log.
        limits: bounds.
    """

    def __init__(self, history: History, log: LogId, limits: HistoryLimits) -> None:
        self._history, self._log, self._limits = history, log, limits
        self._progress_s = trio.current_time()
        self._hole: Hole | None = None
        self._down = False

    async def step(self, tail: Tail) -> bool:
        """Do one query's worth of work; False when that brought nothing.

        Raises:
            HistoryDown: what the tail needs can't be had, and there is nothing else to show.
        """
        hole = tail.hole
        assert hole is not None
        if hole is not self._hole:
            self._hole, self._progress_s = hole, trio.current_time()
        jump: At | None = None
        moved = False
        try:
            with trio.fail_after(self._limits.request_s):
                moved, jump = await self._try(tail, hole)
            if self._down:  # the collector, too, has to find out that it is back
                self._down, self._progress_s = False, trio.current_time()
        except (HistoryDown, trio.TooSlowError):
            self._down = True
        now = trio.current_time()
        if moved:
            self._progress_s = now
        elif now - self._progress_s >= self._limits.wait_s:
            self._give_up(tail, hole, jump)
            self._progress_s = now
            return True
        return moved

    async def _try(self, tail: Tail, hole: Hole) -> tuple[bool, At | None]:
        """Return whether something was achieved, else where the aggregator goes on, if it does."""
        if not hole.aligned:
            return await self._align(tail, hole), None
        if hole.wanted is not None:
            await begin(self._history, self._log, tail, hole)
            return True, None
        if hole.filled:
            tail.leave()
            return True, None
        rows = await self._history.page(self._log, hole.at, hole.hint_ns)
        taken = self._take(tail, hole, rows)
        if tail.over or tail.hole is None:
            return True, None
        following = [row.at for row in rows if row.at > hole.at]
        if not following and not taken:
            hole.hint_ns = 0  # a clock that was set back misleads: next time without
        return taken > 0, min(following, default=None)

    def _take(self, tail: Tail, hole: Hole, rows: list[Row]) -> int:
        """Hand on the rows that follow without a hole; return how many."""
        ready: list[Row] = []
        at = hole.at
        end = False
        for row in rows:
            if hole.stop is not None and row.at >= hole.stop:
                break
            new_life = row.at == At(at.restart + 1, 1)
            if row.at != at and not new_life:
                if row.at < at:
                    continue
                break
            if row.end:
                end = True
                break
            ready.append(row)
            at = At(row.restart, row.record.sequence + 1)
        tail.take(ready)
        if end and hole.file is None:
            tail.close()
        elif _reached(hole, rows):
            tail.leave()
        return len(ready)

    async def _align(self, tail: Tail, hole: Hole) -> bool:
        """Find the collector's numbers of both ends by the files that begin there."""
        if hole.stamp:
            number = await self._file_start(hole.at.restart, hole.stamp)
            if number is None:
                return False
            tail.align(number - 1 - hole.first)
        if hole.file is not None and hole.stop is None:
            number = await self._file_start(hole.restart, hole.file.stamp)
            if number is None:
                return False
            tail.align_file(number)
        return True

    async def _file_start(self, restart: int, stamp: str) -> int | None:
        if not stamp:
            return None
        return await self._history.file_start(self._log, restart, epoch_ns(stamp.encode()))

    def _give_up(self, tail: Tail, hole: Hole, jump: At | None) -> None:
        """What did not come in time is told, and the tail goes on behind it."""
        if jump is not None and (hole.stop is None or jump < hole.stop):
            same = jump.restart == hole.at.restart
            _tell(tail, jump.sequence - hole.at.sequence if same else None)
            tail.skip(jump)
        elif hole.file is not None:
            _tell(tail, hole.missing)
            tail.leave()
        elif self._down:
            raise HistoryDown("the log aggregator can't be reached")
        else:
            tail.note("the log aggregator doesn't have the end of the output")
            tail.close()


def _reached(hole: Hole, rows: list[Row]) -> bool:
    """Whether the files may go on: a life that has no end of its own ends where the next begins."""
    if hole.stop is None:
        return False
    next_life = hole.stop == At(hole.at.restart + 1, 1)
    return hole.filled or (next_life and any(row.at >= hole.stop for row in rows))


def _tell(tail: Tail, records: int | None) -> None:
    amount = "an unknown part" if records is None else f"{records} records"
    tail.note(f"{amount} of the output is neither kept on the node nor in the log aggregator")
