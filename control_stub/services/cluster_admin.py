"""ClusterAdminService: the state of an org's clusters, and whether they may connect."""

from __future__ import annotations

from control_stub import directory
from control_stub.directory import Cluster
from control_stub.identity import not_found
from control_stub.policy import Policy
from control_stub.services.desk import Desk
from control_stub.services.views import timestamp
from tunnel.exchange import NONE
from tunnel.messages import planesplit_v1_pb2 as wire
from tunnel.messages.rpc import Context


class ClusterAdminService:
    """Handles `planesplit.v1.ClusterAdminService`."""

    def __init__(self, desk: Desk, policy: Policy) -> None:
        self._desk, self._policy = desk, policy

    async def list_clusters(
        self, request: wire.ListClustersRequest, ctx: Context
    ) -> wire.ListClustersResponse:
        """Return the clusters of an org, for whoever may view anything in it."""
        caller = self._desk.access.require(ctx, "view", request.org, what="organization")
        found = await self._desk.store.call(directory.clusters, caller.org)
        return wire.ListClustersResponse(clusters=map(_cluster, found))

    async def set_cluster(
        self, request: wire.SetClusterRequest, ctx: Context
    ) -> wire.SetClusterResponse:
        """Let a cluster connect, or end its tunnels and let it no more."""
        caller = self._desk.access.require(
            ctx, "manage", request.org, NONE, NONE, what="organization"
        )
        cluster = await self._desk.store.call(
            directory.set_enabled, caller.org, request.cluster, request.enabled
        )
        if cluster is None:
            raise not_found("cluster")
        await self._policy.reload()
        self._desk.journal.event(
            "cluster_set",
            org=caller.org,
            cluster=cluster.cluster,
            enabled=cluster.enabled,
            by=caller.subject,
        )
        return wire.SetClusterResponse(cluster=_cluster(cluster))


def _cluster(cluster: Cluster) -> wire.Cluster:
    health, used = cluster.health, cluster.health.usage
    made = wire.Cluster(
        org=cluster.org,
        cluster=cluster.cluster,
        enabled=cluster.enabled,
        tunnel=cluster.state,
        healthy=health.healthy and cluster.state == "ONLINE",  # nobody knows of one that is lost
        reasons=health.reasons,
        rtt_ms=cluster.rtt_us / 1000,
        usage=wire.Usage(
            nodes=used.nodes,
            pods_running=used.pods_running,
            pods_pending=used.pods_pending,
            cpu_cores=used.cpu_millicores / 1000,
            cpu_used_cores=used.cpu_used_millicores / 1000,
            memory_bytes=used.memory_bytes,
            memory_used_bytes=used.memory_used_bytes,
        ),
    )
    if cluster.since_ns:
        made.since.CopyFrom(timestamp(cluster.since_ns))
    if cluster.heard_ns:
        made.heard_at.CopyFrom(timestamp(cluster.heard_ns))
    return made
