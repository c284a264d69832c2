"""Administration of an org by its public API: its clusters, its identities and their roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from google.protobuf.message import Message

from planesplit.connect_client import ConnectClient
from planesplit.ready import Ready
from planesplit.viewer import open_viewer
from tunnel.messages import planesplit_v1_pb2 as wire

CLUSTERS = "/planesplit.v1.ClusterAdminService/"
IDENTITIES = "/planesplit.v1.IdentityAdminService/"

M = TypeVar("M", bound=Message)


class Administration:
    """Administers one org, as one of its admins.

    Args:
        client: calls RPCs.
        control_url: base URL of the control plane.
        org: whose.
    """

    def __init__(self, client: ConnectClient, control_url: str, org: str) -> None:
        self._client, self._control_url, self._org = client, control_url, org

    async def clusters(self) -> list[wire.Cluster]:
        """Return the state of every cluster."""
        request = wire.ListClustersRequest(org=self._org)
        answer = await self._call(CLUSTERS + "ListClusters", request, wire.ListClustersResponse)
        return list(answer.clusters)

    async def set_cluster(self, cluster: str, *, enabled: bool) -> wire.Cluster:
        """Let a cluster connect, or end its tunnels and let it no more; return its state."""
        request = wire.SetClusterRequest(org=self._org, cluster=cluster, enabled=enabled)
        answer = await self._call(CLUSTERS + "SetCluster", request, wire.SetClusterResponse)
        return answer.cluster

    async def principals(self) -> list[wire.Principal]:
        """Return who is known, with their roles."""
        request = wire.ListPrincipalsRequest(org=self._org)
        answer = await self._call(
            IDENTITIES + "ListPrincipals", request, wire.ListPrincipalsResponse
        )
        return list(answer.principals)

    async def bind(
        self, subject: str, role: str, project: str, domain: str, *, remove: bool = False
    ) -> None:
        """Give a subject a role, or take it away.

        Args:
            project, domain: where; empty for all.
        """
        binding = wire.Binding(
            subject=subject, role=role, org=self._org, project=project, domain=domain
        )
        method = "Unbind" if remove else "Bind"
        await self._call(IDENTITIES + method, wire.BindRequest(binding=binding), wire.BindResponse)

    async def revoke(self, subject: str, *, hold: bool = False, release: bool = False) -> int:
        """Make a subject's tokens void; return the second before which none counts.

        Args:
            hold: give it no new ones either.
            release: give it new ones again.
        """
        request = wire.RevokeRequest(org=self._org, subject=subject, hold=hold, release=release)
        answer = await self._call(IDENTITIES + "Revoke", request, wire.RevokeResponse)
        return int(answer.not_before.seconds)

    def agent(self, cluster: str) -> str:
        """Return how a cluster's agent is named in tokens."""
        return f"agent:{self._org}/{cluster}"

    async def _call(self, path: str, request: Message, answer: type[M]) -> M:
        return await self._client.unary(self._control_url + path, request, answer)


@asynccontextmanager
async def open_administration(ready: Ready) -> AsyncIterator[Administration]:
    """Connect to a running split as the client of its ready file."""
    async with open_viewer(ready) as viewer:
        yield Administration(viewer.client, ready.urls.control, ready.place.org)
