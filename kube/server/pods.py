"""Pods as the API serves them, over HTTP or called directly by parts of the same process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from kube.server import status as errors
from kube.server.admission import admit_pod
from kube.server.collection import Collection
from kube.server.kinds import PODS as RESOURCE
from kube.server.store import Conflict, ObjectStore
from kube.server.values import timestamp
from kube.settings import ApiSettings

PODS = RESOURCE.name

Json = dict[str, Any]


class PodApi(Collection):
    """Creates, reads, deletes and watches pods. Objects returned are not to be changed.

    Args:
        store: where the pods are.
        settings: limits and defaults.
        clock: wall clock, nanoseconds since the epoch.
        new_uid: makes the uid of a pod.
        used: told the namespace of each new pod.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: ApiSettings,
        *,
        clock: Callable[[], int] = time.time_ns,
        new_uid: Callable[[], str],
        used: Callable[[str], None] = lambda namespace: None,
    ) -> None:
        super().__init__(RESOURCE, store, settings)
        self._clock, self._new_uid, self._used = clock, new_uid, used

    def create(self, namespace: str, body: Any) -> Json:
        """Add a pod, which then runs.

        Raises:
            ApiError: 400, 403 (quota), 409, 422.
        """
        pod = admit_pod(body, namespace)
        name = pod["metadata"]["name"]
        pod["metadata"]["uid"] = self._new_uid()
        pod["metadata"]["creationTimestamp"] = timestamp(self._clock())
        pod["spec"].setdefault("terminationGracePeriodSeconds", self._settings.grace_s)
        pod["status"] = {"phase": "Pending"}
        if self._store.count(PODS) >= self._settings.max_pods:
            raise errors.quota_exceeded(name, self._settings.max_pods)
        self._used(namespace)
        try:
            return self._store.create(PODS, pod)
        except Conflict:
            raise errors.already_exists(PODS, name) from None

    def delete(self, namespace: str, name: str, *, grace_s: int | None = None) -> Json:
        """Remove a pod: at once if it has ended or `grace_s` is 0, else when it has stopped.

        Raises:
            ApiError: 404.
        """
        pod = self.get(namespace, name)
        if grace_s is None:
            grace_s = pod["spec"]["terminationGracePeriodSeconds"]
        if grace_s == 0 or is_terminal(pod):
            return self._store.delete(PODS, namespace, name)
        meta = pod["metadata"]
        if meta.get("deletionGracePeriodSeconds", grace_s + 1) <= grace_s:
            return pod

        def mark(copy: Json) -> None:
            copy["metadata"].setdefault("deletionTimestamp", timestamp(self._clock()))
            copy["metadata"]["deletionGracePeriodSeconds"] = grace_s

        return self._store.update(PODS, namespace, name, mark)


def is_terminal(pod: Mapping[str, Any]) -> bool:
    """Tell whether the pod's container has ended for good."""
    return pod["status"]["phase"] in ("Succeeded", "Failed")
