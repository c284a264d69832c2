"""A log file that is rotated by size, compressed and pruned as kubelet does."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

GZIP_LEVEL = 1  # a block of 128 KiB then holds up the loop for about 1 ms
GZIP_BLOCK_BYTES = 131_072
_GZIP_WBITS = 31  # zlib's way to ask for a gzip container
_NS = 1_000_000_000


class LogFile:
    """Appends to `{n}.log`; full files become `{n}.log.{YYYYMMDD-HHMMSS}`, older ones `….gz`.

    The times of one container's files differ by at least a second, also when it rotates faster or
    the clock is set back, so that their names sort in the order of rotation. The newest rotated
    file stays plain for readers that are not done with it.

    Args:
        path: the current file; its directory is made if absent.
        rotate_bytes: size that a file does not exceed, unless one write alone does.
        rotate_files: files kept, the current one included.
        clock: wall clock, nanoseconds since the epoch.
        on_rotate: called after a rotation, before the oldest file is deleted.

    Raises:
        OSError: the directory or file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        rotate_bytes: int,
        rotate_files: int,
        clock: Callable[[], int] = time.time_ns,
        on_rotate: Callable[[], None] = lambda: None,
    ) -> None:
        self._path, self._clock, self._on_rotate = path, clock, on_rotate
        self._rotate_bytes, self._rotate_files = rotate_bytes, rotate_files
        self._rotated: list[Path] = []
        self._plain: list[Path] = []
        self._rotated_s = 0
        self._wake = trio.Event()
        self._closed = False
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._open()

    def append(self, data: bytes) -> None:
        """Write whole records, into a new file if the current one would grow too large.

        Raises:
            OSError: the file system refuses.
        """
        if self._size and self._size + len(data) > self._rotate_bytes:
            self._rotate()
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._size += written
            view = view[written:]

    def close(self) -> None:
        """Close the current file. `tend` returns when it has compressed what is left."""
        if not self._closed:
            self._closed = True
            os.close(self._fd)
            self._wake.set()

    async def tend(self) -> None:
        """Compress all but the newest rotated file as they come, until `close`."""
        while True:
            while len(self._plain) > 1:
                await self._compress(self._plain[0])
            if self._closed:
                return
            await self._wake.wait()
            self._wake = trio.Event()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        target = self._next_name()
        self._path.rename(target)
        os.close(self._fd)
        self._open()
        self._rotated.append(target)
        self._plain.append(target)
        self._on_rotate()
        while len(self._rotated) >= self._rotate_files:
            self._drop(self._rotated.pop(0))
        self._wake.set()

    def _next_name(self) -> Path:
        self._rotated_s = max(self._rotated_s + 1, self._clock() // _NS)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._rotated_s))
        return self._path.with_name(f"{self._path.name}.{stamp}")

    def _drop(self, path: Path) -> None:
        if path in self._plain:
            self._plain.remove(path)
        path.unlink(missing_ok=True)
        _gz(path).unlink(missing_ok=True)

    async def _compress(self, path: Path) -> None:
        temporary = path.with_name(path.name + ".tmp")
        try:
            for _ in _gzip(path, temporary):
                await trio.lowlevel.checkpoint()
            self._replace(path, temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def _replace(self, path: Path, packed: Path) -> None:
        if path in self._plain:  # else it was dropped meanwhile
            packed.rename(_gz(path))
            path.unlink()
            self._plain.remove(path)


def _gz(path: Path) -> Path:
    return path.with_name(path.name + ".gz")


def _gzip(source: Path, target: Path) -> Iterator[None]:
    """Compress in small steps, so that the caller can let others run in between."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    with source.open("rb") as plain, target.open("wb") as packed:
        while block := plain.read(GZIP_BLOCK_BYTES):
            packed.write(packer.compress(block))
            yield
        packed.write(packer.flush())
