"""Resume cursors of tails: opaque to everybody but the agent.

A cursor is (pod uid, container, restart, sequence), where sequence is a record's number in the
container's whole log: the log collector stamps the same number, so a cursor made while the pod ran
finds its place in the log aggregator. It also names the file by its first timestamp and the byte
offset in it: so the place is found at once while the file is there, also when numbers and offsets
were renumbered because the index was lost.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from typing import Any

from compute_agent.logs.cri import STDERR, STDOUT, UNKNOWN, epoch_ns
from compute_agent.logs.files import Gap
from compute_agent.logs.index import Listing, LogFile
from compute_agent.logs.lines import Open, Position, Start

STREAMS = {stream.decode() for stream in (STDOUT, STDERR, UNKNOWN)}


class BadCursor(ValueError):
    """A resume cursor that this agent did not make."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a tail resumes.

    Args:
        uid: of the pod.
        container: its name.
        restart: which of the container's lives.
        position: in that life's whole log.
        stamp, base: first timestamp and offset of the file that holds `position.sequence`.
        first: number of records before that file, by the numbers of `position`.
        numbered: whether these numbers are the log collector's; if not, they only count from
            `first` on.
    """

    uid: str
    container: str
    restart: int
    position: Position
    stamp: str = ""
    base: int = 0
    first: int = 0
    numbered: bool = True

    def encode(self) -> bytes:
        """Serialise for MARK; far below its 1 KiB."""
        file = self.stamp, self.base, self.first, self.numbered
        return encoded(self.uid, self.container, self.restart, self.position, file)

    @classmethod
    def decode(cls, data: bytes) -> Cursor:
        """Parse what came back with OPEN.

        Raises:
            BadCursor: it is none of ours.
        """
        try:
            uid, container, restart, *place, stamp, base, first, numbered = json.loads(data)
            sequence, offset, opened = place
            lines = {
                str(s): Open(_count(n), _count(k), _offset(o)) for s, (n, k, o) in opened.items()
            }
            position = Position(_count(sequence), lines, _offset(offset))
            if stamp != "":
                epoch_ns(stamp.encode())
            if lines.keys() - STREAMS:
                raise BadCursor("a stream of the cursor")
            file = str(stamp), _count(base), _count(first), bool(_count(numbered))
            return cls(str(uid), str(container), _count(restart), position, *file)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise BadCursor("the resume cursor is none of this agent's") from None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tail begins to read a container's life.

    Args:
        position: of the first line that is to be sent.
        file: that holds it, if there is one.
        first: number of records before the file, by the numbers of `position`.
        numbered: whether these numbers are the log collector's.
        begin: where to read from, if not at `position.start`.
        gap: what is missing before.
        behind: the cursor behind which it is missing; None: it is the beginning.
        stamp: without a file: first timestamp of one that is gone, from which is counted.
    """

    position: Position
    file: LogFile | None = None
    first: int = 0
    numbered: bool = True
    begin: Start | None = None
    gap: Gap | None = None
    behind: Cursor | None = None
    stamp: str = ""


def encoded(
    uid: str, container: str, restart: int, position: Position, file: tuple[str, int, int, bool]
) -> bytes:
    """Encode a cursor of these fields; `file` are the last four."""
    begin, end = _begin(uid, container, restart), _end(file)
    opened = {s: list(line) for s, line in position.open.items()}
    offset = "null" if position.offset is None else position.offset
    lines = json.dumps(opened, separators=(",", ":")) if opened else "{}"
    return f"{begin}{position.sequence},{offset},{lines},{end}".encode()


@functools.lru_cache(maxsize=1024)  # the same for all cursors of a tail
def _begin(uid: str, container: str, restart: int) -> str:
    return json.dumps([uid, container, restart], separators=(",", ":"))[:-1] + ","


@functools.lru_cache(maxsize=1024)
def _end(file: tuple[str, int, int, bool]) -> str:
    stamp, base, first, numbered = file
    return json.dumps([stamp, base, first, int(numbered)], separators=(",", ":"))[1:]


def at_file(file: LogFile, gap: Gap | None = None) -> Place:
    """Return the place where a file begins."""
    first = file.first or 0
    position = Position(first + 1, {}, file.base)
    return Place(position, file, first, file.first is not None, gap=gap)


def beginning(listing: Listing) -> Place:
    """Return where a log begins, and what is missing before."""
    if not listing.files:
        return Place(Position(1, {}, 0))
    file = listing.files[0]
    missing = file.base if listing.exact else None
    return at_file(file, None if missing == 0 else Gap(missing, file.base, file))


def resume(cursor: Cursor, listing: Listing) -> Place:
    """Return where to go on behind a cursor of the same log, and what is missing in between."""
    position = cursor.position
    if not cursor.stamp and position.sequence <= 1 and not position.open:
        return beginning(listing)
    file = _anchor(cursor, listing)
    if file is not None and position.start.offset is not None:
        numbered = cursor.numbered or file.first is not None
        first = cursor.first if cursor.numbered or file.first is None else file.first
        moved = position.moved(first - cursor.first, file.base - cursor.base)
        return Place(moved, file, first, numbered)
    file = _holder(cursor, listing)
    if file is not None and file.first is not None:
        return Place(position, file, file.first, begin=Start(file.first + 1, file.base))
    return _behind(cursor, listing)


def _behind(cursor: Cursor, listing: Listing) -> Place:
    """The place of the cursor is gone: return the oldest that is newer, and the gap before."""
    newer = _newer(cursor, listing)
    if not newer:
        end = listing.files[-1].end if listing.files else cursor.position.offset or 0
        position = Position(cursor.position.sequence, {}, end)
        return Place(position, None, cursor.first, cursor.numbered, gap=Gap(None, end))
    file, offset = newer[0], cursor.position.offset
    missing = file.base - offset if listing.exact and offset is not None else None
    return replace(at_file(file, Gap(missing, file.base, file)), behind=cursor)


def _newer(cursor: Cursor, listing: Listing) -> list[LogFile]:
    numbered = [f for f in listing.files if f.first is not None]
    if cursor.numbered and numbered:
        return numbered  # none of them holds the place, and it is in none that is older
    after = epoch_ns(cursor.stamp.encode()) if cursor.stamp else 0
    if cursor.position.start.offset is None:
        after -= 1  # it was read from the aggregator, before the file that follows
    return [f for f in listing.files if f.stamp and epoch_ns(f.stamp.encode()) > after]


def _anchor(cursor: Cursor, listing: Listing) -> LogFile | None:
    same = [f for f in listing.files if f.stamp == cursor.stamp and f.size]
    exact = [f for f in same if f.base == cursor.base]
    return next(iter(exact or same), None)


def _holder(cursor: Cursor, listing: Listing) -> LogFile | None:
    """Find the file that holds a position by its number."""
    if not cursor.numbered:
        return None
    start = cursor.position.start.sequence
    held = [f for f in listing.files if f.first is not None and f.first < start]
    return held[-1] if held else None


def _offset(value: Any) -> int | None:
    return None if value is None else _count(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadCursor("a number of the cursor")
    return value
