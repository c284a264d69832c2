"""Events of core/v1: what happened to a pod. Repetitions raise an event's count."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from kube.server.kinds import EVENTS as RESOURCE
from kube.server.store import Missing, ObjectStore
from kube.server.values import timestamp

EVENTS = RESOURCE.key
NORMAL, WARNING = "Normal", "Warning"
SCHEDULER, KUBELET = "default-scheduler", "kubelet"
MAX_MESSAGE_CHARS = 1024  # Kubernetes' limit for an event's note

Json = dict[str, Any]


class EventRecorder:
    """Writes the events of pods.

    Args:
        store: where they go.
        clock: wall clock, nanoseconds since the epoch.
        new_uid: makes the uid of an event.
        limit: most events kept; the oldest make room (Kubernetes forgets by age, after an hour).
        node: name of the node, shown as an event's host.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        clock: Callable[[], int],
        new_uid: Callable[[], str],
        limit: int,
        node: str,
    ) -> None:
        self._store, self._clock, self._new_uid = store, clock, new_uid
        self._limit, self._node = limit, node
        self._names: OrderedDict[tuple[str, ...], tuple[str, str]] = OrderedDict()

    def normal(self, pod: Json, reason: str, message: str, *, source: str = KUBELET) -> None:
        """Record that something happened as it should."""
        self._record(pod, NORMAL, reason, message, source)

    def warning(self, pod: Json, reason: str, message: str, *, source: str = KUBELET) -> None:
        """Record that something went wrong."""
        self._record(pod, WARNING, reason, message, source)

    def _record(self, pod: Json, type_: str, reason: str, message: str, source: str) -> None:
        message = message[:MAX_MESSAGE_CHARS]
        key = (pod["metadata"]["uid"], type_, reason, message, source)
        name = self._names.get(key)
        if name is not None:
            try:
                self._store.update(EVENTS, *name, self._again)
                return
            except Missing:
                del self._names[key]
        event = self._event(pod, type_, reason, message, source)
        self._store.create(EVENTS, event)
        self._names[key] = (event["metadata"]["namespace"], event["metadata"]["name"])
        while len(self._names) > self._limit:
            _, oldest = self._names.popitem(last=False)
            self._store.delete(EVENTS, *oldest)

    def _again(self, event: Json) -> None:
        event["count"] += 1
        event["lastTimestamp"] = timestamp(self._clock())

    def _event(self, pod: Json, type_: str, reason: str, message: str, source: str) -> Json:
        meta, uid = pod["metadata"], self._new_uid()
        now = timestamp(self._clock())
        component = {"component": source}
        if source == KUBELET:
            component["host"] = self._node
        return {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {
                "name": f"{meta['name']}.{self._store.version + 1:x}",
                "namespace": meta["namespace"],
                "uid": uid,
                "creationTimestamp": now,
            },
            "involvedObject": {
                "kind": "Pod",
                "apiVersion": "v1",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "reason": reason,
            "message": message,
            "source": component,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": type_,
            "reportingComponent": source,
            "reportingInstance": self._node if source == KUBELET else "",
        }
