"""What is checked and changed before a pod is stored: webhooks, service account, quota."""

from __future__ import annotations

from kube.server import status as errors
from kube.server.cluster import ClusterObjects
from kube.server.kinds import Json, Kind
from kube.server.pods import is_terminal
from kube.server.shapes import HARD, QUOTAS
from kube.server.tokens import User
from kube.server.values import quantity
from kube.server.webhooks import Webhooks

PODS = "pods"


class Admission:
    """Admits new objects.

    Args:
        objects: the cluster's.
        webhooks: asked first; they may change the object.
    """

    def __init__(self, objects: ClusterObjects, webhooks: Webhooks) -> None:
        self._objects, self._webhooks = objects, webhooks

    async def admit(self, user: User, kind: Kind, namespace: str, obj: Json) -> Json:
        """Return a new object as it is to be stored.

        Raises:
            ApiError: it is refused, or a webhook that must be asked isn't there.
        """
        obj = await self._webhooks.review(user, kind, namespace, obj)
        obj = self._objects.kinds[kind.key].admit(obj, namespace)  # whatever they made of it
        if kind.key == PODS:
            self._check_account(namespace, obj)
            self._check_quota(namespace, obj)
        return obj

    def _check_account(self, namespace: str, pod: Json) -> None:
        account, known = pod["spec"].get("serviceAccountName"), self._objects.kinds
        if account and not known["serviceaccounts"].has(namespace, account):
            raise errors.no_service_account(pod["metadata"]["name"], namespace, account)

    def _check_quota(self, namespace: str, pod: Json) -> None:
        pods = self._objects.store.list(PODS, namespace)
        used = sum(not is_terminal(other) for other in pods)
        for quota in self._objects.store.list(QUOTAS, namespace):
            hard = (quota.get("spec") or {}).get("hard") or {}
            limits = [quantity(hard[name]) for name in HARD if name in hard]
            for limit in filter(lambda found: found is not None and used >= found, limits):
                name, of = pod["metadata"]["name"], quota["metadata"]["name"]
                raise errors.over_quota(name, of, used, int(limit or 0))
