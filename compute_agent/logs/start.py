"""Finds where a new tail begins: at the beginning, at a time, or at the last N lines."""

from __future__ import annotations

from pathlib import Path

import trio

from compute_agent.logs.cri import Record, Splitter, epoch_ns
from compute_agent.logs.cursor import beginning
from compute_agent.logs.files import Block, Gap, LogReader
from compute_agent.logs.index import Listing, LogFile, LogUnreadable, OffsetIndex
from compute_agent.logs.lines import Open, Position
from compute_agent.settings import LogLimits

Place = tuple[Position, Gap | None]


def since(listing: Listing, since_ns: int) -> Place:
    """Return the beginning of the first file that may hold a line of `since_ns` or later."""
    older = [f for f in listing.files if f.stamp and epoch_ns(f.stamp.encode()) <= since_ns]
    if older:
        return Position(older[-1].base), None  # whatever is missing is older than asked for
    return beginning(listing)


class LastLines:
    """Collects, from the end of a log backwards, where its last lines begin.

    Lines count when they end; pieces of stdout and stderr lines may alternate, so each stream's
    first wanted line has a beginning of its own.

    Args:
        wanted: how many lines.
    """

    def __init__(self, wanted: int) -> None:
        self.missing = wanted
        self.sequence: int | None = None
        self._begun: dict[bytes, int] = {}  # where the line that we are inside of begins so far
        self._inside: set[bytes] = set()

    @property
    def done(self) -> bool:
        """Whether the place is known."""
        return not self.missing and not self._inside

    def back(self, record: Record) -> None:
        """Take the record before the one that was taken last."""
        stream = record.stream
        if record.final:
            self._inside.discard(stream)
            if self.missing:
                self.missing -= 1
                self._inside.add(stream)
                self._begun[stream] = self.sequence = record.offset
        elif stream in self._inside or (self.missing and stream not in self._begun):
            self._inside.add(stream)
            self._begun[stream] = record.offset

    def position(self) -> Position:
        """Return where to begin; at least one line must have been found."""
        assert self.sequence is not None
        begins = {s: o for s, o in self._begun.items() if o < self.sequence}
        return Position(self.sequence, {s.decode(): Open(o, 0) for s, o in begins.items()})


async def last_lines(
    index: OffsetIndex, container: Path, restart: int, wanted: int, limits: LogLimits
) -> tuple[Place, int]:
    """Return where the last `wanted` lines of one log begin, and how many of them it lacks.

    Raises:
        LogUnreadable: the files are damaged, or were all replaced meanwhile.
    """
    listing = index.listing(container, restart)
    if not wanted or not listing.files:
        end = listing.files[-1].end if listing.files else 0
        return (Position(end), None), wanted
    search = LastLines(wanted)
    for file in reversed(listing.files):
        for record in reversed(await _records(index, container, restart, file, limits)):
            if not search.done:
                search.back(record)
        if search.done:
            break
    if index.listing(container, restart).epoch != listing.epoch:
        raise LogUnreadable("the log rotates faster than its last lines can be found")
    if search.missing:
        return beginning(listing), search.missing
    return (search.position(), None), 0


async def _records(
    index: OffsetIndex, container: Path, restart: int, file: LogFile, limits: LogLimits
) -> list[Record]:
    """Read one file's records; rotation bounds its size. Contents are dropped at once."""
    splitter = Splitter(file.base, limits.line_max_bytes)
    records: list[Record] = []
    with LogReader(index, container, restart, file.base, limits.read_bytes) as reader:
        while isinstance(block := reader.read(), Block) and block.offset < file.end:
            data = block.data[: file.end - block.offset]
            records += [Record(*record[:5], b"") for record in splitter.feed(data)]
            await trio.lowlevel.checkpoint()
    return records + splitter.flush()
