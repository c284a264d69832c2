"""Feeds samples of running pods to ClickHouse, and bears that it is away."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import trio

from customer_stub.clickhouse_writer import FIRST_PAUSE_S, WriteFailed
from customer_stub.kubernetes.observers import Observers
from customer_stub.samples.sampler import Running, Sampler
from customer_stub.samples.settings import SamplesSettings
from customer_stub.samples.usage import Usage, measure
from tunnel.journal import Journal

TABLE = "otel.otel_metrics_gauge"
LOOK_S = 0.25  # how late a sample may be
MAX_PAUSE_S = 10.0

Json = dict[str, Any]
Measure = Callable[[list[int]], dict[int, Usage]]


class Writer(Protocol):
    """Inserts rows; `ClickHouseWriter` is one."""

    async def __aenter__(self) -> object:
        """Open it."""

    async def __aexit__(self, *_: object) -> None:
        """Close it."""

    async def insert(self, table: str, rows: Sequence[Json]) -> int:
        """Insert rows; raises WriteFailed."""


class Feeder:
    """Samples pods and inserts the samples in batches, through a queue that drops its oldest.

    Attributes:
        written: rows inserted so far.
        dropped: rows lost: the queue was full, or ClickHouse refused them.

    Args:
        settings: periods and bounds.
        sampler: makes the rows.
        writer: inserts them.
        journal: told of numbers only.
        measure: reads what sessions use, blocking.
        clock: wall clock, nanoseconds since the epoch.
        uptime: seconds since the system's start.
    """

    def __init__(
        self,
        settings: SamplesSettings,
        sampler: Sampler,
        writer: Writer,
        *,
        journal: Journal,
        measure: Measure = measure,
        clock: Callable[[], int] = time.time_ns,
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._settings, self._sampler, self._writer = settings, sampler, writer
        self._journal, self._measure = journal, measure
        self._clock, self._uptime = clock, uptime
        self._queue: deque[Json] = deque()
        self._filled = trio.Event()
        self._begun: list[Running] = []
        self._awake = trio.Event()
        self.written = self.dropped = 0
        self._observers: Observers | None = None

    def observe(self, observers: Observers) -> None:
        """Have rows made of what the accounts of cost, state and GPUs see at the API."""
        self._observers = observers
        self._sampler.sees = observers.seen

    def started(self, one: Running) -> None:
        """Have a pod sampled that has just started; it may have ended when its turn comes."""
        self._begun.append(one)
        self._awake.set()

    async def run(
        self,
        running: Callable[[], Sequence[Running]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Sample and insert until cancelled; then try for a moment to insert what is left.

        Args:
            running: the pods that run now.
            task_status: started at once.
        """
        task_status.started()
        async with self._writer:
            try:
                await self._feed(running)
            finally:
                with trio.move_on_after(self._settings.drain_s) as scope:
                    scope.shield = True
                    while self._queue and await self._insert():
                        pass

    async def _feed(self, running: Callable[[], Sequence[Running]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._insert_all)
            while True:
                self._awake = trio.Event()
                begun, self._begun = self._begun, []
                now = {one.uid: one for one in [*begun, *running()]}
                await self._sample(list(now.values()))
                with trio.move_on_after(min(LOOK_S, self._settings.period_s)):
                    await self._awake.wait()

    async def _sample(self, running: Sequence[Running]) -> None:
        now_s, now_ns = self._uptime(), self._clock()
        due = self._sampler.due(running, now_s, now_ns)
        if not due:
            return
        if self._observers is not None:
            await self._observers.see(one.pod for one in due)
        pids = [one.pid for one in due if one.pid is not None]
        used = await trio.to_thread.run_sync(self._measure, pids) if pids else {}
        for one in due:
            usage = used.get(one.pid) if one.pid is not None else None
            self._put(self._sampler.sample(one, usage, now_s=now_s, now_ns=now_ns))

    def _put(self, rows: Sequence[Json]) -> None:
        self._queue.extend(rows)
        lost = len(self._queue) - self._settings.queue_rows
        for _ in range(lost):
            self._queue.popleft()
        self._lose(lost, "backlog")
        self._filled.set()

    async def _insert_all(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            while self._queue:
                if await self._insert():
                    pause_s = FIRST_PAUSE_S
                    continue
                await trio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause_s = min(pause_s * 2, MAX_PAUSE_S)

    async def _insert(self) -> bool:
        """Insert the oldest rows; False if ClickHouse is away and they are to be kept."""
        batch = [self._queue.popleft() for _ in range(self._next_rows())]
        try:
            self.written += await self._writer.insert(TABLE, batch)
        except WriteFailed as error:
            if error.retryable:
                self._queue.extendleft(reversed(batch))
                return False
            self._lose(len(batch), "refused")
        except trio.Cancelled:
            self._queue.extendleft(reversed(batch))
            raise
        return True

    def _next_rows(self) -> int:
        return min(len(self._queue), self._settings.batch_rows)

    def _lose(self, rows: int, reason: str) -> None:
        if rows > 0:
            self.dropped += rows
            self._journal.event("samples_lost", rows=rows, reason=reason)
