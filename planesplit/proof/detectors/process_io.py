"""What the vendor's processes do to the world: files, children, shared memory, written bytes."""

from __future__ import annotations

import os

import trio

from planesplit.proof import processes
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.split.options import RELAY

LOOK_EVERY_S = 0.05


class ProcessIo(Detector):
    """Looks 20 times a second at descriptors, children and mappings; accounts written bytes."""

    name = "process_io"
    blind_to = (
        "what lasts shorter than 50 ms and leaves nothing behind; bytes of the control plane's own"
        " database file; writes to tmpfs and through mappings are not in the kernel's account"
    )

    def __init__(self) -> None:
        self._finds: dict[Find, None] = {}
        self._looks = 0
        self._written: dict[int, int] = {}

    async def arm(self, stage: Stage) -> None:
        """Note the counters and begin to look."""
        self._finds.clear()
        self._looks = 0
        self._written = {
            pid: processes.counters(pid).get("write_bytes", 0) for pid in stage.vendor_pids.values()
        }
        stage.before_restart.append(lambda: self._look_once(stage, account=True))
        stage.nursery.start_soon(self._watch, stage)

    async def _watch(self, stage: Stage) -> None:
        while True:
            self._look_once(stage)
            await trio.sleep(LOOK_EVERY_S)

    async def look(self, stage: Stage) -> list[Find]:
        """Look a last time, and account."""
        self._look_once(stage, account=True)
        for plane, pid in stage.vendor_pids.items():
            shown = processes.words(pid)
            self._add(*stage.canaries.scan(f"process title of {plane}", shown, self.name))
        if processes.makers_of_segments() & set(stage.vendor_pids.values()):
            self._trace("a System V shared memory segment", "shared memory")
        self.looked = f"{self._looks} looks at {processes.looked_at(stage.vendor_pids)}"
        return list(self._finds)

    def _look_once(self, stage: Stage, *, account: bool = False) -> None:
        self._looks += 1
        own = f"{stage.directory}/control/metadata.db"
        for plane, pid in stage.vendor_pids.items():
            self._begin(pid)
            for target in processes.writable_files(pid):
                if plane == RELAY or not target.startswith(own):
                    self._trace(f"{plane} has open {os.path.dirname(target)}/…", "writable file")
            for target in processes.descriptors(pid).values():
                if target.startswith("/memfd:"):
                    self._trace(f"{plane} has an anonymous file", "shared memory")
            if processes.children(pid) and processes.serves(pid):
                self._trace(f"{plane} has started a process", "child process")
            if account:
                self._account(plane, pid)

    def _begin(self, pid: int) -> None:
        """Account a process that was started again from when it serves.

        Before, it reads its configuration: the time of access that the kernel notes of a file that
        was never read counts as a written page.
        """
        if pid not in self._written and processes.serves(pid):
            self._written[pid] = processes.counters(pid).get("write_bytes", 0)

    def _account(self, plane: str, pid: int) -> None:
        for name in processes.shared_mappings(pid):
            if plane == RELAY or "metadata.db" not in name:
                self._trace(f"{plane} has mapped {name.split('/')[1]}", "shared memory")
        written = processes.counters(pid).get("write_bytes", 0) - self._written.get(pid, 0)
        if plane == RELAY and written > 0:
            self._trace(f"{plane} wrote {written} bytes to disk", "written bytes")

    def _trace(self, place: str, what: str) -> None:
        self._add(Find(self.name, place, what))

    def _add(self, *finds: Find) -> None:
        self._finds.update(dict.fromkeys(finds))
