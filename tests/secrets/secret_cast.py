"""A cluster's API in memory, an exchange's scope, and requests about secrets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import trio
from flyteidl2.secret import definition_pb2 as definition
from flyteidl2.secret import payload_pb2 as payload

from compute_agent.exchange import current_exchange
from compute_agent.settings import ClusterLimits
from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.settings import CustomerSettings
from kube.client import KubernetesApi
from kube.server.tokens import Tokens, User
from planesplit.split.memory_http import AsgiTransport
from tunnel.exchange import Scope
from tunnel.journal import Journal
from tunnel.token import TokenFile

ORG, PROJECT, DOMAIN = "acme", "proj", "dev"
TOKENS = {
    "executor": User("system:serviceaccount:union:executor"),
    "proxy": User("system:serviceaccount:union:proxy-system"),
    "clustersync": User("system:serviceaccount:union:clustersync-system"),
    "collector": User("system:serviceaccount:union:fluentbit"),
}


class Faults(httpx.AsyncBaseTransport):
    """Passes requests on, unless it is told to answer something else."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.status = 0
        self.hangs = False
        self.answers: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.hangs:
            await trio.sleep_forever()
        if self.status:
            return httpx.Response(self.status, json={"code": self.status})
        response = await self.inner.handle_async_request(request)
        if "watch" not in request.url.params:
            data = await response.aread()
            self.answers.append(data)
            return httpx.Response(response.status_code, headers=response.headers, content=data)
        return response


class World:
    """A served cluster, and the agent's API client in front of it."""

    def __init__(self, root: Path, nursery: trio.Nursery, **settings: Any) -> None:
        root.mkdir(exist_ok=True)
        bounds = CustomerSettings(log_root=str(root / "logs"), insecure=True, **settings)
        self.journal: list[str] = []
        journal = Journal("customer", write=self.journal.append)
        self.cluster = Cluster(bounds, journal=journal)
        app = kubernetes_api(self.cluster, Tokens(TOKENS), bounds, journal)
        self.faults = Faults(AsgiTransport(lambda: app, nursery.start_soon))
        self.root = root

    def api(self, token: str = "proxy", **limits: Any) -> KubernetesApi:
        file = self.root / f"token-{token}"
        file.write_text(token)
        return KubernetesApi(
            "http://k8s", TokenFile(file), None, ClusterLimits(**limits), self.faults
        )

    @property
    def stored(self) -> list[dict[str, Any]]:
        return [
            self.cluster.secrets.get("union", item["metadata"]["name"])
            for item in self.cluster.secrets.list("union")["items"]
        ]


@asynccontextmanager
async def world(root: Path, **settings: Any) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        made = World(root, nursery, **settings)
        await nursery.start(made.cluster.run)
        yield made
        nursery.cancel_scope.cancel()


class Exchange(SimpleNamespace):
    """What handlers see of an exchange."""

    def __init__(self, project: str = PROJECT, domain: str = DOMAIN, cursor: bytes = b"") -> None:
        request = SimpleNamespace(scope=Scope(ORG, project, domain, "c1"), get=lambda name: None)
        super().__init__(request=request, cursor=cursor, marks=[])

    def mark(self, cursor: bytes) -> None:
        assert len(cursor) <= 1024
        self.marks.append(cursor)


@contextmanager
def exchange(project: str = PROJECT, domain: str = DOMAIN) -> Iterator[Exchange]:
    made = Exchange(project or "-", domain or "-")
    token = current_exchange.set(made)  # type: ignore[arg-type]
    yield made
    current_exchange.reset(token)


def identifier(
    name: str, project: str = PROJECT, domain: str = DOMAIN, org: str = ORG
) -> definition.SecretIdentifier:
    return definition.SecretIdentifier(organization=org, project=project, domain=domain, name=name)


def create(name: str, value: bytes | str, *where: str, **spec: Any) -> payload.CreateSecretRequest:
    return payload.CreateSecretRequest(id=identifier(name, *where), secret_spec=_spec(value, spec))


def update(name: str, value: bytes | str, *where: str, **spec: Any) -> payload.UpdateSecretRequest:
    return payload.UpdateSecretRequest(id=identifier(name, *where), secret_spec=_spec(value, spec))


def _spec(value: bytes | str, spec: dict[str, Any]) -> definition.SecretSpec:
    if isinstance(value, str):
        return definition.SecretSpec(string_value=value, **spec)
    return definition.SecretSpec(binary_value=value, **spec)


def as_text(answer: Any) -> str:
    return json.dumps(str(answer))
