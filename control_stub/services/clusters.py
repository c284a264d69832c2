"""ClusterService: routes a client to where an operation is served, without reading what it does."""

from __future__ import annotations

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.cluster import payload_pb2 as wire
from flyteidl2.common import identifier_pb2

from control_stub.lists import invalid
from control_stub.services.desk import Desk
from tunnel.exchange import Scope
from tunnel.messages.rpc import Context


class ClusterService:
    """Handles `flyteidl2.cluster.ClusterService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def select_cluster(
        self, request: wire.SelectClusterRequest, ctx: Context
    ) -> wire.SelectClusterResponse:
        """Return the relay's URL with the resource's scope as path prefix.

        Whoever is not authenticated is refused before anything else: the client would send its
        next request, maybe a secret, to an empty endpoint, unauthenticated too.
        """
        self._desk.access.caller(ctx)
        if request.operation != wire.SelectClusterRequest.OPERATION_TAIL_LOGS:
            raise ConnectError(Code.UNIMPLEMENTED, "only log tails are routed")
        _, run = await self._desk.action(ctx, "view", _action(request))
        scope = Scope(run.key.org, run.key.project, run.key.domain, run.cluster)
        return wire.SelectClusterResponse(
            cluster_endpoint=self._desk.settings.relay.viewer_url.rstrip("/") + scope.prefix,
            cluster=run.cluster,
        )


def _action(request: wire.SelectClusterRequest) -> identifier_pb2.ActionIdentifier:
    match request.WhichOneof("resource"):
        case "action_id":
            return request.action_id
        case "action_attempt_id":
            return request.action_attempt_id.action_id
    raise invalid("logs belong to an action; set action_id")
