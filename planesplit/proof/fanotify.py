"""The few calls of Linux' fanotify(7) that attribute writes to processes, by ctypes; only for root.

An event carries a descriptor of the file as it is, so that one can be read that is removed already.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 65_536  # some 2,700 events
_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE = 0x1, 0x2, 0x10
_ADD, _FILESYSTEM = 0x1, 0x100
_MODIFY, _CLOSE_WRITE = 0x2, 0x8
_AT_FDCWD, _NO_FILE = -100, -1
_EVENT = struct.Struct("IBBHqii")  # length, version, -, head's length, mask, descriptor, pid


@dataclass(frozen=True, slots=True)
class Written:
    """Somebody wrote to a file.

    Args:
        pid: of who did.
        path: as the kernel names it.
        descriptor: of the file, for reading; closed by `Fanotify.read` when the next is asked for.
    """

    pid: int
    path: str
    descriptor: int


class Fanotify:
    """Hears of every write to the file systems of some places.

    Args:
        places: their whole file systems are watched.

    Raises:
        OSError: this user may not, or this kernel cannot.
    """

    def __init__(self, places: Iterable[Path]) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._libc.fanotify_mark.argtypes = (
                ctypes.c_int,
                ctypes.c_uint,
                ctypes.c_uint64,
                ctypes.c_int,
                ctypes.c_char_p,
            )
            flags = _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE
            self._descriptor = int(self._libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC))
        except AttributeError:
            raise OSError("no fanotify in the C library") from None
        if self._descriptor < 0:
            raise _error("fanotify_init")
        try:
            self.filesystems = self._mark(places)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to await."""
        return self._descriptor

    def close(self) -> None:
        """Hear no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def read(self) -> Iterator[Written]:
        """Yield what has been written, until there is nothing more to hear of now."""
        while data := self._more():
            while data:
                length, _, _, _, _, descriptor, pid = _EVENT.unpack_from(data)
                data = data[length:]
                if descriptor == _NO_FILE:
                    continue
                try:
                    yield Written(pid, os.readlink(f"/proc/self/fd/{descriptor}"), descriptor)
                finally:
                    os.close(descriptor)

    def _more(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self._descriptor, READ_BYTES)
        return b""

    def _mark(self, places: Iterable[Path]) -> int:
        """Watch each file system once; return how many that are."""
        marked: dict[int, Path] = {}
        for place in places:
            with contextlib.suppress(OSError):
                marked.setdefault(place.stat().st_dev, place)
        for place in marked.values():
            what, where = _MODIFY | _CLOSE_WRITE, os.fsencode(place)
            flags = _ADD | _FILESYSTEM
            if self._libc.fanotify_mark(self._descriptor, flags, what, _AT_FDCWD, where) < 0:
                raise _error("fanotify_mark")
        return len(marked)


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
