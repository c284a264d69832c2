"""ClusterService: routes a client to where an operation is served, without reading what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.cluster import payload_pb2 as wire
from flyteidl2.common import identifier_pb2

from control_stub import directory
from control_stub.clusters import choose
from control_stub.directory import Cluster
from control_stub.identity import not_found
from control_stub.lists import invalid
from control_stub.services.desk import Desk
from tunnel.exchange import NONE, Scope
from tunnel.messages.rpc import Context

_Request = wire.SelectClusterRequest


@dataclass(frozen=True, slots=True)
class Route:
    """Where an operation is served.

    Args:
        permission: what the caller must hold, at least: who serves it checks again.
        via: the relay, or the cluster's own data endpoint, where payload never meets the relay.
        all_clusters: what concerns no single cluster concerns each one, as secrets do.
    """

    permission: str
    via: Literal["relay", "data"] = "relay"
    all_clusters: bool = False


ROUTES: dict[int, Route] = {
    _Request.OPERATION_TAIL_LOGS: Route("view"),
    _Request.OPERATION_CREATE_UPLOAD_LOCATION: Route("run"),
    _Request.OPERATION_CREATE_DOWNLOAD_LINK: Route("view"),
    _Request.OPERATION_QUERY_RANGE_METRICS: Route("view"),
    _Request.OPERATION_GET_ACTION_ATTEMPT_METRICS: Route("view"),
    _Request.OPERATION_USE_SECRETS: Route("view", all_clusters=True),
    _Request.OPERATION_UPLOAD_INPUTS: Route("run", via="data"),
    _Request.OPERATION_GET_ACTION_DATA: Route("view", via="data"),
}
SIGNED_HERE = frozenset(
    {_Request.OPERATION_CREATE_UPLOAD_LOCATION, _Request.OPERATION_CREATE_DOWNLOAD_LINK}
)  # where flyteadmin signs URLs itself


class ClusterService:
    """Handles `flyteidl2.cluster.ClusterService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def select_cluster(
        self, request: wire.SelectClusterRequest, ctx: Context
    ) -> wire.SelectClusterResponse:
        """Return the URL that serves an operation on a resource.

        Whoever is not authenticated is refused before anything else: the client would send its
        next request, maybe a secret, to an empty endpoint, unauthenticated too.
        """
        self._desk.access.caller(ctx)
        route = ROUTES.get(request.operation)
        if route is None:
            raise ConnectError(Code.UNIMPLEMENTED, "no cluster serves this operation")
        scope = await self._scope(request, route, ctx)
        if request.operation in SIGNED_HERE and self._desk.settings.flyteadmin is not None:
            endpoint = ""  # ours
        elif route.via == "data":
            endpoint = await self._data_endpoint(scope)
        else:
            endpoint = self._relay() + scope.prefix
        return wire.SelectClusterResponse(cluster_endpoint=endpoint, cluster=scope.cluster)

    def _relay(self) -> str:
        """Return where viewers reach the relay."""
        default, parts = self._desk.settings.relay.viewer_url, self._desk.parts
        return (parts.viewer_url(default) if parts else default).rstrip("/")

    async def _scope(self, request: wire.SelectClusterRequest, route: Route, ctx: Context) -> Scope:
        """Return what the resource covers, once the caller may do the operation there."""
        match request.WhichOneof("resource"):
            case "action_id":
                return await self._of_action(request.action_id, route, ctx)
            case "action_attempt_id":
                return await self._of_action(request.action_attempt_id.action_id, route, ctx)
            case "task_id":
                task = request.task_id
                return await self._shared(ctx, route, task.org, task.project, task.domain)
            case "project_id":
                where = request.project_id
                return await self._shared(ctx, route, where.organization, where.name, where.domain)
            case "domain_id":
                domain = request.domain_id
                return await self._shared(ctx, route, domain.organization, NONE, domain.name)
            case "org_id":
                return await self._shared(ctx, route, request.org_id.name, NONE, NONE)
            case "cluster_id":
                return await self._of_cluster(
                    ctx, route, request.cluster_id.organization, request.cluster_id.name
                )
            case "cluster_pool_id":  # a cluster is the only pool that it is in
                pool = request.cluster_pool_id
                return await self._of_cluster(ctx, route, pool.organization, pool.name)
        raise invalid("set a resource: an org, domain, project, task, action or cluster")

    async def _of_action(
        self, name: identifier_pb2.ActionIdentifier, route: Route, ctx: Context
    ) -> Scope:
        _, run = await self._desk.action(ctx, route.permission, name)
        key = run.key
        await self._named(key.org, run.cluster)
        return Scope(key.org, key.project, key.domain, run.cluster)

    async def _of_cluster(self, ctx: Context, route: Route, org: str, name: str) -> Scope:
        caller = self._desk.access.require(ctx, route.permission, org, NONE, NONE, what="cluster")
        return Scope(caller.org, NONE, NONE, (await self._named(caller.org, name)).cluster)

    async def _shared(
        self, ctx: Context, route: Route, org: str, project: str, domain: str
    ) -> Scope:
        """Return the scope of what lies in every cluster, or in the one that is chosen."""
        if project == NONE:
            if not route.all_clusters:
                raise invalid("this operation belongs to a project or an action; set one")
            what = "organization" if domain == NONE else "domain"
            caller = self._desk.access.require(ctx, route.permission, org, NONE, domain, what=what)
            await self._check_domain(caller.org, domain)
        else:
            caller = await self._desk.project(ctx, route.permission, org, project, domain)
        known = await self._desk.store.call(directory.clusters, caller.org)
        chosen = choose(known).cluster
        return Scope(caller.org, project, domain, NONE if route.all_clusters else chosen)

    async def _check_domain(self, org: str, domain: str) -> None:
        known = await self._desk.store.call(directory.projects, org)
        if domain != NONE and not any(domain in project.domains for project in known):
            raise not_found("domain")

    async def _named(self, org: str, name: str) -> Cluster:
        for cluster in await self._desk.store.call(directory.clusters, org):
            if cluster.cluster == name:
                return choose([cluster])
        raise not_found("cluster")

    async def _data_endpoint(self, scope: Scope) -> str:
        url = (await self._named(scope.org, scope.cluster)).health.data_url
        if not url:
            raise ConnectError(
                Code.UNAVAILABLE, "the cluster has not told where its data endpoint is"
            )
        return url
