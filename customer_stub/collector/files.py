"""The files of one container's log, opened in the order in which they were written.

A file that is open can be read to its end whatever becomes of its name. So nothing is lost when the
kubelet deletes a rotated file, or the whole directory, as long as it says so before.
"""

from __future__ import annotations

import gzip
import io
import os
import re
from collections import deque
from pathlib import Path

HEAD_BYTES = 40  # begins with a timestamp: two files that begin alike are the same


class OpenFile:
    """One file of the log.

    Args:
        raw: the open file.
        packed: whether it is compressed.

    Attributes:
        offset: bytes of the log that were read from it.
        head: how it begins; empty while it is empty.
    """

    def __init__(self, raw: io.FileIO, *, packed: bool) -> None:
        self._raw = raw
        self._source = gzip.GzipFile(fileobj=raw) if packed else raw
        self.packed = packed
        self.offset = 0
        self.head = b""
        self.look()

    @property
    def inode(self) -> int:
        """Tells it from others."""
        return os.fstat(self._raw.fileno()).st_ino

    def look(self) -> bool:
        """Whether it is still the file that it was: `copytruncate` empties it for new content."""
        if self.packed:
            if not self.head:
                self.head = self._source.read(HEAD_BYTES) or b""
                self._source.seek(0)
            return True
        head = os.pread(self._raw.fileno(), HEAD_BYTES, 0)
        same = head.startswith(self.head)
        self.head = head
        return same

    def read(self, limit: int) -> bytes:
        """Return what comes next; empty at the end of what is written."""
        data = self._source.read(limit) or b""
        self.offset += len(data)
        return data

    def seek(self, offset: int) -> None:
        """Go on from an offset."""
        self._source.seek(offset)
        self.offset = offset

    def close(self) -> None:
        """Let go of it."""
        self._source.close()
        self._raw.close()


class LogFiles:
    """Keeps one log's unread files open.

    Args:
        directory: of the container's logs.
        restart: which of the container's lives.
    """

    def __init__(self, directory: Path, restart: int) -> None:
        self._directory = directory
        self._current = f"{restart}.log"
        self._rotated = re.compile(rf"{restart}\.log\.\d{{8}}-\d{{6}}(\.\d+)?(\.gz)?")
        self._read: list[OpenFile] = []  # open as long as they have a name: inodes are re-used
        self._known: set[int] = set()
        self._copies: dict[bytes, OpenFile] = {}
        self._first = True
        self.files: deque[OpenFile] = deque()

    def observe(self) -> None:
        """Open what is new. Call it before anything is deleted."""
        here: set[int] = set()
        for name in self._names():
            file = None if name.endswith(".gz") and not self._first else self._open(name)
            if file is None:
                continue  # gone, or compressed since: it is open under its old name
            here.add(file.inode)
            if file.inode in self._known:
                file.close()
            elif name != self._current and self._is_copy(file):
                self._keep_copy(file)
            else:
                self.files.append(file)
        self._known = here | {file.inode for file in self.files}
        self._first = False
        for file in [file for file in self._read if file.inode not in here]:
            self._read.remove(file)
            file.close()

    def take_first(self) -> OpenFile:
        """Take the first file out; it was read, or is given up."""
        file = self.files.popleft()
        self._read.append(file)
        return file

    def copy_of(self, file: OpenFile, head: bytes) -> OpenFile | None:
        """Return the copy that was made of a file before it was emptied."""
        copy = self._copies.pop(head, None)
        if copy is not None:
            copy.seek(file.offset)
        return copy

    def close(self) -> None:
        """Let go of everything."""
        for file in (*self.files, *self._read, *self._copies.values()):
            file.close()
        self.files.clear()
        self._read.clear()
        self._copies.clear()

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        rotated = sorted(n for n in names if self._rotated.fullmatch(n))
        plain = {n for n in rotated if not n.endswith(".gz")}
        rotated = [n for n in rotated if n in plain or n[:-3] not in plain]
        return rotated + [n for n in names if n == self._current]

    def _open(self, name: str) -> OpenFile | None:
        try:
            return OpenFile(io.FileIO(self._directory / name), packed=name.endswith(".gz"))
        except (OSError, EOFError):
            return None

    def _is_copy(self, file: OpenFile) -> bool:
        return any(f.head and f.head == file.head and not f.packed for f in self.files)

    def _keep_copy(self, file: OpenFile) -> None:
        old = self._copies.pop(file.head, None)
        if old is not None:
            old.close()
        self._copies[file.head] = file
