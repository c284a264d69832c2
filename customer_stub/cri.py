"""Container logs in the CRI format, as containerd writes them.

A record is `<RFC3339Nano> <stdout|stderr> <P|F> <bytes>\\n`. A line longer than 16 KiB becomes P
(partial) records of exactly 16 KiB and a last F (full) one. Unlike containerd, which marks an
unfinished last line P, we close it with F: a reader then needs no rule for the end of a container.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from customer_stub.produced import Produced, Stream
from customer_stub.rotation import LogFile

PIECE_BYTES = 16_384  # containerd's max_container_log_line_size default
BATCH_BYTES = 65_536  # bounds one write, so that a huge line respects the rotation size
_NS = 1_000_000_000


class CriFramer:
    """Turns raw output into records; the records don't depend on how the output was chunked."""

    def __init__(self) -> None:
        self._pending: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

    def frame(self, stream: Stream, data: bytes, at: bytes) -> tuple[bytes, bytes]:
        """Frame what is complete; at most `PIECE_BYTES` a stream stay behind.

        Args:
            stream: where the container wrote.
            data: raw output.
            at: the records' timestamp.

        Returns:
            The records, and the content that they carry.
        """
        text = self._pending[stream] + data
        end = text.rfind(b"\n") + 1
        head = b"%b %b " % (at, stream.encode())
        records = [_lines(text[: end - 1], head)] if end else []
        while len(text) - end > PIECE_BYTES:
            records.append(head + b"P " + text[end : end + PIECE_BYTES] + b"\n")
            end += PIECE_BYTES
        self._pending[stream] = text[end:]
        return b"".join(records), text[:end]

    def finish(self, stream: Stream, at: bytes) -> tuple[bytes, bytes]:
        """Frame an unfinished last line as a full one; both parts are empty if there is none."""
        return self.frame(stream, b"\n", at) if self._pending[stream] else (b"", b"")


def _lines(text: bytes, head: bytes) -> bytes:
    full = head + b"F "
    lines = text.split(b"\n")
    if max(map(len, lines)) > PIECE_BYTES:
        return b"".join(_record(line, head) for line in lines)
    return full + (b"\n" + full).join(lines) + b"\n"


def _record(line: bytes, head: bytes) -> bytes:
    last = max(0, (len(line) - 1) // PIECE_BYTES * PIECE_BYTES)
    pieces = [head + b"P " + line[i : i + PIECE_BYTES] for i in range(0, last, PIECE_BYTES)]
    return b"\n".join([*pieces, head + b"F " + line[last:]]) + b"\n"


class Timestamps:
    """RFC 3339 timestamps with nanoseconds, in UTC, that never go backwards.

    Trailing zeros are trimmed, as Go's RFC3339Nano and therefore containerd do.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._last_ns = 0
        self._second, self._text = -1, ""

    def next(self) -> bytes:
        """Return the time now, or the last one returned if the clock was set back."""
        self._last_ns = max(self._last_ns, self._clock())
        second, nanos = divmod(self._last_ns, _NS)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        fraction = f".{nanos:09d}".rstrip("0").rstrip(".")
        return f"{self._text}{fraction}Z".encode()


class LogWriter:
    """Writes one container's output: CRI records into a rotating file, and the account of it.

    Args:
        log: the file; its rotation is not ours.
        produced: told of the content of every record written, in the order of the file.
        clock: wall clock, nanoseconds since the epoch.
    """

    def __init__(
        self, log: LogFile, produced: Produced, *, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._log, self._produced = log, produced
        self._times = Timestamps(clock)
        self._framer = CriFramer()

    def write(self, stream: Stream, data: bytes) -> None:
        """Write output of the container, whole lines or not.

        Raises:
            OSError: the file system refuses.
        """
        self._produced.raw(stream, len(data))
        for start in range(0, len(data), BATCH_BYTES):
            batch = data[start : start + BATCH_BYTES]
            self._store(stream, *self._framer.frame(stream, batch, self._times.next()))

    def close(self) -> None:
        """Write unfinished lines as full ones and close the file."""
        for stream in ("stdout", "stderr"):
            self._store(stream, *self._framer.finish(stream, self._times.next()))
        self._produced.complete = True
        self._log.close()

    def _store(self, stream: Stream, records: bytes, content: bytes) -> None:
        if records:
            self._log.append(records)
            self._produced.stored(stream, content)
