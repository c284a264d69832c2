"""Pods as the API serves them, over HTTP or called directly by parts of the same process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kube.server.admission import admit_pod
from kube.server.kinds import PODS as RESOURCE
from kube.server.objects import Objects, invalid
from kube.server.store import ObjectStore
from kube.server.values import timestamp
from kube.settings import ApiSettings

PODS = RESOURCE.key

Json = dict[str, Any]


class PodApi(Objects):
    """See Objects; a pod's spec stays as it is, and its deletion takes a while."""

    def __init__(self, store: ObjectStore, settings: ApiSettings, **made: Any) -> None:
        super().__init__(RESOURCE, store, settings, **made)

    @property
    def limit(self) -> int:
        """See Objects."""
        return self._settings.max_pods

    def admit(self, body: Any, namespace: str) -> Json:
        """See Objects."""
        pod = admit_pod(body, namespace)
        pod["spec"].setdefault("terminationGracePeriodSeconds", self._settings.grace_s)
        return {**pod, "status": {"phase": "Pending"}}

    def check_change(self, old: Json, new: Json) -> None:
        """See Objects."""
        if new["spec"] != old["spec"]:
            why = "pod updates may not change fields of the spec"
            raise invalid(RESOURCE, old["metadata"]["name"], [("spec", "FieldValueForbidden", why)])

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
