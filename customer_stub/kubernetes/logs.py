"""`pods/log`: a container's output from its CRI files, over rotations, followed if wanted."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import trio

from kube.server.log_options import LogOptions

READ_BYTES = 65_536
POLL_S = 0.05
_GZIP_WBITS = 31


async def read_log(
    current: Path, options: LogOptions, ended: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Yield a container's output in pieces, without the CRI format.

    Args:
        current: the file that is written to; rotated ones lie beside it.
        options: what of it.
        ended: whether nothing more will be written.
    """
    left = options.limit_bytes
    text = _Text(options)
    async for piece in _pieces(current, options, ended, text):
        piece = piece if left is None else piece[:left]
        if piece:
            yield piece
        if left is not None:
            left -= len(piece)
            if left <= 0:
                return


async def _pieces(
    current: Path, options: LogOptions, ended: Callable[[], bool], text: _Text
) -> AsyncIterator[bytes]:
    reader = _Files(current)
    last: deque[bytes] = deque(maxlen=options.tail_lines)
    snapshot = options.tail_lines is not None
    try:
        while True:
            over = ended()  # before the read: what was written until then is read now
            data = reader.read()
            lines = text.lines(data)
            if snapshot:
                last.extend(lines)
            else:
                yield b"".join(lines)
            if data:
                await trio.lowlevel.checkpoint()
                continue
            if snapshot:
                snapshot = False
                yield b"".join(last)
                last.clear()
            if over or not options.follow:
                return
            await trio.sleep(POLL_S)
    finally:
        reader.close()


class _Text:
    """Takes records apart."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._pending = b""
        self._begins = True

    def lines(self, data: bytes) -> list[bytes]:
        """Return the content of the records that are complete now."""
        *records, self._pending = (self._pending + data).split(b"\n")
        return [line for record in records for line in self._line(record)]

    def _line(self, record: bytes) -> Iterator[bytes]:
        at, _, rest = record.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, content = rest.partition(b" ")
        if self._options.since and at.decode("ascii", "replace") < self._options.since:
            return
        head = at + b" " if self._options.timestamps and self._begins else b""
        self._begins = tag != b"P"
        yield head + content + (b"\n" if self._begins else b"")


class _Files:
    """Reads a container's files one after the other, oldest first."""

    def __init__(self, current: Path) -> None:
        self._current = current
        self._fd = -1
        self._inflate: zlib._Decompress | None = None
        self._inode = 0

    def read(self) -> bytes:
        """Return the next bytes, empty if there are none for now."""
        while True:
            if self._fd < 0 and not self._open(self._next()):
                return b""
            if data := os.read(self._fd, READ_BYTES):
                data = self._inflate.decompress(data) if self._inflate else data
                if data:
                    return data
                continue
            if self._next() is None:
                return b""
            # Rotated: what was written between our last read and the rename comes first.
            if data := os.read(self._fd, READ_BYTES):
                return self._inflate.decompress(data) if self._inflate else data
            self.close()

    def close(self) -> None:
        """Close the file that is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _files(self) -> list[Path]:
        rotated = self._current.parent.glob(f"{self._current.name}.*")
        named = {path.name.removesuffix(".gz"): path for path in sorted(rotated)}
        return [p for n, p in sorted(named.items()) if not n.endswith(".tmp")] + [self._current]

    def _next(self) -> Path | None:
        """Return the file behind the one that was read last, None if that is the current one."""
        files = self._files()
        inodes = [_inode(path) for path in files]
        if not self._inode:
            return next((p for p, inode in zip(files, inodes, strict=True) if inode), None)
        if self._inode in inodes:
            behind = inodes.index(self._inode) + 1
            return files[behind] if behind < len(files) else None
        return files[-1] if inodes[-1] else None  # compressed or removed meanwhile

    def _open(self, path: Path | None) -> bool:
        if path is None:
            return False
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        self._inode = os.fstat(self._fd).st_ino
        self._inflate = zlib.decompressobj(_GZIP_WBITS) if path.suffix == ".gz" else None
        return True


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
