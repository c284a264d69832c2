"""`python -m customer_stub --config FILE`: the customer's infrastructure as a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from customer_stub.cluster import Cluster
from customer_stub.kubernetes.api import kubernetes_api
from customer_stub.server import App, Endpoint, bind
from customer_stub.settings import CustomerSettings
from kube.server.tokens import read_tokens
from tunnel.journal import Journal, tame_loggers
from tunnel.process import announce, main, until_signalled
from tunnel.settings import load

Served = tuple[Endpoint, App]

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
    kubernetes = kubernetes_api(cluster, tokens, settings, journal)
    served: dict[str, Served] = {"port": (bind(settings), kubernetes), **_stores(settings, cluster)}
    ports = {name: endpoint.port for name, (endpoint, _) in served.items()}
    ready = partial(announce, **ports, log_root=os.path.abspath(settings.log_root))
    trio.run(_run, settings, cluster, journal, list(served.values()), ready)
    return 0


def _stores(settings: CustomerSettings, cluster: Cluster) -> dict[str, Served]:
    """Bind the stores' ports, and tell the node where they are."""
    if cluster.stores is None:
        return {}
    objects = bind(replace(settings, port=settings.objects_port))
    registry = bind(replace(settings, port=settings.registry_port))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    base = f"{'http' if settings.insecure else 'https'}://{host}"
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
    ready: Callable[[], None],
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        for endpoint, app in served:
            await nursery.start(endpoint.serve, app, journal)
        ready()
        number = await until_signalled()
        journal.event("stopping", signal=number)
        await cluster.kubelet.stop(settings.shutdown_s)
        if cluster.collector is not None:
            await cluster.collector.drain()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(main("customer_stub", PURPOSE, start))
