"""Follows one container's log: from files to numbered records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from customer_stub.collector.files import LogFiles, OpenFile
from customer_stub.collector.records import Entry, Numberer, count_records
from customer_stub.collector.settings import CollectorSettings

UNKNOWN_LOSS = 1  # numbers left out where nobody knows how many records are lost
_STAMP = re.compile(rb"[0-9T:.Z+-]{10,40} ")


@dataclass(frozen=True, slots=True)
class LogSource:
    """Whose log it is, and where.

    Args:
        resource: attributes of every row: run, pod, container, node.
        directory: of the container's logs.
        restart: which of the container's lives.
    """

    resource: dict[str, str]
    directory: Path
    restart: int


@dataclass(frozen=True, slots=True)
class Reached:
    """Everything before is in the aggregator.

    Args:
        sequence: number of the next record.
        stamp: first timestamp of the file that it is in.
        offset: of its first byte in that file.
    """

    sequence: int = 1
    stamp: str = ""
    offset: int = 0


class Follower:
    """Reads one life of a container, however its files are rotated, until it has ended.

    Args:
        source: whose log.
        settings: bounds.
        reached: where to go on after a restart of the collector.

    Attributes:
        ended: nothing more will be written.
        done: everything was read, the mark of the end included.
    """

    def __init__(
        self, source: LogSource, settings: CollectorSettings, reached: Reached | None = None
    ) -> None:
        self.source = source
        self.ended = self.done = False
        self._files = LogFiles(source.directory, source.restart)
        self._directory_changed = 0
        self._max = settings.record_max_bytes
        reached = reached or Reached()
        self._numberer = Numberer(reached.sequence, self._max)
        self.observe()
        if reached.sequence > 1:
            self._go_on(reached)

    @property
    def open_files(self) -> int:
        """How many files are held open."""
        return len(self._files.files)

    @property
    def reached(self) -> Reached:
        """Where the next record that was not returned yet begins."""
        file = self._files.files[0] if self._files.files else None
        if file is None:
            return Reached(self._numberer.sequence)
        offset = max(file.offset - self._numberer.torn_bytes, 0)
        return Reached(self._numberer.sequence, _stamp(file), offset)

    def observe(self) -> None:
        """Open files that are new; must be called before any is deleted."""
        self._files.observe()

    def read(self, limit_bytes: int) -> list[Entry]:
        """Return what comes next; empty if nothing more is written yet."""
        self._look_around()
        files = self._files.files
        while files and not self.done:
            file, head = files[0], files[0].head
            data = file.read(limit_bytes)
            if not file.look():
                self._emptied(file, head, len(data))
                continue
            if data:
                return self._numberer.feed(data)
            if len(files) == 1 or not (self.ended or _begun(files[1])):
                break
            data = file.read(limit_bytes)  # written until the next one had its first byte
            if data:
                return self._numberer.feed(data)
            self._files.take_first()
            if entries := self._numberer.end_file():
                return entries
        return self._end() if self.ended and not self.done else []

    def shed(self) -> int:
        """Give the oldest file up unread; return how many records are lost."""
        rest = self._files.take_first().read(-1)
        lost = count_records(rest, self._max) + (1 if self._numberer.torn_bytes else 0)
        self._numberer.skip(lost)
        return lost

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()

    def _end(self) -> list[Entry]:
        self.done = True
        self._files.close()
        return [*self._numberer.end_file(), self._numberer.end()]

    def _look_around(self) -> None:
        """Rotation by others than the kubelet is noticed by the directory's time."""
        try:
            changed = self.source.directory.stat().st_mtime_ns
        except OSError:
            return
        if changed != self._directory_changed:
            self._directory_changed = changed
            self.observe()

    def _emptied(self, file: OpenFile, head: bytes, doubtful_bytes: int) -> None:
        """Go on in the copy of a file that was emptied, then in the file."""
        self.observe()
        file.offset -= doubtful_bytes
        copy = self._files.copy_of(file, head)
        file.seek(0)
        if copy is not None:
            self._files.files.appendleft(copy)
        else:
            self._numberer.skip(UNKNOWN_LOSS)

    def _go_on(self, reached: Reached) -> None:
        files = self._files.files
        known = [file for file in files if reached.stamp and _stamp(file) == reached.stamp]
        while known and files[0] is not known[0]:
            self._files.take_first()
        if known:
            files[0].seek(reached.offset)
        else:
            self._numberer.skip(UNKNOWN_LOSS)


def _begun(file: OpenFile) -> bool:
    file.look()
    return bool(file.head)


def _stamp(file: OpenFile) -> str:
    """Return the first timestamp of a file; of anything else nothing is kept."""
    match = _STAMP.match(file.head)
    return match[0].decode().strip() if match else ""
