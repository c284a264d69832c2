"""The white paper's Appendix A and B as data: every kind of data, and what carries it.

One row, one id, used by whoever carries, counts, shows or proves it. `Capability.row` names the row
of an RPC that crosses the tunnel, `CONTROL_RPCS` that of an RPC which the control plane serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Transit = Literal["no", "metadata", "memory", "yes"]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of data.

    Args:
        id: `A1` to `A12`, `B1` to `B4`: the appendix, and the line in its table.
        data, stored_in, accessed_via: the white paper's words.
        transits: what the white paper says of the control plane: `no`, `metadata` and `yes` (stored
            there), `memory` (relayed, not stored).
        stores: stores of this simulator where the data may be found at rest.
    """

    id: str
    data: str
    stored_in: str
    accessed_via: str
    transits: Transit
    stores: tuple[str, ...]


_DB, _TUNNEL = "Control plane DB", "Streamed via tunnel"
_OBJECTS, _PRESIGNED = "Customer object store", "Presigned URL"

APPENDIX_A: dict[str, Row] = {
    row.id: row
    for row in (
        Row("A1", "Task definitions (spec metadata)", _DB, "ConnectRPC", "metadata", ("database",)),
        Row("A2", "Run metadata (phase, timestamps)", _DB, "ConnectRPC", "yes", ("database",)),
        Row("A3", "Action metadata (phase, attempts)", _DB, "ConnectRPC", "yes", ("database",)),
        Row("A4", "Task inputs/outputs", _OBJECTS, _PRESIGNED, "no", ("objects",)),
        Row("A5", "Code bundles", _OBJECTS, _PRESIGNED, "no", ("objects",)),
        Row("A6", "Reports (HTML)", _OBJECTS, _PRESIGNED, "no", ("objects",)),
        Row(
            "A7",
            "Container images",
            "Customer container registry",
            "Pulled by K8s",
            "no",
            ("registry", "images"),
        ),
        Row(
            "A8",
            "Task logs",
            "Customer log aggregator",
            _TUNNEL,
            "memory",
            ("logs", "clickhouse", "cloudwatch"),
        ),
        Row(
            "A9",
            "Secrets",
            "Customer secrets backend",
            "Injected at runtime",
            "memory",
            ("secrets",),
        ),
        Row(
            "A10",
            "Observability metrics",
            "Customer ClickHouse",
            "Proxied via DataProxy",
            "memory",
            ("clickhouse",),
        ),
        Row("A11", "User identity / RBAC", _DB, "ConnectRPC", "yes", ("database",)),
        Row("A12", "Cluster state", _DB, "Internal", "yes", ("database",)),
    )
}


@dataclass(frozen=True, slots=True)
class SignedRow:
    """One kind of object that is reached by a presigned URL (Appendix B).

    The URL crosses the relay and is counted under this id; the object's bytes do not, and are
    counted under `of`.

    Args:
        id: `B1` to `B4`.
        data, method: the white paper's words.
        verb: the one HTTP verb that the URL is good for.
        of: row of Appendix A that the object belongs to.
    """

    id: str
    data: str
    method: str
    verb: Literal["GET", "PUT"]
    of: str


APPENDIX_B: dict[str, SignedRow] = {
    row.id: row
    for row in (
        SignedRow("B1", "Task inputs/outputs", "Presign via ObjectStore service", "GET", "A4"),
        SignedRow("B2", "Code bundles (TGZ)", "CreateDownloadLinkV2", "GET", "A5"),
        SignedRow("B3", "Reports (HTML)", "CreateDownloadLinkV2", "GET", "A6"),
        SignedRow("B4", "Fast registration uploads", "CreateUploadLocation", "PUT", "A5"),
    )
}
SIGNED = "B"  # of an RPC that serves several rows of Appendix B, where nobody reads the request
ROWS = (*APPENDIX_A, SIGNED)
CROSSING = frozenset(
    {SIGNED, *(row.id for row in APPENDIX_A.values() if row.transits != "no")}
)  # what may be in a tunnel at all

_RUNS = "/flyteidl2.workflow.RunService/"
_ACTIONS = (
    "GetActionDetails",
    "WatchActionDetails",
    "ListActions",
    "WatchActions",
    "AbortAction",
    "GetActionDataURIs",
    "GetActionLogContext",
)

# What the control plane serves itself: an RPC, or `/{service}/` for all of one.
CONTROL_RPCS: dict[str, str] = {
    "/flyteidl2.task.TaskService/": "A1",
    _RUNS: "A2",
    **{_RUNS + method: "A3" for method in _ACTIONS},
    "/flyteidl2.auth.IdentityService/": "A11",
    "/flyteidl2.auth.AuthMetadataService/": "A11",
    "/flyteidl2.project.ProjectService/": "A11",
    "/planesplit.v1.IdentityAdminService/": "A11",
    "/oauth2/token": "A11",
    "/.well-known/jwks.json": "A11",
    "/.well-known/openid-configuration": "A11",
    "/.well-known/oauth-authorization-server": "A11",
    # Only where flyteadmin signs URLs itself (Appendix E); else these cross the relay.
    "/flyteidl2.dataproxy.DataProxyService/CreateUploadLocation": SIGNED,
    "/flyteidl2.dataproxy.DataProxyService/CreateDownloadLink": SIGNED,
    "/flyteidl2.cluster.ClusterService/": "A12",
    "/planesplit.v1.ClusterAdminService/": "A12",
}


def control_row(path: str) -> str | None:
    """Return the row of what the control plane serves at `path`; None if it belongs to none."""
    service, slash, _ = path.rpartition("/")
    return CONTROL_RPCS.get(path) or CONTROL_RPCS.get(service + slash)
