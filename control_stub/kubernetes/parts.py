"""The parts of the control plane that read its cluster (Appendix C), and what follows from it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from control_stub.kubernetes.settings import KubernetesSettings
from kube.client import KubernetesApi
from kube.settings import ClientLimits
from kube.view import View
from tunnel.tls import client_context
from tunnel.token import TokenFile

UNION = "union"  # where the control plane's own objects are
DATAPROXY, VIEWER_URL = "dataproxy", "viewer-url"  # a Secret, and its key
EXECUTIONS, ATTEMPTS = "executions", "attempts"  # a ConfigMap, and its key
FIRST_LIST_S = 10.0  # for a cluster that starts together with us

_PATHS = {
    "namespaces": "/api/v1/namespaces",
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "configmaps": "/api/v1/configmaps",
    "secrets": f"/api/v1/namespaces/{UNION}/secrets",
    "deployments": "/apis/apps/v1/deployments",
    "replicasets": "/apis/apps/v1/replicasets",
    "flyteworkflows": "/apis/flyte.lyft.com/v1alpha1/flyteworkflows",
}
READS = {
    "authorizer": ("namespaces",),
    "cluster": ("namespaces", "nodes", "deployments", "replicasets"),
    "dataproxy": ("secrets",),
    "executions": ("namespaces", "configmaps", "flyteworkflows"),
    "queue": ("namespaces",),
    "run-scheduler": ("namespaces",),
    "usage": ("namespaces",),
    "console": ("namespaces", "flyteworkflows", "pods"),
}
METRIC = "control_kubernetes_objects"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Json = dict[str, Any]


class Parts:
    """Every part's views.

    Args:
        settings: where the cluster is, and who the parts are there.
        transport: instead of the network, in one process.
    """

    def __init__(
        self, settings: KubernetesSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        context = client_context(settings.ca_file) if settings.ca_file else None
        self._api = KubernetesApi(settings.url, None, context, ClientLimits(), transport)
        self._files = settings.files
        self._views = {
            part: {kind: View(self.account(part), _PATHS[kind]) for kind in kinds}
            for part, kinds in READS.items()
        }

    def account(self, name: str) -> KubernetesApi:
        """Return the API as a service account."""
        return self._api.with_token(TokenFile(self._files[name]))

    async def run(self) -> None:
        """Keep every view until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for views in self._views.values():
                    for view in views.values():
                        nursery.start_soon(view.keep)
        finally:
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await self._api.aclose()

    async def require(self, part: str, project: str, domain: str) -> None:
        """Pass if a part sees the namespace of a project's domain.

        Raises:
            ConnectError: FAILED_PRECONDITION, it isn't there; UNAVAILABLE, nobody can tell yet.
        """
        view = self._views[part]["namespaces"]
        with trio.move_on_after(FIRST_LIST_S):
            await view.synced.wait()
        if not view.synced.is_set():
            raise ConnectError(Code.UNAVAILABLE, "the control plane's cluster does not answer")
        if not self.has_namespace(part, project, domain):
            raise ConnectError(
                Code.FAILED_PRECONDITION, "the project's domain has no namespace here"
            )

    def has_namespace(self, part: str, project: str, domain: str) -> bool:
        """Tell whether a part sees the namespace; what can't be one needs none."""
        name = namespace_of(project, domain)
        return name is None or self._views[part]["namespaces"].get(name) is not None

    def viewer_url(self, default: str) -> str:
        """Return where viewers are sent, by the dataproxy's Secret."""
        secret = self._views["dataproxy"]["secrets"].get(DATAPROXY, UNION)
        data: Mapping[str, str] = (secret or {}).get("data") or {}
        return base64.b64decode(data.get(VIEWER_URL, "")).decode("ascii", "replace") or default

    def attempts(self, default: int) -> int:
        """Return the most attempts of an action, by the ConfigMap of executions."""
        found = self._views["executions"]["configmaps"].get(EXECUTIONS, UNION)
        text = str(((found or {}).get("data") or {}).get(ATTEMPTS, ""))
        return min(int(text), default) if text.isdecimal() and int(text) else default

    def prometheus(self) -> Iterator[str]:
        """Yield how many objects of which kind each part sees, as lines of metrics."""
        yield f"# TYPE {METRIC} gauge"
        for part, views in self._views.items():
            for kind, view in views.items():
                yield f'{METRIC}{{part="{part}",kind="{kind}"}} {len(view.all())}'


def open_parts(
    settings: KubernetesSettings | None, transport: httpx.AsyncBaseTransport | None
) -> Parts | None:
    """Return the parts' views, None where the control plane has no cluster of its own."""
    return None if settings is None else Parts(settings, transport)


def namespace_of(project: str, domain: str) -> str | None:
    """Return the namespace of a project's domain, None if it can't be one's name."""
    name = f"{project}-{domain}"
    return name if _NAMESPACE.fullmatch(name) else None
