"""Follows the events of pods while somebody watches: list, then watch, and list again on 410.

All changes of a cluster have one order, the resource version, so a viewer's place is one number: it
has seen every change up to there. That holds over relists and lost connections, and neither loses
nor repeats an event; repetitions between two looks are in the event's count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import trio

from compute_agent.events.event import PodEvent
from compute_agent.events.settings import EventSettings
from compute_agent.pods import Change, PodStore
from kube.client import ClusterError, KubernetesApi, WatchExpired

Key = tuple[str, str, str]


def events_path(namespace: str) -> str:
    """Return where a namespace's events are."""
    return f"/api/v1/namespaces/{quote(namespace)}/events"


class Feed:
    """The events of one pod, kept up to date while it is followed.

    Attributes:
        listed: whether everything that there was has been read once.
        failing_since_s: since when the API has been away, None while it is there.

    Args:
        api: where they are read.
        key: namespace, name and uid of the pod.
        settings: bounds.
        retry_s: pause after a failed list or watch.
    """

    def __init__(
        self, api: KubernetesApi, key: Key, settings: EventSettings, retry_s: float
    ) -> None:
        namespace, name, uid = key
        self._api, self._settings, self._retry_s = api, settings, retry_s
        self._path = events_path(namespace)
        selector = f"involvedObject.name={name},involvedObject.uid={uid}"
        self._query = {"fieldSelector": selector}
        self._events: dict[str, PodEvent] = {}
        self._changed = trio.Event()
        self.users = 0
        self.scope = trio.CancelScope()
        self.listed = False
        self.failing_since_s: float | None = None

    def after(self, version: int) -> list[PodEvent]:
        """Return what has changed after a version, in the order of the changes."""
        found = (event for event in self._events.values() if event.version > version)
        return sorted(found, key=lambda event: event.version)

    async def changed(self) -> None:
        """Wait until there may be something new."""
        await self._changed.wait()

    def notify(self) -> None:
        """Let everybody look again."""
        self._changed.set()
        self._changed = trio.Event()

    async def list(self) -> str:
        """Read everything once more; return the version to watch from.

        Raises:
            ClusterError: the API does not answer as it should.
        """
        version = await self._api.pages(self._path, self._query, self._take)
        self.listed, self.failing_since_s = True, None
        self.notify()
        return version

    async def keep(self) -> None:
        """Keep up to date until cancelled."""
        with self.scope:
            while True:
                try:
                    version = await self.list()
                    while True:
                        version = await self._api.watch(
                            self._path, self._query, version, self._change
                        )
                        await trio.lowlevel.checkpoint()
                except WatchExpired:
                    continue
                except ClusterError:
                    if self.failing_since_s is None:
                        self.failing_since_s = trio.current_time()
                        self.notify()
                await trio.sleep(self._retry_s)

    def _change(self, kind: str, value: Any) -> None:
        if kind != "DELETED":  # forgotten by age; it has been told
            self._take(value)
            self.notify()

    def _take(self, value: Any) -> None:
        event = PodEvent.from_json(value)
        known = self._events.get(event.uid)
        if known is None or event.version > known.version:
            self._events[event.uid] = event
        if len(self._events) > self._settings.max_events:
            oldest = min(self._events.values(), key=lambda event: event.version)
            del self._events[oldest.uid]


class Feeds:
    """One feed for every pod that is watched, however many watch it.

    Args:
        api: where events are read.
        store: the agent's picture of its pods; told changes wake the feed's viewers.
        settings: bounds.
        retry_s: pause after a failed list or watch.
    """

    def __init__(
        self, api: KubernetesApi, store: PodStore, settings: EventSettings, retry_s: float
    ) -> None:
        self._api, self._settings, self._retry_s = api, settings, retry_s
        self._feeds: dict[Key, Feed] = {}
        self._wanted, self._want = trio.open_memory_channel[Feed](settings.max_watches)
        store.listen(self._pod_changed)

    async def run(self) -> None:
        """Keep the feeds that are followed, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for feed in self._want:
                nursery.start_soon(feed.keep)

    async def last_uid(self, namespace: str, name: str) -> str | None:
        """Return the uid of the latest pod by a name that has events, also when it is gone.

        Raises:
            ClusterError: the API does not answer as it should.
        """
        latest: dict[int, str] = {}

        def take(value: Any) -> None:
            version = PodEvent.from_json(value).version
            latest[version] = str((value.get("involvedObject") or {}).get("uid") or "")

        query = {"fieldSelector": f"involvedObject.name={name}"}
        await self._api.pages(events_path(namespace), query, take)
        return (latest[max(latest)] or None) if latest else None

    @contextmanager
    def follow(self, key: Key) -> Iterator[Feed]:
        """Follow a pod's events inside the context."""
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(self._api, key, self._settings, self._retry_s)
            self._wanted.send_nowait(feed)
        feed.users += 1
        try:
            yield feed
        finally:
            feed.users -= 1
            if not feed.users:
                del self._feeds[key]
                feed.scope.cancel()

    def _pod_changed(self, change: Change) -> None:
        pod = change.pod
        if feed := self._feeds.get((pod.namespace, pod.name, pod.uid)):
            feed.notify()
