"""What the public listener serves: Connect services, OAuth, health and metrics."""

from __future__ import annotations

from collections.abc import Callable

import trio
from flyteidl2.auth import auth_service_pb2, identity_pb2
from flyteidl2.cluster import service_pb2 as cluster_pb2
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy_pb2
from flyteidl2.project import project_service_pb2
from flyteidl2.task import task_service_pb2
from flyteidl2.workflow import run_service_pb2
from google.protobuf.descriptor import ServiceDescriptor

from control_stub import web
from control_stub.client_auth import Buckets
from control_stub.counting import counted
from control_stub.issuer import Issuer
from control_stub.oauth import TokenEndpoint
from control_stub.policy import Policy
from control_stub.services.cluster_admin import ClusterAdminService
from control_stub.services.clusters import ClusterService
from control_stub.services.desk import Desk
from control_stub.services.identity import AuthMetadataService, IdentityService
from control_stub.services.identity_admin import IdentityAdminService
from control_stub.services.presign import PresignService
from control_stub.services.projects import ProjectService
from control_stub.services.runs import RunService
from control_stub.services.tasks import TaskService
from control_stub.signing import Signer
from tunnel.messages import planesplit_v1_pb2
from tunnel.messages.rpc import AsgiApp, AsgiReceive, AsgiScope, connect_app

METRIC = "control_row_bytes_total"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Service = tuple[ServiceDescriptor, object]


def public_app(
    desk: Desk,
    issuer: Issuer,
    policy: Policy,
    signer: Signer | None,
    ready: Callable[[], bool],
) -> AsgiApp:
    """Return the application of the public listener.

    Args:
        signer: flyteadmin's, where it signs URLs itself.
        ready: whether the relay has our policy.
    """
    limits = desk.settings.limits
    buckets = Buckets(limits.token_rate, limits.token_burst, trio.current_time)
    endpoints: dict[tuple[str, str], web.Endpoint] = {
        ("POST", "/oauth2/token"): TokenEndpoint(desk.store, issuer, policy, buckets, desk.journal),
        ("GET", "/.well-known/jwks.json"): web.fixed(issuer.jwks),
        ("GET", "/.well-known/openid-configuration"): web.fixed(issuer.metadata),
        ("GET", "/.well-known/oauth-authorization-server"): web.fixed(issuer.metadata),
        ("GET", "/livez"): _health(lambda: True),
        ("GET", "/readyz"): _health(ready),
        ("GET", "/metrics"): _metrics(desk),
    }

    def failed(path: str, error: Exception) -> None:
        desk.journal.event("rpc_failed", path=path, error=type(error).__name__)

    services = connect_app(*public_services(desk, issuer, policy, signer), on_error=failed)
    return counted(web.routes(endpoints, services), desk.rows)


def public_services(
    desk: Desk, issuer: Issuer, policy: Policy, signer: Signer | None = None
) -> list[Service]:
    """Return every Connect service of the public API with its handler.

    Args:
        signer: flyteadmin's, where it signs URLs itself.
    """
    own = planesplit_v1_pb2.DESCRIPTOR.services_by_name
    auth, identity = auth_service_pb2.DESCRIPTOR, identity_pb2.DESCRIPTOR
    projects, clusters = project_service_pb2.DESCRIPTOR, cluster_pb2.DESCRIPTOR
    runs, tasks = run_service_pb2.DESCRIPTOR, task_service_pb2.DESCRIPTOR
    served: list[Service] = [
        (identity.services_by_name["IdentityService"], IdentityService(desk)),
        (auth.services_by_name["AuthMetadataService"], AuthMetadataService(issuer)),
        (projects.services_by_name["ProjectService"], ProjectService(desk)),
        (runs.services_by_name["RunService"], RunService(desk)),
        (tasks.services_by_name["TaskService"], TaskService(desk)),
        (clusters.services_by_name["ClusterService"], ClusterService(desk)),
        (own["ClusterAdminService"], ClusterAdminService(desk, policy)),
        (own["IdentityAdminService"], IdentityAdminService(desk, policy)),
    ]
    if signer is not None and desk.settings.flyteadmin is not None:
        presign = PresignService(desk, signer, desk.settings.flyteadmin.url_ttl_s)
        served.append((dataproxy_pb2.DESCRIPTOR.services_by_name["DataProxyService"], presign))
    return served


def _health(check: Callable[[], bool]) -> web.Endpoint:
    async def endpoint(_scope: AsgiScope, _receive: AsgiReceive) -> web.Answer:
        healthy = check()
        return (200 if healthy else 503), {"ok": healthy}, {"cache-control": "no-store"}

    return endpoint


def _metrics(desk: Desk) -> web.Endpoint:
    async def endpoint(_scope: AsgiScope, _receive: AsgiReceive) -> web.Answer:
        lines = [*desk.rows.prometheus(METRIC), *(desk.parts.prometheus() if desk.parts else ())]
        text = "\n".join(lines) + "\n"
        return 200, text, {"content-type": METRICS_TYPE, "cache-control": "no-store"}

    return endpoint
