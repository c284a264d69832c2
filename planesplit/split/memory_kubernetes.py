"""Both planes' Kubernetes APIs in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.kubernetes.clients import Clients
from customer_stub.settings import CustomerSettings
from kube.server.alone import control_api
from kube.server.api import KubernetesApp
from kube.server.tokens import Tokens, read_token_file
from kube.settings import KubeSettings
from planesplit.split.memory_http import AsgiTransport
from tunnel.journal import Journal
from tunnel.settings import load

CUSTOMER_URL, WEBHOOK_URL, CONTROL_URL = "http://kubernetes", "http://webhook", "http://kube"


async def customer_kubernetes(
    cluster: Cluster,
    settings: CustomerSettings,
    journal: Journal,
    start: Callable[..., None],
) -> KubernetesApp:
    """Return the API of a cluster whose own parts call it, and whose webhook is registered.

    Args:
        start: starts tasks in the customer's plane.
    """
    clients = Clients(CUSTOMER_URL, settings.accounts, AsgiTransport(lambda: served, start))
    webhook: Any = cluster.call_api(clients)
    to_webhook = AsgiTransport(lambda: webhook, start)
    tokens = Tokens(read_token_file(settings.token_file))
    app = kubernetes_api(
        cluster,
        tokens,
        settings,
        journal,
        connect=lambda url, bundle: httpx.AsyncClient(transport=to_webhook),
    )
    served: Any = app
    await webhook.register(WEBHOOK_URL, "")
    return app


def control_kubernetes(
    table: Mapping[str, Any], journal: Journal, now_s: Callable[[], float]
) -> KubernetesApp:
    """Return the API of the control plane's own cluster.

    Args:
        table: its configuration.
        now_s: wall clock, seconds since the epoch.
    """
    settings = load(KubeSettings, table)
    tokens = Tokens(read_token_file(settings.token_file))
    return control_api(settings, tokens, journal, lambda: int(now_s() * 1e9))
