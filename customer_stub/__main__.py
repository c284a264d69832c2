"""`python -m customer_stub --config FILE`: the customer's infrastructure as a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.kubernetes.clients import Clients
from customer_stub.server import App, Endpoint, bind
from customer_stub.settings import CustomerSettings
from kube.server.tokens import read_tokens
from tunnel.journal import Journal, tame_loggers
from tunnel.process import announce, main, until_signalled
from tunnel.settings import load

Served = tuple[Endpoint, App]
Register = Callable[[], Awaitable[None]]

PURPOSE = (
    "The customer's infrastructure: a Kubernetes API whose pods really run, and their log files."
)


def start(config: dict[str, Any]) -> int:
    """Run the process to its end and return the exit code.

    Raises:
        SettingError: the configuration can't be used.
    """
    tame_loggers()
    settings = load(CustomerSettings, config).check()
    tokens = read_tokens(settings.token_file)
    journal = Journal("customer")
    cluster = Cluster(settings, journal=journal)
    kubernetes = bind(settings)
    served: dict[str, Served] = {
        "port": (kubernetes, kubernetes_api(cluster, tokens, settings, journal)),
        **_stores(settings, cluster),
    }
    register = _call_api(settings, cluster, kubernetes.port, served)
    ports = {name: endpoint.port for name, (endpoint, _) in served.items()}
    ready = partial(announce, **ports, log_root=os.path.abspath(settings.log_root))
    trio.run(_run, settings, cluster, journal, list(served.values()), register, ready)
    return 0


def _call_api(
    settings: CustomerSettings, cluster: Cluster, port: int, served: dict[str, Served]
) -> Register:
    """Have the cluster's parts call the API, if they have accounts; serve their webhook.

    Returns:
        What registers it, once the API is served.
    """
    accounts = settings.accounts
    if not accounts.files:
        return trio.lowlevel.checkpoint
    webhook = cluster.call_api(Clients(f"{_base(settings)}:{port}", accounts))
    endpoint = bind(replace(settings, port=settings.webhook_port))
    served["webhook_port"] = (endpoint, webhook)
    return partial(webhook.register, f"{_base(settings)}:{endpoint.port}", accounts.ca_file)


def _base(settings: CustomerSettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'http' if settings.insecure else 'https'}://{host}"


def _stores(settings: CustomerSettings, cluster: Cluster) -> dict[str, Served]:
    """Bind the stores' ports, and tell the node where they are."""
    if cluster.stores is None:
        return {}
    objects = bind(replace(settings, port=settings.objects_port))
    registry = bind(replace(settings, port=settings.registry_port))
    base = _base(settings)
    cluster.reach_stores(
        objects_url=f"{base}:{objects.port}", registry_url=f"{base}:{registry.port}"
    )
    return {
        "objects_port": (objects, cluster.stores.objects),
        "registry_port": (registry, cluster.stores.registry),
    }


async def _run(
    settings: CustomerSettings,
    cluster: Cluster,
    journal: Journal,
    served: list[Served],
    register: Register,
    ready: Callable[[], None],
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        for endpoint, app in served:
            await nursery.start(endpoint.serve, app, journal)
        await register()
        ready()
        number = await until_signalled()
        journal.event("stopping", signal=number)
        await cluster.kubelet.stop(settings.shutdown_s)
        if cluster.collector is not None:
            await cluster.collector.drain()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(main("customer_stub", PURPOSE, start))
