"""A node with pods' logs, a collector, an aggregator in memory and an agent, without a clock."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import trio
from crilog import CriLog
from fakes import ATTEMPT, World, pod_of

from compute_agent.attempts import Attempt
from compute_agent.logs.cri import NO_OFFSET, Record
from compute_agent.logs.history import At, HistoryDown, LogId, Row
from compute_agent.logs.index import OffsetIndex
from compute_agent.logs.settings import HistoryLimits, HistorySettings
from compute_agent.settings import LogLimits
from customer_stub.collector.collector import Collector
from customer_stub.collector.follower import LogSource
from customer_stub.collector.records import Entry
from customer_stub.collector.settings import CollectorSettings
from customer_stub.collector.sink import Collected, SinkFailed
from tunnel.journal import Journal

LIMITS = HistoryLimits(wait_s=8.0, poll_s=0.25, page_rows=10)
COLLECTOR = CollectorSettings(sink="clickhouse", flush_s=0.05, batch_rows=7)


class FakeAggregator:
    """Keeps what the collector sends, doubles included, and answers the agent.

    Attributes:
        down: neither takes nor answers.
        accept: decides about each batch: True, False (refused, try again), or None: taken, but the
            answer is lost.
        delay_s: of each answer.
    """

    def __init__(self) -> None:
        self.kept: list[Collected] = []
        self.down = False
        self.accept: Callable[[], bool | None] = lambda: True
        self.delay_s = 0.0
        self.queries: list[str] = []

    async def aclose(self) -> None:
        pass

    async def insert(self, rows: list[Collected]) -> None:
        await trio.lowlevel.checkpoint()
        verdict = False if self.down else self.accept()
        if verdict is not False:
            self.kept += rows
        if not verdict:
            raise SinkFailed(retryable=True)

    async def find(self, attempt: Attempt, container: str, *, latest: bool) -> LogId | None:
        await self._asked("find")
        found = {}
        for source, _ in self.kept:
            this = attempt.numbered(int(source.resource["planesplit.attempt"]))
            if this.pod == source.resource["k8s.pod.name"] and (latest or this == attempt):
                found[this.attempt] = LogId(this, source.resource["k8s.pod.uid"], container)
        return found[max(found)] if found else None

    async def page(self, log: LogId, start: At, hint_ns: int) -> list[Row]:
        await self._asked("page")
        return [row for row in self.rows(log) if row.at >= start][: LIMITS.page_rows]

    async def page_before(self, log: LogId, stop: At | None) -> list[Row]:
        await self._asked("page_before")
        rows = [row for row in self.rows(log) if stop is None or row.at < stop]
        return rows[-LIMITS.page_rows :]

    async def first_since(self, log: LogId, since_ns: int) -> At | None:
        await self._asked("first_since")
        found = [
            At(s.restart, e.sequence) for s, e in self._of(log) if e.at_ns >= since_ns and not e.end
        ]
        return min(found, default=None)

    async def file_start(self, log: LogId, restart: int, stamp_ns: int) -> int | None:
        await self._asked("file_start")
        found = {e.sequence for _, e in self._of(log) if e.file_start and e.at_ns == stamp_ns}
        return found.pop() if len(found) == 1 else None

    def rows(self, log: LogId) -> list[Row]:
        """In order and each once, as the interface promises."""
        found = {At(s.restart, e.sequence): _row(s, e) for s, e in self._of(log)}
        return [found[at] for at in sorted(found)]

    def _of(self, log: LogId) -> list[Collected]:
        return [c for c in self.kept if c.source.resource["k8s.pod.uid"] == log.uid]

    async def _asked(self, name: str) -> None:
        self.queries.append(name)
        await trio.sleep(self.delay_s)
        if self.down:
            raise HistoryDown


def _row(source: LogSource, entry: Entry) -> Row:
    stream = entry.stream.encode()
    at_ns = entry.at_ns if stream else 0
    final = not entry.partial
    record = Record(NO_OFFSET, NO_OFFSET, stream, final, at_ns, entry.content, entry.sequence)
    return Row(source.restart, record, entry.end)


class NodeLog(CriLog):
    """A log whose rotation tells the collector, as the kubelet does."""

    on_rotate: Callable[[], None] = staticmethod(lambda: None)

    def rotate(self) -> None:
        self.rename()
        self.on_rotate()
        self.compress()
        self.delete_oldest()
        self.path.touch()


class Stage(World):
    """The agent's world with a node and an aggregator.

    Args:
        root: directory of everything.
        nursery: runs the agent; `collect` runs the collector.
        kept: files of a log that the kubelet keeps.
        history: the aggregator; another one to plant a mutant.
    """

    def __init__(
        self,
        root: Path,
        nursery: trio.Nursery,
        *,
        kept: int = 3,
        history: FakeAggregator | None = None,
    ) -> None:
        self.history = self.aggregator = history or FakeAggregator()
        self.kept, self.losses = kept, []
        super().__init__(
            root,
            nursery,
            logs=LogLimits(files_kept=kept),
            history=HistorySettings(backend="clickhouse", limits=LIMITS),
        )
        self.collector = self._collector()
        self.collecting = trio.CancelScope()
        nursery.start_soon(self._collect, self.collector, self.collecting)

    def run_pod(self, attempt: Attempt = ATTEMPT, *, restart: int = 0) -> NodeLog:
        """Start a pod: its log, followed by the collector."""
        self.cluster.change(pod_of(attempt, phase="Running", scheduled=True))
        name = f"{attempt.namespace}_{attempt.pod}_uid-{attempt.pod}"
        log = NodeLog(self.root / "logs", pod=name, kept=self.kept, restart=restart)
        log.path.touch()
        log.on_rotate = self.collector.follow(pod_json(attempt), log.directory, restart)
        return log

    def end_pod(self, log: NodeLog, attempt: Attempt = ATTEMPT) -> None:
        """Its container ends."""
        self.collector.ended(log.directory, log.restart)
        self.cluster.change(pod_of(attempt, phase="Succeeded", exit_code=0, scheduled=True))

    def delete_pod(self, log: NodeLog, attempt: Attempt = ATTEMPT) -> None:
        """The pod and its files go, ended or not."""
        self.collector.ended(log.directory, log.restart)
        self.collector.removing(log.directory)
        pod = self.cluster.pods[attempt.namespace, attempt.pod]
        self.cluster.change(pod, deleted=True)
        shutil.rmtree(log.directory.parent)

    def restart_collector(self) -> None:
        """It crashes; what it knows is in its state file."""
        self.collecting.cancel()
        self.collector = self._collector()
        self.collecting = trio.CancelScope()
        self.nursery.start_soon(self._collect, self.collector, self.collecting)

    def restart_agent(self, *, forget: bool = False) -> None:
        """It crashes; perhaps it also loses its index."""
        self.kill()
        if forget:
            for file in (self.root / "state").iterdir():
                file.unlink()
        self.start()

    async def collected(self) -> None:
        """Wait until the collector has sent everything."""
        with trio.fail_after(60):
            while self.collector.active:
                await trio.sleep(0.05)

    def index(self) -> OffsetIndex:
        return OffsetIndex(self.root / "logs", None, self.kept)

    def _collector(self) -> Collector:
        journal = Journal("customer", write=self.losses.append, clock=lambda: 0.0)
        state = self.root / "positions.json"
        return Collector(COLLECTOR, self.aggregator, journal=journal, state_file=state)

    async def _collect(self, collector: Collector, scope: trio.CancelScope) -> None:
        with scope:
            await collector.run()


def pod_json(attempt: Attempt) -> dict:
    return {
        "metadata": {
            "name": attempt.pod,
            "namespace": attempt.namespace,
            "uid": f"uid-{attempt.pod}",
            "labels": attempt.labels(),
        },
        "spec": {"containers": [{"name": "main"}]},
    }
