"""Joins CRI records into the lines that the container wrote, and knows where reading may resume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from compute_agent.logs.cri import NO_OFFSET, Record

_NOTHING_OPEN: Mapping[str, Open] = MappingProxyType({})


class Start(NamedTuple):
    """Where reading begins.

    Args:
        sequence: number of the record.
        offset: whole-log offset of its first byte; None if only the number is known, because the
            record came from the log aggregator.
    """

    sequence: int
    offset: int | None


class Open(NamedTuple):
    """A line that is not delivered completely.

    Args:
        sequence: number of its first record.
        skip: bytes of its content that were delivered already.
        offset: of its first record, as in `Start`.
    """

    sequence: int
    skip: int
    offset: int | None = None


class Position(NamedTuple):
    """Where reading resumes.

    Args:
        sequence: record number; every record before it is consumed, but for those of `open`.
        open: unfinished lines by stream (`stdout`, `stderr`), whose records begin before `sequence`
            or, when part of a single record was delivered, at it.
        offset: of the record `sequence`, as in `Start`.
    """

    sequence: int
    open: Mapping[str, Open] = _NOTHING_OPEN
    offset: int | None = None

    @property
    def start(self) -> Start:
        """The first record that must be read again."""
        begins = [Start(line.sequence, line.offset) for line in self.open.values()]
        return min([Start(self.sequence, self.offset), *begins], key=lambda start: start.sequence)

    def moved(self, records: int, size_bytes: int = 0) -> Position:
        """The same position when all numbers and offsets are renumbered."""
        opened = {
            s: Open(line.sequence + records, line.skip, _plus(line.offset, size_bytes))
            for s, line in self.open.items()
        }
        return Position(self.sequence + records, opened, _plus(self.offset, size_bytes))


def _plus(offset: int | None, by: int) -> int | None:
    return None if offset is None else offset + by


class Line(NamedTuple):
    """Output of the container that is to be delivered.

    Args:
        record: the record that completed it.
        at_ns: timestamp of its first record.
        content: bytes, without those delivered before.
        complete: whether the line ends here; otherwise more of it follows.
        first: its first record; perhaps without content.
        skip: bytes of the line that were delivered before `content`.
    """

    record: Record
    at_ns: int
    content: bytes
    complete: bool
    first: Record
    skip: int


class _Pieces:
    """What is held of one stream's unfinished line."""

    def __init__(self, first: Record, skip: int) -> None:
        self.first, self.skip = first, skip
        self.drop = skip  # bytes that are read again and were delivered before
        self.at_ns = 0
        self.parts: list[bytes] = []
        self.held = 0

    def add(self, record: Record) -> None:
        """Append a record's content, less what was delivered before."""
        self.at_ns = self.at_ns or record.at_ns
        content = record.content
        if self.drop:
            dropped = min(self.drop, len(content))
            self.drop -= dropped
            content = content[dropped:]
        self.parts.append(content)
        self.held += len(content)

    def opened(self) -> Open:
        """Return what a cursor says of it."""
        return Open(self.first.sequence, self.skip, self.first.known_offset)


class Assembler:
    """Turns records, read from `position.start` on, into lines.

    Args:
        position: where to resume.
        line_max_bytes: an unfinished line longer than this is delivered in pieces as it grows.
    """

    def __init__(self, position: Position, line_max_bytes: int) -> None:
        self._resume = position
        self._delivered = position.sequence
        self._max = line_max_bytes
        self._open = {
            s.encode(): _Pieces(_placeholder(s.encode(), line.sequence, line.offset), line.skip)
            for s, line in position.open.items()
        }

    def passes(self, sequence: int) -> bool:
        """Whether `feed` returns every whole line from this record on as it is."""
        return not self._open and sequence >= self._delivered

    def feed(self, record: Record) -> Line | None:
        """Take the next record and return the line that it completes, if it does."""
        pieces = self._open.get(record.stream)
        if record.sequence < self._delivered and (
            pieces is None or record.sequence < pieces.first.sequence
        ):
            return None  # delivered before the resume
        if pieces is None:
            if record.final:
                return Line(record, record.at_ns, record.content, True, record, 0)
            pieces = self._open[record.stream] = _Pieces(record._replace(content=b""), 0)
        pieces.add(record)
        return self._emit(record, pieces) if record.final or pieces.held > self._max else None

    def drain(self, end: Start) -> Iterator[Line]:
        """The log has ended at `end`: yield the unfinished lines as if they ended here.

        Each is open until it is its turn: a place before it is one before those that follow, too.
        """
        for stream, pieces in sorted(self._open.items(), key=lambda item: item[1].first.sequence):
            nothing = _placeholder(stream, *end)._replace(final=True, at_ns=pieces.at_ns)
            yield self._emit(nothing, pieces)

    def renumber(self, records: int) -> None:
        """All records so far, and the following ones, have numbers that are so much higher."""
        self._resume, self._delivered = self._resume.moved(records), self._delivered + records
        for pieces in self._open.values():
            pieces.first = pieces.first._replace(sequence=pieces.first.sequence + records)

    def before(self, line: Line, delivered: int = 0) -> Position:
        """Where to resume when only `delivered` bytes of `line`, the last one fed, were sent."""
        record, first = line.record, line.first
        opened = {s.decode(): p.opened() for s, p in self._open.items()}
        opened.pop(record.stream.decode(), None)
        skip = line.skip + delivered
        if skip or first.sequence < record.sequence:
            opened[record.stream.decode()] = Open(first.sequence, skip, first.known_offset)
        return Position(record.sequence, opened, record.known_offset)

    def after(self, following: Start) -> Position:
        """Where to resume when every line so far was sent; `following` is the next record."""
        sequence, offset = following
        if sequence < self._delivered:  # what was delivered before is still being read again
            sequence, offset = self._delivered, self._resume.offset
        if not self._open:
            return Position(sequence, {}, offset)
        return Position(sequence, {s.decode(): p.opened() for s, p in self._open.items()}, offset)

    def _emit(self, record: Record, pieces: _Pieces) -> Line:
        content, skip = b"".join(pieces.parts), pieces.skip
        if record.final:
            del self._open[record.stream]
        else:
            keep = complete_utf8(content)
            content, rest = content[:keep], content[keep:]
            pieces.parts, pieces.held, pieces.skip = [rest], len(rest), skip + keep
        return Line(record, pieces.at_ns, content, record.final, pieces.first, skip)


def _placeholder(stream: bytes, sequence: int, offset: int | None) -> Record:
    at = NO_OFFSET if offset is None else offset
    return Record(at, at, stream, False, 0, b"", sequence)


def cut_utf8(data: bytes, limit: int) -> int:
    """Return the largest cut <= `limit` < len(data) that splits no UTF-8 character.

    A cut before anything but a continuation byte splits no character, nor does one behind three
    continuation bytes, since none is longer than four (RFC 3629, 3).
    """
    for cut in range(limit, max(limit - 4, 0), -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return limit


def complete_utf8(data: bytes) -> int:
    """Return the length of `data` without an incomplete character at its end."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            size = 4 if byte >> 3 == 30 else 3 if byte >> 4 == 14 else 2 if byte >> 5 == 6 else 1
            return len(data) - back if size > back else len(data)
    return len(data)
