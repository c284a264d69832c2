"""Finds where a new tail begins when that is in the log aggregator."""

from __future__ import annotations

from compute_agent.logs.history import At, History, LogId, Row
from compute_agent.logs.hole import Hole
from compute_agent.logs.lines import Position
from compute_agent.logs.start import LastLines
from compute_agent.logs.tail import Tail

BACK = 1_000  # records before the first that is new enough: a line may have begun in one of them


async def begin(history: History, log: LogId, tail: Tail, hole: Hole) -> None:
    """Move the tail to where it wants to begin in its hole.

    Raises:
        HistoryDown
    """
    wanted = hole.wanted
    assert wanted is not None
    if wanted.lines is not None:
        tail.begin_at(*await _last_lines(history, log, hole.stop, wanted.lines))
        return
    at: At | None = hole.at
    if wanted.since_ns:
        at = await history.first_since(log, wanted.since_ns)
        at = at and At(at.restart, max(at.sequence - BACK, 1))
    if at is None:  # all of it is older
        at = hole.stop or _end(await history.page_before(log, None))
    at = min(at, hole.stop) if hole.stop is not None else at
    tail.begin_at(at.restart, Position(at.sequence))


async def _last_lines(
    history: History, log: LogId, stop: At | None, wanted: int
) -> tuple[int, Position]:
    """Return life and position of the last lines before `stop`."""
    search, restart = LastLines(wanted), 0 if stop is None else stop.restart
    oldest = stop
    while rows := await history.page_before(log, oldest):
        if oldest is None:
            oldest = restart, _ = _end(rows)
            if not wanted:
                break
        for row in reversed(rows):
            if row.restart != restart:
                if not search.missing and search.first is not None:
                    return restart, search.position()
                search, restart = LastLines(search.missing), row.restart
            if not row.end:
                search.back(row.record)
            if search.done:
                return restart, search.position()
        oldest = rows[0].at
    if search.first is not None and not search.missing:
        return restart, search.position()
    return (oldest.restart, Position(oldest.sequence)) if oldest is not None else (0, Position(1))


def _end(rows: list[Row]) -> At:
    """Return the place behind the last record."""
    if not rows:
        return At(0, 1)
    last = rows[-1]
    return last.at if last.end else At(last.restart, last.record.sequence + 1)
