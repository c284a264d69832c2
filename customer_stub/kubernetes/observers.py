"""What observability sees of the cluster's pods: each part under its own account (Appendix D)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import trio

from customer_stub.kubernetes.clients import Clients
from kube.view import View

LOGS, COSTS, STATE, GPUS = "fluentbit", "opencost", "kube-state-metrics", "dcgm-exporter"
PODS = "/api/v1/pods"
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

    async def run(self) -> None:
        """Follow until cancelled."""
        async with trio.open_nursery() as nursery:
            for view in self._views.values():
                nursery.start_soon(view.keep)

    def seen(self, account: str, pod: Json) -> Json | None:
        """Return a pod as an account sees it, None if it doesn't."""
        meta = pod["metadata"]
        found = self._views[account].latest(meta["name"], meta["namespace"])
        return found if found is not None and found["metadata"]["uid"] == meta["uid"] else None

    async def see(self, pods: Iterable[Json]) -> None:
        """Wait a little for everybody to see new pods."""
        wanted = [(account, pod) for pod in pods for account in self._views]
        with trio.move_on_after(SEE_S):
            for account, pod in wanted:
                while self.seen(account, pod) is None:
                    await self._views[account].changed()
