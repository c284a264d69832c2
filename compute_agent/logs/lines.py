"""Joins CRI records into the lines that the container wrote, and knows where reading may resume."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from compute_agent.logs.cri import Record


class Open(NamedTuple):
    """A line that is not delivered completely.

    Args:
        offset: whole-log offset of its first record.
        skip: bytes of its content that were delivered already.
    """

    offset: int
    skip: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading resumes.

    Args:
        sequence: whole-log offset; every record before it is consumed, but for those of `open`.
        open: unfinished lines by stream (`stdout`, `stderr`), whose records begin before `sequence`
            or, when part of a single record was delivered, at it.
    """

    sequence: int
    open: dict[str, Open] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """Offset of the first byte that must be read again."""
        return min([self.sequence, *(line.offset for line in self.open.values())])

    def moved(self, by: int) -> Position:
        """The same position when all offsets are renumbered."""
        opened = {s: Open(line.offset + by, line.skip) for s, line in self.open.items()}
        return Position(self.sequence + by, opened)


class Line(NamedTuple):
    """Output of the container that is to be delivered.

    Args:
        record: the record that completed it.
        at_ns: timestamp of its first record.
        content: bytes, without those delivered before.
        complete: whether the line ends here; otherwise more of it follows.
        offset: whole-log offset of its first record.
        skip: bytes of the line that were delivered before `content`.
    """

    record: Record
    at_ns: int
    content: bytes
    complete: bool
    offset: int
    skip: int


class _Pieces:
    """What is held of one stream's unfinished line."""

    def __init__(self, offset: int, skip: int) -> None:
        self.offset, self.skip = offset, skip
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


class Assembler:
    """Turns records, read from `position.start` on, into lines.

    Args:
        position: where to resume.
        line_max_bytes: an unfinished line longer than this is delivered in pieces as it grows.
    """

    def __init__(self, position: Position, line_max_bytes: int) -> None:
        self._sequence = position.sequence
        self._max = line_max_bytes
        self._open = {s.encode(): _Pieces(*line) for s, line in position.open.items()}

    def feed(self, record: Record) -> Line | None:
        """Take the next record and return the line that it completes, if it does."""
        pieces = self._open.get(record.stream)
        if record.offset < self._sequence:
            if pieces is None or record.offset < pieces.offset:
                return None  # delivered before the resume
        else:
            self._sequence = record.end
        if pieces is None:
            if record.final:
                return Line(record, record.at_ns, record.content, True, record.offset, 0)
            pieces = self._open[record.stream] = _Pieces(record.offset, 0)
        pieces.add(record)
        return self._emit(record, pieces) if record.final or pieces.held > self._max else None

    def drain(self) -> list[Line]:
        """The log has ended: return the unfinished lines as if they ended here."""
        end = self._sequence
        lines = []
        for stream, pieces in sorted(self._open.items(), key=lambda item: item[1].offset):
            nothing = Record(end, end, stream, True, pieces.at_ns, b"")
            lines.append(self._emit(nothing, pieces))
        return lines

    def before(self, line: Line, delivered: int = 0) -> Position:
        """Where to resume when only `delivered` bytes of `line`, the last one fed, were sent."""
        opened = {s.decode(): Open(p.offset, p.skip) for s, p in self._open.items()}
        opened.pop(line.record.stream.decode(), None)
        skip = line.skip + delivered
        if skip or line.offset < line.record.offset:
            opened[line.record.stream.decode()] = Open(line.offset, skip)
        return Position(line.record.offset, opened)

    def after(self) -> Position:
        """Where to resume when every line so far was sent."""
        if not self._open:
            return Position(self._sequence)
        opened = {s.decode(): Open(p.offset, p.skip) for s, p in self._open.items()}
        return Position(self._sequence, opened)

    def _emit(self, record: Record, pieces: _Pieces) -> Line:
        content, skip = b"".join(pieces.parts), pieces.skip
        if record.final:
            del self._open[record.stream]
        else:
            keep = complete_utf8(content)
            content, rest = content[:keep], content[keep:]
            pieces.parts, pieces.held, pieces.skip = [rest], len(rest), skip + keep
        return Line(record, pieces.at_ns, content, record.final, pieces.offset, skip)


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
