"""Where payload must not rest while a split runs, and a look into all of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from planesplit.proof.canaries import Canaries
from planesplit.proof.find import Find
from planesplit.split.core import Split

CUSTOMERS_OWN = {"logs", "data", "clickhouse"}  # the customer's stores, where payload does rest
SHARED_PLACES = (Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/var/tmp"))
VENDOR_PLANES = ("relay", "control_stub")


class Reach:
    """The places of one split.

    Args:
        split: it runs.
        since_s: wall clock before the payload was made; older files are not looked at.
    """

    def __init__(self, split: Split, since_s: float) -> None:
        self._split, self._since_s = split, since_s
        self.directory = Path(split.ready.directory)

    async def look(self, canary: Canaries) -> list[Find]:
        """Return every canary at rest where none may be."""
        finds = [*self._journals(canary), *self._files(canary), *self._processes(canary)]
        async with httpx.AsyncClient() as http:
            for page in ("metrics", "livez", "readyz", "version"):
                answer = await http.get(f"{self._split.ready.urls.ops}/{page}")
                finds += canary.scan(f"relay:/{page}", answer.content)
        return finds

    def _journals(self, canary: Canaries) -> Iterator[Find]:
        for plane in self._split.options.planes:
            text = "\n".join(self._split.journal(plane).lines)
            yield from canary.scan(f"journal of {plane}", text.encode())

    def _files(self, canary: Canaries) -> Iterator[Find]:
        vendor = (entry for entry in self.directory.iterdir() if entry.name != "clusters")
        agents = (entry for entry in self.directory.glob("clusters/*/*"))
        for entry in (*vendor, *agents):
            if entry.name not in CUSTOMERS_OWN:
                yield from canary.scan_tree(entry) if entry.is_dir() else ()
        for place in SHARED_PLACES:
            for path in self._fresh(place):
                yield from canary.scan(f"name:{path}", path.name.encode())
                yield from canary.scan(str(path), path.read_bytes())

    def _fresh(self, place: Path) -> Iterator[Path]:
        """Files directly in a shared place that are of this run's time and user."""
        for path in place.iterdir() if place.is_dir() else ():
            try:
                state = path.lstat()
            except OSError:
                continue  # another process removed it
            if state.st_uid == os.getuid() and state.st_mtime >= self._since_s and path.is_file():
                yield path

    def _processes(self, canary: Canaries) -> Iterator[Find]:
        for plane in VENDOR_PLANES:
            root = Path("/proc") / str(self._split.ready.pids[plane])
            for name in ("cmdline", "environ"):
                yield from canary.scan(f"{plane} {name}", (root / name).read_bytes())
            for path in open_files(root):
                yield from canary.scan(f"{plane} has open {path}", path.read_bytes())


def open_files(process: Path) -> Iterator[Path]:
    """The regular files that a process has open, deleted ones included."""
    for descriptor in (process / "fd").iterdir():
        if descriptor.is_file():
            yield descriptor
