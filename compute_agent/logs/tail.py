"""One container's tail: from files to units, without waiting. The service adds the pauses."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from compute_agent.logs.batch import UNIT_BYTES, Batcher
from compute_agent.logs.cri import Record, Splitter
from compute_agent.logs.cursor import Cursor, Place, at_file, beginning, encoded
from compute_agent.logs.files import Block, FileEnd, Gap, LogReader
from compute_agent.logs.history import At, Row
from compute_agent.logs.hole import Hole, Wanted
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.lines import Assembler, Position, Start
from compute_agent.logs.options import TailOptions
from compute_agent.logs.source import Source
from compute_agent.logs.start import find_place
from compute_agent.settings import LogLimits

NOTICE_BYTES = 512  # room for a line of the system's own, and its pod's name


class Tail:
    """Reads all lives of one container, from a place on; use `start` to make one.

    Attributes:
        hole: what the files don't have any more, if that is to be read from the log aggregator: it
            must be filled (see `Filler`) before `read` is called again.
        over: whether the log was read to its end there.
        caught_up: whether the last `read` got all that was written by then.
        sent_to: offset that was read to when the message that is being filled was flushed last.

    Args:
        source: whose log.
        index: numbers its files.
        limits: bounds.
        restart: the life to begin with.
        place: where in it.
        wanted: what is left out at the beginning.
        history: whether there is a log aggregator to fill holes; otherwise they are told.
    """

    def __init__(
        self,
        source: Source,
        index: OffsetIndex,
        limits: LogLimits,
        restart: int,
        place: Place,
        wanted: Wanted | None = None,
        *,
        history: bool = False,
    ) -> None:
        self._source, self._index, self._limits = source, index, limits
        self._history, self._wanted = history, wanted
        since_ns = wanted.since_ns if wanted is not None else 0
        self._batcher = Batcher(source.identifier(), source.short_pod_name, since_ns)
        self._full: list[tuple[bytes, bytes]] = []
        self._reader: LogReader | None = None
        self._follow(restart, place)
        self.hole: Hole | None = None
        self.over = self.caught_up = False
        self.sent_to = 0
        if place.gap is not None:
            self._begin_behind(place.behind, place.gap)

    @classmethod
    async def start(
        cls,
        source: Source,
        index: OffsetIndex,
        limits: LogLimits,
        options: TailOptions,
        cursor: Cursor | None,
        *,
        history: bool = False,
    ) -> Self:
        """Find the place and open the tail there. A cursor overrides the options.

        Raises:
            LogUnreadable: the files cannot be read.
        """
        begin = await find_place(source, index, limits, options, cursor, history=history)
        return cls(source, index, limits, *begin, history=history)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close_files()

    def close_files(self) -> None:
        """Nothing more will be read."""
        if self._reader is not None:
            self._reader.close()

    @property
    def plain(self) -> bool:
        """Whether what comes next depends on the cursor alone, in the middle of the files."""
        whole = self.hole is None and not self.over
        return whole and bool(self._stamp) and not self._batcher.filters

    @property
    def held_bytes(self) -> int:
        """Size of the message that is being filled, 0 if it is empty."""
        return self._batcher.held_bytes

    def read(self, stop: int = 0) -> bool:
        """Read what comes next; False when nothing more is written yet.

        Args:
            stop: offset to read to if it is not reached yet and near enough.

        Raises:
            LogUnreadable: the files are damaged.
        """
        assert self._reader is not None
        if self._reader.rests():
            return False
        self._reader.stop = stop
        item = self._reader.read()
        if item is None:
            later = [r for r in self._index.restarts(self._source.directory) if r > self._restart]
            # Read again: what was written before the next life began.
            item = self._reader.read() if later else None
            if item is None:
                return self._next_life(later)
        self.caught_up = isinstance(item, Block) and self._reader.drained
        self._take(item)
        return True

    def vanished(self) -> bool:
        """Whether there are no files any more, or never were."""
        return not self._index.restarts(self._source.directory)

    def tell_loss(self, *, ran: bool) -> None:
        """The files are gone, and there is no aggregator: say so if some were not read.

        Args:
            ran: whether there must have been files.
        """
        assert self._reader is not None
        unread = not self._stamp and not self._reader.at_last_file
        if (ran and unread) or not (self._reader.at_last_file or unread):
            self._note(Gap(None, 0))

    def take_full(self) -> list[tuple[bytes, bytes]]:
        """Return messages that are full, each with the cursor behind it."""
        full, self._full = self._full, []
        return full

    def flush(self) -> tuple[bytes, bytes]:
        """Return the message that is being filled, with the cursor behind it."""
        unit = self._batcher.flush(self._assembler.after(self._next()))
        self.sent_to = self._splitter.fed
        return unit.message, self._encode(unit.position)

    def cursor(self) -> bytes:
        """Return the cursor behind everything that was read."""
        return self._encode(self._assembler.after(self._next()))

    def finish(self) -> None:
        """The log has ended: what is unfinished is all there will be."""
        self._read_out(self._splitter.flush())
        for line in self._assembler.drain(self._next()):
            self._batcher.add(line, self._assembler)
        self._seal()

    def note(self, text: str) -> None:
        """Add a line that says what is missing; unfinished lines end there."""
        if self.hole is not None:
            self._end_life(self._restart)
        self._make_room()
        self._batcher.notice(f"[planesplit] log gap: {text}")

    # The log aggregator's part

    def open_end(self) -> None:
        """The files are gone: what follows the place that was reached is in the aggregator."""
        at = At(self._restart, self._splitter.sequence)
        fresh = at == At(0, 1) and not self._stamp
        self._dig(at, self._restart, Gap(None, 0))
        if self.hole is not None and fresh:
            self.hole.wanted = self._wanted

    def begin_at(self, restart: int, position: Position) -> None:
        """Read the hole from here on; nothing was read yet."""
        assert self.hole is not None
        self._restart = restart
        self._assembler = Assembler(position, self._limits.line_max_bytes)
        self.hole.at, self.hole.wanted = At(restart, position.start.sequence), None

    def align(self, records: int) -> None:
        """Count on from other numbers: the collector's are so many higher."""
        assert self.hole is not None
        self._assembler.renumber(records)
        self.hole.at = At(self.hole.at.restart, self.hole.at.sequence + records)
        self.hole.stamp, self._numbered = "", True
        self._first += records

    def align_file(self, sequence: int) -> None:
        """Note the collector's number of the first record behind the hole."""
        hole = self.hole
        assert hole is not None
        assert hole.file is not None
        hole.stop = At(hole.restart, sequence)
        directory = self._source.directory
        self._index.align(directory, hole.restart, hole.file.name, sequence - 1)

    def take(self, rows: list[Row]) -> None:
        """Take rows of the aggregator that follow what was read."""
        assert self.hole is not None
        for row in rows:
            if row.restart != self._restart:
                self._end_life(row.restart)
            line = self._assembler.feed(row.record)
            self.hole.at = At(row.restart, row.record.sequence + 1)
            self.hole.hint_ns = row.record.at_ns
            if line is not None:
                self._batcher.add(line, self._assembler)
        self._seal()

    def skip(self, to: At) -> None:
        """Go on behind records that are lost."""
        assert self.hole is not None
        self._end_life(to.restart)
        self.hole.at = to

    def leave(self) -> None:
        """Go on with the files, behind the hole."""
        hole = self.hole
        assert hole is not None
        assert hole.file is not None
        whole = hole.filled and hole.at.restart == hole.restart
        if not whole:
            self._end_life(hole.restart)
        file, assembler, self.hole = hole.file, self._assembler, None
        first = hole.stop.sequence - 1 if hole.stop is not None else file.first or 0
        position = Position(first + 1, {}, file.base)
        self._follow(hole.restart, Place(position, file, first, hole.stop is not None))
        if whole:
            self._assembler = assembler

    def close(self) -> None:
        """The aggregator has no more, and neither have the files."""
        self._end_life(self._restart)
        self.over = True

    # Inside

    def _take(self, item: Block | FileEnd | Gap) -> None:
        match item:
            case Block():
                if item.offset == item.file.base:
                    self._first = self._splitter.sequence - 1
                self._stamp, self._base = item.file.stamp, item.file.base
                self._split(item.data)
                self._seal()
            case FileEnd():
                self._read_out(self._splitter.flush())
            case Gap():
                self._miss(item)

    def _split(self, data: bytes) -> None:
        splitter, assembler, batcher = self._splitter, self._assembler, self._batcher
        lines = splitter.cut(data)
        at, last = 0, len(lines) - 1
        while at < last:
            if assembler.passes(splitter.sequence) and not batcher.filters:
                count = batcher.add_records(lines, at)
                splitter.skip(lines[at : at + count])
                at += count
            if at < last:
                self._assemble(splitter.line(lines[at]))
                at += 1
        self._assemble(splitter.keep(lines[last]))

    def _read_out(self, records: list[Record]) -> None:
        self._assemble(records)
        self._seal()

    def _assemble(self, records: list[Record]) -> None:
        assembler, batcher = self._assembler, self._batcher
        for record in records:
            line = assembler.feed(record)
            if line is not None:
                batcher.add(line, assembler)

    def _miss(self, gap: Gap) -> None:
        """Go on behind a gap, or read it from the aggregator first."""
        if self._history and gap.file is not None:
            self._dig(At(self._restart, self._splitter.sequence), self._restart, gap)
            return
        self._end_life(self._restart)
        self._make_room()
        unknown = Place(Position(1, {}, gap.resume), numbered=False)
        self._follow(self._restart, at_file(gap.file) if gap.file is not None else unknown)
        self._note(gap)

    def _begin_behind(self, cursor: Cursor | None, gap: Gap) -> None:
        """Begin with a gap: behind a cursor, or at the beginning of the first life."""
        if not self._history or gap.file is None:
            self._note(gap)
        elif cursor is None:
            self._begin_hole(At(0, 1), gap)
            assert self.hole is not None
            self.hole.wanted = self._wanted
        else:
            restart, self._restart = self._restart, cursor.restart
            self._numbered, self._stamp = cursor.numbered, cursor.stamp
            self._base, self._first = cursor.base, cursor.first
            self._assembler = Assembler(cursor.position, self._limits.line_max_bytes)
            self._dig(At(cursor.restart, cursor.position.start.sequence), restart, gap)

    def _begin_hole(self, at: At, gap: Gap) -> None:
        """Begin in a hole before the files of this life."""
        restart, self._restart = self._restart, at.restart
        self._numbered, self._stamp, self._base, self._first = True, "", 0, 0
        self._assembler = Assembler(Position(at.sequence), self._limits.line_max_bytes)
        self._dig(at, restart, gap)

    def _dig(self, at: At, restart: int, gap: Gap) -> None:
        """Stop reading files: what is at `at`, before the gap's file in `restart`, comes first."""
        if self._reader is not None:
            self._reader.close()
        self._splitter = Splitter(0, self._limits.line_max_bytes, at.sequence)  # drops what is torn
        file, stop = gap.file, None
        if file is not None and file.first is not None:
            stop = At(restart, file.first + 1)
        stamp = "" if self._numbered else self._stamp
        self.hole = Hole(at, stamp, self._first, restart, file, stop, gap)

    def _next_life(self, later: list[int]) -> bool:
        """Go on with the container's next restart if there is one."""
        if not later:
            return False
        self.finish()
        self._make_room()
        before, restart = self._restart, later[0]
        place = beginning(self._index.listing(self._source.directory, restart))
        gap = place.gap if restart == before + 1 else Gap(None, 0, place.file)
        self._follow(restart, place)
        if gap is not None and self._history and gap.file is not None:
            self._begin_hole(At(before + 1, 1), gap)
        elif gap is not None:
            self._note(gap)
        return True

    def _make_room(self) -> None:
        """A line of the system's own must fit into the message that is being filled."""
        if self.held_bytes > UNIT_BYTES - NOTICE_BYTES:
            self._full.append(self.flush())

    def _end_life(self, restart: int) -> None:
        """Unfinished lines end here; the next record is the first of another life."""
        for line in self._assembler.drain(self._next()):
            self._batcher.add(line, self._assembler)
        self._seal()
        self._restart = restart
        self._assembler = Assembler(Position(1), self._limits.line_max_bytes)

    def _follow(self, restart: int, place: Place) -> None:
        """Read files from a place on."""
        if self._reader is not None:
            self._reader.close()
        file, directory, limits = place.file, self._source.directory, self._limits
        self._restart = restart
        self._stamp, self._base = (place.stamp, 0) if file is None else (file.stamp, file.base)
        self._first, self._numbered = place.first, place.numbered
        sequence, offset = place.begin or place.position.start
        offset = offset or 0
        self._splitter = Splitter(offset, limits.line_max_bytes, sequence)
        self._assembler = Assembler(place.position, limits.line_max_bytes)
        self._reader = LogReader(self._index, directory, restart, offset, limits.read_bytes)

    def _next(self) -> Start:
        """The record that comes next."""
        if self.hole is not None:
            return Start(self.hole.at.sequence, None)
        return Start(self._splitter.sequence, self._splitter.offset)

    def _note(self, gap: Gap) -> None:
        amount = "an unknown part" if gap.missing_bytes is None else f"{gap.missing_bytes} bytes"
        self.note(f"{amount} of the output is no longer kept")

    def _seal(self) -> None:
        """Give the full messages their cursors, while these still mean the life they came from."""
        units = self._batcher.take_full()
        self._full += [(unit.message, self._encode(unit.position)) for unit in units]

    def _encode(self, position: Position) -> bytes:
        source, place = self._source, (self._stamp, self._base, self._first, self._numbered)
        return encoded(source.uid, source.container, self._restart, position, place)
