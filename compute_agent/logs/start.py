"""Finds where a new tail begins: at the beginning, at a time, or at the last N lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import trio

from compute_agent.logs.cri import Record, Splitter, epoch_ns
from compute_agent.logs.cursor import Cursor, Place, at_file, beginning, resume
from compute_agent.logs.files import Block, Gap, LogReader
from compute_agent.logs.hole import Wanted
from compute_agent.logs.index import Listing, LogFile, LogUnreadable, OffsetIndex
from compute_agent.logs.lines import Open, Position, Start
from compute_agent.logs.options import TailOptions
from compute_agent.logs.source import Source
from compute_agent.settings import LogLimits

TOP = 1 << 40  # where the numbers of a log end whose beginning is unknown: more than it can have


async def find_place(
    source: Source,
    index: OffsetIndex,
    limits: LogLimits,
    options: TailOptions,
    cursor: Cursor | None,
    *,
    history: bool,
) -> tuple[int, Place, Wanted | None]:
    """Return restart and place where a tail begins, and what it wants if that is older.

    Raises:
        LogUnreadable: the files cannot be read.
    """
    restarts = index.restarts(source.directory)
    if cursor is not None:
        return *_after(cursor, source, index, restarts, history=history), None
    if options.lines is not None:
        restart, place, lines = await _last(source, index, limits, restarts, options.lines)
        return restart, place, Wanted(lines, options.since_ns)
    restart = restarts[0] if restarts else 0
    place = _since(index.listing(source.directory, restart), options.since_ns)
    if restart and place.gap is None and not options.since_ns:
        base = place.position.offset or 0  # logs of earlier lives are gone
        place = replace(place, gap=Gap(None, base, place.file))
    return restart, place, Wanted(None, options.since_ns)


def _after(
    cursor: Cursor, source: Source, index: OffsetIndex, restarts: list[int], *, history: bool
) -> tuple[int, Place]:
    """Return restart and place behind a cursor."""
    restart = restarts[0] if restarts else 0
    if (cursor.uid, cursor.container) != (source.uid, source.container):
        return restart, Place(Position(1, {}, 0), gap=Gap(None, 0))  # another pod by that name
    listing = index.listing(source.directory, cursor.restart)
    if listing.files or not history:
        return cursor.restart, resume(cursor, listing)
    later = [r for r in restarts if r > cursor.restart]
    for restart in later[:1]:  # the cursor's life is gone
        place = beginning(index.listing(source.directory, restart))
        return restart, replace(place, gap=Gap(None, 0, place.file), behind=cursor)
    numbers = cursor.first, cursor.numbered
    return cursor.restart, Place(cursor.position, None, *numbers, stamp=cursor.stamp)


async def _last(
    source: Source, index: OffsetIndex, limits: LogLimits, restarts: list[int], wanted: int
) -> tuple[int, Place, int]:
    """Return restart and place of the last lines, going back through the container's lives."""
    restart = 0
    place = Place(Position(1, {}, 0))
    for restart in reversed(restarts):
        place, wanted = await last_lines(index, source.directory, restart, wanted, limits)
        if not wanted:
            break
    return restart, place, wanted


def _since(listing: Listing, since_ns: int) -> Place:
    """Return the beginning of the first file that may hold a line of `since_ns` or later."""
    older = [f for f in listing.files if f.stamp and epoch_ns(f.stamp.encode()) <= since_ns]
    if older:
        return at_file(older[-1])  # whatever is missing is older than asked for
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
        self.first: Record | None = None
        self._begun: dict[bytes, Record] = {}  # where the line that we are inside of begins so far
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
                self._begun[stream] = self.first = record
        elif stream in self._inside or (self.missing and stream not in self._begun):
            self._inside.add(stream)
            self._begun[stream] = record

    def position(self) -> Position:
        """Return where to begin; at least one line must have been found."""
        assert self.first is not None
        sequence = self.first.sequence
        begins = {
            s.decode(): Open(r.sequence, 0, r.known_offset)
            for s, r in self._begun.items()
            if r.sequence < sequence
        }
        return Position(sequence, begins, self.first.known_offset)


async def last_lines(
    index: OffsetIndex, container: Path, restart: int, wanted: int, limits: LogLimits
) -> tuple[Place, int]:
    """Return where the last `wanted` lines of one log begin, and how many of them it lacks.

    Raises:
        LogUnreadable: the files are damaged, or were all replaced meanwhile.
    """
    listing = index.listing(container, restart)
    search = LastLines(wanted)
    following = Start(TOP, listing.files[-1].end if listing.files else 0)
    place = Place(Position(1, {}, 0))
    for file in reversed(listing.files):
        first, records, end = await _records(index, container, restart, file, limits, following)
        if following.sequence == TOP:
            position = Position(end.sequence, {}, end.offset)
            place = Place(position, file, first, file.first is not None)
        for record in reversed(records):
            if not search.done:
                search.back(record)
        if search.done:
            break
        following = Start(first + 1, file.base)
    if index.listing(container, restart).epoch != listing.epoch:
        raise LogUnreadable("the log rotates faster than its last lines can be found")
    if search.missing:
        return beginning(listing), search.missing
    if search.first is not None:
        place = Place(search.position(), file, first, file.first is not None)
    return place, 0


async def _records(
    index: OffsetIndex,
    container: Path,
    restart: int,
    file: LogFile,
    limits: LogLimits,
    following: Start,
) -> tuple[int, list[Record], Start]:
    """Read one file's records; rotation bounds its size. Contents are dropped at once.

    Returns:
        How many records there are before them, the records, and where the next one begins. If the
        numbers are unknown, they end where those of the `following` file begin.
    """
    splitter = Splitter(file.base, limits.line_max_bytes, 0)
    records: list[Record] = []
    with LogReader(index, container, restart, file.base, limits.read_bytes) as reader:
        while isinstance(block := reader.read(), Block) and block.offset < file.end:
            data = block.data[: file.end - block.offset]
            records += [record._replace(content=b"") for record in splitter.feed(data)]
            await trio.lowlevel.checkpoint()
    complete, end = len(records), splitter.offset
    records += splitter.flush()
    first = file.first
    if first is None:
        first = following.sequence - 1 - len(records)
    numbered = [r._replace(sequence=r.sequence + first + 1) for r in records]
    return first, numbered, Start(first + complete + 1, end)
