"""What observability sees of the cluster's pods: each part under its own account (Appendix D)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import trio

from customer_stub.kubernetes.clients import Clients
from kube.server.node import NODE
from kube.view import View
from tunnel.first import first_of

LOGS, COSTS, STATE, GPUS = "fluentbit", "opencost", "kube-state-metrics", "dcgm-exporter"
PODS, NODES, NAMESPACES = "/api/v1/pods", "/api/v1/nodes", "/api/v1/namespaces"
NEEDS = {LOGS: NAMESPACES, COSTS: NODES, GPUS: NODES}  # what a pod belongs to, seen as well
SEE_S = 1.0  # a watch tells a new pod within milliseconds

Json = Mapping[str, Any]


class Observers:
    """Follows the pods for the log collector and for those who feed metrics.

    Args:
        clients: of the cluster's API.

    Raises:
        SettingError: an account has no token.
    """

    def __init__(self, clients: Clients) -> None:
        names = (LOGS, COSTS, STATE, GPUS)
        self._views = {name: View(clients.account(name), PODS) for name in names}
        self._needed = {
            name: View(clients.account(name), path, kept=lambda _: {})
            for name, path in NEEDS.items()
        }

    async def run(self) -> None:
        """Follow until cancelled."""
        async with trio.open_nursery() as nursery:
            for view in (*self._views.values(), *self._needed.values()):
                nursery.start_soon(view.keep)

    def seen(self, account: str, pod: Json) -> Json | None:
        """Return a pod as an account sees it, None if it doesn't see it whole."""
        meta = pod["metadata"]
        found = self._views[account].latest(meta["name"], meta["namespace"])
        if found is None or found["metadata"]["uid"] != meta["uid"]:
            return None
        owner = NODE if NEEDS.get(account) == NODES else meta["namespace"]
        needed = self._needed.get(account)
        return found if needed is None or needed.latest(owner) is not None else None

    async def see(self, pods: Iterable[Json]) -> None:
        """Wait a little for everybody to see new pods."""
        wanted = [(account, pod) for pod in pods for account in self._views]
        with trio.move_on_after(SEE_S):
            for account, pod in wanted:
                while self.seen(account, pod) is None:
                    views = (self._views.get(account), self._needed.get(account))
                    await first_of(*(view.change.wait for view in views if view))
