"""Pods as the API serves them, over HTTP or called directly by parts of the same process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from customer_stub.kubernetes import status as errors
from customer_stub.kubernetes.admission import admit_pod
from customer_stub.kubernetes.selectors import Selector
from customer_stub.kubernetes.store import Conflict, Expired, Missing, ObjectStore
from customer_stub.pods import status
from customer_stub.settings import CustomerSettings

PODS = "pods"

Json = dict[str, Any]


class PodApi:
    """Creates, reads, deletes and watches pods. Objects returned are not to be changed.

    Args:
        store: where the pods are.
        settings: limits and defaults.
        clock: wall clock, nanoseconds since the epoch.
        new_uid: makes the uid of a pod.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: CustomerSettings,
        *,
        clock: Callable[[], int] = time.time_ns,
        new_uid: Callable[[], str],
    ) -> None:
        self._store, self._settings = store, settings
        self._clock, self._new_uid = clock, new_uid

    def create(self, namespace: str, body: Any) -> Json:
        """Add a pod, which then runs.

        Raises:
            ApiError: 400, 403 (quota), 409, 422.
        """
        pod = admit_pod(body, namespace)
        name = pod["metadata"]["name"]
        pod["metadata"]["uid"] = self._new_uid()
        pod["metadata"]["creationTimestamp"] = status.timestamp(self._clock())
        pod["spec"].setdefault("terminationGracePeriodSeconds", self._settings.grace_s)
        pod["status"] = status.pending()
        if len(self._store.list(PODS)) >= self._settings.max_pods:
            raise errors.quota_exceeded(name, self._settings.max_pods)
        try:
            return self._store.create(PODS, pod)
        except Conflict:
            raise errors.already_exists(PODS, name) from None

    def get(self, namespace: str, name: str) -> Json:
        """Return a pod.

        Raises:
            ApiError: 404.
        """
        try:
            return self._store.get(PODS, namespace, name)
        except Missing:
            raise errors.not_found(PODS, name) from None

    def list(self, namespace: str | None, selector: Selector | None = None) -> Json:
        """Return a PodList of one namespace or of all."""
        items = [
            {key: value for key, value in pod.items() if key not in ("kind", "apiVersion")}
            for pod in self._store.list(PODS, namespace)
            if selector is None or selector(pod)
        ]
        meta = {"resourceVersion": str(self._store.version)}
        return {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items}

    def delete(self, namespace: str, name: str, *, grace_s: int | None = None) -> Json:
        """Remove a pod: at once if it has ended or `grace_s` is 0, else when it has stopped.

        Raises:
            ApiError: 404.
        """
        pod = self.get(namespace, name)
        if grace_s is None:
            grace_s = pod["spec"]["terminationGracePeriodSeconds"]
        if grace_s == 0 or status.is_terminal(pod):
            return self._store.delete(PODS, namespace, name)
        meta = pod["metadata"]
        if meta.get("deletionGracePeriodSeconds", grace_s + 1) <= grace_s:
            return pod

        def mark(copy: Json) -> None:
            copy["metadata"].setdefault("deletionTimestamp", status.timestamp(self._clock()))
            copy["metadata"]["deletionGracePeriodSeconds"] = grace_s

        return self._store.update(PODS, namespace, name, mark)

    def check_version(self, since: int) -> None:
        """Raise ApiError 410 or 504 if a watch can't start after version `since`."""
        if since > self._store.version:
            raise errors.version_too_large(since, self._store.version)
        try:
            self._store.events_since(since)
        except Expired:
            raise errors.expired() from None

    async def watch(
        self,
        namespace: str | None,
        *,
        since: int = 0,
        timeout_s: float | None = None,
        bookmarks: bool = False,
        selector: Selector | None = None,
    ) -> AsyncIterator[Json]:
        """Yield watch events: ADDED, MODIFIED, DELETED, BOOKMARK; ERROR with 410 is the last one.

        Args:
            namespace: None for all.
            since: version after which to start; 0 means everything there is, as ADDED, first.
            timeout_s: the watch then ends, with a bookmark if there are bookmarks.
            bookmarks: tell the version now and then.
            selector: which pods.

        Raises:
            ApiError: 410 or 504 before the first event.
        """
        longest_s = self._settings.watch_timeout_s
        deadline = trio.current_time() + min(timeout_s or longest_s, longest_s)
        bookmark_at = trio.current_time() + self._settings.bookmark_s

        def chosen(pod: Json) -> bool:
            inside = namespace in (None, pod["metadata"]["namespace"])
            return inside and (selector is None or selector(pod))

        seen = since
        if since:
            self.check_version(since)
        else:
            seen = self._store.version
            for pod in filter(chosen, self._store.list(PODS)):
                yield {"type": "ADDED", "object": pod}
        while trio.current_time() < deadline:
            with trio.move_on_at(min(deadline, bookmark_at) if bookmarks else deadline):
                await self._store.changed(seen)
            try:
                events = self._store.events_since(seen)
            except Expired:
                yield {"type": "ERROR", "object": errors.expired().status()}
                return
            for event in events:
                seen = event.version
                if event.resource == PODS and chosen(event.object):
                    yield {"type": event.type, "object": event.object}
            if bookmarks and trio.current_time() >= min(deadline, bookmark_at):
                bookmark_at = trio.current_time() + self._settings.bookmark_s
                yield {"type": "BOOKMARK", "object": _bookmark(seen)}


def _bookmark(version: int) -> Json:
    meta = {"resourceVersion": str(version), "creationTimestamp": None}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": meta,
        "spec": {"containers": None},
        "status": {},
    }
