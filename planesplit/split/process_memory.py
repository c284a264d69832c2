"""The memory of a process that handed it over: what it holds now, read from outside."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

PIECE_BYTES = 1_048_576
CLOSED = -1
OVERLAP_BYTES = 4_096  # longer than any encoding of a pattern that is searched for
MAPS_READ_BYTES = 65_536
KERNEL_OWN = ("[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]")
_LINE = re.compile(
    rb"(?P<low>[0-9a-f]+)-(?P<high>[0-9a-f]+) (?P<mode>\S{4}) \S+ \S+ \d+ *(?P<name>.*)"
)


@dataclass(frozen=True, slots=True)
class Region:
    """A range of addresses: [heap], [stack], anonymous, or the file that it belongs to."""

    low: int
    high: int
    name: str


class Handover:
    """One end of the way on which a child sends its memory (`tunnel.handover`)."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()

    @property
    def child_fd(self) -> int:
        """The descriptor that the child inherits, under the same number."""
        return self._theirs.fileno()

    def receive(self) -> ProcessMemory | None:
        """Take what the child has sent by now, once; None if that is nothing."""
        self._theirs.close()
        self._ours.setblocking(False)
        with self._ours:
            try:
                _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 2)
            except BlockingIOError:
                return None
        return ProcessMemory(*descriptors) if len(descriptors) == 2 else None

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self._theirs.close()


class ProcessMemory:
    """Reads a process through descriptors that it opened itself.

    It works for an ordinary user and a process that is not dumpable, as long as that lives.

    Args:
        memory: descriptor of its /proc/self/mem; owned from now on.
        maps: descriptor of its /proc/self/maps; likewise.
    """

    def __init__(self, memory: int, maps: int) -> None:
        self._memory, self._maps = memory, maps
        self._buffer = bytearray(PIECE_BYTES)
        self._lock = threading.Lock()  # a scan may run in a thread while the process ends

    @property
    def descriptors(self) -> tuple[int, int]:
        """The numbers of both, memory first."""
        return self._memory, self._maps

    def regions(self, overlap_bytes: int = OVERLAP_BYTES) -> Iterator[tuple[str, memoryview]]:
        """Yield what the process can read and could have written, in pieces of at most 1 MiB.

        Two pieces of one region overlap, so that a pattern over an edge is seen. A piece is valid
        until the next one is asked for. What is unmapped meanwhile is left out.

        Args:
            overlap_bytes: length of the longest pattern, less one, or more.
        """
        for region in self.layout():
            at = region.low
            while at < region.high:
                piece = self._read(at, min(PIECE_BYTES, region.high - at))
                if not piece:
                    break
                yield region.name, piece
                if at + len(piece) >= region.high:
                    break
                at += max(1, len(piece) - overlap_bytes)

    def layout(self) -> list[Region]:
        """Return the regions that `regions` reads; empty when the process has ended."""
        return [region for line in self._lines() if (region := _region(line))]

    def close(self) -> None:
        """Close both descriptors; there is nothing to read from then on."""
        with self._lock:
            for descriptor in (self._memory, self._maps):
                if descriptor != CLOSED:
                    os.close(descriptor)
            self._memory = self._maps = CLOSED

    def _lines(self) -> list[bytes]:
        text = b""
        with self._lock:
            if self._maps == CLOSED:
                return []
            os.lseek(self._maps, 0, os.SEEK_SET)
            with suppress(ProcessLookupError):  # it has ended
                while piece := os.read(self._maps, MAPS_READ_BYTES):
                    text += piece
        return text.splitlines()

    def _read(self, address: int, count: int) -> memoryview:
        view = memoryview(self._buffer)[:count]
        with self._lock:
            try:
                return view[: os.preadv(self._memory, [view], address)]
            except OSError:  # EIO: gone since, or a page that cannot be read; EBADF: closed
                return view[:0]


def _region(line: bytes) -> Region | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    name, mode = found["name"].decode(errors="replace"), found["mode"]
    constant = b"w" not in mode and name.startswith("/")  # code and constants of a file
    if b"r" not in mode or constant or name in KERNEL_OWN:
        return None
    shown = name.rpartition("/")[2] or "anonymous"
    return Region(int(found["low"], 16), int(found["high"], 16), shown)
