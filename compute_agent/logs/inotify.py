"""The few calls of Linux' inotify(7) that tails need, by ctypes: the libraries for it want asyncio.

One instance serves all tails; its descriptor becomes readable when something happens in one of the
watched directories.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

READ_BYTES = 65_536  # some 2,000 events
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, bytes of the name

MODIFY, ATTRIB, MOVED, CREATE, DELETE = 0x2, 0x4, 0xC0, 0x100, 0x200
QUEUE_OVERFLOW, IGNORED, ONLY_DIRECTORY = 0x4000, 0x8000, 0x0100_0000
CHANGES = MODIFY | ATTRIB | MOVED | CREATE | DELETE | ONLY_DIRECTORY


class Inotify:
    """An inotify instance.

    Raises:
        OSError: there can't be one (more), or this is no Linux.
    """

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except AttributeError:
            raise OSError("no inotify in the C library") from None
        if self._descriptor < 0:
            raise _error()

    def fileno(self) -> int:
        """Return the descriptor to await."""
        return self._descriptor

    def close(self) -> None:
        """End all watches."""
        os.close(self._descriptor)

    def add(self, directory: Path) -> int:
        """Watch a directory and what is directly in it; the same one has the same number.

        Raises:
            OSError: it can't be watched; ENOSPC: the user has no watches left.
        """
        number: int = self._libc.inotify_add_watch(
            self._descriptor, os.fsencode(directory), CHANGES
        )
        if number < 0:
            raise _error()
        return number

    def remove(self, number: int) -> None:
        """End a watch; one that has ended is none any more."""
        self._libc.inotify_rm_watch(self._descriptor, number)

    def read(self) -> set[tuple[int, int]]:
        """Return what has happened, as (watch, mask): each once, however often it happened."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return set()
        found, at = set(), 0
        while at < len(data):
            number, mask, _, name_bytes = _EVENT.unpack_from(data, at)
            found.add((number, mask))
            at += _EVENT.size + name_bytes
        return found


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
