"""Files: names, contents and extended attributes of all that a plane could have written."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trio

from planesplit.proof import claims
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage

MAX_DEPTH = 4  # below a place that all programs share
MAX_ENTRIES = 60_000  # looked at in such a place
MAX_FILE_BYTES = 256 * 1024 * 1024
BLOCK_BYTES = 4 * 1024 * 1024
OVERLAP_BYTES = 4096  # a canary over an edge is seen

# Which store a part of a cluster's directory belongs to.
CUSTOMERS = {
    "logs": claims.LOGS,
    "clickhouse": claims.CLICKHOUSE,
    "agent": claims.AGENT_STATE,
    "data/objects": claims.OBJECTS,
    "data/registry": claims.REGISTRY,
    "data/images": claims.IMAGES,
    "data/injected": claims.INJECTED,
    "data/work": claims.INJECTED,
}


class Files(Detector):
    """Looks through the split's directory and every place that programs share."""

    name = "files"
    blind_to = (
        "a file that was written and removed between two looks, places that this user cannot read,"
        " what is encrypted or encoded twice, bytes of a block device"
    )

    async def look(self, stage: Stage) -> list[Find]:
        """Scan names, contents and attributes."""
        return await trio.to_thread.run_sync(self._look, stage)

    def _look(self, stage: Stage) -> list[Find]:
        finds: list[Find] = []
        count = size = 0
        for path, store in self._paths(stage):
            count += 1
            finds += _scan_name(stage, path, store)
            read, found = scan_file(stage, path, self.name, store)
            size += read
            finds += found
        self.looked = f"{count} names, {size / 1e6:.1f} MB of content"
        return finds

    def _paths(self, stage: Stage) -> Iterator[tuple[Path, str]]:
        root = stage.directory
        for directory, folders, names in os.walk(root):  # what vanishes meanwhile is left out
            for name in (*folders, *names):
                path = Path(directory, name)
                yield path, store_of(path.relative_to(root))
        for place in shared_places(stage):
            for path in fresh(place, stage.started_s, (root, stage.workshop)):
                yield path, ""
        for process in stage.vendor_pids.values():
            yield from ((path, "") for path in open_files(Path("/proc") / str(process), root))


def store_of(relative: Path) -> str:
    """Return which store a path of a split's directory belongs to; empty for none."""
    parts = relative.parts
    if parts[0] == "control" and relative.name.startswith("metadata.db"):
        return claims.DATABASE
    if parts[0] == "clusters" and len(parts) > 2:
        below = "/".join(parts[2:])
        for prefix, store in CUSTOMERS.items():
            if below == prefix or below.startswith(f"{prefix}/"):
                return store
    return ""


def shared_places(stage: Stage) -> list[Path]:
    """Return the directories that any program of this user may write to."""
    named = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm", "/run/user", "/var/log"]  # noqa: S108
    named += ["/var/spool", "/var/lib/systemd/coredump", "/var/crash", "/run/lock", "/dev/mqueue"]
    named += [f"/run/user/{os.getuid()}", str(Path.home())]
    for process in stage.vendor_pids.values():
        with contextlib.suppress(OSError):
            named.append(os.readlink(f"/proc/{process}/cwd"))
    found = {path.resolve() for path in map(Path, named) if path.is_dir()}
    return sorted(path for path in found if path != Path("/"))


def fresh(place: Path, since_s: float, leave_out: tuple[Path, ...]) -> Iterator[Path]:
    """Yield this user's entries that were made or changed since a time, to a depth of 4."""
    left = MAX_ENTRIES
    waiting = [(str(place), MAX_DEPTH)]
    skip = {str(path) for path in leave_out}
    while waiting and left:
        directory, depth = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                left -= 1
                if not left:
                    return
                with contextlib.suppress(OSError):
                    state = entry.stat(follow_symlinks=False)
                    if state.st_uid != os.getuid() or entry.path in skip:
                        continue
                    if stat.S_ISDIR(state.st_mode) and depth:
                        waiting.append((entry.path, depth - 1))
                    if state.st_ctime >= since_s:
                        yield Path(entry.path)


def open_files(process: Path, root: Path) -> Iterator[Path]:
    """Yield the regular files that a process has open outside the split, deleted ones included."""
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(descriptor)
                if descriptor.is_file() and not target.startswith(str(root)):
                    yield descriptor


def _scan_name(stage: Stage, path: Path, store: str) -> list[Find]:
    texts = [os.fsencode(path.name)]
    with contextlib.suppress(OSError):
        if path.is_symlink() and not str(path).startswith("/proc/"):
            texts.append(os.fsencode(os.readlink(path)))
    with contextlib.suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            texts += [name.encode(), os.getxattr(path, name, follow_symlinks=False)]
    return stage.canaries.scan("name or attribute of a file", b"\0".join(texts), Files.name, store)


def scan_file(stage: Stage, path: Path, detector: str, store: str) -> tuple[int, list[Find]]:
    """Scan one regular file in blocks; return how many bytes that were, and what was found."""
    finds: list[Find] = []
    size = 0
    try:
        if not path.is_file() or (path.is_symlink() and not str(path).startswith("/proc/")):
            return 0, []
        with path.open("rb") as file:
            place, tail = _shown(stage, path), b""
            while size < MAX_FILE_BYTES and (block := file.read(BLOCK_BYTES)):
                size += len(block)
                finds += stage.canaries.scan(place, tail + block, detector, store)
                tail = block[-OVERLAP_BYTES:]
    except OSError:
        return size, finds  # gone, or not ours to read: `blind_to` says so
    return size, finds


def _shown(stage: Stage, path: Path) -> str:
    """Return a path for people, with no canary that may be in its name."""
    relative = str(path).removeprefix(f"{stage.directory}/")
    return "a file with a canary's name" if stage.canaries.scan("", relative.encode()) else relative
