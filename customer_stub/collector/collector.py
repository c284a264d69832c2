"""The log collector of a node: follows every container's log and feeds a sink, in order.

At least once: a batch is sent until it is taken; positions are kept after that. The same record
always has the same number, so a reader drops what was sent twice.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from customer_stub.collector import positions
from customer_stub.collector.follower import Follower, LogSource
from customer_stub.collector.settings import CollectorSettings
from customer_stub.collector.sink import Collected, Sink, SinkFailed
from tunnel.journal import Journal

READ_BYTES = 131_072
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 2.0  # a reader waits some seconds for what it knows to be missing
SAVE_S = 1.0  # a crash makes at most so much be sent again
LABELS = ("org", "project", "domain", "run", "action", "attempt")

TAG_S = 5.0  # for a pod that the API has not told the collector yet

Json = Mapping[str, Any]
Tags = Callable[[Json], Json | None]


class Collector:
    """Collects the logs of this node's containers.

    Args:
        settings: see there.
        sink: takes the rows.
        journal: told of losses and failures, never of content.
        state_file: keeps positions over a restart; None to forget them.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        sink: Sink,
        *,
        journal: Journal,
        state_file: Path | None = None,
    ) -> None:
        self._settings, self._sink, self._journal = settings, sink, journal
        self._state_file = state_file
        self._followers: dict[tuple[str, int], Follower] = {}
        self._dirty = False
        self._saved_s = 0.0
        self._idle = trio.Event()
        self.lost_records = 0
        self._tags: Tags | None = None
        self._untagged: dict[Follower, tuple[Json, float]] = {}
        for source, reached in positions.load(state_file) if state_file else []:
            follower = Follower(source, settings, reached)
            follower.ended = True  # its pod ended with the process that ran it
            self._followers[str(source.directory), source.restart] = follower

    def tag_by(self, tags: Tags) -> None:
        """Have labels come from the API, as an account sees them, not from the node."""
        self._tags = tags

    @property
    def active(self) -> int:
        """How many logs are not collected to their end."""
        return len(self._followers)

    def follow(self, pod: Json, directory: Path, restart: int) -> Callable[[], None]:
        """Follow a container's log that begins.

        Args:
            pod: the Kubernetes object.
            directory: of the container's logs.
            restart: which of the container's lives.

        Returns:
            What must be called at every rotation, before files are deleted.
        """
        resource = self._resource(pod)
        follower = Follower(LogSource(resource, directory, restart), self._settings)
        if self._tags is not None:
            resource.update(dict.fromkeys((f"planesplit.{name}" for name in LABELS), ""))
            self._untagged[follower] = pod, trio.current_time() + TAG_S
        self._followers[str(directory), restart] = follower
        return follower.observe

    def ended(self, directory: Path, restart: int) -> None:
        """A container has ended: nothing more will be written."""
        follower = self._followers.get((str(directory), restart))
        if follower is not None:
            follower.observe()
            follower.ended = True

    def removing(self, directory: Path) -> None:
        """A directory is about to be deleted: what is not collected stays open."""
        for follower in self._followers.values():
            if follower.source.directory == directory:
                follower.observe()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Collect until cancelled."""
        task_status.started()
        try:
            while True:
                if not await self._collect():
                    self._idle.set()
                    self._idle = trio.Event()
                    await trio.sleep(self._settings.flush_s)
        finally:
            for follower in self._followers.values():
                follower.close()
            await self._sink.aclose()

    async def drain(self) -> None:
        """Wait until `run` has sent everything, for `drain_s` seconds at most."""
        with trio.move_on_after(self._settings.drain_s):
            await self._idle.wait()  # this look may have begun before the last line was written
            await self._idle.wait()

    async def _collect(self) -> bool:
        """Send one batch; False when there was nothing to send."""
        self._shed()
        rows: list[Collected] = []
        size = 0
        for follower in filter(self._tagged, list(self._followers.values())):
            while len(rows) < self._settings.batch_rows and size < self._settings.batch_bytes:
                entries = follower.read(READ_BYTES)
                if not entries:
                    break
                rows += [Collected(follower.source, entry) for entry in entries]
                size += sum(len(entry.content) for entry in entries)
                await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        for start in range(0, len(rows), self._settings.batch_rows):
            await self._insert(rows[start : start + self._settings.batch_rows])
        self._forget()
        if rows:
            self._dirty = True
        if self._dirty and (not rows or trio.current_time() - self._saved_s >= SAVE_S):
            self._save()  # only here: everything that was read is taken
        return bool(rows)

    def _tagged(self, follower: Follower) -> bool:
        """Whether a log can be sent: its pod was seen, or it was waited for long enough."""
        if follower not in self._untagged:
            return True
        assert self._tags is not None
        pod, until = self._untagged[follower]
        seen = self._tags(pod)
        if seen is not None:
            follower.source.resource.update(_labels(seen))
        elif trio.current_time() < until:
            return False
        del self._untagged[follower]
        return True

    async def _insert(self, rows: list[Collected]) -> None:
        """Send a batch until it is taken; a batch that is refused for good is lost."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self._sink.insert(rows)
            except SinkFailed as error:
                if not error.retryable:
                    self._lose(len(rows), "refused")
                    return None
            self._shed()
            await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, MAX_PAUSE_S)

    def _shed(self) -> None:
        """Give up the oldest files when too many are open."""
        followers = self._followers.values()
        while sum(f.open_files for f in followers) > self._settings.max_files:
            longest = max(followers, key=lambda f: f.open_files)
            if longest.open_files < 2:
                return  # one for each container: they can't be fewer
            self._lose(longest.shed(), "backlog")

    def _lose(self, records: int, reason: str) -> None:
        self.lost_records += records
        self._journal.event("logs_lost", records=records, reason=reason)

    def _forget(self) -> None:
        for key in [key for key, follower in self._followers.items() if follower.done]:
            del self._followers[key]
            self._dirty = True

    def _save(self) -> None:
        self._dirty = False
        if self._state_file is None:
            return
        self._saved_s = trio.current_time()
        with contextlib.suppress(OSError):
            kept = ((f.source, f.reached) for f in self._followers.values())
            positions.save(self._state_file, kept)

    def _resource(self, pod: Json) -> dict[str, str]:
        meta = pod["metadata"]
        return {
            **_labels(pod),
            "k8s.pod.name": meta["name"],
            "k8s.pod.uid": meta["uid"],
            "k8s.namespace.name": meta["namespace"],
            "k8s.container.name": pod["spec"]["containers"][0]["name"],
            "k8s.node.name": self._settings.node,
            "k8s.cluster.name": self._settings.cluster,
        }


def _labels(pod: Json) -> dict[str, str]:
    labels = pod["metadata"].get("labels") or {}
    return {f"planesplit.{name}": labels.get(f"planesplit/{name}", "") for name in LABELS}
