"""Running queries: how many at once, each in worker threads, ended when nobody wants them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import trio

from customer_stub.clickhouse import errors
from customer_stub.clickhouse.engine import Chunk, Cursor, Engine, Job
from customer_stub.clickhouse.errors import QueryError
from customer_stub.clickhouse.settings import ClickHouseSettings, UserSettings
from tunnel.journal import Journal

KILL_S = 5.0  # for the engine to take a KILL; it takes milliseconds
STUCK_S = 30.0  # a killed query ends between two blocks: milliseconds, seconds on a busy machine
KILL_THREADS = 2

T = TypeVar("T")


class Queries:
    """The queries under way.

    A place is taken from `start` until the engine has really let go of the query, so that
    abandoned threads count.

    Args:
        engine: what runs them.
        settings: limits.
        journal: told of numbers only.
    """

    def __init__(self, engine: Engine, settings: ClickHouseSettings, journal: Journal) -> None:
        self.engine, self._settings, self._journal = engine, settings, journal
        self._places = trio.Semaphore(settings.max_queries)
        self._killers = trio.CapacityLimiter(KILL_THREADS)
        self._shares = {user.name: trio.Semaphore(user.max_queries) for user in settings.users}
        self._running: dict[str, Query] = {}
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Host the tidying of ended queries until cancelled; then kill what runs."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                for query in list(self._running.values()):
                    query.stop(errors.cancelled())

    async def start(self, job: Job, user: UserSettings, query_id: str, *, limit_s: float) -> Query:
        """Take a place and start a query.

        Args:
            job: what to run.
            user: whose place it takes.
            query_id: the client's name of it; unique among running ones.
            limit_s: seconds until it fails with 159.

        Raises:
            QueryError: no place (202), the id runs already (216), or the engine refuses.
        """
        if query_id in self._running:
            text = f"Query with id = {query_id} is already running."
            raise QueryError(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", text)
        query = self._running[query_id] = Query(self, job, user.name, query_id, limit_s)
        try:
            with trio.move_on_after(self._settings.queue_s):
                for place in (self._shares[user.name], self._places):
                    await place.acquire()
                    query.places.append(place)
            if len(query.places) < 2:
                raise errors.too_many_queries()
            await query.open()
        except BaseException:
            query.stop(errors.cancelled())
            raise
        return query

    def kill(self, query_id: str, user: str) -> bool:
        """Kill a running query of this user; False if there is none."""
        query = self._running.get(query_id)
        if query is None or query.user != user:
            return False
        query.stop(errors.cancelled())
        return True

    def watch(self, query: Query) -> None:
        """End a query at its deadline, whatever its client does meanwhile."""
        self._nursery.start_soon(query.expire)

    def tidy(self, query: Query, *, kill: bool) -> None:
        """See a query to its end in the background, then give its place to another."""
        self._nursery.start_soon(self._tidy, query, kill)

    async def _tidy(self, query: Query, kill: bool) -> None:
        with trio.CancelScope(shield=True):
            if kill and not query.idle.is_set():
                await self._kill(query.job.tag)
            with trio.move_on_after(STUCK_S):
                await query.idle.wait()
            if not query.idle.is_set():
                self._journal.event("query_stuck", tag=query.job.tag)
                return  # its thread, handle and place are lost
            if query.cursor is not None:
                await trio.to_thread.run_sync(query.cursor.close, limiter=self._killers)
            for place in query.places:
                place.release()
            del self._running[query.query_id]

    async def _kill(self, tag: str) -> None:
        try:
            with trio.fail_after(KILL_S):
                await trio.to_thread.run_sync(
                    self.engine.kill, tag, abandon_on_cancel=True, limiter=self._killers
                )
            self._journal.event("query_killed", tag=tag)
        except (QueryError, trio.TooSlowError) as error:
            self._journal.event("kill_failed", kind=type(error).__name__)


class Query:
    """One running query.

    Attributes:
        places: what it holds of its user's share and of all places.
        idle: set while no thread works for it.
        cursor: the engine's side of it, once there is one.
    """

    def __init__(
        self, queries: Queries, job: Job, user: str, query_id: str, limit_s: float
    ) -> None:
        self._queries, self.job, self.user, self.query_id = queries, job, user, query_id
        self.cursor: Cursor | None = None
        self.places: list[trio.Semaphore] = []
        self._ended = False
        self.idle = trio.Event()
        self.idle.set()
        self._reason = errors.cancelled()
        self._limit_s = limit_s
        self._patience = trio.CancelScope()
        self._work = trio.CancelScope()

    async def open(self) -> None:
        """Start it in the engine; raises QueryError."""
        self._queries.watch(self)
        await self._call(self._open)

    async def next(self) -> Chunk | None:
        """Return the next piece of the answer, None after the last.

        Raises:
            QueryError: it failed, took too long, or was killed.
        """
        return await self._call(self._fetch)

    async def expire(self) -> None:
        """Wait for the deadline or the end, whichever is first."""
        with self._patience:
            await trio.sleep(self._limit_s)
            self.stop(errors.timed_out(self._limit_s))

    def stop(self, reason: QueryError) -> None:
        """End it; a call under way and later ones raise the reason. Harmless after its end."""
        if not self._ended:
            self._reason = reason
            self._end(kill=True)

    def finish(self) -> None:
        """Give up a query that came to its end by itself."""
        if not self._ended:
            self._end(kill=False)

    def _end(self, *, kill: bool) -> None:
        self._ended = True
        self._patience.cancel()
        self._work.cancel()
        self._queries.tidy(self, kill=kill)

    async def _call(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread; cancelled, the thread is left to end by itself."""
        if self._ended:
            raise self._reason
        await trio.lowlevel.checkpoint_if_cancelled()
        self.idle = trio.Event()
        token, idle = trio.lowlevel.current_trio_token(), self.idle

        def in_thread() -> T:
            try:
                return work()
            finally:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(idle.set)

        with trio.CancelScope() as self._work:
            return await trio.to_thread.run_sync(
                in_thread, abandon_on_cancel=True, limiter=trio.CapacityLimiter(math.inf)
            )
        raise self._reason

    def _open(self) -> None:
        self.cursor = self._queries.engine.open(self.job)

    def _fetch(self) -> Chunk | None:
        assert self.cursor is not None
        return self.cursor.fetch()
