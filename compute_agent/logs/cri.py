"""Records of the CRI log format: `<RFC3339Nano> <stdout|stderr> <P|F> <bytes>`, one a line.

Source: Kubernetes' kubelet-cri-logging design. The runtime cuts lines into pieces (16 KiB in
containerd) tagged P, of which the last is tagged F. stdout and stderr share one file, so pieces of
two lines may alternate.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

STDOUT, STDERR, UNKNOWN = b"stdout", b"stderr", b""
NANOS = 1_000_000_000
NO_OFFSET = -1  # of a record that was read elsewhere than in a file


class Record(NamedTuple):
    """One line of the file.

    Args:
        offset: of its first byte in the container's whole log, or NO_OFFSET.
        end: offset after its newline.
        stream: STDOUT or STDERR; UNKNOWN for a line that is no CRI record.
        final: whether it ends an output line (tag F).
        at_ns: timestamp in ns since the epoch; 0 for UNKNOWN.
        content: the bytes that the container wrote.
        sequence: its number in the container's whole log, from 1; the log collector stamps the
            same one.
    """

    offset: int
    end: int
    stream: bytes
    final: bool
    at_ns: int
    content: bytes
    sequence: int = 0

    @property
    def known_offset(self) -> int | None:
        """Its offset, None if it has none."""
        return None if self.offset == NO_OFFSET else self.offset


class Splitter:
    """Cuts blocks of a log into records; a torn last line waits for the rest.

    Args:
        offset: whole-log offset of the first byte that will be fed.
        record_max_bytes: a line without newline is cut here, so that memory stays bounded.
        sequence: number of the record that begins at `offset`.

    Attributes:
        sequence: number of the record that comes next.
    """

    def __init__(self, offset: int, record_max_bytes: int, sequence: int = 1) -> None:
        self._start = offset
        self.sequence = sequence
        self._max = record_max_bytes
        self._torn: list[bytes] = []
        self._torn_bytes = 0

    @property
    def offset(self) -> int:
        """Where the record that comes next begins."""
        return self._start

    @property
    def fed(self) -> int:
        """Where the bytes that were fed end."""
        return self._start + self._torn_bytes

    def feed(self, block: bytes) -> list[Record]:
        """Return the records that `block` completes."""
        *lines, torn = self.cut(block)
        records: list[Record] = []
        for line in lines:
            records += self.line(line)
        return records + self.keep(torn)

    def cut(self, block: bytes) -> list[bytes]:
        """Return the lines that `block` completes, to be taken in turn, and what is torn."""
        if self._torn and (b"\n" in block or self._torn_bytes + len(block) > self._max):
            block = b"".join((*self._torn, block))
            self._torn, self._torn_bytes = [], 0
        return block.split(b"\n")

    def line(self, line: bytes) -> list[Record]:
        """Take a line that was cut; it is one record unless it is too long."""
        records: list[Record] = []
        if len(line) > self._max:
            line = self._cut_all(line, records)
        records.append(self._cut(line, 1))
        return records

    def skip(self, lines: Sequence[bytes]) -> None:
        """Take lines that were cut and are needed no more, none of them too long."""
        self._start += sum(map(len, lines)) + len(lines)
        self.sequence += len(lines)

    def keep(self, torn: bytes) -> list[Record]:
        """Take what is torn, after all lines."""
        records: list[Record] = []
        if self._torn_bytes + len(torn) > self._max:
            torn = self._cut_all(torn, records)
        if torn:
            self._torn.append(torn)
            self._torn_bytes += len(torn)
        return records

    def flush(self) -> list[Record]:
        """The file ends here: what is torn is all there will be."""
        line = b"".join(self._torn)
        self._torn, self._torn_bytes = [], 0
        return [self._cut(line)] if line else []

    def _cut_all(self, line: bytes, records: list[Record]) -> bytes:
        while len(line) > self._max:
            records.append(self._cut(line[: self._max]))
            line = line[self._max :]
        return line

    def _cut(self, line: bytes, newline: int = 0) -> Record:
        start, sequence = self._start, self.sequence
        self._start, self.sequence = start + len(line) + newline, sequence + 1
        return parse(line, start, self._start, sequence)


def parse(line: bytes, offset: int, end: int, sequence: int = 0) -> Record:
    """Read one line; what is no CRI record comes back whole, with stream UNKNOWN."""
    try:
        stamp, stream, tag, content = line.split(b" ", 3)
        if stream in (STDOUT, STDERR) and tag[:1] in (b"F", b"P"):
            final = tag[:1] == b"F"
            return Record(offset, end, stream, final, epoch_ns(stamp), content, sequence)
    except ValueError:
        pass
    return Record(offset, end, UNKNOWN, True, 0, line, sequence)


def epoch_ns(stamp: bytes) -> int:
    """Convert RFC 3339 with up to nine decimals into ns since the epoch.

    Raises:
        ValueError: it is no such timestamp.
    """
    zone = -1 if stamp[-1:] == b"Z" else -6
    fraction = stamp[20:zone]
    seconds = _epoch_s(stamp[:19], stamp[zone:])
    if not fraction:
        if stamp[19:zone]:
            raise ValueError("a decimal point without decimals")
        return seconds * NANOS
    if stamp[19:20] != b"." or not fraction.isdigit() or len(fraction) > 9:
        raise ValueError("decimals of a second")
    return seconds * NANOS + int(fraction.ljust(9, b"0"))


@functools.lru_cache(maxsize=1024)  # lines of the same second share the costly part
def _epoch_s(second: bytes, zone: bytes) -> int:
    moment = datetime.fromisoformat((second + zone).decode("ascii"))
    if moment.tzinfo is None:
        raise ValueError("a timestamp without a zone")
    return int(moment.timestamp())
