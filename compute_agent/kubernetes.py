"""A small client of the Kubernetes API for task pods: typed arguments in, typed pods out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from compute_agent.accounts import Accounts
from compute_agent.pods import Change, Pod, PodSpec
from compute_agent.settings import ClusterLimits
from compute_agent.workspaces import ACCOUNT, Workspaces
from kube.client import ClusterRefused, KubernetesApi

ALL_PODS = "/api/v1/pods"
SECRETS_ANNOTATION = "planesplit.io/secrets"  # names only; the webhook injects values
CONFLICT, NOT_FOUND = 409, 404


class Kubernetes:
    """The cluster behind an API server.

    Args:
        api: as the account that runs pods.
        workspaces: makes the namespaces of pods.
    """

    def __init__(self, api: KubernetesApi, workspaces: Workspaces) -> None:
        self._api, self._workspaces = api, workspaces

    async def create(self, spec: PodSpec) -> bool:
        """See Cluster."""
        try:
            return await self._create(spec)
        except ClusterRefused as error:
            if error.status != NOT_FOUND:
                raise
        self._workspaces.forget(spec.attempt)
        return await self._create(spec)

    async def _create(self, spec: PodSpec) -> bool:
        await self._workspaces.ensure(spec.attempt)
        path = f"/api/v1/namespaces/{quote(spec.attempt.namespace)}/pods"
        status, _ = await self._api.call("POST", path, body=manifest(spec), also=(CONFLICT,))
        return status != CONFLICT

    async def get(self, namespace: str, name: str) -> Pod | None:
        """See Cluster."""
        status, value = await self._api.call("GET", _path(namespace, name), also=(NOT_FOUND,))
        return None if status == NOT_FOUND else Pod.from_json(value)

    async def delete(self, namespace: str, name: str) -> bool:
        """See Cluster."""
        status, _ = await self._api.call("DELETE", _path(namespace, name), also=(NOT_FOUND,))
        return status != NOT_FOUND

    async def list(self) -> tuple[list[Pod], str]:
        """See Cluster."""
        pods: list[Pod] = []

        def take(item: Any) -> None:
            if pod := Pod.from_json(item):
                pods.append(pod)

        return pods, await self._api.pages(ALL_PODS, {}, take)

    async def watch(self, version: str, tell: Callable[[Change], None]) -> str:
        """See Cluster."""

        def take(kind: str, value: Any) -> None:
            if pod := Pod.from_json(value):
                tell(Change(pod, deleted=kind == "DELETED"))

        return await self._api.watch(ALL_PODS, {}, version, take)


def open_cluster(accounts: Accounts, limits: ClusterLimits) -> Kubernetes:
    """Return the cluster, whose pods the executor runs in workspaces that clustersync makes."""
    return Kubernetes(accounts.executor, Workspaces(accounts.clustersync, limits.workspace_pods))


def manifest(spec: PodSpec) -> dict[str, Any]:
    """Return the Pod object of a task."""
    attempt = spec.attempt
    container: dict[str, Any] = {"name": spec.container, "image": spec.image}
    if spec.command:
        container["command"] = list(spec.command)
    if spec.args:
        container["args"] = list(spec.args)
    if spec.env:
        container["env"] = [{"name": n, "value": v} for n, v in sorted(spec.env.items())]
    if spec.requests:
        container["resources"] = {"requests": spec.requests}
    metadata: dict[str, Any] = {
        "name": attempt.pod,
        "namespace": attempt.namespace,
        "labels": attempt.labels(),
    }
    if spec.secrets:
        wishes = [asdict(wish) for wish in spec.secrets]
        metadata["annotations"] = {SECRETS_ANNOTATION: json.dumps(wishes)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": ACCOUNT,
            "containers": [container],
        },
    }


def _path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}"
