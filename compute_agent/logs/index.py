"""Whole-log offsets of rotated files: which file of a container's log begins where.

The kubelet keeps the newest few files of a log and deletes older ones, so the offset of a line in
the whole log cannot be seen from the files alone. The index notes names, first timestamps, offsets
and record numbers (never content) while files come and go, and keeps them over a restart.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compute_agent.logs.cri import epoch_ns

STAMP_BYTES = 64  # longer than any RFC 3339 timestamp
COUNT_BYTES = 262_144
GZIP_TRAILER_BYTES = 4  # RFC 1952, 2.3.1: ISIZE, the size modulo 2**32; kubelet rotates at 10 MiB
RECORD_MAX_BYTES = 8_388_608  # default of `logs.line_max_bytes`
STABLE_TRIES = 5  # a listing that rotation overtakes is repeated; rotations are seconds apart

_ROTATED = re.compile(r"(\d+)\.log\.(\d{8}-\d{6})(?:\.(\d+))?(\.gz)?")


class LogUnreadable(OSError):
    """A log's files cannot be read, or change faster than they can be listed."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of a container's log.

    Args:
        path: where it is.
        name: without `.gz`, so that it stays the same when compressed.
        base: whole-log offset of its first byte.
        size: bytes of log in it, decompressed.
        stamp: first timestamp in it; empty for an empty file.
        inode: tells whether `path` still names this file.
        first: number of records in the whole log before it; None if that is unknown.
        after_loss: whether an unknown part of the log is missing right before it.
    """

    path: Path
    name: str
    base: int
    size: int
    stamp: str
    inode: int
    first: int | None = None
    after_loss: bool = False

    @property
    def end(self) -> int:
        """Whole-log offset behind its last byte."""
        return self.base + self.size

    @property
    def compressed(self) -> bool:
        """Whether it is a gzip file."""
        return self.path.suffix == ".gz"


@dataclass(slots=True)
class _Known:
    """What is remembered of one log."""

    exact: bool = True
    end: int = 0
    epoch: int = 0
    files: dict[str, tuple[int, str, int | None]] = field(default_factory=dict)
    """name -> (base, stamp, first)"""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """name -> (size, records) of files that are not written to any more"""
    emptied: set[str] = field(default_factory=set)
    """first timestamps of files that took the place of others, of which there is no copy"""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a log, oldest first.

    Args:
        files: may be empty.
        exact: False when it is unknown how much was deleted before the first file.
        epoch: rises when files may have come and gone between two looks: offsets of before and
            after are then unrelated, and what lies between is lost.
    """

    files: tuple[LogFile, ...]
    exact: bool
    epoch: int = 0


class OffsetIndex:
    """Numbers the files of every log below `root`.

    Args:
        root: directory with `{namespace}_{pod}_{uid}/{container}/{restart}.log*`.
        state_file: keeps the numbers over a restart; None to forget them.
        files_kept: how many files of a log the kubelet keeps.
        record_max_bytes: a longer record counts as several (see `Splitter`).
    """

    def __init__(
        self,
        root: Path,
        state_file: Path | None,
        files_kept: int,
        record_max_bytes: int = RECORD_MAX_BYTES,
    ) -> None:
        self._root, self._state_file, self._kept = root, state_file, files_kept
        self._record_max = record_max_bytes
        self._logs: dict[str, _Known] = _load(state_file)
        self._settled: dict[Path, int] = {}  # modification times of directories that were listed
        self._dirty = False

    def listing(self, container: Path, restart: int) -> Listing:
        """List and number the files of one log.

        Args:
            container: directory of the container's logs.
            restart: which of the container's lives.

        Raises:
            LogUnreadable: the files cannot be read.
        """
        for _ in range(STABLE_TRIES):
            files = _stable_files(container, restart)
            key = self._key(container, restart)
            known = self._logs.get(key)
            if known is None:
                if not files:
                    return Listing((), exact=True)
                known = self._logs[key] = _Known()
            try:
                numbered = self._number(known, files)
            except FileNotFoundError:
                continue  # compressed since it was listed
            except (OSError, EOFError, zlib.error):
                break
            return Listing(tuple(numbered), known.exact, known.epoch)
        raise LogUnreadable("a log's files are damaged, or change while they are read")

    def align(self, container: Path, restart: int, name: str, first: int) -> None:
        """Note how many records there were before a file, as somebody else counted.

        Args:
            container, restart: whose log, as for `listing`.
            name: of the file.
            first: number of records before it.
        """
        known = self._logs.get(self._key(container, restart))
        if known is not None and name in known.files:
            base, stamp, _ = known.files[name]
            known.files = {name: (base, stamp, first)}  # the others are counted from this one
            self._dirty = True

    def restarts(self, container: Path) -> list[int]:
        """Return which restarts of a container have logs, in order."""
        return sorted({restart for restart, _ in _names(container)})

    def scan(self) -> Iterator[None]:
        """Number everything there is, forget what is gone, and save when something changed.

        Yields after each container, so that a caller can let others run.

        Raises:
            OSError: some could not be read; all others are numbered, and saved.
        """
        seen: set[str] = set()
        failed: OSError | None = None
        for container in _containers(self._root):
            try:
                self._scan_container(container, seen)
            except OSError as error:
                failed = error
            yield
        for key in self._logs.keys() - seen:
            del self._logs[key]
            self._dirty = True
        self._settled = {c: t for c, t in self._settled.items() if c.exists()}
        if self._dirty:
            self._save()
        if failed is not None:
            raise failed

    def _scan_container(self, container: Path, seen: set[str]) -> None:
        """List a container's logs, unless its directory is as it was: one stat instead of many."""
        restarts = self.restarts(container)
        seen.update(self._key(container, restart) for restart in restarts)
        changed = container.stat().st_mtime_ns if restarts else 0
        if restarts and self._settled.get(container) != changed:
            listings = [self.listing(container, restart) for restart in restarts]
            if all(file.size for listing in listings for file in listing.files):
                self._settled[container] = changed

    def _key(self, container: Path, restart: int) -> str:
        return f"{container.relative_to(self._root)}/{restart}"

    def _number(self, known: _Known, files: list[LogFile]) -> list[LogFile]:
        anchor = _anchor(known, files)
        if anchor is None and files and (known.files or not self._is_beginning(files)):
            known.exact = False  # whatever was known is deleted, and perhaps more
            known.epoch += 1
        at, base, first = anchor or (0, known.end, 0 if known.exact else None)
        base -= sum(f.size for f in files[:at])
        if first is not None:
            first -= sum(self._count(known, f) for f in files[:at])
        numbered = []
        for file in files:
            lost = file.stamp in known.emptied
            if lost:
                here = ((b, f) for b, s, f in known.files.values() if s == file.stamp)
                base, first = next(here, (base, first))
            elif file.size and _is_emptied(known, base, file.stamp):
                lost = True  # nobody knows how much
                known.emptied.add(file.stamp)
                base, first = max(known.end, base) + 1, None
            numbered.append(replace(file, base=base, first=first, after_loss=lost))
            base += file.size
            if first is not None and file is not files[-1]:
                first += self._count(known, file)
        self._remember(known, numbered)
        return numbered

    def _count(self, known: _Known, file: LogFile) -> int:
        """Return the number of records in a file; it is read once as long as it doesn't grow."""
        size, records = known.counts.get(file.name, (-1, 0))
        if size != file.size:
            records = count_records(file, self._record_max)
            known.counts[file.name] = file.size, records
        return records

    def _is_beginning(self, files: list[LogFile]) -> bool:
        """Whether the oldest file must be the first ever.

        While the kubelet rotates, a file less than it keeps may be there, and for a moment no
        current one.
        """
        rotated = sum(not _is_current(file.name) for file in files)
        return rotated == 0 or rotated < self._kept - 2

    def _remember(self, known: _Known, files: list[LogFile]) -> None:
        if files:
            known.end = files[-1].end
            latest = {f.name: (f.base, f.stamp, f.first) for f in files if f.size}
            known.counts = {n: c for n, c in known.counts.items() if n in latest}
            known.emptied &= {f.stamp for f in files}
            if latest != known.files:
                known.files, self._dirty = latest, True

    def _save(self) -> None:
        if self._state_file is not None:
            logs = {k: [v.exact, v.end, v.files] for k, v in self._logs.items()}
            temporary = self._state_file.with_suffix(".tmp")
            temporary.write_text(json.dumps({"version": 2, "logs": logs}), encoding="utf-8")
            temporary.replace(self._state_file)
        self._dirty = False


def _anchor(known: _Known, files: list[LogFile]) -> tuple[int, int, int | None] | None:
    """Find a file whose place is known: by its rotated name, else the one that was the current."""
    for at, file in enumerate(files):
        if file.name in known.files and not _is_current(file.name):
            base, _, first = known.files[file.name]
            return at, base, first
    current = next((v for n, v in known.files.items() if _is_current(n)), None)
    for at, file in enumerate(files):  # oldest first: clocks are coarse, stamps may repeat
        if current is not None and current[1] == file.stamp:
            return at, current[0], current[2]
    return None


def _is_emptied(known: _Known, base: int, stamp: str) -> bool:
    """Whether there was another file in this place, of which there is no copy (copytruncate)."""
    return any(b == base and not stamp.startswith(s) for b, s, _ in known.files.values())


def _is_current(name: str) -> bool:
    return name.endswith(".log")


def _load(state_file: Path | None) -> dict[str, _Known]:
    """Read the saved index; a damaged one counts as none (offsets are then told as unknown)."""
    try:
        state: Any = json.loads(state_file.read_text(encoding="utf-8")) if state_file else {}
        return {
            key: _Known(
                exact=bool(exact),
                end=int(end),
                files={n: (int(b), str(s), _first(f)) for n, (b, s, *f) in files.items()},
            )
            for key, (exact, end, files) in state.get("logs", {}).items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _first(value: list[Any]) -> int | None:
    """Read what states of version 1 don't have."""
    return int(value[0]) if value and value[0] is not None else None


def _containers(root: Path) -> list[Path]:
    return [container for pod in _directories(root) for container in _directories(pod)]


def _directories(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []  # deleted since it was listed


def _names(container: Path) -> list[tuple[int, str]]:
    try:
        names = os.listdir(container)
    except OSError:
        return []
    current = [(int(n[:-4]), n) for n in names if n.endswith(".log") and n[:-4].isdigit()]
    return current + [(int(m[1]), n) for n in names if (m := _ROTATED.fullmatch(n))]


def _ordered(container: Path, restart: int) -> list[str]:
    """Return names oldest first; a file that is being compressed exists twice, plain wins."""
    rotated: dict[tuple[str, int], str] = {}
    names = sorted((n for r, n in _names(container) if r == restart), key=len, reverse=True)
    for name in names:
        if match := _ROTATED.fullmatch(name):
            rotated[match[2], int(match[3] or 0)] = name
    ordered = [rotated[key] for key in sorted(rotated)]
    return [*ordered, *(n for n in names if n.endswith(".log"))]


def _stable_files(container: Path, restart: int) -> list[LogFile]:
    for _ in range(STABLE_TRIES):
        names = _ordered(container, restart)
        try:
            # Newest first: once it has a byte, the runtime writes no more to the one before it.
            files = [_look(container / name) for name in reversed(names)][::-1]
        except FileNotFoundError:
            continue
        except (OSError, EOFError, zlib.error):
            break
        if _ordered(container, restart) == names:
            return files
    raise LogUnreadable("a log's files are damaged, or change while they are listed")


def _look(path: Path) -> LogFile:
    """Read what identifies a file: its size and first timestamp; `base` is not known yet."""
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        if path.suffix != ".gz":
            stamp = _stamp(file.read(STAMP_BYTES))
            return LogFile(path, path.name, 0, state.st_size, stamp, state.st_ino)
        file.seek(max(state.st_size - GZIP_TRAILER_BYTES, 0))
        size = int.from_bytes(file.read(), "little")
    with gzip.open(path) as unpacked:
        stamp = _stamp(unpacked.read(STAMP_BYTES))
    return LogFile(path, path.name[:-3], 0, size, stamp, state.st_ino)


def count_records(file: LogFile, record_max_bytes: int) -> int:
    """Return the number of records in a file, by the rules of `Splitter`.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read.
    """
    records = torn = 0
    with gzip.open(file.path) if file.compressed else file.path.open("rb") as source:
        while block := source.read(min(COUNT_BYTES, record_max_bytes)):  # one long record at most
            ends = block.count(b"\n")
            if ends:
                records += ends + max(torn + block.find(b"\n") - 1, 0) // record_max_bytes
                torn = len(block) - block.rfind(b"\n") - 1
            else:
                torn += len(block)
    return records + -(-torn // record_max_bytes)


def _stamp(head: bytes) -> str:
    """Return the first word if it is a timestamp; of anything else nothing is kept."""
    word = head.partition(b" ")[0]
    try:
        epoch_ns(word)
    except ValueError:
        return ""
    return word.decode()
