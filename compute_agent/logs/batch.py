"""Packs lines into TailLogs messages, one message a unit, and knows each unit's cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flyteidl2.logs.dataplane.payload_pb2 import ContainerIdentifier, LogLineOriginator

from compute_agent.logs.cri import NANOS, UNKNOWN, Record
from compute_agent.logs.encoding import Encoder
from compute_agent.logs.lines import Assembler, Line, Position, cut_utf8

UNIT_BYTES = 65_536  # what the tunnel allows between two MARKs
ENVELOPE_BYTES = 5  # Connect: flags and length
# Per line: tags and lengths of line, timestamp, message, originator and pod, and a newline.
LINE_BYTES = 4 + 2 + 6 + 6 + 4 + 2 + 2 + 1
REPLACEMENT_BYTES = 3  # U+FFFD stands for one invalid byte at worst


class Unit(NamedTuple):
    """An encoded message and where to resume when it was delivered."""

    message: bytes
    position: Position


class Batcher:
    """Fills messages with lines; a message is closed before it outgrows a unit.

    Args:
        source: container that the lines come from.
        short_pod_name: shown beside each line.
        since_ns: lines older than this are left out until the first that is not.
    """

    def __init__(self, source: ContainerIdentifier, short_pod_name: str, since_ns: int = 0) -> None:
        self._encoder = Encoder(source, short_pod_name)
        self._since_ns = since_ns
        self._line_bytes = LINE_BYTES + len(short_pod_name)
        self._empty_bytes = ENVELOPE_BYTES + 8 + int(source.ByteSize())
        self._last_ns = 0
        self._full: list[Unit] = []
        self._begin()

    @property
    def filters(self) -> bool:
        """Whether lines are still left out because they are too old."""
        return bool(self._since_ns)

    @property
    def held_bytes(self) -> int:
        """Size of the message that is being filled; 0 when it has no line."""
        return self._bytes - self._empty_bytes

    def take_full(self) -> list[Unit]:
        """Return the units that are full."""
        full, self._full = self._full, []
        return full

    def flush(self, position: Position) -> Unit:
        """Close the message that is being filled; `position` is where its last line ends."""
        self._close(position)
        return self._full.pop()

    def add(self, line: Line, assembler: Assembler) -> None:
        """Take the line that `assembler` returned last."""
        content = line.content
        if line.at_ns < self._since_ns or not (content or line.record.stream):
            return  # too old, or an empty line of the file that is no record
        text = _valid(content)
        size = len(text) + self._line_bytes
        if self._bytes + size > UNIT_BYTES:
            if self.held_bytes:
                self._close(assembler.before(line))
            if self._bytes + size > UNIT_BYTES:
                self._add_in_pieces(line, assembler)
                return
        self._append(line, text + b"\n" if line.complete else text, size)

    def add_records(self, lines: Sequence[bytes], at: int) -> int:
        """Take ordinary records of a file that fit; see `Encoder.records`. Returns how many.

        While nothing is filtered and no line is unfinished these are what `add` would take.
        """
        encoder, room = self._encoder, UNIT_BYTES - self._bytes
        pieces, count, text_bytes, last_ns = encoder.records(lines, at, room, self._line_bytes)
        if count:
            self._lines += pieces
            self._bytes += text_bytes + count * self._line_bytes
            self._last_ns = last_ns
        return count

    def notice(self, text: str) -> None:
        """Add a line of the system's own; the caller flushes."""
        line = Line(_SYSTEM, self._last_ns, b"", True, _SYSTEM, 0)
        self._append(line, text.encode() + b"\n", len(text))

    def _add_in_pieces(self, line: Line, assembler: Assembler) -> None:
        """Spread a line over units; only its last piece ends in a newline."""
        data, start = line.content, 0
        room = UNIT_BYTES - self._empty_bytes - self._line_bytes
        room //= 1 if _is_utf8(data) else REPLACEMENT_BYTES
        while len(data) - start > room:
            end = cut_utf8(data, start + room)
            self._append(line, _valid(data[start:end]), end - start)
            self._close(assembler.before(line, end))
            start = end
        text = _valid(data[start:])
        size = self._line_bytes + len(text)
        self._append(line, text + b"\n" if line.complete else text, size)

    def _append(self, line: Line, text: bytes, size: int) -> None:
        self._since_ns = 0
        at_ns = line.at_ns or self._last_ns
        self._last_ns = at_ns
        seconds, nanos = divmod(at_ns, NANOS)
        originator = _ORIGINATORS[line.record.stream]
        self._lines.append(self._encoder.line(seconds, nanos, text, originator))
        self._bytes += size

    def _close(self, position: Position) -> None:
        self._full.append(Unit(self._encoder.message(self._lines), position))
        self._begin()

    def _begin(self) -> None:
        self._lines: list[bytes] = []
        self._bytes = self._empty_bytes


_ORIGINATORS = {
    b"stdout": LogLineOriginator.USER,
    b"stderr": LogLineOriginator.USER,
    UNKNOWN: LogLineOriginator.UNKNOWN,
    b"system": LogLineOriginator.SYSTEM,
}
_SYSTEM = Record(0, 0, b"system", True, 0, b"")


def _valid(content: bytes) -> bytes:
    """Return valid UTF-8: what is not is replaced."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return content.decode(errors="replace").encode()
    return content


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
