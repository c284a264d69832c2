"""Objects on disk: content in files that never change, and an index that names them.

`{root}/{bucket}/data/{id}` holds the content, `{root}/{bucket}/index/{sha256 of key}.json` the
rest. A write becomes visible by one rename in the index, so that nobody sees half of it and a
crash leaves only files that the next start removes. A key is never a path.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from bisect import bisect_left, insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from customer_stub.objects.errors import S3Error
from customer_stub.objects.settings import ObjectsSettings
from tunnel.settings import SettingError


@dataclass(frozen=True, slots=True)
class Entry:
    """One object.

    Args:
        key: its name.
        size_bytes, sha256: of its content.
        etag: MD5 of the content in hex; of a multipart upload as S3 makes it.
        modified_s: seconds since the epoch.
        headers: that came with it and go out with it.
        data: name of the content's file.
    """

    key: str
    size_bytes: int
    sha256: str
    etag: str
    modified_s: int
    headers: dict[str, str]
    data: str


class Draft:
    """Content that is being written, visible to nobody.

    Attributes:
        kept: whether it outlives the context that made it.
    """

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self.path, self._reserve = path, reserve
        self._size_bytes = 0
        self.kept = False
        self._md5, self._sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o640)

    @property
    def size_bytes(self) -> int:
        """Written so far."""
        return self._size_bytes

    @property
    def md5(self) -> str:
        """MD5 of what was written, in hex."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written, in hex."""
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            S3Error: the disk or the store is full.
        """
        self._reserve.take(len(data))
        self._size_bytes += len(data)
        self._md5.update(data)
        self._sha256.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            raise S3Error("InsufficientStorage", "The store's disk takes no more") from None

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Remove what was written."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._reserve.give(self._size_bytes)
        self._size_bytes = 0


class Reserve:
    """The bytes that all objects and drafts together may take."""

    def __init__(self, limit_bytes: int) -> None:
        self.free_bytes = limit_bytes

    def take(self, size_bytes: int) -> None:
        """Take some, or raise S3Error."""
        if size_bytes > self.free_bytes:
            raise S3Error("InsufficientStorage", "The store is full")
        self.free_bytes -= size_bytes

    def give(self, size_bytes: int) -> None:
        """Give some back."""
        self.free_bytes += size_bytes


class Bucket:
    """The objects of one bucket.

    Args:
        root: its directory, made if absent.
        settings: limits.
        reserve: shared with the other buckets.

    Raises:
        OSError: the directory can't be used.
    """

    def __init__(self, root: Path, settings: ObjectsSettings, reserve: Reserve) -> None:
        self._data, self._index = root / "data", root / "index"
        self._max_objects, self._reserve = settings.max_objects, reserve
        for directory in (self._data, self._index):
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._entries = {entry.key: entry for entry in _read_index(self._index, self._data)}
        self._keys = sorted(self._entries)
        known = {entry.data for entry in self._entries.values()}
        for path in self._data.iterdir():
            if path.name not in known:
                path.unlink()  # of a write that did not end
        reserve.take(sum(entry.size_bytes for entry in self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """All content together."""
        return sum(entry.size_bytes for entry in self._entries.values())

    def get(self, key: str) -> Entry | None:
        """Return an object, None if there is none."""
        return self._entries.get(key)

    def keys(self, start: str) -> Iterator[str]:
        """Yield the keys from `start` on, in the order of their code points (UTF-8's too)."""
        index = bisect_left(self._keys, start)
        while index < len(self._keys):
            yield self._keys[index]
            index += 1

    def open(self, entry: Entry) -> int:
        """Return a descriptor of an object's content; it stays readable when replaced."""
        return os.open(self._data / entry.data, os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Begin to write; what is not kept at the end is removed."""
        draft = Draft(self._data / uuid.uuid4().hex, self._reserve)
        try:
            yield draft
        finally:
            draft.close()
            if not draft.kept:
                draft.discard()

    def commit(self, entry: Entry, draft: Draft) -> Entry:
        """Make a draft an object, in place of one that had the name.

        Raises:
            S3Error: there are too many objects, or the disk is full.
        """
        old = self._entries.get(entry.key)
        if old is None and len(self._entries) >= self._max_objects:
            raise S3Error("InsufficientStorage", "The store holds no more objects")
        entry = replace(entry, data=draft.path.name)
        draft.close()
        try:
            _write_index(self._index_file(entry.key), entry)
        except OSError:
            raise S3Error("InsufficientStorage", "The store's disk takes no more") from None
        draft.kept = True
        self._entries[entry.key] = entry
        if old is None:
            insort(self._keys, entry.key)
        else:
            self._drop(old)
        return entry

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            del self._keys[bisect_left(self._keys, key)]
            self._index_file(key).unlink(missing_ok=True)
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        (self._data / entry.data).unlink(missing_ok=True)
        self._reserve.give(entry.size_bytes)

    def _index_file(self, key: str) -> Path:
        return self._index / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def _read_index(directory: Path, data: Path) -> Iterator[Entry]:
    for path in directory.iterdir():
        if path.suffix != ".json":
            path.unlink()  # of a write that did not end
            continue
        try:
            entry = Entry(**json.loads(path.read_bytes()))
            whole = (data / entry.data).stat().st_size == entry.size_bytes
        except (ValueError, TypeError, FileNotFoundError):
            whole = False
        if not whole:
            raise SettingError(
                f"setting 'data_root': '{path}' is damaged; remove it, or choose another directory"
            )
        yield entry


def _write_index(path: Path, entry: Entry) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(entry)))
    temporary.rename(path)
