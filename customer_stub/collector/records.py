"""Records of a log file, each with its number in the container's whole log.

Numbering: every line of the files is a record and counts, also a piece (tag P), and one that is no
CRI record; the end of a file ends a record. A record longer than `record_max_bytes` counts once for
each part of that size. A reader of the same files that counts the same way agrees.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

_NS = 1_000_000_000


class Entry(NamedTuple):
    """One row for the aggregator.

    Args:
        sequence: number of the record, from 1.
        at_ns: its timestamp, ns since the epoch; of a line without one: the record's before.
        stream: `stdout`, `stderr`, or empty for a line that is no CRI record.
        partial: whether the container's line goes on in another record (tag P).
        content: what the container wrote.
        file_start: whether it is the first record of a log file.
        end: whether it is no record but the mark that nothing follows.
    """

    sequence: int
    at_ns: int
    stream: str
    partial: bool
    content: bytes
    file_start: bool = False
    end: bool = False


class Numberer:
    """Cuts the blocks of a log's files into numbered records.

    Args:
        sequence: number of the next record.
        record_max_bytes: see above.

    Attributes:
        sequence: number of the next record.
        torn_bytes: how much is held of a record that is not complete.
    """

    def __init__(self, sequence: int, record_max_bytes: int) -> None:
        self.sequence = sequence
        self._max = record_max_bytes
        self._torn: list[bytes] = []
        self.torn_bytes = 0
        self._last_ns = 0
        self._file_start = True

    def feed(self, block: bytes) -> list[Entry]:
        """Return the records that the block completes."""
        if b"\n" not in block and self.torn_bytes + len(block) <= self._max:
            self._keep(block)
            return []
        *lines, torn = (b"".join(self._torn) + block).split(b"\n")
        entries: list[Entry] = []
        for line in lines:
            self._add(self._cut(line, entries), entries)
        self._torn, self.torn_bytes = [], 0
        self._keep(self._cut(torn, entries))
        return entries

    def end_file(self) -> list[Entry]:
        """The file ends here, and so does its last record."""
        entries: list[Entry] = []
        if self.torn_bytes:
            self._add(b"".join(self._torn), entries)
        self._torn, self.torn_bytes = [], 0
        self._file_start = True
        return entries

    def skip(self, records: int) -> None:
        """Leave records out that are lost."""
        self._torn, self.torn_bytes = [], 0
        self.sequence += records
        self._file_start = True

    def end(self) -> Entry:
        """Return the mark that nothing follows."""
        return Entry(self.sequence, self._last_ns, "", False, b"", end=True)

    def _keep(self, torn: bytes) -> None:
        if torn:
            self._torn.append(torn)
            self.torn_bytes += len(torn)

    def _cut(self, line: bytes, entries: list[Entry]) -> bytes:
        while len(line) > self._max:
            self._add(line[: self._max], entries)
            line = line[self._max :]
        return line

    def _add(self, line: bytes, entries: list[Entry]) -> None:
        stream, partial, content, at_ns = _parse(line)
        self._last_ns = at_ns or self._last_ns
        start, self._file_start = self._file_start, False
        entries.append(Entry(self.sequence, self._last_ns, stream, partial, content, start))
        self.sequence += 1


def count_records(data: bytes, record_max_bytes: int) -> int:
    """Return how many records a whole file has."""
    numberer = Numberer(0, record_max_bytes)
    return len(numberer.feed(data)) + len(numberer.end_file())


def _parse(line: bytes) -> tuple[str, bool, bytes, int]:
    """Return stream, whether it is a piece, content and timestamp."""
    try:
        stamp, stream, tag, content = line.split(b" ", 3)
        if stream in (b"stdout", b"stderr") and tag[:1] in (b"F", b"P"):
            return stream.decode(), tag[:1] == b"P", content, _epoch_ns(stamp)
    except ValueError:
        pass
    return "", False, line, 0


def _epoch_ns(stamp: bytes) -> int:
    """Read RFC 3339 with up to nine decimals.

    Raises:
        ValueError: it is no such timestamp.
    """
    zone = -1 if stamp[-1:] == b"Z" else -6
    fraction = stamp[20:zone]
    seconds = _epoch_s(stamp[:19], stamp[zone:])
    if not stamp[19:zone]:
        return seconds * _NS
    if stamp[19:20] != b"." or not fraction.isdigit() or len(fraction) > 9:
        raise ValueError("decimals of a second")
    return seconds * _NS + int(fraction.ljust(9, b"0"))


@lru_cache(maxsize=1024)
def _epoch_s(second: bytes, zone: bytes) -> int:
    moment = datetime.fromisoformat((second + zone).decode("ascii"))
    if moment.tzinfo is None:
        raise ValueError("a timestamp without a zone")
    return int(moment.timestamp())
