"""Both planes' APIs in memory, a token for every account, and callers of them."""

from __future__ import annotations

import time
from typing import Any

import httpx
import trio

from kube.server.alone import control_api
from kube.server.api import KubernetesApp
from kube.server.cluster import ClusterObjects
from kube.server.log_options import LogOptions
from kube.server.tokens import Tokens, User
from kube.settings import ApiSettings
from planesplit.split.memory_http import AsgiTransport
from policy.bindings import MASTERS
from policy.roles import Plane, accounts, user_name
from tunnel.journal import Journal

MASTER = "master"
LOG = b"one line\n"


def tokens(plane: Plane) -> Tokens:
    """A token for each account: its name."""
    users = {name: User(user_name(name)) for name in accounts(plane)}
    return Tokens({**users, MASTER: User(MASTER, frozenset({MASTERS}))})


async def a_line(namespace: str, name: str, options: LogOptions) -> Any:
    yield b""
    yield LOG


class Api:
    """One plane's API."""

    def __init__(self, plane: Plane, nursery: trio.Nursery, **options: Any) -> None:
        journal = Journal("kube", write=lambda line: None)
        settings, known = ApiSettings(bookmark_s=0.5), tokens(plane)
        self.app: KubernetesApp
        if plane == "control":
            self.app = control_api(settings, known, journal, time.time_ns)
        else:
            self.objects = ClusterObjects(settings)
            self.app = KubernetesApp(
                self.objects,
                plane=plane,
                logs=a_line,
                tokens=known,
                settings=settings,
                journal=journal,
                **options,
            )
        served: Any = self.app
        transport = AsgiTransport(lambda: served, nursery.start_soon)
        self._client = httpx.AsyncClient(base_url="http://kube", transport=transport)

    async def __call__(
        self, account: str, method: str, path: str, body: Any = None, **options: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {account}", **options.pop("headers", {})}
        return await self._client.request(method, path, json=body, headers=headers, **options)


def named(kind: str, name: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    """An object."""
    return {"kind": kind, "apiVersion": version, "metadata": {"name": name}, **fields}


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    """A pod of one container."""
    return named("Pod", name, spec={"containers": [{"name": "main", "image": "any"}], **spec})
