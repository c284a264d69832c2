"""The customer's Kubernetes API: its objects, its pods' logs, and pages for its operator."""

from __future__ import annotations

from functools import partial
from typing import Any

from customer_stub.cluster import Cluster
from customer_stub.settings import CustomerSettings
from kube.server.api import KubernetesApp
from kube.server.status import not_found
from kube.server.tokens import Tokens
from kube.server.webhooks import Connect, connect
from tunnel.journal import Journal

ROWS, STORES = "/_planesplit/rows", "/_planesplit/stores"
SCRAPES = "/_planesplit/scrapes"
PRODUCED = "/_planesplit/produced/"


def kubernetes_api(
    cluster: Cluster,
    tokens: Tokens,
    settings: CustomerSettings,
    journal: Journal,
    connect: Connect = connect,
) -> KubernetesApp:
    """Return the API of a cluster, with the compute plane's roles.

    Args:
        connect: the way to webhooks.
    """
    return KubernetesApp(
        cluster.objects,
        plane="compute",
        logs=cluster.log,
        tokens=tokens,
        settings=settings,
        journal=journal,
        page=partial(_page, cluster),
        connect=connect,
    )


def _page(cluster: Cluster, path: str) -> Any:
    stores = cluster.stores
    if path.startswith(PRODUCED):
        return _produced(cluster, path.removeprefix(PRODUCED))
    if path == SCRAPES and cluster.scraper is not None:
        return cluster.scraper.report()
    if stores is None or path not in (ROWS, STORES):
        return None
    return stores.rows_report() if path == ROWS else stores.stores_report()


def _produced(cluster: Cluster, rest: str) -> Any:
    namespace, _, name = rest.partition("/")
    found = cluster.produced(namespace, name)
    if found is None:
        raise not_found("pods", name)
    return found
