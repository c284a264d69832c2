"""Which process wrote to which file, told by the kernel as it happens; only root may hear it."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from planesplit.proof import processes
from planesplit.proof.detectors.base import Detector
from planesplit.proof.detectors.files import shared_places
from planesplit.proof.fanotify import Fanotify, Written
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.split.options import CONTROL

MAX_READ_BYTES = 1_048_576  # of a written file, from its beginning
BYTECODE = "__pycache__"  # what Python writes for itself when it imports; its content is scanned


class Writes(Detector):
    """Hears of every write of the vendor's planes and their children, also to files now gone."""

    name = "fanotify"
    blind_to = (
        "everything, unless it runs as root; writes through mappings, to anonymous files, and to"
        " file systems that are neither the split's nor shared; names, attributes; a"
        " child that ends at once"
    )

    def __init__(self) -> None:
        self._fanotify: Fanotify | None = None
        self._finds: dict[Find, None] = {}
        self._planes: dict[int, str] = {}
        self._heard = 0

    async def arm(self, stage: Stage) -> None:
        """Begin to hear, if this user may."""
        places = (stage.directory, *shared_places(stage), Path("/"))
        try:
            self._fanotify = Fanotify(places)
        except OSError as error:
            self.looked = f"nothing: {error.strerror or error}; only root may (CAP_SYS_ADMIN)"
            stage.tell(f"{self.name}: not armed: {self.looked}")
            return
        stage.exits.callback(self._fanotify.close)
        stage.nursery.start_soon(self._watch, stage, self._fanotify)

    async def look(self, stage: Stage) -> list[Find]:
        """Hear what is left."""
        if self._fanotify is not None:
            self._hear(stage, self._fanotify)
            planes = ", ".join(dict.fromkeys(self._planes.values()))
            self.looked = (
                f"{self._heard} writes on {self._fanotify.filesystems} file systems, for {planes}"
            )
        return list(self._finds)

    async def _watch(self, stage: Stage, fanotify: Fanotify) -> None:
        while True:
            await trio.lowlevel.wait_readable(fanotify.fileno())
            self._hear(stage, fanotify)

    def _hear(self, stage: Stage, fanotify: Fanotify) -> None:
        self._planes.update({pid: plane for plane, pid in stage.vendor_pids.items()})
        for written in fanotify.read():
            self._heard += 1
            if plane := self._plane(written.pid):
                self._judge(stage, plane, written)

    def _plane(self, pid: int) -> str:
        """Return whose process it is, a child's parent's; empty for none of the vendor's."""
        return self._planes.get(pid) or self._planes.get(processes.parent(pid), "")

    def _judge(self, stage: Stage, plane: str, written: Written) -> None:
        if plane == CONTROL and written.path.startswith(f"{stage.directory}/control/metadata.db"):
            return
        folder = os.path.dirname(written.path)
        if stage.canaries.scan("", os.fsencode(folder)):
            folder = "a directory with a canary's name"
        if os.path.basename(folder) != BYTECODE:
            self._add(Find(self.name, f"{plane} wrote to a file in {folder}", "written file"))
        content = os.pread(written.descriptor, MAX_READ_BYTES, 0)
        self._add(*stage.canaries.scan(f"{plane}: what it wrote", content, self.name))

    def _add(self, *finds: Find) -> None:
        self._finds.update(dict.fromkeys(finds))
