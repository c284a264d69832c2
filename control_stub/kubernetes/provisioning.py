"""flyteadmin provisions the control plane's cluster: namespaces, and what other parts read."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import trio

from control_stub.kubernetes.parts import (
    ATTEMPTS,
    DATAPROXY,
    EXECUTIONS,
    UNION,
    VIEWER_URL,
    Parts,
    namespace_of,
)
from control_stub.settings import ControlSettings
from kube.client import ClusterError, KubernetesApi
from tunnel.journal import Journal

SYNC_S = 5.0  # a cluster that has lost everything has its namespaces again after so long
CONFLICT = 409
NAMESPACES = "/api/v1/namespaces"

Json = dict[str, Any]


class Provisioner:
    """Makes what is missing; what is there, somebody may have changed, stays.

    Args:
        api: as flyteadmin.
        projects: project and domain of every namespace.
        viewer_url: where the dataproxy sends viewers.
        attempts: most of one action.
        journal: told when something was made.
    """

    def __init__(
        self,
        api: KubernetesApi,
        projects: Iterable[tuple[str, str]],
        viewer_url: str,
        attempts: int,
        journal: Journal,
    ) -> None:
        self._api, self._journal = api, journal
        names = (namespace_of(project, domain) for project, domain in projects)
        self._namespaces = {name for name in names if name is not None}
        self._wanted = list(_wanted(sorted(self._namespaces), viewer_url, attempts))

    async def run(self) -> NoReturn:
        """Provision again and again, until cancelled."""
        while True:
            with suppress(ClusterError):
                await self._provision()
            await trio.sleep(SYNC_S)

    async def _provision(self) -> None:
        there: set[str] = set()
        await self._api.pages(NAMESPACES, {}, lambda obj: there.add(obj["metadata"]["name"]))
        if self._namespaces <= there:
            return
        for path, obj in self._wanted:
            await self._api.call("POST", path, body=obj, also=(CONFLICT,))
        self._journal.event("provisioned", namespaces=len(self._namespaces))


def provisioner(parts: Parts, settings: ControlSettings, journal: Journal) -> Provisioner:
    """Return what provisions the cluster for the settings' orgs."""
    projects = (
        (project, domain)
        for org in settings.orgs
        for project in org.projects
        for domain in org.domains
    )
    api, relay = parts.account("flyteadmin"), settings.relay.viewer_url
    return Provisioner(api, projects, relay, settings.limits.attempts, journal)


def _wanted(names: Iterable[str], viewer_url: str, attempts: int) -> Iterator[tuple[str, Json]]:
    secret = _object("Secret", DATAPROXY)
    secret["data"] = {VIEWER_URL: base64.b64encode(viewer_url.encode()).decode()}
    yield f"{NAMESPACES}/{UNION}/secrets", secret
    executions = _object("ConfigMap", EXECUTIONS)
    executions["data"] = {ATTEMPTS: str(attempts)}
    yield f"{NAMESPACES}/{UNION}/configmaps", executions
    for name in names:
        yield NAMESPACES, _object("Namespace", name)


def _object(kind: str, name: str) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
