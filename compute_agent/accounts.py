"""The service accounts that the agent's parts call the cluster's API under (Appendix D and E)."""

from __future__ import annotations

from compute_agent.settings import AccountFiles
from kube.client import KubernetesApi
from tunnel.token import TokenFile


class Accounts:
    """One API for each service account, over the same connections.

    Attributes:
        executor: pods.
        proxy: logs, events, secrets.
        operator: health.
        clustersync: what a project has in the cluster.

    Args:
        api: the API, as whoever has no token of its own.
        files: tokens of the accounts.
    """

    def __init__(self, api: KubernetesApi, files: AccountFiles) -> None:
        def account(file: str) -> KubernetesApi:
            return api.with_token(TokenFile(file)) if file else api

        self.executor = account(files.executor)
        self.proxy = account(files.proxy_system)
        self.operator = account(files.operator_system)
        self.clustersync = account(files.clustersync_system)
        self._api = api

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()
