"""What each project's domain has in the cluster: namespace, service account, quota, binding.

clustersync makes it (Appendix D: `clustersync-resource`), and before the first pod there: nobody
else of the agent's may.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import trio

from compute_agent.attempts import LABEL_PREFIX, Attempt
from kube.client import KubernetesApi

ACCOUNT = "clusterresource-template"  # what task pods run as (Appendix E)
QUOTA, ROLE = "workspace", "workspace"
RBAC = "rbac.authorization.k8s.io"
CONFLICT = 409

Json = dict[str, Any]


class Workspaces:
    """Makes workspaces, each once in an agent's life, so that changed settings take effect.

    Args:
        api: as the account clustersync.
        max_pods: quota of pods that have not ended.
    """

    def __init__(self, api: KubernetesApi, max_pods: int) -> None:
        self._api, self._max_pods = api, max_pods
        self._made: set[str] = set()
        self._one_at_a_time = trio.Lock()

    async def ensure(self, attempt: Attempt) -> None:
        """Make an attempt's workspace unless this was done.

        Raises:
            ClusterError
        """
        namespace = attempt.namespace
        async with self._one_at_a_time:
            if namespace not in self._made:
                await self._make(attempt)
                self._made.add(namespace)

    def forget(self, attempt: Attempt) -> None:
        """Somebody has removed an attempt's workspace."""
        self._made.discard(attempt.namespace)

    async def _make(self, attempt: Attempt) -> None:
        name = attempt.namespace
        labels = {key: value for key, value in attempt.labels().items() if key in SCOPE_LABELS}
        within = f"/api/v1/namespaces/{quote(name)}"
        roles = f"/apis/{RBAC}/v1/namespaces/{quote(name)}"
        await self._put("/api/v1/namespaces", _object("v1", "Namespace", name, labels))
        account = _object("v1", "ServiceAccount", ACCOUNT, labels)
        await self._put(f"{within}/serviceaccounts", account)
        quota = _object("v1", "ResourceQuota", QUOTA, labels)
        quota["spec"] = {"hard": {"pods": str(self._max_pods)}}
        await self._put(f"{within}/resourcequotas", quota)
        await self._put(f"{roles}/roles", _role(labels))
        await self._put(f"{roles}/rolebindings", _binding(name, labels))

    async def _put(self, path: str, obj: Json) -> None:
        """Create an object; one that is there already is made like it."""
        status, _ = await self._api.call("POST", path, body=obj, also=(CONFLICT,))
        if status == CONFLICT:
            await self._api.call("PUT", f"{path}/{quote(obj['metadata']['name'])}", body=obj)


SCOPE_LABELS = tuple(LABEL_PREFIX + name for name in ("org", "project", "domain"))


def _object(version: str, kind: str, name: str, labels: dict[str, str]) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}}


def _role(labels: dict[str, str]) -> Json:
    """Return what a task may do in its own namespace: look at its pods."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    return {**_object(f"{RBAC}/v1", "Role", ROLE, labels), "rules": [rule]}


def _binding(namespace: str, labels: dict[str, str]) -> Json:
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}
    reference = {"apiGroup": RBAC, "kind": "Role", "name": ROLE}
    binding = _object(f"{RBAC}/v1", "RoleBinding", ROLE, labels)
    return {**binding, "roleRef": reference, "subjects": [account]}
