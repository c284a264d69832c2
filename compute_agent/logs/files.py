"""Reads a container's log as one long sequence of bytes, whatever files it is cut into."""

from __future__ import annotations

import gzip
import io
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

from compute_agent.logs.index import STABLE_TRIES, Listing, LogFile, LogUnreadable, OffsetIndex

HEAD_BYTES = 40  # begins with a timestamp: two files that begin alike are the same
SETTLED_NS = 50_000_000  # file systems' clocks tick every 1 to 10 ms: a later change shows

_Look = tuple[int, int, int]


class Block(NamedTuple):
    """Bytes of the log.

    Args:
        file: the file they are in.
        offset: whole-log offset of the first.
        data: never empty.
    """

    file: LogFile
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FileEnd:
    """A rotated file was read to its end; a record does not go on in the next file."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that are gone: deleted before they were read.

    Args:
        missing_bytes: how many; None if that is unknown.
        resume: whole-log offset where reading goes on.
        file: that begins there, if there is one.
    """

    missing_bytes: int | None
    resume: int
    file: LogFile | None = None


class LogReader:
    """Reads one container log from an offset on, across rotation.

    Args:
        index: numbers the files.
        container: directory of the container's logs.
        restart: which of the container's lives.
        offset: whole-log offset to begin at, by the numbers of now.
        read_bytes: most bytes of one block.

    Attributes:
        stop: offset that the next read does not go beyond, if it is ahead.
        drained: whether the last block was all that was written by then.

    Raises:
        LogUnreadable: the files cannot be listed.
    """

    def __init__(
        self, index: OffsetIndex, container: Path, restart: int, offset: int, read_bytes: int
    ) -> None:
        self._index, self._container, self._restart = index, container, restart
        self._offset, self._read_bytes = offset, read_bytes
        self._directory, self._current = str(container), container / f"{restart}.log"
        self._epoch = index.listing(container, restart).epoch
        self._file: LogFile | None = None
        self._head = b""  # of the open file, as it is on disk
        self._was_current = False
        self._source: BinaryIO | None = None
        self.stop, self.drained = 0, False
        self._quiet = False  # nothing to read at the last look
        self._rest: _Look | None = None  # what files looked like when there was nothing to read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is being read."""
        if self._source is not None:
            self._source.close()
        self._file = self._source = self._rest = None

    def rests(self) -> bool:
        """Whether all files are as they were when `read` found nothing: two stats tell."""
        return self._rest is not None and self._look() == self._rest

    @property
    def at_last_file(self) -> bool:
        """Whether no file was known behind the one that is read."""
        return self._was_current

    def read(self) -> Block | FileEnd | Gap | None:
        """Return what comes next, None when that is not written yet. Never waits.

        Raises:
            LogUnreadable: the files are damaged.
        """
        if self._file is None:
            return self._next_file()
        before = self._look() if self._quiet else None
        block = self._block()
        self._quiet = block is None
        if self._is_truncated():
            return self._reopen(block)
        if block is not None:
            return block
        if self._is_current():
            self._rest = before if _is_settled(before) else None
            return None
        if not self._is_followed():
            return None  # renamed, but its writer has not opened a new file yet
        block = self._block()  # what was written until the follower had its first byte
        if block is not None:
            return block
        self.close()
        return FileEnd()

    def _block(self) -> Block | None:
        assert self._file is not None
        assert self._source is not None
        ahead = self.stop - self._offset
        wanted = min(self._read_bytes, ahead) if ahead > 0 else self._read_bytes
        try:
            data = self._source.read(wanted)
        except (OSError, EOFError, zlib.error):
            raise LogUnreadable("a log file is damaged") from None
        if not data:
            return None
        self.drained = len(data) < wanted
        block = Block(self._file, self._offset, data)
        self._offset += len(data)
        return block

    def _look(self) -> _Look | None:
        """Return size and time of the open file, and when a file last came or went."""
        assert self._source is not None
        try:
            directory = os.stat(self._directory)
        except OSError:
            return None
        here = os.fstat(self._source.fileno())
        return here.st_size, here.st_mtime_ns, directory.st_mtime_ns

    def _is_truncated(self) -> bool:
        """Whether the open file was emptied for new content, as `copytruncate` does."""
        assert self._source is not None
        head = os.pread(self._source.fileno(), HEAD_BYTES, 0)
        if head.startswith(self._head):
            self._head = head
            return False
        return True

    def _reopen(self, doubtful: Block | None) -> Block | FileEnd | Gap | None:
        """Find the place again, in the copy if there is one."""
        self.close()
        if doubtful is not None:
            self._offset = doubtful.offset
        return self._next_file()

    def _is_current(self) -> bool:
        """Whether the open file is still the one that is written to."""
        assert self._source is not None
        try:
            there, here = self._current.stat(), os.fstat(self._source.fileno())
        except OSError:
            return False
        self._was_current = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
        return self._was_current

    def _is_followed(self) -> bool:
        """Whether there is a file with content behind the one that is open."""
        assert self._file is not None
        listing = self._index.listing(self._container, self._restart)
        if listing.epoch != self._epoch:
            return True  # the open file itself is deleted
        return any(f.base > self._file.base and f.size for f in listing.files)

    def _next_file(self) -> FileEnd | Block | Gap | None:
        for _ in range(STABLE_TRIES):  # a file may be renamed between listing and opening
            listing = self._index.listing(self._container, self._restart)
            if listing.epoch != self._epoch:
                return self._lost(listing) if listing.files else None
            file = next((f for f in listing.files if self._offset < f.end), None)
            if file is None and listing.files and listing.files[-1].stamp:
                file = listing.files[-1]  # nothing to read yet, but the place to watch
            if file is None:
                return None
            if self._offset < file.base:
                missing = None if file.after_loss else file.base - self._offset
                gap = Gap(missing, file.base, file)
                self._offset = file.base
                return gap
            self._source = _open(file, self._offset - file.base)
            if self._source is not None:
                self._file, self._was_current = file, False
                self._head = os.pread(self._source.fileno(), HEAD_BYTES, 0)
                return self._block()
        raise LogUnreadable("a log's files change faster than they can be opened")

    def _lost(self, listing: Listing) -> Gap:
        self._epoch = listing.epoch
        self._offset = listing.files[0].base
        return Gap(None, self._offset, listing.files[0])


def _is_settled(look: _Look | None) -> bool:
    """Whether a change after this look would have another time than the last one before it."""
    return look is not None and time.time_ns() - max(look[1:]) > SETTLED_NS


def _open(file: LogFile, skip: int) -> BinaryIO | None:
    """Open a file at a place in it; None if its path names another file by now.

    Raises:
        LogUnreadable: it is damaged.
    """
    try:
        raw = io.FileIO(file.path)
    except FileNotFoundError:
        return None
    if os.fstat(raw.fileno()).st_ino != file.inode:
        raw.close()
        return None
    try:
        source = _Gunzip(raw) if file.compressed else raw
        source.seek(skip)
    except (OSError, EOFError, zlib.error):
        raw.close()
        raise LogUnreadable("a log file is damaged") from None
    return cast("BinaryIO", source)


class _Gunzip(gzip.GzipFile):
    """A gzip file that closes the file below it."""

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw = raw

    def close(self) -> None:
        super().close()
        self._raw.close()
