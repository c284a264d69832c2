"""RunService/WatchClusterEvents: the Kubernetes events of an attempt's pod, live."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.workflow.run_service_pb2 import (
    WatchClusterEventsRequest,
    WatchClusterEventsResponse,
)

from compute_agent.attempts import Attempt, BadName
from compute_agent.events.cursor import BadCursor, Cursor
from compute_agent.events.event import PodEvent
from compute_agent.events.feeds import Feed, Feeds
from compute_agent.events.settings import EventSettings
from compute_agent.exchange import check_scope, current_exchange
from compute_agent.pods import PodStore
from kube.client import ClusterError
from tunnel.messages.rpc import Context

FOLLOW = "planesplit-follow"  # header: "false" ends the watch when what is there was sent
NO_ANSWER = "the cluster's API does not answer"
BATCH_EVENTS = 3  # a unit is at most 64 KiB, an event 16 KiB and a little

Unit = tuple[WatchClusterEventsResponse, Cursor]


class EventService:
    """Serves watches of events. The first empty message says that the viewer has caught up.

    Args:
        feeds: where events come from; None where there is no Kubernetes API.
        store: the agent's picture of its pods.
        settings: bounds.
    """

    def __init__(self, feeds: Feeds | None, store: PodStore, settings: EventSettings) -> None:
        self._feeds, self._store, self._settings = feeds, store, settings
        self._watches = 0

    async def watch_cluster_events(
        self, request: WatchClusterEventsRequest, _ctx: Context
    ) -> AsyncIterator[WatchClusterEventsResponse]:
        """Send a pod's events until it has ended and all of them are sent."""
        if self._feeds is None:
            raise ConnectError(Code.UNAVAILABLE, "events: the Kubernetes API is not configured")
        if self._watches >= self._settings.max_watches:
            raise ConnectError(
                Code.RESOURCE_EXHAUSTED, f"{self._watches} watches of events are open already"
            )
        self._watches += 1
        try:
            attempt, cursor, follow = self._understand(request)
            cursor = cursor or Cursor(await self._uid(self._feeds, attempt))
            key = attempt.namespace, attempt.pod, cursor.uid
            with self._feeds.follow(key) as feed:
                watch = _Watch(feed, cursor, self._settings)
                while True:
                    over = self._over(attempt, cursor.uid)
                    if over:
                        await watch.settle()
                    for message, at in watch.due():
                        yield message
                        current_exchange.get().mark(at.encode())  # the message is on its way
                    if (over and watch.settled) or (watch.live and not follow):
                        return
                    if not over:
                        await watch.pause()
        finally:
            self._watches -= 1

    def _understand(
        self, request: WatchClusterEventsRequest
    ) -> tuple[Attempt, Cursor | None, bool]:
        run = request.id.run
        check_scope(run.org, run.project, run.domain)
        number = request.attempt or 1
        attempt = Attempt(run.org, run.project, run.domain, run.name, request.id.name, number)
        if not request.attempt:
            attempt = attempt.numbered(self._store.latest(attempt))
        exchange = current_exchange.get()
        follow = exchange.request.get(FOLLOW) or "true"
        if follow not in ("true", "false"):
            raise ConnectError(Code.INVALID_ARGUMENT, f"{FOLLOW} must be true or false")
        try:
            attempt.check()
            cursor = Cursor.decode(exchange.cursor) if exchange.cursor else None
            return attempt, cursor, follow == "true"
        except (BadName, BadCursor) as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from None

    async def _uid(self, feeds: Feeds, attempt: Attempt) -> str:
        """Return the pod's uid; waits a little for a pod that is being assigned.

        A pod that was deleted before this agent started is still known by its events.
        """
        with trio.move_on_after(self._settings.pod_wait_s):
            while self._store.get(attempt) is None:
                await self._store.changed()
        pod = self._store.get(attempt)
        if pod is not None:
            return pod.uid
        try:
            uid = await feeds.last_uid(attempt.namespace, attempt.pod)
        except ClusterError:
            raise ConnectError(Code.UNAVAILABLE, NO_ANSWER) from None
        if uid is None:
            raise ConnectError(Code.NOT_FOUND, "this run has no such action or attempt here")
        return uid

    def _over(self, attempt: Attempt, uid: str) -> bool:
        pod = self._store.get(attempt)
        if pod is None:
            return self._store.synced
        return pod.ended or pod.uid != uid


class _Watch:
    """One viewer's place in a feed, and when to send."""

    def __init__(self, feed: Feed, cursor: Cursor, settings: EventSettings) -> None:
        self._feed, self._cursor, self._settings = feed, cursor, settings
        self._sent_s = trio.current_time()
        self._settle_at: float | None = None
        self.settled = False

    @property
    def live(self) -> bool:
        """Whether everything that there was has been sent."""
        return self._cursor.live

    def due(self) -> list[Unit]:
        """Return what is to be sent now, each message with the cursor behind it."""
        events = self._feed.after(self._cursor.version)
        starts = range(0, len(events), BATCH_EVENTS)
        units = [self._unit(events[start : start + BATCH_EVENTS]) for start in starts]
        if self._feed.listed and not self._cursor.live:
            self._cursor = replace(self._cursor, live=True)
            units.append((WatchClusterEventsResponse(), self._cursor))
        now = trio.current_time()
        if not units and self._cursor.live and now >= self._sent_s + self._settings.keepalive_s:
            units.append((WatchClusterEventsResponse(), self._cursor))
        if units:
            self._sent_s = now
        return units

    def _unit(self, events: list[PodEvent]) -> Unit:
        limit = self._settings.max_message_bytes
        answer = WatchClusterEventsResponse(cluster_events=[e.as_message(limit) for e in events])
        self._cursor = replace(self._cursor, version=events[-1].version)
        return answer, self._cursor

    async def pause(self) -> None:
        """Wait until there is something to send.

        Raises:
            ConnectError: UNAVAILABLE, the API has been away for too long.
        """
        until = self._sent_s + self._settings.keepalive_s if self._cursor.live else math.inf
        if (since := self._feed.failing_since_s) is not None:
            limit = since + self._settings.unavailable_s
            if trio.current_time() >= limit:
                raise ConnectError(Code.UNAVAILABLE, NO_ANSWER)
            until = min(until, limit)
        with trio.move_on_at(until):
            await self._feed.changed()

    async def settle(self) -> None:
        """The pod has ended: read its events once more, a little later."""
        now = trio.current_time()
        if self._settle_at is None:
            self._settle_at = now + self._settings.settle_s
            return
        await trio.sleep_until(self._settle_at)
        try:
            await self._feed.list()
        except ClusterError:
            raise ConnectError(Code.UNAVAILABLE, NO_ANSWER) from None
        self.settled = True
