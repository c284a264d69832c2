"""DataProxyService/TailLogs: finds the attempt's log and sends it, live and after the end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest, TailLogsResponse

from compute_agent.attempts import Attempt, BadName
from compute_agent.exchange import check_scope, current_exchange
from compute_agent.logs.cursor import BadCursor, Cursor
from compute_agent.logs.feed import Feed, FellBehind, Follower
from compute_agent.logs.filler import Filler
from compute_agent.logs.history import History, HistoryDown, LogId
from compute_agent.logs.index import LogUnreadable, OffsetIndex
from compute_agent.logs.options import BadOption, TailOptions
from compute_agent.logs.outbox import Outbox
from compute_agent.logs.pace import Pace, Ticks
from compute_agent.logs.settings import HistoryLimits
from compute_agent.logs.source import Source
from compute_agent.logs.tail import Tail
from compute_agent.logs.watcher import Watch, Watcher
from compute_agent.pods import Change, PodStore
from compute_agent.settings import LogLimits
from tunnel.messages.rpc import Context, Prepared

MayRead = Callable[[str, str], Awaitable[None]]  # namespace and name of a pod


class LogService:
    """Serves tails.

    Args:
        cluster: name shown to viewers.
        store: the agent's picture of its pods.
        root: directory of the nodes' pod logs.
        index: numbers the log files.
        limits: bounds.
        now_s: wall clock, seconds since the epoch.
        history: where logs are when their files are gone; None: they are gone.
        history_limits: bounds of reading from there.
        watcher: wakes tails when their files change; None: they look every now and then.
        ticks: the clock that they share.
        may_read: raises ConnectError unless a pod's log may be read; None: nobody is asked.
    """

    def __init__(
        self,
        cluster: str,
        store: PodStore,
        root: Path,
        index: OffsetIndex,
        limits: LogLimits,
        now_s: Callable[[], float] = time.time,
        history: History | None = None,
        history_limits: HistoryLimits | None = None,
        watcher: Watcher | None = None,
        ticks: Ticks | None = None,
        may_read: MayRead | None = None,
    ) -> None:
        self._cluster, self._store, self._root = cluster, store, root
        self._index, self._limits, self._now_s = index, limits, now_s
        self._batching, self._ticks = limits.batching(), ticks or Ticks()
        self._history = history
        self._history_limits = history_limits or HistoryLimits()
        self._watcher = watcher or Watcher(0)
        self._outbox = Outbox()
        self._watcher.served = self._ticks.served = self._outbox.send
        self._feeds: dict[str, Feed] = {}
        self._tails, self._may_read = 0, may_read
        store.listen(self._wake)

    async def tail_logs(
        self, request: TailLogsRequest, _ctx: Context
    ) -> AsyncIterator[Prepared[TailLogsResponse]]:
        """Send an attempt's lines until it has ended and all of them are sent."""
        if self._tails >= self._limits.max_tails:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"{self._tails} tails are open already")
        self._tails += 1
        try:
            attempt, options, cursor = self._understand(request)
            attempt, source = await self._find(attempt, cursor, latest=not request.attempt)
            if self._may_read is not None:
                await self._may_read(source.namespace, source.pod)
            log = _Log(self, attempt, source, follow=options.follow)
            feeds = self._feeds if options.follow else None
            while True:
                feed = await self._feed(log, options, cursor)
                follower = Follower(feeds, feed, self._outbox)
                try:
                    while units := await follower.units():
                        for unit in units:
                            yield unit.message
                            current_exchange.get().mark(unit.mark)  # the message is on its way
                    return
                except FellBehind:
                    cursor = Cursor.decode(follower.mark)
                finally:
                    follower.close()
        except LogUnreadable as error:
            raise ConnectError(Code.DATA_LOSS, str(error)) from None
        except HistoryDown:
            raise ConnectError(Code.UNAVAILABLE, "the log aggregator can't be reached") from None
        finally:
            self._tails -= 1

    def _understand(self, request: TailLogsRequest) -> tuple[Attempt, TailOptions, Cursor | None]:
        run = request.action_id.run
        check_scope(run.org, run.project, run.domain)
        exchange = current_exchange.get()
        number = request.attempt or 1
        attempt = Attempt(
            run.org, run.project, run.domain, run.name, request.action_id.name, number
        )
        if not request.attempt:
            attempt = attempt.numbered(self._store.latest(attempt))
        try:
            attempt.check()
            options = TailOptions.parse(exchange.request.get, self._now_s)
            cursor = Cursor.decode(exchange.cursor) if exchange.cursor else None
        except (BadName, BadOption, BadCursor) as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None
        return attempt, options, cursor

    async def _find(
        self, attempt: Attempt, cursor: Cursor | None, *, latest: bool
    ) -> tuple[Attempt, Source]:
        """Return where the attempt's log is; waits a little for a pod that is being assigned."""
        known, down = await self._gone(attempt, cursor, latest=latest)
        if known is not None:
            return known
        left = cursor is not None and (
            self._history is not None or self._source(attempt, cursor.uid).directory.is_dir()
        )
        with trio.move_on_after(self._limits.pod_wait_s):
            while self._store.get(attempt) is None and not (left and self._store.synced):
                await self._store.changed()
        pod = self._store.get(attempt)
        if pod is not None:
            return attempt, self._source(attempt, pod.uid)
        if cursor is not None and left:  # deleted while the agent was down
            return attempt, self._source(attempt, cursor.uid)
        known, down = await self._gone(attempt, cursor, latest=latest)
        if known is not None:
            return known  # collected meanwhile
        if down:
            raise HistoryDown
        raise ConnectError(Code.NOT_FOUND, "this run has no such action or attempt here")

    async def _gone(
        self, attempt: Attempt, cursor: Cursor | None, *, latest: bool
    ) -> tuple[tuple[Attempt, Source] | None, bool]:
        """Look for a pod that only the aggregator knows; also return whether it can't be asked."""
        if cursor is not None or self._store.get(attempt) is not None:
            return None, False
        known, down = await self._remembered(attempt, latest=latest)
        if known is None:
            return None, down
        return (known.attempt, self._source(known.attempt, known.uid)), False

    async def _remembered(self, attempt: Attempt, *, latest: bool) -> tuple[LogId | None, bool]:
        """Ask the aggregator for an attempt's log; also return whether it can't be asked."""
        if self._history is None:
            return None, False
        try:
            with trio.fail_after(self._history_limits.request_s):
                container = self._limits.container
                return await self._history.find(attempt, container, latest=latest), False
        except (HistoryDown, trio.TooSlowError):
            return None, True

    def _source(self, attempt: Attempt, uid: str) -> Source:
        container = self._limits.container
        namespace, pod = attempt.namespace, attempt.pod
        directory = self._root / f"{namespace}_{pod}_{uid}" / container
        return Source(self._cluster, namespace, pod, container, uid, attempt.short_pod, directory)

    async def _feed(self, log: _Log, options: TailOptions, cursor: Cursor | None) -> Feed:
        """Begin to read a log at the place that a viewer wants."""
        source, limits, history = log.source, self._limits, self._history is not None
        tail = await Tail.start(source, self._index, limits, options, cursor, history=history)
        watch = Watch(self._watcher, source.directory)
        pace = Pace(
            self._ticks, self._batching, limits.keepalive_s, self._history_limits.poll_s, watch
        )
        return Feed(source, tail, log, pace, watch, self._filler(log), limits.shared_bytes)

    def _filler(self, log: _Log) -> Filler | None:
        if self._history is None:
            return None
        name = LogId(log.attempt, log.source.uid, log.source.container)
        return Filler(self._history, name, self._history_limits)

    def _wake(self, change: Change) -> None:
        """Have a pod's tails look: it may have ended."""
        self._watcher.wake(f"{change.pod.namespace}_{change.pod.name}_")

    def ended(self, attempt: Attempt, source: Source) -> bool:
        """Whether nothing more will be written."""
        pod = self._store.get(attempt)
        if pod is None:
            return self._store.synced
        return pod.ended or pod.uid != source.uid

    async def goes_on(self, attempt: Attempt, source: Source, tail: Tail) -> bool:
        """Whether a log that ended on the node goes on in the aggregator: its files are gone."""
        if not self.ended(attempt, source) or not tail.vanished():
            return False
        pod = self._store.get(attempt)
        if self._history is None:
            tail.tell_loss(ran=pod is not None and pod.scheduled)
            return False
        if pod is not None and pod.uid == source.uid and not pod.scheduled:
            known, down = await self._remembered(attempt, latest=False)
            if down:
                raise HistoryDown
            if known is None:
                return False  # it never ran
        tail.open_end()
        return True


@dataclass(frozen=True, slots=True)
class _Log:
    """The log of one attempt, as a feed sees it.

    Args:
        service: that knows the pods.
        attempt, source: whose log.
        follow: whether to go on until the attempt has ended.
    """

    service: LogService
    attempt: Attempt
    source: Source
    follow: bool

    def ended(self) -> bool:
        return not self.follow or self.service.ended(self.attempt, self.source)

    def goes_on(self, tail: Tail) -> Awaitable[bool]:
        return self.service.goes_on(self.attempt, self.source, tail)
